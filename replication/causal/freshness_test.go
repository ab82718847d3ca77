package causal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// listening builds region 1 of three regions that serve, with nothing heard.
func listening(t require.TestingT) *Machine {
	lane := func(r clock.Region) clock.Lane { return clock.Lane{Region: r} }
	m, err := New(Start{Self: lane(1), Lanes: []Position{{Lane: lane(1), Held: 10, Durable: 10}, {Lane: lane(2)}, {Lane: lane(3)}}})
	require.NoError(t, err)
	for r := clock.Region(1); r <= 3; r++ {
		m.Serves(r)
	}
	return m
}

// bring applies region 2's record at t.
func bring(t require.TestingT, m *Machine, at clock.Timestamp) {
	h := kv.Header{Lane: clock.Lane{Region: 2}, Prev: m.Exposed().At(2), Time: at}
	require.Equal(t, Apply, m.Offer(h, 1<<40).Action)
	m.RemoteApplied(h)
}

// of is what is known of a region's freshness.
func of(t require.TestingT, m *Machine, r clock.Region) (time.Duration, bool) {
	for _, g := range m.Readings(time.Hour) {
		if g.Region == r {
			return g.At, g.Known
		}
	}
	t.Errorf("region %d is not listed", r)
	return 0, false
}

func TestNothingIsFreshBeforeItWasHeardOf(t *testing.T) {
	m := listening(t)
	require.Equal(t, []Reading{{Region: 1, At: time.Hour, Known: true}, {Region: 2}, {Region: 3}}, m.Readings(time.Hour))
	before := m.Freshened()
	m.HeardAt(clock.Lane{Region: 1}, 10, time.Minute)
	m.HeardAt(clock.Lane{Region: 9}, 0, time.Minute)
	require.Equal(t, before, m.Freshened(), "the own lane and strangers")
	m.HeardAt(clock.Lane{Region: 3}, 0, time.Minute)
	require.Equal(t, before+1, m.Freshened())
	require.Equal(t, Reading{Region: 3, At: time.Minute, Known: true}, m.Readings(time.Hour)[2])
}

func TestAReadingCountsOnceItsRecordsAreExposed(t *testing.T) {
	m := listening(t)
	m.HeardAt(clock.Lane{Region: 2}, 100, 1)
	_, known := of(t, m, 2)
	require.False(t, known)
	m.HeardAt(clock.Lane{Region: 2}, 200, 2)
	bring(t, m, 100)
	at, known := of(t, m, 2)
	require.True(t, known)
	require.EqualValues(t, 1, at, "what waits is not replaced by what needs more")
	m.Heard(clock.Lane{Region: 2}, 100, 200)
	at, _ = of(t, m, 2)
	require.EqualValues(t, 2, at, "there is no record at 200, and none will be")
}

func TestWhoIsAlwaysBehindStillGetsFresher(t *testing.T) {
	m := listening(t)
	for i := range 1000 {
		m.HeardAt(clock.Lane{Region: 2}, clock.Timestamp(1000+10*i), time.Duration(i))
		if i >= 20 {
			bring(t, m, clock.Timestamp(1000+10*(i-20)))
			at, known := of(t, m, 2)
			require.True(t, known)
			require.Greater(t, at, time.Duration(i-50), "at most twice as old as what is exposed")
		}
		require.LessOrEqual(t, len(m.region(2).fresh.waiting), maxHeard)
	}
}

func TestARegionThatJoinsIsNotWaitedFor(t *testing.T) {
	m := listening(t)
	require.NoError(t, m.AddRegion(clock.Lane{Region: 4}))
	require.Len(t, m.Readings(0), 3)
	before := m.Freshened()
	m.Serves(4)
	m.Serves(4)
	m.Serves(9) // a stranger
	require.Equal(t, before+1, m.Freshened(), "who waits looks again")
	require.Equal(t, Reading{Region: 4}, m.Readings(0)[3])
	require.NoError(t, m.RemoveRegion(clock.Lane{Region: 4}))
	require.Len(t, m.Readings(0), 3)
}

func TestWhoRecoversIsNotFreshItself(t *testing.T) {
	l := clock.Lane{Region: 1}
	m, err := New(Start{Self: l, Lanes: []Position{{Lane: l}}, Recovering: true})
	require.NoError(t, err)
	m.Serves(1)
	require.Equal(t, []Reading{{Region: 1, At: time.Minute}}, m.Readings(time.Minute))
	_, _, known := m.Statement(l, time.Minute)
	require.False(t, known, "others may hold more of it")
	m.Recovered()
	require.True(t, m.Readings(time.Minute)[0].Known)
	_, at, known := m.Statement(l, time.Minute)
	require.True(t, known)
	require.Equal(t, time.Minute, at)
}

func TestARelayedStatementIsTheOneThatCounts(t *testing.T) {
	m := listening(t)
	_, _, known := m.Statement(clock.Lane{Region: 2}, 9)
	require.False(t, known)
	m.HeardAt(clock.Lane{Region: 2}, 0, 1)
	bring(t, m, 50)
	m.HeardAt(clock.Lane{Region: 2}, 100, 2)
	last, at, known := m.Statement(clock.Lane{Region: 2}, 9)
	require.True(t, known)
	require.Equal(t, []any{clock.Timestamp(50), time.Duration(1)}, []any{last, at})
	_, _, known = m.Statement(clock.Lane{Region: 9}, 9)
	require.False(t, known)
}

