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

// write is one effect of an open transaction that nothing later in it overrides.
type write struct {
	place
	target crdt.Target
	expect *kv.Expectation // as asked; becomes a condition when the write is added
	dead   bool            // superseded by a later operation of the same transaction
}

// condition is what must hold of a stored register when the transaction commits.
type condition struct {
	place
	expect *kv.Expectation
}

// writeSet is what a transaction has written so far, settled as it grows (invariant 2).
type writeSet struct {
	writes    []write
	byPlace   map[place][]int // writes by place, in order; nil while there are few
	removals  []int           // writes that land on everything below their path
	live      int
	bytes     int
	overrides bool // some write needs the transaction's snapshot
	checked   bool // some write, perhaps a dead one, is checked against the leaf's value
	imports   bool // some write, perhaps a dead one, keeps an import's progress
	// conditions outlive the writes that they came with: a later write does not lift them.
	conditions []condition
}

// fewWrites is up to how many writes a linear search is faster than a map.
const fewWrites = 8

// prepare resolves operations into the spare room behind the writes, where addNext takes them up; a
// refused call adds nothing.
func (s *writeSet) prepare(ops []kv.Op) ([]write, error) {
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
		out[i] = write{place: place{object: ops[i].Object}, target: t, expect: ops[i].Expect}
		if len(t.Path) > 0 {
			out[i].path = string(kv.AppendPath(nil, t.Path))
		}
	}
	return out, s.room(out)
}

// room refuses more than a transaction may hold.
func (s *writeSet) room(ws []write) error {
	if s.live+len(ws) > kv.MaxOps {
		return kv.Errorf(kv.KindTooLarge, "transaction of %d operations: at most %d; split it", s.live+len(ws), kv.MaxOps)
	}
	size := s.bytes
	for i := range ws {
		size += ws[i].size()
	}
	if size > MaxTxnBytes {
		return kv.Errorf(kv.KindTooLarge, "transaction of %d bytes: at most %d; split it", size, MaxTxnBytes)
	}
	return nil
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

func (w *write) size() int {
	return len(w.object.Bucket) + len(w.object.Key) + len(w.path) + len(w.target.Op)
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
	if dead := len(s.writes) - s.live; dead > s.live+keptDead {
		s.compact()
	}
	return nil
}

// keptDead is how many dead writes a set keeps at least before it drops them.
const keptDead = 64

// compact drops dead writes. The order of the others, which their dots follow, stays.
func (s *writeSet) compact() {
	s.writes = slices.Clip(slices.DeleteFunc(s.writes, func(w write) bool { return w.dead }))
	s.rebuild()
}

// rebuild derives what is looked up from the writes.
func (s *writeSet) rebuild() {
	s.byPlace, s.removals = nil, nil
	for i := range s.writes {
		if s.writes[i].target.Below {
			s.removals = append(s.removals, i)
		}
	}
	if len(s.writes) > fewWrites {
		s.index(len(s.writes) - 1)
	}
}

// clone is a set that can be changed without changing this one.
func (s *writeSet) clone() *writeSet {
	c := *s
	c.writes, c.conditions = slices.Clone(s.writes), slices.Clone(s.conditions)
	c.rebuild()
	return &c
}

// addNext takes up the next prepared write and settles what it overrides.
func (s *writeSet) addNext() {
	w := &s.writes[:len(s.writes)+1][len(s.writes)]
	if w.expect != nil && !s.wrote(w.place) {
		s.conditions = append(s.conditions, condition{w.place, w.expect})
	}
	s.settle(w)
	s.writes = s.writes[:len(s.writes)+1]
	s.live++
	s.bytes += w.size()
	s.overrides = s.overrides || w.target.Override
	s.imports = s.imports || w.object.Bucket == kv.ImportBucket
	s.checked = s.checked || !w.target.Below && crdt.NeedsCheck(w.target.Leaf, w.target.Op)
	if w.target.Below {
		s.removals = append(s.removals, len(s.writes)-1)
	}
	s.index(len(s.writes) - 1)
}

// wrote reports whether the set already decides the value of a register.
func (s *writeSet) wrote(p place) bool {
	for _, i := range s.at(p) {
		if !s.writes[i].dead {
			return true
		}
	}
	return slices.ContainsFunc(s.removals, func(i int) bool { return s.covers(i, p) })
}

// covers reports whether write i, a removal, lands on the leaf.
func (s *writeSet) covers(i int, leaf place) bool {
	w := &s.writes[i]
	return !w.dead && w.object == leaf.object && strings.HasPrefix(leaf.path, w.path)
}

// settle marks dead what w overrides.
func (s *writeSet) settle(w *write) {
	if s.live == 0 {
		return
	}
	if w.target.Below {
		for i := range s.writes {
			if o := &s.writes[i]; o.object == w.object && strings.HasPrefix(o.path, w.path) {
				s.kill(i)
			}
		}
		return
	}
	for _, i := range s.at(w.place) {
		o := &s.writes[i]
		if !o.target.Below && crdt.Supersedes(w.target.Leaf, w.target.Op, o.target.Op) {
			s.kill(i)
		}
	}
}

func (s *writeSet) kill(i int) {
	o := &s.writes[i]
	if o.dead {
		return
	}
	o.dead = true
	s.live--
	s.bytes -= o.size()
}

// index adds write i to the map, building it when the set stops being small.
func (s *writeSet) index(i int) {
	switch {
	case s.byPlace != nil:
		p := s.writes[i].place
		s.byPlace[p] = append(s.byPlace[p], i)
	case len(s.writes) > fewWrites:
		s.byPlace = make(map[place][]int, 2*len(s.writes))
		for j := range s.writes {
			p := s.writes[j].place
			s.byPlace[p] = append(s.byPlace[p], j)
		}
	}
}

// at lists the writes, dead ones included, at exactly this place.
func (s *writeSet) at(p place) []int {
	if s.byPlace != nil {
		return s.byPlace[p]
	}
	if len(s.writes) == 0 {
		return nil
	}
	var out []int
	for i := range s.writes {
		if s.writes[i].place == p {
			out = append(out, i)
		}
	}
	return out
}

// effects appends the live writes, as a record holds them.
func (s *writeSet) effects(out []kv.Effect) []kv.Effect {
	for i := range s.writes {
		if w := &s.writes[i]; !w.dead {
			out = append(out, kv.Effect{Object: w.object, Path: []byte(w.path), Op: w.target.Op})
		}
	}
	return out
}

// overlay appends, behind a stored leaf's items, what this transaction did to the leaf: its own
// resets from above, then its own operations. They get dots that every fold of the transaction sees.
// covered is the snapshot that its overrides are written with.
func (s *writeSet) overlay(items []byte, leaf place, covered clock.Vector, own clock.Region) []byte {
	add := func(i int) {
		dot := clock.Dot{Region: own, Time: clock.MaxTimestamp, Index: uint32(i)}
		var seen clock.Vector
		if s.writes[i].target.Override {
			seen = covered
		}
		items = crdt.AppendItem(items, dot, seen, s.writes[i].target.Op)
	}
	for _, i := range s.removals {
		if s.covers(i, leaf) {
			add(i)
		}
	}
	for _, i := range s.at(leaf) {
		if w := &s.writes[i]; !w.dead && !w.target.Below {
			add(i)
		}
	}
	return items
}

// touches reports whether the set wrote to the object at all.
func (s *writeSet) touches(o kv.Object) bool {
	if s == nil {
		return false
	}
	for i := range s.writes {
		if !s.writes[i].dead && s.writes[i].object == o {
			return true
		}
	}
	return false
}

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
