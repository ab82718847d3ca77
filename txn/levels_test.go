package txn

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// neighbours are other regions that answer what a test wants.
type neighbours struct {
	serving int
	have    int
	fails   error
	asked   []any // durations, stamps and numbers of regions
	quorums int
}

func (n *neighbours) WaitFresh(_ context.Context, d time.Duration, fail bool) (bool, error) {
	n.asked = append(n.asked, d, fail)
	return true, n.fails
}

func (n *neighbours) Quorum(context.Context) error { n.quorums++; return n.fails }

func (n *neighbours) WaitDurable(_ context.Context, s clock.Stamp, regions int) (int, error) {
	n.asked = append(n.asked, s, regions)
	return n.have, n.fails
}

func (n *neighbours) Serving() int { return n.serving }

func (n *neighbours) Staleness() []kv.RegionStaleness {
	return []kv.RegionStaleness{{Region: 2, Name: "us", Age: time.Second, Known: true}, {Region: 3, Name: "ap"}, {Name: kv.StrongTransactions}}
}

func (n *neighbours) StalenessAt(clock.Vector) []kv.RegionStaleness {
	return []kv.RegionStaleness{{Name: kv.StrongTransactions, Age: time.Minute, Known: true}, {Region: 2, Name: "us", Age: 2 * time.Second, Known: true}}
}

func withNeighbours(t *testing.T) (*region, *neighbours) {
	r, n := fresh(t), &neighbours{serving: 3, have: 3}
	r.Coordinator.regions = n
	var readings atomic.Int64 // each a millisecond later than the one before
	r.mono = func() time.Duration { return time.Duration(readings.Add(1)) * time.Millisecond }
	r.open.mono = r.mono
	return r, n
}

func TestLevelsAskOtherRegions(t *testing.T) {
	r, n := withNeighbours(t)
	r.must(kv.Options{Level: kv.LevelBounded, Bound: time.Second, BoundFail: true}, increment("n", 1))
	require.Equal(t, []any{time.Second, true}, n.asked)
	r.must(kv.Options{Level: kv.LevelQuorum}, increment("n", 1))
	require.Equal(t, 1, n.quorums)
	n.fails = kv.Errorf(kv.KindUnavailable, "nobody there")
	for _, o := range []kv.Options{{Level: kv.LevelBounded, Bound: time.Second}, {Level: kv.LevelQuorum}} {
		_, err := r.Do(t.Context(), kv.Request{Options: o, Ops: []kv.Op{increment("n", 1)}})
		require.ErrorIs(t, err, kv.ErrUnavailable)
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
		_, _, err = r.Begin(t.Context(), kv.Begin{Options: o})
		require.ErrorIs(t, err, kv.ErrUnavailable)
	}
	require.EqualValues(t, 2, r.counter("n"))
	require.Zero(t, r.shell.openSnapshots())
	s := r.Stats()
	require.Equal(t, Calls{Served: 1, Waited: 3, Failed: 2}, s.Levels[kv.LevelQuorum])
	require.Equal(t, Calls{Served: 1, Waited: 3, Failed: 2}, s.Levels[kv.LevelBounded])
}

func TestDurabilitiesAskOtherRegions(t *testing.T) {
	r, n := withNeighbours(t)
	for reach, want := range map[kv.Reach]int{
		{Durability: kv.DurabilityRegions, Regions: 2}: 2, {Durability: kv.DurabilityMajority}: 2, {Durability: kv.DurabilityAll}: 3,
	} {
		n.asked = nil
		o := kv.Options{Receipt: true}
		o.SetReach(reach)
		receipt := r.must(o, increment("n", 1))
		require.Equal(t, []any{receipt.Commit, want}, n.asked)
		require.Equal(t, reach.Durability, receipt.Durability)
		require.Equal(t, 3, receipt.Regions)
	}
	n.asked = nil
	r.must(kv.Options{Durability: kv.DurabilityRegions, Regions: 1}, increment("n", 1))
	require.Empty(t, n.asked, "this region is enough")
	for _, why := range []error{kv.Errorf(kv.KindDeadline, "in 1 of 2"), kv.Errorf(kv.KindUnavailable, "stopping")} {
		n.fails, n.have = why, 1
		_, err := r.Do(t.Context(), kv.Request{Options: kv.Options{Durability: kv.DurabilityMajority}, Ops: []kv.Op{increment("n", 1)}})
		require.True(t, errors.Is(err, why))
		require.Equal(t, kv.KindOf(why), kv.KindOf(err))
		require.Equal(t, kv.Applied, kv.OutcomeOf(err))
		require.NotEmpty(t, kv.TokenOf(err).Seen)
	}
	n.fails = nil
	_, err := r.Do(t.Context(), kv.Request{Options: kv.Options{Durability: kv.DurabilityRegions, Regions: 4}, Ops: []kv.Op{increment("n", 1)}})
	require.ErrorIs(t, err, kv.ErrLevelRefused)
	require.EqualValues(t, 6, r.counter("n"), "what was refused was not written")
	require.Equal(t, Calls{Served: 1, Waited: 3, Failed: 2}, r.Stats().Durabilities[kv.DurabilityMajority])
}

