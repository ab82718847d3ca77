package embedded

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

func drop(t *testing.T, c *Cluster, region, bucket string) client.DroppedBucket {
	t.Helper()
	d, err := c.DB(region).DropBucket(soon(t, time.Minute), client.DropRequest{Bucket: kv.Bucket(bucket), WithData: true})
	require.NoError(t, err)
	return d
}

func bucketsOf(t *testing.T, c *Cluster, region string) (names []string) {
	t.Helper()
	for name, err := range c.DB(region).Buckets(soon(t, time.Minute)) {
		require.NoError(t, err)
		names = append(names, name)
	}
	return names
}

// leavesIn counts what lies on a region's disk of a bucket, whatever its generation.
func leavesIn(t *testing.T, c *Cluster, region string, o client.Object) (n int) {
	t.Helper()
	onDisk(t, c, region, func(s *storage.Store) {
		for generation := range uint32(8) {
			require.NoError(t, s.Scan(t.Context(), o, generation, nil, nil, func([]byte, []byte) (bool, error) { n++; return true, nil }))
		}
	})
	return n
}

// Who has the token of a drop, or asks at level strong, finds the bucket empty in any region; who sees the drop at all
// sees what its session had seen before; and the space comes back on every disk.
func TestADroppedBucketIsEmptyInAllRegions(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		ctx := soon(t, 5*time.Minute)
		for _, r := range c.Regions() {
			require.NoError(t, c.DB(r).Bucket("old").Set("s").Add(ctx, r))
		}
		settle(t, time.Second)
		require.EqualValues(t, 3, len(membersIn(t, c, "ap", "old")))
		_, err := c.DB("us").DropBucket(ctx, client.DropRequest{Bucket: "old"})
		require.ErrorIs(t, err, client.ErrInvalid)
		require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))

		s := c.DB("us").Session()
		require.NoError(t, s.Bucket("new").Set("s").Add(ctx, "moved"))
		d, err := s.DropBucket(ctx, client.DropRequest{Bucket: "old", WithData: true})
		require.NoError(t, err)
		require.EqualValues(t, 1, d.Generation)
		require.Empty(t, membersIn(t, c, "ap", "old", client.WithToken(d.Receipt.Token)))
		require.Len(t, membersIn(t, c, "ap", "new"), 1, "who sees the drop sees what came before it")
		for _, r := range c.Regions() {
			require.Empty(t, membersIn(t, c, r, "old", client.Strong()))
		}
		settle(t, time.Second)
		for _, r := range c.Regions() {
			require.Empty(t, membersIn(t, c, r, "old"))
			require.Equal(t, []string{"new"}, bucketsOf(t, c, r))
		}
		_, err = c.DB("eu").DropBucket(ctx, client.DropRequest{Bucket: "old", WithData: true})
		require.ErrorIs(t, err, client.ErrNotFound)

		_, err = c.DB("eu").CreateBucket(ctx, client.BucketRules{Name: "old", Types: []client.Type{client.TypeCounter}})
		require.NoError(t, err)
		require.NoError(t, c.DB("eu").Bucket("old").Counter("n").Add(ctx, 4))
		require.ErrorIs(t, c.DB("eu").Bucket("old").Set("s").Add(ctx, "x"), client.ErrInvalid)
		settle(t, time.Minute)
		converge(t, c)
		for _, r := range c.Regions() {
			require.EqualValues(t, 4, counterIn(t, c, r, "old"))
			require.Zero(t, leavesIn(t, c, r, client.Object{Bucket: "old", Key: "s", Type: client.TypeSetAW}), r)
			require.EqualValues(t, 1, pending(t, c, r, "old").Generation)
		}
		require.EqualValues(t, 2, drop(t, c, "ap", "old").Generation, "its rules go too")
		list, err := c.DB("ap").BucketRules(ctx)
		require.NoError(t, err)
		require.Empty(t, list)
	})
}

func membersIn(t *testing.T, c *Cluster, region, bucket string, opts ...client.CallOption) []string {
	t.Helper()
	list, err := c.DB(region).Bucket(bucket).Set("s").Members(soon(t, time.Minute), opts...)
	require.NoError(t, err)
	return list
}

