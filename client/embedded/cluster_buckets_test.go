package embedded

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
)

// pending waits until just these regions have yet to act by a bucket's rules, as a region knows.
func pending(t *testing.T, c *Cluster, at, bucket string, want ...string) (rules client.DecidedRules) {
	t.Helper()
	require.Eventually(t, func() bool {
		list, err := c.DB(at).BucketRules(t.Context())
		require.NoError(t, err)
		for _, r := range list {
			if string(r.Name) == bucket {
				rules = r
				return len(r.Pending) == len(want) && (len(want) == 0 || want[0] == r.Pending[0])
			}
		}
		return false
	}, patience, time.Millisecond, "%s of %q at %s", want, bucket, at)
	return rules
}

// causally is what becomes of a write at level causal.
func causally(t *testing.T, c *Cluster, region, bucket string) error {
	t.Helper()
	return c.DB(region).Bucket(bucket).Counter("n").Add(within(t), 1, client.Causal())
}

func TestRulesOfBucketsHoldEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{})
		ctx := soon(t, patience)
		decided, err := c.DB("us").CreateBucket(ctx, client.BucketRules{Name: "accounts", Levels: []client.Level{client.LevelStrong}})
		require.NoError(t, err)
		require.NotZero(t, decided.Created)
		require.ErrorIs(t, causally(t, c, "us", "accounts"), client.ErrLevelRefused, "who answers acts by it")
		for _, r := range c.Regions() {
			pending(t, c, r, "accounts")
			err := causally(t, c, r, "accounts")
			require.ErrorIs(t, err, client.ErrLevelRefused, r)
			require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))
			require.NoError(t, c.DB(r).Bucket("accounts").Counter("n").Add(ctx, 1), "at the bucket's default")
			require.NoError(t, causally(t, c, r, "others"))
		}
		require.EqualValues(t, 3, counterIn(t, c, "ap", "accounts"))

		_, err = c.DB("eu").CreateBucket(ctx, client.BucketRules{Name: "accounts"})
		require.ErrorIs(t, err, client.ErrInvalid)
		_, err = c.DB("eu").AlterBucket(ctx, client.BucketRules{Name: "accounts"}, decided.Since+1)
		require.ErrorIs(t, err, client.ErrAborted, "made from rules that it does not have")
		_, err = c.DB("eu").AlterBucket(ctx, client.BucketRules{Name: "none"}, 0)
		require.ErrorIs(t, err, client.ErrNotFound)
		_, err = c.DB("eu").CreateBucket(ctx, client.BucketRules{Name: "theriac.mine"})
		require.ErrorIs(t, err, client.ErrInvalid)
		altered, err := c.DB("eu").AlterBucket(ctx, client.BucketRules{Name: "accounts"}, decided.Since)
		require.NoError(t, err)
		require.Equal(t, decided.Created, altered.Created)
		for _, r := range c.Regions() {
			pending(t, c, r, "accounts")
			require.NoError(t, causally(t, c, r, "accounts"))
		}
	})
}

func counterIn(t *testing.T, c *Cluster, region, bucket string) int64 {
	t.Helper()
	n, err := c.DB(region).Bucket(bucket).Counter("n").Get(within(t))
	require.NoError(t, err)
	return n
}

func TestARegionThatIsCutOffActsByTheRulesThatItKnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{})
		ctx := soon(t, patience)
		_, err := c.DB("eu").CreateBucket(ctx, client.BucketRules{Name: "counts", Types: []client.Type{client.TypeCounter}})
		require.NoError(t, err)
		pending(t, c, "ap", "counts")
		require.Eventually(t, func() bool { return status(t, c, "ap").Strong == "follower" }, patience, time.Millisecond)
		c.Isolate("ap")
		_, err = c.DB("eu").CreateBucket(ctx, client.BucketRules{Name: "accounts", Levels: []client.Level{client.LevelStrong}})
		require.NoError(t, err)
		pending(t, c, "eu", "accounts", "ap")
		require.NoError(t, causally(t, c, "ap", "accounts"), "it has not heard of it")

		_, err = c.DB("ap").CreateBucket(soon(t, 200*time.Millisecond), client.BucketRules{Name: "alone"})
		require.Error(t, err, "it reaches no majority")
		require.NotEqual(t, client.OutcomeApplied, client.OutcomeOf(err))
		require.Eventually(t, func() bool {
			_, err := c.DB("ap").CreateBucket(soon(t, 200*time.Millisecond), client.BucketRules{Name: "never"})
			require.Error(t, err)
			return errors.Is(err, client.ErrUnavailable) && client.OutcomeOf(err) == client.OutcomeNotApplied
		}, patience, time.Millisecond, "once it knows of no leader")

		c.Crash("ap")
		restart(t, c, "ap")
		err = c.DB("ap").Bucket("counts").Register("r").Set(within(t), nil)
		require.ErrorIs(t, err, client.ErrInvalid, "it acts by what it knew before")
		require.NoError(t, causally(t, c, "ap", "accounts"))

		c.Rejoin("ap")
		pending(t, c, "ap", "accounts")
		require.ErrorIs(t, causally(t, c, "ap", "accounts"), client.ErrLevelRefused)
		converge(t, c)
	})
}

// What a region acts by comes with the data that it copies: there may be no majority to ask.
func TestARegionThatCopiesItsDataCopiesTheRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{})
		ctx := soon(t, patience)
		_, err := c.DB("eu").CreateBucket(ctx, client.BucketRules{Name: "accounts", Levels: []client.Level{client.LevelStrong}})
		require.NoError(t, err)
		for _, r := range c.Regions() {
			pending(t, c, r, "accounts")
		}
		require.NoError(t, c.Add(ctx, "sa"))
		require.ErrorIs(t, causally(t, c, "sa", "accounts"), client.ErrLevelRefused, "from its first call on")
		pending(t, c, "sa", "accounts")

		require.NoError(t, c.LoseDisk("us"))
		require.NoError(t, c.Restart(ctx, "us"))
		_, err = c.DB("us").Bucket("accounts").Counter("n").Get(within(t), client.Causal())
		require.ErrorIs(t, err, client.ErrLevelRefused)
		writable(t, c, "us")
		pending(t, c, "us", "accounts")
	})
}
