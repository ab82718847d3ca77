package clock

import "github.com/theriac-db/theriac/internal/mutant"

// Hybrid is the hybrid logical clock of one lane. The zero value with a slot is ready to use. It is
// not safe for concurrent use.
type Hybrid struct {
	slot Slot
	last Timestamp
}

// NewHybrid returns a clock for a slot that issues only timestamps above floor.
func NewHybrid(slot Slot, floor Timestamp) *Hybrid {
	if slot > MaxSlot {
		panic("clock: slot out of range")
	}
	return &Hybrid{slot: slot, last: floor}
}

// Last is the highest timestamp issued or promised.
func (h *Hybrid) Last() Timestamp { return h.last }

// Next issues a timestamp that is above every one issued or promised before, above floor, and at
// or above the wall clock.
func (h *Hybrid) Next(wall Wall, floor Timestamp) Timestamp {
	h.last = h.Peek(wall, floor)
	return h.last
}

// Peek is what Next would issue, without issuing it.
func (h *Hybrid) Peek(wall Wall, floor Timestamp) Timestamp {
	base := max(h.last, floor)
	if mutant.Built && base > max(h.last, At(wall)) && mutant.On(mutant.TimestampIgnoresSnapshot) {
		base = h.last
	}
	next := (base>>slotBits+1)<<slotBits | Timestamp(h.slot)
	if physical := At(wall) | Timestamp(h.slot); physical > next {
		return physical
	}
	return next
}

// Promise returns a safe time: the lane will issue nothing at or below it any more. It is the wall
// clock's reading, capped by limit, or what was last issued where that is higher.
func (h *Hybrid) Promise(wall Wall, limit Timestamp) Timestamp {
	if t := min(At(wall)|Timestamp(h.slot), limit); t > h.last {
		h.last = t
	}
	return h.last
}
