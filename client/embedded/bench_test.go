package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
)

// BenchmarkAdd is a one-shot add to one of 10,000 counters. The bench package compares it with bare
// Pebble.
func BenchmarkAdd(b *testing.B) {
	for _, run := range []struct {
		name    string
		callers int
		options []client.CallOption
	}{{"applied", 8, []client.CallOption{client.Applied()}}, {"local", 64, nil}, {"local", 512, nil}} {
		b.Run(fmt.Sprintf("%s/%d", run.name, run.callers), func(b *testing.B) {
			db, err := Open(b.Context(), b.TempDir())
			require.NoError(b, err)
			defer func() { require.NoError(b, db.Close()) }()
			counters := make([]client.Counter, 10_000)
			for i := range counters {
				counters[i] = db.Counter(fmt.Sprintf("counter-%012d", i))
			}
			var seed atomic.Uint64
			b.SetParallelism(run.callers / 2)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				r := rand.New(rand.NewPCG(seed.Add(1), 0))
				for pb.Next() {
					if err := counters[r.IntN(len(counters))].Add(context.Background(), 1, run.options...); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkGet reads one of 1,000 counters that the cache holds.
func BenchmarkGet(b *testing.B) {
	db, err := Open(b.Context(), b.TempDir())
	require.NoError(b, err)
	defer func() { require.NoError(b, db.Close()) }()
	counters := make([]client.Counter, 1000)
	for i := range counters {
		counters[i] = db.Counter(fmt.Sprintf("counter-%012d", i))
		require.NoError(b, counters[i].Add(b.Context(), 1, client.Applied()))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if _, err := counters[i%len(counters)].Get(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
