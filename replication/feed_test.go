package replication_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// certifier is a list of decided records of lane 0, which every node that it feeds derives alike.
type certifier struct {
	t *testing.T

	mu   sync.Mutex
	list []replication.Incoming
	told chan struct{} // closed when there is more
}

func newCertifier(t *testing.T) *certifier { return &certifier{t: t, told: make(chan struct{})} }

// commit decides a record that has seen deps.
func (c *certifier) commit(deps clock.Vector) clock.Stamp { return c.commitSized(deps, 1) }

func (c *certifier) commitSized(deps clock.Vector, bytes int) clock.Stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	var prev clock.Timestamp
	if n := len(c.list); n > 0 {
		prev = c.list[n-1].Record.Time
	}
	effect := kv.Effect{Object: kv.Object{Bucket: "b", Key: "key", Type: 1}, Op: make([]byte, bytes)}
	r := &kv.Record{Header: kv.Header{Time: max(prev, deps.Max()) + 1, Prev: prev, Kind: kv.RecordGroup, Deps: deps},
		Txns: []kv.Txn{{Snapshot: deps, Effects: []kv.Effect{effect}}}}
	c.list = append(c.list, replication.Incoming{Record: r, Encoded: r.Append(nil)})
	close(c.told)
	c.told = make(chan struct{})
	return r.Stamp()
}

// behind returns the records behind one.
func (c *certifier) behind(after clock.Timestamp) (out []replication.Incoming, told <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, in := range c.list {
		if in.Record.Time > after {
			out = append(out, in)
		}
	}
	return out, c.told
}

// feed feeds a node, behind from and until it stops.
func (c *certifier) feed(n *node, from clock.Timestamp) {
	ctx, stop := context.WithCancel(c.t.Context())
	go func() { <-n.ended; stop() }()
	go func() {
		for last := from; ; {
			records, told := c.behind(last)
			var err error
			if last, err = n.r.Feed(records...); err != nil {
				c.t.Errorf("feeding %s: %v", n.name, err)
				return
			}
			last = max(last, from)
			if k := len(records); k > 0 && last < records[k-1].Record.Time {
				told = nil
			}
			select {
			case <-told:
			case <-n.r.Room():
			case <-ctx.Done():
				return
			}
		}
	}()
}

func feedAll(c *certifier, nodes ...*node) {
	for _, n := range nodes {
		c.feed(n, 0)
	}
}

// received is how many records have come from other regions.
type received struct {
	mu sync.Mutex
	n  map[*node]int
}

func (r *received) hook(n *node, c *replication.Config) {
	c.Hooks.Received = func(_ clock.Region, records, _ int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.n[n] += records
	}
}

func (r *received) of(n *node) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n[n]
}

// TestStrongCommitsComeFromInsideAndBindCausalWrites: they wait for what they have seen, what has seen
// them waits for them, and no region sends any of them to another.
func TestStrongCommitsComeFromInsideAndBindCausalWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := &received{n: map[*node]int{}}
		c, eu, us, ap := three(t, got.hook)
		defer stopAll(eu, us, ap)
		cert := newCertifier(t)
		feedAll(cert, eu, us, ap)
		wait(t, 5*time.Second)
		before := got.of(ap)
		c.net.CutBoth("eu", "ap")
		c.net.CutBoth("us", "ap")
		s := eu.commit()
		us.sees(s)
		strong := cert.commit(us.x.Exposed())
		us.sees(strong)
		next := us.commit()
		require.Equal(t, strong.Time, us.x.Exposed().At(0))
		wait(t, time.Minute)
		require.Zero(t, ap.x.Exposed().At(0), "it waits for what it has seen")
		c.net.HealBoth("us", "ap")
		ap.sees(next)
		require.Equal(t, strong.Time, ap.x.Exposed().At(0))
		c.net.HealBoth("eu", "ap")
		for range 20 {
			strong = cert.commit(eu.x.Exposed())
			for _, n := range []*node{eu, us, ap} {
				n.sees(strong)
			}
		}
		wait(t, 10*time.Second)
		require.LessOrEqual(t, got.of(ap)-before, 3, "two records of regions, and the commit that was waited for for long")
		eventually(t, "all settles", func() bool {
			_, settled := ap.x.Cuts()
			return settled.At(0) == strong.Time
		})
		require.Equal(t, strong.Time, eu.x.Everywhere().At(0))
	})
}

