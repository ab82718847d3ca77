package load

import (
	"math"
	"math/bits"
	"time"
)

// subBits is the resolution of a Histogram: each power of two is cut into 2^subBits buckets.
const subBits = 6

const buckets = (64-subBits)<<subBits + 1<<subBits

// Histogram counts durations in buckets that grow with what they count, so that every quantile is
// known to 1/64 from nanoseconds to years, in 30 KiB. The zero Histogram is empty. It is not safe for
// concurrent use: share it behind a lock, or give each of a few goroutines its own and Merge them.
//
// The buckets are those of G. Tene's HdrHistogram, with a power of two as the resolution.
type Histogram struct {
	counts   [buckets]uint64
	count    uint64
	sum      float64
	min, max time.Duration
}

// bucketOf gives the bucket of a duration: below 2^(subBits+1) one for each nanosecond.
func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	exponent := max(bits.Len64(v)-subBits-1, 0)
	return exponent<<subBits + int(v>>exponent)
}

// upperOf is the largest duration of a bucket.
func upperOf(bucket int) time.Duration {
	exponent := max(bucket>>subBits-1, 0)
	mantissa := uint64(bucket - exponent<<subBits)
	return time.Duration((mantissa+1)<<exponent - 1)
}

// Record counts a duration; a negative one counts as 0.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(d)]++
	if h.count == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.count++
	h.sum += float64(d)
}

// Merge adds everything that o has counted.
func (h *Histogram) Merge(o *Histogram) {
	if o.count == 0 {
		return
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
	if h.count == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.count += o.count
	h.sum += o.sum
}

// Count is how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.count }

// Mean is the mean duration; 0 when empty.
func (h *Histogram) Mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.count))
}

// Max is the longest duration, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Min is the shortest duration, exactly; 0 when empty.
func (h *Histogram) Min() time.Duration { return h.min }

// Quantile is the duration that a fraction q (0 to 1) of all did not exceed, rounded up by less than
// 1/64 (invariant 2); 0 when empty.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := uint64(math.Ceil(min(max(q, 0), 1) * float64(h.count)))
	seen := uint64(0)
	for i, n := range h.counts {
		seen += n
		if n > 0 && seen >= rank {
			return min(upperOf(i), h.max)
		}
	}
	return h.max
}
