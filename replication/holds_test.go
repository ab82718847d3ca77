package replication_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/causal"
)

// bootstrap asks a node for a cut in the name of a region, and hangs up before it says that it has
// all of it.
func (c *cluster) bootstrap(from *node, region uint32, name string) {
	c.t.Helper()
	s := c.stranger(from.address)
	h := member(from, region, name)
	h.Purpose = peerv1.Purpose_PURPOSE_BOOTSTRAP
	s.hello(h)
	for {
		m, err := s.conn.Recv()
		require.NoError(c.t, err)
		require.Nil(c.t, m.GetRefused(), "%v", m)
		if m.GetRange().GetLast() {
			break
		}
	}
	s.conn.Close()
	synctest.Wait()
}

func TestBootstrapsThatFailHoldOneCutOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us)
		ap.crash()
		wait(t, 2*replication.SilenceAfter) // nobody hears the store that it had
		for range causal.MaxHolds + 1 {
			c.bootstrap(eu, 3, "ap")
		}
		first := eu.commit()
		c.bootstrap(eu, 3, "ap")
		eu.commit()
		horizon, _ := eu.x.Cuts()
		require.Equal(t, first.Time, horizon.At(1), "the last cut is held, and no other")
	})
}
