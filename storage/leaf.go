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
func (s *Store) Value(l Leaf, at clock.Vector) (kv.Value, error) {
	buf := keyBufs.Get().(*[]byte)
	key := l.appendKey((*buf)[:0])
	v, err := s.value(key, at)
	*buf = recycle(key)
	keyBufs.Put(buf)
	return v, err
}

func (s *Store) value(key []byte, at clock.Vector) (kv.Value, error) {
	if s.pending.len() > 0 && s.pending.covers(key) {
		items, err := s.items(key)
		if err != nil {
			return kv.Value{}, err
		}
		return s.fold(key, items, at)
	}
	found := s.cache.get(key, at)
	if found.hit {
		s.counts.hits.Add(1)
		return owned(found.value), nil
	}
	if found.present {
		s.counts.hits.Add(1)
		v, err := s.fold(key, found.items, at)
		if err == nil {
			s.cache.improve(key, found.items, v, at, func() bool { return allVisible(found.items, at) })
		}
		return owned(v), err
	}
	return s.miss(key, found, at)
}

// miss reads a leaf from Pebble and enters it into the cache.
func (s *Store) miss(key []byte, found lookup, at clock.Vector) (kv.Value, error) {
	s.counts.misses.Add(1)
	stored, closer, err := s.get(key)
	if err != nil {
		return kv.Value{}, s.readFailed("leaf", err)
	}
	var v kv.Value
	if found.quiet {
		items := append([]byte(nil), stored...)
		if v, err = s.fold(key, items, at); err == nil {
			s.cache.enter(key, found, items, v, at, allVisible(items, at))
			v = owned(v)
		}
	} else if v, err = s.fold(key, stored, at); err == nil {
		v = owned(v) // the bytes are Pebble's
	}
	if len(stored) >= manyBytes {
		s.suggest(key, stored)
	}
	if closer != nil {
		if e := s.release(closer); e != nil && err == nil {
			err = s.readFailed("leaf", e)
		}
	}
	return v, err
}

func (s *Store) fold(key, items []byte, at clock.Vector) (kv.Value, error) {
	v, err := crdt.Fold(leafType(key), items, at)
	if err != nil {
		return kv.Value{}, s.readFailed("leaf", err)
	}
	return v, nil
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

// owned copies what a value shares with the cache.
func owned(v kv.Value) kv.Value {
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
	return v
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
