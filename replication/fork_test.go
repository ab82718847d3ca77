package replication_test

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// copied is a copy of a store's folder.
func (s *fakeStore) copied() *fakeStore {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := newFakeStore(s.incarnation)
	out.meta, out.applied, out.leaves, out.truncated = maps.Clone(s.meta), maps.Clone(s.applied), maps.Clone(s.leaves), maps.Clone(s.truncated)
	for lane, log := range s.log {
		out.log[lane] = slices.Clone(log)
	}
	return out
}

// forge puts a record behind the last of a lane into a log, as a node that met nobody would.
func (s *fakeStore) forge(lane clock.Lane, t clock.Timestamp, size int) {
	prev := s.applied[lane]
	effect := kv.Effect{Object: kv.Object{Bucket: "b", Key: "forged", Type: 1}, Op: make([]byte, size)}
	rec := kv.Record{Header: kv.Header{Lane: lane, Time: t, Prev: prev, Kind: kv.RecordGroup}, Txns: []kv.Txn{{Effects: []kv.Effect{effect}}}}
	s.put(lane, prev, t, rec.Append(nil))
}

func (n *node) forkedErr() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.forked
}

// fell checks that a node has stopped for good because its lane is forked, and that a start fails.
func (n *node) fell(store *fakeStore) {
	n.c.t.Helper()
	<-n.ended
	require.ErrorIs(n.c.t, n.err, kv.ErrLost)
	require.ErrorContains(n.c.t, n.err, "older copy that has been written to")
	require.ErrorContains(n.c.t, n.err, "--join")
	require.ErrorIs(n.c.t, n.err, n.forkedErr(), "clients were told first")
	_, err := n.c.tryStart(n.c.t.Context(), n.name, store, nil)
	require.ErrorIs(n.c.t, err, kv.ErrLost)
	require.ErrorContains(n.c.t, err, "older copy that has been written to")
}

// named checks that a node has told of a fault that names a region and what to do with its folder.
func (n *node) named(region string) {
	n.c.t.Helper()
	eventually(n.c.t, n.name+" says so", func() bool { return n.fault() != nil })
	require.ErrorContains(n.c.t, n.fault(), "("+region+")")
	require.ErrorContains(n.c.t, n.fault(), "--join")
}

// An older copy of a folder, witness and all, is written to before it meets anybody. Whichever of the
// two dials, it stops, all its peers say so, and it comes back with --join.
func TestAnOlderCopyThatWritesBeforeItMeetsAnybodyIsForked(t *testing.T) {
	for _, name := range []string{"eu", "us", "ap"} {
		for how, forge := range map[string]func(s *fakeStore, lane clock.Lane, lost []clock.Stamp){
			"above what it lacks":   func(s *fakeStore, l clock.Lane, lost []clock.Stamp) { s.forge(l, lost[2].Time+4096, 1) },
			"below what it lacks":   func(s *fakeStore, l clock.Lane, lost []clock.Stamp) { s.forge(l, lost[0].Time-1, 1) },
			"at the last timestamp": func(s *fakeStore, l clock.Lane, lost []clock.Stamp) { s.forge(l, lost[2].Time, 9) },
			"at the first timestamps": func(s *fakeStore, l clock.Lane, lost []clock.Stamp) {
				s.forge(l, lost[0].Time, 9)
				s.forge(l, lost[1].Time, 9)
			},
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, eu, us, ap := three(t)
					nodes := map[string]*node{"eu": eu, "us": us, "ap": ap}
					old := nodes[name]
					delete(nodes, name)
					s := old.commit()
					for _, n := range nodes {
						n.sees(s)
					}
					store := old.store.copied()
					wait(t, time.Second)
					lost := []clock.Stamp{old.commit(), old.commit(), old.commit()}
					for _, n := range nodes {
						n.sees(lost[2])
					}
					old.crash()
					c.net.CutBoth(name, other(name))
					again := c.start(name, store, nil, func(n *node, _ *replication.Config) {
						n.written = func() { forge(store, old.lane(), lost) }
					})
					again.fell(store)
					for _, n := range nodes {
						if n.name != other(name) {
							n.named(name)
						}
					}
					c.net.HealBoth(name, other(name))

					back := c.start(name, newFakeStore(99), []string{"eu", "us", "ap"})
					back.resume()
					back.sees(lost[2])
					s = back.commit()
					for _, n := range nodes {
						n.sees(s)
						require.Equal(t, back.store.content(), n.store.content())
						stopAll(n)
					}
					stopAll(back)
				})
			})
		}
	}
}

