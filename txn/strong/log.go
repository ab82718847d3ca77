package strong

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// log is the log as raft reads it: what is durable, the end of it in memory. It is the group's
// goroutine's own.
type log struct {
	store  *storage.Store
	hard   *raftpb.HardState // as found at the start
	conf   *raftpb.ConfState // as of the last entry applied
	first  uint64
	last   uint64
	before uint64 // term of the entry before first

	tail      []*raftpb.Entry // the end of the log, up to last
	tailBytes int
	snapshot  func() (*raftpb.Snapshot, error)
}

var _ raft.Storage = (*log)(nil)

// InitialState implements raft.Storage.
func (l *log) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return l.hard, l.conf, nil
}

// FirstIndex implements raft.Storage.
func (l *log) FirstIndex() (uint64, error) { return l.first, nil }

// LastIndex implements raft.Storage.
func (l *log) LastIndex() (uint64, error) { return l.last, nil }

// Snapshot implements raft.Storage: the state of now, for a member that the log does not reach.
func (l *log) Snapshot() (*raftpb.Snapshot, error) { return l.snapshot() }

// Term implements raft.Storage.
func (l *log) Term(i uint64) (uint64, error) {
	switch {
	case i == l.first-1:
		return l.before, nil
	case i < l.first:
		return 0, raft.ErrCompacted
	case i > l.last:
		return 0, raft.ErrUnavailable
	}
	entries, err := l.Entries(i, i+1, 0)
	if err != nil {
		return 0, err
	}
	return entries[0].GetTerm(), nil
}

// Entries implements raft.Storage.
func (l *log) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	switch {
	case lo < l.first:
		return nil, raft.ErrCompacted
	case hi > l.last+1:
		return nil, raft.ErrUnavailable
	}
	if from := l.tailFirst(); lo >= from {
		return limit(l.tail[lo-from:hi-from:hi-from], maxSize), nil
	}
	stored, err := l.store.RaftEntries(lo, min(hi, l.tailFirst()), int(min(maxSize, MaxCacheBytes)))
	if err != nil {
		return nil, err
	}
	if len(stored) == 0 {
		return nil, kv.Errorf(kv.KindCorrupt, "strong: entry %d of raft's log is missing", lo)
	}
	out := make([]*raftpb.Entry, len(stored))
	for i := range stored {
		out[i] = fromStored(&stored[i])
	}
	return limit(out, maxSize), nil
}

func (l *log) tailFirst() uint64 { return l.last + 1 - uint64(len(l.tail)) }

// limit cuts entries to a size, but to one at least.
func limit(entries []*raftpb.Entry, maxSize uint64) []*raftpb.Entry {
	size := uint64(0)
	for i, e := range entries {
		if size += uint64(entrySize(e)); i > 0 && size > maxSize {
			return entries[:i:i]
		}
	}
	return entries
}

// entryOverhead is about what an entry takes beside its data.
const entryOverhead = 128

func entrySize(e *raftpb.Entry) int { return entryOverhead + len(e.GetData()) }

// appended notes entries that are now durable, in place of those that were held from the first one's
// index on.
func (l *log) appended(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	l.cut(entries[0].GetIndex())
	l.tail = append(l.tail, entries...)
	l.last = entries[len(entries)-1].GetIndex()
	for _, e := range entries {
		l.tailBytes += entrySize(e)
	}
	l.trim(func(*raftpb.Entry) bool { return l.tailBytes > MaxCacheBytes })
}

// cut drops from memory what is at an index and behind it.
func (l *log) cut(at uint64) {
	from := l.tailFirst()
	if at > l.last {
		return
	}
	keep := max(at, from) - from
	for _, e := range l.tail[keep:] {
		l.tailBytes -= entrySize(e)
	}
	l.tail = l.tail[:keep:keep] // what raft was given must not be written over
}

// trim drops entries from the start of what is in memory while they are to go.
func (l *log) trim(goes func(*raftpb.Entry) bool) {
	n := 0
	for n < len(l.tail) && goes(l.tail[n]) {
		l.tailBytes -= entrySize(l.tail[n])
		n++
	}
	l.tail = l.tail[n:]
}

// truncated notes that the entries up to an index go.
func (l *log) truncated(upTo, term uint64) {
	l.first, l.before = upTo+1, term
	l.trim(func(e *raftpb.Entry) bool { return e.GetIndex() <= upTo })
}

// restored notes that the log begins anew behind a snapshot.
func (l *log) restored(index, term uint64) {
	l.first, l.last, l.before = index+1, index, term
	l.tail, l.tailBytes = nil, 0
}

func fromStored(e *storage.RaftEntry) *raftpb.Entry {
	return &raftpb.Entry{Index: new(e.Index), Term: new(e.Term), Type: raftpb.EntryType(e.Kind).Enum(), Data: e.Data}
}

func toStored(e *raftpb.Entry) storage.RaftEntry {
	return storage.RaftEntry{Index: e.GetIndex(), Term: e.GetTerm(), Kind: uint8(e.GetType()), Data: e.GetData()}
}
