package strong

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/anishathalye/porcupine"

	"github.com/theriac-db/theriac/jepsen/history"
)

// state is what a place holds. Which field counts follows from its type.
type state struct {
	text string // registers: empty for nothing, else a sign and the value
	n    int64  // counters, and flags as 0 and 1
	set  *trie
	sum  digest // of the set's elements
}

// digest tells sets apart: the exclusive or of 128 bits of each element's SHA-256.
type digest [2]uint64

func (d digest) with(e digest) digest { return digest{d[0] ^ e[0], d[1] ^ e[1]} }

// search is porcupine's search over one place, with a budget of steps.
type search struct {
	kind   string
	sums   bool // it is a counter that is searched as a ledger
	budget int
	left   int
	number map[string]int         // of each element
	of     map[string]digest      // of each element
	read   map[*history.Op]digest // of the set that an operation read
	depth  int                    // of tries
}

func newSearch(p *spot, budget int) *search {
	s := &search{kind: p.kind, sums: sums(p), budget: budget, number: map[string]int{}, of: map[string]digest{}, read: map[*history.Op]digest{}}
	for i := range p.calls {
		for _, o := range p.calls[i].ops {
			s.prepare(o)
		}
	}
	s.depth = bits.Len(uint(len(s.number)))
	return s
}

func (s *search) prepare(o *history.Op) {
	if o.Element != "" || o.Do == history.Contains {
		s.element(o.Element)
	}
	if o.Do != history.Get || o.Got == nil {
		return
	}
	var d digest
	for _, e := range o.Got.List {
		d = d.with(s.element(e))
	}
	s.read[o] = d
}

func (s *search) element(e string) digest {
	if d, ok := s.of[e]; ok {
		return d
	}
	h := sha256.Sum256([]byte(e))
	d := digest{binary.BigEndian.Uint64(h[:8]), binary.BigEndian.Uint64(h[8:16])}
	s.of[e] = d
	s.number[e] = len(s.number)
	return d
}

func (s *search) model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: s.step,
		Equal: func(a, b any) bool {
			x, y := a.(state), b.(state)
			return x.text == y.text && x.n == y.n && x.sum == y.sum
		},
	}
}

// step applies a call. Once the budget is spent nothing fits any more, which ends the search.
func (s *search) step(at, input, _ any) (bool, any) {
	if s.left--; s.left < 0 {
		s.left = 0
	}
	if s.left == 0 {
		return false, at
	}
	c, before := input.(*call), at.(state)
	now := before
	for _, o := range c.ops {
		if !s.allows(now, o) {
			// A condition that does not hold refuses the whole call, which is an outcome like any other
			// when nobody knows it; so is that it took no effect since its answers are of another time.
			return !c.known(), before
		}
		now = s.after(now, o)
	}
	return true, now
}

// allows reports whether an answer or a condition fits what is there.
func (s *search) allows(now state, o *history.Op) bool {
	switch {
	case o.Expect != nil:
		return now.text == content(s.kind, o.Expect)
	case o.Got == nil:
		return true
	case o.Do == history.Contains:
		return now.set.has(s.number[o.Element], s.depth) == o.Got.Flag
	}
	switch s.kind {
	case "counter":
		return now.n == o.Got.Int
	case "flag-ew", "flag-dw":
		return now.n == number(o.Got.Flag)
	case "register-lww", "register-mv":
		return now.text == content(s.kind, o.Got)
	}
	return now.sum == s.read[o]
}

func (s *search) after(now state, o *history.Op) state {
	switch o.Do {
	case history.Add:
		now.n += o.Arg.Int
	case history.Assign:
		now.text = "=" + o.Arg.Text
	case history.Enable:
		now.n = 1
	case history.Disable:
		now.n = 0
	case history.Reset:
		return state{}
	case history.Insert, history.Remove:
		k := s.number[o.Element]
		if now.set.has(k, s.depth) != (o.Do == history.Insert) {
			now.set = now.set.flip(k, s.depth)
			now.sum = now.sum.with(s.of[o.Element])
		}
	}
	return now
}

// content is a register's value. A register-mv that holds several values is no state of one whose
// assignments follow one another.
func content(kind string, v *history.Value) string {
	if kind != "register-mv" || v.Text != "" {
		if v.Absent {
			return ""
		}
		return "=" + v.Text
	}
	switch len(v.List) {
	case 0:
		return ""
	case 1:
		return "=" + v.List[0]
	}
	return "several"
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// trie is a set of small numbers that is never changed: each change copies one path, so that the
// search can keep every state that it has been in.
type trie struct{ kids [2]*trie }

func (t *trie) has(k, depth int) bool {
	for ; depth > 0 && t != nil; depth-- {
		t = t.kids[k>>(depth-1)&1]
	}
	return t != nil
}

// flip adds what is not there and takes out what is.
func (t *trie) flip(k, depth int) *trie {
	if depth == 0 {
		if t == nil {
			return &trie{}
		}
		return nil
	}
	var out trie
	if t != nil {
		out = *t
	}
	side := k >> (depth - 1) & 1
	out.kids[side] = out.kids[side].flip(k, depth-1)
	if out.kids == [2]*trie{} {
		return nil
	}
	return &out
}
