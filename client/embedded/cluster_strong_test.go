package embedded

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
)

// addStrong adds to a register of a decimal by a strong transaction that reads it.
func addStrong(ctx context.Context, db *client.DB, key string, n int) error {
	return db.Update(ctx, func(tx *client.Tx) error {
		v, err := tx.Register(key).Get(ctx)
		if err != nil {
			return err
		}
		was, _ := strconv.Atoi(string(v))
		return tx.Register(key).Set(ctx, []byte(strconv.Itoa(was+n)))
	}, client.Strong())
}

func TestStrongTransactionsOfAllRegionsAreOneAfterTheOther(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		ctx := soon(t, time.Hour)
		var all sync.WaitGroup
		for _, r := range c.Regions() {
			all.Go(func() {
				for range 20 {
					if err := addStrong(ctx, c.DB(r), "n", 1); err != nil {
						t.Errorf("%s: %v", r, err)
					}
				}
			})
		}
		all.Wait()
		for _, r := range c.Regions() {
			v, err := c.DB(r).Register("n").Get(ctx, client.Strong())
			require.NoError(t, err)
			require.Equal(t, "60", string(v), r)
		}
	})
}

// What was acknowledged in one region no closure in another one decides without, also one that ends with an error.
func TestErrorsOfStrongClosuresAreOfTheNewest(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		ctx := soon(t, time.Hour)
		regions := c.Regions()
		for i := range 30 {
			key := strconv.Itoa(i)
			require.NoError(t, c.DB(regions[0]).Register(key).SetString(ctx, "there", client.Strong()))
			errNone := errors.New("there is none")
			require.NoError(t, c.DB(regions[2]).Update(ctx, func(tx *client.Tx) error {
				v, err := tx.Register(key).Get(ctx)
				if err == nil && len(v) == 0 {
					return errNone
				}
				return err
			}, client.Strong()))
		}
	})
}

// strongIn is how long a strong transaction takes to be answered in a region, from now on, if it is tried until
// it is.
func strongIn(t *testing.T, c *Cluster, region string) time.Duration {
	t.Helper()
	ctx := soon(t, time.Minute)
	return took(func() {
		for {
			try, cancel := context.WithTimeout(ctx, time.Second)
			err := addStrong(try, c.DB(region), "tried", 1)
			cancel()
			if err == nil {
				return
			}
			require.NoError(t, ctx.Err(), "%s: %v", region, err)
		}
	})
}

// In the region of the leader a commit costs one round trip to the nearest majority, elsewhere one more to the
// leader; so does a read.
func TestStrongTransactionsCostRoundTrips(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		settle(t, 5*time.Second)
		ctx := soon(t, time.Minute)
		quick := 0
		for _, name := range c.Regions() {
			for _, call := range []func() error{
				func() error { return c.DB(name).Register("k").SetString(ctx, name, client.Strong()) },
				func() error { _, err := c.DB(name).Register("k").Get(ctx, client.Strong()); return err },
			} {
				trips := float64(took(func() { require.NoError(t, call()) })) / float64(roundTrip)
				require.InDelta(t, 1.5, trips, 0.6, "1 or 2 round trips in %s", name)
				if trips < 1.5 {
					quick++
				}
			}
		}
		require.Equal(t, 2, quick, "the leader's region alone needs one")
	})
}

func TestStrongServiceIsBackWhenAnyRegionIsLost(t *testing.T) {
	for _, lost := range []string{"eu", "us", "ap"} {
		t.Run(lost, func(t *testing.T) {
			onPaper(t, func(t *testing.T, c *Cluster) {
				strongIn(t, c, lost)
				c.Isolate(lost)
				for _, name := range c.Regions() {
					if name != lost {
						require.Less(t, strongIn(t, c, name), 5*time.Second, name)
					}
				}
				err := addStrong(soon(t, 10*time.Second), c.DB(lost), "tried", 1)
				require.Error(t, err, "a minority decides nothing")
				require.Contains(t, []kv.Kind{kv.KindUnavailable, kv.KindDeadline}, kv.KindOf(err), "%v", err)
				_, err = c.DB(lost).Register("tried").Get(soon(t, 10*time.Second), client.Strong())
				require.ErrorIs(t, err, kv.ErrUnavailable)
				require.Less(t, took(func() {
					require.NoError(t, c.DB(lost).Counter("n").Add(soon(t, time.Second), 1), "causal calls go on")
				}), roundTrip)
				c.Rejoin(lost)
				require.Less(t, strongIn(t, c, lost), 10*time.Second)
			})
		})
	}
}

func TestStrongCommitsSurviveCrashesOfAll(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		for round := range 3 {
			for _, name := range c.Regions() {
				require.NoError(t, addStrong(soon(t, time.Minute), c.DB(name), "tried", 1))
			}
			for _, name := range c.Regions() {
				c.Crash(name)
			}
			for _, name := range c.Regions() {
				require.NoError(t, c.Restart(soon(t, time.Minute), name))
			}
			require.NoError(t, addStrong(soon(t, time.Minute), c.DB("us"), "tried", 1))
			v, err := c.DB("ap").Register("tried").GetString(soon(t, time.Minute), client.Strong())
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(4*(round+1)), v)
		}
	})
}

// Whoever sees a strong commit sees what it had seen, and a token carries it to other regions.
func TestStrongCommitsAreInCausalOrder(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		ctx := soon(t, time.Minute)
		for i := range 5 {
			want := strconv.Itoa(i)
			eu := c.DB("eu").Session()
			require.NoError(t, eu.Register("prescription").SetString(ctx, want))
			require.NoError(t, eu.Register("pointer").SetString(ctx, want, client.Strong()))
			ap := c.DB("ap").Resume(eu.Token())
			v, err := ap.Register("pointer").GetString(ctx)
			require.NoError(t, err)
			require.Equal(t, want, v)
			v, err = ap.Register("prescription").GetString(ctx)
			require.NoError(t, err)
			require.Equal(t, want, v)
			us := c.DB("us").Session()
			v, err = us.Register("pointer").GetString(ctx, client.Strong())
			require.NoError(t, err)
			require.Equal(t, want, v)
			v, err = us.Register("prescription").GetString(ctx, client.Eventual())
			require.NoError(t, err)
			require.Equal(t, want, v)
		}
	})
}

// What a strong transaction that may write has read is judged at its end, also if it wrote nothing.
func TestAStrongTransactionThatOnlyReadIsJudged(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		ctx := soon(t, time.Minute)
		require.NoError(t, c.DB("eu").Register("k").SetString(ctx, "old", client.Strong()))
		settle(t, time.Second)
		runs, got := 0, ""
		require.NoError(t, c.DB("ap").Update(ctx, func(tx *client.Tx) (err error) {
			if got, err = tx.Register("k").GetString(ctx); err != nil {
				return err
			}
			if runs++; runs == 1 {
				require.Equal(t, "old", got)
				return c.DB("us").Register("k").SetString(ctx, "new", client.Strong())
			}
			return nil
		}, client.Strong()))
		require.Equal(t, 2, runs)
		require.Equal(t, "new", got)
	})
}
