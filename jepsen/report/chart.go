package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/history"
)

// The size of a chart in its own units, and what of it is drawn on.
const (
	chartWidth  = 720.0
	chartHeight = 200.0
	plotLeft    = 82.0
	plotRight   = 710.0
	plotTop     = 18.0
	plotBottom  = 172.0
)

const (
	buckets  = 96  // into which the length of the run is cut
	maxBands = 300 // fault periods shaded in a chart
	maxKinds = 12  // kinds of faults with a row of their own
)

// chart is a drawing over the time of the run.
type chart struct {
	Title, About string
	W, H         float64
	Left, Right  float64
	Top, Bottom  float64
	Bands        []band
	X, Y         []tick
	Paths        []path
	Bars         []bar
	Hovers       []hover
	Mark         *mark
	Legend       []legend
}

type band struct{ X, W, Label string }
type tick struct{ At, Label, Second string } // Second: a second line
type path struct{ Class, D string }
type bar struct{ X, Y, W, Label, LabelX, LabelY, Tip string }
type hover struct{ X, W, Tip string }
type mark struct{ X, Label string }
type legend struct{ Class, Text string }

// charts are all of the page.
func (r *run) charts() []chart {
	var out []chart
	if len(r.h.Faults) > 0 {
		out = append(out, r.faultChart())
	}
	out = append(out, r.throughputChart(), r.regionChart())
	for _, g := range r.groups {
		if g.name != "final reads" {
			out = append(out, r.latencyChart(g))
		}
	}
	return out
}

func (r *run) newChart(title, about string) chart {
	c := chart{Title: title, About: about, W: chartWidth, H: chartHeight,
		Left: plotLeft, Right: plotRight, Top: plotTop, Bottom: plotBottom, X: r.timeTicks(), Bands: r.bands()}
	if r.final >= 0 {
		c.Mark = &mark{num(r.x(r.final)), "final reads"}
	}
	return c
}

// x is where a time is.
func (r *run) x(at int64) float64 {
	return plotLeft + float64(at)/float64(r.length)*(plotRight-plotLeft)
}

// timeTicks are about eight, at round times.
func (r *run) timeTicks() []tick {
	step := roundStep(float64(r.length) / 1e9 / 8)
	var out []tick
	for i := 0; ; i++ {
		at := int64(math.Round(float64(i) * step * 1e9))
		if at > r.length {
			return out
		}
		out = append(out, tick{At: num(r.x(at)), Label: trimmed(fmt.Sprintf("%.6f", float64(at)/1e9)) + " s"})
	}
}

// roundStep is the next larger of 1, 2, 5, 10, ... .
func roundStep(least float64) float64 {
	for power := math.Pow(10, math.Floor(math.Log10(least))); ; power *= 10 {
		for _, f := range []float64{1, 2, 5} {
			if f*power >= least {
				return f * power
			}
		}
	}
}

// until is when a fault ended, or the run.
func (r *run) until(f *history.Fault) int64 {
	if f.End < 0 {
		return r.length
	}
	return f.End
}

// bands are the periods of faults; where they overlap the shade is darker.
func (r *run) bands() []band {
	var out []band
	named := 0.0 // up to where names stand
	for i := range r.h.Faults {
		if len(out) == maxBands {
			break
		}
		f := &r.h.Faults[i]
		from, to := r.x(f.Start), r.x(r.until(f))
		b := band{X: num(from), W: num(max(to-from, 1))}
		if width := float64(len(f.Kind)) * 6.2; width < to-from && from >= named {
			b.Label, named = f.Kind, from+width
		}
		out = append(out, b)
	}
	return out
}

