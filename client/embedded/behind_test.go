package embedded

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/node"
	"github.com/theriac-db/theriac/storage"
)

// lines collects the nodes' log lines.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// smallLogs starts a cluster whose regions, but for the last, drop all that a majority has.
func smallLogs(t *testing.T, regions ...string) (*Cluster, *lines) {
	t.Helper()
	log := &lines{}
	c := cluster(t, ClusterOptions{Regions: regions, Adjust: func(c *node.Config) {
		c.Log = log
		if c.Region != regions[len(regions)-1] {
			c.LogBytes, c.LogAge, c.LogLimit = 1, time.Nanosecond, 1
		}
	}})
	return c, log
}

// leaveBehind isolates a region, writes on both sides, and has the others drop their logs. It returns
// the token of a session that wrote in the region meanwhile.
func leaveBehind(t *testing.T, c *Cluster, away string) client.Token {
	t.Helper()
	write(t, c, away, "before", 10)
	converge(t, c)
	everywhereOnDisk(t, c)
	c.Isolate(away)
	for _, name := range c.Regions() {
		c.network.Node(name).Fail() // what is on the way does not arrive after the heal
	}
	others := c.besides(away)
	for _, other := range others {
		write(t, c, other, "there", 300)
	}
	require.NoError(t, c.DB(others[0]).Set("s").AddAll(within(t), []string{"x", "y"}))
	require.NoError(t, c.DB(away).Set("s").AddAll(within(t), []string{"z"}))
	write(t, c, away, "here", 200)
	s := c.DB(away).Session()
	require.NoError(t, s.Counter("here").Add(within(t), 1))
	for _, other := range others {
		for _, of := range others {
			dropped(t, c, other, of)
		}
	}
	for _, other := range others { // what is in their memory goes too
		require.NoError(t, c.Stop(within(t), other))
		restart(t, c, other)
	}
	return s.Token()
}

// dropped has a region drop the log of another's lane.
func dropped(t *testing.T, c *Cluster, region, of string) {
	t.Helper()
	lane := status(t, c, of).Lane
	await(t, region+" has dropped the log of "+of, func() string {
		c.region(region).node.TruncateLog(within(t))
		at := status(t, c, of).Exposed.At(lane.Region)
		missing := "no disk"
		onDisk(t, c, region, func(s *storage.Store) {
			missing = ""
			if stats := s.LogStats(lane, 0); stats.Truncated < at {
				missing = fmt.Sprintf("%+v", stats)
			}
		})
		return missing
	})
}

// whole checks that nothing of leaveBehind is lost.
func whole(t *testing.T, c *Cluster, away string, token client.Token) {
	t.Helper()
	writable(t, c, away)
	converge(t, c)
	for _, r := range c.Regions() {
		require.Equal(t, int64(10), counter(t, c, r, "before"))
		require.Equal(t, int64(201), counter(t, c, r, "here", client.WithToken(token)), "what it wrote while it was away")
		require.Equal(t, int64(300*len(c.besides(away))), counter(t, c, r, "there"))
		members, err := c.DB(r).Set("s").Members(within(t))
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"x", "y", "z"}, members)
	}
	for _, r := range c.Regions() {
		require.NoError(t, c.DB(r).Counter("after").Add(within(t), 1))
	}
	converge(t, c)
	require.Equal(t, int64(len(c.Regions())), counter(t, c, away, "after"))
}

func TestRegionThatFellBehindTakesItsDataAnewAndLosesNothing(t *testing.T) {
	t.Parallel()
	for _, away := range []string{"ap", "eu"} { // eu is the founder
		t.Run(away, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := &lines{}
				c := cluster(t, ClusterOptions{Adjust: func(c *node.Config) {
					c.Log = log
					if c.Region != away {
						c.LogBytes, c.LogAge, c.LogLimit = 1, time.Nanosecond, 1
					}
				}})
				token := leaveBehind(t, c, away)
				require.NotZero(t, log.count("it will copy all data anew"))
				before := status(t, c, away)
				c.Rejoin(away)
				await(t, "it has begun", func() string {
					if log.count("stopping to take all data anew") == 0 {
						return "it has not"
					}
					return ""
				})
				whole(t, c, away, token)
				require.Equal(t, 1, log.count("stopping to take all data anew"))
				after := status(t, c, away)
				require.Equal(t, before.Lane, after.Lane)
				require.Equal(t, before.Cluster, after.Cluster)
				require.NotEqual(t, before.Incarnation, after.Incarnation, "first tries of before are refused")
				onDisk(t, c, away, func(s *storage.Store) { require.Empty(t, s.Voids(), "it ended in order") })
			})
		})
	}
}

