package strong

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
)

func TestVoterIDsTellRegions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		region, store := clock.Region(rapid.Uint16().Draw(t, "region")), rapid.Uint64().Draw(t, "store")
		require.Equal(t, region, RegionOf(VoterID(region, store)))
	})
}

func TestChangesOfTheTestsPlanner(t *testing.T) {
	a, b, c, b2 := VoterID(1, 11), VoterID(2, 22), VoterID(3, 33), VoterID(2, 23)
	seats := []Seat{{1, 11}, {2, 22}, {3, 33}}
	active := func(match uint64, ids ...uint64) (out []Progress) {
		for _, id := range ids {
			out = append(out, Progress{ID: id, Active: true, Match: match})
		}
		return out
	}
	for name, x := range map[string]struct {
		view  View
		seats []Seat
		want  []Change
	}{
		"all is as it should be":        {View{ID: a, Voters: []uint64{a, b, c}}, seats, nil},
		"a newcomer learns first":       {View{ID: a, Voters: []uint64{a}}, seats, []Change{{AddLearner, b}}},
		"one that lags goes on":         {View{ID: a, Commit: 5000, Voters: []uint64{a}, Learners: []uint64{b}, Progress: active(1, b)}, seats[:2], nil},
		"one that is silent waits":      {View{ID: a, Voters: []uint64{a}, Learners: []uint64{b}, Progress: []Progress{{ID: b}}}, seats[:2], nil},
		"one that has caught up votes":  {View{ID: a, Commit: 5000, Voters: []uint64{a}, Learners: []uint64{b}, Progress: active(4000, b)}, seats[:2], []Change{{AddVoter, b}}},
		"a lagging one delays nobody":   {View{ID: a, Commit: 5000, Voters: []uint64{a}, Learners: []uint64{b}, Progress: active(1, b)}, seats, []Change{{AddLearner, c}}},
		"a new store learns first":      {View{ID: a, Voters: []uint64{a, b, c}}, []Seat{{1, 11}, {2, 23}, {3, 33}}, []Change{{AddLearner, b2}}},
		"and takes the vote at once":    {View{ID: a, Voters: []uint64{a, b, c}, Learners: []uint64{b2}, Progress: active(0, b2)}, []Seat{{1, 11}, {2, 23}, {3, 33}}, []Change{{AddVoter, b2}, {Remove, b}}},
		"a store that was followed":     {View{ID: a, Voters: []uint64{a, c}, Learners: []uint64{b}}, []Seat{{1, 11}, {2, 23}, {3, 33}}, []Change{{Remove, b}}},
		"two votes of a region":         {View{ID: a, Voters: []uint64{a, b, b2, c}}, []Seat{{1, 11}, {2, 23}, {3, 33}}, []Change{{Remove, b}}},
		"an unknown store keeps a vote": {View{ID: a, Voters: []uint64{a, b, c}}, []Seat{{1, 11}, {2, 0}, {3, 33}}, nil},
		"a region that is gone":         {View{ID: a, Voters: []uint64{a, b, c}}, []Seat{{1, 11}, {3, 33}}, []Change{{Remove, b}}},
		"the leader's own goes too":     {View{ID: a, Voters: []uint64{a, b}}, []Seat{{2, 22}}, []Change{{Remove, a}}},
		"but not the last":              {View{ID: a, Voters: []uint64{a}}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, x.want, nextChanges(x.view, x.seats)) })
	}
}

// From any members, changes come to an end at what is wanted, if learners catch up, and no step takes more than one
// vote or leaves none.
func TestChangesArrive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seats := []Seat{{1, 11}}
		voters, learners := map[uint64]bool{VoterID(1, 11): true}, map[uint64]bool{}
		for r := clock.Region(2); r < 6; r++ {
			if rapid.Bool().Draw(t, "seat") {
				seats = append(seats, Seat{r, uint64(rapid.IntRange(1, 2).Draw(t, "store"))})
			}
			for store := uint64(1); store <= 2; store++ {
				switch id := VoterID(r, store); rapid.IntRange(0, 2).Draw(t, "member") {
				case 0:
					voters[id] = true
				case 1:
					learners[id] = true
				}
			}
		}
		for range 40 {
			v := View{ID: VoterID(1, 11)}
			for id := range voters {
				v.Voters = append(v.Voters, id)
			}
			for id := range learners {
				v.Learners = append(v.Learners, id)
				v.Progress = append(v.Progress, Progress{ID: id, Active: true})
			}
			changes := nextChanges(v, seats)
			require.Empty(t, refuseChanges(v, changes))
			for _, c := range changes {
				delete(voters, c.ID)
				delete(learners, c.ID)
				switch c.Op {
				case AddVoter:
					voters[c.ID] = true
				case AddLearner:
					learners[c.ID] = true
				}
			}
			if len(changes) == 0 {
				break
			}
		}
		require.Empty(t, learners)
		require.Len(t, voters, len(seats))
		for _, s := range seats {
			require.True(t, voters[VoterID(s.Region, s.Store)])
		}
	})
}
