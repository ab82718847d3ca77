package txn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

func idOf(n int) kv.OpID { return kv.OpID{byte(n), byte(n >> 8), byte(n >> 16), 1} }

// logged is an applied id in the group of a timestamp.
func logged(n int, time clock.Timestamp) loggedID { return loggedID{idOf(n), fate{time: time}} }

func TestClosedWindowNotesNothing(t *testing.T) {
	table := newOpTable()
	table.note(idOf(1), fate{time: 10})
	require.Empty(t, table.known)
	require.False(t, table.covers(5))
}

func TestFillOpensTheWindowBackwards(t *testing.T) {
	table := newOpTable()
	table.open = true
	table.note(idOf(3), fate{time: 30}) // committed while the log is being read
	table.fill([]loggedID{logged(1, 10), logged(2, 20), logged(3, 30)}, 5)
	require.True(t, table.covers(5))
	require.False(t, table.covers(4))
	require.Equal(t, fate{time: 20}, table.known[idOf(2)])
	require.Len(t, table.order, 3, "an id noted twice is kept once")
	table.fill([]loggedID{logged(7, 2)}, 1)
	require.True(t, table.covers(1))
	require.Equal(t, logged(7, 2), table.order[0], "what lies further back goes before the rest")
}

func TestFullTableForgetsTheOldestAndKnowsIt(t *testing.T) {
	table := newOpTable()
	table.open = true
	table.fill(nil, 0)
	for i := range MaxKnownIDs + 10 {
		table.note(idOf(i), fate{time: clock.Timestamp(i + 1)})
	}
	require.Len(t, table.order, MaxKnownIDs)
	require.NotContains(t, table.known, idOf(9))
	require.Contains(t, table.known, idOf(10))
	require.False(t, table.covers(9))
	require.True(t, table.covers(10))
}

func TestFillKeepsTheNewestThatFit(t *testing.T) {
	table := newOpTable()
	table.open = true
	found := make([]loggedID, MaxKnownIDs+5)
	for i := range found {
		found[i] = logged(i, clock.Timestamp(i+1))
	}
	table.fill(found, 0)
	require.Len(t, table.order, MaxKnownIDs)
	require.False(t, table.covers(4))
	require.True(t, table.covers(5))
}

// What was forgotten while the log was being read is not covered by what was read.
func TestFillCoversNothingThatWasForgottenMeanwhile(t *testing.T) {
	table := newOpTable()
	table.open = true
	for i := range MaxKnownIDs + 10 {
		table.note(idOf(i), fate{time: clock.Timestamp(100 + i)})
	}
	table.fill([]loggedID{{kv.OpID{2}, fate{time: 50}}}, 0)
	require.False(t, table.covers(50))
	require.False(t, table.covers(108))
	require.True(t, table.covers(109))
	require.Len(t, table.order, MaxKnownIDs)
}

func TestWindowKeepsTheNewestInOrder(t *testing.T) {
	w := &window{}
	for i := range MaxKnownIDs + 3 {
		w.add(logged(i, clock.Timestamp(i+1)))
	}
	ids := w.oldestFirst()
	require.Len(t, ids, MaxKnownIDs)
	require.Equal(t, clock.Timestamp(3), w.dropped)
	for i, k := range ids {
		require.Equal(t, logged(i+3, clock.Timestamp(i+4)), k)
	}
}

func TestPinnedIDIsLearnedThoughTheWindowIsFull(t *testing.T) {
	table := newOpTable()
	table.pin(idOf(1))
	table.pin(idOf(1))
	table.note(idOf(1), fate{time: 10, denied: true})
	table.unpin(idOf(1))
	f, found := table.lookup(idOf(1))
	require.True(t, found)
	require.Equal(t, fate{time: 10, denied: true}, f)
	table.unpin(idOf(1))
	_, found = table.lookup(idOf(1))
	require.False(t, found)
	require.Empty(t, table.pins)
}

func TestSpentIDsAreBoundedAndFreed(t *testing.T) {
	table := newOpTable()
	has := func(n int) bool { _, found := table.lookup(idOf(n)); return found }
	half := MaxSpentIDs / 2
	for i := range MaxSpentIDs {
		table.spend(idOf(i), fate{time: 1})
	}
	require.True(t, has(0))
	require.Equal(t, uint64(1), table.turn, "the second half makes a turn of its own")
	table.spend(idOf(MaxSpentIDs), fate{time: 1})
	require.Equal(t, uint64(2), table.turn)
	require.False(t, has(half-1), "first tries of turn 0 are not taken any more")
	require.True(t, has(half))
	require.Len(t, table.spent[0], 1)
	table.turnIfDue(IncarnationTurn - 1)
	require.Equal(t, uint64(2), table.turn)
	for turn := range 2 {
		require.True(t, has(MaxSpentIDs))
		table.turnIfDue(IncarnationTurn * time.Duration(turn+1))
	}
	require.Equal(t, uint64(4), table.turn)
	require.Equal(t, [2]map[kv.OpID]fate{{}, {}}, table.spent)
}
