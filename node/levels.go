package node

import (
	"context"
	"fmt"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/txn"
)

// others fits replication to what txn asks of the other regions. The replicator is there before anything
// is served.
type others struct{ n *run }

var _ txn.Regions = others{}

func (r others) WaitFresh(ctx context.Context, d time.Duration, fail bool) (bool, error) {
	return r.n.replicator.WaitFresh(ctx, d, fail)
}

func (r others) Quorum(ctx context.Context) error { return r.n.replicator.Quorum(ctx) }

func (r others) WaitDurable(ctx context.Context, s clock.Stamp, regions int) (int, error) {
	return r.n.replicator.WaitDurable(ctx, s, regions)
}

func (r others) Serving() int { return r.n.replicator.ServingRegions() }

func (r others) Staleness() []kv.RegionStaleness { return r.ages(r.n.replicator.Staleness()) }

func (r others) StalenessAt(cut clock.Vector) []kv.RegionStaleness {
	return r.ages(r.n.replicator.StalenessAt(cut))
}

// ages are those of what is not the own region's, or, of a snapshot that lacks some of that, of all.
func (r others) ages(list []replication.Staleness) []kv.RegionStaleness {
	var out []kv.RegionStaleness
	for _, s := range list {
		if s.Region == r.n.lane.Region && s.Known && s.Age == 0 {
			continue
		}
		if s.Region == 0 {
			s.Name = kv.StrongTransactions
		}
		out = append(out, kv.RegionStaleness{Region: s.Region, Name: s.Name, Age: s.Age, Known: s.Known})
	}
	return out
}

// levels says which levels can be served now, and why not.
func (n *run) levels(whyNotStrong string) []kv.LevelStatus {
	level := func(l kv.Level, why string) kv.LevelStatus { return kv.LevelStatus{Level: l, OK: why == "", Why: why} }
	quorum := ""
	if err := n.replicator.Majority(); err != nil {
		quorum = err.Error()
	}
	return []kv.LevelStatus{
		level(kv.LevelEventual, ""), level(kv.LevelCausal, ""), level(kv.LevelBounded, tooStale(n.replicator.Staleness())),
		level(kv.LevelQuorum, quorum), level(kv.LevelStrong, whyNotStrong),
	}
}

// tooStale says which regions keep level bounded from being served with a bound that is worth the name.
func tooStale(list []replication.Staleness) string {
	var worst *replication.Staleness
	for i := range list {
		s := &list[i]
		switch {
		case s.Region == 0: // whoever needs it asks
		case !s.Known:
			return fmt.Sprintf("nothing was heard of region %s since this node started", s.Name)
		case worst == nil || s.Age > worst.Age:
			worst = s
		}
	}
	if worst == nil || worst.Age <= replication.SilenceAfter {
		return ""
	}
	return fmt.Sprintf("of region %s what is shown here may be %v old: only larger bounds can be met", worst.Name, worst.Age.Round(time.Millisecond))
}
