package replication_test

import (
	"bytes"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// members collects what nodes are sent for the raft group.
type members struct {
	mu      sync.Mutex
	got     map[clock.Region][][]byte // by sender
	dropped map[clock.Region]int
	stores  map[clock.Region]uint64
}

func (m *members) Deliver(from clock.Region, store uint64, messages [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stores[from] = store
	m.got[from] = append(m.got[from], messages...)
}

func (m *members) Unreachable(region clock.Region) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropped[region]++
}

func (m *members) from(r clock.Region) [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.got[r]
}

func (m *members) drops(r clock.Region) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dropped[r]
}

// inConsensus gives every node members of its own.
func inConsensus(all map[string]*members) option {
	return func(n *node, c *replication.Config) {
		all[n.name] = &members{got: map[clock.Region][][]byte{}, dropped: map[clock.Region]int{}, stores: map[clock.Region]uint64{}}
		c.Consensus = all[n.name]
	}
}

func TestConsensusMessagesArriveWholeAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := map[string]*members{}
		_, eu, us, ap := three(t, inConsensus(all))
		defer stopAll(eu, us, ap)
		var want [][]byte
		for i, size := range []int{1, 0, 100, replication.MaxPart - 1, replication.MaxPart, 3*replication.MaxPart + 5, 7} {
			m := bytes.Repeat([]byte{byte(i + 1)}, size)
			want = append(want, m)
			ap.r.SendConsensus(eu.id.Region, m)
			wait(t, 10*time.Millisecond)
		}
		eventually(t, "all is here", func() bool { return len(all["eu"].from(ap.id.Region)) == len(want) })
		for i, m := range all["eu"].from(ap.id.Region) {
			require.True(t, bytes.Equal(want[i], m), "message %d", i)
		}
		require.Zero(t, all["ap"].drops(eu.id.Region))
		require.Equal(t, ap.store.incarnation, all["eu"].stores[ap.id.Region])
	})
}

// What can't be sent is dropped, and told; when the region is back messages arrive again.
func TestConsensusDropsWhatCanNotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := map[string]*members{}
		c, eu, us, ap := three(t, inConsensus(all))
		defer stopAll(eu, us, ap)
		eu.r.SendConsensus(us.id.Region, []byte("before"))
		eventually(t, "it is here", func() bool { return len(all["us"].from(eu.id.Region)) == 1 })
		c.net.CutBoth("eu", "us")
		big := make([]byte, replication.MaxConsensusBytes/2)
		for range 4 {
			eu.r.SendConsensus(us.id.Region, big)
		}
		require.Positive(t, all["eu"].drops(us.id.Region), "the queue is bounded")
		wait(t, 2*replication.StreamTimeout)
		before := all["eu"].drops(us.id.Region)
		eu.r.SendConsensus(us.id.Region, []byte("meanwhile"))
		wait(t, 2*replication.HandshakeTimeout)
		require.Greater(t, all["eu"].drops(us.id.Region), before, "what no connection carries is dropped")
		eu.r.SendConsensus(ap.id.Region, []byte("aside"))
		eventually(t, "the other region is reached", func() bool { return len(all["ap"].from(eu.id.Region)) == 1 })
		c.net.HealBoth("eu", "us")
		wait(t, 2*replication.HandshakeTimeout)
		n := 0
		eventually(t, "messages arrive again", func() bool {
			n++
			last := fmt.Sprint("after ", n)
			eu.r.SendConsensus(us.id.Region, []byte(last))
			wait(t, 100*time.Millisecond)
			got := all["us"].from(eu.id.Region)
			return string(got[len(got)-1]) == last
		})
	})
}

func TestConsensusRefusesStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := map[string]*members{}
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil, inConsensus(all))
		us := c.start("us", newFakeStore(2), []string{"eu"})
		us.writable()
		defer stopAll(eu, us)
		h := member(eu, 2, "us")
		h.Purpose = peerv1.Purpose_PURPOSE_CONSENSUS
		x := c.stranger("us")
		x.hello(h)
		x.refused(kv.KindInvalid, "takes no part in consensus")
		h.Cluster = make([]byte, 16)
		x = c.stranger("eu")
		x.hello(h)
		x.refused(kv.KindInvalid, "belongs to cluster")
		h.Cluster, h.Name = eu.id.Cluster[:], "paris"
		x = c.stranger("eu")
		x.hello(h)
		x.refused(kv.KindInvalid, "instead of region")
		h.Name = "us"
		x = c.stranger("eu")
		x.hello(h)
		m, err := x.conn.Recv()
		require.NoError(t, err)
		require.Equal(t, uint32(eu.id.Region), m.GetHello().GetRegion())
		require.NoError(t, x.conn.Send(&peerv1.Message{Body: &peerv1.Message_Joined{Joined: &peerv1.Joined{}}}))
		x.refused(kv.KindCorrupt, "does not have")
		require.Empty(t, all["eu"].from(us.id.Region))
	})
}

func TestStoresOfRegionsThatServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		all := []replication.RegionStore{{Region: 1, Incarnation: 1}, {Region: 2, Incarnation: 2}, {Region: 3, Incarnation: 3}}
		eventually(t, "all are known", func() bool { return reflect.DeepEqual(all, us.r.RegionStores()) })
		c.net.CutBoth("eu", "us")
		all[0].Incarnation = 0
		eventually(t, "one is not heard any more", func() bool { return reflect.DeepEqual(all, us.r.RegionStores()) })
	})
}
