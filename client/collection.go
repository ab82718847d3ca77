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
// all at one snapshot. An error ends it. A field comes whole, so one that is itself a large set or map
// takes as much memory: go through such a one by itself, as in m.Set("members").Elements(ctx).
func (m Map) Fields(ctx context.Context, opts ...CallOption) iter.Seq2[Field, error] {
	return func(yield func(Field, error) bool) {
		var whole fields
		stopped := false
		err := m.pages(ctx, opts, func(v kv.Value) bool {
			whole.add(v.Fields)
			stopped = !whole.yield(yield, len(v.Next) > 0)
			return !stopped
		})
		if err != nil && !stopped {
			yield(Field{}, err)
		}
	}
}

// fields puts together the fields of pages, which may cut them.
type fields struct{ list []Field }

// add appends a page's fields. The first is the rest of the last one before, if they have one name
// and type: a map has no two such fields.
func (f *fields) add(page []Field) { f.list = joinFields(f.list, page) }

// yield hands out what is complete: with more to come a last field that is a set or map may go on.
func (f *fields) yield(fn func(Field, error) bool, more bool) bool {
	for len(f.list) > 1 || len(f.list) == 1 && !(more && f.list[0].Value.Type >= TypeSetAW) {
		next := f.list[0]
		f.list = f.list[1:]
		if !fn(next, nil) {
			return false
		}
	}
	return true
}

func joinFields(a, b []Field) []Field {
	if n := len(a); n > 0 && len(b) > 0 && a[n-1].Name == b[0].Name && a[n-1].Value.Type == b[0].Value.Type {
		last := &a[n-1].Value
		last.List = append(last.List, b[0].Value.List...)
		last.Fields = joinFields(last.Fields, b[0].Value.Fields)
		b = b[1:]
	}
	return append(a, b...)
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
