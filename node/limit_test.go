package node

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/memtransport"
)

// regions starts nodes on one network that drop from their logs all that they may.
func regions(t *testing.T, net *memtransport.Network, log *lines, names ...string) map[string]*Node {
	t.Helper()
	out := map[string]*Node{}
	for i, name := range names {
		c := config(vfs.NewMem(), name)
		c.Transport, c.Join = net.Node(name), names[:i]
		c.Log, c.LogBytes, c.LogAge, c.LogLimit = log, 1, time.Nanosecond, 1
		n, err := Start(t.Context(), c)
		require.NoError(t, err)
		t.Cleanup(n.Kill)
		out[name] = n
	}
	return out
}

func increment(t *testing.T, n *Node) clock.Stamp {
	t.Helper()
	op := kv.Op{Object: kv.Object{Bucket: "b", Key: "n", Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: 1}
	resp, err := n.Do(t.Context(), kv.Request{Ops: []kv.Op{op}})
	require.NoError(t, err)
	return resp.Receipt.Commit
}

// has waits until a node knows that another has a write on its disk.
func has(t *testing.T, n, other *Node, s clock.Stamp) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(tick)
	defer again.Stop()
	for {
		report, _ := n.current.Load().exposure.Reported(other.current.Load().lane.Region)
		if report.Durable.At(s.Region) >= s.Time {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			require.Fail(t, "not reported", "%v of %v", report, s)
		}
	}
}

func (n *Node) truncated() clock.Timestamp {
	r := n.current.Load()
	return r.store.LogStats(r.lane, 0).Truncated
}

func TestLimitDropsOnlyWhatAMajorityHas(t *testing.T) {
	net, log := memtransport.New(replication.SystemTime()), &lines{}
	all := regions(t, net, log, "eu", "us", "ap")
	eu, us, ap := all["eu"], all["us"], all["ap"]
	first := increment(t, eu)
	has(t, eu, us, first)
	has(t, eu, ap, first)
	eu.TruncateLog(t.Context())
	require.GreaterOrEqual(t, eu.truncated(), first.Time)
	require.Zero(t, log.count("it will copy all data anew"))

	net.CutBoth("eu", "us")
	net.CutBoth("eu", "ap")
	alone := increment(t, eu)
	eu.TruncateLog(t.Context())
	require.Less(t, eu.truncated(), alone.Time, "nobody else has it")
	require.NotZero(t, eu.Stats().LogBytes)

	net.HealBoth("eu", "us")
	has(t, eu, us, alone)
	eu.TruncateLog(t.Context())
	eu.TruncateLog(t.Context())
	require.GreaterOrEqual(t, eu.truncated(), alone.Time, "two of three have it")
	require.Equal(t, 1, log.count("region 3 (ap) has not reported records that the log no longer holds"))
	require.Equal(t, []bool{false, false, true}, leftBehind(eu))

	net.HealBoth("eu", "ap")
	has(t, eu, ap, alone) // the messages to it had waited
	eu.TruncateLog(t.Context())
	eu.current.Load().watchLeft(t.Context())
	require.Equal(t, 1, log.count("region 3 (ap) has all again"))
	require.Equal(t, []bool{false, false, false}, leftBehind(eu))
}

// leftBehind tells of each region, as a node counts it, whether it lacks what is gone.
func leftBehind(n *Node) (out []bool) {
	for _, r := range n.Stats().Regions {
		out = append(out, r.LeftBehind)
	}
	return out
}

func TestTwoRegionsDropNothingThatOneLacks(t *testing.T) {
	net := memtransport.New(replication.SystemTime())
	all := regions(t, net, &lines{}, "eu", "us")
	eu, us := all["eu"], all["us"]
	first := increment(t, eu)
	has(t, eu, us, first)
	net.CutBoth("eu", "us")
	second := increment(t, eu)
	eu.TruncateLog(t.Context())
	require.GreaterOrEqual(t, eu.truncated(), first.Time)
	require.Less(t, eu.truncated(), second.Time)
}

func TestWithoutALimitNothingIsDropped(t *testing.T) {
	c, err := Config{Region: "eu", Dir: "d", Transport: memtransport.New(replication.SystemTime()).Node("eu"), LogLimit: NoLogLimit}.withDefaults()
	require.NoError(t, err)
	require.Zero(t, c.LogLimit)
	n := &run{config: c}
	require.Empty(t, n.beyondLimit())
	require.Empty(t, n.growth())
	c.LogBytes, c.LogLimit = 2*DefaultLogLimit, 0
	c, err = c.withDefaults()
	require.NoError(t, err)
	require.Equal(t, int64(2*DefaultLogLimit), c.LogLimit, "never below what is kept anyway")
}

// TestCallsAreRefusedWhileTheDataIsTakenAnew shuts the gate as a renewal does.
func TestCallsAreRefusedWhileTheDataIsTakenAnew(t *testing.T) {
	n, err := Start(t.Context(), config(vfs.NewMem(), "eu"))
	require.NoError(t, err)
	defer n.Kill()
	n.current.Load().leftBehind("this region fell behind")
	require.ErrorIs(t, n.Refused(), kv.ErrReadOnly)
	require.ErrorContains(t, n.Refused(), "write elsewhere")
	n.gate.shut()
	calls := map[string]func() error{
		"Do":      func() error { _, err := n.Do(t.Context(), kv.Request{}); return err },
		"Begin":   func() error { _, _, err := n.Begin(t.Context(), kv.Begin{}); return err },
		"Execute": func() error { _, err := n.Execute(t.Context(), 1, nil, nil); return err },
		"Commit":  func() error { _, err := n.Commit(t.Context(), 1, kv.Options{}); return err },
		"Abort":   func() error { return n.Abort(t.Context(), 1) },
		"Keys":    func() error { _, err := n.Keys(t.Context(), kv.KeysRequest{}); return err },
		"Outcome": func() error { _, err := n.Outcome(t.Context(), kv.OutcomeRequest{}); return err },
		"Digest":  func() error { _, err := n.Digest(t.Context(), kv.DigestRequest{}); return err },
		"Buckets": func() error { _, err := n.Buckets(t.Context(), kv.BucketsRequest{Limit: 1}); return err },
		"Abandon": func() error { return n.Abandon(t.Context(), "us") },
	}
	for name, call := range calls {
		err := call()
		require.ErrorIs(t, err, kv.ErrUnavailable, name)
		var told *kv.Error
		require.ErrorAs(t, err, &told)
		require.Equal(t, kv.NotApplied, told.Outcome, name)
		require.NotZero(t, told.RetryAfter, name)
	}
	s, err := n.Status(t.Context())
	require.NoError(t, err)
	require.Contains(t, s.State, "fell behind")
	require.NotEmpty(t, n.NotReady())
	stats := n.Stats()
	require.True(t, stats.Behind)
	require.True(t, stats.Renewing)
	n.TruncateLog(t.Context())
	n.gate.open()
	stats = n.Stats()
	require.True(t, stats.Behind)
	require.False(t, stats.Renewing)
	n.current.Load().leftBehind("")
	require.False(t, n.Stats().Behind)
	require.Nil(t, n.Refused())
	require.NoError(t, calls["Do"]())
}

// patience bounds a wait, tick how often it looks.
const (
	patience = 30 * time.Second
	tick     = time.Millisecond
)