// A copy that is found short, and writes once more before it stops, is found forked when it wants the
// rest of its lane back.
func TestAShortCopyThatHasWrittenIsForked(t *testing.T) {
	for _, name := range []string{"eu", "ap"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, eu, us, ap := three(t)
				nodes := map[string]*node{"eu": eu, "us": us, "ap": ap}
				old := nodes[name]
				delete(nodes, name)
				store := old.store.copied()
				wait(t, time.Second)
				s := old.commit()
				for _, n := range nodes {
					n.sees(s)
					defer stopAll(n)
				}
				old.crash()
				store.forge(old.lane(), s.Time-1, 1)
				store.short = "it was found short"
				c.start(name, store, nil).fell(store)
				for _, n := range nodes {
					if n.fault() != nil {
						n.named(name)
					}
				}
			})
		})
	}
}

// Two peers that hold different histories of a third region's lane say so when they meet, and when
// one asks the other for more of it.
func TestHistoriesThatDifferAreNamedByWhoeverMeets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		s := eu.commit()
		us.sees(s)
		ap.sees(s)
		stopAll(ap)
		eu.crash()
		store := ap.store
		store.forge(eu.lane(), s.Time+4096, 1)
		us.store.forge(eu.lane(), s.Time+4096, 2)
		us.store.forge(eu.lane(), s.Time+8192, 2)
		usStore := us.store
		us.crash()
		us = c.start("us", usStore, nil)
		ap = c.start("ap", store, nil)
		defer stopAll(us, ap)
		eventually(t, "both say so", func() bool { return us.fault() != nil && ap.fault() != nil })
		require.ErrorContains(t, us.fault(), "region 1 (eu) has written two histories")
		require.ErrorContains(t, ap.fault(), "two histories")
		eventually(t, "ap asks in vain", func() bool { return ap.loggedLike("can't serve lane 1.0") })
		require.Equal(t, s.Time+4096, ap.x.Exposed().At(1))
	})
}

// sends has an impostor send a lane from its beginning on the subscription that us has.
func (s *stranger) sends(us *node, lane clock.Lane, encoded ...[]byte) {
	s.t.Helper()
	sub := s.subscribed()
	us.r.Rewind(lane, sub.GetId())
	p, err := replication.Pack(lane, 0, encoded...)
	require.NoError(s.t, err)
	require.NoError(s.t, s.conn.Send(&peerv1.Message{Body: &peerv1.Message_Records{Records: &peerv1.Records{Id: sub.GetId(), Packed: p}}}))
}

// records are those of a lane in a store's log.
func (s *fakeStore) records(lane clock.Lane) (out [][]byte) {
	for _, d := range s.log[lane] {
		out = append(out, d.Encoded)
	}
	return out
}

// A record that comes once more, with its timestamp and other content, or where there was none, closes the
// stream and names the region, wherever the record is that was there before. The same once more does not.
func TestARecordThatComesTwiceWithOtherContentIsRefused(t *testing.T) {
	prepare := map[string]func(us *node, eu *node){
		"in memory": func(*node, *node) {},
		"with the store": func(us *node, _ *node) {
			us.store.mu.Lock()
			defer us.store.mu.Unlock()
			us.store.syncDelay = time.Hour
		},
	}
	for where, prepare := range prepare {
		for what, again := range map[string]func(lane clock.Lane, lost []clock.Stamp, was [][]byte) [][]byte{
			"the last": func(l clock.Lane, s []clock.Stamp, was [][]byte) [][]byte {
				return append(was[:2:2], forged(l, 9, s[1], s[2]))
			},
			"one before": func(l clock.Lane, s []clock.Stamp, was [][]byte) [][]byte {
				return append(was[:1:1], forged(l, 9, s[0], s[1]))
			},
			"the first": func(l clock.Lane, s []clock.Stamp, _ [][]byte) [][]byte {
				return [][]byte{forged(l, 9, clock.Stamp{}, s[0])}
			},
			"one between": func(l clock.Lane, s []clock.Stamp, was [][]byte) [][]byte {
				return append(was[:1:1], forged(l, 1, s[0], clock.Stamp{Region: 1, Time: s[1].Time - 1}))
			},
			"the same": func(_ clock.Lane, _ []clock.Stamp, was [][]byte) [][]byte { return was },
		} {
			t.Run(what+" "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, eu, us, ap := three(t)
					defer stopAll(us, ap)
					prepare(us, eu)
					var all []clock.Stamp
					for range 3 {
						all = append(all, eu.commit())
						wait(t, time.Second)
					}
					us.sees(all[2])
					ap.sees(all[2])
					eu.crash()
					s := c.impostor(eu)
					s.sends(us, eu.lane(), again(eu.lane(), all, eu.store.records(eu.lane()))...)
					if what == "the same" {
						wait(t, time.Second)
						require.True(t, us.connected(eu))
						require.NoError(t, us.fault())
						s.conn.Close()
						return
					}
					s.ended()
					us.named("eu")
					require.ErrorContains(t, us.fault(), "two histories")
					require.Equal(t, all[2].Time, us.x.Exposed().At(1))
				})
			})
		}
	}
}

