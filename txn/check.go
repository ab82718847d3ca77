package txn

import (
	"bytes"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// judge decides whether a commit is written, which a nil error says. A retry whose condition is
// broken is: as not applied (invariant 6). snapshot is what its overrides will be written with.
func (c *Committer) judge(w *commit, applied, snapshot clock.Vector) error {
	if err := c.refused.Load(); err != nil {
		return err
	}
	if w.refusal != nil {
		return nil
	}
	broken, err := c.check(w, applied, snapshot)
	if err != nil || broken == nil {
		return err
	}
	w.judged = applied
	if !w.attempt.Retry {
		return broken
	}
	w.refusal = broken
	return nil
}

// check evaluates a commit's conditions against the region's latest state: broken says which of
// them does not hold, err that it could not be found out.
func (c *Committer) check(w *commit, applied, snapshot clock.Vector) (broken, err error) {
	for i := range w.writes.conditions {
		if broken, err := c.compare(w, &w.writes.conditions[i], applied); broken != nil || err != nil {
			return broken, err
		}
	}
	if !w.writes.checked {
		return nil, nil
	}
	v := view{store: c.store, at: applied, seen: snapshot, own: c.lane.Region, mine: w.writes}
	for i := range w.writes.writes {
		e := &w.writes.writes[i]
		if e.dead || e.target.Below || !crdt.NeedsCheck(e.target.Leaf, e.target.Op) {
			continue
		}
		e.dead = true // what the operation meets: all the others of its transaction included
		items, err := v.items(e.place)
		e.dead = false
		if err == nil {
			err = w.writes.guard()(e.target.Leaf, items, applied, e.target.Op)
		}
		if kv.KindOf(err) == kv.KindBound {
			return kv.Errorf(kv.KindBound, "key %q in %q: %w", e.object.Key, e.object.Bucket, err), nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// guard is what large increments are held to. A transaction that keeps the progress of an import writes
// what was read elsewhere; were it held to the range of single increments, a counter that many had taken
// past that could be exported and never imported.
func (s *writeSet) guard() func(leaf kv.Type, items []byte, at clock.Vector, op []byte) error {
	if s.imports {
		return crdt.CheckRestored
	}
	return crdt.Check
}

// compare evaluates a compare-and-set. The assignment covers what its transaction's snapshot sees, and
// only that is a dependency of it; so what it is judged by must not hold more. Otherwise it would be
// concurrent with the value that it replaced, and that value could come back.
func (c *Committer) compare(w *commit, cond *condition, applied clock.Vector) (broken, err error) {
	v, err := c.store.Value(leafOf(cond.place), applied)
	if err != nil {
		return nil, err
	}
	if err := meets(cond.expect, cond.object, v); err != nil || w.snapshot == nil {
		return err, nil // without a snapshot of its own it gets applied
	}
	items, err := c.store.Items(leafOf(cond.place))
	if err != nil {
		return nil, err
	}
	unseen, err := crdt.Unseen(items, applied, w.snapshot)
	if unseen {
		broken = kv.Errorf(kv.KindAborted, "compare-and-set on %q in %q: it was written after the transaction began", cond.object.Key, cond.object.Bucket)
	}
	return broken, err
}

// meets reports whether a register's value is what a compare-and-set expects.
func meets(e *kv.Expectation, o kv.Object, v kv.Value) error {
	switch {
	case e.Absent && !v.Present, !e.Absent && v.Present && bytes.Equal(e.Value, v.Bytes):
		return nil
	case e.Absent:
		return kv.Errorf(kv.KindAborted, "compare-and-set on %q in %q: it has a value already", o.Key, o.Bucket)
	case !v.Present:
		return kv.Errorf(kv.KindAborted, "compare-and-set on %q in %q: it has no value", o.Key, o.Bucket)
	}
	return kv.Errorf(kv.KindAborted, "compare-and-set on %q in %q: it has another value", o.Key, o.Bucket)
}

func leafOf(p place) storage.Leaf {
	return storage.Leaf{Object: p.object, Path: []byte(p.path)}
}

// conflicts reports whether a conditional commit must see what one of the group writes, so that it
// has to wait for the next group.
func (w *commit) conflicts(group []*commit) bool {
	depends := func(p place) bool {
		for _, o := range group {
			if o.writes.wrote(p) {
				return true
			}
		}
		return false
	}
	for _, cond := range w.writes.conditions {
		if depends(cond.place) {
			return true
		}
	}
	for i := 0; w.writes.checked && i < len(w.writes.writes); i++ {
		e := &w.writes.writes[i]
		if !e.dead && !e.target.Below && crdt.NeedsCheck(e.target.Leaf, e.target.Op) && depends(e.place) {
			return true
		}
	}
	return false
}
