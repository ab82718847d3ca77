package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/theriac-db/theriac/bench/limits"
	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/storage"
)

// The leaves' part of a store's keys, and the name of its merger, as package storage has them.
const (
	mergerName = "theriac.concat.1"
	dataFolder = "data"
	settlePoll = 50 * time.Millisecond
)

var leavesFrom, leavesTo = []byte{0x10}, []byte{0x11}

// sizeOfEmptiedSet: what is left in files of a set whose elements were all removed, each by itself.
func sizeOfEmptiedSet(ctx context.Context, e *Env) ([]Figure, error) {
	return sizeOfRemovedSet(ctx, e, "one by one", func(ctx context.Context, set client.Set) error {
		return inBatches(ctx, e, set.RemoveAll)
	})
}

// sizeOfDeletedSet: the same of a set that was removed as a whole, by one effect that the store carries
// out on all of them.
func sizeOfDeletedSet(ctx context.Context, e *Env) ([]Figure, error) {
	return sizeOfRemovedSet(ctx, e, "at once", func(ctx context.Context, set client.Set) error {
		return set.Delete(ctx, client.Durable(client.Applied))
	})
}

func sizeOfRemovedSet(ctx context.Context, e *Env, how string, remove func(context.Context, client.Set) error) ([]Figure, error) {
	fill := func(ctx context.Context, db *client.DB) error {
		set := db.Set("gone")
		if err := inBatches(ctx, e, set.AddAll); err != nil {
			return err
		}
		return remove(ctx, set)
	}
	perElement, err := settledSize(ctx, e, float64(e.Elements), fill)
	return one(alone(fmt.Sprintf("a set whose %s elements were removed %s", number(float64(e.Elements)), how), "bytes an element",
		perElement, atMostOurs(1), "files of the leaves after settling and compaction; the log is kept for an hour beside them"), err)
}

// inBatches does something with all elements, many to a call.
func inBatches(ctx context.Context, e *Env, change func(context.Context, []string, ...client.CallOption) error) error {
	batches := (e.Elements + loadBatch - 1) / loadBatch
	return each(ctx, batches, loaders, func(ctx context.Context, i int) error {
		var elements []string
		for j := i * loadBatch; j < min((i+1)*loadBatch, e.Elements); j++ {
			elements = append(elements, element(j))
		}
		return change(ctx, elements, client.Durable(client.Applied))
	})
}

// sizeOfCounters: what a live counter takes in files. Keys are random bytes, so that they do not
// compress.
func sizeOfCounters(ctx context.Context, e *Env) ([]Figure, error) {
	n := max(e.Many/5, 1)
	random := rand.New(rand.NewPCG(1, 0))
	keys := make([]string, n)
	for i := range keys {
		b := make([]byte, keySize)
		for j := range b {
			b[j] = byte(random.Uint32())
		}
		keys[i] = string(b)
	}
	fill := func(ctx context.Context, db *client.DB) error {
		for range 10 {
			if err := loadCounters(ctx, db, keys); err != nil {
				return err
			}
		}
		return nil
	}
	perCounter, err := settledSize(ctx, e, float64(n), fill)
	return one(alone(fmt.Sprintf("a live counter, %d-byte key, 10 adds", keySize), "bytes a counter",
		perCounter, atMostOurs(keySize+32), "files of the leaves after settling and compaction; keys of random bytes"), err)
}

// settledSize fills a store, waits until all of it is settled, lets the sweep look at every leaf, which
// in the background it does slowly, and measures the files of the leaves, compacted, a thing.
func settledSize(ctx context.Context, e *Env, things float64, fill func(context.Context, *client.DB) error) (float64, error) {
	dir := e.Dir + "/ours"
	var settled clock.Vector
	err := withDB(ctx, e, dir, func(db *client.DB) error {
		err := fill(ctx, db)
		if err == nil {
			settled, err = waitSettled(ctx, e, db)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := sweep(ctx, dir, settled); err != nil {
		return 0, err
	}
	bytes, err := limits.CompactedBytes(ctx, dir+"/"+dataFolder, mergerName, leavesFrom, leavesTo)
	return float64(bytes) / things, err
}

// waitSettled waits until everything that was written is settled.
func waitSettled(ctx context.Context, e *Env, db *client.DB) (clock.Vector, error) {
	ctx, cancel := context.WithTimeout(ctx, e.Settle)
	defer cancel()
	// One durable commit: everything that came before it is then exposed.
	var receipt client.Receipt
	if err := db.Counter("end").Add(ctx, 1, client.WithReceipt(&receipt)); err != nil {
		return nil, err
	}
	want := receipt.Token.Seen
	status, err := db.Status(ctx)
	for err == nil && !status.Settled.Includes(want) {
		if err := idle(ctx, settlePoll); err != nil {
			return nil, fmt.Errorf("settled up to %s and not to %s after %s: %w", status.Settled, want, e.Settle, err)
		}
		status, err = db.Status(ctx)
	}
	return status.Settled, err
}

// sweep opens a store on its own and rewrites every leaf that can be shortened at a settled cut, once
// no removal is pending: until then rewrites have to keep what it may yet cover.
func sweep(ctx context.Context, dir string, settled clock.Vector) error {
	s, err := storage.Open(storage.Config{Dir: dir})
	if err != nil {
		return err
	}
	s.SetCuts(settled, settled)
	for err == nil && s.Stats().PendingRemoval > 0 {
		err = idle(ctx, settlePoll)
	}
	if err == nil {
		err = s.Sweep(ctx)
	}
	return errors.Join(err, s.Close())
}

func withDB(ctx context.Context, e *Env, dir string, fn func(*client.DB) error) error {
	db, stop, err := e.Open(ctx, dir, Options{})
	if err != nil {
		return err
	}
	return errors.Join(fn(db), stop())
}

// idle leaves the database alone for a while.
func idle(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
