package strong

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/theriac-db/theriac/jepsen/history"
)

// A counter that is never reset is searched without porcupine, whose search doubles with each add of unknown
// outcome: it remembers which of them took effect, though of equal adds only the number matters.
//
// The search goes from answer to answer, and holds all states that the counter may be in (after the just-in-time
// linearization of Lowe, Testing for Linearizability, 2017). Adds follow one another in any order, so
// one takes effect late: when its own answer, or the value that a read needs, forces it to. Of equal adds
// the one that has to end first is taken first, and those of unknown outcome last: exchanging two equal adds
// that are both under way changes nothing. What is left to try is which different adds made the
// value that somebody read.

// effect is what a call does to a counter, all its operations together.
type effect struct {
	asks  bool  // it takes effect only where the counter is at need
	need  int64 // before the call
	delta int64
}

// effectOf sums a call up. ok: its answers do not contradict each other.
func effectOf(c *call) (e effect, ok bool) {
	for _, o := range c.ops {
		switch {
		case o.Do == history.Add:
			e.delta += o.Arg.Int
		case o.Got == nil:
		case e.asks && e.need != o.Got.Int-e.delta:
			return e, false
		default:
			e.asks, e.need = true, o.Got.Int-e.delta
		}
	}
	return e, true
}

// sums reports whether a place is a counter that only adds change.
func sums(p *spot) bool {
	return p.kind == "counter" && !slices.ContainsFunc(p.calls, func(c call) bool {
		return slices.ContainsFunc(c.ops, func(o *history.Op) bool { return o.Do == history.Reset })
	})
}

// ledger is the search.
type ledger struct {
	left    int        // steps
	rising  bool       // no add is of less than nothing
	ceiling int64      // where it is, no call that begins later reads less than this
	width   int        // how many lines are held at most
	crowd   int        // how many times as many may be looked at between two ends
	narrow  bool       // there were more
	open    []underway // calls under way, by slot; those that ended leave theirs
	spare   []spare    // calls of unknown outcome that have begun
	equal   []equals
	now     []row        // in the order in which they were found, so that verdicts are the same every time
	at      map[line]int // where each line is in now
	todo    []standing
}

// underway is a call of outcome ok.
type underway struct {
	effect
	end  int64
	live bool
}

// spare are calls of unknown outcome that do the same.
type spare struct {
	effect
	number int
}

// equals are adds under way, of whatever outcome, that do the same and ask nothing: in the order in which they end.
type equals struct {
	delta int64
	slots []int
	spare int // none: there are none of unknown outcome
}

// line is a state: the value, and which adds have taken effect: a byte for each slot, eight for each of spare. Of two that
// differ in nothing but in which reads took place, the one in which more did is as good.
type line struct {
	value int64
	adds  string
}

// row is a line with what is known of the reads that took place there.
type row struct {
	line
	reads []string
	spent int // calls of unknown outcome that have taken effect
}

// standing is a line with the reads that took place: a byte for each slot.
type standing struct {
	line
	reads string
}

// moment is when a call begins or ends.
type moment struct {
	at   int64
	ends bool
	call int
}

// minWidth is how many lines are held at first. One that lasts to the end is proof enough that the calls can be
// ordered; if none does though some were dropped, more are held.
const minWidth = 16

// addsUp reports whether the calls can be ordered, and whether that is certain. It holds width lines at first.
//
// Its steps are small, and need no memory: ten count as one of porcupine's.
func addsUp(calls []call, budget, width int) (fits, sure bool) {
	times := moments(calls)
	effects, ok := effectsOf(calls)
	if !ok || !withinSums(calls, effects, times) {
		return false, true
	}
	left := 10 * budget
	for ; left > 0; width *= 8 {
		l := &ledger{left: left, width: width, crowd: 16}
		if fits = l.run(calls, effects, times); fits || !l.narrow && l.left > 0 {
			return fits, true
		}
		left = l.left
	}
	return false, false
}

