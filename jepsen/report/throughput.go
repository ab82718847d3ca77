package report

import (
	"fmt"
	"strings"

	"github.com/theriac-db/theriac/jepsen/history"
)

// series is a count in each bucket.
type series [buckets]int

// rate of a bucket, per second.
func (r *run) rate(n int) float64 { return float64(n) / (float64(r.length) / buckets / 1e9) }

// throughputChart stacks what ended in each bucket, by outcome.
func (r *run) throughputChart() chart {
	c := r.newChart("Throughput", "Transactions a second by outcome, by when they ended; those never answered, by when they began.")
	by := map[history.Outcome]*series{}
	for _, o := range outcomes {
		by[o] = new(series)
	}
	var all series
	for i := range r.h.Txns {
		t := &r.h.Txns[i]
		when := t.End
		if !t.Ended() {
			when = t.Start
		}
		by[t.Outcome][r.bucketOf(when)]++
		all[r.bucketOf(when)]++
	}
	s := newLinearScale(r.rate(highest(all)))
	c.Y = s.ticks()
	var under series
	for _, o := range outcomes {
		if r.outcomes[o] == 0 {
			continue
		}
		over := under
		for i := range over {
			over[i] += by[o][i]
		}
		c.Paths = append(c.Paths, path{"area " + string(o), r.area(&under, &over, s)})
		c.Legend = append(c.Legend, legend{"dot " + string(o), fmt.Sprintf("%s: %s", outcomeWord[o], count(r.outcomes[o]))})
		under = over
	}
	for i := range all {
		c.Hovers = append(c.Hovers, r.hoverAt(i, fmt.Sprintf("%s acknowledged, %s not applied, %s of unknown outcome",
			perSecond(r.rate(by[history.OK][i])), perSecond(r.rate(by[history.Fail][i])), perSecond(r.rate(by[history.Unknown][i])))))
	}
	return c
}

func highest(s series) int {
	n := 0
	for _, v := range s {
		n = max(n, v)
	}
	return n
}

// area is what lies between two series.
func (r *run) area(under, over *series, s linearScale) string {
	var d strings.Builder
	verb := "M"
	for i := range buckets {
		from, to := r.bucket(i)
		fmt.Fprintf(&d, "%s%s %sH%s", verb, num(r.x(from)), num(s.y(r.rate(over[i]))), num(r.x(to)))
		verb = "L"
	}
	for i := buckets - 1; i >= 0; i-- {
		from, to := r.bucket(i)
		fmt.Fprintf(&d, "L%s %sH%s", num(r.x(to)), num(s.y(r.rate(under[i]))), num(r.x(from)))
	}
	return d.String() + "Z"
}

// maxRegions have a line of their own.
const maxRegions = 9

// regionChart shows in which region calls were acknowledged: a region that is cut off goes on.
func (r *run) regionChart() chart {
	c := r.newChart("Availability", "Acknowledged transactions a second, by the region that served them.")
	regions := r.h.Header.Regions
	if len(regions) > maxRegions {
		c.About += fmt.Sprintf(" %s are not shown.", plural(len(regions)-maxRegions, "more region"))
		regions = regions[:maxRegions]
	}
	by := map[string]*series{}
	for _, name := range regions {
		by[name] = new(series)
	}
	most := 0
	for i := range r.h.Txns {
		if t := &r.h.Txns[i]; t.Outcome == history.OK && by[t.Region] != nil {
			by[t.Region][r.bucketOf(t.End)]++
			most = max(most, by[t.Region][r.bucketOf(t.End)])
		}
	}
	s := newLinearScale(r.rate(most))
	c.Y = s.ticks()
	for i, name := range regions {
		class := fmt.Sprintf("region%d", i+1)
		c.Paths = append(c.Paths, path{"line " + class, r.steps(by[name], s)})
		c.Legend = append(c.Legend, legend{"dash " + class, short(name, 40)})
	}
	for i := range buckets {
		var parts []string
		for _, name := range regions {
			parts = append(parts, fmt.Sprintf("%s: %s", short(name, 40), perSecond(r.rate(by[name][i]))))
		}
		c.Hovers = append(c.Hovers, r.hoverAt(i, strings.Join(parts, ", ")))
	}
	return c
}

// steps is a line through the buckets.
func (r *run) steps(values *series, s linearScale) string {
	var d strings.Builder
	verb := "M"
	for i := range buckets {
		from, to := r.bucket(i)
		fmt.Fprintf(&d, "%s%s %sH%s", verb, num(r.x(from)), num(s.y(r.rate(values[i]))), num(r.x(to)))
		verb = "L"
	}
	return d.String()
}

// linearScale puts rates between 0 and a round number.
type linearScale struct{ step, high float64 }

func newLinearScale(most float64) linearScale {
	step := roundStep(max(most, 0.001) / 4)
	s := linearScale{step: step}
	for s.high < most || s.high == 0 {
		s.high += step
	}
	return s
}

func (s linearScale) y(rate float64) float64 {
	return plotBottom - rate/s.high*(plotBottom-plotTop)
}

func (s linearScale) ticks() []tick {
	var out []tick
	for i := 0; float64(i)*s.step <= s.high*1.0001; i++ {
		out = append(out, tick{At: num(s.y(float64(i) * s.step)), Label: perSecond(float64(i) * s.step)})
	}
	return out
}
