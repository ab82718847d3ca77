package client

import (
	"context"
	"slices"
	"sync"

	"github.com/theriac-db/theriac/kv"
)

// executor runs what handles ask for: at once (a DB or Session), or as part of a transaction (Tx).
type executor interface {
	// do writes the operations and answers the queries. Whether queries see the operations of the
	// same call is the implementation's: handles never send both.
	// The answers may lie in room, if there is any.
	do(ctx context.Context, ops []kv.Op, queries []kv.Query, room []kv.Value, opts []CallOption) ([]kv.Value, error)
	// snapshot calls fn with a transaction at whose snapshot it may read until it returns.
	snapshot(ctx context.Context, opts []CallOption, fn func(tx *Tx) error) error
}

// Handle addresses an object, or a field within a map, of any type. It costs nothing and holds
// nothing: make one whenever one is needed. The typed handles (Counter, Set, Map, ...) are Handles
// with the operations of their type.
type Handle struct {
	x      executor
	object kv.Object
	path   kv.Path
}

// Object is the object that the handle addresses, or in which its field lies.
func (h Handle) Object() Object { return h.object }

// Path leads from the object to the field; empty when the handle addresses the object itself.
func (h Handle) Path() Path { return slices.Clone(h.path) }

// Type is the type of what the handle addresses.
func (h Handle) Type() Type {
	if len(h.path) > 0 {
		return h.path[len(h.path)-1].Type
	}
	return h.object.Type
}

// Value reads the whole value, whatever its type.
func (h Handle) Value(ctx context.Context, opts ...CallOption) (Value, error) {
	return h.query(ctx, kv.Query{Kind: kv.QueryValue}, opts)
}

// Delete removes the value with everything below it: what this transaction's snapshot holds of it.
// An update that is concurrent with the removal survives it.
func (h Handle) Delete(ctx context.Context, opts ...CallOption) error {
	return h.update(ctx, kv.Op{Verb: kv.VerbReset}, opts)
}

// single is what a read of one value needs. A service keeps no slice of a request, so it is used again.
type single struct {
	query  [1]kv.Query
	answer [1]kv.Value
}

var singles = sync.Pool{New: func() any { return new(single) }}

func (h Handle) query(ctx context.Context, q kv.Query, opts []CallOption) (kv.Value, error) {
	q.Object, q.Path = h.object, h.path
	s := singles.Get().(*single)
	s.query[0] = q
	values, err := h.x.do(ctx, nil, s.query[:], s.answer[:], opts)
	var v kv.Value
	if err == nil {
		v = values[0]
	}
	*s = single{}
	singles.Put(s)
	return v, err
}

func (h Handle) update(ctx context.Context, op kv.Op, opts []CallOption) error {
	op.Object, op.Path = h.object, h.path
	_, err := h.x.do(ctx, []kv.Op{op}, nil, nil, opts)
	return err
}

// updateEach writes one operation for each element, all in one transaction.
func (h Handle) updateEach(ctx context.Context, verb kv.Verb, elements []string, opts []CallOption) error {
	if len(elements) == 0 {
		return nil
	}
	ops := make([]kv.Op, len(elements))
	for i, e := range elements {
		ops[i] = kv.Op{Object: h.object, Path: h.path, Verb: verb, Data: []byte(e)}
	}
	_, err := h.x.do(ctx, ops, nil, nil, opts)
	return err
}

// place makes the typed handles of one place: of a bucket's keys, or of a map's fields.
type place struct {
	x      executor
	object kv.Object // the map's object; of a bucket only Bucket is set
	path   kv.Path   // to the map
	fields bool      // handles are fields of a map, not objects
}

func (p place) handle(name string, t kv.Type) Handle {
	if !p.fields {
		return Handle{x: p.x, object: kv.Object{Bucket: p.object.Bucket, Key: kv.Key(name), Type: t}}
	}
	// Clip, so that two fields of one map never share the array behind their paths.
	path := append(slices.Clip(p.path), kv.Step{Name: name, Type: t})
	return Handle{x: p.x, object: p.object, path: path}
}

// Counter is the counter of this name.
func (p place) Counter(name string) Counter { return Counter{p.handle(name, TypeCounter)} }

// Register is the last-writer-wins register of this name.
func (p place) Register(name string) Register { return Register{p.handle(name, TypeRegisterLWW)} }

// MVRegister is the multi-value register of this name.
func (p place) MVRegister(name string) MVRegister { return MVRegister{p.handle(name, TypeRegisterMV)} }

// Flag is the flag of this name in which enable wins over a concurrent disable.
func (p place) Flag(name string) Flag { return Flag{p.handle(name, TypeFlagEW)} }

// FlagDW is the flag of this name in which disable wins over a concurrent enable.
func (p place) FlagDW(name string) Flag { return Flag{p.handle(name, TypeFlagDW)} }

// Set is the set of this name in which add wins over a concurrent remove.
func (p place) Set(name string) Set { return Set{GrowSet{p.handle(name, TypeSetAW)}} }

// SetRW is the set of this name in which remove wins over a concurrent add.
func (p place) SetRW(name string) Set { return Set{GrowSet{p.handle(name, TypeSetRW)}} }

// SetGO is the set of this name that only grows.
func (p place) SetGO(name string) GrowSet { return GrowSet{p.handle(name, TypeSetGO)} }

// Map is the map of this name.
func (p place) Map(name string) Map { return newMap(p.handle(name, TypeMap)) }

// MapGO is the map of this name whose fields are never removed.
func (p place) MapGO(name string) Map { return newMap(p.handle(name, TypeMapGO)) }
