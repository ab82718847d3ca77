package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
)

// loadBatch is how many operations a transaction has that fills a store.
const loadBatch = 1000

// loaders is how many goroutines fill a store.
const loaders = 4

// loadCounters adds 1 to each counter.
func loadCounters(ctx context.Context, db *client.DB, keys []string) error {
	batches := (len(keys) + loadBatch - 1) / loadBatch
	return each(ctx, batches, loaders, func(ctx context.Context, i int) error {
		part := keys[i*loadBatch : min((i+1)*loadBatch, len(keys))]
		ops := make([]client.Op, len(part))
		for j, key := range part {
			ops[j] = client.Op{
				Object: client.Object{Bucket: kv.DefaultBucket, Key: kv.Key(key), Type: client.TypeCounter},
				Verb:   kv.VerbIncrement, Int: 1,
			}
		}
		_, err := db.Do(ctx, ops, nil, client.Durable(client.Applied))
		return err
	})
}

// readsCached: counters that the cache of leaves holds.
func readsCached(ctx context.Context, e *Env) ([]Figure, error) {
	return reads(ctx, e, "cached", counterKeys(e.Keys), Options{}, 2)
}

// readsUncached: counters of which no read finds anything but Pebble's blocks in memory.
func readsUncached(ctx context.Context, e *Env) ([]Figure, error) {
	return reads(ctx, e, "uncached", counterKeys(max(e.Many/5, 1)), Options{NoLeafCache: true}, 0.7)
}

func reads(ctx context.Context, e *Env, word string, keys []string, o Options, goal float64) (figures []Figure, err error) {
	p, err := openReadPair(ctx, e, keys, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, goroutines := range []int{1, runtime.NumCPU()} {
		f, err := compare(ctx, e.Rounds, p.oursGet(e, goroutines), p.theirsGet(e, goroutines))
		if err != nil {
			return figures, err
		}
		f.What, f.Unit = fmt.Sprintf("reading a counter, %s, %s counters, %d goroutines", word, number(float64(len(keys))), goroutines), "reads/s"
		f.Note = fmt.Sprintf("bare Pebble's Get of %d bytes", len(p.theirs.adds[0].Operand))
		if goroutines == 1 {
			f.Goal = atLeast(goal)
		}
		figures = append(figures, f)
		if runtime.NumCPU() == 1 {
			break
		}
	}
	return figures, nil
}

// openReadPair fills both sides with the same counters and writes them to tables: ours by an orderly
// stop and a new start.
func openReadPair(ctx context.Context, e *Env, keys []string, o Options) (*pair, error) {
	p, err := openPair(ctx, e, keys, o)
	if err != nil {
		return nil, err
	}
	err = loadCounters(ctx, p.db, keys)
	for i := range p.theirs.adds {
		if err == nil {
			err = p.store.Set(p.theirs.adds[i].Leaf, p.theirs.adds[i].Operand)
		}
	}
	if err == nil {
		err = p.store.Flush()
	}
	if err == nil {
		err = p.reopen(ctx, e, o)
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *pair) reopen(ctx context.Context, e *Env, o Options) error {
	if err := p.stop(); err != nil {
		return err
	}
	p.stop = func() error { return nil }
	db, stop, err := e.Open(ctx, e.Dir+"/ours", o)
	if err == nil {
		p.db, p.stop = db, stop
	}
	return err
}

func (p *pair) oursGet(e *Env, goroutines int) side {
	return func(ctx context.Context) (float64, error) {
		return perSecond(ctx, goroutines, e.Slice, func(ctx context.Context, random *rand.Rand) error {
			n, err := p.db.Counter(p.keys[random.IntN(len(p.keys))]).Get(ctx)
			if err == nil && n != 1 {
				err = fmt.Errorf("a counter reads %d in place of 1", n)
			}
			return err
		})
	}
}

func (p *pair) theirsGet(e *Env, goroutines int) side {
	return func(ctx context.Context) (float64, error) {
		return perSecond(ctx, goroutines, e.Slice, func(_ context.Context, random *rand.Rand) error {
			add := &p.theirs.adds[random.IntN(len(p.theirs.adds))]
			n, err := p.store.Get(add.Leaf)
			if err == nil && n != len(add.Operand) {
				err = fmt.Errorf("a value has %d bytes in place of %d", n, len(add.Operand))
			}
			return err
		})
	}
}

// hotCounter compares a counter that was added to very often with one that was added to once.
func hotCounter(ctx context.Context, e *Env) ([]Figure, error) {
	var figures []Figure
	for _, o := range []Options{{}, {NoLeafCache: true}} {
		f, err := hotCounterWith(ctx, e, o)
		if err != nil {
			return figures, err
		}
		figures = append(figures, f)
	}
	return figures, nil
}

func hotCounterWith(ctx context.Context, e *Env, o Options) (f Figure, err error) {
	dir, clean, err := e.folder("hot")
	if err != nil {
		return Figure{}, err
	}
	defer clean()
	db, stop, err := e.Open(ctx, dir, o)
	if err != nil {
		return Figure{}, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := loadCounters(ctx, db, counterKeys(e.Keys)); err != nil {
		return Figure{}, err
	}
	hot := db.Counter(counterKey(0))
	err = each(ctx, e.Adds-1, 512, func(ctx context.Context, _ int) error { return hot.Add(ctx, 1, client.Durable(client.Applied)) })
	if err != nil {
		return Figure{}, err
	}
	f, err = compare(ctx, e.Rounds, nanosPerRead(e, hot, int64(e.Adds)), nanosPerRead(e, db.Counter(counterKey(1)), 1))
	word := "cached"
	if o.NoLeafCache {
		word = "uncached"
	}
	f.What, f.Unit, f.Goal = fmt.Sprintf("reading a counter after %s adds to it, %s", number(float64(e.Adds)), word), "ns", atMost(1.2)
	f.Note = "the same database reading a counter with one add"
	return f, err
}

func nanosPerRead(e *Env, c client.Counter, want int64) side {
	return func(ctx context.Context) (float64, error) {
		rate, err := perSecond(ctx, 1, e.Slice, func(ctx context.Context, _ *rand.Rand) error {
			n, err := c.Get(ctx)
			if err == nil && n != want {
				err = fmt.Errorf("the counter reads %d in place of %d", n, want)
			}
			return err
		})
		return 1e9 / rate, err
	}
}
