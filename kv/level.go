package kv

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/theriac-db/theriac/clock"
)

// Level is what an answer includes. Levels are ordered: each includes what those before it do.
type Level uint8

const (
	LevelDefault  Level = iota // the strongest default of the buckets that are touched, causal if they have none
	LevelEventual              // what this node exposes, without waiting for the token
	LevelCausal                // a snapshot that includes the session's token
	LevelBounded               // causal, and all that was on disk in any region longer ago than the bound
	LevelQuorum                // causal, and all that a majority of regions had acknowledged before the call
	LevelStrong                // strict serializability among strong transactions, causal towards the rest
)

var levelNames = [...]string{"default", "eventual", "causal", "bounded", "quorum", "strong"}

func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("level(%d)", uint8(l))
}

// Durability is when a write answers.
type Durability uint8

const (
	DurabilityDefault  Durability = iota // the strongest default of the buckets that are written, local if they have none
	DurabilityApplied                    // applied here; on disk within a bounded delay; a crash may take it back
	DurabilityLocal                      // on this region's disk
	DurabilityRegions                    // exposed and on disk in so many regions, the own included
	DurabilityMajority                   // in a majority of the regions that serve
	DurabilityAll                        // in all of them
)

var durabilityNames = [...]string{"default", "applied", "local", "regions", "majority", "all"}

func (d Durability) String() string {
	if int(d) < len(durabilityNames) {
		return durabilityNames[d]
	}
	return fmt.Sprintf("durability(%d)", uint8(d))
}

// What texts of levels and durabilities may be, for errors and help.
const (
	LevelTexts      = "eventual, causal, bounded:DURATION (such as bounded:2s; bounded:2s:fail fails at once where that can't be met), quorum or strong"
	DurabilityTexts = "applied, local, a number of regions, majority or all"
)

// Consistency is a level with what belongs to it.
type Consistency struct {
	Level     Level
	Bound     time.Duration // of LevelBounded: how old what an answer misses may be at most; at least MinBound
	BoundFail bool          // of LevelBounded: fail at once when the bound can't be met; else wait until the deadline
}

// MinBound is the smallest bound on staleness, and its unit on the wire. No network meets it: it is there
// so that a bound never becomes 0 on its way.
const MinBound = time.Microsecond

// Check refuses a level that there is not, and a bound that makes no sense or belongs to no level.
func (c Consistency) Check() error {
	switch {
	case c.Level > LevelStrong:
		return Errorf(KindLevelRefused, "unknown consistency level %d: there are %s", uint8(c.Level), LevelTexts)
	case c.Level == LevelBounded && c.Bound < MinBound:
		return Errorf(KindInvalid, "level bounded with a bound of %s: give how old what an answer misses may be, %s at least, such as 2s",
			c.Bound, MinBound)
	case c.Level != LevelBounded && (c.Bound != 0 || c.BoundFail):
		return Errorf(KindInvalid, "a bound of %s at level %s: only level bounded has one", c.Bound, c.Level)
	}
	return nil
}

// String is the text that ParseConsistency reads.
func (c Consistency) String() string {
	if c.Level != LevelBounded {
		return c.Level.String()
	}
	s := c.Level.String() + ":" + c.Bound.String()
	if c.BoundFail {
		s += ":fail"
	}
	return s
}

// ParseConsistency reads a level as text: a level's name, bounded:DURATION, or bounded:DURATION:fail.
// "default" leaves the choice to the buckets. Errors match ErrLevelRefused or ErrInvalid.
func ParseConsistency(s string) (Consistency, error) {
	name, bound, bounded := strings.Cut(s, ":")
	for l, n := range levelNames {
		if n != name || bounded && Level(l) != LevelBounded {
			continue
		}
		c := Consistency{Level: Level(l)}
		if bounded {
			bound, c.BoundFail = strings.CutSuffix(bound, ":fail")
			d, err := time.ParseDuration(bound)
			if err != nil {
				return Consistency{}, Errorf(KindInvalid, "consistency level %q: %q is no duration; want bounded:2s or bounded:2s:fail", s, bound)
			}
			c.Bound = d
		}
		if err := c.Check(); err != nil {
			return Consistency{}, err
		}
		return c, nil
	}
	return Consistency{}, Errorf(KindLevelRefused, "no consistency level %q: want %s", s, LevelTexts)
}

// Stricter is whichever of two includes more: the later level, of two bounds the smaller, and of two equal
// bounds the one that fails.
func (c Consistency) Stricter(d Consistency) Consistency {
	switch {
	case c.Level != d.Level && c.Level > d.Level, c.Level == d.Level && c.Bound < d.Bound:
		return c
	case c.Level == d.Level && c.Bound == d.Bound:
		c.BoundFail = c.BoundFail || d.BoundFail
		return c
	}
	return d
}

// Reach is a durability with its number of regions: how far a write gets before it is answered.
type Reach struct {
	Durability Durability
	Regions    int // of DurabilityRegions: at least 1, the own region included
}

// Check refuses a durability that there is not, and a number of regions that makes no sense or belongs to
// no durability.
func (r Reach) Check() error {
	switch {
	case r.Durability > DurabilityAll:
		return Errorf(KindLevelRefused, "unknown durability %d: there are %s", uint8(r.Durability), DurabilityTexts)
	case r.Durability == DurabilityRegions && r.Regions < 1:
		return Errorf(KindInvalid, "durability in %d regions: want 1 at least, the own region", r.Regions)
	case r.Durability != DurabilityRegions && r.Regions != 0:
		return Errorf(KindInvalid, "%d regions at durability %s: only durability in a number of regions has one", r.Regions, r.Durability)
	}
	return nil
}

// String is the text that ParseReach reads.
func (r Reach) String() string {
	if r.Durability == DurabilityRegions {
		return strconv.Itoa(r.Regions)
	}
	return r.Durability.String()
}

// ParseReach reads a durability as text: its name, or a number of regions. "default" leaves the choice to
// the buckets. Errors match ErrLevelRefused or ErrInvalid.
func ParseReach(s string) (Reach, error) {
	for d, n := range durabilityNames {
		if n == s && Durability(d) != DurabilityRegions {
			return Reach{Durability: Durability(d)}, nil
		}
	}
	n, err := strconv.Atoi(s)
	if n > clock.MaxVectorEntries-1 {
		return Reach{}, Errorf(KindLevelRefused, "durability in %d regions: a cluster has at most %d", n, clock.MaxVectorEntries-1)
	}
	if err != nil {
		return Reach{}, Errorf(KindLevelRefused, "no durability %q: want %s", s, DurabilityTexts)
	}
	r := Reach{Durability: DurabilityRegions, Regions: n}
	if err := r.Check(); err != nil {
		return Reach{}, err
	}
	return r, nil
}

// Copies is how many of so many regions must hold a write on disk before it answers. More than there are
// is an error: it can't be reached. 0: none needs to.
func (r Reach) Copies(regions int) (int, error) {
	n := 0
	switch r.Durability {
	case DurabilityApplied:
	case DurabilityRegions:
		n = r.Regions
	case DurabilityMajority:
		n = regions/2 + 1
	case DurabilityAll:
		n = regions
	default:
		n = 1
	}
	if n > regions {
		return 0, Errorf(KindLevelRefused, "durability in %d regions: there are %d; ask for %d at most, for majority or for all", n, regions, regions)
	}
	return n, nil
}
