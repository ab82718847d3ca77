package txn

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// view is what a transaction reads: the store at a snapshot, with its own writes on top.
type view struct {
	store *storage.Store
	at    clock.Vector
	own   clock.Region
	mine  *writeSet // nil: none
}

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
	switch q.Kind {
	case kv.QueryContains:
		return v.contains(q, at, typ)
	case kv.QueryPage:
		return v.page(ctx, q, at, typ)
	case kv.QueryValue:
		if crdt.IsCollection(typ) {
			return v.collection(ctx, at, typ)
		}
		return v.leaf(at, typ)
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
	l := leafOf(at)
	if !v.mine.touches(at.object) {
		return v.store.Value(l, v.at)
	}
	items, err := v.store.Items(l)
	if err != nil {
		return kv.Value{}, err
	}
	return v.fold(at, leaf, items)
}

func (v *view) fold(at place, leaf kv.Type, items []byte) (kv.Value, error) {
	if v.mine != nil {
		items = v.mine.overlay(slices.Clip(items), at, v.at, v.own)
	}
	return crdt.Fold(leaf, items, v.at)
}

// collection reads everything below a path.
func (v *view) collection(ctx context.Context, at place, typ kv.Type) (kv.Value, error) {
	c := crdt.NewCollector(typ)
	err := v.each(ctx, at, "", func(path string, value kv.Value) (bool, error) {
		return true, v.collect(c, path[len(at.path):], value)
	})
	if err != nil {
		return kv.Value{}, err
	}
	return c.Value(), nil
}

func (v *view) collect(c *crdt.Collector, rel string, value kv.Value) error {
	path, err := kv.DecodePath([]byte(rel))
	if err != nil {
		return err
	}
	return c.Add(path, value)
}

// each calls fn for every present leaf below a place whose path is behind after, in path order: stored ones with own writes on top, and those that only the transaction wrote.
func (v *view) each(ctx context.Context, at place, after string, fn func(path string, value kv.Value) (bool, error)) error {
	mine := v.mine.leavesBelow(at.object, at.path)
	for after != "" && len(mine) > 0 && mine[0] <= after {
		mine = mine[1:]
	}
	emit := func(path string, items []byte) (bool, error) {
		value, err := v.fold(place{at.object, path}, leafType(path, at.object), items)
		if err != nil || !value.Present {
			return true, err
		}
		own(&value)
		return fn(path, value)
	}
	stopped := false
	err := v.store.Scan(ctx, at.object, 0, []byte(at.path), []byte(after), func(path, items []byte) (bool, error) {
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

// page reads up to q.Limit elements or fields, each field whole.
func (v *view) page(ctx context.Context, q *kv.Query, at place, typ kv.Type) (kv.Value, error) {
	if !crdt.IsCollection(typ) {
		return kv.Value{}, kv.Errorf(kv.KindInvalid, "paging through a %s: only sets and maps have pages", crdt.Name(typ))
	}
	if q.Limit < 1 || q.Limit > kv.MaxPage {
		return kv.Value{}, kv.Errorf(kv.KindInvalid, "page of %d elements: ask for 1 to %d", q.Limit, kv.MaxPage)
	}
	if len(q.After) > 0 && !bytes.HasPrefix(q.After, []byte(at.path)) {
		return kv.Value{}, kv.Errorf(kv.KindInvalid, "page cursor of another object or path: pass on the Next of the page before")
	}
	p := pager{limit: q.Limit, root: len(at.path), collector: crdt.NewCollector(typ)}
	err := v.each(ctx, at, string(q.After), func(path string, value kv.Value) (bool, error) {
		if p.full(path) {
			return false, nil
		}
		p.last = path
		p.bytes += len(path) + len(value.Bytes)
		return true, v.collect(p.collector, path[p.root:], value)
	})
	if err != nil {
		return kv.Value{}, err
	}
	out := p.collector.Value()
	out.Next = []byte(p.next)
	return out, nil
}

// pager counts the elements or fields of a page.
type pager struct {
	limit, root  int
	collector    *crdt.Collector
	current      string // encoded first step below the root
	steps, bytes int
	last         string // path of the last leaf on the page
	next         string // cursor behind it, when there is more
}

// full reports whether the leaf at path starts an element or field that no longer fits.
func (p *pager) full(path string) bool {
	rel := path[p.root:]
	if p.current != "" && strings.HasPrefix(rel, p.current) {
		return false
	}
	if p.steps == p.limit || p.steps > 0 && p.bytes >= kv.MaxPageBytes {
		p.next = p.last
		return true
	}
	p.steps++
	p.current = firstStep(rel)
	return false
}

// firstStep is the encoding of the first step of an encoded path.
func firstStep(rel string) string {
	_, rest, err := kv.DecodeName([]byte(rel))
	if err != nil || len(rest) == 0 {
		return rel
	}
	return rel[:len(rel)-len(rest)+1]
}
