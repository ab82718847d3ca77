package strong

import (
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
)

// storeBits is how many bits of a store's incarnation a voter's id has.
const storeBits = 48

// VoterID is the id of a region's voter with a store: 16 bits of the region's number, 48 of the incarnation,
// which is random: of two stores that a region ever has, one in 2^48 has the id of the other.
func VoterID(region clock.Region, incarnation uint64) uint64 {
	if incarnation != 0 && mutant.On(mutant.VoterOutlivesStore) {
		incarnation = 1
	}
	return uint64(region)<<storeBits | incarnation&(1<<storeBits-1)
}

// RegionOf is the region of a voter.
func RegionOf(id uint64) clock.Region { return clock.Region(id >> storeBits) }

// Seat is a region that belongs to the group.
type Seat struct {
	Region clock.Region
	Store  uint64 // the incarnation of the store that its node has; 0: not known, and whoever has its vote keeps it
}

// CatchUp is how many entries a learner may lack when it is given its vote.
const CatchUp = 1000

// NextChanges is the next step towards a group in which every seat has one vote, its own store's, and nobody
// else has any. A store that is new to the group learns first; it is given the vote together with the vote of
// its region's earlier store being taken, so that no region ever counts twice and none is missing meanwhile.
// The rest goes one at a time.
func NextChanges(v View, seats []Seat) []Change {
	members := append(slices.Clone(v.Voters), v.Learners...)
	if c, found := farewell(v, members, seats); found {
		return []Change{c}
	}
	for _, s := range seats {
		if s.Store == 0 {
			continue
		}
		id := VoterID(s.Region, s.Store)
		switch {
		case slices.Contains(v.Voters, id):
		case !slices.Contains(v.Learners, id):
			return []Change{{AddLearner, id}}
		case caughtUp(v, id):
			return promotion(v, id)
		}
	}
	return nil
}

// farewell finds a member that is to go: of no seat's region, or a learner that another store has followed, or
// a voter beside its region's store that votes already.
func farewell(v View, members []uint64, seats []Seat) (Change, bool) {
	for _, id := range members {
		i := slices.IndexFunc(seats, func(s Seat) bool { return s.Region == RegionOf(id) })
		if i < 0 {
			return Change{Remove, id}, id != v.ID || len(v.Voters) > 1
		}
		current := VoterID(seats[i].Region, seats[i].Store)
		if seats[i].Store == 0 || id == current {
			continue
		}
		if slices.Contains(v.Learners, id) || slices.Contains(v.Voters, current) {
			return Change{Remove, id}, true
		}
	}
	return Change{}, false
}

// caughtUp tells whether a learner has nearly all of the log.
func caughtUp(v View, id uint64) bool {
	return slices.ContainsFunc(v.Progress, func(p Progress) bool {
		return p.ID == id && p.Active && p.Match+CatchUp >= v.Commit
	})
}

// promotion gives a learner its vote, and takes that of its region's earlier store.
func promotion(v View, id uint64) []Change {
	changes := []Change{{AddVoter, id}}
	for _, other := range v.Voters {
		if RegionOf(other) == RegionOf(id) {
			changes = append(changes, Change{Remove, other})
		}
	}
	return changes
}
