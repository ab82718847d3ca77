package bench

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

func TestFollowedCountsWhatWasExposedAtTheEnd(t *testing.T) {
	e, _ := tiny(t)
	added := reply{Done: 100, Seconds: 2, Progress: []point{{At: 10, Time: 5, Count: 40}, {At: 20, Time: 9, Count: 80}, {At: 30, Time: 12, Count: 100}}}
	seen := reply{Rises: []point{{At: 12, Time: 5}, {At: 29, Time: 10}, {At: 31, Time: 12}}}
	f := followed(e, added, seen)
	require.Equal(t, []float64{40, 50, 0.8}, []float64{f.Ours, f.Limit, f.Ratio})
	require.True(t, f.Met())
	require.Zero(t, followed(e, added, reply{}).Ours, "nothing seen")
	require.Zero(t, added.countUpTo(4))
}

func TestDelaysPairCommitsWithTheRiseThatShowsThem(t *testing.T) {
	ms := int64(time.Millisecond)
	commits := []point{{At: 30 * ms, Time: 30}, {At: 10 * ms, Time: 10}, {At: 20 * ms, Time: 20}, {At: 40 * ms, Time: 99}}
	rises := []point{{At: 9 * ms, Time: 10}, {At: 25 * ms, Time: 25}, {At: 60 * ms, Time: 31}}
	h, missing := delays(commits, rises)
	require.Equal(t, 1, missing)
	require.Equal(t, uint64(4), h.Count())
	require.Zero(t, h.Min(), "seen before its answer arrived")
	require.Equal(t, 30*time.Millisecond, h.Max())
	require.InDelta(t, float64(5*time.Millisecond), float64(h.Quantile(0.5)), float64(100*time.Microsecond))

	fs := delayed(reply{Commits: commits, Done: 4, Seconds: 1}, reply{Rises: rises})
	require.Len(t, fs, 2)
	require.Contains(t, fs[0].Note, "1 of 4 were not seen in time")
	h, missing = delays(commits, nil)
	require.Equal(t, 4, missing)
	require.Zero(t, h.Count())
}

func TestRelayPassesOnAndCounts(t *testing.T) {
	r, err := newRelay()
	require.NoError(t, err)
	early, err := net.Dial("tcp", r.address())
	require.NoError(t, err)
	_, err = early.Read(make([]byte, 1))
	require.Error(t, err, "there is no target yet")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.to(l.Addr().String())
	c, err := net.Dial("tcp", r.address())
	require.NoError(t, err)
	far, err := l.Accept()
	require.NoError(t, err)
	exchange(t, c, far, "there")
	exchange(t, far, c, "back")
	require.Equal(t, int64(9), r.bytes.Load())
	require.NoError(t, far.Close())
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)

	require.NoError(t, l.Close())
	dead, err := net.Dial("tcp", r.address())
	require.NoError(t, err)
	_, err = dead.Read(make([]byte, 1))
	require.Error(t, err, "the target has gone")
	require.NoError(t, r.close())
}

func exchange(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(from, text)
	require.NoError(t, err)
	got := make([]byte, len(text))
	_, err = io.ReadFull(to, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

// TestLimitsGetTheBytesOfARealAdd: what bare Pebble commits is a record and a leaf that read as an
// add of 1.
func TestLimitsGetTheBytesOfARealAdd(t *testing.T) {
	add, err := addBytes(counterKey(7))
	require.NoError(t, err)
	require.Len(t, counterKey(7), keySize)
	record, err := kv.DecodeRecord(add.Record)
	require.NoError(t, err)
	require.Equal(t, kv.Key(counterKey(7)), record.Txns[0].Effects[0].Key)
	v, err := crdt.Fold(crdt.Counter, add.Operand, clock.VectorOf(clock.Entry{Region: 1, Time: aTime}))
	require.NoError(t, err)
	require.Equal(t, int64(1), v.Int)
	require.Contains(t, add.String(), "log 12+")
	_, err = newTheirs([]string{strings.Repeat("x", kv.MaxKey+1)})
	require.Error(t, err)
}
