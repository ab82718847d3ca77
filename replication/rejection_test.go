package replication_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// refuseOnly makes a store refuse one record, as one of a type that it does not know.
func (s *fakeStore) refuseOnly(bad clock.Stamp) {
	s.refuses99(func(r *kv.Record) bool { return r.Stamp() == bad })
}

// refuseLane makes a store refuse all records of a lane.
func (s *fakeStore) refuseLane(lane clock.Lane) {
	s.refuses99(func(r *kv.Record) bool { return r.Lane == lane })
}

func (s *fakeStore) refuses99(bad func(*kv.Record) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = func(r *kv.Record) error {
		if bad(r) {
			return kv.Errorf(kv.KindCorrupt, "unknown type 99")
		}
		return nil
	}
}

// noRoomFor makes a store refuse one record n times, as while too many removals are pending.
func (s *fakeStore) noRoomFor(r clock.Stamp, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = func(offered *kv.Record) error {
		if offered.Stamp() != r || n == 0 {
			return nil
		}
		n--
		return kv.Errorf(kv.KindOverloaded, "too many removals")
	}
}

// TestARecordThatTheStoreHasNoRoomForIsSoonOfferedAgain and nobody is told to do something about it.
func TestARecordThatTheStoreHasNoRoomForIsSoonOfferedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		c.isolate("us")
		full := eu.commit()
		us.store.noRoomFor(full, 50)
		last := eu.commit()
		c.rejoin("us")
		us.sees(last)
		require.Empty(t, us.toldStuck())
		eu.sees(us.commit())
	})
}

func (s *fakeStore) acceptAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = nil
}

func (s *fakeStore) refusals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts
}

func (n *node) toldStuck() []error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]error(nil), n.stuck...)
}

// TestARecordThatTheStoreRefusesWaits lets us refuse one of eu's records for an hour: what came before
// it and other lanes go on, it is offered ever more seldom, and once it is accepted nothing is missing.
func TestARecordThatTheStoreRefusesWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		c.isolate("us")
		var before, last clock.Stamp
		for range 20 {
			before = eu.commit()
		}
		bad := eu.commit()
		us.store.refuseOnly(bad)
		for range 20 {
			last = eu.commit()
		}
		ap.sees(last)
		dependent := ap.commit()
		c.rejoin("us")

		us.sees(before)
		own := us.commit()
		eu.sees(own)
		eventually(t, "it is told", func() bool { return len(us.toldStuck()) > 0 })
		require.ErrorContains(t, us.toldStuck()[0], "unknown type 99")
		require.ErrorIs(t, us.toldStuck()[0], kv.ErrCorrupt)
		wait(t, time.Hour)
		require.Equal(t, before.Time, us.x.Exposed().At(1))
		require.Less(t, us.x.Exposed().At(3), dependent.Time, "it depends on what is refused")
		told := len(us.toldStuck())
		require.LessOrEqual(t, told, int(time.Hour/replication.TellEvery)+1)
		attempts := us.store.refusals()
		require.Less(t, attempts, int(2*time.Hour/replication.RefusedMax)+20)
		require.Greater(t, attempts, 10)
		require.True(t, us.connected(eu), "the streams live")

		us.store.acceptAll()
		us.sees(last)
		us.sees(dependent)
		require.NoError(t, us.toldStuck()[len(us.toldStuck())-1], "it is over")
		require.Equal(t, told+1, len(us.toldStuck()))
		next := eu.commit()
		us.sees(next)
		require.Equal(t, eu.store.content(), us.store.content())
	})
}

// TestRefusalsOfOneLaneLeaveOthersAlone writes on in all regions while one lane is stuck.
func TestRefusalsOfOneLaneLeaveOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		// ap has not seen the record, so that what it writes does not depend on it.
		c.isolate("ap")
		us.store.refuseLane(eu.lane())
		eu.commit()
		eventually(t, "it is stuck", func() bool { return us.store.refusals() > 5 })
		var s clock.Stamp
		for range 300 {
			s = ap.commit()
			eu.commit()
		}
		c.net.HealBoth("us", "ap")
		us.sees(s)
		us.store.acceptAll()
		s = eu.commit()
		us.sees(s)
		c.net.HealBoth("eu", "ap")
		ap.sees(s)
		require.Equal(t, eu.store.content(), us.store.content())
	})
}

// TestARefusalBehindAnUnsyncedBatch has the store refuse a record while batches before it are applied and
// not synced. Then the region is idle, so that nothing but their sync moves the lane.
func TestARefusalBehindAnUnsyncedBatch(t *testing.T) {
	for _, good := range []int{0, 5} {
		t.Run(fmt.Sprintf("behind %d more", good), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { refusedBehindUnsynced(t, good) })
		})
	}
}

func refusedBehindUnsynced(t *testing.T, good int) {
	_, eu, us, ap := three(t)
	defer stopAll(eu, us, ap)
	us.store.mu.Lock()
	us.store.syncDelay = 20 * time.Millisecond
	us.store.mu.Unlock()
	us.store.refuses99(func(r *kv.Record) bool { return len(r.Txns) > 0 && len(r.Txns[0].Effects[0].Op) > 500 })
	before := eu.commit()
	us.sees(before)
	for range good {
		before = eu.commit()
	}
	bad := eu.commitSized(1000)
	us.sees(before)
	eventually(t, "it is offered again", func() bool { return us.store.refusals() > 3 })
	us.store.acceptAll()
	us.sees(bad)
	next := eu.commit()
	us.sees(next)
	require.Equal(t, eu.store.content(), us.store.content())
}
