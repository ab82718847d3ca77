package nemesis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// How faults are spread over a run.
const (
	// MinSlot is the least time that a fault gets, the quiet before and after it included. A run is at
	// least as long as the kinds of its fullest track together. Range: it is fixed.
	MinSlot = 2 * time.Second
	// DefaultSlot is the time that a fault gets where the run is long enough to repeat kinds: longer than
	// the silence after which nodes give up a stream (5 s), so that streams break and are made again.
	DefaultSlot = 12 * time.Second
	// RoomySlot is the time in which a fault has something to work on, whatever came before it: nodes that were cut off
	// or killed have connections again.
	RoomySlot = 5 * time.Second
	// maxAhead bounds how far a clock is set forward.
	maxAhead = 5 * time.Second
)

// Plan says what a schedule is made of.
type Plan struct {
	Seed     uint64
	Regions  []string      // those that run from the start
	New      []string      // those that region-add may add, in this order
	Kinds    []string      // as a user names them; List has all
	Duration time.Duration // of the run
	Slot     time.Duration // of one fault and the quiet around it; 0: DefaultSlot

	joins []Fault // when regions are added
}

// Fault is one disturbance, planned.
type Fault struct {
	At, For time.Duration // since the run's start; how long
	Kind    Kind
	Targets []string // regions, or links as FROM>TO
	Text    string   // what is done to whom, for people

	Links   []Link        // of the network's kinds
	Regions []string      // of the other kinds
	Period  time.Duration // of those that come and go
	Weather Weather       // of slow
	Offset  time.Duration // of clock
}

// String is one line of a schedule.
func (f Fault) String() string {
	return fmt.Sprintf("%8.3fs for %7.3fs  %-18s %s", f.At.Seconds(), f.For.Seconds(), f.Kind, f.Text)
}

// Weather is how a link is when it is slow.
type Weather struct {
	Delay  time.Duration // added to all that goes over it
	Jitter time.Duration // at most so much more, drawn for each piece
	Rate   int           // bytes a second; 0: unlimited
	Loss   float64       // share of packets that are lost; a stream sends them again, late
}

// String is the weather in words.
func (w Weather) String() string {
	s := fmt.Sprintf("%v+%v", w.Delay, w.Jitter)
	if w.Rate > 0 {
		s += fmt.Sprintf(" %d KiB/s", w.Rate>>10)
	}
	if w.Loss > 0 {
		s += fmt.Sprintf(" %.1f%% lost", 100*w.Loss)
	}
	return s
}

// Schedule draws the faults, in the order of their beginnings.
func (p Plan) Schedule() ([]Fault, error) {
	kinds, err := Expand(p.Kinds)
	if err != nil {
		return nil, err
	}
	if p.Slot == 0 {
		p.Slot = DefaultSlot
	}
	if err := p.check(kinds); err != nil {
		return nil, err
	}
	of := make([][]Fault, len(tracks))
	for i, t := range slices.Backward(tracks) { // membership first: links depend on it
		r := rand.New(rand.NewPCG(p.Seed, uint64(i+1)))
		on := slices.DeleteFunc(slices.Clone(kinds), func(k Kind) bool { i, _ := info(k); return i.track != t })
		of[i] = p.track(r, on)
		if t == membership {
			p.joins = of[i]
		}
	}
	out := slices.Concat(of...)
	slices.SortStableFunc(out, func(a, b Fault) int { return int(a.At - b.At) })
	return out, nil
}

// RoomFor is how long a run is to be for kinds that take turns to have a RoomySlot each, by names as a user gives them.
// It is 0 where none take turns, and for names that Expand refuses.
func RoomFor(names []string) time.Duration {
	kinds, err := Expand(names)
	if err != nil {
		return 0
	}
	count, most := map[track]int{}, 0
	for _, k := range kinds {
		i, _ := info(k)
		count[i.track]++
		most = max(most, count[i.track])
	}
	if most < 2 {
		return 0
	}
	return time.Duration(most) * RoomySlot
}

func (p Plan) check(kinds []Kind) error {
	count := map[track]int{}
	for _, k := range kinds {
		i, _ := info(k)
		count[i.track]++
		if len(p.Regions) < i.regions {
			return fmt.Errorf("nemesis %s takes at least %d regions, here are %d", k, i.regions, len(p.Regions))
		}
		if k == RegionAdd && len(p.New) == 0 {
			return fmt.Errorf("nemesis %s: there is no region to add", k)
		}
	}
	for _, t := range tracks {
		if least := time.Duration(count[t]) * MinSlot; p.Duration < least {
			return fmt.Errorf("%d kinds of faults of the %s take a run of at least %v, this one is %v: make it longer, or name fewer", count[t], t, least, p.Duration)
		}
	}
	return nil
}

