package strong

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/theriac-db/theriac/jepsen/checker"
)

// maxStarts is from how many nodes of a component its shortest cycle is looked for.
const maxStarts = 32

// searcher finds cycles that a level forbids.
type searcher struct {
	x         *index
	g         *graph
	left      int
	most      int
	told      map[int32]bool // transactions of cycles that were told
	anomalies []checker.Anomaly
	unsure    []string
}

func newSearcher(x *index, g *graph, o checker.Options) *searcher {
	s := &searcher{x: x, g: g, left: cmp.Or(o.Budget, searchBudget), most: o.Most(), told: map[int32]bool{}}
	for _, a := range x.anomalies {
		if a.Name == lostUpdate {
			for _, id := range a.Txns {
				s.told[int32(id-1)] = true // it is a cycle as well: told once is enough
			}
		}
	}
	return s
}

// run looks for cycles from the gravest kind to the mildest: what is a dirty write shall not be told
// as write skew, because some longer cycle goes through an anti-dependency.
func (s *searcher) run(l Level) {
	s.cycles(view{s.g, ww, false})
	s.cycles(view{s.g, ww | wr, false})
	if l == ReadAtomic {
		s.fractured()
		return
	}
	s.cycles(view{s.g, dependencies, false})
	if l == Causal {
		s.single()
		return
	}
	s.cycles(view{s.g, all, true})
	if l >= Serializable {
		s.cycles(view{s.g, all, false})
	}
	if l == StrictSerializable {
		s.cycles(view{s.g, dependencies | rt, false})
		s.cycles(view{s.g, all | rt, true})
		s.cycles(view{s.g, all | rt, false})
	}
}

// cycles tells a shortest cycle of each component, unless one of its transactions is in one already.
func (s *searcher) cycles(v view) {
	big, of := components(v)
	if len(big) == 0 {
		return
	}
	p := newPaths(v, of, &s.left)
	slices.SortStableFunc(big, func(a, b []int32) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a[0], b[0])) })
	for _, c := range big {
		if len(s.anomalies) >= s.most {
			return
		}
		if !s.known(v, c) {
			s.report(c, v, s.shortest(p, c))
		}
	}
}

func (s *searcher) known(v view, component []int32) bool {
	return slices.ContainsFunc(component, func(n int32) bool { return s.told[v.node(n)] })
}

// shortest returns the shortest cycle through any of the first nodes of a component.
func (s *searcher) shortest(p *paths, component []int32) []edge {
	var best []edge
	most := math.MaxInt
	tried := 0
	for _, n := range component {
		if p.node(n) >= int32(s.g.txns) {
			continue
		}
		if c := p.find(n, n, most); c != nil {
			best, most = c, len(c)
		}
		if tried++; tried == maxStarts && best != nil {
			break
		}
	}
	return best
}

// report tells a cycle. A component of several transactions has one, also if no search had the
// budget to find it.
func (s *searcher) report(component []int32, v view, cycle []edge) {
	if cycle != nil {
		s.tell(cycle)
		return
	}
	var txns []int
	for _, n := range component {
		if n = v.node(n); n < int32(s.g.txns) && len(txns) < maxShown {
			txns = append(txns, int(n)+1)
			s.told[n] = true
		}
	}
	s.anomalies = append(s.anomalies, checker.Anomaly{Name: "dependency cycle", Txns: slices.Compact(txns),
		Text: fmt.Sprintf("each of %d transactions, these among them, has to be before itself; the budget ended before the shortest cycle was found", len(component))})
}

// fractured tells reads that see a part of a transaction: one that read from a transaction, and read
// what that one replaced.
func (s *searcher) fractured() {
	hubs := map[[2]int32]*edge{} // by hub and goal
	for n := s.g.txns; n < s.g.nodes; n++ {
		out := s.g.out(int32(n))
		for i := range out {
			hubs[[2]int32{out[i].from, out[i].to}] = &out[i]
		}
	}
	for i := range s.g.edges {
		if len(s.anomalies) >= s.most {
			return
		}
		if e := s.g.edges[i]; e.kind == wr && !s.told[e.to] {
			s.fracturedBy(e, hubs)
		}
	}
}

// fracturedBy looks for an anti-dependency back to where a transaction read from.
func (s *searcher) fracturedBy(read edge, hubs map[[2]int32]*edge) {
	for _, e := range s.g.out(read.to) {
		if e.kind != rw {
			continue
		}
		if e.to == read.from {
			s.tell([]edge{e, read})
			return
		}
		if on := hubs[[2]int32{e.to, read.from}]; on != nil {
			s.tell([]edge{e, *on, read})
			return
		}
	}
}
