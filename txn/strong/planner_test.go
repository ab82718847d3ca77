package strong

import (
	"slices"
)

// The planner of groups in tests: package meta has that of a database, which goes by what is decided.

// nextChanges is the next step towards a group in which every seat has one vote, its own store's, and nobody
// else has any. A store that is new to the group learns first; it is given the vote together with the vote of
// its region's earlier store being taken, so that no region ever counts twice and none is missing meanwhile.
// The rest goes one at a time.
func nextChanges(v View, seats []Seat) []Change {
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
