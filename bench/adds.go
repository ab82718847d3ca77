package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/theriac-db/theriac/bench/limits"
	"github.com/theriac-db/theriac/client"
)

// addsUnsynced: one-shot counter adds that answer before they are on disk.
func addsUnsynced(ctx context.Context, e *Env) ([]Figure, error) {
	return adds(ctx, e, false, []addCase{{8, atLeast(0.5)}, {64, Goal{}}, {512, Goal{}}})
}

// addsSynced: one-shot counter adds that answer once they are on disk, witness included.
func addsSynced(ctx context.Context, e *Env) ([]Figure, error) {
	return adds(ctx, e, true, []addCase{{64, atLeast(0.75)}, {512, Goal{}}})
}

type addCase struct {
	goroutines int
	goal       Goal
}

// pair is a database of ours and a bare store, on the same disk.
type pair struct {
	db     *client.DB
	store  *limits.Store
	theirs *theirs
	keys   []string
	stop   func() error
}

func openPair(ctx context.Context, e *Env, keys []string, o Options) (*pair, error) {
	t, err := newTheirs(keys)
	if err != nil {
		return nil, err
	}
	store, err := limits.OpenStore(e.Dir+"/limit", limits.Sizes{})
	if err != nil {
		return nil, err
	}
	db, stop, err := e.Open(ctx, e.Dir+"/ours", o)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &pair{db: db, store: store, theirs: t, keys: keys, stop: stop}, nil
}

func (p *pair) close() error { return errors.Join(p.stop(), p.store.Close()) }

func adds(ctx context.Context, e *Env, sync bool, cases []addCase) (figures []Figure, err error) {
	p, err := openPair(ctx, e, counterKeys(e.Keys), Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, c := range cases {
		f, err := compare(ctx, e.Rounds, p.oursAdd(e, c.goroutines, sync), p.theirsAdd(e, c.goroutines, sync))
		if err != nil {
			return figures, err
		}
		word := "not synced"
		if sync {
			word = "synced"
		}
		f.What, f.Unit, f.Goal = fmt.Sprintf("one-shot counter add, embedded, %s, %d goroutines", word, c.goroutines), "adds/s", c.goal
		f.Note = fmt.Sprintf("bare Pebble committing the same bytes (%s), a batch an add", p.theirs.adds[0].String())
		figures = append(figures, f)
	}
	return figures, nil
}

func (p *pair) oursAdd(e *Env, goroutines int, sync bool) side {
	durability := client.Durable(client.Applied)
	if sync {
		durability = client.Durable(client.Local)
	}
	return func(ctx context.Context) (float64, error) {
		return perSecond(ctx, goroutines, e.Slice, func(ctx context.Context, random *rand.Rand) error {
			return p.db.Counter(p.keys[random.IntN(len(p.keys))]).Add(ctx, 1, durability)
		})
	}
}

func (p *pair) theirsAdd(e *Env, goroutines int, sync bool) side {
	return func(ctx context.Context) (float64, error) {
		return perSecond(ctx, goroutines, e.Slice, func(_ context.Context, random *rand.Rand) error {
			return p.theirs.commit(p.store, random.IntN(len(p.keys)), sync)
		})
	}
}
