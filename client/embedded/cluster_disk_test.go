package embedded

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/node"
)

// badDisk fails, once armed, with the n-th write or sync and all after it.
type badDisk struct {
	armed atomic.Bool
	left  atomic.Int64
	err   error
	only  func(op errorfs.Op) bool
}

func (d *badDisk) String() string { return "bad disk" }

// MaybeError implements errorfs.Injector.
func (d *badDisk) MaybeError(op errorfs.Op) error {
	if !d.armed.Load() || op.Kind.ReadOrWrite() != errorfs.OpIsWrite || !d.only(op) || d.left.Add(-1) >= 0 {
		return nil
	}
	return d.err
}

func writesAndSyncs(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo, errorfs.OpCreate:
		return true
	}
	return false
}

func syncs(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		return true
	}
	return false
}

func witnesses(op errorfs.Op) bool {
	return strings.Contains(op.Path, "WITNESS") && op.Kind != errorfs.OpCreate
}

// TestDiskErrorLosesNoAcknowledgedWrite lets one region's disk fail at some point under load.
func TestDiskErrorLosesNoAcknowledgedWrite(t *testing.T) {
	for name, d := range map[string]*badDisk{
		"full":        {err: syscall.ENOSPC, only: writesAndSyncs},
		"broken sync": {err: syscall.EIO, only: syncs},
		"witness":     {err: syscall.EIO, only: witnesses},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, random := seeded(t)
			d.left.Store(random.Int64N(300))
			failingDisk(t, d, random)
		})
	}
}

func failingDisk(t *testing.T, d *badDisk, random *rand.Rand) {
	f := &fatals{}
	c := clusterWith(t, ClusterOptions{Seed: random.Uint64(), Adjust: func(c *node.Config) {
		if c.Region == "us" {
			c.FS = errorfs.Wrap(c.FS, d)
		}
	}}, f)
	var acked, open atomic.Int64
	var done sync.WaitGroup
	d.armed.Store(true)
	for range 8 {
		done.Go(func() {
			for {
				err := c.DB("us").Counter("n").Add(within(t), 1)
				if err == nil {
					acked.Add(1)
					continue
				}
				if client.OutcomeOf(err) != client.OutcomeNotApplied {
					open.Add(1)
				}
				return
			}
		})
	}
	done.Wait()
	await(t, "us says that it is read-only", func() string {
		if s := status(t, c, "us").State; !strings.HasPrefix(s, "read-only: ") || !strings.Contains(s, "us") {
			return s
		}
		return ""
	})
	require.NotEmpty(t, f.all())
	for range 5 {
		err := c.DB("us").Counter("n").Add(within(t), 1)
		require.ErrorIs(t, err, client.ErrReadOnly)
		require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))
	}
	require.GreaterOrEqual(t, counter(t, c, "us", "n"), acked.Load(), "readers go on, and see what was acknowledged")
	require.NoError(t, c.DB("eu").Counter("m").Add(within(t), 1), "the others go on")

	d.armed.Store(false)
	c.Crash("us")
	restart(t, c, "us")
	converge(t, c)
	for _, r := range c.Regions() {
		n := counter(t, c, r, "n")
		require.GreaterOrEqual(t, n, acked.Load())
		require.LessOrEqual(t, n, acked.Load()+open.Load())
	}
	require.NoError(t, c.DB("us").Counter("n").Add(within(t), 1))
	converge(t, c)
}

// TestOldCopyOfADiskIsNoticed puts back a region's folder as it was earlier, witness and all: the
// others know more of the region's writes than it does.
func TestOldCopyOfADiskIsNoticed(t *testing.T) {
	for _, old := range []string{"eu", "ap"} {
		t.Run(old, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fatals{}
				c := clusterWith(t, ClusterOptions{Adjust: func(c *node.Config) { c.LogBytes, c.LogAge = 1, 1 }}, f)
				write(t, c, old, "n", 100)
				require.NoError(t, c.Stop(within(t), old))
				r := c.region(old)
				copied := r.mem.CrashClone(crashOptions(100))
				restart(t, c, old)
				write(t, c, old, "n", 100)
				write(t, c, "us", "m", 100)
				converge(t, c)
				everywhereOnDisk(t, c)
				for _, other := range c.besides(old) {
					truncated(t, c, other, true)
				}

				c.Crash(old)
				r.mem, r.fs = copied, copied
				if err := c.Restart(within(t), old); err == nil {
					await(t, "it notices", func() string {
						if len(f.all()) == 0 {
							return "nothing said"
						}
						return ""
					})
					require.Contains(t, f.all()[0], "holds this region's writes")
					err := c.DB(old).Counter("n").Add(within(t), 1)
					require.ErrorIs(t, err, client.ErrReadOnly)
					c.Crash(old)
					restart(t, c, old)
				}
				writable(t, c, old)
				require.NoError(t, c.DB(old).Counter("n").Add(within(t), 1))
				converge(t, c)
				for _, region := range c.Regions() {
					require.Equal(t, int64(201), counter(t, c, region, "n"))
					require.Equal(t, int64(100), counter(t, c, region, "m"))
				}
			})
		})
	}
}
