package strong

import (
	"sync"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/theriac-db/theriac/kv"
)

// inbox is what others have left for the group's goroutine, beside calls.
type inbox struct {
	wake chan struct{} // of 1

	mu          sync.Mutex
	messages    []*raftpb.Message
	bytes       int
	stored      []stored
	unreachable []uint64
}

// storedKind is what a lazy job has written.
type storedKind uint8

const (
	storedNothing  storedKind = iota // that matters
	storedSnapshot                   // a snapshot of the own Machine
)

// stored is the store's answer.
type stored struct {
	item *appendItem // nil: a lazy job's
	kind storedKind
	err  error
}

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (i *inbox) putStored(s stored) {
	i.mu.Lock()
	i.stored = append(i.stored, s)
	i.mu.Unlock()
	poke(i.wake)
}

// putMessages leaves messages, all or none.
func (i *inbox) putMessages(messages []*raftpb.Message, bytes int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.bytes > 0 && i.bytes+bytes > MaxInboxBytes {
		return false
	}
	i.messages = append(i.messages, messages...)
	i.bytes += bytes
	poke(i.wake)
	return true
}

func (i *inbox) take() (messages []*raftpb.Message, answers []stored, unreachable []uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	messages, answers, unreachable = i.messages, i.stored, i.unreachable
	i.messages, i.bytes, i.stored, i.unreachable = nil, 0, nil, nil
	return messages, answers, unreachable
}

// Step takes messages from a member; the bytes are the callee's. It does not block: what there is no room
// for is dropped, which raft expects. It refuses, whole, what no member sends (kv.ErrCorrupt).
func (g *Group) Step(from uint64, messages [][]byte) error {
	decoded, bytes, err := decodeMessages(from, g.c.ID, messages)
	if err != nil {
		return err
	}
	if !g.inbox.putMessages(decoded, bytes) {
		return kv.Errorf(kv.KindOverloaded, "strong: %d bytes of messages from voter %x were dropped", bytes, from)
	}
	return nil
}

// ReportUnreachable tells that messages to a member were dropped. It does not block.
func (g *Group) ReportUnreachable(id uint64) {
	g.inbox.mu.Lock()
	defer g.inbox.mu.Unlock()
	if len(g.inbox.unreachable) < MaxInflightMessages {
		g.inbox.unreachable = append(g.inbox.unreachable, id)
	}
	poke(g.inbox.wake)
}

// takeInbox hands raft what was left for it.
func (g *Group) takeInbox() error {
	messages, answers, unreachable := g.inbox.take()
	for _, s := range answers {
		if s.err != nil {
			return s.err
		}
		if s.item != nil {
			s.item.done = true
			g.syncing--
		}
		if s.kind == storedSnapshot {
			g.snapshoting = false
		}
	}
	if err := g.answerAppends(); err != nil {
		return err
	}
	for _, id := range unreachable {
		g.node.ReportUnreachable(id)
		if _, waits := g.sent[id]; waits {
			g.snapshotFailed(id)
		}
	}
	for _, m := range messages {
		if m.GetType() == raftpb.MsgReadIndex && !g.mayAnswerReads() {
			continue // who asked asks again
		}
		g.step(m)
	}
	return nil
}

// step hands raft a message. What it refuses it could as well not have got.
func (g *Group) step(m *raftpb.Message) { _ = g.node.Step(m) }

// mayAnswerReads: a leader knows what was committed before its term only once it has committed an entry of
// its own term. Raft sees to that where there are others.
func (g *Group) mayAnswerReads() bool {
	alone := len(g.log.conf.GetVoters()) == 1 && len(g.log.conf.GetVotersOutgoing()) == 0
	return !g.role.leading || !alone || g.role.commit >= g.role.from
}

// sentSnapshot is when a snapshot that was sent is given up.
type sentSnapshot struct{ until uint64 }

// send leaves a message for the end of the turn.
func (g *Group) send(m *raftpb.Message) {
	to := m.GetTo()
	if to == raft.None {
		return
	}
	if m.GetType() == raftpb.MsgSnap {
		size := uint64(len(m.GetSnapshot().GetData())) >> 20
		g.sent[to] = sentSnapshot{until: g.ticks + snapshotTicks + snapshotTicksPerMiB*size}
	}
	b, err := marshal(m)
	if err != nil {
		g.c.Logf("strong: encode a message for voter %x: %v", to, err) // raft sends again
		return
	}
	g.out[to] = append(g.out[to], b)
}

// flush sends what was left.
func (g *Group) flush() {
	for to, messages := range g.out {
		g.c.Send(to, messages)
	}
	clear(g.out)
}

// resendSnapshots gives snapshots up that should have arrived, so that raft sends new ones.
func (g *Group) resendSnapshots() {
	for id, s := range g.sent {
		if g.ticks >= s.until {
			g.snapshotFailed(id)
		}
	}
}

// snapshotFailed tells raft that a snapshot did not arrive. Of one that did, it knows already.
func (g *Group) snapshotFailed(id uint64) {
	delete(g.sent, id)
	g.node.ReportSnapshot(id, raft.SnapshotFailure)
}
