package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// roundTrip is that between the regions of these tests. Their clock is that of a bubble: what the machine
// takes for its work counts nothing.
const roundTrip = 40 * time.Millisecond

// onPaper runs a test of three regions on a clock that stands still while anybody works.
func onPaper(t *testing.T, test func(t *testing.T, c *Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{RoundTrip: func(string, string) time.Duration { return roundTrip }})
		settle(t, time.Second)
		test(t, c)
	})
}

// settle lets simulated time pass.
func settle(t *testing.T, d time.Duration) {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
}

// pause lets simulated time pass, and waits for nothing else.
func pause(d time.Duration) { time.Sleep(d) }

// took is how long a call takes.
func took(call func()) time.Duration {
	began := time.Now()
	call()
	return time.Since(began)
}

// soon is a context with a deadline.
func soon(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestBoundedAnswersAtOnceWithoutTraffic(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		for _, name := range c.Regions() {
			for _, level := range []client.CallOption{client.Bounded(500 * time.Millisecond), client.BoundedOrFail(500 * time.Millisecond)} {
				var r client.Receipt
				require.Zero(t, took(func() {
					_, err := c.DB(name).Counter("n").Get(t.Context(), level, client.WithReceipt(&r))
					require.NoError(t, err)
				}))
				require.Equal(t, kv.LevelBounded, r.Level)
				require.Equal(t, 500*time.Millisecond, r.Bound)
				require.Len(t, r.Staleness, 3, "the other regions, and strong transactions")
				for _, s := range r.Staleness {
					require.True(t, s.Known)
					require.LessOrEqual(t, s.Age, 500*time.Millisecond)
					require.GreaterOrEqual(t, s.Age, roundTrip/2, "nobody can know more")
				}
			}
		}
	})
}

// A bound that heartbeats don't meet is met by asking.
func TestATightBoundCostsARoundTrip(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		settle(t, 5*time.Second) // what is being written to the raft group's log, such as who votes, is waited for, too
		for i := range 20 {
			settle(t, time.Duration(i)*7*time.Millisecond)
			d := took(func() {
				_, err := c.DB("eu").Counter("n").Get(soon(t, time.Second), client.Bounded(roundTrip+5*time.Millisecond))
				require.NoError(t, err)
			})
			require.LessOrEqual(t, d, roundTrip+5*time.Millisecond)
		}
		_, err := c.DB("eu").Counter("n").Get(soon(t, time.Second), client.Bounded(roundTrip/4))
		require.ErrorIs(t, err, client.ErrStale, "nobody can know of what happened less than half a round trip ago")
	})
}

func TestBoundedWaitsOrFailsWhenARegionIsCutOff(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		c.Isolate("us")
		settle(t, 3*time.Second)
		const d = time.Second
		require.Zero(t, took(func() {
			err := c.DB("eu").Counter("n").Add(t.Context(), 1, client.BoundedOrFail(d))
			require.ErrorIs(t, err, client.ErrStale)
			require.ErrorContains(t, err, "region 2 (us)")
			require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))
		}))
		require.Equal(t, 2*time.Second, took(func() {
			_, err := c.DB("eu").Counter("n").Get(soon(t, 2*time.Second), client.Bounded(d))
			require.ErrorIs(t, err, client.ErrStale)
			require.ErrorContains(t, err, "at most 1s was asked for")
		}))
		_, err := c.DB("eu").Counter("n").Get(t.Context(), client.BoundedOrFail(time.Minute))
		require.NoError(t, err, "a bound that is met")
		require.NoError(t, c.DB("us").Counter("n").Add(t.Context(), 7))
		time.AfterFunc(time.Second, func() { c.Rejoin("us") })
		n, err := c.DB("eu").Counter("n").Get(soon(t, time.Minute), client.Bounded(d))
		require.NoError(t, err)
		require.EqualValues(t, 7, n)
	})
}

// journal is what was acknowledged when, by the test's own clock.
type journal struct {
	mu      sync.Mutex
	written map[string][]entry // by counter, in the order of acknowledgement
}

type entry struct {
	at  time.Time
	sum int64
}

