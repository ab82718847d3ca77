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

// withAsk has a node that runs go on asking whom it was told to join.
func withAsk(addresses ...string) option {
	return func(_ *node, c *replication.Config) { c.Ask = addresses }
}

// pair starts two clusters of one region each; the second one's node is stopped and leaves its store.
func pair(t *testing.T) (c *cluster, eu *node, strange *fakeStore, id kv.ClusterID) {
	c = newCluster(t)
	eu = c.start("eu", newFakeStore(1), nil)
	strange = newFakeStore(2)
	us := c.start("us", strange, nil)
	us.writable()
	id = us.id.Cluster
	us.crash()
	return c, eu, strange, id
}

// TestDataOfAnotherClusterThanTheOneToJoinAreTold: nobody else would ever notice. It serves meanwhile: the
// other one may be a region that lost its disk and founded a cluster.
func TestDataOfAnotherClusterThanTheOneToJoinAreTold(t *testing.T) {
	for _, door := range []string{"eu", "eu-clients"} {
		synctest.Test(t, func(t *testing.T) {
			c, eu, strange, id := pair(t)
			c.signpost(eu, "eu-clients")
			us := c.start("us", strange, []string{"nobody", door}, withAsk("nobody", door))
			us.writable()
			eventually(t, "it is told", func() bool { return us.fault() != nil })
			for _, says := range []string{`region "us" of cluster ` + id.String(), door + ", is of cluster " + eu.id.Cluster.String(), "move the folder away"} {
				require.ErrorContains(t, us.fault(), says)
			}
			require.Len(t, eu.r.Status(), 1, "it was granted nothing")
			stopAll(eu, us)
		})
	}
}

// Who is where it should be starts, though another address leads elsewhere: that is a fault to be told.
func TestOneAddressOfSeveralThatLeadsElsewhereIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		stray := c.start("sa", newFakeStore(9), nil)
		ap.crash()
		ap = c.start("ap", ap.store, []string{"sa", "eu"}, withAsk("sa", "eu"))
		eventually(t, "it is told", func() bool { return ap.fault() != nil })
		require.ErrorContains(t, ap.fault(), "sa, is of cluster "+stray.id.Cluster.String())
		wait(t, time.Minute)
		ap.mu.Lock()
		require.LessOrEqual(t, len(ap.faults), 4, "not without end")
		ap.mu.Unlock()
		ap.sees(eu.commit())
		require.Len(t, stray.r.Status(), 1, "it was granted nothing")
		stopAll(eu, us, ap, stray)
	})
}

// Where nobody answers a node waits for nobody, and tells once somebody does.
func TestNobodyToJoinAnswersYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, strange, _ := pair(t)
		stopAll(eu)
		begun := time.Now()
		us := c.start("us", strange, []string{"eu"}, withAsk("eu"))
		require.Equal(t, begun, time.Now())
		us.writable()
		wait(t, time.Minute)
		require.NoError(t, us.fault())
		eu = c.start("eu", eu.store, nil)
		eventually(t, "it is told", func() bool { return us.fault() != nil })
		require.ErrorContains(t, us.fault(), eu.id.Cluster.String())
		stopAll(eu, us)
	})
}

// A folder keeps its region's name where the name given is but what a new one would be called.
func TestAFolderKeepsItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		store := newFakeStore(1)
		stopAll(c.start("ap", store, nil))
		join := replication.JoinConfig{Name: "local", Incarnation: 1, Store: store, Transport: c.net.Node("ap"), Time: &node{}, Random: c.rnd}
		_, err := replication.Identify(t.Context(), join)
		require.ErrorContains(t, err, `belongs to region "ap", not "local"`)
		join.AnyName = true
		id, err := replication.Identify(t.Context(), join)
		require.NoError(t, err)
		require.Equal(t, "ap", id.Name)
	})
}

// TestAHealthyJoinAlarmsNobody: the others dial a newcomer while it loads its data, which is no fault.
func TestAHealthyJoinAlarmsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		eu.writable()
		go func() { // as a node's door does until it has its data
			_ = c.net.Node("us").Serve(t.Context(), replication.NotYet)
		}()
		synctest.Wait()
		h := member(eu, 0, "us")
		h.Purpose, h.Cluster, h.Addresses = peerv1.Purpose_PURPOSE_JOIN, nil, &peerv1.Addresses{Peer: "us"}
		asks := c.stranger("eu")
		asks.hello(h)
		m, err := asks.conn.Recv()
		require.NoError(t, err)
		require.Equal(t, peerv1.JoinAnswer_RESULT_GRANTED, m.GetJoinAnswer().GetResult())
		wait(t, 10*time.Second)
		require.Len(t, eu.r.Status(), 2)
		require.False(t, eu.loggedLike("dialled again"), "%q", eu.logged())
		stopAll(eu)
		c.net.Node("us").CloseAll()
	})
}

// TestAJoinerThatNobodyReachesIsLogged: that it loads its data is expected, that nobody answers is not.
func TestAJoinerThatNobodyReachesIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		defer stopAll(eu)
		eu.writable()
		synctest.Wait()
		h := member(eu, 0, "us")
		h.Purpose, h.Cluster, h.Addresses = peerv1.Purpose_PURPOSE_JOIN, nil, &peerv1.Addresses{Peer: "nowhere"}
		asks := c.stranger("eu")
		asks.hello(h)
		_, err := asks.conn.Recv()
		require.NoError(t, err)
		eventually(t, "it is logged", func() bool { return eu.loggedLike("region 2 (us) at nowhere") })
	})
}