// A reader in another region never sees a bucket dropped without what the session that dropped it had put elsewhere
// before, though the drop comes by the raft group and the write on its own way.
func TestADropComesAfterWhatItsSessionHasSeen(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		require.NoError(t, c.DB("eu").Bucket("old").Set("s").Add(soon(t, time.Minute), "x"))
		settle(t, time.Second)
		c.Cut("us", "ap")
		dropped := make(chan error, 1)
		go func() {
			s := c.DB("us").Session()
			err := s.Bucket("new").Set("s").Add(t.Context(), "x")
			if err == nil {
				_, err = s.DropBucket(t.Context(), client.DropRequest{Bucket: "old", WithData: true})
			}
			dropped <- err
		}()
		for seen := false; !seen; {
			require.NoError(t, c.DB("ap").View(soon(t, time.Minute), func(tx *client.Tx) error {
				before, err := tx.Bucket("old").Set("s").Members(t.Context())
				if err != nil {
					return err
				}
				after, err := tx.Bucket("new").Set("s").Members(t.Context())
				require.NotEmpty(t, append(before, after...), "the drop alone")
				seen = len(before) == 0
				return err
			}))
			settle(t, time.Millisecond)
		}
		require.NoError(t, <-dropped)
	})
}

// A region that is cut off goes on with what it knows; what it writes to a bucket that the others have dropped is
// lost when it comes back, also from its own disk. Alone it can drop nothing.
func TestARegionThatIsCutOffHearsOfADropLater(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		ctx := soon(t, 10*time.Minute)
		require.NoError(t, c.DB("eu").Bucket("b").Set("s").Add(ctx, "before"))
		settle(t, time.Second)
		c.Isolate("ap")
		d := drop(t, c, "eu", "b")
		var after client.Receipt
		require.NoError(t, c.DB("us").Bucket("b").Set("s").Add(ctx, "after", client.WithToken(d.Receipt.Token), client.WithReceipt(&after)))
		require.NoError(t, c.DB("ap").Bucket("b").Set("s").Add(ctx, "lost"))
		require.Len(t, membersIn(t, c, "ap", "b"), 2, "it has not heard of the drop")
		has, err := c.DB("ap").Bucket("b").Set("s").Contains(ctx, "before")
		require.NoError(t, err)
		require.True(t, has)

		_, err = c.DB("ap").DropBucket(soon(t, 20*time.Second), client.DropRequest{Bucket: "b", WithData: true})
		require.Error(t, err, "a minority drops nothing")
		require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err), "%v", err)
		_, err = c.DB("ap").Bucket("b").Set("s").Members(soon(t, time.Second), client.WithToken(d.Receipt.Token))
		require.ErrorIs(t, err, client.ErrStale, "a token of the drop is waited for")

		c.Crash("ap")
		require.NoError(t, c.Restart(soon(t, time.Minute), "ap"))
		require.Len(t, membersIn(t, c, "ap", "b"), 2)
		c.Rejoin("ap")
		require.Len(t, membersIn(t, c, "ap", "b", client.WithToken(after.Token)), 1)
		settle(t, time.Minute)
		converge(t, c)
		for _, r := range c.Regions() {
			list := membersIn(t, c, r, "b")
			require.Len(t, list, 1, r)
			require.Equal(t, "after", list[0])
			require.Equal(t, 1, leavesIn(t, c, r, client.Object{Bucket: "b", Key: "s", Type: client.TypeSetAW}), "%s: the space is reclaimed", r)
		}
	})
}