// effectsOf sums calls up. One that contradicts itself can't have taken effect. ok: none of those did.
func effectsOf(calls []call) (effects []effect, ok bool) {
	effects = make([]effect, len(calls))
	for i := range calls {
		e, agrees := effectOf(&calls[i])
		switch {
		case agrees:
			effects[i] = e
		case calls[i].known():
			return nil, false
		}
	}
	return effects, true
}

// withinSums reports whether each value that was read is between the least and the most that the adds before it and
// beside it can make: no number of unknown outcomes hides what is not.
func withinSums(calls []call, effects []effect, times []moment) bool {
	var ended, up, down int64           // sums of what has ended, and of what has begun, by sign
	before := make([]int64, len(calls)) // of each call, ended when it began
	ups, downs := make([]int64, len(calls)), make([]int64, len(calls))
	var endedUp, endedDown int64
	for _, m := range times {
		e, c := effects[m.call], m.call
		if !m.ends {
			before[c], ups[c], downs[c] = ended, endedUp, endedDown
			up, down = up+max(0, e.delta), down+min(0, e.delta)
			continue
		}
		// Beside it is all that had begun by now and not ended before it began, but for itself.
		lo := before[c] + down - downs[c] - min(0, e.delta)
		hi := before[c] + up - ups[c] - max(0, e.delta)
		if e.asks && (e.need < lo || e.need > hi) {
			return false
		}
		ended, endedUp, endedDown = ended+e.delta, endedUp+max(0, e.delta), endedDown+min(0, e.delta)
	}
	return true
}

// run lets all begin and end in turn, and reports whether a line lasts.
func (l *ledger) run(calls []call, effects []effect, times []moment) bool {
	slots := l.lay(calls, effects, times)
	blank := line{0, string(make([]byte, len(l.open)+8*len(l.spare)))}
	l.clear()
	l.keep(standing{blank, string(make([]byte, len(l.open)))})
	ceilings := l.ceilings(effects, calls, times)
	for i, m := range times {
		l.ceiling = ceilings[i+1]
		switch e := effects[m.call]; {
		case !calls[m.call].known():
			if k := slots[m.call]; k != none {
				l.spare[k].number++
			}
		case m.ends:
			l.end(slots[m.call])
			l.thin()
		default:
			l.open[slots[m.call]] = underway{e, calls[m.call].txn.End, true}
		}
		if len(l.now) == 0 || l.left <= 0 {
			return false
		}
	}
	return true
}

// ceilings says for each moment, and for the end, what the least value is that calls read which have not begun, if the
// counter only rises: a line beyond it has no future.
func (l *ledger) ceilings(effects []effect, calls []call, times []moment) []int64 {
	l.rising = !slices.ContainsFunc(effects, func(e effect) bool { return e.delta < 0 })
	out := make([]int64, len(times)+1)
	out[len(times)] = math.MaxInt64
	for i, m := range slices.Backward(times) {
		out[i] = out[i+1]
		if e := effects[m.call]; l.rising && e.asks && !m.ends && calls[m.call].known() {
			out[i] = min(out[i], e.need)
		}
	}
	return out
}

// moments sorts what begins and ends; what begins when another ends overlaps with it.
func moments(calls []call) []moment {
	var out []moment
	for i := range calls {
		out = append(out, moment{calls[i].txn.Start, false, i})
		if calls[i].known() {
			out = append(out, moment{calls[i].txn.End, true, i})
		}
	}
	slices.SortFunc(out, func(a, b moment) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(number(a.ends), number(b.ends)), cmp.Compare(a.call, b.call))
	})
	return out
}

// lay gives each call a place: a slot, which is used again after it has ended, or one among those of unknown
// outcome that do the same; none if it does nothing.
func (l *ledger) lay(calls []call, effects []effect, times []moment) []int {
	slots := make([]int, len(calls))
	var free []int
	same := map[effect]int{}
	for _, m := range times {
		e, k := effects[m.call], none
		switch {
		case calls[m.call].known() && m.ends:
			free = append(free, slots[m.call])
			continue
		case calls[m.call].known() && len(free) > 0:
			k, free = free[0], free[1:]
		case calls[m.call].known():
			k = len(l.open)
			l.open = append(l.open, underway{})
		case e.delta != 0:
			at, ok := same[e]
			if k = at; !ok {
				k = len(l.spare)
				same[e] = k
				l.spare = append(l.spare, spare{effect: e})
			}
		}
		slots[m.call] = k
	}
	return slots
}

