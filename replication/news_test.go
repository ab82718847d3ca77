package replication_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// holdMeta keeps a store from writing metadata, as a slow disk does, until release is called.
func (s *fakeStore) holdMeta() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make(chan struct{})
	s.metaHeld = held
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.metaHeld = nil
		close(held)
	}
}

// joins starts a region that asks to join, in the background.
func (c *cluster) joins(name string, incarnation uint64, ask string) chan *node {
	joined := make(chan *node, 1)
	go func() {
		n, _ := c.tryStart(c.t.Context(), name, newFakeStore(incarnation), []string{ask})
		joined <- n
	}()
	return joined
}

// A node whose disk takes long to write down a newer list of regions still reads its streams.
func TestASlowDiskStopsNoStreamThatBringsAList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		release := us.store.holdMeta()
		joined := c.joins("sa", 4, "eu")
		for range 10 {
			wait(t, replication.StreamTimeout/2)
			require.True(t, us.connected(eu))
			require.True(t, eu.connected(us))
			begin := time.Now()
			us.sees(eu.commit())
			eu.sees(us.commit())
			require.Less(t, time.Since(begin), time.Second)
		}
		require.Empty(t, joined, "us has not been told")
		release()
		sa := <-joined
		defer stopAll(sa)
		sa.resume()
		us.sees(sa.commit())
	})
}

// So does a founder whose disk takes long to write down that a region serves.
func TestASlowDiskStopsNoStreamOfANewcomer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		us := c.start("us", newFakeStore(2), []string{"eu"})
		defer stopAll(eu, us)
		release := eu.store.holdMeta()
		eventually(t, "they meet", func() bool { return eu.connected(us) && us.connected(eu) })
		for range 10 {
			wait(t, replication.StreamTimeout/2)
			require.True(t, eu.connected(us))
			us.sees(eu.commit())
		}
		release()
		us.resume()
		eu.sees(us.commit())
	})
}

// A list that can't be written down ends the stream that brought it, and is taken from the next once it can.
func TestAListThatTheDiskRefusesIsBroughtAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		fails := func(err error) {
			us.store.mu.Lock()
			defer us.store.mu.Unlock()
			us.store.metaFails = err
		}
		fails(errors.New("no space left"))
		joined := c.joins("sa", 4, "eu")
		eventually(t, "it is told", func() bool { return us.loggedLike("writing the list of regions: no space left") })
		require.Empty(t, joined)
		fails(nil)
		sa := <-joined
		defer stopAll(sa)
		sa.resume()
		us.sees(sa.commit())
	})
}

// Who asks for the lane of a region that a node has not been told of yet is told to ask again.
func TestALaneThatIsNotKnownYetIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(us, ap)
		eu.crash()
		s := c.impostor(eu)
		require.NoError(t, s.conn.Send(&peerv1.Message{Body: &peerv1.Message_Subscribe{Subscribe: &peerv1.Subscribe{Region: 77, Id: 5}}}))
		defer s.conn.Close()
		for range 100 {
			m, err := s.conn.Recv()
			require.NoError(t, err)
			if e := m.GetLaneError(); e != nil {
				require.Equal(t, uint32(5), e.GetId())
				require.Equal(t, kv.KindUnavailable, kv.Kind(e.GetKind()))
				return
			}
		}
		require.Fail(t, "no answer")
	})
}
