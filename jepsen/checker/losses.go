package checker

import (
	"math"
	"slices"

	"github.com/theriac-db/theriac/jepsen/history"
)

// InMemory is the durability of a write that was acknowledged before it was on disk.
const InMemory = "applied"

// Losses name the kinds of faults after which something that was acknowledged may rightly be gone: in the
// regions that the fault targets, and in all of them if it names none. Nothing else excuses a loss.
type Losses struct {
	// Crashing end nodes without warning: writes of durability [InMemory] whose calls began before the
	// fault's end may be gone.
	Crashing []string
	// Destroying take the disks of regions away, with the nodes: all their writes whose calls began before
	// the fault's end may be gone, as no copy of them was promised.
	Destroying []string
}

// Lost is what faults may have taken from a history: for each region, until when.
type Lost struct{ memory, disk map[string]int64 }

// In finds the faults of a history.
func (l Losses) In(h *history.History) Lost {
	return Lost{
		memory: lastEnds(h, func(kind string) bool {
			return slices.Contains(l.Crashing, kind) || slices.Contains(l.Destroying, kind)
		}),
		disk: lastEnds(h, func(kind string) bool { return slices.Contains(l.Destroying, kind) }),
	}
}

// lastEnds is, for each region that was hit, when that was over for the last time.
func lastEnds(h *history.History, is func(kind string) bool) map[string]int64 {
	out := map[string]int64{}
	for i := range h.Faults {
		f := &h.Faults[i]
		if !is(f.Kind) {
			continue
		}
		targets, end := f.Targets, f.End
		if len(targets) == 0 {
			targets = h.Header.Regions
		}
		if end < 0 {
			end = math.MaxInt64
		}
		for _, region := range targets {
			out[region] = max(out[region], end)
		}
	}
	return out
}

// Excuses reports whether a fault may have taken what a transaction wrote, though it was acknowledged.
func (l *Lost) Excuses(t *history.Txn) bool {
	until, hit := l.disk[t.Region]
	if t.Durability == InMemory {
		until, hit = l.memory[t.Region]
	}
	return hit && t.Start <= until
}

// Disk reports whether a region's disk was taken away, or that of any region for an empty name.
func (l *Lost) Disk(region string) bool {
	if region == "" {
		return len(l.disk) > 0
	}
	_, lost := l.disk[region]
	return lost
}
