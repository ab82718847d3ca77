package txn

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
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
	if broken := c.dropped(w, applied); broken != nil {
		return broken, nil
	}
	for i := range w.writes.conditions {
		if broken, err := c.compare(w, &w.writes.conditions[i], applied); broken != nil || err != nil {
			return broken, err
		}
	}
	return c.withinBounds(w.writes, applied, snapshot)
}

// withinBounds evaluates the operations of a set that a leaf's value must allow: broken says which leaf's does
// not, at what is applied, err that it could not be found out.
func (c *Committer) withinBounds(set *writeSet, applied, snapshot clock.Vector) (broken, err error) {
	if !set.checked {
		return nil, nil
	}
	v := view{store: c.store, at: applied, seen: snapshot, own: c.lane.Region, mine: set}
	guard, seen := set.guard(), make(map[place]bool)
	for i := range set.writes {
		e := &set.writes[i]
		if !e.needsCheck() || seen[e.place] {
			continue
		}
		seen[e.place] = true
		items, ops, err := v.guarded(e.place)
		if err == nil {
			err = guard(e.target.Leaf, items, applied, ops...)
		}
		if kv.KindOf(err) == kv.KindBound {
			return kv.Errorf(kv.KindBound, "%s: %w", e.place, err), nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// guarded is what the operations that are checked meet at a place, and those operations: of one place they
// are checked together, since each meets all the others.
func (v *view) guarded(p place) (items []byte, ops [][]byte, err error) {
	on := v.mine.on(p)
	if items, err = v.standing(p, on); err != nil {
		return nil, nil, err
	}
	for _, i := range on {
		if w := &v.mine.writes[i]; w.needsCheck() {
			ops = append(ops, w.target.Op)
		} else {
			items = v.mine.appendItem(items, i, v.seen, v.own)
		}
	}
	return items, ops, nil
}

// standing is what the store holds of a leaf, for checks. Mostly the value will do, and the cache may have
// it where the leaf's items are very many: while a region is away nothing settles. Who removes some of
// them needs them all, and so does a sum beyond 64 bits.
func (v *view) standing(p place, on []int) ([]byte, error) {
	if !slices.ContainsFunc(on, func(i int) bool { return v.mine.writes[i].target.Override }) {
		value, found, err := v.store.Cached(v.generations().leaf(p), v.at)
		if err != nil && kv.KindOf(err) != kv.KindBound {
			return nil, err
		}
		if items, ok := crdt.AppendStanding(nil, value); err == nil && found && ok {
			return items, nil
		}
	}
	return v.store.Items(v.generations().leaf(p))
}

// guard is what large increments are held to. A transaction that keeps the progress of an import writes
// what was read elsewhere; were it held to the range of single increments, a counter that many had taken
// past that could be exported and never imported.
func (s *writeSet) guard() func(leaf kv.Type, items []byte, at clock.Vector, ops ...[]byte) error {
	if s.imports() {
		return crdt.CheckRestored
	}
	return crdt.Check
}

// imports reports whether the set keeps the progress of an import.
func (s *writeSet) imports() bool {
	for i := range s.writes {
		if w := &s.writes[i]; !w.dead && !w.target.Below && w.object.Bucket == kv.ImportBucket {
			return true
		}
	}
	return false
}

// compare evaluates a compare-and-set. The assignment covers what its transaction's snapshot sees, and
// only that is a dependency of it; so what it is judged by must not hold more. Otherwise it would be
// concurrent with the value that it replaced, and that value could come back.
func (c *Committer) compare(w *commit, cond *condition, applied clock.Vector) (broken, err error) {
	leaf := generations{c.store, applied}.leaf(cond.place)
	v, err := c.store.Value(leaf, applied)
	if err != nil {
		return nil, err
	}
	if err := meets(cond.expect, cond.place, v); err != nil || w.snapshot == nil {
		return err, nil // without a snapshot of its own it gets applied
	}
	items, err := c.store.Items(leaf)
	if err != nil {
		return nil, err
	}
	unseen, err := crdt.Unseen(items, applied, w.snapshot)
	if unseen {
		broken = kv.Errorf(kv.KindAborted, "compare-and-set on %s: it was written after the transaction began; begin it again", cond.place)
	}
	return broken, err
}

// meets reports whether a register's value is what a compare-and-set expects.
func meets(e *kv.Expectation, p place, v kv.Value) error {
	var has string
	switch {
	case e.Absent && !v.Present, !e.Absent && v.Present && bytes.Equal(e.Value, v.Bytes):
		return nil
	case e.Absent:
		has = "a value already"
	case !v.Present:
		has = "no value"
	default:
		has = "another value"
	}
	return kv.Errorf(kv.KindAborted, "compare-and-set on %s: it has %s; read it again and decide anew", p, has)
}

// String says which leaf of which object it is, for errors.
func (p place) String() string {
	what := fmt.Sprintf("key %q in %q", p.object.Key, p.object.Bucket)
	if path, err := kv.DecodePath([]byte(p.path)); err == nil && len(path) > 0 {
		what = fmt.Sprintf("field %s of %s", fieldNames(path), what)
	}
	return what
}

// maxCompared bounds the work of conflicts, which keeps the writer from all else: what a commit depends
// on, times the commits in the group.
const maxCompared = 1 << 14

// conflicts reports whether a conditional commit must see what one of the group writes, so that it
// has to wait for the next group; or that this would take long to find out, and it does.
func (w *commit) conflicts(group []*commit) bool {
	places := w.writes.depends()
	if len(places)*len(group) > maxCompared {
		return true
	}
	for _, p := range places {
		for _, o := range group {
			if o.writes.wrote(p) && !mutant.On(mutant.ComparedWithinGroup) {
				return true
			}
		}
	}
	return false
}

// depends lists the leaves whose values decide whether the set may be written.
func (s *writeSet) depends() []place {
	if !s.judged() {
		return nil
	}
	out := make([]place, 0, len(s.conditions))
	for i := range s.conditions {
		out = append(out, s.conditions[i].place)
	}
	for i := 0; s.checked && i < len(s.writes); i++ {
		if w := &s.writes[i]; w.needsCheck() {
			out = append(out, w.place)
		}
	}
	return out
}
