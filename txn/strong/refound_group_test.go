package strong

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
	"github.com/theriac-db/theriac/txn/strong/certify"
)

// site is a region: what its node has, and the node if it runs.
type site struct {
	region    clock.Region
	number    uint64 // of its store
	fs        *vfs.MemFS
	lane      [][]byte // the certifier's lane, as it is exposed here
	store     *storage.Store
	group     *Group
	certifier *Certifier
	refound   chan Refounding
	refounded chan struct{}
}

// sites are regions on a network in memory, whose records reach each other while nothing is cut.
type sites struct {
	*testing.T
	mu   sync.Mutex
	all  []*site
	cut  map[clock.Region]bool
	next uint64 // a number that no store and no life had
	fly  sync.WaitGroup
}

// onSites runs a test with so many regions, all of which vote.
func onSites(t *testing.T, n int, f func(s *sites)) {
	synctest.Test(t, func(t *testing.T) {
		s := &sites{T: t, cut: map[clock.Region]bool{}}
		for i := range n {
			x := &site{region: clock.Region(i + 1)}
			s.all = append(s.all, x)
			s.lose(x)
			s.start(x, i == 0)
		}
		defer s.fly.Wait()
		defer func() {
			for _, x := range s.all {
				s.stop(x)
			}
		}()
		s.allVote()
		f(s)
	})
}

// lose gives a site a new disk.
func (s *sites) lose(x *site) {
	s.stop(x)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	x.number, x.fs, x.lane = s.next, vfs.NewMem(), nil
}

func (s *sites) start(x *site, found bool) {
	s.mu.Lock()
	s.next++
	life := certify.Proposer{Region: x.region, Incarnation: s.next}
	id := VoterID(x.region, x.number)
	s.mu.Unlock()
	store, err := storage.Open(storage.Config{FS: x.fs, Dir: "store", CacheBytes: 1 << 20, MemTableBytes: 1 << 20, LeafCacheBytes: 1 << 16})
	require.NoError(s, err)
	refound, refounded := make(chan Refounding, 1), make(chan struct{}, 1)
	c := NewCertifier(CertifierConfig{
		Self: life, Time: systemTime{}, Durable: func() clock.Timestamp { return s.held(x) }, Elsewhere: func() bool { return true },
		News: func() {}, Begun: func(clock.Timestamp) {}, Refounded: func() { poke(refounded) }, Metadata: noneToObey{}, Last: s.held(x),
	})
	g, err := New(s.Context(), Config{
		ID: id, Found: found, Store: store, Machine: c, Pack: Pack, Check: c.CheckEntry, Time: systemTime{},
		Send:   func(to uint64, messages [][]byte) { s.carry(x, to, messages) },
		Wanted: func(v View) []Change { return nextChanges(v, s.seats(x)) }, Places: func() []Place { return s.places(x) },
		Held: func() clock.Timestamp { return s.held(x) }, Refound: func(r Refounding) { refound <- r },
		Logf: s.Logf, Fatal: func(err error) { s.Error(err) },
	})
	require.NoError(s, err)
	c.Join(g)
	s.mu.Lock()
	x.store, x.group, x.certifier, x.refound, x.refounded = store, g, c, refound, refounded
	s.mu.Unlock()
	c.Begin()
}

func (s *sites) stop(x *site) {
	if x.group == nil {
		return
	}
	x.certifier.Stop()
	x.group.Stop()
	require.NoError(s, x.store.Close())
	s.mu.Lock()
	x.group = nil
	s.mu.Unlock()
}

func (s *sites) held(x *site) clock.Timestamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	return endOf(x.lane)
}

func endOf(lane [][]byte) clock.Timestamp {
	if len(lane) == 0 {
		return 0
	}
	h, err := kv.DecodeHeader(lane[len(lane)-1])
	if err != nil {
		panic(err)
	}
	return h.Time
}

func (s *sites) places(of *site) (out []Place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.all {
		p := Place{Seat: Seat{Region: x.region}}
		if x == of || x.group != nil && !s.cut[x.region] && !s.cut[of.region] {
			p.Store = x.number
		}
		out = append(out, p)
	}
	return out
}

func (s *sites) seats(of *site) (out []Seat) {
	for _, p := range s.places(of) {
		out = append(out, p.Seat)
	}
	return out
}

