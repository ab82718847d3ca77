package strong

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// apply gives the Machine the entries of a message of raft's.
func (g *Group) apply(m *raftpb.Message) error {
	for _, e := range m.GetEntries() {
		if err := g.applyEntry(e); err != nil {
			return err
		}
	}
	g.releaseReaders()
	for _, r := range m.GetResponses() {
		if err := g.dispatch(r, false); err != nil {
			return err
		}
	}
	return g.maybeSnapshot()
}

func (g *Group) applyEntry(e *raftpb.Entry) error {
	var proposals [][]byte
	var err error
	if e.GetType() == raftpb.EntryNormal {
		if proposals, err = unpack(e.GetData()); err != nil {
			return kv.Errorf(kv.KindCorrupt, "strong: entry %d: %w", e.GetIndex(), err)
		}
	}
	if e.GetIndex() != g.applied+1 {
		return kv.Errorf(kv.KindCorrupt, "strong: raft gave entry %d behind %d", e.GetIndex(), g.applied)
	}
	a := g.c.Machine.Apply(e.GetIndex(), proposals)
	g.applied = e.GetIndex()
	if a.Verdict != nil {
		g.verdicts = append(g.verdicts, verdict{g.applied, a.Verdict})
	}
	g.since.entries++
	g.since.bytes += len(e.GetData()) + len(a.Verdict)
	g.proposals.decided(a.Decided)
	if e.GetType() != raftpb.EntryNormal {
		return g.applyChange(e)
	}
	return nil
}

// applyChange changes the members. Meanwhile no snapshot is made: it would not know the newcomer that it
// is for.
func (g *Group) applyChange(e *raftpb.Entry) error {
	change := &raftpb.ConfChangeV2{}
	if e.GetType() != raftpb.EntryConfChangeV2 {
		return kv.Errorf(kv.KindCorrupt, "strong: entry %d is of type %s", e.GetIndex(), e.GetType())
	}
	if err := proto.Unmarshal(e.GetData(), change); err != nil {
		return kv.Errorf(kv.KindCorrupt, "strong: entry %d: %w", e.GetIndex(), err)
	}
	g.changing = true
	g.log.conf = g.node.ApplyConfChange(change)
	g.changing = false
	g.changedAt = 0
	g.c.Logf("strong: entry %d: the voters are %x, learners %x", g.applied, g.log.conf.GetVoters(), g.log.conf.GetLearners())
	g.publish()
	return nil
}

// takeSnapshot is the state of now, for a member that the log does not reach.
func (g *Group) takeSnapshot() (*raftpb.Snapshot, error) {
	if g.changing {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
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

// maybeSnapshot has a snapshot written once enough was applied since the last one.
func (g *Group) maybeSnapshot() error {
	due := g.since.bytes >= g.c.SnapshotBytes || g.since.entries >= g.c.SnapshotEntries
	if !due || g.snapshoting || g.node == nil {
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
	if err := g.writeParts(head.Index, s.GetData()); err != nil {
		return err
	}
	return g.keepSnapshot(head)
}

// keepSnapshot has a snapshot taken into use whose parts are written, with the verdicts that it covers,
// and the log truncated that neither the snapshot before it nor the Machine nor a member needs.
func (g *Group) keepSnapshot(head storage.RaftSnapshot) error {
	floor := g.c.Machine.Floor()
	upTo := g.truncatable(min(g.snapshotted, floor))
	term, err := g.log.Term(max(upTo, g.log.first-1))
	if err != nil {
		return err
	}
	verdicts := g.verdicts
	j := &lazyJob{g: g, kind: storedSnapshot, build: func(b *storage.Batch) error {
		for _, v := range verdicts {
			if v.index > floor {
				b.SetCertified(v.index, v.bytes)
			}
		}
		if err := b.SetRaftSnapshot(head); err != nil {
			return err
		}
		return b.TruncateRaft(upTo, term)
	}}
	if err := g.c.Store.Submit(g.ctx, j); err != nil {
		return err
	}
	g.snapshoting, g.snapshotted, g.verdicts, g.since = true, head.Index, nil, progress{}
	if upTo >= g.log.first {
		g.log.truncated(upTo, term)
	}
	return nil
}

// truncatable lowers an index to what the members still need that are active but behind, as far as that
// is a bounded part of the log.
func (g *Group) truncatable(upTo uint64) uint64 {
	if !g.role.leading {
		return upTo
	}
	needed := upTo
	g.node.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		switch {
		case id == g.c.ID || !p.RecentActive:
		case p.State == tracker.StateSnapshot:
			needed = min(needed, p.PendingSnapshot)
		default:
			needed = min(needed, p.Match)
		}
	})
	if needed+MaxKeptEntries < g.applied {
		return upTo
	}
	return needed
}
