package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// The measures of a drawing, in its own units.
const (
	laneLeft    = 118.0 // where lanes begin, behind their names
	laneGap     = 46.0  // between lanes: arrows pass there
	drawTop     = 40.0
	boxGap      = 44.0 // between the transactions of a lane
	eventGap    = 10.0 // between times of different transactions
	charWidth   = 6.7
	lineHeight  = 15.0
	boxPadding  = 8.0
	maxBoxRunes = 46
	drawBottom  = 10.0 // below the last lane
)

// drawing has the transactions of an anomaly on lanes, one for each session or process, from left to
// right in the order of their times. It is not to scale: transactions are microseconds long and
// seconds apart.
type drawing struct {
	W, H   string
	Lanes  []lane
	Boxes  []box
	Arrows []arrow
}

type lane struct{ Y, NameY, SubY, To, Name, Sub string }

type box struct {
	X, Y, W, H string
	Class, Tip string
	Lines      []line
}

type line struct{ X, Y, Class, Text string }

type arrow struct {
	D, Class, Tip string
	Head          string // the id of its tip
	N             int
	X, Y, TextY   string // of its number
}

// The ids of arrow tips: of those that go with time, and of those that go against it.
const headOn, headBack = "head-on", "head-back"

// Heads are those that the page must define. Each drawing has them again, under the same ids: they are equal.
func (*drawing) Heads() []string { return []string{headOn, headBack} }

// placed is a transaction with its place.
type placed struct {
	txn        *history.Txn
	lane       int
	lines      []string
	x, y, w, h float64
}

func (b *placed) right() float64  { return b.x + b.w }
func (b *placed) bottom() float64 { return b.y + b.h }

// draw draws transactions, at least one, and the order that is told of them.
func draw(txns []*history.Txn, order []checker.Step, text string) *drawing {
	boxes := make([]*placed, len(txns))
	for i, t := range txns {
		boxes[i] = &placed{txn: t, lines: boxLines(t, text)}
		longest := 0
		for _, l := range boxes[i].lines {
			longest = max(longest, utf8.RuneCountInString(l))
		}
		boxes[i].w = float64(longest)*charWidth + 2*boxPadding
		boxes[i].h = float64(len(boxes[i].lines))*lineHeight + boxPadding
	}
	names := lanes(boxes)
	layTimes(boxes, len(names))
	d := new(drawing)
	top := drawTop // arrows within a lane pass above it
	if len(order) == 0 {
		top = drawBottom
	}
	bottom := d.layLanes(boxes, names, top)
	width := 0.0
	for _, b := range boxes {
		width = max(width, b.right()+16)
		d.Boxes = append(d.Boxes, b.box())
	}
	for i := range d.Lanes {
		d.Lanes[i].To = num(width)
	}
	d.W, d.H = num(width), num(bottom)
	d.arrows(boxes, order)
	return d
}

// boxLines are what is written into a transaction's box: operations that the text speaks of come first.
func boxLines(t *history.Txn, text string) []string {
	lines := []string{fmt.Sprintf("T%d  %s  %s", t.ID, t.Region, t.Outcome)}
	ops := make([]*history.Op, len(t.Ops))
	for i := range t.Ops {
		ops[i] = &t.Ops[i]
	}
	slices.SortStableFunc(ops, func(a, b *history.Op) int { return cmp.Compare(mentioned(b, text), mentioned(a, text)) })
	for _, o := range ops[:min(len(ops), maxOps)] {
		lines = append(lines, checker.DescribeOp(o))
	}
	if more := len(ops) - maxOps; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	when := moment(t.Start)
	if t.Ended() {
		when += ", took " + duration(t.End-t.Start)
	} else {
		when += ", never answered"
	}
	lines = append(lines, when)
	for i := range lines {
		lines[i] = squeezed(lines[i], maxBoxRunes)
	}
	return lines
}

func mentioned(o *history.Op, text string) int {
	if strings.Contains(text, checker.Place(o)) {
		return 1
	}
	return 0
}

// lanes gives each transaction its lane, in the order of their first transactions, and returns the names.
func lanes(boxes []*placed) []string {
	slices.SortStableFunc(boxes, func(a, b *placed) int { return cmp.Compare(a.txn.Start, b.txn.Start) })
	var names []string
	for _, b := range boxes {
		name := fmt.Sprintf("process %d", b.txn.Process)
		if b.txn.Session != 0 {
			name = fmt.Sprintf("session %d", b.txn.Session)
		}
		b.lane = slices.Index(names, name)
		if b.lane < 0 {
			b.lane = len(names)
			names = append(names, name)
		}
	}
	return names
}

// event is where a transaction begins or ends.
type event struct {
	at  int64
	end bool
	box *placed
}

