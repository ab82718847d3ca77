package meta

import (
	"math"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

func (c *Create) apply(s *State, _ clock.Timestamp) (Result, error) {
	b, err := s.entry(c.Rules.Name)
	if err != nil {
		return Result{}, err
	}
	if b.since != 0 {
		return Result{}, kv.Errorf(kv.KindInvalid, "bucket %q exists; alter it", string(c.Rules.Name))
	}
	s.buckets[c.Rules.Name] = b
	s.decide(b, c.Rules)
	return Result{}, nil
}

func (c *Alter) apply(s *State, _ clock.Timestamp) (Result, error) {
	b, err := s.known(c.Rules.Name)
	if err != nil {
		return Result{}, err
	}
	if c.Was != 0 && c.Was != b.since {
		return Result{}, kv.Errorf(kv.KindAborted, "bucket %q was altered by somebody else meanwhile; look at it and try again", string(c.Rules.Name))
	}
	rules := c.Rules
	rules.Created = b.rules.Created
	s.decide(b, rules)
	return Result{}, nil
}

func (c *Drop) apply(s *State, _ clock.Timestamp) (Result, error) {
	b, err := s.entry(c.Bucket)
	switch {
	case err != nil:
		return Result{}, err
	case c.Generation < b.rules.Generation:
		return Result{}, kv.Errorf(kv.KindAborted, "bucket %q was dropped by somebody else meanwhile", string(c.Bucket))
	case c.Ruled && b.since == 0:
		return Result{}, kv.Errorf(kv.KindNotFound, "there is no bucket %q: it has no rules and holds nothing", string(c.Bucket))
	case c.Generation == math.MaxUint32:
		return Result{}, kv.Errorf(kv.KindTooLarge, "bucket %q was dropped as often as can be", string(c.Bucket))
	}
	s.version++
	b.rules = kv.BucketRules{Name: c.Bucket, Generation: c.Generation + 1}
	b.since, b.dropped = 0, s.version
	s.buckets[c.Bucket] = b
	s.generations[string(kv.AppendName(nil, string(c.Bucket)))] = b.rules.Generation
	return Result{Commits: true}, nil
}

// entry is what is kept of a bucket, or room for it, which is not taken yet.
func (s *State) entry(name kv.Bucket) (*bucket, error) {
	switch b := s.buckets[name]; {
	case len(s.regions) == 0:
		return nil, kv.Errorf(kv.KindUnavailable, "bucket %q: the cluster has not been founded", string(name))
	case b != nil:
		return b, nil
	case len(s.buckets) >= MaxBuckets:
		return nil, kv.Errorf(kv.KindTooLarge, "bucket %q: there are %d buckets with rules, dropped ones included, and no more can be kept",
			string(name), MaxBuckets)
	}
	return &bucket{}, nil
}

// known finds a bucket that has rules.
func (s *State) known(name kv.Bucket) (*bucket, error) {
	if b := s.buckets[name]; b != nil && b.since != 0 {
		return b, nil
	}
	return nil, kv.Errorf(kv.KindNotFound, "bucket %q has no rules that could be altered; create it first", string(name))
}

// decide gives a bucket rules; its generation stays.
func (s *State) decide(b *bucket, rules kv.BucketRules) {
	s.version++
	rules = cloned(rules)
	rules.Generation = b.rules.Generation
	b.rules, b.since = rules, s.version
}
