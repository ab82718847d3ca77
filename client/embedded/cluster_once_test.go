package embedded

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/clock"
)

// operationOnce is one operation with an id, as a client carries it out that does not give up.
type operationOnce struct {
	c      *Cluster
	region string
	key    string
	id     client.OpID
	lane   clock.Lane
	begun  time.Time
	tries  int
}

// try sends the operation once, as a first try or a retry.
func (o *operationOnce) try(ctx context.Context, incarnation uint64) error {
	a := client.Attempt{ID: o.id, Incarnation: incarnation}
	if o.tries > 0 {
		a = client.Attempt{ID: o.id, Retry: true, Age: time.Since(o.begun), Lane: o.lane}
	}
	o.tries++
	return o.c.DB(o.region).Counter(o.key).Add(ctx, 1, client.WithAttempt(a))
}

// TestRetryAfterACrashChangesNothingTwice loses the answer of every operation: its region crashes
// before anybody reads it.
func TestRetryAfterACrashChangesNothingTwice(t *testing.T) {
	c := cluster(t, ClusterOptions{})
	for range 5 {
		before := status(t, c, "us")
		o := operationOnce{c: c, region: "us", key: "n", id: client.NewOpID(), lane: before.Lane, begun: time.Now()}
		n := counter(t, c, "us", "n")
		require.NoError(t, o.try(within(t), before.Incarnation))
		c.Crash("us")
		restart(t, c, "us")
		for range 3 {
			require.NoError(t, o.try(within(t), 0))
			require.Equal(t, n+1, counter(t, c, "us", "n"))
		}
		a, err := c.DB("us").Outcome(within(t), o.id, client.WithAttempt(client.Attempt{
			ID: o.id, Retry: true, Age: time.Since(o.begun), Lane: o.lane,
		}))
		require.NoError(t, err)
		require.Equal(t, client.OutcomeApplied, a.Outcome)
	}
	converge(t, c)
	require.Equal(t, int64(5), counter(t, c, "eu", "n"))
}

// TestOperationsAreAppliedOnceWhileTheirRegionCrashes has clients insist on every operation while
// the region crashes under them, at any moment.
func TestOperationsAreAppliedOnceWhileTheirRegionCrashes(t *testing.T) {
	seed, random := seeded(t)
	c := cluster(t, ClusterOptions{Regions: []string{"eu", "us"}, Seed: seed})
	const clients = 8
	var over atomic.Bool
	var done sync.WaitGroup
	var made, retried atomic.Int64
	for i := range clients {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		done.Go(func() {
			for !over.Load() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				tries, err := insist(ctx, c, random)
				cancel()
				if err != nil {
					t.Error(err)
					return
				}
				made.Add(1)
				retried.Add(int64(tries - 1))
			}
		})
	}
	for range 8 * *roundsFlag {
		target := made.Load() + random.Int64N(100)
		await(t, "some operations are made", func() string {
			if t.Failed() || made.Load() >= target {
				return ""
			}
			return "too few"
		})
		c.Crash("eu")
		restart(t, c, "eu")
	}
	over.Store(true)
	done.Wait()
	converge(t, c)
	t.Logf("%d operations, %d tries more than that", made.Load(), retried.Load())
	require.Positive(t, retried.Load(), "nothing was retried")
	for _, r := range c.Regions() {
		require.Equal(t, made.Load(), counter(t, c, r, "n"))
	}
}

// insist carries out one operation, whatever happens to its region, and returns the number of tries.
func insist(ctx context.Context, c *Cluster, random *rand.Rand) (int, error) {
	var s client.Status
	for {
		err := up(ctx, c, "eu")
		if err == nil {
			s, err = c.DB("eu").Status(ctx)
		}
		if err == nil {
			break
		}
		if !down(err) {
			return 0, err
		}
	}
	o := operationOnce{c: c, region: "eu", key: "n", id: client.NewOpID(), lane: s.Lane, begun: time.Now()}
	for {
		if err := up(ctx, c, "eu"); err != nil {
			return o.tries, err
		}
		err := o.try(ctx, s.Incarnation)
		if err == nil && random.IntN(4) > 0 || err != nil && !down(err) && o.tries > 1 || ctx.Err() != nil {
			return o.tries, err
		}
		// Else the answer counts as lost, or there was none.
	}
}
