package memkv

import (
	"context"
	"maps"
	"slices"

	"github.com/theriac-db/theriac/clock"
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

// DropBucket implements kv.Service.
func (n *Node) DropBucket(ctx context.Context, req kv.DropRequest) (d kv.DroppedBucket, err error) {
	s, o := n.store, kv.Options{Level: kv.LevelStrong, Token: req.Token}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err = kv.CheckDrop(req.Bucket); err == nil {
		err = n.admit(ctx, o)
	}
	if err != nil {
		return d, err
	}
	_, ruled := s.decided[req.Bucket]
	switch holds := s.content.holdsAny(req.Bucket); {
	case !holds && !ruled:
		return d, kv.Errorf(kv.KindNotFound, "there is no bucket %q: it has no rules and holds nothing", string(req.Bucket))
	case holds && !req.WithData:
		return d, kv.Errorf(kv.KindInvalid, "bucket %q holds data, which would be gone for good: say that it may be (WithData, --yes)", string(req.Bucket))
	}
	s.drop(req.Bucket)
	d = kv.DroppedBucket{Generation: s.generations[req.Bucket], Receipt: n.receipt(&o)}
	d.Receipt.Commit = clock.Stamp{Time: s.last}
	return d, nil
}

// drop is a strong commit that writes every object of a bucket.
func (s *Store) drop(b kv.Bucket) {
	s.changes++
	s.last++
	s.seen = s.seen.With(0, s.last)
	for o := range s.content {
		if o.Bucket == b {
			delete(s.content, o)
			s.written[o] = s.last
		}
	}
	s.written[kv.Object{Bucket: b}] = s.last
	delete(s.buckets, b)
	delete(s.decided, b)
	s.generations[b]++
	s.enforce()
}

// holdsAny reports whether there is an object in a bucket.
func (c content) holdsAny(b kv.Bucket) bool {
	return slices.ContainsFunc(c.objects(), func(o kv.Object) bool { return o.Bucket == b })
}

// decide keeps rules. All regions act by them at once.
func (s *Store) decide(rules kv.BucketRules) kv.DecidedRules {
	s.changes++
	rules.Generation = s.generations[rules.Name]
	d := kv.DecidedRules{BucketRules: rules, Since: s.changes}
	s.decided[rules.Name] = d
	s.enforce()
	return d
}

// enforce has calls judged by what is decided.
func (s *Store) enforce() {
	var list []kv.BucketRules
	for _, d := range s.decided {
		list = append(list, d.BucketRules)
	}
	s.rules = kv.NewRules(list)
}

// RemoveRegion implements kv.Service: the regions of a Store are its nodes, which come and go with their callers.
func (n *Node) RemoveRegion(_ context.Context, name string) error {
	return kv.Errorf(kv.KindInvalid, "region %q: the regions of a store in memory can't be removed", name)
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
