package causal

import (
	"cmp"
	"slices"

	"github.com/theriac-db/theriac/jepsen/history"
)

// lists holds a list of transactions for each transaction.
type lists struct {
	first []int32
	all   []int32
}

func (l *lists) of(n int32) []int32 { return l.all[l.first[n]:l.first[n+1]] }

// graph is what surely happened before what.
type graph struct {
	sessions [][]int32 // committed transactions of each session, in order
	before   lists     // of each transaction those that it directly follows: in its session, then those it read from
	followed []bool    // whether anything directly follows it
}

// link builds the graph.
func (r *run) link() {
	r.readSessions()
	follows := make([][]int32, len(r.nodes))
	for _, s := range r.sessions {
		r.linkSession(s, follows)
	}
	r.followed = make([]bool, len(r.nodes))
	r.before.first = make([]int32, len(r.nodes)+1)
	var sources []int32
	for i := range r.nodes {
		sources = r.sourcesOf(int32(i), sources[:0])
		r.before.all = append(append(r.before.all, follows[i]...), sources...)
		r.before.first[i+1] = int32(len(r.before.all))
	}
	for _, n := range r.before.all {
		r.followed[n] = true
	}
}

// sourcesOf appends the transactions that n read from, each once.
func (r *run) sourcesOf(n int32, to []int32) []int32 {
	for _, rd := range r.nodes[n].reads {
		if rd.from != initial {
			to = append(to, rd.from)
		}
	}
	slices.Sort(to)
	return slices.Compact(to)
}

func (r *run) readSessions() {
	numbers := map[int]int32{}
	for i := range r.nodes {
		r.nodes[i].session = -1
		s := r.h.Txns[i].Session
		if s == 0 || !r.nodes[i].in {
			continue
		}
		n, ok := numbers[s]
		if !ok {
			n = int32(len(numbers))
			numbers[s] = n
			r.sessions = append(r.sessions, nil)
		}
		r.nodes[i].session = n
		r.sessions[n] = append(r.sessions[n], int32(i))
	}
	r.counts[countSessions] = len(r.sessions)
	for _, s := range r.sessions {
		slices.SortStableFunc(s, func(a, b int32) int { return cmp.Compare(r.h.Txns[a].Start, r.h.Txns[b].Start) })
		for place, n := range s {
			r.nodes[n].place = int32(place)
		}
	}
}

// binds reports whether the session goes on from n: its client got the answer.
func (r *run) binds(n int32) bool { return r.h.Txns[n].Outcome == history.OK }

// bound reports whether n includes what its session did before.
func (r *run) bound(n int32) bool { return !r.nodes[n].eventual }

// linkSession notes what each transaction of a session directly follows: the last one that binds and is
// bound itself, and those that bind without being bound since then.
func (r *run) linkSession(session []int32, follows [][]int32) {
	var last []int32
	for _, n := range session {
		if r.bound(n) {
			follows[n] = slices.Clone(last)
		}
		switch {
		case !r.binds(n):
		case r.bound(n):
			last = append(last[:0], n)
		default:
			last = append(last, n)
		}
	}
}

// sessionBefore reports whether b follows a in a session.
func (r *run) sessionBefore(a, b int32) bool {
	x, y := &r.nodes[a], &r.nodes[b]
	return x.session >= 0 && x.session == y.session && x.place < y.place && r.binds(a) && r.bound(b)
}

// components returns the strongly connected components of the graph that l's edges make, each after
// all those that its members lead to, its members sorted. (Tarjan, SIAM J. Comput. 1972, without recursion.)
func components(l *lists) [][]int32 {
	t := tarjan{lists: l, index: make([]int32, len(l.first)-1), low: make([]int32, len(l.first)-1)}
	for n := range t.index {
		if t.index[n] == 0 {
			t.visit(int32(n))
		}
	}
	return t.found
}

type tarjan struct {
	*lists
	index, low []int32 // 0: not seen yet; low is closed for members of components that are found
	last       int32
	open       []int32
	calls      []call
	found      [][]int32
	flat       []int32
}

// call is where the search goes on in a transaction's list.
type call struct{ n, next int32 }

const closed = 1<<31 - 1

func (t *tarjan) enter(n int32) {
	t.last++
	t.index[n], t.low[n] = t.last, t.last
	t.open = append(t.open, n)
	t.calls = append(t.calls, call{n, t.first[n]})
}

func (t *tarjan) visit(n int32) {
	t.enter(n)
	for len(t.calls) > 0 {
		c := &t.calls[len(t.calls)-1]
		if c.next == t.first[c.n+1] {
			t.leave(c.n)
			continue
		}
		to := t.all[c.next]
		c.next++
		if t.index[to] == 0 {
			t.enter(to)
		} else if t.low[to] != closed {
			t.low[c.n] = min(t.low[c.n], t.index[to])
		}
	}
}

func (t *tarjan) leave(n int32) {
	t.calls = t.calls[:len(t.calls)-1]
	if len(t.calls) > 0 {
		up := t.calls[len(t.calls)-1].n
		t.low[up] = min(t.low[up], t.low[n])
	}
	if t.low[n] != t.index[n] {
		return
	}
	from := len(t.flat)
	for {
		m := t.open[len(t.open)-1]
		t.open = t.open[:len(t.open)-1]
		t.low[m] = closed
		t.flat = append(t.flat, m)
		if m == n {
			break
		}
	}
	members := t.flat[from:len(t.flat):len(t.flat)]
	slices.Sort(members)
	t.found = append(t.found, members)
}
