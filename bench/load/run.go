package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

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

// What one transaction of Fill writes at most.
const (
	fillBatch = 1000      // objects
	fillBytes = 512 << 10 // of keys and values: a client hands that over in one round trip
)

// batch is how many objects one transaction of Fill writes.
func (c *Config) batch() int { return min(fillBatch, max(fillBytes/(c.KeySize+c.ValueSize), 1)) }

// Fill writes every key of the types that the mix touches once, counters with 1, registers with a
// value, sets with one element, so that reads find something. It does so on up to 8
// goroutines, in transactions of at most 1,000 objects and 512 KiB, each with an operation's time-out.
func Fill(ctx context.Context, db *client.DB, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	var (
		next  atomic.Int64
		group errgroup.Group
		r     = newRun(db, c)
	)
	for i := range min(c.Concurrency, 8) {
		group.Go(func() error {
			filler := newCaller(r, i)
			for {
				from := int(next.Add(int64(c.batch()))) - c.batch()
				if from >= c.Keys {
					return nil
				}
				if err := filler.fillKeys(ctx, db, from, min(from+c.batch(), c.Keys)); err != nil {
					next.Store(int64(c.Keys)) // the others stop too
					return fmt.Errorf("load: fill keys from %d on: %w", from, err)
				}
			}
		})
	}
	return group.Wait()
}

// fillKeys writes the keys from one number up to another, of each type that the mix touches.
func (c *caller) fillKeys(ctx context.Context, db *client.DB, from, to int) error {
	mix := c.run.config.Mix
	for k := range Read {
		if mix[k] == 0 && (k != CounterAdd || mix[Read] < mix.total()) {
			continue // reads alone read counters
		}
		if err := c.fillType(ctx, db, k, from, to); err != nil {
			return err
		}
	}
	return nil
}

// fillType writes the keys of one type in a transaction, which has an operation's time.
func (c *caller) fillType(ctx context.Context, db *client.DB, k Kind, from, to int) error {
	ctx, cancel := context.WithTimeout(ctx, c.run.config.Timeout)
	defer cancel()
	return db.Update(ctx, func(tx *client.Tx) error {
		for i := from; i < to; i++ {
			if err := c.write(ctx, tx.Bucket(c.run.config.Bucket), k, c.name(i)); err != nil {
				return err
			}
		}
		return nil
	}, client.Durable(c.run.config.Durability))
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
	counts := make([]tally, min(r.config.Concurrency, maxTallies))
	var wg sync.WaitGroup
	for i := range r.config.Concurrency {
		c := newCaller(r, i)
		c.counts = &counts[i%len(counts)]
		wg.Go(func() { c.work(ctx) })
	}
	wg.Wait()
	report := &Report{Config: r.config, Elapsed: time.Since(r.begun)}
	for i := range counts {
		report.merge(&counts[i].report)
	}
	return report
}

// maxTallies bounds the tallies of a run. Each takes 120 KiB, so one a caller would be 1.2 GiB at the
// highest concurrency; and 64 are enough that callers, who spend their time waiting, seldom meet.
const maxTallies = 64

// tally is what some of the callers count in.
type tally struct {
	mu     sync.Mutex
	report Report
}

func (t *tally) done(k Kind, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.Kinds[k].Latency.Record(took)
}

func (t *tally) fail(k Kind, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.fail(k, err)
}

// caller is one goroutine's share of a run.
type caller struct {
	run    *run
	random *rand.Rand
	counts *tally
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
			c.counts.fail(k, err)
			return
		}
		if err != nil {
			c.counts.fail(k, err)
			pause(ctx, failurePause)
			continue
		}
		c.counts.done(k, time.Since(due))
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
	key := c.name(c.random.IntN(c.run.config.Keys))
	if k == Read {
		return c.read(ctx, key)
	}
	return c.write(ctx, c.run.bucket, k, key, client.Durable(c.run.config.Durability))
}

func (c *caller) write(ctx context.Context, b client.Bucket, k Kind, key string, opts ...client.CallOption) error {
	switch k {
	case RegisterSet:
		c.fill()
		return b.Register(key).Set(ctx, c.value, opts...)
	case SetAdd:
		return b.Set(key).Add(ctx, c.element(), opts...)
	}
	return b.Counter(key).Add(ctx, 1, opts...)
}

// read reads what the mix writes: of its types one after the other, or counters when it only reads.
func (c *caller) read(ctx context.Context, key string) error {
	level := client.At(c.run.config.Consistency)
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

func (c *caller) name(i int) string { return fmt.Sprintf("%0*d", c.run.config.KeySize, i) }

func (c *caller) element() string {
	return fmt.Sprintf("%0*d", max(c.run.config.ValueSize, MinKeySize), c.random.IntN(c.run.config.Elements))
}

// fill draws a value that does not compress.
func (c *caller) fill() {
	for i := range c.value {
		c.value[i] = byte(c.random.Uint32())
	}
}
