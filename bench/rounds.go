package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// side measures one side of a figure once: a rate, a time or a size.
type side func(ctx context.Context) (float64, error)

// compare runs both sides in turn, once to warm up and then for the given number of rounds, and
// makes a figure of them. Odd rounds run in the other order, so that a drift of the machine favours
// neither.
func compare(ctx context.Context, rounds int, ours, limit side) (Figure, error) {
	var a, b, ratios []float64
	for i := range rounds + 1 {
		x, y, err := round(ctx, i%2 == 1, ours, limit)
		if err != nil {
			return Figure{}, err
		}
		if i == 0 {
			continue
		}
		a, b, ratios = append(a, x), append(b, y), append(ratios, x/y)
	}
	f := Figure{Ours: median(a), Limit: median(b), Ratio: median(ratios), Rounds: rounds}
	f.Low, f.High = ratios[0], ratios[len(ratios)-1] // median has sorted them
	return f, nil
}

func round(ctx context.Context, oursFirst bool, ours, limit side) (x, y float64, err error) {
	runtime.GC() // neither side pays for the other's garbage
	if oursFirst {
		if x, err = ours(ctx); err != nil {
			return 0, 0, fmt.Errorf("ours: %w", err)
		}
		runtime.GC()
	}
	if y, err = limit(ctx); err != nil {
		return 0, 0, fmt.Errorf("limit: %w", err)
	}
	if !oursFirst {
		runtime.GC()
		if x, err = ours(ctx); err != nil {
			return 0, 0, fmt.Errorf("ours: %w", err)
		}
	}
	return x, y, nil
}

// perSecond calls fn in a loop on n goroutines for d, and returns how often it succeeded in a second.
// The first failure ends it. random belongs to the goroutine.
func perSecond(ctx context.Context, n int, d time.Duration, fn func(ctx context.Context, random *rand.Rand) error) (float64, error) {
	var (
		stop  atomic.Bool
		done  atomic.Int64
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	timer := time.AfterFunc(d, func() { stop.Store(true) })
	defer timer.Stop()
	begun := time.Now()
	for i := range n {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			count := int64(0)
			for !stop.Load() {
				if err := fn(ctx, random); err != nil {
					once.Do(func() { first = err })
					stop.Store(true)
					break
				}
				count++
			}
			done.Add(count)
		})
	}
	wg.Wait()
	elapsed := time.Since(begun)
	if first == nil {
		first = ctx.Err()
	}
	return float64(done.Load()) / elapsed.Seconds(), first
}

// each calls fn for 0 to n-1 on as many goroutines as given, in no order. The first failure ends it.
func each(ctx context.Context, n, goroutines int, fn func(ctx context.Context, i int) error) error {
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for range min(goroutines, n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := fn(ctx, i); err != nil {
					once.Do(func() { first = err })
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	if first == nil {
		first = context.Cause(ctx)
	}
	return first
}
