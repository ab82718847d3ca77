package storage

import (
	"sync"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// manyBytes of items make a reader count them, and suggest a rewrite when there are MinOperands.
const manyBytes = 1 << 10

// keyBufs keeps the encoding of keys off the heap.
var keyBufs = sync.Pool{New: func() any { b := make([]byte, 0, 256); return &b }}

// Value is a leaf's value at a snapshot, which includes the horizon and is within what is applied.
// Its slices belong to the caller.
func (s *Store) Value(l Leaf, at clock.Vector) (v kv.Value, err error) {
	err = s.Read(&l, at, &v)
	return v, err
}

// Read is Value for those who have a place for the answer. After an error v is undefined.
func (s *Store) Read(l *Leaf, at clock.Vector, v *kv.Value) error {
	buf := keyBufs.Get().(*[]byte)
	key := l.appendKey((*buf)[:0])
	err := s.readValue(key, at, v)
	*buf = recycle(key)
	keyBufs.Put(buf)
	return err
}

// Cached is Value if the leaf is in the cache, and false otherwise. It is for the writer's goroutine, which
// must not go to the disk, nor have leaves rewritten, for what it may find out with less.
func (s *Store) Cached(l Leaf, at clock.Vector) (v kv.Value, found bool, err error) {
	key := l.appendKey(nil)
	if s.cache.off() || s.pending.len() > 0 && s.pending.covers(key) {
		return v, false, nil
	}
	switch found := s.cache.get(key, at, &v); {
	case found.hit:
		s.counts.hits.Add(1)
		own(&v)
		return v, true, nil
	case found.present:
		s.counts.hits.Add(1)
		return v, true, s.foldCached(key, found.items, at, &v)
	}
	return v, false, nil
}

func (s *Store) readValue(key []byte, at clock.Vector, v *kv.Value) error {
	if s.pending.len() > 0 && s.pending.covers(key) {
		items, err := s.items(key)
		if err != nil {
			return err
		}
		return s.fold(key, items, at, v)
	}
	if s.cache.off() {
		return s.miss(key, lookup{}, at, v)
	}
	switch found := s.cache.get(key, at, v); {
	case found.hit:
		s.counts.hits.Add(1)
		own(v)
		return nil
	case found.present:
		s.counts.hits.Add(1)
		return s.foldCached(key, found.items, at, v)
	default:
		return s.miss(key, found, at, v)
	}
}

// foldCached folds items from the cache and leaves the value there.
func (s *Store) foldCached(key, items []byte, at clock.Vector, v *kv.Value) error {
	if err := s.fold(key, items, at, v); err != nil {
		return err
	}
	s.cache.improve(key, items, *v, at, func() bool { return allVisible(items, at) })
	own(v)
	return nil
}

// miss reads a leaf from Pebble and enters it into the cache.
func (s *Store) miss(key []byte, found lookup, at clock.Vector, v *kv.Value) error {
	s.counts.misses.Add(1)
	stored, closer, err := s.get(key)
	if err != nil {
		return s.readFailed("leaf", err)
	}
	items := stored // the bytes are Pebble's
	if found.quiet {
		items = append([]byte(nil), stored...)
	}
	if err = s.fold(key, items, at, v); err == nil {
		if found.quiet {
			s.cache.enter(key, found, items, *v, at, allVisible(items, at))
		}
		own(v)
	}
	if len(stored) >= manyBytes {
		s.suggest(key, stored)
	}
	if closer != nil {
		if e := s.release(closer); e != nil && err == nil {
			err = s.readFailed("leaf", e)
		}
	}
	return err
}

func (s *Store) fold(key, items []byte, at clock.Vector, v *kv.Value) (err error) {
	if *v, err = crdt.Fold(leafType(key), items, at); err != nil {
		return s.readFailed("leaf", err)
	}
	return nil
}

// allVisible reports whether a snapshot sees every item.
func allVisible(items []byte, at clock.Vector) bool {
	if len(items) == 0 {
		return true
	}
	buf := keyBufs.Get().(*[]byte)
	visible, err := crdt.Filter((*buf)[:0], items, at)
	all := err == nil && len(visible) == len(items)
	*buf = recycle(visible)
	keyBufs.Put(buf)
	return all
}

// own copies what a value shares with the cache or with Pebble.
func own(v *kv.Value) {
	if v.Bytes != nil {
		v.Bytes = append([]byte{}, v.Bytes...)
	}
	if v.List != nil {
		list := make([][]byte, len(v.List))
		for i := range v.List {
			list[i] = append([]byte{}, v.List[i]...)
		}
		v.List = list
	}
}

// suggest has the writer rewrite a leaf that a reader found long, if it has nothing better to do.
func (s *Store) suggest(key, items []byte) {
	n, err := crdt.CountItems(items)
	if err != nil || n < MinOperands || s.Failed() != nil {
		return
	}
	select {
	case s.chores <- &rewriteJob{keys: [][]byte{append([]byte(nil), key...)}}:
	default:
	}
}

// Items are a leaf's items as stored, with the overrides of removals that are pending above it. They
// belong to the caller: a transaction appends its own writes and folds.
func (s *Store) Items(l Leaf) ([]byte, error) { return s.items(l.appendKey(nil)) }

func (s *Store) items(key []byte) ([]byte, error) {
	var items []byte
	pending, err := s.pending.during(func() (err error) {
		items, _, err = s.read(key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return pending.overlay(key, items), nil
}