// TestClientsOfARegionThatFellBehindGetHonestAnswers has them read and write all the time.
func TestClientsOfARegionThatFellBehindGetHonestAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, log := smallLogs(t, "eu", "us", "ap")
		token := leaveBehind(t, c, "ap")
		var over atomic.Bool
		var done sync.WaitGroup
		var acked, open, refused atomic.Int64
		for range 4 {
			done.Go(func() {
				for s := c.DB("ap").Session(); !over.Load(); time.Sleep(time.Millisecond) { // time stands still while anybody works
					switch err := s.Counter("n").Add(t.Context(), 1); {
					case err == nil:
						acked.Add(1)
					case client.OutcomeOf(err) != client.OutcomeNotApplied:
						open.Add(1)
					case errors.Is(err, client.ErrReadOnly) || errors.Is(err, client.ErrUnavailable):
						refused.Add(1)
					default:
						t.Error(err)
						return
					}
				}
			})
			done.Go(func() {
				s, last := c.DB("ap").Session(), int64(0)
				for ; !over.Load(); time.Sleep(time.Millisecond) {
					n, err := s.Counter("n").Get(t.Context())
					switch {
					case err == nil && n < last:
						t.Errorf("%d after %d", n, last)
					case err == nil:
						last = n
					case !errors.Is(err, client.ErrUnavailable):
						t.Error(err)
						return
					}
				}
			})
		}
		c.Rejoin("ap")
		await(t, "it has begun", func() string {
			if log.count("stopping to take all data anew") == 0 {
				return "it has not"
			}
			return ""
		})
		writable(t, c, "ap")
		over.Store(true)
		done.Wait()
		t.Logf("acknowledged %d, open %d, refused %d", acked.Load(), open.Load(), refused.Load())
		require.NotZero(t, refused.Load())
		whole(t, c, "ap", token)
		n := counter(t, c, "us", "n")
		require.GreaterOrEqual(t, n, acked.Load())
		require.LessOrEqual(t, n, acked.Load()+open.Load())
	})
}

// TestOpenTransactionEndsWhenTheDataIsTakenAnew: it fails, and says so.
func TestOpenTransactionEndsWhenTheDataIsTakenAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, log := smallLogs(t, "eu", "us", "ap")
		token := leaveBehind(t, c, "ap")
		err := c.DB("ap").Update(within(t), func(tx *client.Tx) error {
			if log.count("stopping to take all data anew") > 0 {
				return tx.Counter("tried again").Add(within(t), 1)
			}
			if err := tx.Counter("lost").Add(within(t), 1); err != nil {
				return err
			}
			if _, err := tx.Counter("lost").Get(within(t)); err != nil { // it is open on the node from here on
				return err
			}
			c.Rejoin("ap")
			await(t, "it has begun", func() string {
				if log.count("stopping to take all data anew") == 0 {
					return "it has not"
				}
				return ""
			})
			writable(t, c, "ap")
			return nil
		})
		require.True(t, err == nil || client.OutcomeOf(err) == client.OutcomeNotApplied, "%v", err)
		whole(t, c, "ap", token)
		require.Zero(t, counter(t, c, "eu", "lost"))
	})
}

// TestRetryAfterTheDataWasTakenAnewChangesNothingTwice: the region's own log survives, so that what was
// done is found in it, be it shared with the others or not; also when it crashes half way.
func TestRetryAfterTheDataWasTakenAnewChangesNothingTwice(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"the first cut is lost", "half loaded", "loaded"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				at := stages()[name]
				if at == nil {
					at = stages()["noted, a cut at hand"]
				}
				c, s := staged(t, at)
				before := status(t, c, "ap")
				operation := func(key string) *operationOnce {
					o := &operationOnce{c: c, region: "ap", key: key, id: client.NewOpID(), lane: before.Lane, begun: time.Now()}
					require.NoError(t, o.try(within(t), before.Incarnation))
					return o
				}
				shared := operation("shared")
				token := leaveBehind(t, c, "ap")
				alone := operation("alone")
				undone := &operationOnce{c: c, region: "ap", key: "undone", id: client.NewOpID(), lane: before.Lane, begun: time.Now()}
				if name == "the first cut is lost" {
					s.armed.Store(true)
					close(s.let) // another one follows
					c.Rejoin("ap")
					<-s.hit
				} else {
					s.reach(t, c)
					c.Crash("ap")
					restart(t, c, "ap")
				}
				whole(t, c, "ap", token)
				require.ErrorIs(t, undone.try(within(t), before.Incarnation), client.ErrUnavailable, "a first try that was under way for long")
				for range 2 {
					for _, o := range []*operationOnce{shared, alone, undone} {
						require.NoError(t, o.try(within(t), 0))
						require.Equal(t, int64(1), counter(t, c, "ap", o.key), o.key)
						a, err := c.DB("ap").Outcome(within(t), o.id, client.WithAttempt(client.Attempt{
							ID: o.id, Retry: true, Age: time.Since(o.begun), Lane: o.lane,
						}))
						require.NoError(t, err)
						require.Equal(t, client.OutcomeApplied, a.Outcome, o.key)
					}
				}
				converge(t, c)
				for _, key := range []string{"shared", "alone", "undone"} {
					require.Equal(t, int64(1), counter(t, c, "us", key), key)
				}
			})
		})
	}
}

// TestRegionThatReachesOnlyOneOther: that one has all, and passes on what was shipped to it.
func TestRegionThatReachesOnlyOneOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, log := smallLogs(t, "eu", "us", "sa", "ap")
		token := leaveBehind(t, c, "ap")
		c.Heal("ap", "us")
		await(t, "it has begun", func() string {
			if log.count("stopping to take all data anew") == 0 {
				return "it has not"
			}
			return ""
		})
		writable(t, c, "ap")
		c.Rejoin("ap")
		whole(t, c, "ap", token)
	})
}
