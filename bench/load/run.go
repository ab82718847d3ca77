package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
)

// failurePause keeps a caller whose operation failed from spinning.
const failurePause = 10 * time.Millisecond

// Run drives db as c says, and returns what it measured. Failed operations are counted, not
// returned, unless not one succeeded. When ctx ends, the run ends early with what it has.
func Run(ctx context.Context, db *client.DB, c Config) (*Report, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Warmup > 0 {
		if warm := newRun(db, c).measure(ctx, c.Warmup); warm.Done() == 0 && warm.First != nil {
			return nil, fmt.Errorf("load: every operation of the warm-up failed: %w", warm.First)
		}
	}
	report := newRun(db, c).measure(ctx, c.Duration)
	if report.Done() == 0 {
		if report.First == nil {
			return nil, kv.Errorf(kv.KindDeadline, "load: the run ended before its first operation: %w", context.Cause(ctx))
		}
		return nil, fmt.Errorf("load: every operation failed: %w", report.First)
	}
	return report, nil
}

// run is one measurement.
type run struct {
	config Config
	bucket client.Bucket
	next   atomic.Int64 // number of the next operation that is due (open loop)
	begun  time.Time
	end    time.Time
}

func newRun(db *client.DB, c Config) *run { return &run{config: c, bucket: db.Bucket(c.Bucket)} }

// measure runs all callers for d.
func (r *run) measure(ctx context.Context, d time.Duration) *Report {
	r.begun = time.Now()
	r.end = r.begun.Add(d)
	callers := make([]*caller, r.config.Concurrency)
	var wg sync.WaitGroup
	for i := range callers {
		callers[i] = newCaller(r, i)
		wg.Go(func() { callers[i].work(ctx) })
	}
	wg.Wait()
	report := &Report{Config: r.config, Elapsed: time.Since(r.begun)}
	for _, c := range callers {
		report.merge(&c.report)
	}
	return report
}

// caller is one goroutine's share of a run.
type caller struct {
	run    *run
	random *rand.Rand
	report Report
	value  []byte
	reads  int
}

func newCaller(r *run, i int) *caller {
	return &caller{run: r, random: rand.New(rand.NewPCG(r.config.Seed, uint64(i))), value: make([]byte, r.config.ValueSize)}
}

func (c *caller) work(ctx context.Context) {
	for {
		due, ok := c.turn(ctx)
		if !ok {
			return
		}
		k := c.run.config.Mix.pick(c.random.IntN(c.run.config.Mix.total()))
		err := c.do(ctx, k)
		if err != nil && ctx.Err() != nil {
			c.report.fail(k, err)
			return
		}
		if err != nil {
			c.report.fail(k, err)
			pause(ctx, failurePause)
			continue
		}
		c.report.Kinds[k].Latency.Record(time.Since(due))
	}
}

// turn waits until this caller's next operation is due, and says when that was; false: the run is
// over.
func (c *caller) turn(ctx context.Context) (time.Time, bool) {
	now := time.Now()
	if c.run.config.Rate == 0 {
		return now, now.Before(c.run.end) && ctx.Err() == nil
	}
	n := c.run.next.Add(1) - 1
	due := c.run.begun.Add(time.Duration(float64(n) / c.run.config.Rate * float64(time.Second)))
	if !due.Before(c.run.end) {
		return due, false
	}
	pause(ctx, due.Sub(now))
	return due, ctx.Err() == nil
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (c *caller) do(ctx context.Context, k Kind) error {
	ctx, cancel := context.WithTimeout(ctx, c.run.config.Timeout)
	defer cancel()
	key := c.key()
	durability := client.WithDurability(c.run.config.Durability)
	switch k {
	case CounterAdd:
		return c.run.bucket.Counter(key).Add(ctx, 1, durability)
	case RegisterSet:
		c.fill()
		return c.run.bucket.Register(key).Set(ctx, c.value, durability)
	case SetAdd:
		return c.run.bucket.Set(key).Add(ctx, c.element(), durability)
	}
	return c.read(ctx, key)
}

// read reads what the mix writes: of its types one after the other, or counters when it only reads.
func (c *caller) read(ctx context.Context, key string) error {
	level := client.AtLevel(c.run.config.Level)
	for range kinds {
		k := Kind(c.reads % int(Read))
		c.reads++
		if c.run.config.Mix[k] == 0 {
			continue
		}
		switch k {
		case RegisterSet:
			_, err := c.run.bucket.Register(key).Get(ctx, level)
			return err
		case SetAdd:
			_, err := c.run.bucket.Set(key).Contains(ctx, c.element(), level)
			return err
		}
		break
	}
	_, err := c.run.bucket.Counter(key).Get(ctx, level)
	return err
}

func (c *caller) key() string {
	return fmt.Sprintf("%0*d", c.run.config.KeySize, c.random.IntN(c.run.config.Keys))
}

func (c *caller) element() string {
	return fmt.Sprintf("%0*d", max(c.run.config.ValueSize, MinKeySize), c.random.IntN(c.run.config.Elements))
}

// fill draws a value that does not compress.
func (c *caller) fill() {
	for i := range c.value {
		c.value[i] = byte(c.random.Uint32())
	}
}
