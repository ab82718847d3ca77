package crdt_test

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// This file says what an object's value is, declaratively: from the set of all events and their
// causality, without items, rewrites or forgetting. It uses the numbers of the types and nothing
// else of package crdt.

// event is one operation, as the specification sees it.
type event struct {
	dot      clock.Dot
	txn      int // number of the transaction; order within it is the order of indexes
	snapshot clock.Vector
	path     kv.Path // to a leaf; of a reset, to anything
	verb     kv.Verb // increment, assign, enable, disable or reset
	n        int64
	data     string
	op       kv.Op // what the client said; not used by the specification
}

func (e *event) visible(s clock.Vector) bool { return e.dot.Time <= s.At(e.dot.Region) }

// hasSeen: in e's snapshot, or earlier in e's own transaction.
func (e *event) hasSeen(f *event) bool {
	return f.dot.Time <= e.snapshot.At(f.dot.Region) || e.txn == f.txn && f.dot.Index < e.dot.Index
}

func isPrefix(p, of kv.Path) bool { return len(p) <= len(of) && slices.Equal(p, of[:len(p)]) }

// specification is a set of events on one object.
type specification struct {
	root   kv.Type
	events []*event
}

// at gives the visible events that concern a leaf.
func (s *specification) at(leaf kv.Path, snapshot clock.Vector) []*event {
	var out []*event
	for _, e := range s.events {
		here := slices.Equal(e.path, leaf) || e.verb == kv.VerbReset && isPrefix(e.path, leaf)
		if here && e.visible(snapshot) {
			out = append(out, e)
		}
	}
	return out
}

// uncovered gives the events with one of the verbs want that no event with one of the verbs by has seen.
func uncovered(events []*event, want, by []kv.Verb) []*event {
	var out []*event
	for _, f := range events {
		covered := slices.ContainsFunc(events, func(e *event) bool { return slices.Contains(by, e.verb) && e.hasSeen(f) })
		if slices.Contains(want, f.verb) && !covered {
			out = append(out, f)
		}
	}
	return out
}

func verbs(v ...kv.Verb) []kv.Verb { return v }

// leaf is the value of one leaf.
func (s *specification) leaf(t kv.Type, path kv.Path, snapshot clock.Vector) kv.Value {
	events := s.at(path, snapshot)
	v := kv.Value{Type: t}
	switch t {
	case crdt.Counter:
		for _, e := range uncovered(events, verbs(kv.VerbIncrement), verbs(kv.VerbReset)) {
			v.Present = true
			v.Int += e.n
		}
	case crdt.RegisterLWW:
		won := uncovered(events, verbs(kv.VerbAssign), verbs(kv.VerbAssign, kv.VerbReset))
		slices.SortFunc(won, func(a, b *event) int {
			return cmp.Or(cmp.Compare(a.dot.Time, b.dot.Time), cmp.Compare(a.dot.Region, b.dot.Region),
				cmp.Compare(a.dot.Index, b.dot.Index))
		})
		if len(won) > 0 {
			v.Present, v.Bytes = true, []byte(won[len(won)-1].data)
		}
	case crdt.RegisterMV:
		for _, e := range uncovered(events, verbs(kv.VerbAssign), verbs(kv.VerbAssign, kv.VerbReset)) {
			if !slices.ContainsFunc(v.List, func(b []byte) bool { return string(b) == e.data }) {
				v.List = append(v.List, []byte(e.data))
			}
		}
		slices.SortFunc(v.List, bytes.Compare)
		v.Present = len(v.List) > 0
	case crdt.FlagEW:
		on := uncovered(events, verbs(kv.VerbEnable), verbs(kv.VerbDisable, kv.VerbReset))
		v.Flag = len(on) > 0
		v.Present = v.Flag
	case crdt.FlagDW:
		all := verbs(kv.VerbEnable, kv.VerbDisable, kv.VerbReset)
		on, off := uncovered(events, verbs(kv.VerbEnable), all), uncovered(events, verbs(kv.VerbDisable), all)
		v.Flag = len(on) > 0 && len(off) == 0
		v.Present = v.Flag
	default:
		panic("no leaf")
	}
	return v
}

// value is the value of what lies at a path.
func (s *specification) value(t kv.Type, path kv.Path, snapshot clock.Vector) kv.Value {
	switch t {
	case crdt.SetAW, crdt.SetRW, crdt.SetGO, crdt.Map, crdt.MapGO:
	default:
		return s.leaf(t, path, snapshot)
	}
	v := kv.Value{Type: t}
	for _, step := range s.steps(path) {
		child := s.value(step.Type, append(slices.Clone(path), step), snapshot)
		switch {
		case !child.Present:
			continue
		case t == crdt.Map || t == crdt.MapGO:
			v.Fields = append(v.Fields, kv.Field{Name: step.Name, Value: child})
		default:
			v.List = append(v.List, []byte(step.Name))
		}
		v.Present = true
	}
	return v
}

// steps lists the steps that any event ever took from a path, in the order of (name, type).
func (s *specification) steps(path kv.Path) []kv.Step {
	var out []kv.Step
	for _, e := range s.events {
		if isPrefix(path, e.path) && len(e.path) > len(path) && !slices.Contains(out, e.path[len(path)]) {
			out = append(out, e.path[len(path)])
		}
	}
	slices.SortFunc(out, func(a, b kv.Step) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type))
	})
	return out
}
