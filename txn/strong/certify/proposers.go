package certify

import (
	"slices"

	"github.com/theriac-db/theriac/clock"
)

// decided is what is kept of a decision, to give it again.
type decided struct {
	verdict Verdict // 0: not decided
	access  int
	time    clock.Timestamp // of the commit, or of the conflicting one
	prev    clock.Timestamp
	answer  []byte
}

// proposer is a region's current life: its decisions above the number up to which all were seen.
type proposer struct {
	incarnation uint64
	answered    uint64
	commands    int       // decided, and not yet answered: each keeps an answer
	ring        []decided // of number n at n modulo its length, a power of two; numbers in (answered, answered+length]
}

// leastRing is the least length of a ring.
const leastRing = 64

// reserve makes room for the decision of a number, or returns false if it is too far ahead.
func (p *proposer) reserve(number uint64, limit int) bool {
	ahead := number - p.answered
	if ahead > uint64(limit) {
		return false
	}
	if ahead <= uint64(len(p.ring)) {
		return true
	}
	size := max(leastRing, len(p.ring))
	for uint64(size) < ahead {
		size *= 2
	}
	old := p.ring
	p.ring = make([]decided, size)
	for i := range uint64(len(old)) {
		n := p.answered + 1 + i
		p.ring[n&uint64(size-1)] = old[n&uint64(len(old)-1)]
	}
	return true
}

// of is the place of a number that was reserved.
func (p *proposer) of(number uint64) *decided { return &p.ring[number&uint64(len(p.ring)-1)] }

// set puts a decision into its place, or takes it away.
func (p *proposer) set(number uint64, k decided) {
	place := p.of(number)
	if place.verdict == Done {
		p.commands--
	}
	if k.verdict == Done {
		p.commands++
	}
	*place = k
}

// forget drops the decisions up to a number.
func (p *proposer) forget(answered uint64) {
	if answered <= p.answered {
		return
	}
	if answered-p.answered >= uint64(len(p.ring)) {
		clear(p.ring)
		p.commands = 0
	} else {
		for n := p.answered + 1; n <= answered; n++ {
			p.set(n, decided{})
		}
	}
	p.answered = answered
}

// regions knows the current life of every region, and which regions have none any more.
type regions struct {
	of    map[clock.Region]*proposer
	ended []clock.Region // for good, rising
}

func newRegions() regions { return regions{of: map[clock.Region]*proposer{}} }

// end ends a region's lives for good.
func (r *regions) end(region clock.Region) {
	delete(r.of, region)
	if i, found := slices.BinarySearch(r.ended, region); !found {
		r.ended = slices.Insert(r.ended, i, region)
	}
}

// current is the incarnation of a region's life, 0 for none.
func (r *regions) current(region clock.Region) uint64 {
	if p := r.of[region]; p != nil {
		return p.incarnation
	}
	return 0
}

// begin decides a begin. It names the life that it follows, so that one which was delayed, and whose
// process is long gone, can't end a later life.
func (r *regions) begin(p *Proposal, d *Decision, limit int) {
	current := r.current(p.Region)
	_, gone := slices.BinarySearch(r.ended, p.Region)
	switch {
	case gone || current != p.Incarnation && current != p.Ends:
		d.Verdict, d.Current = Ended, current
	case current == p.Incarnation:
		d.Verdict, d.Repeated = Begun, true
	case current == 0 && len(r.of) >= limit:
		d.Verdict = Beyond
	default:
		d.Verdict = Begun
		r.of[p.Region] = &proposer{incarnation: p.Incarnation}
	}
}