// TestWhoseCertifierDoesNotKeepUpAsksOthers, and does not while it keeps up.
func TestWhoseCertifierDoesNotKeepUpAsksOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		cert := newCertifier(t)
		feedAll(cert, eu)
		_, err := us.r.Feed() // it will
		require.NoError(t, err)
		s := cert.commit(eu.x.Exposed())
		begin := time.Now()
		ap.sees(s)
		require.Less(t, time.Since(begin), time.Second, "it has none")
		us.sees(s)
		require.GreaterOrEqual(t, time.Since(begin), replication.SilenceAfter)
		require.Less(t, time.Since(begin), 2*replication.SilenceAfter)
		wait(t, time.Second) // it has what others have, so nobody sends it any more
		begin = time.Now()
		s = cert.commit(eu.x.Exposed())
		eu.sees(s)
		us.sees(eu.commit())
		require.GreaterOrEqual(t, time.Since(begin), replication.SilenceAfter, "what depends on it waits as long")
		us.sees(s)
	})
}

// TestACertifierThatBeginsLaterLeavesTheGapToOthers: its log was replaced by a snapshot.
func TestACertifierThatBeginsLaterLeavesTheGapToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		cert := newCertifier(t)
		feedAll(cert, eu, us)
		c.isolate("ap")
		cert.commit(nil)
		gap := cert.commit(nil)
		last := cert.commit(nil)
		us.sees(last)
		begin := time.Now()
		cert.feed(ap, gap.Time)
		wait(t, time.Minute)
		require.Zero(t, ap.x.Exposed().At(0))
		c.rejoin("ap")
		ap.sees(last)
		require.Less(t, time.Since(begin), time.Minute+10*time.Second)
		last = cert.commit(ap.x.Exposed())
		ap.sees(last)
	})
}

// TestWhatIsFedIsBounded: who feeds is told where to go on, and when.
func TestWhatIsFedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		c.isolate("ap")
		s := eu.commit()
		us.sees(s)
		cert := newCertifier(t)
		for range 12 {
			cert.commitSized(us.x.Exposed(), 1<<20)
		}
		all, _ := cert.behind(0)
		last, err := ap.r.Feed(all...)
		require.NoError(t, err)
		require.Equal(t, all[3].Record.Time, last, "as much as the window takes, and the one that fills it")
		again, err := ap.r.Feed(all...)
		require.NoError(t, err)
		require.Equal(t, last, again, "what waits is passed over")
		cert.feed(ap, 0)
		wait(t, time.Minute)
		require.Zero(t, ap.x.Exposed().At(0))
		c.rejoin("ap")
		ap.sees(all[11].Record.Stamp())
	})
}

// TestWhatContradictsIsNotFed: what was fed, took, or is applied.
func TestWhatContradictsIsNotFed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		defer stopAll(eu)
		cert := newCertifier(t)
		cert.commit(nil)
		cert.commit(nil)
		good, _ := cert.behind(0)
		eu.writable()
		_, err := eu.r.Feed(good...)
		require.NoError(t, err)
		eu.sees(good[1].Record.Stamp())
		other := func(h kv.Header) replication.Incoming {
			r := &kv.Record{Header: h, Txns: []kv.Txn{{Effects: []kv.Effect{{Object: kv.Object{Bucket: "other", Key: "k", Type: 1}, Op: []byte{7}}}}}}
			return replication.Incoming{Record: r, Encoded: r.Append(nil)}
		}
		for name, bad := range map[string][]replication.Incoming{
			"another lane":           {other(kv.Header{Lane: clock.Lane{Region: 1}, Time: 5, Kind: kv.RecordGroup})},
			"needs what is later":    {other(kv.Header{Time: 5, Prev: 2, Kind: kv.RecordGroup, Deps: clock.VectorOf(clock.Entry{Region: 1, Time: 5})})},
			"void":                   {replication.Incoming{Record: &kv.Record{Header: kv.Header{Time: 5, Prev: 2, Kind: kv.RecordVoid}, Void: kv.Interval{From: 3, To: 4}}}},
			"not a chain":            {good[0], other(kv.Header{Time: 5, Prev: 2, Kind: kv.RecordGroup})},
			"another in its place":   {other(kv.Header{Time: 2, Prev: 1, Kind: kv.RecordGroup})},
			"another behind the one": {other(kv.Header{Time: 5, Prev: 1, Kind: kv.RecordGroup})},
		} {
			last, err := eu.r.Feed(bad...)
			require.ErrorIs(t, err, kv.ErrCorrupt, name)
			require.EqualValues(t, 2, last, name)
		}
		require.NoError(t, eu.fault())
	})
}

