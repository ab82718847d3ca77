package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/history"
)

// pointsPerBucket of each outcome are drawn at most; the slowest is always one of them.
const pointsPerBucket = 8

// latencyChart is the latency of a group over time, on a logarithmic scale.
func (r *run) latencyChart(g group) chart {
	c := r.newChart("Latency: "+g.name, "")
	points := map[history.Outcome]*[buckets][]*history.Txn{}
	for _, o := range outcomes {
		points[o] = new([buckets][]*history.Txn)
	}
	never, ended := 0, 0
	low, high := int64(math.MaxInt64), int64(1)
	for _, t := range g.txns {
		if !t.Ended() {
			never++
			continue
		}
		ended++
		low, high = min(low, max(t.End-t.Start, 1)), max(high, t.End-t.Start)
		at := points[t.Outcome]
		at[r.bucketOf(t.Start)] = append(at[r.bucketOf(t.Start)], t)
	}
	c.About = fmt.Sprintf("%s by when they began; median and 99th percentile of the acknowledged ones.", plural(len(g.txns), "transaction"))
	if never > 0 {
		c.About += fmt.Sprintf(" %s never answered.", wasOrWere(never))
	}
	if ended == 0 {
		return c
	}
	s := newLogScale(low, high)
	c.Y = s.ticks()
	for _, o := range outcomes {
		if d := r.points(points[o], s); d != "" {
			c.Paths = append(c.Paths, path{"points " + string(o), d})
			c.Legend = append(c.Legend, legend{"dot " + string(o), outcomeWord[o]})
		}
	}
	r.quantiles(&c, points[history.OK], s)
	return c
}

func wasOrWere(n int) string {
	if n == 1 {
		return "1 was"
	}
	return count(n) + " were"
}

// outcomeWord names an outcome for people.
var outcomeWord = map[history.Outcome]string{history.OK: "acknowledged", history.Fail: "not applied", history.Unknown: "outcome unknown"}

// points is a path with a dot for each transaction, or for some of those of a bucket with many.
func (r *run) points(by *[buckets][]*history.Txn, s logScale) string {
	var d strings.Builder
	for _, txns := range by {
		for _, t := range sample(txns) {
			fmt.Fprintf(&d, "M%s %sh0", num(r.x(t.Start)), num(s.y(t.End-t.Start)))
		}
	}
	return d.String()
}

// sample keeps some of the transactions, evenly, and the slowest.
func sample(txns []*history.Txn) []*history.Txn {
	if len(txns) <= pointsPerBucket {
		return txns
	}
	slowest := slices.MaxFunc(txns, func(a, b *history.Txn) int { return int(a.End - a.Start - b.End + b.Start) })
	out := []*history.Txn{slowest}
	for i := range pointsPerBucket - 1 {
		out = append(out, txns[i*len(txns)/(pointsPerBucket-1)])
	}
	return out
}

// quantiles adds the lines of the quantiles and what is shown of each bucket.
func (r *run) quantiles(c *chart, by *[buckets][]*history.Txn, s logScale) {
	var median, p99 strings.Builder
	gap := true
	for i, txns := range by {
		if len(txns) == 0 {
			gap = true
			continue
		}
		took := make([]int64, len(txns))
		for j, t := range txns {
			took[j] = t.End - t.Start
		}
		slices.Sort(took)
		from, to := r.bucket(i)
		verb := "L"
		if gap {
			verb = "M"
		}
		for _, line := range []struct {
			to *strings.Builder
			q  float64
		}{{&median, 0.5}, {&p99, 0.99}} {
			fmt.Fprintf(line.to, "%s%s %sH%s", verb, num(r.x(from)), num(s.y(at(took, line.q))), num(r.x(to)))
		}
		gap = false
		c.Hovers = append(c.Hovers, r.hoverAt(i, fmt.Sprintf("%s acknowledged: median %s, 99th percentile %s, slowest %s",
			count(len(took)), quantile(took, 0.5), quantile(took, 0.99), quantile(took, 1))))
	}
	if median.Len() > 0 {
		c.Paths = append(c.Paths, path{"line p99", p99.String()}, path{"line median", median.String()})
		c.Legend = append(c.Legend, legend{"dash median", "median"}, legend{"dash p99", "99th percentile"})
	}
}

// logScale puts durations between two powers of ten.
type logScale struct{ low, high float64 } // exponents

func newLogScale(low, high int64) logScale {
	s := logScale{math.Floor(math.Log10(float64(low))), math.Ceil(math.Log10(float64(high)))}
	if s.high <= s.low {
		s.high = s.low + 1
	}
	return s
}

func (s logScale) y(ns int64) float64 {
	part := (math.Log10(float64(max(ns, 1))) - s.low) / (s.high - s.low)
	return plotBottom - part*(plotBottom-plotTop)
}

func (s logScale) ticks() []tick {
	var out []tick
	for e := s.low; e <= s.high; e++ {
		ns := int64(math.Round(math.Pow(10, e)))
		out = append(out, tick{At: num(s.y(ns)), Label: duration(ns)})
	}
	return out
}
