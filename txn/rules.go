package txn

import (
	"iter"

	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// bucketRules are the rules of buckets as they are now; nil: there are none.
func (c *Coordinator) bucketRules() *kv.Rules {
	if c.rules == nil {
		return nil
	}
	return c.rules()
}

// settle gives a one-shot transaction the level and the durability that its buckets want, where it names
// none, and refuses what they forbid.
func (c *Coordinator) settle(req *kv.Request) error {
	if r := c.bucketRules(); r != nil {
		if mutant.On(mutant.RulesNotAsked) {
			return nil
		}
		return undecided(req.Options.Attempt, r.Request(req, c.serving()))
	}
	return nil
}

// within refuses what an interactive transaction must not touch, at the level that Begin named.
func (c *Coordinator) within(t *openTxn, ops []kv.Op, queries []kv.Query) error {
	if r := c.bucketRules(); r != nil {
		return r.Within(&t.asked, ops, queries)
	}
	return nil
}

// settleCommit gives the commit of an interactive transaction the durability that its buckets want, where it
// names none.
func (c *Coordinator) settleCommit(t *openTxn, o *kv.Options) error {
	r := c.bucketRules()
	if r == nil || o.Durability != kv.DurabilityDefault {
		return nil
	}
	r.Commit(o, t.writes.buckets(), c.serving())
	return c.reachable(o)
}

// buckets are those that the set writes to.
func (s *writeSet) buckets() iter.Seq[kv.Bucket] {
	return func(yield func(kv.Bucket) bool) {
		for i := range s.writes {
			if w := &s.writes[i]; !w.dead && !yield(w.object.Bucket) {
				return
			}
		}
	}
}