// end lets a call end: whoever has not taken it up has to, and can if it asks nothing.
func (l *ledger) end(slot int) {
	l.settle()
	now, c := l.clear(), &l.open[slot]
	c.live = false
	for _, at := range now {
		for _, reads := range at.reads {
			switch s := (standing{at.line, reads}); {
			case c.delta == 0 && c.asks && reads[slot] == 0:
			case c.delta == 0:
				s.reads = put(reads, slot, 0)
				l.keep(s)
			case at.adds[slot] != 0:
				s.adds = put(s.adds, slot, 0)
				l.keep(s)
			case !c.asks:
				s.value += c.delta
				l.keep(s)
			}
		}
	}
}

func put(s string, at int, b byte) string {
	if s[at] == b {
		return s
	}
	out := []byte(s)
	out[at] = b
	return string(out)
}

// settle adds all states that can be reached by letting calls that ask take effect, with the adds that they need.
func (l *ledger) settle() {
	l.group()
	l.todo = l.todo[:0]
	for _, at := range l.clear() {
		for _, reads := range at.reads {
			l.reach(standing{at.line, reads})
		}
	}
	for len(l.todo) > 0 && l.left > 0 {
		s := l.todo[len(l.todo)-1]
		l.todo = l.todo[:len(l.todo)-1]
		l.ask(s)
	}
}

// thin drops lines if there are too many. Those stay of which fewer calls of unknown outcome have taken effect, since they leave
// more to choose from: such a call can take effect later as well, and few great adds leave many small ones.
func (l *ledger) thin() {
	if len(l.now) <= l.width {
		return
	}
	l.narrow = true
	for i := range l.now {
		r := &l.now[i]
		for k := range l.spare {
			r.spent += l.used(standing{line: r.line}, k)
		}
	}
	slices.SortStableFunc(l.now, func(a, b row) int { return cmp.Compare(a.spent, b.spent) })
	l.now = l.now[:l.width]
}

// clear takes all states away.
func (l *ledger) clear() []row {
	now := l.now
	l.now, l.at = nil, make(map[line]int, len(now))
	return now
}

// group finds the equal adds.
func (l *ledger) group() {
	l.equal = l.equal[:0]
	at := func(delta int64) *equals {
		k := slices.IndexFunc(l.equal, func(e equals) bool { return e.delta == delta })
		if k < 0 {
			k = len(l.equal)
			l.equal = append(l.equal, equals{delta: delta, spare: none})
		}
		return &l.equal[k]
	}
	for i := range l.open {
		if c := &l.open[i]; c.live && !c.asks && c.delta != 0 {
			e := at(c.delta)
			e.slots = append(e.slots, i)
		}
	}
	for i := range l.spare {
		if c := &l.spare[i]; c.number > 0 && !c.asks {
			at(c.delta).spare = i
		}
	}
	for _, e := range l.equal {
		slices.SortStableFunc(e.slots, func(a, b int) int { return cmp.Compare(l.open[a].end, l.open[b].end) })
	}
}

// reach notes a state, in which every read takes place that can, and looks on from it if it is new.
func (l *ledger) reach(s standing) {
	for i := range l.open {
		switch c := &l.open[i]; {
		case !c.live || !c.asks || s.reads[i] != 0 || s.adds[i] != 0:
		case c.delta == 0 && c.need == s.value:
			s.reads = put(s.reads, i, 1)
		case l.rising && c.need < s.value:
			return
		}
	}
	if s.value > l.ceiling {
		return
	}
	if l.left--; l.keep(s) {
		l.todo = append(l.todo, s)
	}
}

