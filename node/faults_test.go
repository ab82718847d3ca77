package node

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/memtransport"
)

// steps is a Time whose monotonic clock moves when it is told to.
type steps struct {
	replication.Time
	now atomic.Int64
}

func (s *steps) Monotonic() time.Duration { return time.Duration(s.now.Load()) }
func (s *steps) step(d time.Duration)     { s.now.Add(int64(d)) }

// TestAFaultIsOverOnceAStreamIsUpForAWhile: until then it stands among the warnings.
func TestAFaultIsOverOnceAStreamIsUpForAWhile(t *testing.T) {
	net, log, now := memtransport.New(replication.SystemTime()), &lines{}, &steps{Time: replication.SystemTime()}
	now.step(time.Hour)
	start := func(region string, join ...string) *Node {
		c := config(vfs.NewMem(), region)
		c.Transport, c.Join, c.Time, c.Log = net.Node(region), join, now, log
		n, err := Start(t.Context(), c)
		require.NoError(t, err)
		t.Cleanup(n.Kill)
		return n
	}
	eu := start("eu")
	us := start("us", "eu")
	us.Kill()
	require.Eventually(t, func() bool { return log.count("eu: region 2: disconnected") > 0 }, patience, tick)
	n, another := eu.current.Load(), errors.New("region \"us\" belongs to another cluster")
	require.Empty(t, n.Warnings())

	n.faulty(2, another)
	require.Equal(t, []string{another.Error()}, n.Warnings())
	now.step(2 * faultQuiet)
	require.Len(t, n.Warnings(), 1, "it is away, and may be as it was")
	n.connected(2, true, nil)
	now.step(faultQuiet - 1)
	require.Len(t, n.Warnings(), 1)
	n.connected(2, false, errors.New("away again"))
	now.step(1)
	require.Len(t, n.Warnings(), 1)
	n.connected(2, true, nil)
	now.step(faultQuiet - 1)
	n.faulty(2, errors.New("a fork"))
	now.step(1)
	require.Equal(t, []string{"a fork"}, n.Warnings(), "a new fault while the stream is up")
	now.step(faultQuiet - 2)
	require.Len(t, n.Warnings(), 1)
	now.step(1)
	require.Empty(t, n.Warnings())
	n.connected(2, false, errors.New("away"))
	require.Empty(t, n.Warnings(), "it does not come back")

	// A node of another cluster may have the number of this one, or of nobody.
	n.faulty(1, another)
	now.step(faultQuiet / 2)
	n.faulty(9, another)
	require.Len(t, n.Warnings(), 2)
	now.step(faultQuiet / 2)
	require.Len(t, n.Warnings(), 1)
	now.step(faultQuiet / 2)
	require.Empty(t, n.Warnings())
}
