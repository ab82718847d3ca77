package txn

import (
	"bytes"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// place is where an effect lands: a leaf, or the root of what a reset removes.
type place struct {
	object kv.Object
	path   string // encoded
}

// above yields the places above p, the root of the object first.
func (p place) above(yield func(place) bool) {
	for rest := []byte(p.path); len(rest) > 0; {
		if !yield(place{p.object, p.path[:len(p.path)-len(rest)]}) {
			return
		}
		behind, ok := kv.SkipName(rest)
		if !ok || len(behind) == 0 {
			return
		}
		rest = behind[1:]
	}
}

// write is one effect of an open transaction.
type write struct {
	place
	target crdt.Target
	expect *kv.Expectation // as asked; becomes a condition when the write is added
	dead   bool            // superseded by a later operation of the same transaction; it holds nothing any more
}

// condition is what must hold of a stored register when the transaction commits.
type condition struct {
	place
	expect *kv.Expectation
}

// writeSet is what a transaction has written so far, settled as it grows (invariant 2).
type writeSet struct {
	writes    []write
	at, under map[place][]int // see index.go
	removals  int             // live writes that land on everything below their path
	live      int
	bytes     int  // what the live writes and the conditions hold
	overhead  int  // what all writes take beside it, about
	overrides bool // some write needs the transaction's snapshot
	checked   bool // some write, perhaps a dead one, is checked against the leaf's value
	// conditions outlive the writes that they came with: a later write does not lift them.
	conditions []condition

	// hold is asked whether the set may take so many bytes, of an open transaction, beside those of others;
	// nil: it may.
	hold func(bytes int) error
}

// What a write takes beside the bytes that MaxTxnBytes counts, about, and goes on taking when it is dead.
const (
	perWrite = 256
	perStep  = 128 // of its path
)

func (w *write) overhead() int { return perWrite + perStep*len(w.target.Path) }

// memory is what the set takes in all, about.
func (s *writeSet) memory() int { return s.bytes + s.overhead }

// prepare resolves operations into the spare room behind the writes, where addNext takes them up; a
// refused call adds nothing.
func (s *writeSet) prepare(ops []kv.Op) ([]write, error) {
	if n := len(s.writes) + len(ops); n > kv.MaxOps {
		return nil, kv.Errorf(kv.KindTooLarge, "transaction of %d operations, those included that later ones replaced: at most %d; split it", n, kv.MaxOps)
	}
	first := len(s.writes)
	s.writes = slices.Grow(s.writes, len(ops))
	out := s.writes[first : first+len(ops)]
	for i := range ops {
		t, err := crdt.Resolve(ops[i])
		if err == nil {
			err = kv.CheckWritable(&ops[i])
		}
		if err != nil {
			return nil, err
		}
		out[i] = write{place: place{object: ops[i].Object}, target: t, expect: keep(ops[i].Expect)}
		if len(t.Path) > 0 {
			out[i].path = string(kv.AppendPath(nil, t.Path))
		}
	}
	return out, s.room(out)
}

// keep copies an expectation: its caller may use the bytes again before the transaction commits.
func keep(e *kv.Expectation) *kv.Expectation {
	if e == nil {
		return nil
	}
	return &kv.Expectation{Absent: e.Absent, Value: bytes.Clone(e.Value)}
}

// room refuses more than a transaction may hold.
func (s *writeSet) room(ws []write) error {
	size, overhead := s.bytes, s.overhead
	for i := range ws {
		size += ws[i].size() + ws[i].conditionSize()
		overhead += ws[i].overhead()
	}
	if size > MaxTxnBytes {
		return kv.Errorf(kv.KindTooLarge, "transaction of %d bytes: at most %d; split it", size, MaxTxnBytes)
	}
	if s.hold == nil {
		return nil
	}
	return s.hold(size + overhead)
}

// judged reports whether the commit may be refused for what the region holds then.
func (s *writeSet) judged() bool { return s.checked || len(s.conditions) > 0 }

// ifAny is the set itself, or nil when it is empty, so that reads take the short way.
func (s *writeSet) ifAny() *writeSet {
	if s.live == 0 {
		return nil
	}
	return s
}

func (p place) size() int { return len(p.object.Bucket) + len(p.object.Key) + len(p.path) }

func (w *write) size() int { return w.place.size() + len(w.target.Op) }

func (w *write) conditionSize() int {
	if w.expect == nil {
		return 0
	}
	return w.place.size() + len(w.expect.Value)
}

// addAll adds operations: none if one of them is refused before the first is added, as all are that
// make no sense or are too many; check, if there is one, is asked before each.
func (s *writeSet) addAll(ops []kv.Op, check func(*write) error) error {
	prepared, err := s.prepare(ops)
	if err != nil {
		return err
	}
	for i := range prepared {
		if check != nil {
			if err := check(&prepared[i]); err != nil {
				return err
			}
		}
		s.addNext()
	}
	return nil
}

// clone is a set that can be changed without changing this one.
func (s *writeSet) clone() *writeSet {
	c := *s
	c.writes, c.conditions = slices.Clone(s.writes), slices.Clone(s.conditions)
	c.reindex()
	return &c
}

// addNext takes up the next prepared write and settles what it overrides.
func (s *writeSet) addNext() {
	i := len(s.writes)
	w := &s.writes[:i+1][i]
	if w.expect != nil && !s.wrote(w.place) {
		s.conditions = append(s.conditions, condition{w.place, w.expect})
		s.bytes += w.conditionSize()
	}
	s.overhead += w.overhead()
	w.expect, w.target.Path = nil, nil
	s.settle(w)
	s.writes = s.writes[:i+1]
	s.live++
	s.bytes += w.size()
	s.overrides = s.overrides || w.target.Override
	s.checked = s.checked || w.needsCheck()
	if w.target.Below {
		s.removals++
	}
	s.index(i)
}

// needsCheck reports whether the write may commit only where the leaf's value allows it.
func (w *write) needsCheck() bool {
	return !w.dead && !w.target.Below && crdt.NeedsCheck(w.target.Leaf, w.target.Op)
}

// wrote reports whether the set already decides the value of a register, or adds to that of a counter.
func (s *writeSet) wrote(p place) bool {
	if s == nil || s.live == 0 {
		return false
	}
	return len(s.exactly(p)) > 0 || len(s.removing(nil, p)) > 0
}

// settle drops what w overrides.
func (s *writeSet) settle(w *write) {
	switch {
	case s.live == 0:
	case w.target.Below:
		s.killBelow(w.place)
	case crdt.Replaces(w.target.Leaf, w.target.Op):
		s.killAt(w.place)
	}
}

// kill makes a write dead: it holds nothing from then on but its place in the order.
func (s *writeSet) kill(i int) {
	o := &s.writes[i]
	if o.dead {
		return
	}
	s.live--
	s.bytes -= o.size()
	if o.target.Below {
		s.removals--
	}
	*o = write{dead: true}
}

// effects appends the live writes, as a record holds them.
func (s *writeSet) effects(out []kv.Effect, g generations) []kv.Effect {
	for i := range s.writes {
		if w := &s.writes[i]; !w.dead {
			out = append(out, kv.Effect{Object: w.object, Generation: g.of(w.object.Bucket), Path: []byte(w.path), Op: w.target.Op})
		}
	}
	return out
}

// overlay appends, behind a stored leaf's items, what this transaction did to the leaf: its own
// resets from above, then its own operations. They get dots that every fold of the transaction sees.
// covered is the snapshot that its overrides are written with.
func (s *writeSet) overlay(items []byte, leaf place, covered clock.Vector, own clock.Region) []byte {
	for _, i := range s.on(leaf) {
		items = s.appendItem(items, i, covered, own)
	}
	return items
}

func (s *writeSet) appendItem(items []byte, i int, covered clock.Vector, own clock.Region) []byte {
	dot := clock.Dot{Region: own, Time: clock.MaxTimestamp, Index: uint32(i)}
	if !s.writes[i].target.Override {
		covered = nil
	}
	return crdt.AppendItem(items, dot, covered, s.writes[i].target.Op)
}

// on lists the writes that decide a leaf: removals above it, then those on it, each in order.
func (s *writeSet) on(leaf place) []int { return append(s.removing(nil, leaf), s.exactly(leaf)...) }

// leavesBelow lists the encoded paths of leaves that the set wrote below a path, sorted, each once.
func (s *writeSet) leavesBelow(o kv.Object, below string) []string {
	if s == nil {
		return nil
	}
	var out []string
	for i := range s.writes {
		w := &s.writes[i]
		if !w.dead && !w.target.Below && w.object == o && strings.HasPrefix(w.path, below) {
			out = append(out, w.path)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return bytes.Compare([]byte(a), []byte(b)) })
	return slices.Compact(out)
}

// objects lists the objects of a bucket that the set wrote to, each once, in listing order.
func (s *writeSet) objects(b kv.Bucket, prefix kv.Key) []kv.Object {
	if s == nil {
		return nil
	}
	var out []kv.Object
	for i := range s.writes {
		w := &s.writes[i]
		if !w.dead && w.object.Bucket == b && strings.HasPrefix(string(w.object.Key), string(prefix)) {
			out = append(out, w.object)
		}
	}
	slices.SortFunc(out, compareObjects)
	return slices.Compact(out)
}

// compareObjects is the order of listings: by key, then type.
func compareObjects(a, b kv.Object) int {
	if c := strings.Compare(string(a.Key), string(b.Key)); c != 0 {
		return c
	}
	return int(a.Type) - int(b.Type)
}
