package strong

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/storage"
)

// hardState is what a voter must not forget.
type hardState struct{ term, vote, commit uint64 }

// appendItem is what raft wants on disk, and what is to be said then. It is a storage.Job.
type appendItem struct {
	g         *Group
	hard      hardState
	entries   []*raftpb.Entry
	snapshot  *raftpb.Snapshot // nil: none
	head      storage.RaftSnapshot
	responses []*raftpb.Message
	done      bool // on the group's goroutine
}

// ready does what raft wants done, until it wants nothing.
func (g *Group) ready() error {
	for g.node.HasReady() {
		rd := g.node.Ready()
		g.noteRole(&rd)
		if n := len(rd.Entries); n > 0 {
			g.gathering.behind = rd.Entries[n-1].GetIndex()
		}
		for _, m := range rd.Messages {
			if err := g.dispatch(m, rd.MustSync); err != nil {
				return err
			}
		}
		g.answerReads(rd.ReadStates)
	}
	return nil
}

// noteRole keeps what the group itself needs to know of the leader and the term.
func (g *Group) noteRole(rd *raft.Ready) {
	if rd.SoftState == nil && raft.IsEmptyHardState(rd.HardState) {
		return
	}
	was := g.role
	s := g.node.BasicStatus()
	g.role.term, g.role.commit = s.GetTerm(), s.GetCommit()
	g.role.lead, g.role.leading = s.Lead, s.RaftState == raft.StateLeader
	switch {
	case !g.role.leading:
		g.role.from = 0
	case g.role.from == 0 || was.term != g.role.term: // raft appends an entry of its own first
		g.role.from = rd.Entries[len(rd.Entries)-1].GetIndex()
		g.changedAt = 0
		clear(g.transfers)
	}
	if g.role.lead != was.lead || g.role.term != was.term {
		clear(g.assemblies)
		if g.role.lead != raft.None {
			g.role.heard, g.role.leaderless = g.ticks, 0
			g.c.Logf("strong: voter %x is led by %x in term %d", g.c.ID, g.role.lead, g.role.term)
			g.proposeAgain(func(*proposal) bool { return true })
			g.reads.resend = true
		}
		g.publish()
	}
}

// dispatch hands one of raft's messages to whom it is for.
func (g *Group) dispatch(m *raftpb.Message, mustSync bool) error {
	switch m.GetTo() {
	case raft.LocalAppendThread:
		return g.append(m, mustSync)
	case raft.LocalApplyThread:
		return g.apply(m)
	case g.c.ID:
		g.step(m)
	default:
		g.send(m)
	}
	return nil
}

// append has the store write what raft wants written. What needs no sync, a commit index, is written
// with what does or at the next tick.
func (g *Group) append(m *raftpb.Message, mustSync bool) error {
	if m.Commit != nil {
		g.noted, g.unwritten = hardState{m.GetTerm(), m.GetVote(), m.GetCommit()}, true
	}
	item := &appendItem{g: g, hard: g.noted, entries: m.GetEntries(), responses: m.GetResponses()}
	if !raft.IsEmptySnap(m.GetSnapshot()) {
		item.snapshot = m.GetSnapshot()
	}
	item.done = !mustSync && item.snapshot == nil
	if !item.done {
		if err := g.write(item); err != nil {
			return err
		}
		g.syncing++
		g.unwritten = false
	}
	item.done = item.done || item.snapshot == nil && mutant.On(mutant.RaftAnswersBeforeSync)
	g.appends = append(g.appends, item)
	return g.answerAppends()
}

// write submits an item, behind the parts of its snapshot.
func (g *Group) write(item *appendItem) error {
	if s := item.snapshot; s != nil {
		meta := s.GetMetadata()
		var err error
		if item.head, err = snapshotHead(meta.GetIndex(), meta.GetTerm(), meta.GetConfState(), s.GetData()); err != nil {
			return err
		}
		if err := g.install(meta.GetIndex(), s.GetData()); err != nil {
			return err
		}
	}
	return g.c.Store.Submit(g.ctx, item)
}

// Build implements storage.Job.
func (i *appendItem) Build(b *storage.Batch) error {
	b.Sync()
	b.SetHardState(i.hard.term, i.hard.vote, i.hard.commit)
	if i.snapshot != nil {
		if err := b.RestoreRaft(i.head); err != nil {
			return err
		}
	}
	stored := make([]storage.RaftEntry, len(i.entries))
	for n, e := range i.entries {
		stored[n] = toStored(e)
	}
	return b.AppendRaft(stored...)
}

// Applied implements storage.Job.
func (i *appendItem) Applied() {}

// Durable implements storage.Job.
func (i *appendItem) Durable(err error) { i.g.inbox.putStored(stored{item: i, err: err}) }

// answerAppends says what may be said now, in order.
func (g *Group) answerAppends() error {
	for len(g.appends) > 0 && g.appends[0].done {
		item := g.appends[0]
		g.appends[0] = nil
		g.appends = g.appends[1:]
		if err := g.answer(item); err != nil {
			return err
		}
	}
	return nil
}

// answer notes what is durable now, and says so.
func (g *Group) answer(item *appendItem) error {
	if s := item.snapshot; s != nil {
		meta := s.GetMetadata()
		if err := g.restore(meta.GetIndex(), meta.GetConfState(), s.GetData()); err != nil {
			return err
		}
		g.log.restored(meta.GetIndex(), meta.GetTerm())
		g.releaseReaders()
	}
	g.log.appended(item.entries)
	for _, m := range item.responses {
		if err := g.dispatch(m, false); err != nil {
			return err
		}
	}
	return nil
}

// writeHardState has a commit index written that was not yet. Nothing waits for it: it spares a start
// that it has to learn it again.
func (g *Group) writeHardState() {
	if !g.unwritten {
		return
	}
	hard := g.noted
	j := &lazyJob{g: g, build: func(b *storage.Batch) error {
		b.SetHardState(hard.term, hard.vote, hard.commit)
		return nil
	}}
	if err := g.c.Store.Submit(g.ctx, j); err == nil { // else the store says why to who needs it
		g.unwritten = false
	}
}

// lazyJob writes something that need not be durable at once.
type lazyJob struct {
	g      *Group
	build  func(b *storage.Batch) error
	saving *saving         // who waits until it is written; nil: nobody
	room   <-chan struct{} // of which it takes one once it is written; nil: of none
}

// Build implements storage.Job.
func (j *lazyJob) Build(b *storage.Batch) error { return j.build(b) }

// Applied implements storage.Job.
func (j *lazyJob) Applied() {
	if j.saving != nil {
		j.g.inbox.putStored(stored{saving: j.saving})
	}
	if j.room != nil {
		<-j.room
	}
}

// Durable implements storage.Job.
func (j *lazyJob) Durable(err error) {
	if err == nil {
		return
	}
	j.g.inbox.putStored(stored{err: err})
	if j.room != nil {
		select {
		case <-j.room:
		default:
		}
	}
}
