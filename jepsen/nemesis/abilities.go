package nemesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// What a target may be able to do, a small interface each. Run asks a target for those that a schedule
// needs. They are called from several goroutines at once, though never for two faults of one track; they
// may block until what they were told has happened or ctx ends. Each pair is idempotent: to undo what was
// not done is no error, and neither is to do twice what lasts. A link may be that of a region which is yet
// to be added, and a region may be down: then it holds for when it is there.
type (
	// Cutter cuts links so that nothing arrives any more, and heals them.
	Cutter interface {
		Cut(ctx context.Context, l Link) error
		Heal(ctx context.Context, l Link) error
	}
	// Slower makes links slow; the zero Weather is fair.
	Slower interface {
		Slow(ctx context.Context, l Link, w Weather) error
	}
	// Staller holds back what goes over links, connections open, and lets go of it.
	Staller interface {
		Stall(ctx context.Context, l Link) error
		Flow(ctx context.Context, l Link) error
	}
	// Resetter breaks the connections that are open on a link, once.
	Resetter interface {
		Reset(ctx context.Context, l Link) error
	}
	// GossipDropper drops gossip on links, and nothing else.
	GossipDropper interface {
		DropGossip(ctx context.Context, l Link) error
		PassGossip(ctx context.Context, l Link) error
	}
	// Killer ends nodes without warning and starts them again. Restart returns once the region serves.
	Killer interface {
		Kill(ctx context.Context, region string) error
		Restart(ctx context.Context, region string) error
	}
	// Pauser stops nodes where they stand, and lets them go on.
	Pauser interface {
		Pause(ctx context.Context, region string) error
		Resume(ctx context.Context, region string) error
	}
	// DiskFiller leaves a region no room on its disk, and makes room again. A node that ended
	// because of it serves again when FreeDisk returns.
	DiskFiller interface {
		FillDisk(ctx context.Context, region string) error
		FreeDisk(ctx context.Context, region string) error
	}
	// Destroyer ends a region's node without warning and takes all away that was on its disk. Restart brings
	// the region back, empty, and returns once it serves again.
	Destroyer interface {
		Killer
		Destroy(ctx context.Context, region string) error
	}
	// LeaderFinder says which region's voter leads strong transactions now; empty: nobody knows. No kind takes it:
	// where there is none, a fault for the leader hits any region, and says so.
	LeaderFinder interface {
		Leader(ctx context.Context) string
	}
	// ClockSetter puts a region's clock so far ahead of what it would show; negative: back; 0: right.
	ClockSetter interface {
		SetClock(ctx context.Context, region string, offset time.Duration) error
	}
	// Grower adds regions. Add returns when the region was started, Await once it serves.
	Grower interface {
		Add(ctx context.Context, region string) error
		Await(ctx context.Context, region string) error
	}
)

// Possible says whether a target can do what the kinds take, and if not, which kind it is that it can't.
func Possible(kinds []Kind, target any) error {
	var errs []error
	for _, k := range kinds {
		if what, able := ability(k, target); !able {
			errs = append(errs, fmt.Errorf("nemesis %s: this cluster can't %s", k, what))
		}
	}
	return errors.Join(errs...)
}

// KindsOf are the kinds of a schedule, each once, in the order of List.
func KindsOf(schedule []Fault) []Kind {
	var out []Kind
	for _, k := range kindTable {
		if slices.ContainsFunc(schedule, func(f Fault) bool { return f.Kind == k.kind }) {
			out = append(out, k.kind)
		}
	}
	return out
}

// ability reports whether a target can do what a kind takes, and names it.
func ability(k Kind, target any) (what string, able bool) {
	switch k {
	case Slow:
		_, able = target.(Slower)
		return "slow links down", able
	case Stall:
		_, able = target.(Staller)
		return "stall links", able
	case Reset:
		_, able = target.(Resetter)
		return "reset connections", able
	case Gossip:
		_, able = target.(GossipDropper)
		return "drop gossip", able
	case KillOne, KillSeveral, KillAll, RestartLoop:
		_, able = target.(Killer)
		return "kill nodes", able
	case Pause:
		_, able = target.(Pauser)
		return "pause nodes", able
	case Clock:
		_, able = target.(ClockSetter)
		return "set clocks", able
	case DiskFull:
		_, able = target.(DiskFiller)
		return "fill disks", able
	case DestroyRegion:
		_, able = target.(Destroyer)
		return "take disks away", able
	case RegionAdd:
		_, able = target.(Grower)
		return "add regions", able
	}
	_, able = target.(Cutter)
	return "cut links", able
}
