package strong

import (
	"cmp"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// ChangeOp is what becomes of a member.
type ChangeOp uint8

// What may become of a member.
const (
	AddLearner ChangeOp = iota + 1 // it gets the log, and has no vote
	AddVoter                       // it has a vote; a learner that has caught up should become one, nobody else
	Remove                         // it is no member any more
)

var changeNames = [...]string{AddLearner: "learner", AddVoter: "voter", Remove: "remove"}

func (o ChangeOp) String() string {
	if o > 0 && int(o) < len(changeNames) {
		return changeNames[o]
	}
	return fmt.Sprintf("change(%d)", uint8(o))
}

// Change is one change of the members.
type Change struct {
	Op ChangeOp
	ID uint64
}

func (c Change) String() string { return fmt.Sprintf("%s %x", c.Op, c.ID) }

// Progress is how far a member is, as its leader knows.
type Progress struct {
	ID      uint64
	Learner bool
	Active  bool   // heard of within the last one or two election timeouts
	Match   uint64 // the last entry that it is known to hold
}

// View is what a leader sees of its group.
type View struct {
	ID               uint64 // the leader's
	Commit, Applied  uint64
	Voters, Learners []uint64   // sorted
	Progress         []Progress // of all members, by id
}

// view is what the group sees now. Progress is known to a leader only.
func (g *Group) view() View {
	v := View{
		ID: g.c.ID, Commit: g.role.commit, Applied: g.applied,
		Voters: slices.Sorted(slices.Values(g.log.conf.GetVoters())), Learners: slices.Sorted(slices.Values(g.log.conf.GetLearners())),
	}
	if !g.role.leading {
		return v
	}
	g.node.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		v.Progress = append(v.Progress, Progress{ID: id, Learner: p.IsLearner, Active: p.RecentActive || id == g.c.ID, Match: p.Match})
	})
	slices.SortFunc(v.Progress, func(a, b Progress) int { return cmp.Compare(a.ID, b.ID) })
	return v
}

// joint: the members are between two configurations, which raft leaves by itself.
func (g *Group) joint() bool { return len(g.log.conf.GetVotersOutgoing()) > 0 }

// reconcile proposes the changes of members that are wanted, if this member leads and no others are under
// way. A single one is a plain change; several go through a joint configuration.
func (g *Group) reconcile() {
	if !g.role.leading || g.role.commit < g.role.from || g.applied < g.role.from || g.joint() {
		return
	}
	if g.changedAt != 0 && g.ticks-g.changedAt < changeTicks {
		return
	}
	v := g.view()
	changes := g.c.Wanted(v)
	if len(changes) == 0 {
		return
	}
	if why := refuseChanges(v, changes); why != "" {
		g.c.Logf("strong: the changes of members %v can't be made: %s", changes, why)
		return
	}
	if err := g.node.ProposeConfChange(confChange(changes)); err != nil {
		return // asked again at the next tick
	}
	g.changedAt = g.ticks
	g.c.Logf("strong: voter %x proposes the changes of members %v", g.c.ID, changes)
}

// refuseChanges says why changes make no sense; "": they do. Raft would panic at every member.
func refuseChanges(v View, changes []Change) string {
	voters := make(map[uint64]bool)
	for _, id := range v.Voters {
		voters[id] = true
	}
	seen := make(map[uint64]bool)
	for _, c := range changes {
		if c.ID == raft.None || raft.IsLocalMsgTarget(c.ID) || seen[c.ID] {
			return fmt.Sprintf("%s is none, or the second of this member", c)
		}
		seen[c.ID] = true
		switch c.Op {
		case AddVoter:
			voters[c.ID] = true
		case AddLearner, Remove:
			delete(voters, c.ID)
		default:
			return c.String() + " is unknown"
		}
	}
	if len(voters) == 0 {
		return "no voter would be left"
	}
	return ""
}

// confChange is changes as raft takes them.
func confChange(changes []Change) *raftpb.ConfChangeV2 {
	ops := map[ChangeOp]raftpb.ConfChangeType{
		AddLearner: raftpb.ConfChangeAddLearnerNode, AddVoter: raftpb.ConfChangeAddNode, Remove: raftpb.ConfChangeRemoveNode,
	}
	cc := &raftpb.ConfChangeV2{}
	for _, c := range changes {
		cc.Changes = append(cc.Changes, &raftpb.ConfChangeSingle{Type: ops[c.Op].Enum(), NodeId: new(c.ID)})
	}
	return cc
}
