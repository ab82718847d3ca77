package node

import (
	"context"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/storage"
)

// How often the node does its chores. docs/reference/limits.md lists them.
const (
	cutsInterval     = 100 * time.Millisecond // telling the store what may be folded
	ageInterval      = 5 * time.Second        // the horizon waits for strong snapshots for two of these
	expireInterval   = 5 * time.Second        // ending abandoned transactions
	truncateInterval = 10 * time.Second       // dropping log records that nobody needs, and looking at how many are held
	// tickShare is how often within the skew bound the lane's safe time rises: twice within the
	// quarter of it that timestamps are reserved ahead.
	tickShare = 8
)

// every calls fn again and again until ctx ends.
func (n *run) every(ctx context.Context, d time.Duration, fn func(context.Context)) {
	for {
		fired, release := n.config.Time.NewTimer(d)
		select {
		case <-fired:
			fn(ctx)
		case <-ctx.Done():
			release()
			return
		}
	}
}

// moveCuts lets the store fold what nobody can read any more.
func (n *run) moveCuts(context.Context) {
	horizon, settled := n.exposure.Cuts()
	if mutant.Built && !settled.Includes(horizon) && mutant.On(mutant.ForgetsBelowHorizon) {
		settled = horizon
	}
	n.store.SetCuts(horizon, settled)
}

// TruncateLog drops log records that every region has on its disk and that are old, or too many; and,
// beyond LogLimit, the oldest that a majority has. Own ones are kept until no retry may ask for them. The node does so by itself every few seconds.
func (n *run) TruncateLog(ctx context.Context) {
	everywhere, forced := n.exposure.Everywhere(), n.beyondLimit()
	if mutant.On(mutant.LogDroppedEarly) {
		everywhere = n.exposure.Durable()
	}
	old := clock.At(n.config.Time.Wall().Add(-n.config.LogAge))
	upTo := map[clock.Lane]clock.Timestamp{}
	for _, lane := range n.exposure.Members() {
		stats, aged := n.store.LogStats(lane, n.config.LogBytes), old
		if lane == n.lane {
			aged = min(old, n.KeepLog(n.config.LogAge))
		}
		t := max(min(everywhere.At(lane.Region), max(aged, stats.Cut)), forced.At(lane.Region))
		if t > stats.Truncated {
			upTo[lane] = t
		}
	}
	if len(upTo) == 0 {
		return
	}
	err := write(ctx, n.store, func(b *storage.Batch) error {
		for lane, t := range upTo {
			b.TruncateLog(lane, t)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		n.config.logf("truncating the log: %v", err)
	}
	n.watchLeft(ctx)
}

// beyondLimit is up to where the logs must be cut to keep within LogLimit, and may be although some
// region lacks the records (causal.Machine.Droppable says why). Nothing is cut that a region will ask for
// which is being sent a cut.
func (n *run) beyondLimit() clock.Vector {
	if n.config.LogLimit == 0 {
		return nil
	}
	cut := n.store.LogCut(n.config.LogLimit)
	if cut == 0 {
		return nil
	}
	var dropped, forced clock.Vector
	for _, lane := range n.exposure.Members() {
		if t := n.store.LogStats(lane, n.config.LogBytes).Truncated; t != 0 {
			dropped = dropped.With(lane.Region, t)
		}
	}
	for _, e := range n.exposure.Droppable(dropped) {
		forced = append(forced, clock.Entry{Region: e.Region, Time: min(e.Time, cut)})
	}
	return n.replicator.KeptFor(forced)
}

func (n *run) age(context.Context) { n.exposure.Age() }

func (n *run) expire(context.Context) { n.Expire() }

// tick raises the lane's safe time while there is anybody to tell.
func (n *run) tick(ctx context.Context) {
	if n.Refused() != nil || len(n.exposure.Members()) <= 2 { // the own lane and the certifier's
		return
	}
	if err := n.Tick(ctx); err != nil && ctx.Err() == nil {
		n.config.logf("raising the safe time: %v", err)
	}
}
