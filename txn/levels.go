package txn

import (
	"context"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// Regions is what txn asks of the other regions, for the levels bounded and quorum and for durability in
// several regions. Safe for concurrent use; what takes a context blocks at most until that ends.
type Regions interface {
	// WaitFresh returns once what is exposed includes everything that was on disk in any serving region d
	// ago. With fail it fails at once if it does not. waited tells whether it did not hold at once.
	WaitFresh(ctx context.Context, d time.Duration, fail bool) (waited bool, err error)
	// Quorum returns once what is exposed includes everything that a majority of the serving regions had
	// exposed and on disk when it was called.
	Quorum(ctx context.Context) error
	// WaitDurable returns once so many serving regions, the own one included, have a group exposed and on
	// disk; have is how many are known to, also when that was not enough.
	WaitDurable(ctx context.Context, s clock.Stamp, regions int) (have int, err error)
	// Serving is how many regions take writes, the own one included.
	Serving() int
	// Staleness says how old what is exposed of each other serving region may be.
	Staleness() []kv.RegionStaleness
	// StalenessAt says how old a snapshot may be that is older than what is exposed.
	StalenessAt(cut clock.Vector) []kv.RegionStaleness
}

// serving is how many regions take writes.
func (c *Coordinator) serving() int {
	if c.regions == nil {
		return 1
	}
	return c.regions.Serving()
}

// served refuses what makes no sense, and what this node can't serve, before anything is done. A level
// that was left open is causal.
func (c *Coordinator) served(o *kv.Options) error {
	if err := o.Check(); err != nil {
		return err
	}
	switch {
	case o.Level == kv.LevelDefault:
		o.Level = kv.LevelCausal
	case o.Level == kv.LevelStrong:
		return kv.Errorf(kv.KindLevelRefused, "level strong is none of this call's: ask for quorum, bounded, causal or eventual")
	case o.Level > kv.LevelCausal && c.regions == nil:
		return kv.Errorf(kv.KindLevelRefused, "level %s: this node knows of no other regions; ask for causal or eventual", o.Consistency())
	}
	return c.reachable(o)
}

// reachable refuses a durability in more regions than there are.
func (c *Coordinator) reachable(o *kv.Options) error {
	if o.Durability < kv.DurabilityRegions {
		return nil
	}
	_, err := o.Reach().Copies(c.serving())
	return err
}

// awaitLevel waits for what the level asks for beyond the token, which is here.
func (c *Coordinator) awaitLevel(ctx context.Context, o *kv.Options) (waited bool, err error) {
	switch o.Level {
	case kv.LevelBounded:
		return c.regions.WaitFresh(ctx, o.Bound, o.BoundFail)
	case kv.LevelQuorum:
		return true, c.regions.Quorum(ctx)
	}
	return false, nil
}

// spread waits until what was written is on the disks of as many regions as asked for. The write is applied
// whatever becomes of that.
func (c *Coordinator) spread(ctx context.Context, o *kv.Options, r *kv.Receipt) error {
	reached, have, waits, err := o.Durability, 1, false, error(nil)
	switch {
	case reached == kv.DurabilityDefault:
		reached = kv.DurabilityLocal
	case reached == kv.DurabilityApplied:
		have = 0
	case reached >= kv.DurabilityRegions && r.Commit.Time != 0:
		have, waits, err = c.awaitRegions(ctx, o, r.Commit)
	}
	c.stats.reached(reached, waits, err)
	if o.Receipt {
		r.Durability, r.Regions = reached, have
	}
	if err == nil {
		return nil
	}
	e := kv.Errorf(kv.KindOf(err), "%s is written, and gets to every region as soon as it can, but it is not known to have reached durability %s; "+
		"don't write it again: %w", r.Commit, o.Reach(), err)
	return kv.WithToken(e.WithOutcome(kv.Applied), r.Token)
}

// awaitRegions waits for other regions' disks.
func (c *Coordinator) awaitRegions(ctx context.Context, o *kv.Options, s clock.Stamp) (have int, waits bool, err error) {
	n, err := o.Reach().Copies(c.serving())
	if err != nil { // a region has left since the call began
		n = o.Regions
	}
	if n <= 1 {
		return 1, false, nil
	}
	if deadline, ok := ctx.Deadline(); ok && o.Leave > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-o.Leave))
		defer cancel()
	}
	if mutant.On(mutant.DurableInOneFewer) {
		n--
	}
	have, err = c.regions.WaitDurable(ctx, s, n)
	return have, true, err
}