// layTimes sets x and w: whatever came earlier is further left, and every box holds its text.
func layTimes(boxes []*placed, lanes int) {
	var events []event
	for _, b := range boxes {
		end := b.txn.End
		if !b.txn.Ended() {
			end = math.MaxInt64
		}
		events = append(events, event{b.txn.Start, false, b}, event{end, true, b})
	}
	slices.SortStableFunc(events, func(a, b event) int {
		if a.at != b.at {
			return cmp.Compare(a.at, b.at)
		}
		return cmp.Compare(a.rank(), b.rank())
	})
	free := make([]float64, lanes) // from where a lane is free
	for i := range free {
		free[i] = laneLeft
	}
	x := laneLeft
	for _, e := range events {
		if x += eventGap; e.end {
			x = max(x, e.box.right())
			e.box.w = x - e.box.x
			free[e.box.lane] = x + boxGap
		} else {
			x = max(x, free[e.box.lane])
			e.box.x = x
		}
	}
}

// rank orders events of one time: what ends then ends before others begin, unless it began then.
func (e event) rank() int {
	switch {
	case !e.end:
		return 1
	case e.box.txn.Start == e.at:
		return 2
	}
	return 0
}

// layLanes sets y, from the top on, and returns where the drawing ends.
func (d *drawing) layLanes(boxes []*placed, names []string, y float64) float64 {
	for i, name := range names {
		height := 0.0
		var regions []string
		for _, b := range boxes {
			if b.lane == i {
				b.y = y
				height = max(height, b.h)
				if !slices.Contains(regions, b.txn.Region) {
					regions = append(regions, b.txn.Region)
				}
			}
		}
		middle := y + height/2
		d.Lanes = append(d.Lanes, lane{Y: num(middle), NameY: num(middle - 3), SubY: num(middle + 12),
			Name: name, Sub: short("in "+strings.Join(regions, ", "), 18)})
		y += height + laneGap
	}
	return y - laneGap + drawBottom
}

func (b *placed) box() box {
	out := box{X: num(b.x), Y: num(b.y), W: num(b.w), H: num(b.h), Class: string(b.txn.Outcome), Tip: short(checker.Describe(b.txn), 900)}
	for i, text := range b.lines {
		class := "op"
		switch i {
		case 0:
			class = "head"
		case len(b.lines) - 1:
			class = "when"
		}
		out.Lines = append(out.Lines, line{num(b.x + boxPadding), num(b.y + float64(i+1)*lineHeight), class, text})
	}
	return out
}

// arrows draws the order.
func (d *drawing) arrows(boxes []*placed, order []checker.Step) {
	by := map[int]*placed{}
	for _, b := range boxes {
		by[b.txn.ID] = b
	}
	for _, s := range order {
		from, to := by[s.From], by[s.To]
		if from == nil || to == nil || from == to || len(d.Arrows) == maxArrows {
			continue
		}
		n := len(d.Arrows)
		a := curve(from, to, n%5-2)
		a.N, a.Tip, a.Head = n+1, short(s.Why, 600), headOn
		if to.right() < from.x {
			a.Class, a.Head = "back", headBack
		}
		d.Arrows = append(d.Arrows, a)
	}
}

// curve leads from one box to the other; turn, from -2 to 2, keeps several apart.
func curve(from, to *placed, turn int) arrow {
	var p [4][2]float64
	shift := float64(turn) * 7
	if to.x >= from.right() && from.lane == to.lane {
		p[0] = [2]float64{from.right(), from.y + min(from.h, to.h)/2 + shift}
		p[3] = [2]float64{to.x - 3, p[0][1]}
		p[1], p[2] = p[0], p[3]
	} else {
		p = bend(from, to, shift)
	}
	number := 0.5 + float64(turn)*0.1 // where along the curve it is
	x, y := along(p, 0, number), along(p, 1, number)
	return arrow{
		D: fmt.Sprintf("M%s %sC%s %s %s %s %s %s", num(p[0][0]), num(p[0][1]), num(p[1][0]), num(p[1][1]),
			num(p[2][0]), num(p[2][1]), num(p[3][0]), num(p[3][1])),
		X: num(x), Y: num(y), TextY: num(y + 3.6),
	}
}

// bend leaves a box through its top or bottom, and enters the other one so.
func bend(from, to *placed, shift float64) (p [4][2]float64) {
	start, end := from.y, to.y
	pull := -drawTop * 0.9 // both above, in one lane
	switch {
	case from.lane < to.lane:
		start, end, pull = from.bottom(), to.y-3, laneGap
	case from.lane > to.lane:
		end = to.bottom() + 3
		pull = -laneGap
	default:
		end -= 3
	}
	p[0] = [2]float64{from.x + from.w/2 + shift, start}
	p[3] = [2]float64{to.x + to.w/2 + shift, end}
	p[1] = [2]float64{p[0][0], start + pull}
	p[2] = [2]float64{p[3][0], end - pull}
	if from.lane == to.lane {
		p[2][1] = end + pull
	}
	return p
}

// along a cubic curve, a part of its way.
func along(p [4][2]float64, axis int, part float64) float64 {
	rest := 1 - part
	return rest*rest*rest*p[0][axis] + 3*rest*rest*part*p[1][axis] + 3*rest*part*part*p[2][axis] + part*part*part*p[3][axis]
}
