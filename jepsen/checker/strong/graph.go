package strong

import (
	"cmp"
	"slices"

	"github.com/theriac-db/theriac/jepsen/history"
)

// kind of a dependency, a bit each.
type kind uint8

const (
	ww     kind = 1 << iota // wrote after it
	wr                      // read from it
	so                      // came after it in a session
	rt                      // began after it had ended
	rw                      // replaced what it had read: an anti-dependency
	onward                  // from a hub on; belongs to the anti-dependency that led there
)

const (
	dependencies = ww | wr | so
	all          = dependencies | rw | onward
)

// edge is a dependency: from must be before to.
type edge struct {
	from, to int32
	kind     kind
	why      reason
	register int32
	a, b     int32 // versions: what from wrote or read, and what to wrote or read
	by       int32 // the transaction that shows the order of a and b
}

// graph of transactions. Nodes from txns on are hubs: each stands for the anti-dependencies from all
// readers of a version to all that replaced it, as many edges as both together instead of their product.
type graph struct {
	txns  int
	nodes int
	edges []edge  // by from
	first []int32 // of each node's edges; one more entry than nodes
	cut   int
}

// Below maxDirect, anti-dependencies of a version get no hub; above maxForks, those of a transaction
// that both read and replaced a version (which can't go through a hub, since that would lead back to
// itself) are left out, but for the first maxForks. Snapshot isolation and what is stronger tell such
// forks as lost updates anyhow.
const (
	maxDirect = 64
	maxForks  = 8
)

// graph builds what level l looks at.
func (x *index) graph(l Level) *graph {
	g := &graph{txns: len(x.txns), nodes: len(x.txns)}
	for k, r := range x.registers {
		if r.left != "" {
			continue
		}
		for v := range r.versions {
			x.versionEdges(g, int32(k), int32(v))
		}
	}
	if l >= Causal {
		x.sessionEdges(g)
	}
	if l == StrictSerializable {
		x.timeEdges(g)
	}
	g.index()
	return g
}

// versionEdges adds the dependencies through one version.
func (x *index) versionEdges(g *graph, k, v int32) {
	r := x.registers[k]
	at := &r.versions[v]
	if v > 0 && x.happened[at.writer] {
		for _, t := range at.readers {
			g.add(edge{from: at.writer, to: t, kind: wr, register: k, a: v, b: v, by: none})
		}
		for _, f := range at.next {
			g.add(edge{from: at.writer, to: r.versions[f.to].writer, kind: ww, why: f.why, register: k, a: v, b: f.to, by: f.by})
		}
	}
	if len(at.next) > 0 {
		x.antiEdges(g, k, v)
	}
}

func (x *index) antiEdges(g *graph, k, v int32) {
	at := &x.registers[k].versions[v]
	if len(at.readers)*len(at.next) <= maxDirect {
		for _, t := range at.readers {
			x.direct(g, k, v, t, len(at.next))
		}
		return
	}
	hub := int32(g.nodes)
	g.nodes++
	replaced := x.replacers(k, v)
	for _, t := range at.readers {
		if replaced[t] {
			x.direct(g, k, v, t, maxForks)
			g.cut += max(0, len(at.next)-maxForks)
			continue
		}
		g.add(edge{from: t, to: hub, kind: rw, register: k, a: v, b: v, by: none})
	}
	for _, f := range at.next {
		g.add(edge{from: hub, to: x.registers[k].versions[f.to].writer, kind: onward, why: f.why, register: k, a: v, b: f.to, by: f.by})
	}
}

// replacers are the transactions that replaced a version.
func (x *index) replacers(k, v int32) map[int32]bool {
	r := x.registers[k]
	out := make(map[int32]bool, len(r.versions[v].next))
	for _, f := range r.versions[v].next {
		out[r.versions[f.to].writer] = true
	}
	return out
}

// direct adds the anti-dependencies of one reader of a version.
func (x *index) direct(g *graph, k, v, txn int32, most int) {
	r := x.registers[k]
	next := r.versions[v].next
	for _, f := range next[:min(most, len(next))] {
		g.add(edge{from: txn, to: r.versions[f.to].writer, kind: rw, why: f.why, register: k, a: v, b: f.to, by: f.by})
	}
}

func (g *graph) add(e edge) {
	if e.from != e.to {
		g.edges = append(g.edges, e)
	}
}

// sessionEdges links each transaction of a session to the next. None leads away from a transaction of
// unknown outcome: nobody promised the session to see it, and it may take effect after what follows.
func (x *index) sessionEdges(g *graph) {
	var order []int32
	for i := range x.txns {
		if x.txns[i].Session != 0 && x.happened[i] {
			order = append(order, int32(i))
		}
	}
	slices.SortStableFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(x.txns[a].Session, x.txns[b].Session), cmp.Compare(x.txns[a].Start, x.txns[b].Start))
	})
	last := int32(none)
	for _, i := range order {
		if last != none && x.txns[last].Session == x.txns[i].Session {
			g.add(edge{from: last, to: i, kind: so, register: none, by: none})
		}
		if x.txns[i].Outcome == history.OK {
			last = i
		}
	}
}

// timeEdges links what ended to what began after it.
func (x *index) timeEdges(g *graph) {
	var who []int32
	var spans []span
	for i := range x.txns {
		if x.happened[i] && len(x.touched[i]) > 0 {
			who = append(who, int32(i))
			spans = append(spans, x.span(int32(i)))
		}
	}
	sweep(spans, func(a, b int) {
		g.add(edge{from: who[a], to: who[b], kind: rt, register: none, by: none})
	})
}

// index sorts the edges by where they start, and keeps the order in which they were added.
func (g *graph) index() {
	g.first = make([]int32, g.nodes+1)
	for i := range g.edges {
		g.first[g.edges[i].from+1]++
	}
	for n := range g.nodes {
		g.first[n+1] += g.first[n]
	}
	at := slices.Clone(g.first)
	sorted := make([]edge, len(g.edges))
	for _, e := range g.edges {
		sorted[at[e.from]] = e
		at[e.from]++
	}
	g.edges = sorted
}

// out returns a node's edges.
func (g *graph) out(node int32) []edge { return g.edges[g.first[node]:g.first[node+1]] }

func (g *graph) count(to map[string]int) {
	names := map[kind]string{ww: "write dependencies", wr: "read dependencies", so: "session edges", rt: "real-time edges", rw: "anti-dependencies"}
	for _, name := range names {
		to[name] = 0
	}
	for i := range g.edges {
		if name := names[g.edges[i].kind]; name != "" {
			to[name]++
		}
	}
}
