package strong

import (
	"iter"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// saving is a snapshot that is being written, a few pieces at a time: commits share the writer.
type saving struct {
	head     storage.RaftSnapshot
	data     []byte // of the pieces that are not submitted
	next     uint32 // the first of them
	waits    int    // pieces that wait for the writer
	verdicts []verdict
}

// offerSnapshot is the state of now for a member that the log does not reach. Not while a change of members
// is being applied: it would not know the newcomer that it is for. At most one is on its way at a time, since
// each is in memory.
func (g *Group) offerSnapshot() (*raftpb.Snapshot, error) {
	if g.changing || len(g.transfers) > 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return g.takeSnapshot()
}

// takeSnapshot is the state of now.
func (g *Group) takeSnapshot() (*raftpb.Snapshot, error) {
	data := g.c.Machine.Snapshot()
	if len(data) > MaxSnapshot {
		g.c.Logf("strong: the snapshot of entry %d has %d bytes; %d are allowed", g.applied, len(data), MaxSnapshot)
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	term, err := g.log.Term(g.applied)
	if err != nil {
		return nil, err
	}
	meta := &raftpb.SnapshotMetadata{Index: new(g.applied), Term: new(term), ConfState: g.log.conf}
	return &raftpb.Snapshot{Data: data, Metadata: meta}, nil
}

// maybeSave begins to write a snapshot once enough was applied since the last one.
func (g *Group) maybeSave() error {
	due := g.since.bytes >= max(g.c.SnapshotBytes, g.savedBytes) || g.since.entries >= g.c.SnapshotEntries
	if !due || g.save != nil {
		return nil
	}
	s, err := g.takeSnapshot()
	if err != nil {
		g.since = progress{} // tried again after as much more
		return nil           //nolint:nilerr // takeSnapshot has told
	}
	meta := s.GetMetadata()
	head, err := snapshotHead(meta.GetIndex(), meta.GetTerm(), meta.GetConfState(), s.GetData())
	if err != nil {
		return err
	}
	g.save = &saving{head: head, data: s.GetData(), verdicts: g.verdicts}
	g.savedBytes, g.verdicts, g.since = len(s.GetData()), nil, progress{}
	return g.goOnSaving()
}

// goOnSaving submits the next pieces, and in the end what takes them into use.
func (g *Group) goOnSaving() error {
	for g.save != nil && g.save.waits < savingJobs {
		s := g.save
		if len(s.data) == 0 {
			if s.waits == 0 {
				g.save = nil
				return g.keep(s)
			}
			return nil
		}
		piece := s.data[:min(len(s.data), storage.RaftPartBytes)]
		if err := g.c.Store.Submit(g.ctx, g.partJob(s, s.head.Index, s.next, piece)); err != nil {
			return err
		}
		s.data = s.data[len(piece):]
		s.next++
		s.waits++
	}
	return nil
}

func (g *Group) partJob(s *saving, index uint64, n uint32, piece []byte) *lazyJob {
	return &lazyJob{g: g, saving: s, build: func(b *storage.Batch) error {
		b.AddRaftPart(index, n, piece)
		return nil
	}}
}

// keep has a snapshot taken into use whose pieces are written, with the verdicts that it covers, and the
// log truncated that neither the snapshot before it nor the Machine nor a member needs.
func (g *Group) keep(s *saving) error {
	floor := g.c.Machine.Floor()
	upTo := g.truncatable(min(g.snapshotted, floor))
	term, err := g.log.Term(max(upTo, g.log.first-1))
	if err != nil {
		return err
	}
	err = g.c.Store.Submit(g.ctx, &lazyJob{g: g, build: func(b *storage.Batch) error {
		for _, v := range s.verdicts {
			if v.index > floor {
				b.SetCertified(v.index, v.bytes)
			}
		}
		if err := b.SetRaftSnapshot(s.head); err != nil {
			return err
		}
		return b.TruncateRaft(upTo, term)
	}})
	if err != nil {
		return err
	}
	g.snapshotted = s.head.Index
	if upTo >= g.log.first {
		g.log.truncated(upTo, term)
	}
	return nil
}

// install writes the pieces of another member's snapshot, which a job that takes it into use follows. What
// is being written of the own one is of no use any more. It waits for the writer, which commits share.
func (g *Group) install(index uint64, data []byte) error {
	g.save = nil
	room := make(chan struct{}, savingJobs)
	for n, piece := range parts(data) {
		room <- struct{}{}
		j := g.partJob(nil, index, n, piece)
		j.room = room
		if err := g.c.Store.Submit(g.ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// snapshotHead describes a snapshot.
func snapshotHead(index, term uint64, conf *raftpb.ConfState, data []byte) (storage.RaftSnapshot, error) {
	b, err := marshal(conf)
	if err != nil {
		return storage.RaftSnapshot{}, kv.Errorf(kv.KindInvalid, "strong: encode the configuration of the snapshot of entry %d: %w", index, err)
	}
	return storage.RaftSnapshot{Index: index, Term: term, Conf: b, Size: uint64(len(data)), Sum: storage.RaftSum(data)}, nil
}

// parts are the pieces of a snapshot's data, numbered.
func parts(data []byte) iter.Seq2[uint32, []byte] {
	return func(yield func(uint32, []byte) bool) {
		for n := uint32(0); len(data) > 0; n++ {
			size := min(len(data), storage.RaftPartBytes)
			if !yield(n, data[:size]) {
				return
			}
			data = data[size:]
		}
	}
}