// What was dropped stays dropped when all crash, when a region loses its disk, and in one that joins afterwards.
func TestADropSurvivesCrashesAndIsCopied(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		ctx := soon(t, 10*time.Minute)
		require.NoError(t, c.DB("eu").Bucket("b").Set("s").Add(ctx, "before"))
		settle(t, time.Second)
		first := drop(t, c, "us", "b")
		for _, r := range c.Regions() {
			c.Crash(r)
		}
		for _, r := range c.Regions() {
			require.NoError(t, c.Restart(soon(t, time.Minute), r))
		}
		for _, r := range c.Regions() {
			require.Empty(t, membersIn(t, c, r, "b", client.WithToken(first.Receipt.Token)), r)
		}
		require.NoError(t, c.DB("us").Bucket("b").Set("s").Add(ctx, "second"))
		settle(t, time.Second)
		require.EqualValues(t, 2, drop(t, c, "eu", "b").Generation)
		require.NoError(t, c.DB("eu").Bucket("b").Set("s").Add(ctx, "third"))
		settle(t, time.Second)

		require.NoError(t, c.Add(ctx, "sa"))
		require.Len(t, membersIn(t, c, "sa", "b"), 1)
		require.NoError(t, c.LoseDisk("us"))
		require.NoError(t, c.Restart(ctx, "us"))
		settle(t, time.Minute)
		converge(t, c)
		for _, r := range c.Regions() {
			require.Len(t, membersIn(t, c, r, "b"), 1, r)
		}
		for _, r := range c.Regions() {
			require.NoError(t, c.DB(r).Bucket("b").Set("s").Add(ctx, r, client.Strong()), "the certifier knows the generation")
		}
		require.EqualValues(t, 3, drop(t, c, "sa", "b").Generation)
		require.Empty(t, membersIn(t, c, "sa", "b"))
	})
}

// A transaction that read before a drop is begun again by its closure, at any level, and then sees the bucket as it is.
func TestAClosureThatMeetsADropBeginsAgain(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		ctx := soon(t, time.Minute)
		for _, level := range []client.CallOption{client.Causal(), client.Strong()} {
			require.NoError(t, c.DB("eu").Bucket("b").Set("s").Add(ctx, "before"))
			settle(t, time.Second)
			var saw []int
			err := c.DB("eu").Update(ctx, func(tx *client.Tx) error {
				list, err := tx.Bucket("b").Set("s").Members(ctx)
				if err != nil {
					return err
				}
				if saw = append(saw, len(list)); len(saw) == 1 {
					drop(t, c, "eu", "b")
				}
				return tx.Bucket("b").Set("s").Add(ctx, "by the closure")
			}, level)
			require.NoError(t, err)
			require.Equal(t, []int{1, 0}, saw)
			require.Len(t, membersIn(t, c, "eu", "b"), 1)
			drop(t, c, "eu", "b")
		}
	})
}

// Counters that are only written together are equal at every snapshot, before a drop and after it, in every region, also
// where it is cut off meanwhile; and in the end all regions show the same.
func TestDropsUnderLoadTearNoTransaction(t *testing.T) {
	onPaper(t, func(t *testing.T, c *Cluster) {
		ctx := soon(t, 10*time.Minute)
		one := client.Object{Bucket: "b", Key: "one", Type: client.TypeCounter}
		other := client.Object{Bucket: "b", Key: "other", Type: client.TypeCounter}
		both := []client.Op{{Object: one, Verb: kv.VerbIncrement, Int: 1}, {Object: other, Verb: kv.VerbIncrement, Int: 1}}
		read := func(region string) int64 {
			values, err := c.DB(region).Do(ctx, nil, []client.Query{{Object: one}, {Object: other}})
			require.NoError(t, err)
			require.Equal(t, values[0].Int, values[1].Int, region)
			return values[0].Int
		}
		var load sync.WaitGroup
		for _, region := range c.Regions() {
			load.Go(func() {
				for range 100 {
					_, err := c.DB(region).Do(ctx, both, nil)
					require.NoError(t, err)
					read(region)
					pause(10 * time.Millisecond)
				}
			})
		}
		for i := range 4 {
			pause(150 * time.Millisecond)
			if i == 1 {
				c.Isolate("ap")
			}
			_, err := c.DB("eu").Do(ctx, both, nil)
			require.NoError(t, err, "so that there is something to drop, however long an election took")
			require.EqualValues(t, i+1, drop(t, c, "eu", "b").Generation)
		}
		c.Rejoin("ap")
		load.Wait()
		_, err := c.DB("eu").Do(ctx, both, nil) // which knows of all drops
		require.NoError(t, err)
		settle(t, time.Minute)
		converge(t, c)
		left := read("eu")
		require.Less(t, left, int64(300), "most of what was written is gone")
		for _, region := range c.Regions() {
			require.Equal(t, left, read(region))
			require.Equal(t, 1, leavesIn(t, c, region, one), "%s: the space is reclaimed", region)
		}
	})
}
