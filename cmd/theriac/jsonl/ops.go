package jsonl

import (
	"slices"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// Ops are the operations that write a value, in rounds: those of one round belong into one
// transaction, and the transactions of all rounds must not see each other. Nearly every value has
// one round; a register-mv that holds several concurrent values has as many as values, since that is
// how they came about. Rounds and their order depend on the value alone, so that an interrupted
// import can go on within an object.
func Ops(o kv.Object, v kv.Value) [][]kv.Op {
	w := writer{object: o}
	w.value(nil, v)
	return w.rounds
}

type writer struct {
	object kv.Object
	rounds [][]kv.Op
}

func (w *writer) add(round int, path kv.Path, op kv.Op) {
	if round == len(w.rounds) {
		w.rounds = append(w.rounds, nil)
	}
	op.Object, op.Path = w.object, path
	w.rounds[round] = append(w.rounds[round], op)
}

func (w *writer) value(path kv.Path, v kv.Value) {
	switch v.Type {
	case crdt.Counter:
		w.add(0, path, kv.Op{Verb: kv.VerbIncrement, Int: v.Int})
	case crdt.RegisterLWW:
		w.add(0, path, kv.Op{Verb: kv.VerbAssign, Data: v.Bytes})
	case crdt.RegisterMV:
		for i, b := range v.List {
			w.add(i, path, kv.Op{Verb: kv.VerbAssign, Data: b})
		}
	case crdt.FlagEW, crdt.FlagDW:
		verb := kv.VerbDisable
		if v.Flag {
			verb = kv.VerbEnable
		}
		w.add(0, path, kv.Op{Verb: verb})
	case crdt.Map, crdt.MapGO:
		for _, f := range v.Fields {
			w.value(append(slices.Clip(path), kv.Step{Name: f.Name, Type: f.Value.Type}), f.Value)
		}
	default:
		for _, e := range v.List {
			w.add(0, path, kv.Op{Verb: kv.VerbAdd, Data: e})
		}
	}
}