// TestWhatTheStoreRefusesIsFedAgain once it has room.
func TestWhatTheStoreRefusesIsFedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		defer stopAll(eu)
		eu.writable()
		cert := newCertifier(t)
		bad := cert.commit(nil)
		last := cert.commit(nil)
		eu.store.noRoomFor(bad, 20)
		cert.feed(eu, 0)
		eu.sees(last)
		require.Empty(t, eu.toldStuck())
	})
}

// TestStrongCommitsSurviveStartsAndJoins: a node that starts is fed from the beginning, or behind what it
// has; one that joins has them in its cut; one that lost its disk takes them back before it writes.
func TestStrongCommitsSurviveStartsAndJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		cert := newCertifier(t)
		feedAll(cert, eu, us, ap)
		s := cert.commit(eu.x.Exposed())
		for _, n := range []*node{eu, us, ap} {
			n.sees(s)
		}
		us.crash()
		later := cert.commit(eu.x.Exposed())
		us = c.start("us", us.store, nil)
		require.Equal(t, s.Time, us.x.Exposed().At(0))
		cert.feed(us, 0)
		us.sees(later)
		sa := c.start("sa", newFakeStore(4), []string{"eu"})
		require.Equal(t, later.Time, sa.x.Exposed().At(0), "in the cut")
		cert.feed(sa, 0)
		ap.crash()
		last := cert.commit(eu.x.Exposed())
		eu.sees(last)
		written := eu.commit()
		ap = c.start("ap", newFakeStore(13), []string{"us"})
		ap.resume()
		require.GreaterOrEqual(t, ap.x.Exposed().At(0), later.Time, "it had reported that")
		ap.sees(written)
		eu.sees(ap.commit())
		sa.writable()
		eu.sees(sa.commit())
		stopAll(eu, us, ap, sa)
		for _, n := range []*node{eu, us, ap, sa} {
			require.NoError(t, n.fault(), n.name)
		}
	})
}

// TestStrongSnapshotsWaitForAMajority, and a region without one goes on folding: its horizon waits for the
// grace only. Once it is back strong snapshots open at once, of all that it wrote meanwhile.
func TestStrongSnapshotsWaitForAMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		cert := newCertifier(t)
		feedAll(cert, eu, us, ap)
		s := cert.commit(ap.commitAndSeen(eu, us))
		ap.sees(s)
		open, err := ap.x.OpenStrong(t.Context(), clock.VectorOf(clock.Entry(s)), true)
		require.NoError(t, err)
		require.Equal(t, s.Time, open.At().At(0))
		open.Close()
		c.isolate("ap")
		alone := ap.commit()
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = ap.x.OpenStrong(short, clock.VectorOf(clock.Entry(alone)), true)
		require.ErrorIs(t, err, kv.ErrUnavailable)
		require.ErrorContains(t, err, "no majority")
		horizon, _ := ap.x.Cuts()
		require.Less(t, horizon.At(3), alone.Time, "it waits for the strong cut")
		ap.x.Age()
		ap.x.Age()
		horizon, _ = ap.x.Cuts()
		require.Equal(t, alone.Time, horizon.At(3))
		_, err = ap.x.OpenStrong(short, nil, false)
		require.ErrorIs(t, err, kv.ErrUnavailable, "below the horizon")
		c.rejoin("ap")
		open, err = ap.x.OpenStrong(t.Context(), nil, true)
		require.NoError(t, err)
		require.True(t, open.At().Includes(horizon))
		require.True(t, ap.x.Uniform().Includes(open.At()))
		require.Equal(t, ap.x.StrongCut(), open.At())
		open.Close()
	})
}

// commitAndSeen writes a group, waits until others see it, and returns what the node exposes then.
func (n *node) commitAndSeen(others ...*node) clock.Vector {
	s := n.commit()
	for _, o := range others {
		o.sees(s)
	}
	return n.x.Exposed()
}

// TestAnUndecidedProcessHoldsStabilityBack until all that it had proposed before is decided, and here.
func TestAnUndecidedProcessHoldsStabilityBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		eu.writable()
		eu.commit()
		require.NoError(t, eu.stop())
		again := c.start("eu", eu.store, nil, func(n *node, _ *replication.Config) { n.undecided = true })
		defer stopAll(again)
		again.resume()
		s := again.commit()
		wait(t, time.Minute)
		require.Empty(t, again.x.Stable())
		cert := newCertifier(t)
		earlier := cert.commit(nil)
		again.x.Decided(earlier.Time)
		require.Empty(t, again.x.Stable(), "it is not here")
		cert.feed(again, 0)
		again.sees(earlier)
		require.Equal(t, s.Time, again.x.Stable().At(1))
	})
}
