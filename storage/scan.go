package storage

import (
	"bytes"
	"context"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// Scan calls fn for the leaves of an object at or below a path, in the order of paths, beginning
// behind after (an encoded path; empty: with the first), until fn says that it wants no more. items
// include the overrides of pending removals; both slices are valid during the call only. Many short
// iterators serve a long scan, so that nothing pins old tables; the snapshot at which fn folds must
// stay open.
func (s *Store) Scan(ctx context.Context, o kv.Object, generation uint32, below, after []byte,
	fn func(path, items []byte) (more bool, err error)) error {
	object := appendObjectKey(nil, &o, generation)
	prefix := append(bytes.Clone(object), below...)
	from := prefix
	if len(after) > 0 {
		from = append(append(bytes.Clone(object), after...), 0)
	}
	return s.scan(ctx, from, successor(prefix), func(key, items []byte) (bool, error) {
		return fn(key[len(object):], items)
	})
}

// scan calls fn for the leaves from one key up to another.
func (s *Store) scan(ctx context.Context, from, to []byte, fn func(key, items []byte) (bool, error)) error {
	for from != nil && bytes.Compare(from, to) < 0 {
		if err := ctx.Err(); err != nil {
			return kv.Errorf(kv.KindDeadline, "storage: scan: %w", err)
		}
		var err error
		if from, err = s.scanSome(from, to, fn); err != nil {
			return err
		}
	}
	return nil
}

// scanSome scans with one iterator. It returns where to go on; nil: done.
func (s *Store) scanSome(from, to []byte, fn func(key, items []byte) (bool, error)) (next []byte, err error) {
	iter, pending, err := s.iteratePending(from, to)
	if err != nil {
		return nil, s.readFailed("leaves", err)
	}
	defer func() {
		if e := iter.Close(); e != nil && err == nil {
			err = s.readFailed("leaves", e)
		}
	}()
	leaves, size := 0, 0
	for ok := iter.First(); ok; ok = iter.Next() {
		if leaves++; leaves > ScanLeaves || size > ScanBytes {
			return bytes.Clone(iter.Key()), nil
		}
		items, err := iter.ValueAndErr()
		if err != nil {
			return nil, s.readFailed("leaves", err)
		}
		size += len(items)
		more, err := fn(iter.Key(), pending.overlay(iter.Key(), items))
		if err != nil || !more {
			return nil, err
		}
	}
	if err := iter.Error(); err != nil {
		return nil, s.readFailed("leaves", err)
	}
	return nil, nil
}

// iteratePending is iterate with the removals that were pending at the moment that the iterator shows.
func (s *Store) iteratePending(from, to []byte) (it *iterator, pending removals, err error) {
	pending, err = s.pending.during(func() (err error) {
		if it != nil {
			if err := it.Close(); err != nil {
				return err
			}
		}
		it, err = s.iterate(from, to)
		return err
	})
	return it, pending, err
}

// KeyRange says which objects of a bucket ScanKeys lists.
type KeyRange struct {
	Bucket     kv.Bucket
	Generation uint32
	Prefix     kv.Key    // of the keys
	After      kv.Object // list behind this key and type; its Bucket is not used
	HasAfter   bool
}

// ScanKeys calls fn for the objects that are present at a snapshot, in the order of (key, type),
// until fn says that it wants no more.
func (s *Store) ScanKeys(ctx context.Context, r KeyRange, at clock.Vector, fn func(kv.Object) (more bool, err error)) error {
	cursors := make([]*shardCursor, Shards)
	for i := range cursors {
		cursors[i] = newShardCursor(s, &r, uint8(i), at)
	}
	for {
		if err := ctx.Err(); err != nil {
			return kv.Errorf(kv.KindDeadline, "storage: list the keys of bucket %q: %w", r.Bucket, err)
		}
		least, err := leastCursor(ctx, cursors)
		if err != nil || least == nil {
			return err
		}
		o := least.found[0]
		least.found = least.found[1:]
		if more, err := fn(o); err != nil || !more {
			return err
		}
	}
}

// leastCursor is the cursor that stands at the least object; nil: all are at their end. 64 are few
// enough to compare them all: finding the objects costs more.
func leastCursor(ctx context.Context, cursors []*shardCursor) (least *shardCursor, err error) {
	for _, c := range cursors {
		if err := c.fill(ctx); err != nil {
			return nil, err
		}
		if len(c.found) > 0 && (least == nil || lessObject(&c.found[0], &least.found[0])) {
			least = c
		}
	}
	return least, nil
}

func lessObject(a, b *kv.Object) bool {
	if a.Key != b.Key {
		return a.Key < b.Key
	}
	return a.Type < b.Type
}

const (
	cursorObjects = 16       // objects that a cursor reads ahead
	cursorBytes   = 16 << 10 // bytes of keys that it reads ahead
)

// shardCursor lists one shard's objects, some at a time.
type shardCursor struct {
	s     *Store
	at    clock.Vector
	from  []byte // where to go on; nil: at the end
	to    []byte
	found []kv.Object

	pending removals // of the iterator in use
}

func newShardCursor(s *Store, r *KeyRange, shard uint8, at clock.Vector) *shardCursor {
	bucket := appendBucketKey(nil, shard, r.Bucket, r.Generation)
	prefix := appendNamePrefix(bytes.Clone(bucket), string(r.Prefix))
	c := &shardCursor{s: s, at: at, from: prefix, to: successor(prefix)}
	if r.HasAfter {
		after := append(kv.AppendName(bucket, string(r.After.Key)), byte(r.After.Type))
		if behind := successor(after); bytes.Compare(behind, c.from) > 0 {
			c.from = behind
		}
	}
	return c
}

// fill reads ahead when nothing is left.
func (c *shardCursor) fill(ctx context.Context) error {
	for len(c.found) == 0 && c.from != nil && bytes.Compare(c.from, c.to) < 0 {
		if err := ctx.Err(); err != nil {
			return kv.Errorf(kv.KindDeadline, "storage: list keys: %w", err)
		}
		if err := c.read(); err != nil {
			return err
		}
	}
	return nil
}

// read looks at up to ScanLeaves leaves with one iterator.
func (c *shardCursor) read() (err error) {
	iter, pending, err := c.s.iteratePending(c.from, c.to)
	c.pending = pending
	if err != nil {
		return c.s.readFailed("keys", err)
	}
	defer func() {
		if e := iter.Close(); e != nil && err == nil {
			err = c.s.readFailed("keys", e)
		}
	}()
	size := 0
	ok := iter.First()
	for n := 0; ok; n++ {
		if n >= ScanLeaves || len(c.found) >= cursorObjects || size >= cursorBytes {
			c.from = bytes.Clone(iter.Key())
			return nil
		}
		size += len(iter.Key())
		if ok, err = c.step(iter); err != nil {
			return err
		}
	}
	c.from = nil
	if err := iter.Error(); err != nil {
		return c.s.readFailed("keys", err)
	}
	return nil
}

// step looks at one leaf: if it is present, so is its object, and the object's other leaves are
// passed over.
func (c *shardCursor) step(iter *iterator) (ok bool, err error) {
	items, err := iter.ValueAndErr()
	if err != nil {
		return false, c.s.readFailed("keys", err)
	}
	present, err := crdt.Present(leafType(iter.Key()), c.pending.overlay(iter.Key(), items), c.at)
	if err != nil {
		return false, c.s.readFailed("keys", err)
	}
	if !present {
		return iter.Next(), nil
	}
	l, err := parseLeaf(iter.Key())
	if err != nil {
		return false, c.s.readFailed("keys", err)
	}
	c.found = append(c.found, l.Object)
	if len(l.Path) == 0 {
		return iter.Next(), nil
	}
	return iter.SeekGE(successor(iter.Key()[:len(iter.Key())-len(l.Path)])), nil
}
