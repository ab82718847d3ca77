package strong

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

func TestGroupOfOneDecidesAndReads(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		m := c.add(1, true)
		var want []uint64
		for range 20 {
			want = append(want, c.mustPropose(m))
			require.Equal(t, want, c.mustRead(m))
		}
		c.crash(m, 0)
		c.up(m, true)
		require.Equal(t, want, c.mustRead(m))
	})
}

func TestEveryMemberProposesAndReads(t *testing.T) {
	for _, n := range []int{3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, c *cluster) {
				members := c.founded(n)
				var want []uint64
				for i := range 30 {
					want = append(want, c.mustPropose(members[i%n]))
					require.Equal(t, want, c.mustRead(members[(i+1)%n]))
				}
			})
		})
	}
}

func TestServiceIsBackSoonAfterTheLeaderIsLost(t *testing.T) {
	for seed := range uint64(100) { // that two ask for votes at the same time is rare
		bubble(t, seed, func(t *testing.T, c *cluster) {
			members := c.founded(3)
			c.far(40 * time.Millisecond)
			first := c.mustPropose(members[1])
			lost := c.leader()
			c.isolate(lost.id, true)
			other := members[lost.id%3]
			began := time.Now()
			second := c.mustPropose(other)
			require.Less(t, time.Since(began), 4*time.Second)
			require.Equal(t, []uint64{first, second}, c.mustRead(other))
			c.isolate(lost.id, false)
			require.Equal(t, []uint64{first, second}, c.mustRead(lost), "it finds the new leader")
		})
	}
}

// TestMinorityRefuses: what was never handed to raft was not applied; what was may be.
func TestMinorityRefuses(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		members := c.founded(3)
		c.mustPropose(members[0])
		old := c.leader()
		c.isolate(old.id, true)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		unknown, err := old.propose(ctx) // it still thinks that it leads
		require.ErrorIs(t, err, kv.ErrDeadline)
		require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))

		began := time.Now()
		_, err = old.propose(t.Context())
		require.ErrorIs(t, err, kv.ErrUnavailable)
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
		require.LessOrEqual(t, time.Since(began), LeaderWait, "its wait is bounded without a deadline")
		_, err = old.group.ReadIndex(t.Context())
		require.ErrorIs(t, err, kv.ErrUnavailable)

		follower := members[old.id%3]
		c.isolate(follower.id, true) // a majority is gone
		short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		c.pass(2 * time.Second)
		refused, err := follower.propose(short)
		require.ErrorIs(t, err, kv.ErrUnavailable)
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))

		c.isolate(old.id, false)
		c.isolate(follower.id, false)
		c.waitFor(10*time.Second, "a leader", func() bool { return c.leader() != nil && c.leader().group.Status().Leader != 0 })
		last := c.mustPropose(old)
		got := c.mustRead(follower)
		require.Contains(t, got, last)
		require.NotContains(t, got, refused)
		_ = unknown // may be there or not
	})
}

// TestALearnerThatIsCutOffForgetsItsLeader: it asks for no election, and would hand proposals to a leader that
// does not hear it, so that their outcome would be unknown.
func TestALearnerThatIsCutOffForgetsItsLeader(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		leader := c.founded(1)[0]
		learner := c.add(2, false)
		c.want(AddLearner, 2)
		c.waitFor(10*time.Second, "it is a learner", func() bool { return slices.Contains(learner.group.Status().Learners, 2) })
		c.mustPropose(learner)
		c.isolate(2, true)
		c.waitFor(2*ElectionTicks*TickInterval+time.Second, "it forgets its leader", func() bool { return learner.group.Status().Leader == 0 })
		_, err := learner.propose(t.Context())
		require.ErrorIs(t, err, kv.ErrUnavailable)
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
		_, err = learner.group.ReadIndex(t.Context())
		require.ErrorIs(t, err, kv.ErrUnavailable)
		c.isolate(2, false)
		last := c.mustPropose(learner)
		require.Contains(t, c.mustRead(leader), last)
	})
}