// track gives each fault of a track a slot, the kinds in turn.
func (p Plan) track(r *rand.Rand, kinds []Kind) []Fault {
	if len(kinds) == 0 {
		return nil
	}
	slots := max(len(kinds), int(p.Duration/p.Slot))
	if slices.Equal(kinds, []Kind{RegionAdd}) {
		slots = min(slots, len(p.New))
	}
	size := p.Duration / time.Duration(slots)
	var out []Fault
	var turn []Kind
	for i := range slots {
		if len(turn) == 0 {
			turn = slices.Clone(kinds)
			r.Shuffle(len(turn), func(i, j int) { turn[i], turn[j] = turn[j], turn[i] })
		}
		f := Fault{Kind: turn[0], At: time.Duration(i)*size + part(r, size, 0.1, 0.3), For: part(r, size, 0.3, 0.6)}
		turn = turn[1:]
		p.draw(r, &f, i)
		out = append(out, f)
	}
	return out
}

// part is a share of d between two bounds, in whole milliseconds.
func part(r *rand.Rand, d time.Duration, least, most float64) time.Duration {
	return time.Duration(float64(d) * (least + (most-least)*r.Float64())).Truncate(time.Millisecond)
}

// draw chooses whom a fault hits, and how.
func (p Plan) draw(r *rand.Rand, f *Fault, nth int) {
	i, _ := info(f.Kind)
	switch {
	case i.track == network:
		s := shape(f.Kind, r, p.linked(f))
		if f.Links, f.Targets, f.Text = s.Links, s.Targets, s.Text; f.Kind == IsolateLeader {
			f.Text = "the leader, else " + f.Text
		}
	case f.Kind == RegionAdd:
		f.Regions = p.New[nth : nth+1]
	default:
		f.Regions = victims(r, f.Kind, p.Regions)
	}
	if f.Targets == nil {
		f.Targets, f.Text = f.Regions, strings.Join(f.Regions, " ")
	}
	p.drawHow(r, f)
}

// linked are the regions that have links while a fault lasts. That of one which joins meanwhile is cut for when
// it does; one that is added only later would have nothing to disturb.
func (p Plan) linked(f *Fault) []string {
	regions := slices.Clone(p.Regions)
	for _, join := range p.joins {
		if join.At <= f.At+f.For/2 {
			regions = append(regions, join.Regions...)
		}
	}
	return regions
}

// drawHow chooses the numbers of the kinds that have some.
func (p Plan) drawHow(r *rand.Rand, f *Fault) {
	switch f.Kind {
	case PartitionFlapping, Stall, Reset:
		f.Period = within(r, 200*time.Millisecond, max(f.For/2, 400*time.Millisecond))
		f.Text += fmt.Sprintf(" every %v", f.Period)
	case RestartLoop:
		f.Period = within(r, 300*time.Millisecond, max(f.For/3, 600*time.Millisecond))
		f.Text += fmt.Sprintf(" every %v", f.Period)
	case Slow:
		f.Weather = drawWeather(r)
		f.Text += " " + f.Weather.String()
	case Clock:
		f.Offset = drawOffset(r)
		f.Text += fmt.Sprintf(" %+v", f.Offset)
	}
}

func within(r *rand.Rand, least, most time.Duration) time.Duration {
	return (least + time.Duration(r.Int64N(int64(most-least)+1))).Truncate(time.Millisecond)
}

// drawWeather is a bad link between continents, at worst.
func drawWeather(r *rand.Rand) Weather {
	w := Weather{Delay: within(r, 20*time.Millisecond, 300*time.Millisecond)}
	w.Jitter = within(r, 0, w.Delay)
	if r.IntN(2) == 0 {
		w.Rate = 64 << 10 << r.IntN(5)
	}
	if r.IntN(2) == 0 {
		w.Loss = float64(1+r.IntN(50)) / 1000
	}
	return w
}

// drawOffset is within the bound on clocks (500 ms), beyond it, or far off, either way. It is never far
// ahead: what is written then is not applied elsewhere until that time has come, which the end of a run
// would wait for.
func drawOffset(r *rand.Rand) time.Duration {
	bounds := []time.Duration{50 * time.Millisecond, 450 * time.Millisecond, 3 * time.Second, 2 * time.Minute}
	i := r.IntN(len(bounds) - 1)
	d := within(r, bounds[i], bounds[i+1])
	if r.IntN(2) == 0 {
		return -d
	}
	return min(d, maxAhead)
}

// victims draws the regions that a fault of a process, clock or disk hits.
func victims(r *rand.Rand, k Kind, regions []string) []string {
	order := shuffled(r, regions)
	n := 1
	switch k {
	case KillAll:
		n = len(order)
	case KillSeveral:
		n = 2 + r.IntN(len(order)-2)
	case Pause:
		n = 1 + r.IntN(len(order))
	}
	return inOrderOf(regions, order[:n])
}
