package memkv

import (
	"context"
	"maps"
	"slices"

	"github.com/theriac-db/theriac/kv"
)

// CreateBucket implements kv.Service.
func (n *Node) CreateBucket(_ context.Context, rules kv.BucketRules) (kv.DecidedRules, error) {
	s := n.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := rules.Check(); err != nil {
		return kv.DecidedRules{}, err
	}
	if _, found := s.decided[rules.Name]; found {
		return kv.DecidedRules{}, kv.Errorf(kv.KindInvalid, "bucket %q has rules already; alter them", string(rules.Name))
	}
	return s.decide(rules), nil
}

// AlterBucket implements kv.Service.
func (n *Node) AlterBucket(_ context.Context, rules kv.BucketRules, since uint64) (kv.DecidedRules, error) {
	s := n.store
	s.mu.Lock()
	defer s.mu.Unlock()
	was, found := s.decided[rules.Name]
	if err := rules.Check(); err != nil {
		return kv.DecidedRules{}, err
	}
	switch {
	case !found:
		return kv.DecidedRules{}, kv.Errorf(kv.KindNotFound, "bucket %q has no rules; create it", string(rules.Name))
	case since != 0 && since != was.Since:
		return kv.DecidedRules{}, kv.Errorf(kv.KindAborted, "bucket %q was altered by somebody else meanwhile", string(rules.Name))
	}
	return s.decide(rules), nil
}

// decide keeps rules. All regions act by them at once.
func (s *Store) decide(rules kv.BucketRules) kv.DecidedRules {
	s.changes++
	d := kv.DecidedRules{BucketRules: rules, Since: s.changes}
	s.decided[rules.Name] = d
	var list []kv.BucketRules
	for _, d := range s.decided {
		list = append(list, d.BucketRules)
	}
	s.rules = kv.NewRules(list)
	return d
}

// BucketRules implements kv.Service.
func (n *Node) BucketRules(context.Context) ([]kv.DecidedRules, error) {
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	var list []kv.DecidedRules
	for _, name := range slices.Sorted(maps.Keys(n.store.decided)) {
		list = append(list, n.store.decided[name])
	}
	return list, nil
}