func (l *journal) note(key string, sum int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written == nil {
		l.written = map[string][]entry{}
	}
	l.written[key] = append(l.written[key], entry{time.Now(), sum})
}

// before is what a counter had been told to be by a moment.
func (l *journal) before(key string, at time.Time) (sum int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.written[key] {
		if !e.at.After(at) {
			sum = e.sum
		}
	}
	return sum
}

// write adds to a region's own counter every few milliseconds until ctx ends.
func (l *journal) write(ctx context.Context, c *Cluster, name string, reach client.Reach) {
	for sum := int64(1); ; {
		call, cancel := context.WithTimeout(ctx, time.Second)
		err := c.DB(name).Counter(name).Add(call, 1, client.Durable(reach))
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			l.note(name, sum)
			sum++
		case client.OutcomeOf(err) == client.OutcomeApplied:
			sum++
		}
		time.Sleep(25 * time.Millisecond)
	}
}

// TestBoundedIsNeverOlderThanItsBound has all regions write while links are cut, so that some hear of others
// through a third only, and compares what is read with the test's own clock.
func TestBoundedIsNeverOlderThanItsBound(t *testing.T) {
	seed, random := seeded(t)
	onPaper(t, func(t *testing.T, c *Cluster) {
		ctx, stop := context.WithCancel(t.Context())
		var l journal
		var work sync.WaitGroup
		for _, name := range c.Regions() {
			work.Go(func() { l.write(ctx, c, name, client.Local) })
		}
		var tally boundedTally
		for i, name := range c.Regions() {
			own := rand.New(rand.NewPCG(seed, uint64(i)))
			work.Go(func() { tally.read(ctx, t, c, &l, name, own) })
		}
		disturb(c, random, 15)
		stop()
		work.Wait()
		require.Greater(t, tally.answered, 500)
		require.Greater(t, tally.relayed, 20, "answered while a link was cut for long, so through a third")
		require.Greater(t, tally.stale, 10, "some were not to be had")
	})
}

// disturb cuts links and whole regions, one after the other, half a second to four seconds each.
func disturb(c *Cluster, random *rand.Rand, times int) {
	for range times {
		i := random.IntN(3)
		a, b := c.Regions()[i], c.Regions()[(i+1)%3]
		cut, heal := func() { c.Cut(a, b) }, func() { c.Heal(a, b) }
		if random.IntN(4) == 0 {
			cut, heal = func() { c.Isolate(a) }, func() { c.Rejoin(a) }
		}
		cut()
		time.Sleep(time.Duration(500+random.IntN(6000)) * time.Millisecond)
		heal()
		time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
	}
}

type boundedTally struct {
	mu                       sync.Mutex
	answered, stale, relayed int
}

func (b *boundedTally) read(ctx context.Context, t *testing.T, c *Cluster, l *journal, name string, random *rand.Rand) {
	for ctx.Err() == nil {
		bound := time.Duration(50+random.IntN(1500)) * time.Millisecond
		level := client.Bounded(bound)
		if random.IntN(2) == 0 {
			level = client.BoundedOrFail(bound)
		}
		call, cancel := context.WithTimeout(ctx, 700*time.Millisecond)
		began := time.Now()
		var r client.Receipt
		got := map[string]int64{}
		err := c.DB(name).View(call, func(tx *client.Tx) error {
			for _, key := range c.Regions() {
				n, err := tx.Counter(key).Get(call)
				if err != nil {
					return err
				}
				got[key] = n
			}
			return nil
		}, level, client.WithReceipt(&r))
		cancel()
		if ctx.Err() != nil {
			return
		}
		b.judge(t, c, l, name, began.Add(-bound), got, err)
		time.Sleep(time.Duration(20+random.IntN(60)) * time.Millisecond)
	}
}

