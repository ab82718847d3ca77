package replication_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// signpost serves a node's other door at an address, until the test ends.
func (c *cluster) signpost(of *node, address string) {
	ended := make(chan error, 1)
	go func() {
		ended <- c.net.Node(address).Serve(c.t.Context(), replication.Signpost(of.id, of.address, of))
	}()
	c.t.Cleanup(func() { require.NoError(c.t, <-ended) })
	synctest.Wait()
}

// TestASignpostLeadsToTheFounder: a node asks at the clients' door of a region that does not hand out
// numbers, and is sent on twice.
func TestASignpostLeadsToTheFounder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer func() { stopAll(eu, us, ap) }()
		c.signpost(us, "us-clients")
		sa := c.start("sa", newFakeStore(4), []string{"us-clients"})
		defer stopAll(sa)
		sa.writable()
		require.Equal(t, eu.id.Cluster, sa.id.Cluster)
		require.EqualValues(t, 4, sa.id.Region)
	})
}

func TestASignpostServesNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		defer stopAll(eu)
		c.signpost(eu, "clients")
		for purpose := range peerv1.Purpose_name {
			h := member(eu, 2, "us")
			h.Purpose = peerv1.Purpose(purpose)
			x := c.stranger("clients")
			x.hello(h)
			if h.GetPurpose() != peerv1.Purpose_PURPOSE_JOIN {
				x.refused(kv.KindDenied, "the peer port is eu")
				continue
			}
			m, err := x.conn.Recv()
			require.NoError(t, err)
			require.Equal(t, "eu", m.GetJoinAnswer().GetAsk())
			require.Equal(t, eu.id.Cluster[:], m.GetJoinAnswer().GetCluster())
			require.Empty(t, m.GetJoinAnswer().GetMembers())
			x.ended()
		}
		old := member(eu, 2, "us")
		old.Purpose, old.ProtocolMin, old.ProtocolMax = peerv1.Purpose_PURPOSE_JOIN, 77, 99
		x := c.stranger("clients")
		x.hello(old)
		x.refused(kv.KindInvalid, "update the older one")
		silent, begun := c.stranger("clients"), time.Now()
		silent.ended()
		require.Equal(t, replication.HandshakeTimeout, time.Since(begun))
		mute := c.stranger("clients")
		require.NoError(t, mute.conn.Send(&peerv1.Message{Body: &peerv1.Message_Credit{Credit: &peerv1.Credit{}}}))
		mute.ended()
	})
}
