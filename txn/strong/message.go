package strong

import (
	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/theriac-db/theriac/kv"
)

func marshal(m proto.Message) ([]byte, error) { return proto.Marshal(m) }

func unmarshal(b []byte, m proto.Message) error { return proto.Unmarshal(b, m) }

// decodeMessages decodes what a member has sent.
func decodeMessages(from, to uint64, encoded [][]byte) (out []*raftpb.Message, bytes int, err error) {
	out = make([]*raftpb.Message, len(encoded))
	for i, b := range encoded {
		m := &raftpb.Message{}
		if err := unmarshal(b, m); err != nil {
			return nil, 0, kv.Errorf(kv.KindCorrupt, "strong: a message of %d bytes from voter %x: %w", len(b), from, err)
		}
		if why := checkMessage(m, from, to); why != "" {
			return nil, 0, kv.Errorf(kv.KindCorrupt, "strong: a %s from voter %x: %s", m.GetType(), from, why)
		}
		out[i], bytes = m, bytes+len(b)
	}
	return out, bytes, nil
}

// checkMessage says what is wrong with a message, of what raft would take for granted; "": nothing.
func checkMessage(m *raftpb.Message, from, to uint64) string {
	passedOn := m.GetType() == raftpb.MsgProp || m.GetType() == raftpb.MsgReadIndex
	switch {
	case m.GetTo() != to:
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
		return checkEntries(m)
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
		if _, err := unpack(e.GetData()); err != nil {
			return err.Error()
		}
	}
	return ""
}

// checkEntries: entries continue one another, and are not of a later term than the message.
func checkEntries(m *raftpb.Message) string {
	index, term := m.GetIndex(), m.GetLogTerm()
	for _, e := range m.GetEntries() {
		if e.GetIndex() != index+1 || e.GetTerm() < term || e.GetTerm() > m.GetTerm() {
			return "its entries do not continue one another"
		}
		index, term = e.GetIndex(), e.GetTerm()
	}
	return ""
}
