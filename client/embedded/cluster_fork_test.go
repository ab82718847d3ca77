package embedded

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/clock"
)

// TestOldCopyThatWritesBeforeItMeetsTheOthersStops puts back a region's folder as it was earlier,
// witness and all, and has it take a write at once: behind the timestamps that the copy lacks, or
// among them.
func TestOldCopyThatWritesBeforeItMeetsTheOthersStops(t *testing.T) {
	for _, reused := range []bool{false, true} {
		t.Run(fmt.Sprintf("timestamps reused %v", reused), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fatals{}
				c := clusterWith(t, ClusterOptions{}, f)
				const old = "eu"
				write(t, c, old, "n", 10)
				require.NoError(t, c.Stop(within(t), old))
				r := c.region(old)
				copied := r.mem.CrashClone(crashOptions(100))
				var bound clock.Timestamp
				onDisk(t, c, old, boundOf(&bound))
				passes(t, bound, reused)
				restart(t, c, old)
				write(t, c, old, "n", 10)
				converge(t, c)
				everywhereOnDisk(t, c)
				c.Isolate(old)
				c.Crash(old)
				passes(t, bound, reused)
				r.mem, r.fs = copied, copied
				restart(t, c, old)
				require.NoError(t, c.DB(old).Counter("m").Add(within(t), 1), "taken at once")
				c.Rejoin(old)
				await(t, "it notices", func() string {
					if len(f.all()) == 0 {
						return "nothing said"
					}
					return ""
				})
				require.Contains(t, f.all()[0], "older copy that has been written to since")
				require.ErrorIs(t, c.DB(old).Counter("m").Add(within(t), 1), client.ErrUnavailable)
				_, err := c.DB(old).Counter("m").Get(within(t))
				require.ErrorIs(t, err, client.ErrUnavailable, "nothing of the fork is shown")
				require.Contains(t, strings.Join(r.node.NotReady(), "; "), "--join")
				for _, name := range c.besides(old) {
					await(t, "a peer says so", func() string {
						said := strings.Join(c.region(c.besides(old)[0]).node.Warnings(), "; ") + strings.Join(c.region(name).node.Warnings(), "; ")
						if !strings.Contains(said, "(eu)") {
							return said
						}
						return ""
					})
				}
				c.Crash(old)
				require.ErrorIs(t, c.Restart(within(t), old), client.ErrLost)
				require.NoError(t, c.LoseDisk(old))
				restart(t, c, old)
				writable(t, c, old)
				converge(t, c)
				for _, name := range c.Regions() {
					require.Equal(t, int64(20), counter(t, c, name, "n"), "what was acknowledged and replicated")
					require.Zero(t, counter(t, c, name, "m"))
				}
			})
		})
	}
}
