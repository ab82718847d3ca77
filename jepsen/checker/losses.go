package checker

import (
	"math"
	"slices"
	"strconv"

	"github.com/theriac-db/theriac/jepsen/history"
)

// InMemory is the durability of a write that was acknowledged before it was on disk.
const InMemory = "applied"

// Copies is in how many regions at least a write was on disk when it was acknowledged, in a cluster of so many. A
// region may have joined since, so a majority is two at least, and so are all.
func Copies(t *history.Txn, regions int) int {
	several := min(2, regions)
	n := 1
	switch t.Durability {
	case InMemory:
		n = 0
	case "majority", "all":
		n = several
	default:
		if number, err := strconv.Atoi(t.Durability); err == nil {
			n = number
		}
	}
	if t.Level == "strong" { // committed by a majority, whatever else was asked for
		n = max(n, several)
	}
	return n
}

// Losses name the kinds of faults after which something that was acknowledged may rightly be gone: in the
// regions that the fault targets, and in all of them if it names none. Nothing else excuses a loss.
type Losses struct {
	// Crashing end nodes without warning: writes of durability [InMemory] whose calls began before the
	// fault's end may be gone.
	Crashing []string
	// Destroying take the disks of regions away, with the nodes: writes that were acknowledged on that disk alone
	// and whose calls began before the fault's end may be gone. Those that were on n disks survive the loss of fewer:
	// they may be gone where so many were away at one time, from a fault's start to its end.
	Destroying []string
}

// Lost is what faults may have taken from a history: for each region, until when.
type Lost struct {
	memory, disk map[string]int64
	away         []away
	regions      int
}

// away is when a region was without its disk.
type away struct {
	region   string
	from, to int64
}

// In finds the faults of a history.
func (l Losses) In(h *history.History) Lost {
	destroying := func(kind string) bool { return slices.Contains(l.Destroying, kind) }
	out := Lost{
		memory:  lastEnds(h, func(kind string) bool { return slices.Contains(l.Crashing, kind) || destroying(kind) }),
		disk:    lastEnds(h, destroying),
		regions: len(h.Header.Regions),
	}
	for i := range h.Faults {
		if f := &h.Faults[i]; destroying(f.Kind) {
			for _, region := range hit(h, f) {
				out.away = append(out.away, away{region, f.Start, ended(f)})
			}
		}
	}
	return out
}

// Destroys reports whether a fault takes a region's disk away.
func (l Losses) Destroys(f *history.Fault, region string) bool {
	return slices.Contains(l.Destroying, f.Kind) && (len(f.Targets) == 0 || slices.Contains(f.Targets, region))
}

// hit are the regions that a fault hit.
func hit(h *history.History, f *history.Fault) []string {
	if len(f.Targets) == 0 {
		return h.Header.Regions
	}
	return f.Targets
}

// ended is when a fault was over.
func ended(f *history.Fault) int64 {
	if f.End < 0 {
		return math.MaxInt64
	}
	return f.End
}

// lastEnds is, for each region that was hit, when that was over for the last time.
func lastEnds(h *history.History, is func(kind string) bool) map[string]int64 {
	out := map[string]int64{}
	for i := range h.Faults {
		f := &h.Faults[i]
		if !is(f.Kind) {
			continue
		}
		for _, region := range hit(h, f) {
			out[region] = max(out[region], ended(f))
		}
	}
	return out
}

// Excuses reports whether a fault may have taken what a transaction wrote, though it was acknowledged.
func (l *Lost) Excuses(t *history.Txn) bool {
	copies := Copies(t, l.regions)
	if copies > 1 {
		return l.most(t.Start) >= copies
	}
	until, hit := l.disk[t.Region]
	if copies == 0 {
		until, hit = l.memory[t.Region]
	}
	return hit && t.Start <= until
}

// most is how many regions were without their disks at one time, at or after a moment.
func (l *Lost) most(since int64) (most int) {
	for _, a := range l.away {
		if a.to < since {
			continue
		}
		at, there := max(a.from, since), map[string]bool{}
		for _, b := range l.away {
			if b.from <= at && b.to >= at {
				there[b.region] = true
			}
		}
		most = max(most, len(there))
	}
	return most
}

// Disk reports whether a region's disk was taken away, or that of any region for an empty name.
func (l *Lost) Disk(region string) bool {
	if region == "" {
		return len(l.disk) > 0
	}
	_, lost := l.disk[region]
	return lost
}
