package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/theriac-db/theriac/client"
)

const (
	fewCallers  = 4
	callsOfEach = 3 // in a round
	causalKeys  = 1000
)

// wideLatencies: what calls take at each level that asks other regions, by the round trips that they need,
// and what a distance costs those that ask none.
func wideLatencies(ctx context.Context, e *Env) (figures []Figure, err error) {
	w, err := startWide(ctx, e, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.quit()) }()
	if err := w.settle(ctx, e, distant(e)); err != nil {
		return nil, err
	}
	for _, c := range w.latencyCases(e) {
		f, err := w.latencies(ctx, e, c)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", c.what, err)
		}
		figures = append(figures, f...)
	}
	f, err := w.writesOfReads(ctx, e)
	if err != nil {
		return figures, err
	}
	figures = append(figures, f)
	f, err = w.causal(ctx, e)
	return append(figures, f), err
}

// latencyCase is a call, and the round trips that it takes from a region.
type latencyCase struct {
	what  string
	call  func(ctx context.Context, db *client.DB, random *rand.Rand) error
	bound func(ctx context.Context, from int) (time.Duration, error)
	note  string
}

func (w *wide) latencyCases(e *Env) []latencyCase {
	measured := fmt.Sprintf("bare bytes over the same links, measured in the same round; %s", distant(e))
	via := "one round trip from there to the leader's region, unless it is that, and one from the leader's to the nearest majority: " + measured
	near := "one round trip to the nearest majority: " + measured
	value := make([]byte, strongValue)
	key := func(random *rand.Rand) string { return counterKey(random.IntN(causalKeys)) }
	return []latencyCase{
		{"strong commit", func(ctx context.Context, db *client.DB, r *rand.Rand) error {
			return db.Register(key(r)).Set(ctx, value, client.Strong())
		}, w.viaLeader, via},
		{"strong read", func(ctx context.Context, db *client.DB, r *rand.Rand) error {
			_, err := db.Register(key(r)).Get(ctx, client.Strong())
			return err
		}, w.viaLeader, via},
		{"quorum read", func(ctx context.Context, db *client.DB, r *rand.Rand) error {
			_, err := db.Register(key(r)).Get(ctx, client.Quorum())
			return err
		}, w.majority, near},
	}
}

// latencies gives a case's figure for each region, the leader's first.
func (w *wide) latencies(ctx context.Context, e *Env, c latencyCase) (figures []Figure, err error) {
	for n := range wideRegions {
		i := (w.leader + n) % len(wideRegions)
		f, err := compare(ctx, e.Rounds,
			func(ctx context.Context) (float64, error) { return medianOf(ctx, w.dbs[i], c) },
			func(ctx context.Context) (float64, error) {
				d, err := c.bound(ctx, i)
				return milliseconds(d), err
			})
		if err != nil {
			return figures, err
		}
		where := "another region"
		if i == w.leader {
			where = "the leader's region"
		}
		f.What, f.Unit, f.Goal = fmt.Sprintf("%s, %s (%s), median", c.what, where, wideRegions[i]), "ms", atMost(1.15)
		f.Note = c.note
		figures = append(figures, f)
	}
	return figures, nil
}

// medianOf is the median of a few calls of a few callers.
func medianOf(ctx context.Context, db *client.DB, c latencyCase) (float64, error) {
	var mu sync.Mutex
	var took []float64
	err := each(ctx, fewCallers*callsOfEach, fewCallers, func(ctx context.Context, i int) error {
		begun := time.Now()
		err := c.call(ctx, db, rand.New(rand.NewPCG(2, uint64(i))))
		mu.Lock()
		defer mu.Unlock()
		took = append(took, milliseconds(time.Since(begun)))
		return err
	})
	return median(took), err
}

// writesOfReads counts what all nodes write to their stores while strong transactions only read.
func (w *wide) writesOfReads(ctx context.Context, e *Env) (Figure, error) {
	read := w.latencyCases(e)[1].call
	before, err := w.written()
	if err != nil {
		return Figure{}, err
	}
	begun := time.Now()
	rate, err := perSecond(ctx, strongCallers, 2*e.Slice, func(ctx context.Context, random *rand.Rand) error {
		return read(ctx, w.dbs[w.leader], random)
	})
	if err != nil {
		return Figure{}, err
	}
	reads := rate * time.Since(begun).Seconds()
	during, err := w.written()
	if err != nil {
		return Figure{}, err
	}
	if err := idle(ctx, 2*e.Slice); err != nil {
		return Figure{}, err
	}
	after, err := w.written()
	return alone("batches that all nodes write to their stores, by strong reads", "batches/read", float64(during-before)/reads, atMostOurs(0.05),
		fmt.Sprintf("%s reads; %d batches while they ran, synced or not, and %d in as long a time without calls", number(reads), during-before, after-during)), err
}

// written is how many batches all nodes' stores have written, synced or not.
func (w *wide) written() (sum int64, err error) {
	for _, p := range w.regions {
		r, err := p.ask(request{Do: "written"}, patience)
		if err != nil {
			return 0, err
		}
		sum += r.Done
	}
	return sum, nil
}

// causal compares causal operations with and without distance.
func (w *wide) causal(ctx context.Context, e *Env) (Figure, error) {
	at := func(t trips) side {
		return func(ctx context.Context) (float64, error) {
			if err := w.settle(ctx, e, t); err != nil {
				return 0, err
			}
			return causalMedian(ctx, e, w.dbs[w.leader])
		}
	}
	f, err := compare(ctx, e.Rounds, at(distant(e)), at(trips{}))
	f.What, f.Unit, f.Goal = fmt.Sprintf("causal durable add and read over gRPC, %d callers, median", fewCallers), "ms", atMost(1.05)
	f.Note = "the same without delays on the links"
	return f, err
}

// causalMedian is the median time of a durable add and a read.
func causalMedian(ctx context.Context, e *Env, db *client.DB) (float64, error) {
	var mu sync.Mutex
	var took []float64
	_, err := perSecond(ctx, fewCallers, e.Slice, func(ctx context.Context, random *rand.Rand) error {
		c := db.Counter("causal-" + strconv.Itoa(random.IntN(causalKeys)))
		begun := time.Now()
		if err := c.Add(ctx, 1); err != nil {
			return err
		}
		_, err := c.Get(ctx)
		d := milliseconds(time.Since(begun))
		mu.Lock()
		defer mu.Unlock()
		took = append(took, d)
		return err
	})
	return median(took), err
}
