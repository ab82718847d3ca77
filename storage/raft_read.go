package storage

import (
	"encoding/binary"

	"github.com/theriac-db/theriac/kv"
)

// RaftEntries returns the entries from lo up to, and without, hi: the first in any case and then as many
// as fit maxBytes. When the log no longer reaches back to lo the error matches kv.ErrTooOld; where it
// does not reach that far there are fewer.
func (s *Store) RaftEntries(lo, hi uint64, maxBytes int) (entries []RaftEntry, err error) {
	iter, err := s.iterate(raftEntryKey(nil, lo), raftEntryKey(nil, hi))
	if err != nil {
		return nil, s.readFailed("raft's log", err)
	}
	defer func() {
		if e := iter.Close(); e != nil && err == nil {
			err = s.readFailed("raft's log", e)
		}
	}()
	size := 0
	for ok := iter.First(); ok; ok = iter.Next() {
		e, err := s.raftEntryAt(iter)
		if err != nil {
			return nil, err
		}
		if size += len(e.Data); len(entries) > 0 && size > maxBytes {
			break
		}
		if e.Index != lo+uint64(len(entries)) {
			return nil, s.raftGap(lo, lo+uint64(len(entries)), e.Index)
		}
		entries = append(entries, e)
	}
	if err := iter.Error(); err != nil {
		return nil, s.readFailed("raft's log", err)
	}
	if r := s.raft.Load(); len(entries) == 0 && lo < r.First {
		return nil, s.raftGap(lo, lo, r.First)
	}
	return entries, nil
}

// raftGap is why an entry is not where it should be: it was truncated, or the log is damaged.
func (s *Store) raftGap(lo, index, found uint64) error {
	if first := s.raft.Load().First; index == lo && lo < first {
		return kv.Errorf(kv.KindTooOld, "storage: raft's log reaches back to entry %d, not to %d", first, lo)
	}
	return s.readFailed("raft's log", kv.Errorf(kv.KindCorrupt, "storage: entry %d of raft's log is missing; the next is %d", index, found))
}

func (s *Store) raftEntryAt(iter *iterator) (RaftEntry, error) {
	value, err := iter.ValueAndErr()
	if err != nil {
		return RaftEntry{}, s.readFailed("raft's log", err)
	}
	e, err := decodeRaftEntry(iter.Key(), append([]byte(nil), value...))
	if err != nil {
		return RaftEntry{}, s.readFailed("raft's log", err)
	}
	return e, nil
}

// RaftSnapshotData reads the data of the snapshot that is held; nil: there is none. No batch may be about
// to replace it.
func (s *Store) RaftSnapshotData() ([]byte, error) {
	snap := s.raft.Load().Snapshot
	if snap.Index == 0 {
		return nil, nil
	}
	data := make([]byte, 0, snap.Size)
	for part := range raftParts(snap.Size) {
		value, found, err := s.read(raftPartKey(snap.Index, part))
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, s.readFailed("raft's snapshot", kv.Errorf(kv.KindCorrupt, "storage: part %d of the raft snapshot of entry %d is missing", part, snap.Index))
		}
		data = append(data, value...)
	}
	if uint64(len(data)) != snap.Size || RaftSum(data) != snap.Sum {
		return nil, s.readFailed("raft's snapshot", kv.Errorf(kv.KindCorrupt, "storage: the raft snapshot of entry %d is damaged", snap.Index))
	}
	return data, nil
}

// Certified calls fn for what was certified of each entry of [lo, hi], where something was, in the order
// of indexes, until fn returns an error, which it returns. verdict is valid during the call.
func (s *Store) Certified(lo, hi uint64, fn func(index uint64, verdict []byte) error) (err error) {
	iter, err := s.iterate(certifiedKey(lo), successor(certifiedKey(hi)))
	if err != nil {
		return s.readFailed("what was certified", err)
	}
	defer func() {
		if e := iter.Close(); e != nil && err == nil {
			err = s.readFailed("what was certified", e)
		}
	}()
	for ok := iter.First(); ok; ok = iter.Next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			return s.readFailed("what was certified", err)
		}
		if len(iter.Key()) != 1+8 {
			return s.readFailed("what was certified", kv.Errorf(kv.KindCorrupt, "storage: malformed key %x", iter.Key()))
		}
		if err := fn(binary.BigEndian.Uint64(iter.Key()[1:]), value); err != nil {
			return err
		}
	}
	if err := iter.Error(); err != nil {
		return s.readFailed("what was certified", err)
	}
	return nil
}