// faultChart has a row for each kind of fault.
func (r *run) faultChart() chart {
	by := map[string][]*history.Fault{}
	for i := range r.h.Faults {
		f := &r.h.Faults[i]
		by[f.Kind] = append(by[f.Kind], f)
	}
	kinds := sortedKeys(by)
	c := r.newChart("Faults", "What was disturbed, and when.")
	if len(kinds) > maxKinds {
		c.About += fmt.Sprintf(" %s are not shown.", plural(len(kinds)-maxKinds, "other kind"))
		kinds = kinds[:maxKinds]
	}
	const row = 26
	c.Bottom = plotTop + row*float64(len(kinds))
	c.H = c.Bottom + chartHeight - plotBottom
	c.Bands = nil
	left := len(r.h.Faults)
	for i, kind := range kinds {
		y := plotTop + row*float64(i)
		first, second, _ := strings.Cut(kind, "-")
		c.Y = append(c.Y, tick{num(y + row/2), short(first, 11), short(second, 11)})
		for _, f := range by[kind][:min(len(by[kind]), maxBands)] {
			c.Bars = append(c.Bars, r.faultBar(f, y+5))
			left--
		}
	}
	if left > 0 {
		c.About += fmt.Sprintf(" %s are not drawn.", plural(left, "more fault"))
	}
	return c
}

func (r *run) faultBar(f *history.Fault, y float64) bar {
	from, to := r.x(f.Start), r.x(r.until(f))
	targets := strings.Join(f.Targets, ", ")
	b := bar{X: num(from), Y: num(y), W: num(max(to-from, 2)), Tip: r.tellFault(f)}
	if text := short(targets, 60); float64(len(text))*6.2 < to-from {
		b.Label, b.LabelX, b.LabelY = text, num(from+4), num(y+12)
	}
	return b
}

func (r *run) tellFault(f *history.Fault) string {
	text := f.Kind
	if len(f.Targets) > 0 {
		text += " of " + short(strings.Join(f.Targets, ", "), 200)
	}
	did := tellEffects(f)
	if did != "" {
		did = "\n" + did
	}
	if f.End < 0 {
		return fmt.Sprintf("%s, from %s, not ended%s", text, moment(f.Start), did)
	}
	return fmt.Sprintf("%s, from %s for %s%s", text, moment(f.Start), duration(f.End-f.Start), did)
}

// bucketOf is the bucket that a time is in.
func (r *run) bucketOf(at int64) int {
	return min(int(float64(at)/float64(r.length)*buckets), buckets-1)
}

// bucket is the time from which to which a bucket reaches.
func (r *run) bucket(i int) (from, to int64) {
	return int64(float64(r.length) * float64(i) / buckets), int64(float64(r.length) * float64(i+1) / buckets)
}

// hoverAt is the area that shows a text about a bucket.
func (r *run) hoverAt(i int, text string) hover {
	from, to := r.bucket(i)
	tip := fmt.Sprintf("%s to %s\n%s", moment(from), moment(to), text)
	if kinds := r.under(from, to); len(kinds) > 0 {
		tip += "\nduring " + strings.Join(kinds, ", ")
	}
	return hover{num(r.x(from)), num(r.x(to) - r.x(from)), tip}
}

// under are the kinds of faults between two times.
func (r *run) under(from, to int64) []string {
	var kinds []string
	for i := range r.h.Faults {
		f := &r.h.Faults[i]
		if f.Start < to && r.until(f) > from && !slices.Contains(kinds, f.Kind) {
			kinds = append(kinds, f.Kind)
		}
	}
	slices.Sort(kinds)
	return kinds[:min(len(kinds), maxKinds)]
}

// What the template asks of a chart.

// Height of what is drawn on.
func (c chart) Height() string { return num(c.Bottom - c.Top) }

// BandY is where the names of faults stand.
func (c chart) BandY() string { return num(c.Top - 4) }

// LabelX is where the labels of the vertical axis end.
func (c chart) LabelX() string { return num(c.Left - 6) }

// LabelY is where the labels of the horizontal axis stand.
func (c chart) LabelY() string { return num(c.Bottom + 18) }

// MarkY is where the mark's name stands.
func (c chart) MarkY() string { return num(c.Top + 9) }
