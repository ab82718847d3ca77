package txn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// onDisk starts a region on a real disk.
func onDisk(b *testing.B) *Coordinator {
	store, err := storage.Open(storage.Config{Dir: b.TempDir()})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, store.Close()) })
	lane := clock.Lane{Region: 1}
	shell := newShell(b, lane, 0)
	c := New(Config{
		CommitterConfig: CommitterConfig{Store: store, Lane: lane, Wall: wall, Mono: func() time.Duration { return 0 }, Skew: 500 * time.Millisecond, Incarnation: 7},
		Snapshots:       shell, Cluster: testCluster, Region: "eu",
	})
	require.NoError(b, c.Start(b.Context(), 0))
	return c
}

// BenchmarkAdd is a one-shot add to one of 10,000 counters, without the client above it; bench measures
// both together, beside bare Pebble.
func BenchmarkAdd(b *testing.B) {
	for _, run := range []struct {
		durability kv.Durability
		callers    int
	}{{kv.DurabilityApplied, 8}, {kv.DurabilityLocal, 64}, {kv.DurabilityLocal, 512}} {
		b.Run(fmt.Sprintf("%s/%d", run.durability, run.callers), func(b *testing.B) {
			c := onDisk(b)
			keys := make([]kv.Key, 10_000)
			for i := range keys {
				keys[i] = kv.Key(fmt.Sprintf("counter-%012d", i))
			}
			var seed atomic.Uint64
			b.SetParallelism(run.callers / 2)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				r := rand.New(rand.NewPCG(seed.Add(1), 0))
				for pb.Next() {
					op := kv.Op{Object: kv.Object{Bucket: kv.DefaultBucket, Key: keys[r.IntN(len(keys))], Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: 1}
					_, err := c.Do(context.Background(), kv.Request{Options: kv.Options{Durability: run.durability}, Ops: []kv.Op{op}})
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
			stats := c.Stats()
			b.ReportMetric(float64(stats.Commits)/float64(stats.Groups), "commits/group")
		})
	}
}

// BenchmarkGet reads one of 1,000 counters that the cache holds.
func BenchmarkGet(b *testing.B) {
	c := onDisk(b)
	o := kv.Object{Bucket: kv.DefaultBucket, Key: "counter-000000000001", Type: crdt.Counter}
	_, err := c.Do(b.Context(), kv.Request{Ops: []kv.Op{{Object: o, Verb: kv.VerbIncrement, Int: 1}}})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Do(context.Background(), kv.Request{Queries: []kv.Query{{Object: o}}}); err != nil {
			b.Fatal(err)
		}
	}
}