// The same for records that wait: here since the store refuses the first.
func TestARecordThatComesTwiceWhileItWaits(t *testing.T) {
	for what, again := range map[string]func(l clock.Lane, s []clock.Stamp, was [][]byte) [][]byte{
		"another": func(l clock.Lane, s []clock.Stamp, was [][]byte) [][]byte {
			return append(was[:1:1], forged(l, 9, s[0], s[1]))
		},
		"one between": func(l clock.Lane, s []clock.Stamp, was [][]byte) [][]byte {
			return append(was[:1:1], forged(l, 1, s[0], clock.Stamp{Region: 1, Time: s[1].Time - 1}))
		},
		"the same": func(_ clock.Lane, _ []clock.Stamp, was [][]byte) [][]byte { return was },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, eu, us, ap := three(t)
				defer stopAll(us, ap)
				us.store.refuseLane(eu.lane())
				all := []clock.Stamp{eu.commit(), eu.commit(), eu.commit()}
				ap.sees(all[2])
				eventually(t, "all wait, and for long", func() bool { return us.waiting(eu) > 0 && us.store.refusals() > 10 })
				eu.crash()
				s := c.impostor(eu)
				s.sends(us, eu.lane(), again(eu.lane(), all, eu.store.records(eu.lane()))...)
				if what == "the same" {
					wait(t, time.Second)
					require.True(t, us.connected(eu))
					require.NoError(t, us.fault())
					require.NotZero(t, us.waiting(eu))
					s.conn.Close()
					return
				}
				s.ended()
				us.named("eu")
			})
		})
	}
}

// forged is a record of a lane behind another one.
func forged(lane clock.Lane, size int, prev, at clock.Stamp) []byte {
	s := newFakeStore(1)
	s.applied[lane] = prev.Time
	s.forge(lane, at.Time, size)
	return s.log[lane][0].Encoded
}

// What is no longer in memory is not compared, but for the last: the log is not read for it.
func TestARecordThatComesTwiceAndIsNotInMemory(t *testing.T) {
	for name, ends := range map[string]bool{"the first": false, "the last": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, eu, us, ap := three(t)
				defer stopAll(us, ap)
				first := eu.commit()
				last := eu.commit()
				us.sees(last)
				eu.crash()
				us.r.ForgetTail(eu.lane())
				s := c.impostor(eu)
				if ends {
					s.sends(us, eu.lane(), eu.store.records(eu.lane())[0], forged(eu.lane(), 9, first, last))
					s.ended()
					us.named("eu")
					return
				}
				s.sends(us, eu.lane(), forged(eu.lane(), 9, clock.Stamp{}, first))
				wait(t, time.Second)
				require.True(t, us.connected(eu))
				s.conn.Close()
			})
		})
	}
}

// A region that is named as gone, and comes back, stops nobody: what it alone held was given up.
func TestARegionNamedAsGoneForksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		c.net.CutBoth("ap", "eu")
		c.net.CutBoth("us", "eu") // or it would pass on what it gets
		kept := ap.commit()
		us.sees(kept)
		ap.crash()
		us.crash()
		gone := func(_ *node, r *replication.Config) { r.Gone = []string{"us"} }
		wait(t, 2*replication.StreamTimeout) // what was on its way is lost with its connection
		c.net.HealBoth("ap", "eu")
		c.net.HealBoth("us", "eu")
		ap = c.start("ap", newFakeStore(33), []string{"eu"}, gone)
		defer stopAll(eu)
		ap.resume()
		s := ap.commit()
		eu.sees(s)
		us = c.start("us", us.store, nil)
		defer stopAll(us, ap)
		eventually(t, "it is told", func() bool { return ap.fault() != nil })
		require.NoError(t, ap.forkedErr())
		require.ErrorContains(t, ap.fault(), "named as gone")
		eu.sees(ap.commit())
	})
}

// Who takes its data anew and serves is not heard by whom it takes it from: nobody else is sent there
// for its lane.
func TestOnlyAJoiningRegionIsHeardThroughItsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us)
		ap.crash()
		require.NoError(t, eu.r.HoldCut(3))
		require.NoError(t, eu.r.HoldCut(4))
		require.Equal(t, []uint32{4}, eu.r.JoiningFrom())
		c.net.Node("ap").CloseAll()
	})
}
