package cluster

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/nemesis"
)

// did waits until the cluster has counted what shows faults of a kind, beyond what was counted before.
func did(t *testing.T, c *Cluster, f nemesis.Fault) {
	t.Helper()
	eventually(t, string(f.Kind)+" shows", func() bool { return counts(t, c, f).Bit(f.Kind) })
}

func counts(t *testing.T, c *Cluster, f nemesis.Fault) nemesis.Effects {
	t.Helper()
	e, err := c.Effects(t.Context(), f)
	require.NoError(t, err)
	return e
}

// A kill, a pause, a clock and a full disk count where they hit a node that runs, and nowhere else.
func TestWhatNodesMeetIsCounted(t *testing.T) {
	c := start(t, Options{Regions: []string{"eu", "us"}, TestFaults: true})
	ctx := t.Context()
	of := func(k nemesis.Kind) nemesis.Fault { return nemesis.Fault{Kind: k, Regions: []string{"us"}} }
	shows := func(k nemesis.Kind, name string, want int) {
		t.Helper()
		require.Equal(t, want, counts(t, c, of(k))[name])
	}
	require.NoError(t, c.Kill(ctx, "us"))
	require.NoError(t, c.Kill(ctx, "us"), "it is dead")
	shows(nemesis.KillOne, nemesis.NodesKilled, 1)
	require.NoError(t, c.Pause(ctx, "us"), "one that is dead")
	require.NoError(t, c.SetClock(ctx, "us", time.Second))
	shows(nemesis.Pause, nemesis.NodesPaused, 0)
	shows(nemesis.Clock, nemesis.ClockMoved, 0)
	require.NoError(t, c.Restart(ctx, "us"))
	require.Greater(t, counts(t, c, of(nemesis.Clock))[nemesis.ClockMoved], 900, "it is told when it is back")
	require.NoError(t, c.SetClock(ctx, "us", -2*time.Second))
	require.Greater(t, counts(t, c, of(nemesis.Clock))[nemesis.ClockMoved], 2900, "either way")
	require.NoError(t, c.SetClock(ctx, "us", 0))
	was := counts(t, c, of(nemesis.Clock))
	require.NoError(t, c.SetClock(ctx, "us", 0))
	require.Equal(t, was, counts(t, c, of(nemesis.Clock)), "to set it right moves nothing")
	require.NoError(t, c.Pause(ctx, "us"))
	require.NoError(t, c.Resume(ctx, "us"))
	shows(nemesis.Pause, nemesis.NodesPaused, 1)
	require.Empty(t, counts(t, c, nemesis.Fault{Kind: nemesis.KillOne, Regions: []string{"eu"}}), "another region")
}

// What is asked of regions that there are not, or of a log that can't be read, is an error.
func TestWhatCanNotBeCounted(t *testing.T) {
	c := start(t, Options{Regions: []string{"eu"}, New: []string{"us"}})
	_, err := c.Effects(t.Context(), nemesis.Fault{Links: []nemesis.Link{{From: "eu", To: "xx"}}})
	require.ErrorContains(t, err, "no link eu>xx")
	_, err = c.Effects(t.Context(), nemesis.Fault{Regions: []string{"xx"}})
	require.ErrorContains(t, err, `no region "xx"`)
	require.Empty(t, counts(t, c, nemesis.Fault{Regions: []string{"us"}}), "it has no log yet")
	require.NoError(t, os.MkdirAll(c.Log("us"), 0o755))
	_, err = c.Effects(t.Context(), nemesis.Fault{Regions: []string{"us"}})
	require.ErrorContains(t, err, "the log of region us")
	require.NoError(t, os.Remove(c.Log("us")))
}

// Lines of a log count once, and not before they are whole.
func TestReportsOfAFullDiskCountOnce(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	var tally tally
	for _, step := range []struct {
		more string
		want int
	}{{"", 0}, {"ready\n", 0}, {"write: no space left on dev", 0}, {"ice\nclosing\n", 1}, {"", 0}, {"no space left on device\npreallocate 7.log: no space left on device\nno space left on device\n", 2}} {
		f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		require.NoError(t, err)
		_, err = f.WriteString(step.more)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		n, err := tally.reports(log)
		require.NoError(t, err)
		require.Equal(t, step.want, n, "%q", step.more)
	}
	e, err := tally.all(filepath.Join(log, "below"))
	require.ErrorIs(t, err, syscall.ENOTDIR)
	require.Empty(t, e)
}