func (b *boundedTally) judge(t *testing.T, c *Cluster, l *journal, name string, limit time.Time, got map[string]int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.stale++
		if k := client.KindOf(err); k != kv.KindStale && k != kv.KindDeadline {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	b.answered++
	for key, n := range got {
		if want := l.before(key, limit); n < want {
			t.Errorf("%s shows %d of %s, of which %d was acknowledged by %v", name, n, key, want, limit)
		}
	}
	status, err := c.Service(name).Status(t.Context())
	if err != nil {
		t.Errorf("status of %s: %v", name, err)
	}
	for _, r := range status.Regions {
		if !r.Connected {
			b.relayed++
			return
		}
	}
}

func TestARegionThatRestartsIsStaleUntilItHasHeard(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		require.NoError(t, c.DB("us").Counter("n").Add(t.Context(), 3, client.Durable(client.All)))
		c.Crash("us")
		settle(t, 5*time.Second)
		_, err := c.DB("eu").Counter("n").Get(t.Context(), client.BoundedOrFail(2*time.Second))
		require.ErrorIs(t, err, client.ErrStale)
		c.Isolate("us")
		restart(t, c, "us")
		_, err = c.DB("us").Counter("n").Get(t.Context(), client.BoundedOrFail(time.Hour))
		require.ErrorIs(t, err, client.ErrStale)
		require.ErrorContains(t, err, "nothing was heard since this node started")
		c.Rejoin("us")
		for _, name := range c.Regions() {
			n, err := c.DB(name).Counter("n").Get(soon(t, 10*time.Second), client.Bounded(300*time.Millisecond))
			require.NoError(t, err, name)
			require.EqualValues(t, 3, n)
		}
	})
}

func TestQuorumIsRefusedInAMinority(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		require.Equal(t, roundTrip, took(func() {
			_, err := c.DB("eu").Counter("n").Get(t.Context(), client.Quorum())
			require.NoError(t, err)
		}).Truncate(time.Millisecond), "one round trip")
		c.Isolate("eu")
		d := took(func() {
			_, err := c.DB("eu").Counter("n").Get(soon(t, time.Minute), client.Quorum())
			require.ErrorIs(t, err, client.ErrUnavailable)
		})
		require.LessOrEqual(t, d, 3*time.Second, "as soon as it is clear that nobody answers")
		require.Zero(t, took(func() {
			err := c.DB("eu").Counter("n").Add(t.Context(), 1, client.Quorum())
			require.ErrorIs(t, err, client.ErrUnavailable)
			require.ErrorContains(t, err, "us (not connected), ap (not connected)")
			require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))
		}), "once it is known")
		_, err := c.DB("us").Counter("n").Get(soon(t, time.Second), client.Quorum())
		require.NoError(t, err, "the others are a majority")
		levels(t, c, "eu", kv.LevelEventual, kv.LevelCausal)
		levels(t, c, "us", kv.LevelEventual, kv.LevelCausal, kv.LevelQuorum)
		c.Rejoin("eu")
		settle(t, 5*time.Second)
		_, err = c.DB("eu").Counter("n").Get(soon(t, time.Second), client.Quorum())
		require.NoError(t, err)
		levels(t, c, "eu", kv.LevelEventual, kv.LevelCausal, kv.LevelBounded, kv.LevelQuorum)
	})
}

// levels holds a region's status to the levels that it can serve, but for strong.
func levels(t *testing.T, c *Cluster, name string, want ...client.Level) {
	t.Helper()
	s, err := c.Service(name).Status(t.Context())
	require.NoError(t, err)
	var got []client.Level
	for _, l := range s.Levels {
		if l.Level == kv.LevelStrong {
			continue
		}
		require.Equal(t, l.OK, l.Why == "", l.Level)
		if l.OK {
			got = append(got, l.Level)
		}
	}
	require.Equal(t, want, got)
}

