package embedded

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
)

// A folder put back from an older copy, which was made after an orderly stop: a session that saw a write
// which was acknowledged, and is in no other region, is told that it is lost, whichever way the region
// was stopped when it noticed.
func TestAnOlderCopyTellsSessionsWhatIsLost(t *testing.T) {
	for name, orderly := range map[string]bool{"a crash": false, "an orderly stop": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fatals{}
				c := clusterWith(t, ClusterOptions{}, f)
				const old = "eu"
				write(t, c, old, "n", 10)
				require.NoError(t, c.Stop(within(t), old))
				r := c.region(old)
				copied := r.mem.CrashClone(crashOptions(100))
				restart(t, c, old)
				write(t, c, old, "n", 10)
				converge(t, c)
				everywhereOnDisk(t, c)
				c.Isolate(old)
				s := c.DB(old).Session()
				require.NoError(t, s.Counter("n").Add(within(t), 1))
				c.Crash(old)
				r.mem, r.fs = copied, copied
				c.Rejoin(old)
				if err := c.Restart(within(t), old); err == nil {
					await(t, "it notices", func() string {
						if len(f.all()) == 0 {
							return "nothing said"
						}
						return ""
					})
					if orderly {
						_ = c.Stop(within(t), old) // it may have failed by then
					} else {
						c.Crash(old)
					}
					restart(t, c, old)
				}
				writable(t, c, old)
				require.NoError(t, c.DB(old).Counter("n").Add(within(t), 1))
				converge(t, c)
				_, err := c.DB(old).Counter("n").Get(within(t), client.WithToken(s.Token()))
				require.ErrorIs(t, err, client.ErrLost)
			})
		})
	}
}
