package replication_test

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/kv"
)

func (n *node) fault() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return errors.Join(n.faults...)
}

// other is a region besides one.
func other(name string) string {
	if name == "eu" {
		return "us"
	}
	return "eu"
}

// TestARegionThatFoundsASecondClusterIsToldWhatToDo: it lost its disk and was started without anybody
// to ask. Both sides say so, whoever of them dials, and all is well once it is started anew.
func TestARegionThatFoundsASecondClusterIsToldWhatToDo(t *testing.T) {
	for _, lost := range []string{"eu", "us", "ap"} {
		t.Run(lost, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, eu, us, ap := three(t)
				nodes := map[string]*node{"eu": eu, "us": us, "ap": ap}
				s := nodes[lost].commit()
				for _, n := range nodes {
					n.sees(s)
				}
				nodes[lost].crash()
				delete(nodes, lost)
				second := c.start(lost, newFakeStore(77), nil)
				for _, n := range nodes {
					eventually(t, n.name+" says so", func() bool { return n.fault() != nil })
				}
				eventually(t, "the second cluster's node says so", func() bool { return second.fault() != nil })
				for _, n := range append(slices.Collect(maps.Values(nodes)), second) {
					err := n.fault()
					require.ErrorIs(t, err, kv.ErrInvalid)
					require.ErrorContains(t, err, nodes[other(lost)].id.Cluster.String())
					require.ErrorContains(t, err, second.id.Cluster.String())
					require.ErrorContains(t, err, "start it with --join")
				}
				wait(t, time.Minute)
				second.mu.Lock()
				require.LessOrEqual(t, len(second.faults), 3, "it is not told without end")
				second.mu.Unlock()
				stopAll(second)
				again := c.start(lost, newFakeStore(78), []string{"eu", "us", "ap"})
				again.resume()
				again.sees(s)
				s = again.commit()
				for _, n := range nodes {
					n.sees(s)
					stopAll(n)
				}
				stopAll(again)
			})
		})
	}
}

// A caller of another cluster that does not know this region is refused, and nothing else.
func TestAStrayCallerIsNoFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		defer stopAll(eu)
		synctest.Wait()
		h := member(eu, 1, "paris")
		h.Cluster = make([]byte, 16)
		h.Members = &peerv1.Members{Version: 1, Members: []*peerv1.Member{{Region: 1, Name: "paris"}}}
		x := c.stranger("eu")
		x.hello(h)
		x.refused(kv.KindInvalid, "belongs to cluster")
		require.NoError(t, eu.fault())
	})
}
