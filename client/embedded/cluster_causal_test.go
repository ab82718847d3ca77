package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
)

// prescriptions writes prescriptions and then the pointer to the newest in one region, until it
// is over.
func prescriptions(ctx context.Context, db *client.DB, region string, over *atomic.Bool) (err error) {
	s := db.Session()
	for n := 1; err == nil && !over.Load(); n++ {
		if err = s.Register(fmt.Sprintf("prescription/%s/%d", region, n)).SetString(ctx, strconv.Itoa(n)); err != nil {
			break
		}
		if err = s.Register("pointer/"+region).SetString(ctx, strconv.Itoa(n)); err != nil {
			break
		}
	}
	return err
}

// follow reads a pointer and then, at the same snapshot, the prescription that it names. It returns
// the pointer.
func follow(ctx context.Context, db *client.DB, writer string) (n int, err error) {
	err = db.View(ctx, func(tx *client.Tx) error {
		v, err := tx.Register("pointer/" + writer).GetString(ctx)
		if err != nil || v == "" {
			return err
		}
		if n, err = strconv.Atoi(v); err != nil {
			return err
		}
		there, err := tx.Register(fmt.Sprintf("prescription/%s/%s", writer, v)).GetString(ctx)
		if err == nil && there != v {
			return fmt.Errorf("the pointer names prescription %s, which holds %q", v, there)
		}
		return err
	})
	return n, err
}

// TestPointerIsNeverSeenWithoutItsPrescription has every region write while links are cut and healed,
// and every region follow the pointers of all.
func TestPointerIsNeverSeenWithoutItsPrescription(t *testing.T) {
	_, random := seeded(t)
	c := cluster(t, ClusterOptions{})
	ctx, over := within(t), atomic.Bool{}
	var done sync.WaitGroup
	for _, name := range c.Regions() {
		done.Go(func() {
			if err := prescriptions(ctx, c.DB(name), name, &over); err != nil {
				t.Error(err)
			}
		})
	}
	for range 30 * *roundsFlag {
		pair := random.Perm(3)
		a, b := c.Regions()[pair[0]], c.Regions()[pair[1]]
		if random.IntN(2) == 0 {
			c.Cut(a, b)
		} else {
			c.Heal(a, b)
		}
		for range 10 {
			for _, reader := range c.Regions() {
				for _, writer := range c.Regions() {
					_, err := follow(ctx, c.DB(reader), writer)
					require.NoError(t, err)
				}
			}
		}
	}
	over.Store(true)
	done.Wait()
	for _, name := range c.Regions() {
		c.Rejoin(name)
	}
	converge(t, c)
}

// TestCausalChainThroughThreeRegions: what us writes after it saw eu's write is seen in ap only
// with eu's write, though eu's link to ap is cut and us's is not.
func TestCausalChainThroughThreeRegions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{})
		ctx := within(t)
		c.Cut("eu", "ap")
		for i := range 20 {
			key := strconv.Itoa(i)
			eu := c.DB("eu").Session()
			require.NoError(t, eu.Register("a"+key).SetString(ctx, "prescription"))
			us := c.DB("us").Resume(eu.Token())
			require.NoError(t, us.Register("b"+key).SetString(ctx, "pointer"))
			await(t, "ap sees the pointer", func() string {
				values, err := c.DB("ap").Do(ctx, nil, []client.Query{
					{Object: c.DB("ap").Register("a" + key).Object()}, {Object: c.DB("ap").Register("b" + key).Object()},
				})
				require.NoError(t, err)
				if values[1].Present {
					require.True(t, values[0].Present, "the pointer without the prescription")
					return ""
				}
				return "nothing there"
			})
		}
	})
}

// TestWritesReachARegionThroughAThird cuts one link and expects the third region to relay.
func TestWritesReachARegionThroughAThird(t *testing.T) {
	for _, cut := range [][2]string{{"eu", "us"}, {"us", "ap"}, {"ap", "eu"}} {
		t.Run(cut[0]+"-"+cut[1], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := cluster(t, ClusterOptions{})
				require.NoError(t, c.DB(cut[0]).Counter("n").Add(within(t), 1))
				converge(t, c)
				c.Cut(cut[0], cut[1])
				for i, from := range cut {
					s := c.DB(from).Session()
					require.NoError(t, s.Counter("n").Add(within(t), 1))
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					n, err := c.DB(cut[1-i]).Resume(s.Token()).Counter("n").Get(ctx)
					cancel()
					require.NoError(t, err)
					require.Equal(t, int64(2+i), n)
				}
			})
		})
	}
}

// moveMoney makes random transfers between accounts, until it is over.
func moveMoney(ctx context.Context, db *client.DB, seed uint64, accounts int, over *atomic.Bool) error {
	random := rand.New(rand.NewPCG(seed, 1))
	for !over.Load() {
		from, to, n := random.IntN(accounts), random.IntN(accounts), random.Int64N(100)
		err := db.Update(ctx, func(tx *client.Tx) error {
			if random.IntN(2) == 0 { // with reads it is interactive
				if _, err := tx.Counter(account(from)).Get(ctx); err != nil {
					return err
				}
			}
			if err := tx.Counter(account(from)).Add(ctx, -n); err != nil {
				return err
			}
			return tx.Counter(account(to)).Add(ctx, n)
		})
		if err != nil && !down(err) {
			return err
		}
	}
	return nil
}

func account(i int) string { return fmt.Sprintf("account/%d", i) }

// sums reads all accounts at one snapshot.
func sums(ctx context.Context, db *client.DB, accounts int) (sum int64, err error) {
	queries := make([]client.Query, accounts)
	for i := range queries {
		queries[i].Object = db.Counter(account(i)).Object()
	}
	values, err := db.Do(ctx, nil, queries)
	for _, v := range values {
		sum += v.Int
	}
	return sum, err
}

// TestTransfersAreSeenWholeEverywhere has every region transfer between the same accounts while links
// are cut and regions crash: any snapshot sums to what was paid in.
func TestTransfersAreSeenWholeEverywhere(t *testing.T) {
	const accounts, total = 12, int64(1200)
	seed, random := seeded(t)
	c := cluster(t, ClusterOptions{Seed: seed})
	ctx, over := within(t), atomic.Bool{}
	require.NoError(t, c.DB("eu").Update(ctx, func(tx *client.Tx) error {
		for i := range accounts {
			if err := tx.Counter(account(i)).Add(ctx, total/accounts); err != nil {
				return err
			}
		}
		return nil
	}))
	converge(t, c)
	everywhereOnDisk(t, c)
	var done sync.WaitGroup
	for i, name := range c.Regions() {
		done.Go(func() {
			if err := moveMoney(ctx, c.DB(name), seed+uint64(i), accounts, &over); err != nil {
				t.Error(err)
			}
		})
	}
	for range 10 * *roundsFlag {
		name := c.Regions()[random.IntN(3)]
		switch random.IntN(4) {
		case 0:
			c.Isolate(name)
		case 1:
			c.Rejoin(name)
		case 2:
			c.Crash(name)
			restart(t, c, name)
		}
		for range 50 {
			for _, reader := range c.Regions() {
				sum, err := sums(ctx, c.DB(reader), accounts)
				require.NoError(t, err)
				require.Equal(t, total, sum, "in %s", reader)
			}
		}
	}
	over.Store(true)
	done.Wait()
	for _, name := range c.Regions() {
		c.Rejoin(name)
	}
	converge(t, c)
}