// TestQuorumSeesWhatAMajorityAcknowledged has each region write at durability majority while links are cut,
// and others read at level quorum without tokens: whatever was acknowledged before a read began is in it.
func TestQuorumSeesWhatAMajorityAcknowledged(t *testing.T) {
	_, random := seeded(t)
	onPaper(t, func(t *testing.T, c *Cluster) {
		ctx, stop := context.WithCancel(t.Context())
		var l journal
		var work sync.WaitGroup
		var mu sync.Mutex
		answered, refused := 0, 0
		for _, name := range c.Regions() {
			work.Go(func() { l.write(ctx, c, name, client.Majority) })
			work.Go(func() {
				for ctx.Err() == nil {
					began := time.Now()
					call, cancel := context.WithTimeout(ctx, time.Second)
					for _, key := range c.Regions() {
						n, err := c.DB(name).Counter(key).Get(call, client.Quorum())
						mu.Lock()
						if err != nil {
							refused++
						} else if answered++; n < l.before(key, began) {
							t.Errorf("%s shows %d of %s, of which a majority had acknowledged %d", name, n, key, l.before(key, began))
						}
						mu.Unlock()
					}
					cancel()
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		disturb(c, random, 15)
		stop()
		work.Wait()
		require.Greater(t, answered, 500)
		require.Greater(t, refused, 10)
	})
}

func TestDurabilityIsPrompt(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		for i := range 40 {
			settle(t, time.Duration(i)*3*time.Millisecond)
			for _, reach := range []client.Reach{client.Majority, client.All, client.Regions(2), client.Regions(3)} {
				var r client.Receipt
				d := took(func() {
					require.NoError(t, c.DB("eu").Counter("n").Add(t.Context(), 1, client.Durable(reach), client.WithReceipt(&r)))
				})
				require.GreaterOrEqual(t, d, roundTrip, reach)
				require.LessOrEqual(t, d, roundTrip+8*time.Millisecond, "it waits for no heartbeat")
				require.Equal(t, reach.Durability, r.Durability)
				want, err := reach.Copies(3)
				require.NoError(t, err)
				require.GreaterOrEqual(t, r.Regions, want)
				require.GreaterOrEqual(t, r.Paid.Regions, roundTrip)
				require.Equal(t, d, r.Paid.Total())
			}
		}
		require.Zero(t, took(func() {
			require.NoError(t, c.DB("eu").Counter("n").Add(t.Context(), 1, client.Durable(client.Regions(1))))
		}))
	})
}

func TestDurabilityThatIsNotReachedInTime(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		c.Isolate("ap")
		err := c.DB("eu").Counter("n").Add(soon(t, time.Second), 1, client.Durable(client.All))
		require.ErrorIs(t, err, client.ErrDeadline)
		require.Equal(t, client.OutcomeApplied, client.OutcomeOf(err))
		require.ErrorContains(t, err, "on disk in 2 of the 3 regions")
		require.ErrorContains(t, err, "ap")
		token := kv.TokenOf(err)
		require.NotEmpty(t, token.Seen)
		n, err := c.DB("us").Resume(token).Counter("n").Get(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, n, "it is applied")
		require.NoError(t, c.DB("eu").Counter("n").Add(soon(t, time.Second), 1, client.Durable(client.Majority)), "the others are a majority")

		err = c.DB("eu").Counter("n").Add(t.Context(), 1, client.Durable(client.Regions(4)))
		require.ErrorIs(t, err, client.ErrLevelRefused)
		require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))
		n, err = c.DB("eu").Counter("n").Get(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 2, n, "it was refused before anything was written")

		time.AfterFunc(3*time.Second, func() { c.Rejoin("ap") })
		require.NoError(t, c.DB("eu").Counter("n").Add(soon(t, time.Minute), 1, client.Durable(client.All)), "once it is back")
	})
}