// TestSingleVoterReadsNothingOlderThanWhatItAcknowledged: its commit index may be from before what it
// acknowledged, and raft's library would answer by that.
func TestSingleVoterReadsNothingOlderThanWhatItAcknowledged(t *testing.T) {
	for range 5 {
		bubble(t, 1, func(t *testing.T, c *cluster) {
			m := c.add(1, true)
			var want []uint64
			for range 3 {
				want = append(want, c.mustPropose(m))
				c.crash(m, 0)
				c.up(m, true)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, err := m.group.ReadIndex(ctx)
				cancel()
				require.NoError(t, err)
				require.Equal(t, want, m.list.all())
			}
		})
	}
}

func TestLossDuplicatesAndReordering(t *testing.T) {
	for seed := range uint64(5) {
		bubble(t, seed, func(t *testing.T, c *cluster) {
			members := c.founded(3)
			c.set(0.1, 20*time.Millisecond)
			var want []uint64
			for i := range 50 {
				want = append(want, c.mustPropose(members[i%3]))
				require.Equal(t, want, c.mustRead(members[(i+1)%3]))
			}
		})
	}
}

func TestEachMemberRestartsWithWhatItHeld(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		members := c.founded(3)
		var want []uint64
		for round := range 4 {
			for i, m := range members {
				want = append(want, c.mustPropose(m))
				if round%2 == 0 {
					c.crash(m, 50*(i%3))
				} else {
					c.down(m)
				}
				want = append(want, c.mustPropose(members[(i+1)%3]))
				c.up(m, m.id == 1)
				want = append(want, c.mustPropose(m))
				require.Equal(t, want, c.mustRead(members[(i+2)%3]))
			}
		}
		for _, m := range members { // all at once
			c.crash(m, 0)
		}
		for _, m := range members {
			c.up(m, false)
		}
		require.Equal(t, want, c.mustRead(members[0]))
	})
}

// TestTornDisk: what was not synced is kept in part, in every proportion.
func TestTornDisk(t *testing.T) {
	for seed := range uint64(8) {
		bubble(t, seed, func(t *testing.T, c *cluster) {
			members := c.founded(3)
			rng := rand.New(rand.NewPCG(seed, 4))
			var want []uint64
			for i := range 12 {
				want = append(want, c.mustPropose(members[i%3]))
				m := members[rng.IntN(3)]
				c.crash(m, rng.IntN(101))
				c.up(m, false)
			}
			require.Equal(t, want, c.mustRead(members[0]))
		})
	}
}

func TestLaggingMemberIsGivenASnapshot(t *testing.T) {
	for seed := range uint64(3) {
		bubble(t, seed, func(t *testing.T, c *cluster) {
			c.tune = func(config *Config) { config.SnapshotEntries = 20 }
			members := c.founded(3)
			c.mustPropose(members[0])
			l := c.leader()
			lagging := members[l.id%3]
			c.isolate(lagging.id, true)
			c.pass(3 * time.Second) // the log is kept for who is active
			for range 200 {
				c.mustPropose(l)
			}
			padding(c, l, 2<<20)
			c.waitFor(5*time.Second, "the log is truncated", func() bool { return l.group.Status().First > lagging.group.Status().Last+1 })
			c.set(0.05, 0) // pieces are lost too
			before := c.sentBy(lagging.id)
			c.isolate(lagging.id, false)
			if seed == 0 { // cut off again on the way, for longer than a transfer lasts without progress
				c.far(500 * time.Millisecond)
				c.waitFor(time.Minute, "a snapshot on its way", func() bool { return c.sentBy(lagging.id) > before+3 })
				c.isolate(lagging.id, true)
				c.pass(15 * time.Second)
				c.isolate(lagging.id, false)
				c.far(time.Millisecond)
			}
			want := c.mustRead(l)
			c.waitFor(2*time.Minute, "it catches up", func() bool { return slices.Equal(lagging.list.all(), want) })
			c.set(0, 0)
			require.Greater(t, lagging.group.Status().Snapshot, uint64(1))
			want = append(want, c.mustPropose(lagging))
			c.crash(lagging, 0)
			c.up(lagging, false)
			require.Equal(t, want, c.mustRead(lagging))
		})
	}
}

