package txn

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

func idOf(n int) kv.OpID { return kv.OpID{byte(n), byte(n >> 8), byte(n >> 16), 1} }

func TestClosedWindowNotesNothing(t *testing.T) {
	table := newOpTable()
	table.note(idOf(1), 10)
	require.Empty(t, table.known)
	require.False(t, table.covers(5))
}

func TestFillOpensTheWindowBackwards(t *testing.T) {
	table := newOpTable()
	table.open = true
	table.note(idOf(3), 30) // committed while the log is being read
	table.fill([]knownID{{idOf(1), 10}, {idOf(2), 20}, {idOf(3), 30}}, 5)
	require.True(t, table.covers(5))
	require.False(t, table.covers(4))
	require.Equal(t, clock.Timestamp(20), table.known[idOf(2)])
	require.Len(t, table.order, 3, "an id noted twice is kept once")
}

func TestFullTableForgetsTheOldestAndKnowsIt(t *testing.T) {
	table := newOpTable()
	table.open = true
	table.fill(nil, 0)
	for i := range MaxKnownIDs + 10 {
		table.note(idOf(i), clock.Timestamp(i+1))
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
	found := make([]knownID, MaxKnownIDs+5)
	for i := range found {
		found[i] = knownID{idOf(i), clock.Timestamp(i + 1)}
	}
	table.fill(found, 0)
	require.Len(t, table.order, MaxKnownIDs)
	require.False(t, table.covers(4))
	require.True(t, table.covers(5))
}

func TestDenialsAreBounded(t *testing.T) {
	table := newOpTable()
	for i := range MaxDeniedIDs {
		require.NoError(t, table.deny(idOf(i)))
	}
	err := table.deny(idOf(MaxDeniedIDs))
	require.ErrorIs(t, err, kv.ErrOverloaded)
}