func TestInteractiveTransactionsHaveLevelsAndDurabilities(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		var r client.Receipt
		update := func(tx *client.Tx) error {
			n, err := tx.Counter("n").Get(t.Context())
			if err != nil {
				return err
			}
			return tx.Counter("n").Add(t.Context(), n+1)
		}
		for i := range 4 {
			name := c.Regions()[i%3]
			var err error
			d := took(func() {
				err = c.DB(name).Update(t.Context(), update, client.Quorum(), client.Durable(client.Majority), client.WithReceipt(&r))
			})
			require.NoError(t, err)
			require.Positive(t, r.Paid.Token, "for the level, when it began")
			require.GreaterOrEqual(t, r.Paid.Regions, roundTrip)
			require.Equal(t, d, r.Paid.Total(), "nothing else takes time")
			require.Equal(t, kv.LevelQuorum, r.Level)
			require.Equal(t, kv.DurabilityMajority, r.Durability)
			require.GreaterOrEqual(t, r.Regions, 2)
		}
		n, err := c.DB("eu").Counter("n").Get(t.Context(), client.Quorum())
		require.NoError(t, err)
		require.EqualValues(t, 15, n, "each saw what the one before had written in another region")
		err = c.DB("eu").Update(t.Context(), update, client.Durable(client.Regions(4)))
		require.ErrorIs(t, err, client.ErrLevelRefused)
		c.Isolate("eu")
		settle(t, 3*time.Second)
		err = c.DB("eu").Update(t.Context(), update, client.Quorum())
		require.ErrorIs(t, err, client.ErrUnavailable)
		err = c.DB("eu").Update(soon(t, time.Second), update, client.Durable(client.Majority))
		require.ErrorIs(t, err, client.ErrDeadline)
		require.Equal(t, client.OutcomeApplied, client.OutcomeOf(err))
	})
}

func TestOneRegionServesAllLevelsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{Regions: []string{"eu"}})
		require.Zero(t, took(func() {
			for _, o := range [][]client.CallOption{
				{client.Bounded(time.Microsecond)}, {client.Quorum()}, {client.Durable(client.Majority)}, {client.Durable(client.All)},
			} {
				require.NoError(t, c.DB("eu").Counter("n").Add(t.Context(), 1, o...))
			}
		}))
		err := c.DB("eu").Counter("n").Add(t.Context(), 1, client.Durable(client.Regions(2)))
		require.ErrorIs(t, err, client.ErrLevelRefused)
		levels(t, c, "eu", kv.LevelEventual, kv.LevelCausal, kv.LevelBounded, kv.LevelQuorum)
	})
}

// A region that joins is waited for by nobody, and by all once it serves.
func TestARegionThatJoinedCounts(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		require.NoError(t, c.Add(within(t), "sa"))
		settle(t, 2*time.Second)
		require.NoError(t, c.DB("sa").Counter("n").Add(t.Context(), 1, client.Durable(client.Regions(4))))
		var r client.Receipt
		n, err := c.DB("ap").Counter("n").Get(t.Context(), client.BoundedOrFail(time.Second), client.WithReceipt(&r))
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		require.Len(t, r.Staleness, 4, "the other regions, and strong transactions")
		c.Isolate("sa")
		c.Isolate("eu")
		settle(t, 4*time.Second)
		_, err = c.DB("us").Counter("n").Get(t.Context(), client.Quorum())
		require.ErrorIs(t, err, client.ErrUnavailable, "two of four are no majority")
	})
}

func TestStatusTellsStaleness(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		settle(t, replication.StalenessWindow)
		c.Isolate("us")
		settle(t, 10*time.Second)
		s, err := c.Service("eu").Status(t.Context())
		require.NoError(t, err)
		for _, r := range s.Regions {
			require.True(t, r.StalenessKnown, r.Name)
			switch r.Name {
			case "eu":
				require.Zero(t, r.Staleness+r.StalenessP99)
			case "us":
				require.Greater(t, r.Staleness, 10*time.Second)
				require.Greater(t, r.StalenessP99, 8*time.Second)
			case "ap":
				require.Less(t, r.Staleness, 300*time.Millisecond)
				require.Less(t, r.StalenessP99, 400*time.Millisecond)
				require.Greater(t, r.StalenessP99, roundTrip)
			}
		}
		for _, l := range s.Levels {
			if l.Level == kv.LevelBounded {
				require.Contains(t, l.Why, "region us")
			}
		}
	})
}

func TestNothingIsMeasuredForWhoDoesNotAsk(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		resp, err := c.Service("eu").Do(t.Context(), kv.Request{Queries: []kv.Query{{Object: kv.Object{Bucket: "b", Key: "k", Type: client.TypeCounter}}}})
		require.NoError(t, err)
		require.Empty(t, resp.Receipt.Staleness)
		require.Zero(t, resp.Receipt.Paid)
		require.Equal(t, "causal", fmt.Sprint(resp.Receipt.Level))
	})
}