// padding proposes ids until the Machine's snapshot has so many bytes.
func padding(c *cluster, m *member, bytes int) {
	const each = 4096
	for n := 0; n < bytes; n += 8 * each {
		var body []byte
		m.next++
		first := m.process<<32 | m.next
		for i := range uint64(each) {
			body = append(body, encodeID(first+i)...)
		}
		m.next += each
		require.NoError(c.t, m.group.Propose(c.t.Context(), Proposal{Number: first, Size: len(body), Body: body}))
	}
}

func TestLogIsTruncatedBelowSnapshotAndFloorOnly(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		c.tune = func(config *Config) { config.SnapshotEntries = 10 }
		m := c.add(1, true)
		m.list.keepFrom(func(uint64) uint64 { return 25 })
		for range 100 {
			c.mustPropose(m)
		}
		c.waitFor(time.Second, "a snapshot", func() bool { return m.group.Status().Snapshot > 80 })
		c.pass(time.Second)
		held := m.store.Raft()
		require.EqualValues(t, 26, held.First, "the floor")
		require.Greater(t, held.Snapshot.Index, uint64(80))
		verdicts := map[uint64]bool{}
		require.NoError(t, m.store.Certified(0, 1000, func(index uint64, verdict []byte) error {
			verdicts[index] = true
			entries, err := m.store.RaftEntries(index, index+1, 1<<20)
			require.NoError(t, err)
			require.Equal(t, entries[0].Data, verdict)
			return nil
		}))
		for i := uint64(26); i <= held.Snapshot.Index; i++ {
			require.True(t, verdicts[i], "verdict of entry %d", i)
		}
		want := m.list.all()
		c.down(m)
		c.up(m, false)
		require.Equal(t, want, m.list.all(), "what was committed is there once New returns")
		m.list.keepFrom(func(applied uint64) uint64 { return applied })
		for range 30 {
			c.mustPropose(m)
		}
		c.waitFor(time.Second, "truncation", func() bool { return m.group.Status().First > 100 })
		require.NoError(t, m.store.Certified(0, 100, func(index uint64, _ []byte) error {
			return fmt.Errorf("verdict of entry %d", index)
		}))
	})
}

func TestMembersComeAndGo(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		members := c.founded(3)
		want := []uint64{c.mustPropose(members[2])}
		gone := c.leader() // the leader itself is removed
		c.want(Remove, gone.id)
		rest := slices.DeleteFunc(slices.Clone(members), func(m *member) bool { return m == gone })
		c.waitFor(20*time.Second, "the removal", func() bool {
			return len(rest[0].group.Status().Voters) == 2 && len(rest[1].group.Status().Voters) == 2 && rest[0].group.Status().Leader != 0
		})
		want = append(want, c.mustPropose(rest[0]))
		require.False(t, slices.Contains(rest[0].group.Status().Voters, gone.id))
		c.pass(30 * time.Second)
		require.False(t, gone.group.Status().Leading, "who was removed leads nobody")
		_, err := gone.propose(t.Context())
		require.ErrorIs(t, err, kv.ErrUnavailable)
		require.Equal(t, want, c.mustRead(rest[1]), "and disturbs nobody")

		fresh := c.add(4, false)
		c.want(AddVoter, 4)
		c.waitFor(20*time.Second, "the newcomer votes", func() bool { return fresh.group.Status().Voter })
		require.Equal(t, want, c.mustRead(fresh))
		c.crash(c.leader(), 0)
		alive := rest[0]
		if alive.group == nil {
			alive = rest[1]
		}
		c.mustPropose(alive) // two of three
	})
}

func TestReplacingAVoterGoesThroughAJointConfiguration(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		members := c.founded(3)
		want := []uint64{c.mustPropose(members[0])}
		fresh := c.add(9, false)
		c.want(AddLearner, 9)
		c.waitFor(20*time.Second, "it learns", func() bool { return fresh.group.Applied() >= c.leader().group.Applied() })
		old := members[c.leader().id%3]
		once := false
		c.mu.Lock()
		c.override = func(v View) []Change {
			if slices.Contains(v.Voters, old.id) && !once {
				once = true
				return []Change{{AddVoter, 9}, {Remove, old.id}}
			}
			return nil
		}
		c.mu.Unlock()
		c.waitFor(20*time.Second, "replaced", func() bool {
			s := c.leader().group.Status()
			return !s.Joint && slices.Contains(s.Voters, 9) && !slices.Contains(s.Voters, old.id)
		})
		c.down(old)
		want = append(want, c.mustPropose(fresh))
		require.Equal(t, want, c.mustRead(c.leader()))
	})
}