// A clock has moved if what it shows can't be the right time, and can be what it was told.
func TestAClockThatMovedIsTold(t *testing.T) {
	now := time.Unix(1000, 0)
	answer := func(off time.Duration) string { return "clock " + now.Add(off).Format(time.RFC3339Nano) + "\n" }
	for name, c := range map[string]struct {
		said   string
		took   time.Duration
		offset time.Duration
		want   time.Duration
	}{
		"ahead":            {answer(time.Second), 100 * time.Millisecond, time.Second, 899 * time.Millisecond},
		"back":             {answer(-time.Second + 50*time.Millisecond), 100 * time.Millisecond, -time.Second, 949 * time.Millisecond},
		"not moved":        {answer(0), 0, time.Second, 0},
		"moved elsewhere":  {answer(3 * time.Second), 0, time.Second, 0},
		"the other way":    {answer(-time.Second), 0, time.Second, 0},
		"set right":        {answer(0), 0, 0, 0},
		"told too slowly":  {answer(time.Second), 2 * time.Second, time.Second, 0},
		"no answer":        {"", 0, time.Second, 0},
		"another's answer": {"clock 1s ahead\n", 0, time.Second, 0},
	} {
		require.Equal(t, c.want, moved(c.said, now, now.Add(c.took), c.offset), name)
	}
}

// A node whose disk has room again, and that goes on, is a failure when it then ends by itself.
func TestANodeThatEndsAfterItsDiskWasFreedIsAFailure(t *testing.T) {
	for _, paused := range []bool{false, true} {
		path, err := binary()
		require.NoError(t, err)
		c, err := Start(t.Context(), Options{Binary: path, Dir: t.TempDir(), Regions: []string{"eu"}, TestFaults: true, Log: t.Logf})
		require.NoError(t, err)
		defer c.Close()
		if paused { // it is told neither that its disk is full nor that it has room
			require.NoError(t, c.Pause(t.Context(), "eu"))
		}
		require.NoError(t, c.FillDisk(t.Context(), "eu"))
		require.NoError(t, c.FreeDisk(t.Context(), "eu"))
		require.NoError(t, c.Resume(t.Context(), "eu"))
		require.False(t, c.nodes["eu"].process.excused.Load())
		require.NoError(t, c.nodes["eu"].process.signal(syscall.SIGTERM))
		<-c.Broken()
		require.ErrorContains(t, c.Failed(), "region eu ended by itself: exit code 0")
	}
}

// A node that was told that its disk is full, and is paused when it has room again, is told when it goes on.
func TestADiskIsFreedWhileItsNodeIsPaused(t *testing.T) {
	c := start(t, Options{Regions: []string{"eu", "us"}, TestFaults: true})
	ctx := t.Context()
	add(t, c, "us", "n", 1)
	require.NoError(t, c.FillDisk(ctx, "us"))
	require.NoError(t, c.Pause(ctx, "us"))
	require.NoError(t, c.FreeDisk(ctx, "us"))
	require.NoError(t, c.Resume(ctx, "us"))
	add(t, c, "us", "n", 1)
	sees(t, c, "n", 2, "eu", "us")
}

// A node that was killed stays down until it is restarted, also when its disk has room meanwhile.
func TestAKilledNodeStaysDownWhenItsDiskIsFreed(t *testing.T) {
	c := start(t, Options{Regions: []string{"eu"}, TestFaults: true})
	ctx := t.Context()
	require.NoError(t, c.FillDisk(ctx, "eu"))
	require.NoError(t, c.Kill(ctx, "eu"))
	require.NoError(t, c.FreeDisk(ctx, "eu"))
	require.False(t, c.nodes["eu"].process.running())
	require.NoError(t, c.Restart(ctx, "eu"))
	add(t, c, "eu", "n", 1)
}

// Whoever waits for a node with room again no longer than ctx leaves it as it is.
func TestMendingEndsWithItsContext(t *testing.T) {
	c := start(t, Options{Regions: []string{"eu"}, TestFaults: true})
	require.NoError(t, c.FillDisk(t.Context(), "eu"))
	n := c.nodes["eu"]
	n.full.Store(false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.mend(ctx, n), context.Canceled)
	require.True(t, n.process.excused.Load())
	n.full.Store(true)
	require.NoError(t, c.FreeDisk(t.Context(), "eu"))
}

func TestCountersAreRead(t *testing.T) {
	packets, err := readCounters([]byte(`{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"counter": {"name": "drop2", "packets": 17, "bytes": 900}}]}`))
	require.NoError(t, err)
	require.Equal(t, 17, packets["drop2"])
	_, err = readCounters([]byte("Error: No such file"))
	require.ErrorContains(t, err, "the counters that nft lists")
}