// A region may leave while its disk is waited for.
func TestARegionThatLeavesMeanwhileIsMissed(t *testing.T) {
	r, n := withNeighbours(t)
	o := kv.Options{Durability: kv.DurabilityRegions, Regions: 3}
	n.serving, n.fails = 2, kv.Errorf(kv.KindDeadline, "in 2")
	err := r.spread(t.Context(), &o, &kv.Receipt{Commit: clock.Stamp{Region: 1, Time: 9}})
	require.ErrorIs(t, err, kv.ErrDeadline)
	require.Equal(t, kv.Applied, kv.OutcomeOf(err))
	require.Equal(t, []any{clock.Stamp{Region: 1, Time: 9}, 3}, n.asked)
}

func TestReceiptsMeasureWhatIsPaid(t *testing.T) {
	r, _ := withNeighbours(t)
	o := kv.Options{Level: kv.LevelQuorum, Durability: kv.DurabilityMajority, Receipt: true}
	resp, err := r.Do(t.Context(), kv.Request{Options: o, Queries: ask(object("n", crdt.Counter)), Ops: []kv.Op{increment("n", 1)}})
	require.NoError(t, err)
	require.Len(t, resp.Receipt.Staleness, 3)
	p := resp.Receipt.Paid
	require.Positive(t, p.Sync)
	require.Positive(t, p.Work)
	require.Zero(t, p.Certify)
	id, first, err := r.Begin(t.Context(), kv.Begin{Options: o})
	require.NoError(t, err)
	require.Equal(t, time.Second, first.Staleness[0].Age)
	r.within(id, nil, increment("n", 1))
	last, err := r.Commit(t.Context(), id, kv.Options{Receipt: true, Durability: kv.DurabilityApplied})
	require.NoError(t, err)
	require.Equal(t, kv.DurabilityApplied, last.Durability)
	require.Zero(t, last.Regions)
	require.Greater(t, last.Staleness[0].Age, time.Second, "the snapshot is older by now")
	require.False(t, last.Staleness[1].Known)
	require.Zero(t, last.Paid.Sync, "it did not wait for the disk")
}

func TestReceiptsOfListingsAndDigestsAreMeasured(t *testing.T) {
	r, _ := withNeighbours(t)
	r.must(kv.Options{}, increment("n", 1))
	check := func(receipt kv.Receipt, err error) {
		t.Helper()
		require.NoError(t, err)
		require.Len(t, receipt.Staleness, 3)
		require.Positive(t, receipt.Paid.Work)
	}
	o := kv.Options{Level: kv.LevelQuorum, Receipt: true}
	page, err := r.Keys(t.Context(), kv.KeysRequest{Options: o, Bucket: kv.DefaultBucket, Limit: 1})
	check(page.Receipt, err)
	d, err := r.Digest(t.Context(), kv.DigestRequest{Options: o})
	check(d.Receipt, err)
	id, _, err := r.Begin(t.Context(), kv.Begin{Options: o, ReadOnly: true})
	require.NoError(t, err)
	page, err = r.Keys(t.Context(), kv.KeysRequest{Txn: id, Bucket: kv.DefaultBucket, Limit: 1})
	check(page.Receipt, err)
	require.Greater(t, page.Receipt.Staleness[0].Age, time.Second, "the snapshot is older by now")

	page, err = r.Keys(t.Context(), kv.KeysRequest{Bucket: kv.DefaultBucket, Limit: 1})
	require.NoError(t, err)
	require.Empty(t, page.Receipt.Staleness, "nobody asked")
	withOrder(t, r)
	o.Level = kv.LevelStrong
	d, err = r.Digest(t.Context(), kv.DigestRequest{Options: o})
	check(d.Receipt, err)
	require.Equal(t, kv.LevelStrong, d.Receipt.Level)
}

