package clock

import (
	"fmt"
	"math"
	"time"
)

// Region is a region's number. Numbers are handed out once and never reused; 0 is the certifier.
type Region uint16

// Slot is a node's place within its region, 0 to MaxSlot.
type Slot uint8

const (
	slotBits    = 6
	logicalBits = 6
	lowBits     = slotBits + logicalBits

	// MaxSlot is the highest node slot of a region.
	MaxSlot Slot = 1<<slotBits - 1
	// MaxTimestamp is above every timestamp that is ever issued. It marks effects that have no
	// timestamp yet: those of a transaction that reads its own writes.
	MaxTimestamp Timestamp = math.MaxUint64
)

// Lane is the order in which one node of a region commits.
type Lane struct {
	Region Region
	Slot   Slot
}

func (l Lane) String() string { return fmt.Sprintf("%d.%d", l.Region, l.Slot) }

// Compare orders lanes by region, then slot.
func (l Lane) Compare(m Lane) int {
	if l.Region != m.Region {
		return int(l.Region) - int(m.Region)
	}
	return int(l.Slot) - int(m.Slot)
}

// Wall is a reading of a wall clock, in microseconds since the Unix epoch.
type Wall int64

// WallOf converts a time.Time.
func WallOf(t time.Time) Wall { return Wall(t.UnixMicro()) }

// Time converts a reading back, in UTC.
func (w Wall) Time() time.Time { return time.UnixMicro(int64(w)).UTC() }

// Add moves a reading by d, rounded down to microseconds.
func (w Wall) Add(d time.Duration) Wall { return w + Wall(d/time.Microsecond) }

// Sub is the time from v to w.
func (w Wall) Sub(v Wall) time.Duration { return time.Duration(w-v) * time.Microsecond }

// Timestamp is a hybrid logical clock reading; see the package comment for its layout. Zero means
// "before everything".
type Timestamp uint64

// At is the lowest timestamp of a wall clock reading. Readings before 1970 give 0.
func At(w Wall) Timestamp {
	if w <= 0 {
		return 0
	}
	return Timestamp(w) << lowBits
}

// Wall is the physical part of t.
func (t Timestamp) Wall() Wall { return Wall(t >> lowBits) }

// Slot is the node slot of t, which must not be the certifier's; see Stamp.Lane.
func (t Timestamp) Slot() Slot { return Slot(t) & MaxSlot }

// String prints the physical part, the logical counter and the slot.
func (t Timestamp) String() string {
	return fmt.Sprintf("%d.%d.%d", uint64(t>>lowBits), uint64(t>>slotBits)&(1<<logicalBits-1), t.Slot())
}

// Stamp names a group: the transactions that one group commit of one region wrote.
type Stamp struct {
	Region Region
	Time   Timestamp
}

// IsZero tells the stamp that names no group.
func (s Stamp) IsZero() bool { return s == Stamp{} }

// Lane is the lane that the group is of. The certifier has one, whatever the low bits of its numbers.
func (s Stamp) Lane() Lane {
	if s.Region == 0 {
		return Lane{}
	}
	return Lane{Region: s.Region, Slot: s.Time.Slot()}
}

func (s Stamp) String() string { return fmt.Sprintf("%d@%s", s.Region, s.Time) }

// Dot names one operation: its group's stamp and its index within the group. The zero Dot marks
// what has been forgotten below settled.
type Dot struct {
	Region Region
	Time   Timestamp
	Index  uint32
}

// IsZero tells the forgotten dot.
func (d Dot) IsZero() bool { return d == Dot{} }

// Stamp is the dot's group.
func (d Dot) Stamp() Stamp { return Stamp{Region: d.Region, Time: d.Time} }

// Compare orders dots by (timestamp, region, index), a linear extension of the causal order.
// Every fold uses this order.
func (d Dot) Compare(e Dot) int {
	switch {
	case d.Time != e.Time:
		return order(d.Time < e.Time)
	case d.Region != e.Region:
		return order(d.Region < e.Region)
	case d.Index != e.Index:
		return order(d.Index < e.Index)
	}
	return 0
}

func order(less bool) int {
	if less {
		return -1
	}
	return 1
}

func (d Dot) String() string { return fmt.Sprintf("%s#%d", d.Stamp(), d.Index) }
