package whole

import (
	"cmp"
	"fmt"
	"math/bits"
)

// wide is a sum of numbers of 64 bits that never wraps.
type wide struct {
	hi int64
	lo uint64
}

func (w wide) plus(n int64) wide {
	lo, carry := bits.Add64(w.lo, uint64(n), 0)
	return wide{w.hi + n>>63 + int64(carry), lo}
}

// compare is negative, zero or positive as w is below, equal to or above n.
func (w wide) compare(n int64) int {
	other := wide{}.plus(n)
	return cmp.Or(cmp.Compare(w.hi, other.hi), cmp.Compare(w.lo, other.lo))
}

func (w wide) String() string {
	switch {
	case w.hi == 0 && w.lo < 1<<63:
		return fmt.Sprint(int64(w.lo))
	case w.hi == -1 && w.lo >= 1<<63:
		return fmt.Sprint(int64(w.lo))
	case w.hi < 0:
		return "less than any number of 64 bits"
	}
	return "more than any number of 64 bits"
}
