package causal

import (
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// The certifier on paper: it gets proposals in any order, aborts some, and gives the others the next
// place in its lane. Every node is fed the lane from the beginning, as if it derived it from a log.

// openStrong opens a strong snapshot, if it can.
func (w *world) openStrong(n *node, writes bool) {
	s, wait, ok, err := n.m.OpenStrong(writes)
	if err != nil {
		w.t.Fatal(err)
	}
	if !ok {
		if n.m.Reached(wait.Region, Uniform) >= wait.Time {
			w.t.Fatalf("%s waits for %d of region %d, which is there", n.id, wait.Time, wait.Region)
		}
		w.count.refused++
		return
	}
	shows := w.below(s.At())
	w.isUniform(n, shows)
	n.open = append(n.open, snapshot{s, shows})
}

// propose sends what an open strong snapshot writes to the certifier.
func (w *world) propose(n *node) {
	i := slices.IndexFunc(n.open, func(s snapshot) bool { return s.Snapshot.strong && s.Writes() })
	if i < 0 {
		return
	}
	s := n.open[i]
	n.open = slices.Delete(n.open, i, i+1)
	g := &group{Header: kv.Header{Kind: kv.RecordGroup, Deps: s.At()}, saw: []set{s.shows}, at: []clock.Vector{s.At()}, by: n, process: n.process}
	n.proposed[g] = s
	w.proposals = append(w.proposals, g)
}

// decide lets the certifier decide one proposal.
func (w *world) decide() {
	if len(w.proposals) == 0 {
		return
	}
	i := w.pick(len(w.proposals))
	g := w.proposals[i]
	w.proposals = slices.Delete(w.proposals, i, i+1)
	if w.pick(3) == 0 {
		w.abort(g)
		return
	}
	if k := len(w.lane); k > 0 {
		g.Prev = w.lane[k-1].Time
	}
	g.Time = max(g.Prev, g.Deps.Max()) + 1
	w.lane, w.groups = append(w.lane, g), append(w.groups, g)
	w.count.strong++
	for _, c := range w.claims {
		w.hold(g, c)
	}
}

// abort tells who proposed it, if that process still runs.
func (w *world) abort(g *group) {
	w.count.aborted++
	w.closeProposal(g.by, g)
}

func (w *world) closeProposal(n *node, g *group) {
	if s, ok := n.proposed[g]; ok {
		n.m.Close(s.Snapshot)
		delete(n.proposed, g)
	}
}

// decideProcess ends the earlier lives of a node at the certifier.
func (w *world) decideProcess(n *node) {
	w.proposals = slices.DeleteFunc(w.proposals, func(g *group) bool { return g.by == n && g.process < n.process })
	var last clock.Timestamp
	if k := len(w.lane); k > 0 {
		last = w.lane[k-1].Time
	}
	n.m.Decided(last)
}

// feed offers a node the next record of the certifier's lane.
func (w *world) feed(n *node) {
	taken := n.taken()
	for _, g := range w.lane {
		if taken[g] {
			continue
		}
		want := w.expect(n, taken, g)
		if got := n.m.Offer(g.Header, -1<<40); got.Action != want { // however far its number is ahead
			w.t.Fatalf("%s fed to %s: %s, want %s", g, n.id, got.Action, want)
		}
		if want == Apply {
			n.queue = append(n.queue, g)
		}
		return
	}
}

// serve tells a node of one more region that serves.
func (w *world) serve(n *node) {
	for _, o := range w.nodes {
		if o.m != nil && n.known[o.id] && !slices.Contains(n.serving, o.id.Region) {
			n.serving = append(n.serving, o.id.Region)
			n.m.Serving(n.serving)
			return
		}
	}
}

// noteMajority remembers what a majority has on disk now, as a node counts them.
func (w *world) noteMajority(n *node) {
	on := map[*group]int{}
	for _, o := range w.nodes {
		if !slices.Contains(n.serving, o.id.Region) {
			continue
		}
		for _, g := range o.log[:o.disk] {
			on[g]++
		}
	}
	for g, k := range on {
		if 2*k > len(n.serving) {
			n.majority[g] = true
		}
	}
}

// isUniform holds a set to what a majority has had on disk, to commits, and to what commits have seen.
func (w *world) isUniform(n *node, s set) {
	proven := set{}
	for _, g := range w.lane {
		proven[g] = true
		for o := range g.saw[0] {
			proven[o] = true
		}
	}
	for g := range s {
		if !n.seen[g] || !n.majority[g] && !proven[g] {
			w.t.Fatalf("%s: %s is not uniform: exposed here %t, with a majority %t", n.id, g, n.seen[g], n.majority[g])
		}
		for _, saw := range g.saw {
			if !s.includes(saw) {
				w.t.Fatalf("%s: %s is uniform, and not all that it has seen: %v", n.id, g, saw)
			}
		}
	}
}

func (w *world) checkUniform(n *node) {
	w.noteMajority(n)
	reached := map[clock.Region]clock.Timestamp{}
	for l := range n.known {
		reached[l.Region] = n.m.Reached(l.Region, Uniform)
	}
	cut := n.m.StrongCut()
	for r, t := range reached {
		if t != cut.At(r) {
			w.t.Fatalf("%s: %d of region %d is uniform, while the strong cut is %s", n.id, t, r, show(cut))
		}
	}
	if !cut.Includes(n.strong) {
		w.t.Fatalf("%s: the strong cut fell from %s to %s", n.id, show(n.strong), show(cut))
	}
	n.strong = cut
	w.isUniform(n, w.below(cut))
}

// taken is what a node has been handed out of other lanes, and what it exposes.
func (n *node) taken() set {
	taken := n.seen.clone()
	for _, g := range n.queue {
		taken[g] = g.Lane != n.id || taken[g]
	}
	return taken
}
