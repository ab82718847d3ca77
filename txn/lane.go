package txn

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// cleanKey is the metadata under which an orderly stop leaves the reserved bound that then held. It
// tells the next start that no timestamp below that bound was shown and then lost, if this is the
// store that was stopped, and no older copy of it.
const cleanKey = "txn/clean"

// laneJob is a batch of the lane's own: its start, its safe times, its orderly end.
type laneJob struct {
	build   func(b *storage.Batch) error
	durable func()
	done    chan error // buffered
}

func (j *laneJob) Build(b *storage.Batch) error { return j.build(b) }

func (j *laneJob) Applied() {}

func (j *laneJob) Durable(err error) {
	if err == nil {
		j.durable()
	}
	j.done <- err
}

// run submits a job and waits until it is durable.
func (c *Committer) run(ctx context.Context, build func(b *storage.Batch) error, durable func()) error {
	j := &laneJob{build: build, durable: durable, done: make(chan error, 1)}
	if err := c.store.Submit(ctx, j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Start makes the lane ready to commit: it reserves timestamps, and, after anything but an orderly
// stop, logs the interval in which a write may have been shown and lost: one of durability "applied",
// or, where the store is short of what it once held, any.
// The store holds all of the lane by now. floor is at or above every timestamp of the lane that
// other regions have heard of.
func (c *Committer) Start(ctx context.Context, floor clock.Timestamp) error {
	start := c.store.Start()
	c.hybrid = clock.NewHybrid(c.lane.Slot, max(floor, start.Bound, c.store.Applied(c.lane)))
	clean, err := c.stoppedCleanly(start, floor)
	if err != nil {
		return err
	}
	var bound, logged clock.Timestamp
	var encoded []byte
	build := func(b *storage.Batch) error {
		wall, last := c.wall(), b.Applied(c.lane)
		if floor := c.hybrid.Last(); !clean && floor > last && !mutant.On(mutant.VoidLeftOut) {
			logged = c.hybrid.Next(wall, 0)
			rec := kv.Record{
				Header: kv.Header{Lane: c.lane, Kind: kv.RecordVoid, Time: logged, Prev: last},
				Void:   kv.Interval{From: last, To: floor},
			}
			encoded = rec.Append(nil)
			if err := b.Apply(&rec, encoded); err != nil {
				return err
			}
		}
		bound = c.reserve(b, wall, c.hybrid.Last())
		b.Sync()
		return nil
	}
	err = c.run(ctx, build, func() {
		c.raiseBound(bound)
		if logged != 0 {
			c.exposure.LocalApplied(logged, c.exposure.Exposed())
			c.publish(logged, encoded)
			c.exposure.LocalDurable(logged)
		}
	})
	if err != nil {
		return fmt.Errorf("starting the lane: %w", err)
	}
	return c.beginTrail()
}

// beginTrail goes on where the process before this one left the trail.
func (c *Committer) beginTrail() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trail = trail{}
	if err := c.trail.load(c.store); err != nil {
		return fmt.Errorf("starting the lane: %w", err)
	}
	c.trail.begun = true
	c.trail.base -= c.uptime()
	c.trail.add(c.here())
	return nil
}

// MayHaveReserved is at or above every timestamp that the lane reserved on a disk that is lost: a
// reservation ends a quarter of the skew bound ahead of the clock and of what was exposed by then.
func (c *Committer) MayHaveReserved() clock.Timestamp {
	return clock.At(max(c.wall(), c.exposure.Exposed().Max().Wall()).Add(c.span))
}

// stoppedCleanly reports whether nothing that was shown can have been lost. That the store ended in
// order does not tell where it may be an older copy: where it is short, or where others have heard of
// more than it had reserved.
func (c *Committer) stoppedCleanly(start storage.Start, floor clock.Timestamp) (bool, error) {
	v, err := c.store.Meta(cleanKey)
	if err != nil {
		return false, fmt.Errorf("starting the lane: %w", err)
	}
	if start.Short || floor > start.Bound {
		return false, nil
	}
	return len(v) == 8 && clock.Timestamp(binary.BigEndian.Uint64(v)) == start.Bound, nil
}

// Tick raises the lane's safe time to the wall clock, so that silence holds nobody back. node calls
// it a few times within the span that timestamps are reserved ahead (a quarter of the skew bound),
// while there are other regions to tell.
func (c *Committer) Tick(ctx context.Context) error {
	var bound, last, safe clock.Timestamp
	build := func(b *storage.Batch) error {
		wall := c.wall()
		last = b.Applied(c.lane)
		safe = c.hybrid.Promise(wall, c.durableBound())
		bound = c.reserve(b, wall, max(safe, clock.At(wall)))
		b.Sync()
		return nil
	}
	return c.run(ctx, build, func() {
		c.raiseBound(bound)
		c.exposure.LocalSafe(last, safe)
	})
}

// Stop refuses further commits, waits for those under way, and notes that the lane ended in order.
func (c *Committer) Stop(ctx context.Context) error {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.searches.Wait()
	for !c.idle() {
		c.kicks.Wait()
		nothing := func(*storage.Batch) error { return nil }
		if err := c.run(ctx, nothing, func() {}); err != nil { // behind the groups on their way
			return err
		}
	}
	c.mu.Lock()
	mark := c.trail.note(c.here())
	c.mu.Unlock()
	build := func(b *storage.Batch) error {
		mark(b)
		b.SetMeta(cleanKey, binary.BigEndian.AppendUint64(nil, uint64(b.Reserved())))
		b.Sync()
		return nil
	}
	return c.run(ctx, build, func() {})
}

// idle reports whether every commit has been taken into a group.
func (c *Committer) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue) == 0 && !c.kicked
}

// reserve asks for timestamps up to a quarter of the skew bound ahead, once half of them are used.
// It returns the bound that b then makes durable, or 0.
func (c *Committer) reserve(b *storage.Batch, wall clock.Wall, used clock.Timestamp) clock.Timestamp {
	half := clock.At(used.Wall().Add(c.span / 2))
	if b.Reserved() > half {
		return 0
	}
	bound := clock.At(max(wall, used.Wall()).Add(c.span))
	b.Reserve(bound)
	return bound
}
