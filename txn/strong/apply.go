package strong

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"github.com/theriac-db/theriac/kv"
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
	return g.maybeSave()
}

func (g *Group) applyEntry(e *raftpb.Entry) error {
	var data []byte
	if e.GetType() == raftpb.EntryNormal {
		data = e.GetData()
	}
	if e.GetIndex() != g.applied+1 {
		return kv.Errorf(kv.KindCorrupt, "strong: raft gave entry %d behind %d", e.GetIndex(), g.applied)
	}
	a, err := g.c.Machine.Apply(e.GetIndex(), data)
	if err != nil {
		return kv.Errorf(kv.KindOf(err), "strong: apply entry %d: %w", e.GetIndex(), err)
	}
	g.applied = e.GetIndex()
	g.position.applied.Store(g.applied)
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

// applyChange changes the members.
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
