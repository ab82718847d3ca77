package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/kv"
)

func TestAStrongCommitThatIsLostIsNoticed(t *testing.T) {
	c := newCertified()
	require.Empty(t, c.lasting(0), "there is none")
	require.Empty(t, c.derive(kv.Header{Time: 64, Deps: at(1)}))
	require.Empty(t, c.derive(kv.Header{Time: 128, Prev: 64}))
	require.Empty(t, c.derive(kv.Header{Time: 64, Deps: at(1)}), "another node says the same")
	require.Contains(t, c.derive(kv.Header{Time: 128, Prev: 32}), "but elsewhere behind")
	require.Empty(t, c.lasting(128))
	require.Contains(t, c.lasting(64), "are exposed in the end")
	require.Empty(t, c.derive(kv.Header{Time: 192, Prev: 64}))
	require.Contains(t, c.lasting(192), "was decided, too")
	told := func(time uint64) *history.History {
		return &history.History{Txns: []history.Txn{
			{ID: 1, Outcome: history.OK, Commit: &history.Stamp{Region: 0, Time: time}}, {ID: 2, Outcome: history.OK, Commit: &history.Stamp{Region: 1, Time: 9}},
		}}
	}
	require.Empty(t, c.acknowledged(told(64)))
	require.Contains(t, c.acknowledged(told(65)), "which nobody has")
	c.refounded(64)
	require.Empty(t, c.lasting(64), "the raft group was lost with what it had decided since")
}

func TestTwoLeadersOfOneTermAreNoticed(t *testing.T) {
	c := newCertified()
	require.Empty(t, c.leading())
	require.Empty(t, c.heed("eu", "2000-01-01 eu: region us connected\n"))
	require.Empty(t, c.heed("eu", "2000-01-01 eu: strong: voter 1a is led by 1a in term 2\n"))
	require.Empty(t, c.heed("us", "2000-01-01 us: strong: voter 2b is led by 1a in term 2\n"))
	require.Equal(t, "eu", c.leading())
	require.Empty(t, c.heed("us", "2000-01-01 us: strong: voter 2b is led by 2b in term 4\n"))
	require.Empty(t, c.heed("eu", "2000-01-01 eu: strong: voter 1a is led by 1a in term 3\n"), "it says so late")
	require.Equal(t, "us", c.leading())
	require.Contains(t, c.heed("ap", "2000-01-01 ap: strong: voter 3c is led by 3c in term 4\n"), "of which 2b was the leader")
}

// A raft group keeps what it has decided as long as a majority of its voters keeps its disks.
func TestAMajorityOfVotersKeepsItsDisks(t *testing.T) {
	c := newCertified()
	require.False(t, c.spares(1), "there are no voters yet")
	heed := func(line string) { require.Empty(t, c.heed("eu", line)) }
	heed("strong: entry 7: the voters are [1000000000001 2000000000001 3000000000001], learners []")
	heed("strong: entry 6: the voters are [1000000000001], learners [2000000000001]")
	require.True(t, c.spares(1))
	c.lose(1)
	require.False(t, c.spares(2))
	require.True(t, c.spares(1), "its vote is lost already")
	require.True(t, c.spares(4), "it has no vote")
	heed("strong: entry 9: the voters are [1000000000002 2000000000001 3000000000001], learners []")
	require.True(t, c.spares(2), "another store has its region's vote")
}

func TestAStrongCutThatAMajorityLacksIsNoticed(t *testing.T) {
	had := func(clock.Lane) []clock.Timestamp { return []clock.Timestamp{64, 0, 128} }
	require.Empty(t, onMajority(at(64).With(0, 256), 2, had))
	require.Contains(t, onMajority(at(128), 2, had), "on the disks of 1 regions only")
}

func TestAWriteAnsweredBeforeItIsOnSeveralDisksIsNoticed(t *testing.T) {
	r := kv.Receipt{Commit: clock.Stamp{Region: 1, Time: 64}}
	require.Empty(t, spreadEarly(r, 2, 3, []clock.Timestamp{64, 128}))
	require.Empty(t, spreadEarly(r, 1, 3, nil), "its own disk is another check's")
	require.Empty(t, spreadEarly(kv.Receipt{}, 2, 3, nil), "nothing was written")
	require.Contains(t, spreadEarly(r, 2, 3, []clock.Timestamp{64, 32}), "but is on those of 1")
	r.Commit.Region = 0
	require.Empty(t, spreadEarly(r, 2, 3, nil), "raft's log has it")
	require.Contains(t, spreadEarly(r, 3, 3, []clock.Timestamp{64, 64}), "but is on those of 2")
}