func (s *sites) carry(from *site, to uint64, messages [][]byte) {
	sender := VoterID(from.region, from.number)
	s.fly.Add(1)
	time.AfterFunc(time.Millisecond, func() {
		defer s.fly.Done()
		s.mu.Lock()
		x := s.all[RegionOf(to)-1]
		g := x.group
		if s.cut[from.region] || s.cut[x.region] {
			g = nil
		}
		s.mu.Unlock()
		if g != nil {
			if err := g.Step(sender, messages); err != nil {
				s.Error(err)
			}
		}
	})
}

// settle has records reach each other for a while, and does what the groups ask for.
func (s *sites) settle(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		for _, x := range s.all {
			if x.group == nil {
				continue
			}
			s.spread(x)
			select {
			case r := <-x.refound:
				s.stopped(x, func() { require.NoError(s, Refound(s.Context(), s.config(x), r)) })
			case <-x.refounded:
				s.stopped(x, func() {})
			default:
			}
		}
	}
}

func (s *sites) config(x *site) RefoundConfig {
	return RefoundConfig{
		ID: VoterID(x.region, x.number), Store: x.store, Metadata: func() (Metadata, error) { return noneToObey{}, nil }, Durable: endOf(x.lane),
		Wall: clock.WallOf(time.Now()),
		Lane: func(after clock.Timestamp) (out [][]byte, err error) {
			i := slices.IndexFunc(x.lane, func(b []byte) bool { return endOf([][]byte{b}) > after })
			if i < 0 {
				return nil, nil
			}
			return x.lane[i:], nil
		},
	}
}

// stopped ends a site's process, does something to its store, and starts another process.
func (s *sites) stopped(x *site, f func()) {
	x.certifier.Stop()
	x.group.Stop()
	f()
	require.NoError(s, x.store.Close())
	s.start(x, false)
}

// spread exposes what a site has decided, and what others have.
func (s *sites) spread(x *site) {
	own := x.certifier.Pending(s.held(x), 1<<20)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range own {
		s.expose(x, r.Encoded)
	}
	for _, o := range s.all {
		if !s.cut[x.region] && !s.cut[o.region] {
			for _, r := range o.lane[min(len(x.lane), len(o.lane)):] {
				s.expose(x, r)
			}
		}
	}
}

func (s *sites) expose(x *site, encoded []byte) {
	h, err := kv.DecodeHeader(encoded)
	require.NoError(s, err)
	require.Equal(s, endOf(x.lane), h.Prev, "the lane is not forked")
	x.lane = append(x.lane, encoded)
}

// allVote waits until every site has its vote, is led, and takes proposals.
func (s *sites) allVote() {
	s.Helper()
	require.True(s, s.within(3*time.Minute, func() bool {
		for _, x := range s.all {
			if st := x.group.Status(); !st.Voter || st.Leader == 0 || st.LeaderlessFor > 0 || len(st.Voters) != len(s.all) || !x.certifier.HasBegun() {
				return false
			}
		}
		return true
	}))
}

func (s *sites) within(d time.Duration, f func() bool) bool {
	for end := time.Now().Add(d); !f(); {
		if time.Now().After(end) {
			return false
		}
		s.settle(100 * time.Millisecond)
	}
	return true
}

// commit commits at a site.
func (s *sites) commit(x *site, key string) clock.Timestamp {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
	defer cancel()
	p := put(key, clock.VectorOf(clock.Entry{Time: x.certifier.Last()}))
	t, err := x.certifier.Certify(ctx, p)
	require.NoError(s, err)
	<-t.Decided()
	d, err := t.Decision()
	require.NoError(s, err)
	require.Equal(s, certify.Committed, d.Verdict, d.Verdict.String())
	return d.Time
}

// works checks that all sites commit, and have the same.
func (s *sites) works() {
	s.Helper()
	s.allVote()
	var last clock.Timestamp
	for _, x := range s.all {
		s.settle(time.Second)
		last = s.commit(x, "after")
	}
	require.True(s, s.within(time.Minute, func() bool {
		return !slices.ContainsFunc(s.all, func(x *site) bool { return s.held(x) != last })
	}))
	for _, x := range s.all {
		require.Equal(s, s.all[0].lane, x.lane)
	}
}

func (s *sites) loses(list ...int) {
	for _, i := range list {
		s.lose(s.all[i])
	}
	for _, i := range list {
		s.start(s.all[i], false)
	}
}

