package storage

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/theriac-db/theriac/kv"
)

// Pebble v2.1.7 panics on some damage: for one, when a blob file can't be opened because its footer
// is wrong, it looks for the file's name where there is none. All reads go through the functions
// here, which turn such a panic into an error. Nothing of ours runs below them.

// recoverDamage turns a panic of Pebble's into an error.
func (s *Store) recoverDamage(err *error) {
	if p := recover(); p != nil {
		*err = kv.Errorf(kv.KindCorrupt, "storage: a file in %s is damaged, most likely the footer of one of the *.blob files; Pebble did not say which: %v",
			s.cfg.dataDir(), p)
	}
}

// get reads a key; a nil closer: there is none. The value is valid until the closer is released.
func (s *Store) get(key []byte) (value []byte, closer io.Closer, err error) {
	if err := s.enterRead(); err != nil {
		return nil, nil, err
	}
	defer func() {
		if closer == nil {
			s.leaveRead()
		}
	}()
	defer s.recoverDamage(&err)
	value, closer, err = s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil, nil
	}
	return value, closer, err
}

// iterator is a Pebble iterator that does not panic.
type iterator struct {
	s    *Store
	iter *pebble.Iterator
	err  error // of a panic
}

// iterate reads the keys from lower up to upper; nil: to the end.
func (s *Store) iterate(lower, upper []byte) (it *iterator, err error) {
	if err := s.enterRead(); err != nil {
		return nil, err
	}
	defer func() {
		if it == nil {
			s.leaveRead()
		}
	}()
	defer s.recoverDamage(&err)
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	return &iterator{s: s, iter: iter}, nil
}

// First, Next and SeekGE move the iterator and report whether it stands at a key.
func (i *iterator) First() (ok bool) {
	defer i.s.recoverDamage(&i.err)
	return i.iter.First()
}

// Last is like First.
func (i *iterator) Last() (ok bool) {
	defer i.s.recoverDamage(&i.err)
	return i.iter.Last()
}

// Next is like First.
func (i *iterator) Next() (ok bool) {
	defer i.s.recoverDamage(&i.err)
	return i.iter.Next()
}

// SeekGE is like First.
func (i *iterator) SeekGE(key []byte) (ok bool) {
	defer i.s.recoverDamage(&i.err)
	return i.iter.SeekGE(key)
}

// Key is the current key, valid until the iterator moves.
func (i *iterator) Key() []byte { return i.iter.Key() }

// ValueAndErr is the current value, valid until the iterator moves.
func (i *iterator) ValueAndErr() (value []byte, err error) {
	defer i.s.recoverDamage(&err)
	return i.iter.ValueAndErr()
}

// Error is why the iterator is at its end, if not for lack of keys.
func (i *iterator) Error() error {
	if i.err != nil {
		return i.err
	}
	return i.iter.Error()
}

// Close frees the iterator. After a panic Pebble's state is unknown; the store has failed anyway.
func (i *iterator) Close() (err error) {
	defer i.s.leaveRead()
	defer i.s.recoverDamage(&err)
	if err = i.iter.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}
