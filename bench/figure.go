package bench

import (
	"fmt"
	"math"
	"slices"
)

// Measure is what a goal is about.
type Measure int

// What a goal can be about.
const (
	OfRatio Measure = iota // ours by the limit
	OfOurs                 // our own value; the limit is shown beside it
)

// Goal is what a figure should reach. The zero Goal asks for nothing: the figure is only reported.
type Goal struct {
	Bound  float64
	AtMost bool // the smaller the better; else the larger
	Of     Measure
}

func atLeast(ratio float64) Goal { return Goal{Bound: ratio} }

func atMost(ratio float64) Goal { return Goal{Bound: ratio, AtMost: true} }

func atMostOurs(value float64) Goal { return Goal{Bound: value, AtMost: true, Of: OfOurs} }

func (g Goal) String() string {
	switch {
	case g == Goal{}:
		return "reported"
	case g.AtMost && g.Of == OfOurs:
		return "ours <= " + number(g.Bound)
	case g.AtMost:
		return "ratio <= " + number(g.Bound)
	case g.Of == OfOurs:
		return "ours >= " + number(g.Bound)
	}
	return "ratio >= " + number(g.Bound)
}

// Figure is one line of the table.
type Figure struct {
	Benchmark string // by which it was measured
	What      string // in a few words
	Unit      string // of Ours and Limit
	Ours      float64
	Limit     float64 // NaN: there is none
	Ratio     float64 // median of the rounds; NaN: there is no limit
	Low, High float64 // smallest and largest of the rounds' quotients
	Rounds    int
	Goal      Goal
	Note      string // what the limit is, or what else should be known
	Err       error  // why there is no figure
}

// Met reports whether the goal was reached; a figure without a goal always does.
func (f *Figure) Met() bool {
	if f.Err != nil {
		return false
	}
	if f.Goal == (Goal{}) {
		return true
	}
	value := f.Ratio
	if f.Goal.Of == OfOurs {
		value = f.Ours
	}
	if f.Goal.AtMost {
		return value <= f.Goal.Bound
	}
	return value >= f.Goal.Bound
}

// Verdict is Met in a word.
func (f *Figure) Verdict() string {
	switch {
	case f.Err != nil:
		return "failed"
	case f.Goal == Goal{}:
		return "-"
	case f.Met():
		return "met"
	}
	return "missed"
}

// alone is a figure without a limit.
func alone(what, unit string, ours float64, g Goal, note string) Figure {
	nan := math.NaN()
	return Figure{What: what, Unit: unit, Ours: ours, Limit: nan, Ratio: nan, Low: nan, High: nan, Rounds: 1, Goal: g, Note: note}
}

// median of values, which it sorts; NaN for none.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	switch {
	case n == 0:
		return math.NaN()
	case n%2 == 1:
		return values[n/2]
	}
	return (values[n/2-1] + values[n/2]) / 2
}

// number prints a value with three or four digits that count.
func number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a >= 100 || v == math.Trunc(v):
		return group(int64(math.Round(v)))
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// group writes an integer with a comma between thousands.
func group(n int64) string {
	digits := fmt.Sprint(n)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// one is the result of a benchmark with one figure: none when it failed.
func one(f Figure, err error) ([]Figure, error) {
	if err != nil {
		return nil, err
	}
	return []Figure{f}, nil
}