func TestStopHandsLeadershipOver(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		members := c.founded(3)
		c.mustPropose(members[0])
		l := c.leader()
		other := members[l.id%3]
		began := time.Now()
		c.down(l)
		require.Less(t, time.Since(began), time.Second)
		c.mustPropose(other)
		require.Less(t, time.Since(began), time.Second, "no election timeout has to pass")
	})
}

// TestSnapshotMayBeWrittenBeforeTheCommitIndex: nothing waits for the index, so a crash may leave a snapshot
// of entries beyond it.
func TestSnapshotMayBeWrittenBeforeTheCommitIndex(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		c.tune = func(config *Config) { config.SnapshotEntries = 1 }
		m := c.add(1, true)
		var want []uint64
		ahead := false
		for range 5 {
			want = append(want, c.mustPropose(m))
			c.waitFor(time.Second, "the snapshot", func() bool { return m.store.Raft().Snapshot.Index >= m.group.Applied()-1 })
			c.pass(25 * time.Millisecond) // until it is synced
			held := m.store.Raft()
			ahead = ahead || held.Snapshot.Index > held.Commit
			c.crash(m, 0)
			c.up(m, false)
			require.Equal(t, want, c.mustRead(m))
		}
		require.True(t, ahead)
	})
}

// TestDecisionsAndReadsTakeTheRoundTripsThatTheyMust: one to the nearest majority, and one to the leader
// before it.
func TestDecisionsAndReadsTakeTheRoundTripsThatTheyMust(t *testing.T) {
	bubble(t, 1, func(t *testing.T, c *cluster) {
		members := c.founded(3)
		c.mustPropose(members[0])
		c.far(20 * time.Millisecond)
		c.pass(time.Second)
		l := c.leader()
		for m, trips := range map[*member]time.Duration{l: 1, members[l.id%3]: 2} {
			for what, call := range map[string]func(){
				"decision": func() { c.mustPropose(m) },
				"read":     func() { c.mustRead(m) },
			} {
				began := time.Now()
				call()
				require.LessOrEqual(t, time.Since(began), trips*40*time.Millisecond*115/100, "%s at member %d, the leader is %d", what, m.id, l.id)
				c.pass(time.Second)
			}
		}
	})
}

// Behind an entry that is under way proposals come together: until it is committed where the voters are near,
// and for EntryGap where they are far, which is then not tried for a while.
func TestProposalsComeTogetherBehindAnEntryUnderWay(t *testing.T) {
	const later, near, far = EntryGap / 8, EntryGap / 4, 20 * time.Millisecond
	for oneWay, want := range map[time.Duration]struct{ first, second time.Duration }{
		near: {4 * near, 4 * near},
		far:  {later + EntryGap + 2*far, 2*later + 2*far},
	} {
		bubble(t, 1, func(t *testing.T, c *cluster) {
			c.founded(3)
			l := c.leader()
			c.far(oneWay)
			c.pass(time.Second)
			before := l.group.Applied()
			require.Equal(t, want.first, c.three(l, later), "one way takes %s", oneWay)
			require.Equal(t, before+2, l.group.Applied(), "the first alone, and two while it was under way")
			require.Equal(t, want.second, c.three(l, later), "one way takes %s", oneWay)
		})
	}
}

// three makes three proposals, one behind the other, and returns how long all take.
func (c *cluster) three(m *member, later time.Duration) time.Duration {
	began := time.Now()
	var calls sync.WaitGroup
	for range 3 {
		m.next++
		id := m.process<<32 | m.next
		calls.Go(func() {
			if err := m.group.Propose(c.t.Context(), Proposal{Number: id, Size: 8, Body: encodeID(id)}); err != nil {
				panic(err)
			}
		})
		c.pass(later)
	}
	calls.Wait()
	return time.Since(began)
}
