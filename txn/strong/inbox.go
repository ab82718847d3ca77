package strong

import (
	"sync"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/theriac-db/theriac/kv"
)

// inbox is what others have left for the group's goroutine, beside calls.
type inbox struct {
	wake chan struct{} // of 1

	mu          sync.Mutex
	messages    []message
	bytes       int
	stored      []stored
	unreachable []uint64
}

// stored is the store's answer.
type stored struct {
	item   *appendItem // that is durable
	saving *saving     // of which a piece is written
	err    error
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
func (i *inbox) putMessages(messages []message, bytes int) bool {
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

func (i *inbox) take() (messages []message, answers []stored, unreachable []uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	messages, answers, unreachable = i.messages, i.stored, i.unreachable
	i.messages, i.bytes, i.stored, i.unreachable = nil, 0, nil, nil
	return messages, answers, unreachable
}

// Step takes messages from a member; the bytes are the callee's. It does not block: what there is no room
// for is dropped, which raft expects. It refuses, whole, what no member sends (kv.ErrCorrupt).
func (g *Group) Step(from uint64, messages [][]byte) error {
	decoded, bytes, err := g.decodeMessages(from, messages)
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
		if s.saving != nil {
			s.saving.waits--
		}
	}
	if err := g.answerAppends(); err != nil {
		return err
	}
	if err := g.goOnSaving(); err != nil {
		return err
	}
	for _, id := range unreachable {
		g.node.ReportUnreachable(id)
	}
	for _, m := range messages {
		switch {
		case m.ask:
			g.out[m.from] = append(g.out[m.from], g.standing().append(nil))
		case m.says != nil:
			g.standings[m.from] = heard{*m.says, g.ticks}
		case m.part != nil:
			g.assemble(m.from, m.part)
		case m.raft.GetType() == raftpb.MsgReadIndex && !g.mayAnswerReads(): // who asked asks again
		default:
			if m.from == g.role.lead {
				g.role.heard, g.role.leaderless = g.ticks, 0
			}
			g.step(m.raft)
		}
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

// send leaves a message for the end of the turn.
func (g *Group) send(m *raftpb.Message) {
	to := m.GetTo()
	if to == raft.None {
		return
	}
	b, err := proto.MarshalOptions{}.MarshalAppend([]byte{kindRaft}, m)
	switch {
	case err != nil:
		g.c.Logf("strong: encode a message for voter %x: %v", to, err) // raft sends again
	case m.GetType() == raftpb.MsgSnap:
		g.begin(to, b[1:])
	default:
		g.out[to] = append(g.out[to], b)
	}
}

// flush sends what was left.
func (g *Group) flush() {
	for to, messages := range g.out {
		g.c.Send(to, messages)
	}
	clear(g.out)
}
