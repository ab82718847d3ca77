package strong

import (
	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/theriac-db/theriac/kv"
)

func marshal(m proto.Message) ([]byte, error) { return proto.Marshal(m) }

func unmarshal(b []byte, m proto.Message) error { return proto.Unmarshal(b, m) }

// message is one from another member.
type message struct {
	from uint64
	raft *raftpb.Message // nil: it is one of the others
	part *part
	ask  bool // how this node stands
	says *Standing
}

// decodeMessages decodes what a member has sent. What is for the store that this node's region had before is
// passed over: the sender has not heard of this one, and what comes with it may be for it.
func (g *Group) decodeMessages(from uint64, encoded [][]byte) (out []message, bytes int, err error) {
	out = make([]message, 0, len(encoded))
	for _, b := range encoded {
		m := message{from: from}
		switch {
		case len(b) == 0:
			err = kv.Errorf(kv.KindCorrupt, "strong: an empty message from voter %x", from)
		case b[0] == kindRaft:
			if m.raft, err = decodeRaft(from, g.c.ID, b[1:]); err == nil {
				err = g.checkEntries(m.raft)
			}
		case b[0] == kindAsk && len(b) == 1:
			m.ask = true
		case b[0] == kindStanding:
			m.says, err = decodeStanding(from, b)
		default:
			m.part, err = decodePart(b)
		}
		if err != nil {
			return nil, 0, err
		}
		if m.raft == nil || m.raft.GetTo() == g.c.ID {
			out, bytes = append(out, m), bytes+len(b)
		}
	}
	return out, bytes, nil
}

func decodeRaft(from, to uint64, b []byte) (*raftpb.Message, error) {
	m := &raftpb.Message{}
	if err := unmarshal(b, m); err != nil {
		return nil, kv.Errorf(kv.KindCorrupt, "strong: a message of %d bytes from voter %x: %w", len(b), from, err)
	}
	if why := checkMessage(m, from, to); why != "" {
		return nil, kv.Errorf(kv.KindCorrupt, "strong: a %s from voter %x: %s", m.GetType(), from, why)
	}
	return m, nil
}

// checkEntries refuses, before it is in the log, what a member proposes and no Pack makes.
func (g *Group) checkEntries(m *raftpb.Message) error {
	if m.GetType() != raftpb.MsgProp {
		return nil
	}
	for _, e := range m.GetEntries() {
		if err := g.c.Check(e.GetData()); err != nil {
			return kv.Errorf(kv.KindCorrupt, "strong: voter %x proposes a malformed entry: %w", m.GetFrom(), err)
		}
	}
	return nil
}

// checkMessage says what is wrong with a message, of what raft would take for granted; "": nothing.
func checkMessage(m *raftpb.Message, from, to uint64) string {
	passedOn := m.GetType() == raftpb.MsgProp || m.GetType() == raftpb.MsgReadIndex
	switch {
	case m.GetTo() != to && RegionOf(m.GetTo()) != RegionOf(to):
		return "it is for another"
	case raft.IsLocalMsgTarget(m.GetFrom()) || m.GetFrom() == raft.None || (m.GetFrom() != from && !passedOn):
		return "it is from another"
	case m.GetTerm() == 0 && !passedOn:
		return "it is of no term"
	}
	switch m.GetType() {
	case raftpb.MsgProp:
		return checkProposed(m.GetEntries())
	case raftpb.MsgReadIndex, raftpb.MsgReadIndexResp:
		if len(m.GetEntries()) != 1 || len(m.GetEntries()[0].GetData()) != readIDLen {
			return "it names no request"
		}
	case raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp:
		if n := len(m.GetContext()); n != 0 && n != 8 {
			return "malformed context"
		}
	case raftpb.MsgApp:
		return checkAppended(m)
	case raftpb.MsgSnap:
		if raft.IsEmptySnap(m.GetSnapshot()) || m.GetSnapshot().GetMetadata().GetTerm() == 0 {
			return "it has no snapshot"
		}
	case raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp, raftpb.MsgTimeoutNow:
	default:
		return "no member sends it to another"
	}
	return ""
}

// checkProposed lets proposals pass only: members are changed by the leader.
func checkProposed(entries []*raftpb.Entry) string {
	if len(entries) == 0 {
		return "it proposes nothing"
	}
	for _, e := range entries {
		if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
			return "it proposes what only a leader may"
		}
	}
	return ""
}

// checkAppended: entries continue one another, and are not of a later term than the message.
func checkAppended(m *raftpb.Message) string {
	index, term := m.GetIndex(), m.GetLogTerm()
	for _, e := range m.GetEntries() {
		if e.GetIndex() != index+1 || e.GetTerm() < term || e.GetTerm() > m.GetTerm() {
			return "its entries do not continue one another"
		}
		index, term = e.GetIndex(), e.GetTerm()
	}
	return ""
}
