package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/txn/strong"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

// decide carries commands out.
func decide(t *testing.T, s *meta.State, commands ...meta.Command) {
	t.Helper()
	for _, c := range commands {
		b, err := meta.Encode(c)
		require.NoError(t, err)
		r, err := s.Apply(b, 70)
		require.NoError(t, err)
		require.Nil(t, r.Err, "%T %+v", c, c)
	}
}

// TestWhatTheLeaderDecides is the founding, a store that was lost, and the end of a region.
func TestWhatTheLeaderDecides(t *testing.T) {
	s := meta.New()
	founding := &meta.Found{Name: "eu", Store: 11}
	next := func(stores []replication.RegionStore, members ...clock.Region) meta.Command {
		return lead(s, stores, founding, members)
	}
	require.Equal(t, founding, next(nil, 1))
	decide(t, s, founding)
	require.Nil(t, next([]replication.RegionStore{{Region: 1, Incarnation: 11}}, 1))

	decide(t, s, &meta.Add{Name: "us", Store: 21}, &meta.Serve{Region: 2, Store: 21}, &meta.Add{Name: "ap", Store: 31})
	require.Nil(t, next([]replication.RegionStore{{Region: 2}, {Region: 3, Incarnation: 32}, {Region: 9, Incarnation: 1}}, 1, 2),
		"who is not reached has the store that it had, and who joins says so itself")
	decide(t, s, &meta.Serve{Region: 3, Store: 31})
	require.Equal(t, &meta.Replace{Region: 2, Was: 21, Store: 22}, next([]replication.RegionStore{{Region: 2, Incarnation: 22}}, 1, 2, 3))

	require.Zero(t, askedOf(s, 1))
	decide(t, s, &meta.Fence{Region: 3})
	require.Equal(t, s.Version(), askedOf(s, 1))
	require.Zero(t, askedOf(s, 3), "it is not asked")
	stores := []replication.RegionStore{{Region: 1, Incarnation: 11}, {Region: 2, Incarnation: 21}, {Region: 3, Incarnation: 33}}
	require.Nil(t, next(stores, 1, 2), "nobody has said what it holds")
	asked := s.Asked()
	decide(t, s, &meta.Held{Reporter: 1, Version: asked}, &meta.Held{Reporter: 2, Version: asked, Holds: clock.VectorOf(clock.Entry{Region: 3, Time: 5})})
	require.Nil(t, next(stores, 1, 2, 3), "its voter may be needed for its own removal")
	require.Equal(t, &meta.Close{Region: 3}, next(stores, 1, 2))
	decide(t, s, &meta.Close{Region: 3})
	require.Nil(t, next(stores, 1, 2))
	require.ElementsMatch(t, []clock.Region{1, 2, 3, 4}, members(&strong.Status{
		View:     strong.View{Voters: []uint64{strong.VoterID(1, 1)}, Learners: []uint64{strong.VoterID(4, 1)}},
		Outgoing: []uint64{strong.VoterID(2, 1), strong.VoterID(3, 1)}}))

	list := membersOf(s.Regions())
	require.Equal(t, replication.Member{Region: 3, Name: "ap", Incarnation: 31, Serving: true, Fenced: true, Removed: true, Last: 5, Closed: 70}, list[2])
	require.Equal(t, map[clock.Lane][]kv.Interval{{Region: 3}: {{From: 5, To: clock.MaxTimestamp}}}, voidBehind(s.Regions()))
}

// TestAStoreTakesTheVoteOfTheOneBeforeItAtOnce, and members go by what is decided.
func TestAStoreTakesTheVoteOfTheOneBeforeItAtOnce(t *testing.T) {
	s := meta.New()
	decide(t, s, &meta.Found{Name: "eu", Store: 11}, &meta.Add{Name: "us", Store: 21}, &meta.Serve{Region: 2, Store: 21},
		&meta.Add{Name: "ap", Store: 31}, &meta.Serve{Region: 3, Store: 31}, &meta.Replace{Region: 2, Was: 21, Store: 22})
	eu, us, next, ap := strong.VoterID(1, 11), strong.VoterID(2, 21), strong.VoterID(2, 22), strong.VoterID(3, 31)
	v := &strong.View{ID: eu, Commit: 5000, Voters: []uint64{eu, us, ap}, Progress: []strong.Progress{
		{ID: eu, Active: true, Match: 5000}, {ID: us, Match: 5}, {ID: ap, Active: true, Match: 5000}}}
	require.Equal(t, []strong.Change{{Op: strong.AddLearner, ID: next}}, nextChanges(s, v))
	v.Learners, v.Progress = []uint64{next}, append(v.Progress, strong.Progress{ID: next, Learner: true, Active: true, Match: 3999})
	require.Nil(t, nextChanges(s, v), "it lags")
	v.Progress[3].Match++
	require.Equal(t, []strong.Change{{Op: strong.AddVoter, ID: next}, {Op: strong.Remove, ID: us}}, nextChanges(s, v))
	v.Learners, v.Voters = nil, []uint64{eu, next, ap}
	v.Progress = []strong.Progress{{ID: eu, Active: true, Match: 5000}, {ID: next, Match: 5000}, {ID: ap, Active: true, Match: 5000}}
	decide(t, s, &meta.Fence{Region: 3})
	require.Nil(t, nextChanges(s, v), "eu alone would be no majority of what is left")
	v.Progress[1].Active = true
	require.Equal(t, []strong.Change{{Op: strong.Remove, ID: ap}}, nextChanges(s, v))
}
