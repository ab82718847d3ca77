package client

import (
	"context"
	"iter"

	"github.com/theriac-db/theriac/kv"
)

// GrowSet is a set of elements of at most 1 MiB each, whose elements are never removed alone.
// Elements are strings of any bytes.
type GrowSet struct{ Handle }

// Add adds an element. It costs the same in a set of a million elements as in an empty one.
func (s GrowSet) Add(ctx context.Context, element string, opts ...CallOption) error {
	return s.update(ctx, kv.Op{Verb: kv.VerbAdd, Data: []byte(element)}, opts)
}

// AddAll adds elements, all in one transaction.
func (s GrowSet) AddAll(ctx context.Context, elements []string, opts ...CallOption) error {
	return s.updateEach(ctx, kv.VerbAdd, elements, opts)
}

// Contains reads whether the element is in the set. It costs the same in a set of a million
// elements as in a small one.
func (s GrowSet) Contains(ctx context.Context, element string, opts ...CallOption) (bool, error) {
	v, err := s.query(ctx, kv.Query{Kind: kv.QueryContains, Data: []byte(element)}, opts)
	return v.Flag, err
}

// Members reads all elements at once, in byte order. Page through large sets with Elements.
func (s GrowSet) Members(ctx context.Context, opts ...CallOption) ([]string, error) {
	v, err := s.Value(ctx, opts...)
	if err != nil {
		return nil, err
	}
	members := make([]string, len(v.List))
	for i, e := range v.List {
		members[i] = string(e)
	}
	return members, nil
}

// Elements goes through the elements in byte order, a page at a time, all at one snapshot. An
// error ends it.
func (s GrowSet) Elements(ctx context.Context, opts ...CallOption) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := s.pages(ctx, opts, func(v kv.Value) bool {
			for _, e := range v.List {
				if !yield(string(e), nil) {
					return false
				}
			}
			return true
		})
		if err != nil {
			yield("", err)
		}
	}
}

// Set is a GrowSet whose elements can be removed.
type Set struct{ GrowSet }

// Remove removes an element. It costs the same in a set of a million elements as in a small one.
func (s Set) Remove(ctx context.Context, element string, opts ...CallOption) error {
	return s.update(ctx, kv.Op{Verb: kv.VerbRemove, Data: []byte(element)}, opts)
}

// RemoveAll removes elements, all in one transaction.
func (s Set) RemoveAll(ctx context.Context, elements []string, opts ...CallOption) error {
	return s.updateEach(ctx, kv.VerbRemove, elements, opts)
}

// Map has fields, each a handle of its own type: m.Counter("visits"), m.Map("address"). The type
// is part of a field's identity: a counter "x" and a set "x" are two fields. Maps nest to a depth
// of 32.
type Map struct {
	Handle
	place
}

func newMap(h Handle) Map {
	return Map{h, place{x: h.x, object: h.object, path: h.path, fields: true}}
}

// Field is the field of this name and type.
func (m Map) Field(name string, t Type) Handle { return m.handle(name, t) }

// Remove removes a field with all that is below it. An update of the field that is concurrent with
// the removal wins.
func (m Map) Remove(ctx context.Context, name string, t Type, opts ...CallOption) error {
	return m.Field(name, t).Delete(ctx, opts...)
}

// Get reads the whole map: Value.Fields, in the order of (name, type); Value.Field finds one. Page
// through large maps with Fields.
func (m Map) Get(ctx context.Context, opts ...CallOption) (Value, error) {
	return m.Value(ctx, opts...)
}

// Fields goes through the fields with their values, in the order of (name, type), a page at a time,
// all at one snapshot. An error ends it.
func (m Map) Fields(ctx context.Context, opts ...CallOption) iter.Seq2[Field, error] {
	return func(yield func(Field, error) bool) {
		err := m.pages(ctx, opts, func(v kv.Value) bool {
			for _, f := range v.Fields {
				if !yield(f, nil) {
					return false
				}
			}
			return true
		})
		if err != nil {
			yield(Field{}, err)
		}
	}
}

// pageSize is how many elements, fields or keys an iterator asks for at once; pages of large
// elements end earlier, at kv.MaxPageBytes.
const pageSize = 1000

// pages calls fn with one page after the other, all at one snapshot, until fn returns false.
func (h Handle) pages(ctx context.Context, opts []CallOption, fn func(kv.Value) bool) error {
	return h.x.snapshot(ctx, opts, func(tx *Tx) error {
		inside := Handle{x: tx, object: h.object, path: h.path}
		q := kv.Query{Kind: kv.QueryPage, Limit: pageSize}
		for {
			v, err := inside.query(ctx, q, nil)
			if err != nil {
				return err
			}
			if !fn(v) || len(v.Next) == 0 {
				return nil
			}
			q.After = v.Next
		}
	})
}