func TestADeadGroupIsFoundedAnew(t *testing.T) {
	for name, x := range map[string]struct {
		regions int
		lost    []int
	}{
		"two of three":        {3, []int{0, 2}},
		"one of two":          {2, []int{0}},
		"the other of two":    {2, []int{1}},
		"three of five":       {5, []int{0, 2, 3}},
		"all":                 {3, []int{0, 1, 2}},
		"one of three is not": {3, []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			onSites(t, x.regions, func(s *sites) {
				began := clock.At(clock.WallOf(time.Now()))
				for range 5 {
					s.commit(s.all[0], "before")
				}
				s.settle(time.Second)
				s.loses(x.lost...)
				s.works()
				want := 5 + x.regions
				if len(x.lost) == x.regions {
					want = x.regions
				}
				require.Len(s, s.all[0].lane, want, "what was acknowledged, and no more")
				dead := 2*len(x.lost) >= x.regions
				require.Equal(s, dead, endOf(s.all[0].lane) > began, "what is lost had times below the clock's")
				require.Equal(s, dead, s.all[0].group.Status().Term > RefoundGap)
				require.Equal(s, dead, s.all[0].group.Applied() > RefoundGap)
			})
		})
	}
}

// TestAnAcknowledgedCommitIsKeptByASurvivor which has it in its log, without having heard that it is committed. So
// has one that lacks it, and is led there.
func TestAnAcknowledgedCommitIsKeptByASurvivor(t *testing.T) {
	onSites(t, 5, func(s *sites) {
		s.commit(s.all[0], "before")
		s.settle(time.Second)
		s.mu.Lock()
		s.cut[1] = true // it lacks what follows
		s.mu.Unlock()
		require.True(s, s.within(time.Minute, func() bool { return s.all[2].group.Status().Leader != VoterID(1, s.all[0].number) }))
		at := s.commit(s.all[2], "acknowledged")
		s.lose(s.all[2]) // before anything of it has spread
		s.lose(s.all[3])
		s.lose(s.all[4])
		s.mu.Lock()
		s.cut[1] = false
		s.mu.Unlock()
		for _, x := range s.all[2:] {
			s.start(x, false)
		}
		s.works()
		times := map[clock.Timestamp]bool{}
		for _, r := range s.all[0].lane {
			times[endOf([][]byte{r})] = true
		}
		require.True(s, times[at])
	})
}

func TestASurvivorThatIsCutOffFoundsNothing(t *testing.T) {
	onSites(t, 3, func(s *sites) {
		s.commit(s.all[0], "before")
		s.settle(time.Second)
		s.mu.Lock()
		s.cut[1] = true
		s.mu.Unlock()
		s.loses(1, 2)
		s.settle(time.Minute)
		for _, x := range s.all {
			require.Zero(s, x.group.Status().Leader)
			require.Less(s, x.group.Status().Term, uint64(RefoundGap))
		}
		s.mu.Lock()
		s.cut[1] = false
		s.mu.Unlock()
		s.works()
	})
}

func TestAFlappingNetworkFoundsNothing(t *testing.T) {
	onSites(t, 3, func(s *sites) {
		for i := range 20 {
			s.mu.Lock()
			s.cut[clock.Region(i%3+1)] = i%4 != 3
			s.mu.Unlock()
			s.settle(time.Duration(3+i%5*4) * time.Second)
		}
		s.mu.Lock()
		clear(s.cut)
		s.mu.Unlock()
		s.works()
		for _, x := range s.all {
			require.Less(s, x.group.Status().Term, uint64(RefoundGap))
		}
	})
}