// Regions serve that have no vote yet: what a majority of the voters has is on fewer disks than a majority's.
func TestStrongTransactionsWaitForAMajorityThatHasNoVotes(t *testing.T) {
	r, n := withNeighbours(t)
	o := withOrder(t, r)
	for _, copies := range []int{1, 2} {
		o.copies, n.asked, n.have = copies, nil, 2
		receipt := r.must(kv.Options{Level: kv.LevelStrong, Receipt: true}, increment("n", 1))
		require.Equal(t, kv.DurabilityMajority, receipt.Durability)
		require.Equal(t, 2, receipt.Regions)
		if copies == 1 {
			require.Equal(t, []any{receipt.Commit, 2}, n.asked)
		} else {
			require.Empty(t, n.asked)
		}
	}
	o.copies, n.fails = 1, kv.Errorf(kv.KindDeadline, "in 1 of 2")
	_, err := r.Do(t.Context(), kv.Request{Options: kv.Options{Level: kv.LevelStrong}, Ops: []kv.Op{increment("n", 1)}})
	require.ErrorIs(t, err, kv.ErrDeadline)
	require.Equal(t, kv.Applied, kv.OutcomeOf(err))
	require.NotZero(t, kv.TokenOf(err).Seen.At(0))
}

func TestStrongTransactionsReachAMajorityAndMoreIfAsked(t *testing.T) {
	r, n := withNeighbours(t)
	withOrder(t, r)
	for _, reach := range []kv.Reach{{}, {Durability: kv.DurabilityLocal}, {Durability: kv.DurabilityMajority}} {
		o := kv.Options{Level: kv.LevelStrong, Receipt: true}
		o.SetReach(reach)
		receipt := r.must(o, increment("n", 1))
		require.Equal(t, kv.DurabilityMajority, receipt.Durability)
		require.Equal(t, 2, receipt.Regions)
		require.Positive(t, receipt.Paid.Certify)
		require.Empty(t, n.asked, "the certifier's log is on a majority's disks")
	}
	receipt := r.must(kv.Options{Level: kv.LevelStrong, Durability: kv.DurabilityAll}, increment("n", 1))
	require.Equal(t, []any{receipt.Commit, 3}, n.asked)
	require.Zero(t, receipt.Commit.Region)
	id := r.beginStrong()
	r.within(id, nil, increment("n", 1))
	n.fails = kv.Errorf(kv.KindDeadline, "in 2 of 3")
	_, err := r.Commit(t.Context(), id, kv.Options{Durability: kv.DurabilityAll})
	require.ErrorIs(t, err, kv.ErrDeadline)
	require.Equal(t, kv.Applied, kv.OutcomeOf(err))
	require.NotZero(t, kv.TokenOf(err).Seen.At(0))
	_, err = r.Do(t.Context(), kv.Request{Options: kv.Options{Level: kv.LevelStrong, Durability: kv.DurabilityRegions, Regions: 4}, Ops: []kv.Op{increment("n", 1)}})
	require.ErrorIs(t, err, kv.ErrLevelRefused)
	require.EqualValues(t, 5, r.counter("n"))
	read, err := r.Do(t.Context(), kv.Request{Options: kv.Options{Level: kv.LevelStrong, Receipt: true}, Queries: ask(object("n", crdt.Counter))})
	require.NoError(t, err)
	require.Len(t, read.Receipt.Staleness, 3)
}

// A strong transaction that may write reads at an older cut than what is exposed: its receipt says how old that is.
func TestReceiptsOfStrongCallsTellStaleness(t *testing.T) {
	r, _ := withNeighbours(t)
	withOrder(t, r)
	full := kv.Options{Level: kv.LevelStrong, Receipt: true}
	age := func(list []kv.RegionStaleness, region clock.Region) time.Duration {
		t.Helper()
		for _, s := range list {
			if s.Region == region {
				require.True(t, s.Known)
				return s.Age
			}
		}
		require.Fail(t, "not told", "region %d of %v", region, list)
		return 0
	}
	require.Equal(t, 2*time.Second, age(r.must(full, increment("n", 1)).Staleness, 2))
	for _, ops := range [][]kv.Op{nil, {increment("n", 1)}} {
		id, begun, err := r.Begin(t.Context(), kv.Begin{Options: full})
		require.NoError(t, err)
		require.Equal(t, time.Minute, age(begun.Staleness, 0))
		r.within(id, ask(object("n", crdt.Counter)), ops...)
		done, err := r.Commit(t.Context(), id, kv.Options{Receipt: true})
		require.NoError(t, err)
		require.Greater(t, age(done.Staleness, 2), 2*time.Second, "by the time since it began")
	}
	resp, err := r.Do(t.Context(), kv.Request{Options: full, Queries: ask(object("n", crdt.Counter))})
	require.NoError(t, err)
	require.Equal(t, time.Second, age(resp.Receipt.Staleness, 2), "what is exposed")
	require.Less(t, age(resp.Receipt.Staleness, 0), time.Second, "since the position was asked for")
}
