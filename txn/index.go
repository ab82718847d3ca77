package txn

import "strings"

// The index of a write set finds its writes by where they land. A small set has none and is searched from
// end to end. at has the live writes at exactly a place, in order. under, which is made when the first
// removal needs it, has those below a place; one that died since may be among them, and every removal
// empties what it kills. So what a transaction's removals look at is no more than it wrote.

// fewWrites is up to how many writes a linear search is faster than a map.
const fewWrites = 8

// reindex makes the index anew.
func (s *writeSet) reindex() {
	s.at, s.under = nil, nil
	if len(s.writes) > fewWrites {
		s.index(len(s.writes) - 1)
	}
}

// index takes up write i, the last one; it makes the index when the set stops being small.
func (s *writeSet) index(i int) {
	switch {
	case s.at != nil:
		s.enter(i)
	case len(s.writes) > fewWrites:
		s.at = make(map[place][]int, 2*len(s.writes))
		for j := range s.writes {
			s.enter(j)
		}
	}
}

func (s *writeSet) enter(i int) {
	if s.writes[i].dead {
		return
	}
	p := s.writes[i].place
	s.at[p] = append(s.at[p], i)
	if s.under != nil {
		s.enterUnder(i)
	}
}

func (s *writeSet) enterUnder(i int) {
	for p := range s.writes[i].above {
		s.under[p] = append(s.under[p], i)
	}
}

// exactly lists the live writes at a place, in order.
func (s *writeSet) exactly(p place) []int {
	if s.at != nil {
		return s.at[p]
	}
	var out []int
	for i := range s.writes {
		if w := &s.writes[i]; !w.dead && w.place == p {
			out = append(out, i)
		}
	}
	return out
}

// removing appends the live removals that land on a leaf from above.
func (s *writeSet) removing(out []int, leaf place) []int {
	if s.removals == 0 {
		return out
	}
	for p := range leaf.above {
		for _, i := range s.exactly(p) {
			if s.writes[i].target.Below {
				out = append(out, i)
			}
		}
	}
	return out
}

// killAt kills what is written at exactly a place.
func (s *writeSet) killAt(p place) {
	for _, i := range s.exactly(p) {
		s.kill(i)
	}
	delete(s.at, p)
}

// killBelow kills what is written at a place and below it.
func (s *writeSet) killBelow(p place) {
	if s.at == nil {
		for i := range s.writes {
			if w := &s.writes[i]; w.object == p.object && strings.HasPrefix(w.path, p.path) {
				s.kill(i)
			}
		}
		return
	}
	if s.under == nil {
		s.under = make(map[place][]int)
		for i := range s.writes {
			s.enterUnder(i)
		}
	}
	s.killAt(p)
	for _, i := range s.under[p] {
		below := s.writes[i].place
		s.kill(i)
		delete(s.at, below)
	}
	delete(s.under, p)
}
