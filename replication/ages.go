package replication

import (
	"math"
	"time"
)

const (
	agePeriods = 6 // the window moves by a sixth of it
	// ageBuckets grow by a fifth each: bucket i holds ages up to 1 ms times 2 to the i/4, the last one
	// more than four hours.
	ageBuckets    = 97
	bucketsDouble = 4
)

// ages counts samples of a duration over StalenessWindow, in buckets.
type ages struct {
	periods [agePeriods][ageBuckets]uint16 // by number of the period, modulo
	number  [agePeriods]int64              // of the period that is there
}

func ageBucket(d time.Duration) int {
	if d <= time.Millisecond {
		return 0
	}
	i := int(math.Ceil(bucketsDouble * math.Log2(float64(d)/float64(time.Millisecond))))
	return min(i, ageBuckets-1)
}

func ageOf(bucket int) time.Duration {
	return time.Duration(float64(time.Millisecond) * math.Exp2(float64(bucket)/bucketsDouble))
}

func period(now time.Duration) int64 { return int64(now / (StalenessWindow / agePeriods)) }

func (a *ages) add(now, age time.Duration) {
	n := period(now)
	i := n % agePeriods
	if a.number[i] != n {
		a.number[i], a.periods[i] = n, [ageBuckets]uint16{}
	}
	if c := &a.periods[i][ageBucket(age)]; *c < math.MaxUint16 {
		*c++
	}
}

// percentile is what so many of 100 samples of the window were at most; 0: there were none.
func (a *ages) percentile(now time.Duration, percent int) time.Duration {
	var sum [ageBuckets]int
	all := 0
	for i := range a.periods {
		if period(now)-a.number[i] >= agePeriods {
			continue
		}
		for b, c := range a.periods[i] {
			sum[b] += int(c)
			all += int(c)
		}
	}
	if all == 0 {
		return 0
	}
	b, left := 0, (all*percent+99)/100
	for left -= sum[0]; left > 0; left -= sum[b] {
		b++
	}
	return ageOf(b)
}