// keep notes a state, and reports whether none was as good.
func (l *ledger) keep(s standing) bool {
	k, ok := l.at[s.line]
	switch {
	case !ok && len(l.now) >= l.crowd*l.width:
		l.narrow = true
		return false
	case !ok:
		l.at[s.line] = len(l.now)
		l.now = append(l.now, row{line: s.line, reads: []string{s.reads}})
		return true
	}
	r := &l.now[k]
	if slices.ContainsFunc(r.reads, func(o string) bool { return covers(o, s.reads) }) {
		return false
	}
	r.reads = append(slices.DeleteFunc(r.reads, func(o string) bool { return covers(s.reads, o) }), s.reads)
	return true
}

func covers(a, b string) bool {
	for i := range len(b) {
		if b[i] > a[i] {
			return false
		}
	}
	return true
}

// ask lets each call that asks for another value than there is have it.
func (l *ledger) ask(s standing) {
	for i := range l.open {
		c := &l.open[i]
		if c.live && c.asks && s.reads[i] == 0 && s.adds[i] == 0 {
			l.make(s, c.effect, func(s standing) {
				if c.delta != 0 {
					s.adds = put(s.adds, i, 1)
				}
				l.reach(s)
			})
		}
	}
	for i := range l.spare {
		c := &l.spare[i]
		if used := l.used(s, i); c.asks && used < c.number {
			l.make(s, c.effect, func(s standing) { l.reach(l.use(s, i, used+1)) })
		}
	}
}

// used is how many of some calls of unknown outcome have taken effect.
func (l *ledger) used(s standing, i int) int {
	return int(binary.BigEndian.Uint64([]byte(s.adds[len(l.open)+8*i:][:8])))
}

func (l *ledger) use(s standing, i, n int) standing {
	adds := []byte(s.adds)
	binary.BigEndian.PutUint64(adds[len(l.open)+8*i:], uint64(n))
	s.adds = string(adds)
	return s
}

// make lets adds take effect in every way that makes the value that a call needs, and calls then with what the
// call leaves.
func (l *ledger) make(s standing, e effect, then func(standing)) {
	m := &change{ledger: l, effect: e, then: then, ready: make([][]int, len(l.equal)),
		lo: make([]int64, len(l.equal)+1), hi: make([]int64, len(l.equal)+1)}
	for k, q := range slices.Backward(l.equal) {
		m.ready[k] = l.ready(s, q)
		all := q.delta * int64(len(m.ready[k]))
		m.lo[k], m.hi[k] = m.lo[k+1]+min(0, all), m.hi[k+1]+max(0, all)
	}
	m.try(s, 0)
}

// change finds the ways to make a value.
type change struct {
	*ledger
	effect
	then   func(standing)
	ready  [][]int // of each of ledger.equal, what has not taken effect
	lo, hi []int64 // what those from each of ledger.equal on can make
	ways   int
}

// try lets some of the k-th equal adds and of those after them take effect.
func (m *change) try(s standing, k int) {
	if m.left--; m.left <= 0 {
		return
	}
	if k == len(m.equal) {
		if s.value == m.need {
			s.value += m.delta
			m.ways++
			m.then(s)
		}
		return
	}
	q, gap := m.equal[k], m.need-s.value
	for n := 0; n <= len(m.ready[k]); n++ {
		if rest := gap - int64(n)*q.delta; rest < m.lo[k+1] || rest > m.hi[k+1] {
			continue
		}
		if m.ways >= m.width {
			m.narrow = true
			return
		}
		m.try(m.take(s, q, m.ready[k][:n]), k+1)
	}
}

// take lets some of equal adds take effect.
func (l *ledger) take(s standing, q equals, slots []int) standing {
	for _, slot := range slots {
		if slot == none {
			s = l.use(s, q.spare, l.used(s, q.spare)+1)
		} else {
			s.adds = put(s.adds, slot, 1)
		}
	}
	s.value += q.delta * int64(len(slots))
	return s
}

// ready are the slots of equal adds that have not taken effect, in the order in which they should; none stands for one of
// unknown outcome.
func (l *ledger) ready(s standing, q equals) []int {
	var out []int
	for _, slot := range q.slots {
		if s.adds[slot] == 0 {
			out = append(out, slot)
		}
	}
	if q.spare != none {
		for range l.spare[q.spare].number - l.used(s, q.spare) {
			out = append(out, none)
		}
	}
	return out
}
