package meta

import (
	"fmt"

	"github.com/theriac-db/theriac/clock"
)

// storeBits are the low bits of a voter's id, those of the store's incarnation.
const storeBits = 48

// VoterID is the id in the raft group of a region's store: the region's number in the upper 16 bits, the
// low 48 bits of the store's incarnation below. A voter must never come back having forgotten its votes, so
// a new store is a new voter. Incarnations are random, and odd: two stores of one region have the same id
// with a probability of 1 in 2^47.
func VoterID(region clock.Region, store uint64) uint64 {
	return uint64(region)<<storeBits | store&(1<<storeBits-1)
}

// VoterRegion is the region of a voter.
func VoterRegion(id uint64) clock.Region { return clock.Region(id >> storeBits) }

// Role is what a member of the raft group is.
type Role uint8

const (
	None    Role = iota // no member
	Learner             // it gets the log and does not vote
	Voter               // it counts for majorities
)

var roleNames = [...]string{"none", "learner", "voter"}

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// Member is a member of the raft group, as its leader sees it.
type Member struct {
	ID     uint64
	Role   Role
	Active bool // heard of lately
	Caught bool // it holds nearly all of the log
}

// Step is one change of the raft group: member ID gets a role; None removes it.
type Step struct {
	ID   uint64
	Role Role
}

// Wanted tells the role that a voter's id is to have in the end: stores of serving regions vote, that of
// a region that joins learns, all else is no member.
func (s *State) Wanted(id uint64) Role {
	r, found := s.Region(VoterRegion(id))
	switch {
	case !found || VoterID(r.Number, r.Store) != id:
		return None
	case r.Phase == Serving:
		return Voter
	case r.Phase == Joining:
		return Learner
	}
	return None
}

// Next is the next change of the raft group on its way to what is wanted, false if there is none that can
// be made now. Changes are single: one voter more or less, so that the majorities before and after have a
// member in common.
//
// Nothing is done that would leave a majority of the voters unheard of, since the group could then not
// even undo it. A voter becomes one only once it has caught up; the voter of a store that was lost goes
// once the one that follows it votes, that of a region that was fenced or abandoned at once.
func (s *State) Next(members []Member) (Step, bool) {
	group := group{state: s, members: members}
	for _, next := range []func() (Step, bool){group.dropLearner, group.dropEnded, group.learn, group.promote, group.dropReplaced} {
		if step, found := next(); found {
			return step, true
		}
	}
	return Step{}, false
}

type group struct {
	state   *State
	members []Member
}

// dropLearner removes a learner that is to be no member.
func (g *group) dropLearner() (Step, bool) {
	return g.first(func(m Member) bool { return m.Role == Learner && g.state.Wanted(m.ID) == None }, None)
}

// dropEnded removes a voter of a region that does not serve.
func (g *group) dropEnded() (Step, bool) {
	return g.first(func(m Member) bool {
		r, _ := g.state.Region(VoterRegion(m.ID))
		return m.Role == Voter && r.Phase != Serving && g.safe(m.ID, None)
	}, None)
}

// learn lets a store learn that is to be a member.
func (g *group) learn() (Step, bool) {
	for i := range g.state.regions {
		r := &g.state.regions[i]
		if id := VoterID(r.Number, r.Store); g.state.Wanted(id) != None && g.role(id) == None {
			return Step{ID: id, Role: Learner}, true
		}
	}
	return Step{}, false
}

// promote lets a learner vote.
func (g *group) promote() (Step, bool) {
	return g.first(func(m Member) bool {
		return m.Role == Learner && g.state.Wanted(m.ID) == Voter && m.Active && m.Caught && g.safe(m.ID, Voter)
	}, Voter)
}

// dropReplaced removes the voter of a serving region's store that was lost, once the new one votes.
func (g *group) dropReplaced() (Step, bool) {
	return g.first(func(m Member) bool {
		r, _ := g.state.Region(VoterRegion(m.ID))
		return m.Role == Voter && g.state.Wanted(m.ID) == None && g.role(VoterID(r.Number, r.Store)) == Voter && g.safe(m.ID, None)
	}, None)
}

func (g *group) first(fits func(Member) bool, role Role) (Step, bool) {
	for _, m := range g.members {
		if fits(m) {
			return Step{ID: m.ID, Role: role}, true
		}
	}
	return Step{}, false
}

func (g *group) role(id uint64) Role {
	for _, m := range g.members {
		if m.ID == id {
			return m.Role
		}
	}
	return None
}

// safe reports whether a majority of the voters is active once one member has changed its role.
func (g *group) safe(changed uint64, role Role) bool {
	voters, active := 0, 0
	for _, m := range g.members {
		if m.ID == changed {
			m.Role = role
		}
		if m.Role == Voter {
			voters++
			if m.Active {
				active++
			}
		}
	}
	return active > voters/2
}
