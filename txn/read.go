package txn

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// view is what a transaction reads: the store at a snapshot, with its own writes on top.
type view struct {
	store *storage.Store
	at    clock.Vector
	seen  clock.Vector // what the own overrides cover; nil: at
	own   clock.Region
	mine  *writeSet // nil: none
	room  *room     // what the answer may still take; nil: anything
	reads *readSet  // takes note of what is read; nil: nobody asks
}

func (v *view) generations() generations { return generations{v.store, v.at} }

// query answers one query.
func (v *view) query(ctx context.Context, q *kv.Query) (kv.Value, error) {
	typ, err := crdt.Address(q.Object, q.Path)
	if err != nil {
		return kv.Value{}, err
	}
	at := place{object: q.Object}
	if len(q.Path) > 0 {
		at.path = string(kv.AppendPath(nil, q.Path))
	}
	if err := v.reads.query(q, at, typ); err != nil {
		return kv.Value{}, err
	}
	switch q.Kind {
	case kv.QueryContains:
		return v.contains(q, at, typ)
	case kv.QueryPage:
		return v.page(ctx, q, at, typ)
	case kv.QueryValue:
		if crdt.IsCollection(typ) {
			return v.collection(ctx, at, typ)
		}
		value, err := v.leaf(at, typ)
		if err == nil {
			err = v.room.take(valueSize(&value))
		}
		return value, err
	}
	return kv.Value{}, kv.Errorf(kv.KindInvalid, "unknown kind of query %d", q.Kind)
}

// contains tests a set's membership by reading one leaf.
func (v *view) contains(q *kv.Query, at place, typ kv.Type) (kv.Value, error) {
	step, ok := crdt.Element(typ, q.Data)
	if !ok {
		return kv.Value{}, kv.Errorf(kv.KindInvalid, "whether a %s contains an element: only sets have elements", crdt.Name(typ))
	}
	if len(q.Data) > kv.MaxElement {
		return kv.Value{}, kv.Errorf(kv.KindTooLarge, "element of %d bytes: at most %d", len(q.Data), kv.MaxElement)
	}
	at.path += string(kv.AppendPath(nil, kv.Path{step}))
	got, err := v.leaf(at, step.Type)
	if err != nil {
		return kv.Value{}, err
	}
	return kv.Value{Type: typ, Present: got.Present, Flag: got.Present}, nil
}

// leaf reads one leaf.
func (v *view) leaf(at place, leaf kv.Type) (kv.Value, error) {
	if !v.mine.wrote(at) {
		return v.store.Value(v.generations().leaf(at), v.at)
	}
	items, err := v.items(at)
	if err != nil {
		return kv.Value{}, err
	}
	return crdt.Fold(leaf, items, v.at)
}

// items are a leaf's, the transaction's own included.
func (v *view) items(at place) ([]byte, error) {
	items, err := v.store.Items(v.generations().leaf(at))
	if err != nil {
		return nil, err
	}
	return v.overlay(at, items), nil
}

func (v *view) overlay(at place, items []byte) []byte {
	if v.mine == nil || v.seen == nil && mutant.On(mutant.OwnWritesNotRead) {
		return items
	}
	seen := v.seen
	if seen == nil {
		seen = v.at
	}
	return v.mine.overlay(slices.Clip(items), at, seen, v.own)
}

// leafFunc is given a present leaf. unreadable, if it is not nil, is why value is not known: the leaf is a
// counter beyond 64 bits. That must fail whoever needs its value, and nobody else.
type leafFunc func(path string, value kv.Value, unreadable error) (more bool, err error)

// collection reads everything below a path.
func (v *view) collection(ctx context.Context, at place, typ kv.Type) (kv.Value, error) {
	c := crdt.NewCollector(typ)
	err := v.each(ctx, at, "", func(path string, value kv.Value, unreadable error) (bool, error) {
		return true, v.collect(c, path[len(at.path):], value, unreadable)
	})
	if err != nil {
		return kv.Value{}, err
	}
	return c.Value(), nil
}

func (v *view) collect(c *crdt.Collector, rel string, value kv.Value, unreadable error) error {
	path, err := kv.DecodePath([]byte(rel))
	if err != nil {
		return err
	}
	if unreadable != nil {
		return kv.Errorf(kv.KindBound, "field %s: %w", fieldNames(path), unreadable)
	}
	if err := v.room.take(len(path[len(path)-1].Name) + valueSize(&value)); err != nil {
		return err
	}
	return c.Add(path, value)
}

// fieldNames says which field a path leads to.
func fieldNames(path kv.Path) string {
	names := make([]string, len(path))
	for i, s := range path {
		names[i] = strconv.Quote(s.Name)
	}
	return strings.Join(names, ", ")
}

// each calls fn for every present leaf below a place whose path is behind after, in path order: stored ones with own writes on
// top, and those that only the transaction wrote.
func (v *view) each(ctx context.Context, at place, after string, fn leafFunc) error {
	mine := v.mine.leavesBelow(at.object, at.path)
	for after != "" && len(mine) > 0 && mine[0] <= after {
		mine = mine[1:]
	}
	emit := func(path string, items []byte) (bool, error) {
		value, err := crdt.Fold(leafType(path, at.object), v.overlay(place{at.object, path}, items), v.at)
		if kv.KindOf(err) == kv.KindBound {
			return fn(path, kv.Value{Type: crdt.Counter, Present: true}, err)
		}
		if err != nil || !value.Present {
			return true, err
		}
		own(&value)
		return fn(path, value, nil)
	}
	stopped := false
	err := v.store.Scan(ctx, at.object, v.generations().of(at.object.Bucket), []byte(at.path), []byte(after), func(path, items []byte) (bool, error) {
		for len(mine) > 0 && mine[0] < string(path) {
			more, err := emit(mine[0], nil)
			if mine = mine[1:]; err != nil || !more {
				stopped = true
				return false, err
			}
		}
		if len(mine) > 0 && mine[0] == string(path) {
			mine = mine[1:]
		}
		more, err := emit(string(path), items)
		stopped = !more
		return more, err
	})
	for err == nil && !stopped && len(mine) > 0 {
		var more bool
		more, err = emit(mine[0], nil)
		stopped, mine = !more, mine[1:]
	}
	return err
}

// own copies what a folded value shares with the items of a scan, which move on.
func own(v *kv.Value) {
	v.Bytes = bytes.Clone(v.Bytes)
	for i := range v.List {
		v.List[i] = bytes.Clone(v.List[i])
	}
}

// leafType is the type of the last step of an encoded path, or the object's.
func leafType(path string, o kv.Object) kv.Type {
	if path == "" {
		return o.Type
	}
	return kv.Type(path[len(path)-1])
}
