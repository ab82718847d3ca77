package storage

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
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
		forgot = g.note(write(n, 1))
		forgot = g.note(write(n, 1)) || forgot
	}
	require.Len(t, g.slots, TriggerSlots, "it forgets only when it may not grow any more")
}

// A queued leaf can be forgotten and queued again before its turn: a removal that takes long keeps the
// writer from rewriting meanwhile.
func TestARewriteThatNamesALeafTwiceReadsTheSame(t *testing.T) {
	s, err := Open(Config{FS: vfs.NewMem(), Dir: "store", LeafCacheBytes: -1})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	a := &author{lane: lane(1)}
	add := func() (at clock.Vector) {
		for range 10 {
			r, enc := a.group(t, nil, counterOp("k", 1), counterOp("l", 1))
			do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
			at = clock.VectorOf(clock.Entry{Region: 1, Time: r.Time})
		}
		return at
	}
	at := add()
	s.SetCuts(at, at)
	require.NoError(t, s.Sweep(t.Context())) // what is settled has no dots any more
	at = add()
	k, l := counterObject("k"), counterObject("l")
	keys := [][]byte{appendObjectKey(nil, &k, 0), appendObjectKey(nil, &l, 0), appendObjectKey(nil, &k, 0)}
	for range 2 {
		require.NoError(t, try(s, (&rewriteJob{keys: keys, force: true}).Build))
		require.EqualValues(t, 20, readCounter(t, s, "k", at))
		require.EqualValues(t, 20, readCounter(t, s, "l", at))
		s.SetCuts(at, at)
	}
}

func TestALeafThatCouldNotBeRewrittenIsQueuedAgain(t *testing.T) {
	g := newTriggers()
	key := []byte("leaf")
	w := []leafWrite{{key: key, hash: xxhash.Sum64(key)}}
	for range MinOperands {
		g.note(w)
	}
	j := g.job(&cuts{}).(*rewriteJob)
	require.Equal(t, [][]byte{key}, j.keys)
	g.note(w)
	require.Nil(t, g.job(&cuts{}), "it is under way")
	g.unqueue(j.keys)
	g.note(w)
	require.Equal(t, j.keys, g.job(&cuts{}).(*rewriteJob).keys)
}