// TestWhatContradictsTheLaneIsNotKept: of a log whose end is not known to have been committed.
func TestWhatContradictsTheLaneIsNotKept(t *testing.T) {
	other := func(at clock.Timestamp) []byte { // a commit that this log does not have
		r := kv.Record{Header: kv.Header{Time: at, Kind: kv.RecordGroup}, Txns: []kv.Txn{{Effects: []kv.Effect{{Object: kv.Object{Bucket: "b", Key: "other", Type: 2}, Path: []byte{}, Op: []byte{1, 'y'}}}}}}
		return r.Append(nil)
	}
	for name, x := range map[string]struct {
		lane func(lane [][]byte) [][]byte // nil: it does not reach back
		kept int                          // records
	}{
		"nothing is known":       {func([][]byte) [][]byte { return nil }, 2},
		"the lane is behind":     {func(lane [][]byte) [][]byte { return lane[:1] }, 2},
		"the lane is as far":     {func(lane [][]byte) [][]byte { return lane }, 2},
		"the lane is further":    {func(lane [][]byte) [][]byte { return append(lane[:2:2], other(900)) }, 2},
		"another first":          {func([][]byte) [][]byte { return [][]byte{other(900)} }, 0},
		"another second":         {func(lane [][]byte) [][]byte { return append(lane[:1:1], other(900)) }, 0},
		"it does not reach back": {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			onSites(t, 1, func(s *sites) {
				one := s.all[0]
				began := one.group.Applied()
				s.commit(one, "a")
				s.commit(one, "b")
				s.settle(time.Second)
				lane := slices.Clone(one.lane)
				one.certifier.Stop()
				one.group.Stop()
				was := one.store.Raft()
				require.NoError(s, durably(s.Context(), one.store, func(b *storage.Batch) error {
					b.SetHardState(was.Term, was.Vote, began) // it has not heard of the end
					return nil
				}))
				c, r := s.config(one), Refounding{Index: 5000, Term: 50, Held: 900}
				c.Durable = 0
				if x.lane == nil {
					c.Lane = func(clock.Timestamp) ([][]byte, error) { return nil, kv.Errorf(kv.KindTooOld, "gone") }
				} else {
					one.lane = x.lane(lane)
					r.Held = endOf(one.lane)
				}
				ended, cancel := context.WithCancel(s.Context())
				cancel()
				require.Error(s, Refound(ended, c, r))
				require.Equal(s, was.Last, one.store.Raft().Last, "a founding that fails changes nothing")
				require.NoError(s, Refound(s.Context(), c, r))
				require.NoError(s, one.store.Close())
				one.lane = nil
				s.start(one, false)
				require.Len(s, one.certifier.Pending(0, 1<<20), x.kept)
				want := r.Held
				if x.kept > 0 {
					want = max(want, endOf(lane))
				}
				require.Equal(s, want, one.certifier.Last())
				require.Equal(s, uint64(5000), one.store.Raft().Snapshot.Index)
				require.True(s, s.within(time.Minute, one.certifier.HasBegun))
				require.Greater(s, s.commit(one, "c"), want)
			})
		})
	}
}

// TestWhatFoundsNothing: a state that is too large, and metadata that can't be read.
func TestWhatFoundsNothing(t *testing.T) {
	onSites(t, 1, func(s *sites) {
		one := s.all[0]
		s.stopped(one, func() {
			c, was := s.config(one), one.store.Raft()
			c.Metadata = func() (Metadata, error) { return nil, kv.Errorf(kv.KindCorrupt, "damaged") }
			require.ErrorIs(s, Refound(s.Context(), c, Refounding{Index: 5000, Term: 50}), kv.ErrCorrupt)
			require.ErrorIs(s, found(s.Context(), one.store, c.ID, make([]byte, MaxSnapshot+1), Refounding{Index: 5000, Term: 50}), kv.ErrTooLarge)
			require.Equal(s, was.Last, one.store.Raft().Last)
		})
		require.True(s, s.within(time.Minute, one.certifier.HasBegun))
	})
}

// TestALongerLogOfTheDeadGroupGivesWay: a survivor whose log is longer than the founder's takes the snapshot.
func TestALongerLogOfTheDeadGroupGivesWay(t *testing.T) {
	onSites(t, 3, func(s *sites) {
		s.commit(s.all[0], "before")
		s.settle(time.Second)
		s.mu.Lock()
		s.cut[1], s.cut[2], s.cut[3] = true, true, true
		s.mu.Unlock()
		lead := s.all[slices.IndexFunc(s.all, func(x *site) bool { return x.group.Status().Leading })]
		for _, key := range []string{"p", "q"} { // entries that nobody else gets
			ctx, cancel := context.WithTimeout(s.Context(), 300*time.Millisecond)
			_, err := lead.certifier.Certify(ctx, put(key, clock.VectorOf(clock.Entry{Time: lead.certifier.Last()})))
			cancel()
			require.NoError(s, err)
		}
		other := s.all[(int(lead.region))%3]
		longer := lead.group.Last()
		require.Greater(s, longer, other.group.Last())
		s.stopped(other, func() {
			require.NoError(s, Refound(s.Context(), s.config(other), Refounding{Index: longer + RefoundGap, Term: 1 << 21, Held: s.held(other)}))
		})
		s.mu.Lock()
		clear(s.cut)
		s.mu.Unlock()
		s.works()
		require.Greater(s, lead.group.Applied(), longer+RefoundGap)
	})
}
