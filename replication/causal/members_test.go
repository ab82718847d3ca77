package causal

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// silent builds region 1 with region 2, which has reported all, and region 3, which joins and says
// nothing.
func silent(t *testing.T) *Machine {
	t.Helper()
	lane := func(r clock.Region) clock.Lane { return clock.Lane{Region: r} }
	m, err := New(Start{Self: lane(1), Lanes: []Position{{Lane: lane(1), Held: 10, Durable: 10}, {Lane: lane(2), Held: 20, Durable: 20}}})
	require.NoError(t, err)
	require.NoError(t, m.AddRegion(lane(3)))
	all := clock.VectorOf(clock.Entry{Region: 1, Time: 10}, clock.Entry{Region: 2, Time: 20})
	require.True(t, m.Receive(Report{Region: 2, Number: 1, Durable: all, Floor: all, Safe: 20}))
	return m
}

func TestARemovedRegionHoldsNothingBack(t *testing.T) {
	m := silent(t)
	_, settled := m.Cuts()
	require.Empty(t, settled)
	require.Empty(t, m.Everywhere())
	require.NoError(t, m.RemoveRegion(clock.Lane{Region: 3}))
	require.Equal(t, m.Exposed(), m.Stable(), "at once")
	_, settled = m.Cuts()
	require.Equal(t, m.Exposed(), settled)
	require.Equal(t, m.Exposed(), m.Everywhere())
	require.False(t, m.Receive(Report{Region: 3, Number: 1}), "a report that was under way")
	require.NoError(t, m.RemoveRegion(clock.Lane{Region: 3}), "again")
	last, safe := m.Promise(clock.Lane{Region: 3})
	require.Zero(t, last+safe, "streams may still speak of the lane")
	require.NoError(t, m.AddRegion(clock.Lane{Region: 4}), "the next number")
	require.Empty(t, m.Everywhere(), "which counts")
}

func TestRegionsThatCanNotBeRemoved(t *testing.T) {
	m := silent(t)
	require.ErrorIs(t, m.RemoveRegion(clock.Lane{Region: 1}), kv.ErrInvalid)
	require.ErrorIs(t, m.RemoveRegion(clock.Lane{Region: 2}), kv.ErrInvalid)
	require.NoError(t, m.RemoveRegion(clock.Lane{Region: 9}), "nobody")
	require.Empty(t, m.Everywhere(), "nothing has changed")
	v := m.Offer(kv.Header{Lane: clock.Lane{Region: 3}, Time: 30}, clock.Wall(1<<40))
	require.Equal(t, Apply, v.Action)
	require.ErrorContains(t, m.RemoveRegion(clock.Lane{Region: 3}), "has written")
}

// A region that was removed is waited for until all that it left is here: its own records, and the certifier's
// up to where none of its transactions follow.
func TestARegionEndsOnceAllItLeftIsHere(t *testing.T) {
	m := silent(t)
	require.NoError(t, m.RemoveRegion(clock.Lane{Region: 3}))
	gone := clock.Lane{Region: 2}
	m.Serving([]clock.Region{1, 2})
	require.True(t, m.Receive(Report{Region: 2, Number: 2, Durable: clock.VectorOf(clock.Entry{Region: 2, Time: 20}), Safe: 20}))
	require.Equal(t, clock.VectorOf(clock.Entry{Region: 2, Time: 20}), m.Everywhere())
	require.Len(t, m.Readings(0), 2, "readers wait for it")

	require.False(t, m.EndRegion(gone, 25, 7), "one of its records is missing")
	apply(t, m, kv.Header{Lane: gone, Time: 25, Prev: 20, Kind: kv.RecordGroup})
	require.False(t, m.EndRegion(gone, 25, 7), "so is a strong commit")
	apply(t, m, kv.Header{Time: 7, Kind: kv.RecordGroup})
	require.True(t, m.EndRegion(gone, 25, 7))
	require.True(t, m.EndRegion(gone, 25, 7), "again")
	require.Equal(t, m.Exposed(), m.Stable())
	require.Equal(t, m.Durable(), m.Everywhere())
	require.Len(t, m.Readings(0), 1)
	require.EqualValues(t, 25, m.Exposed().At(2), "what it wrote stays")
	require.False(t, m.Receive(Report{Region: 2, Number: 9}), "a report that was under way")
	require.False(t, m.EndRegion(clock.Lane{Region: 1}, 0, 0), "the own one")
	require.False(t, m.EndRegion(clock.Lane{}, 0, 0), "the certifier's")
	require.False(t, m.EndRegion(clock.Lane{Region: 9}, 0, 0), "nobody's")
}

func apply(t *testing.T, m *Machine, h kv.Header) {
	t.Helper()
	require.Equal(t, Apply, m.Offer(h, clock.Wall(1<<40)).Action)
	m.RemoteApplied(h)
	m.Synced(h.Lane, h.Time)
}