func TestWhatANewStoreMayLackIsNotWaitedFor(t *testing.T) {
	m := listening(t)
	m.Incarnated(2, 7)
	m.HeardAt(clock.Lane{Region: 2}, 100, 1)
	m.Incarnated(2, 8) // 100 burned with the disk
	m.HeardAt(clock.Lane{Region: 2}, 0, 2)
	at, known := of(t, m, 2)
	require.True(t, known)
	require.EqualValues(t, 2, at)
}

// TestReadingsAreTrueAndTheNewestCounts compares with all that was ever heard: "effective once the lane
// is exposed up to last".
func TestReadingsAreTrueAndTheNewestCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := listening(t)
		var heard []statement
		var exposed clock.Timestamp
		for i := range rapid.IntRange(1, 80).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "exposes") {
				exposed += clock.Timestamp(rapid.IntRange(1, 9).Draw(t, "by"))
				bring(t, m, exposed)
			} else {
				s := statement{clock.Timestamp(rapid.IntRange(0, 120).Draw(t, "last")), time.Duration(rapid.IntRange(max(0, i-20), i).Draw(t, "at"))}
				heard = append(heard, s)
				m.HeardAt(clock.Lane{Region: 2}, s.last, s.at)
			}
			judgeReading(t, m, heard, exposed)
		}
	})
}

// judgeReading knows the rule only: the newest of those whose records are all here. The machine may
// know less, while more than it keeps wait, but never more, and nothing less once all is here.
func judgeReading(t *rapid.T, m *Machine, heard []statement, exposed clock.Timestamp) {
	newest, first, most := time.Duration(-1), false, clock.Timestamp(0)
	for _, s := range heard {
		if most = max(most, s.last); s.last <= exposed {
			newest, first = max(newest, s.at), true
		}
	}
	at, known := of(t, m, 2)
	if !first {
		require.False(t, known)
		return
	}
	if known {
		require.LessOrEqual(t, at, newest, "it claims what nobody has said")
	}
	if most <= exposed || len(heard) <= maxHeard {
		require.True(t, known)
		require.Equal(t, newest, at)
	}
}

func TestSpreadCountsWhoHasItOnDisk(t *testing.T) {
	m := listening(t)
	at := func(r clock.Region, t clock.Timestamp) clock.Vector {
		return clock.VectorOf(clock.Entry{Region: r, Time: t})
	}
	require.EqualValues(t, 10, m.Spread(1, 1), "here")
	require.Zero(t, m.Spread(1, 2), "nobody has reported")
	require.Zero(t, m.Spread(1, 0))
	require.True(t, m.Receive(Report{Region: 2, Number: 1, Incarnation: 5, Durable: at(1, 7)}))
	require.EqualValues(t, 7, m.Spread(1, 2))
	require.Zero(t, m.Spread(1, 3))
	require.True(t, m.Receive(Report{Region: 3, Number: 1, Durable: at(1, 10)}))
	require.Equal(t, []clock.Timestamp{10, 10, 7, 0}, []clock.Timestamp{m.Spread(1, 1), m.Spread(1, 2), m.Spread(1, 3), m.Spread(1, 4)})
	m.Incarnated(2, 6)
	require.Zero(t, m.Spread(1, 3), "its disk is lost")
	require.NoError(t, m.AddRegion(clock.Lane{Region: 4}))
	require.True(t, m.Receive(Report{Region: 4, Number: 1, Durable: at(1, 10)}))
	require.Zero(t, m.Spread(1, 3), "one that joins is none of them")
	m.Serves(4)
	require.EqualValues(t, 10, m.Spread(1, 3))
}

// A cut that lacks some of what is exposed is as old as the newest statement that it includes.
func TestReadingsOfOlderCuts(t *testing.T) {
	m := listening(t)
	second := clock.Lane{Region: 2}
	at := func(cut clock.Timestamp, region clock.Region) (time.Duration, bool) {
		for _, g := range m.ReadingsAt(clock.VectorOf(clock.Entry{Region: 1, Time: 10}, clock.Entry{Region: 2, Time: cut}), time.Hour) {
			if g.Region == region {
				return g.At, g.Known
			}
		}
		t.Fatalf("region %d is not listed", region)
		return 0, false
	}
	for i := range clock.Timestamp(2 * maxPast) {
		bring(t, m, 100+i)
		m.HeardAt(second, 100+i, time.Duration(i+1)*pastApart)
	}
	newest := clock.Timestamp(100 + 2*maxPast - 1)
	for _, back := range []clock.Timestamp{0, 1, maxPast - 1} {
		got, known := at(newest-back, 2)
		require.True(t, known)
		require.Equal(t, time.Duration(2*maxPast-back)*pastApart, got)
	}
	_, known := at(newest-maxPast, 2)
	require.False(t, known, "older than all that is kept")
	got, known := at(newest, 1)
	require.True(t, known)
	require.Equal(t, time.Hour, got, "the own region's is all there")
	_, known = at(newest, 3)
	require.False(t, known, "nothing was heard")
	for i := range clock.Timestamp(100) { // many within a moment take no more room
		bring(t, m, newest+1+i)
		m.HeardAt(second, newest+1+i, time.Minute+time.Duration(i))
	}
	_, known = at(newest-1, 2)
	require.True(t, known)
}
