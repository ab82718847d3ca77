package bench

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/clock"
)

const (
	progressEvery = 20 * time.Millisecond
	paceEvery     = time.Millisecond
	maxCommits    = 200_000 // points of single commits that a run keeps, at most
)

// adder adds to counters from many goroutines, at a pace or as fast as it goes, and keeps what tells
// later when each commit could have been seen.
type adder struct {
	db   *client.DB
	q    request
	own  clock.Region
	keys []string

	stop   atomic.Bool
	left   atomic.Int64 // of Count
	done   atomic.Int64
	last   atomic.Uint64 // highest commit timestamp
	tokens chan struct{} // nil without a rate

	mu      sync.Mutex
	commits []point
	first   error
}

func newAdder(db *client.DB, q request, own clock.Region) *adder {
	a := &adder{db: db, q: q, own: own, keys: counterKeys(max(q.Keys, 1))}
	a.left.Store(q.Count)
	if q.Rate > 0 {
		a.tokens = make(chan struct{}, max(int(q.Rate/10), 1)) // what falls behind by more than 100 ms is not made up for
	}
	return a
}

func (a *adder) run(ctx context.Context) (reply, error) {
	if a.q.Count == 0 {
		defer time.AfterFunc(seconds(a.q.Seconds), func() { a.stop.Store(true) }).Stop()
	}
	var callers, helpers sync.WaitGroup
	ended := make(chan struct{})
	var progress []point
	helpers.Go(func() { progress = a.watchProgress(ended) })
	if a.tokens != nil {
		helpers.Go(func() { a.pace(ended) })
	}
	begun := time.Now()
	for i := range max(a.q.Goroutines, 1) {
		callers.Go(func() { a.call(ctx, rand.New(rand.NewPCG(1, uint64(i)))) })
	}
	callers.Wait()
	elapsed := time.Since(begun)
	close(ended)
	helpers.Wait()
	return reply{Done: a.done.Load(), Seconds: elapsed.Seconds(), Commits: a.commits, Progress: progress}, a.first
}

// call is one caller. It keeps every n-th commit, so that all callers together keep a bounded number.
func (a *adder) call(ctx context.Context, random *rand.Rand) {
	durability := client.Durable(client.Local)
	if a.q.Applied {
		durability = client.Durable(client.Applied)
	}
	var receipt client.Receipt
	opts := []client.CallOption{durability, client.WithReceipt(&receipt)}
	var kept []point
	for a.turn(ctx) {
		if err := a.db.Counter(a.key(random)).Add(ctx, 1, opts...); err != nil {
			a.fail(err)
			break
		}
		a.raise(receipt.Commit.Time)
		if a.done.Add(1)%16 == 0 && len(kept) < maxCommits/max(a.q.Goroutines, 1) {
			kept = append(kept, point{At: time.Now().UnixNano(), Time: receipt.Commit.Time})
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.commits = append(a.commits, kept...)
}

// key is the counter of the next add.
func (a *adder) key(random *rand.Rand) string {
	if !a.q.Fresh {
		return a.keys[random.IntN(len(a.keys))]
	}
	var b [keySize]byte
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return string(b[:])
}

// turn waits for the caller's turn; false: the run is over.
func (a *adder) turn(ctx context.Context) bool {
	if a.tokens != nil {
		select {
		case _, ok := <-a.tokens:
			return ok && ctx.Err() == nil
		case <-ctx.Done():
			return false
		}
	}
	if a.stop.Load() || ctx.Err() != nil {
		return false
	}
	return a.q.Count == 0 || a.left.Add(-1) >= 0
}

func (a *adder) raise(t clock.Timestamp) {
	for {
		last := a.last.Load()
		if uint64(t) <= last || a.last.CompareAndSwap(last, uint64(t)) {
			return
		}
	}
}

func (a *adder) fail(err error) {
	a.stop.Store(true)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.first == nil {
		a.first = err
	}
}

// watchProgress notes from time to time how many commits there were, and the latest; once more at
// the end.
func (a *adder) watchProgress(ended chan struct{}) []point {
	var all []point
	note := func() {
		count := a.done.Load() // before last: everything counted lies at or below it
		all = append(all, point{At: time.Now().UnixNano(), Time: clock.Timestamp(a.last.Load()), Count: count})
	}
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			note()
		case <-ended:
			note()
			return all
		}
	}
}

// pace hands out turns at the rate until the run stops, then ends the callers.
func (a *adder) pace(ended chan struct{}) {
	defer close(a.tokens)
	ticker := time.NewTicker(paceEvery)
	defer ticker.Stop()
	begun, given := time.Now(), 0
	for {
		select {
		case now := <-ticker.C:
			due := int(now.Sub(begun).Seconds() * a.q.Rate)
			for ; given < due; given++ {
				select {
				case a.tokens <- struct{}{}:
				default: // behind: these turns are lost
				}
			}
			if a.stop.Load() {
				return
			}
		case <-ended:
			return
		}
	}
}
