package strong

import (
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
)

// Place is a region that serves, with the store that its node has.
type Place struct {
	Seat
	// Recovering: the node does not have all of its region's own writes back yet, so that another store of the
	// region may yet take its place.
	Recovering bool
}

// Standing is what a node says of its store's part in the group.
type Standing struct {
	ID               uint64
	Leaderless       bool // for RefoundAfter, and at rest since: nothing is being written or applied
	Term             uint64
	Commit           uint64
	Last, LastTerm   uint64 // the end of the log; 0: the store holds nothing of the group
	Voters, Outgoing []uint64
	Held             clock.Timestamp // the last record of the certifier's lane that came there
	Version          uint64          // of the metadata by which the node acts
}

// Refounding is how a dead group is founded anew.
type Refounding struct {
	Index, Term uint64          // of the snapshot that the new group begins with
	Commit      uint64          // of the dead one: what the founder's log holds up to there was decided
	Held        clock.Timestamp // the last record of the certifier's lane that any region has
	Version     uint64          // of the metadata that no node there is has got to
	Lost        []uint64        // voters of the dead group whose stores were replaced
}

// moreOf tells whether a log is as far as another one, in the sense of an election (Raft, section 5.4.1).
func (s *Standing) moreOf(o *Standing) bool {
	return s.LastTerm > o.LastTerm || s.LastTerm == o.LastTerm && s.Last >= o.Last
}

// judge tells whether the group is dead and to be founded anew by the node with the voter self, or why not.
//
// It is dead if no voter can win an election, ever: too few of those that would vote for it have their stores
// still. That is sound since a store whose region has another one does not come back: the node with the new
// one has met all regions, which refuse the old store from then on, and let it go nowhere. A leader needs a
// majority of the voters that it knows itself (two while they change), each with a log that is no further than
// its own; a voter of a region that is not known here counts as one that would vote. While nothing is
// elected no log grows and no configuration changes, and all logs were looked at when nobody had known a leader
// for long. So nothing moves between the looks at one node and another, and all who look at all nodes see the
// same, and agree on who founds. Who does not see all of them waits.
//
// What is left is what is left wherever a region gets a new store while its old one lives: if that happens to a
// majority of regions, and the old stores run on, cut off from everybody else, each side has a group.
//
// Founder is who knows most. What any node has applied was committed, and is in the founder's log: of the
// nodes whose logs end in one term the longest log includes all the others, so that the term counts to whose
// nodes the highest commit index is known, and in it the longest log. (The latest term alone would not do: its
// log may lack what a later leader committed, and is lost with that leader.) The rest of that log may have been
// acknowledged, so it is kept unless it contradicts the certifier's lane (Refound).
func judge(places []Place, said map[uint64]Standing, self uint64) (r Refounding, act bool, why string) {
	present, why := attendance(places, said)
	if why != "" {
		return r, false, why
	}
	var holders []Standing
	for _, s := range present {
		if electable(&s, places, present) {
			return r, false, fmt.Sprintf("voter %x can still be elected", s.ID)
		}
		if s.Last > 0 {
			holders = append(holders, s)
		}
		r.Index, r.Term, r.Held, r.Version = max(r.Index, s.Last), max(r.Term, s.Term), max(r.Held, s.Held), max(r.Version, s.Version)
	}
	r.Index, r.Term, r.Version = r.Index+RefoundGap, r.Term+RefoundGap, r.Version+RefoundGap
	founder := present[0]
	if len(holders) > 0 {
		founder, r.Commit = furthest(holders)
	}
	for _, id := range founder.Voters {
		if missing(id, places) {
			r.Lost = append(r.Lost, id)
		}
	}
	switch {
	case founder.ID != self:
		return r, false, fmt.Sprintf("no majority of its voters has its store still, and region %d founds it anew", RegionOf(founder.ID))
	case founder.Held < r.Held:
		return r, false, "no majority of its voters has its store still; this node founds it anew once it has all strong commits that other regions have"
	}
	return r, true, ""
}

// attendance lists how the nodes of all regions stand, by region, or says who is missing.
func attendance(places []Place, said map[uint64]Standing) (present []Standing, why string) {
	places = slices.SortedFunc(slices.Values(places), func(a, b Place) int { return int(a.Region) - int(b.Region) })
	for _, p := range places {
		s, ok := said[VoterID(p.Region, p.Store)]
		switch {
		case p.Store == 0:
			return nil, fmt.Sprintf("region %d is not connected", p.Region)
		case p.Recovering:
			return nil, fmt.Sprintf("region %d does not have its own writes back yet", p.Region)
		case !ok && mutant.On(mutant.RefoundedWithoutAll):
			continue
		case !ok:
			return nil, fmt.Sprintf("region %d has not said yet how it stands", p.Region)
		case !s.Leaderless:
			return nil, fmt.Sprintf("region %d knew a leader a while ago", p.Region)
		}
		present = append(present, s)
	}
	if len(present) == 0 {
		return nil, "no region is known"
	}
	return present, ""
}

// electable tells whether a node could become the leader.
func electable(s *Standing, places []Place, present []Standing) bool {
	wins := func(voters []uint64) bool {
		votes := 0
		for _, id := range voters {
			i := slices.IndexFunc(present, func(o Standing) bool { return o.ID == id })
			if i < 0 && !missing(id, places) || i >= 0 && s.moreOf(&present[i]) {
				votes++
			}
		}
		return 2*votes > len(voters)
	}
	return slices.Contains(append(slices.Clone(s.Voters), s.Outgoing...), s.ID) && wins(s.Voters) && (len(s.Outgoing) == 0 || wins(s.Outgoing))
}

// missing tells whether a voter's store is gone: its region has another one.
func missing(id uint64, places []Place) bool {
	return slices.ContainsFunc(places, func(p Place) bool { return p.Region == RegionOf(id) && VoterID(p.Region, p.Store) != id })
}

// furthest is who knows most of the dead group, and the last entry that is known to have been committed.
func furthest(holders []Standing) (best Standing, commit uint64) {
	known := map[uint64]uint64{} // commit index, by the term in which logs end
	for _, s := range holders {
		known[s.LastTerm] = max(known[s.LastTerm], s.Commit)
	}
	for _, s := range holders { // by region, so that the first of equals is the lowest
		k, b := known[s.LastTerm], known[best.LastTerm]
		if best.ID == 0 || k > b || k == b && !best.moreOf(&s) {
			best = s
		}
	}
	return best, known[best.LastTerm]
}
