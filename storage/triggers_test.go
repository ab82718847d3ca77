package storage

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
)

// write is one operand on leaf n, at time t.
func write(n uint64, t clock.Timestamp) []leafWrite {
	return []leafWrite{{key: binary.BigEndian.AppendUint64(nil, n), hash: n, last: clock.Dot{Region: 1, Time: t}}}
}

// round goes over all slots once and returns what it found.
func (t *triggers) round(c *cuts) (keys [][]byte) {
	for t.look(); t.looking; {
		keys = append(keys, t.ripe(c)...)
	}
	return keys
}

func TestALeafThatIsStillBeingWrittenIsNotRipe(t *testing.T) {
	all := clock.VectorOf(clock.Entry{Region: 1, Time: 1000})
	passed := &cuts{horizon: all, settled: all}
	g := newTriggers()
	for i := range clock.Timestamp(3) {
		g.note(write(7, 2*i+1))
		g.note(write(7, 2*i+2))
		require.Empty(t, g.round(passed), "written since the last round")
	}
	require.Empty(t, g.round(&cuts{}), "quiet, but not below the cuts")
	require.Equal(t, [][]byte{write(7, 0)[0].key}, g.round(passed))
}

func TestALeafForWhichTheQueueHadNoRoomIsQueuedLater(t *testing.T) {
	g := newTriggers()
	for n := range uint64(maxDue + 1) {
		for range MinOperands {
			require.False(t, g.note(write(n*5+1, 1)), "the table has room for all")
		}
	}
	require.Len(t, g.due, maxDue)
	queued := 0
	for range (maxDue + RewriteLeaves - 1) / RewriteLeaves {
		queued += len(g.job(&cuts{}).(*rewriteJob).keys)
	}
	require.Equal(t, maxDue, queued)
	require.Empty(t, g.due)
	g.round(&cuts{})
	require.Equal(t, [][]byte{write(maxDue*5+1, 0)[0].key}, g.due)
}

func TestTheTableGrowsBeforeItForgets(t *testing.T) {
	g := newTriggers()
	random := rand.New(rand.NewPCG(1, 2))
	written := make([]uint64, 2*slotsNew)
	for i := range written {
		written[i] = random.Uint64() | 1
		for range 3 {
			require.False(t, g.note(write(written[i], 1)))
		}
	}
	require.Greater(t, len(g.slots), slotsNew)
	for _, n := range written {
		s, found := g.find(n)
		require.True(t, found)
		require.EqualValues(t, 3, s.operands)
	}
	for forgot := false; !forgot; {
		n := random.Uint64() | 1
		forgot = g.note(write(n, 1)) || g.note(write(n, 1))
	}
	require.Len(t, g.slots, TriggerSlots, "it forgets only when it may not grow any more")
}
