package causal

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// The world is a whole cluster on paper: every group ever stamped, with the sets of groups that its
// transactions had seen. Sets are all that it reasons with; it shares no rule with the machine.
type world struct {
	t       *rapid.T
	random  *rand.Rand
	groups  []*group
	nodes   []*node // index + 1 is the region's number
	reports []Report
	claims  []claim
	number  uint64
	count   counts

	lane      []*group // the certifier's, in order
	proposals []*group // under way to it
}

// counts say what a run exercised.
type counts struct{ groups, settled, crashes, joins, mixed, strong, refused, aborted int }

func (c *counts) add(d counts) {
	c.groups += d.groups
	c.settled += d.settled
	c.crashes += d.crashes
	c.joins += d.joins
	c.mixed += d.mixed
	c.strong += d.strong
	c.refused += d.refused
	c.aborted += d.aborted
}

// set is a set of groups.
type set map[*group]bool

func (s set) clone() set {
	c := make(set, len(s))
	for g := range s {
		c[g] = true
	}
	return c
}

func (s set) includes(o set) bool {
	for g := range o {
		if !s[g] {
			return false
		}
	}
	return true
}

func (s set) equal(o set) bool { return len(s) == len(o) && s.includes(o) }

// group is one group with the snapshots of its transactions, as sets and as vectors.
type group struct {
	kv.Header
	saw  []set
	at   []clock.Vector
	lost bool // a crash took it back before anybody was told; or, of a proposal, it was aborted

	by      *node // of a strong one, who proposed it,
	process int   // in which of its lives
}

func (g *group) String() string { return fmt.Sprintf("%d:%d", g.Lane.Region, g.Time) }

// claim is what a node has relied on: every group that is not exempt has seen all of seen.
type claim struct {
	what   string
	seen   set
	exempt func(*group) bool
}

// snapshot is an open snapshot, with the set that it must show.
type snapshot struct {
	Snapshot
	shows set
}

// node is one region's machine, its store on paper, and the oracle's view of both.
type node struct {
	id    clock.Lane
	m     *Machine
	known map[clock.Lane]bool
	queue []*group // on their way into the store
	log   []*group // applied, in order
	disk  int      // so many of log are synced
	seen  set      // what readers may see: remote groups applied, own groups synced
	open  []snapshot
	// writing are the snapshots of own groups on their way, closed when these are applied.
	writing  map[*group][]snapshot
	last     clock.Timestamp // highest stamped or promised
	prev     clock.Timestamp // last group stamped
	horizon  set             // at the last check; after a crash, of the last rewrite that survived
	rewrites []rewritten
	settled  clock.Vector
	raw      clock.Vector

	process  int                 // its lives
	serving  []clock.Region      // as it has been told
	majority set                 // what a majority of these had on disk at some time
	proposed map[*group]snapshot // by this process, and not exposed here
	strong   clock.Vector        // the last strong cut
}

// rewritten notes a rewrite of leaves at a horizon. The store writes in order, so it survives a crash
// exactly if all that was applied before it does.
type rewritten struct {
	behind  int // groups in the log
	horizon set
}

func newWorld(t *rapid.T, regions int, seed uint64) *world {
	w := &world{t: t, random: rand.New(rand.NewPCG(seed, 0))}
	for r := 1; r <= regions; r++ {
		w.nodes = append(w.nodes, newNode(r))
	}
	for _, n := range w.nodes {
		for _, o := range w.nodes {
			n.known[o.id] = true
			n.serving = append(n.serving, o.id.Region)
		}
		w.start(n)
	}
	return w
}

func newNode(r int) *node {
	return &node{id: clock.Lane{Region: clock.Region(r)}, known: map[clock.Lane]bool{}, seen: set{}, horizon: set{},
		writing: map[*group][]snapshot{}, majority: set{}}
}

// start builds the machine from what is on the node's disk.
func (w *world) start(n *node) {
	w.number++
	s := Start{Self: n.id, Number: w.number << 20, Undecided: n.process > 0}
	n.process++
	n.proposed, n.strong = map[*group]snapshot{}, nil
	n.known[clock.Lane{}] = true
	for l := range n.known {
		p := Position{Lane: l}
		for _, g := range n.log {
			if g.Lane == l {
				p.Held, p.Durable = g.Time, g.Time
			}
		}
		s.Lanes = append(s.Lanes, p)
	}
	m, err := New(s)
	if err != nil {
		w.t.Fatal(err)
	}
	n.m, n.settled, n.raw = m, nil, nil
	m.Serving(n.serving)
}

// below is the set of groups at or below a vector.
func (w *world) below(v clock.Vector) set {
	s := set{}
	for _, g := range w.groups {
		if !g.lost && g.Time <= v.At(g.Lane.Region) {
			s[g] = true
		}
	}
	return s
}

// claimed remembers what a node relies on, and holds every group to it that exists by now.
func (w *world) claimed(c claim) {
	w.claims = append(w.claims, c)
	for _, g := range w.groups {
		w.hold(g, c)
	}
}

func (w *world) hold(g *group, c claim) {
	if g.lost || c.exempt(g) {
		return
	}
	for _, saw := range g.saw {
		if !saw.includes(c.seen) {
			w.t.Fatalf("%s: %s has not seen all of %v, only %v", c.what, g, c.seen, saw)
		}
	}
}

// openSnapshot opens one, of any flavour.
func (w *world) openSnapshot(n *node, writes, applied bool) {
	s, err := n.m.Open(writes, applied)
	if err != nil {
		w.t.Fatal(err)
	}
	shows := n.seen.clone()
	if applied {
		for _, g := range n.log {
			if g.Lane == n.id {
				shows[g] = true
			}
		}
	}
	if got := w.below(s.At()); !got.equal(shows) {
		w.t.Fatalf("snapshot %s shows %v, want %v", show(s.At()), got, shows)
	}
	n.open = append(n.open, snapshot{s, shows})
}

// writers takes up to three open snapshots that may write out of the open ones.
func (n *node) writers(most int) (out []snapshot) {
	n.open = slices.DeleteFunc(n.open, func(s snapshot) bool {
		take := s.Writes() && !s.Snapshot.strong && len(out) < most
		if take {
			out = append(out, s)
		}
		return take
	})
	return out
}

// commit stamps a group for the snapshots and hands it to the store.
func (w *world) commit(n *node, snapshots []snapshot, step int) {
	g := &group{Header: kv.Header{Lane: n.id, Kind: kv.RecordGroup, Prev: n.prev, Time: n.last}}
	for _, s := range snapshots {
		g.saw, g.at = append(g.saw, s.shows), append(g.at, s.At())
		g.Deps = g.Deps.Join(s.At())
	}
	g.Time = max(g.Time, g.Deps.Max()) + clock.Timestamp(step)
	n.last, n.prev = g.Time, g.Time
	w.groups = append(w.groups, g)
	w.count.groups++
	if len(snapshots) > 1 {
		w.count.mixed++
	}
	for _, c := range w.claims {
		w.hold(g, c)
	}
	n.writing[g] = snapshots
	n.queue = append(n.queue, g)
}

// apply lets the store apply the head of its queue.
func (w *world) apply(n *node) {
	if len(n.queue) == 0 {
		return
	}
	g := n.queue[0]
	n.queue = n.queue[1:]
	n.log = append(n.log, g)
	if g.Lane != n.id {
		for _, saw := range g.saw {
			if !n.seen.includes(saw) {
				w.t.Fatalf("%s would be exposed before what it has seen: %v", g, saw)
			}
		}
		if !n.m.Ready(g.Header) {
			w.t.Fatalf("%s was handed out and is not ready", g)
		}
		n.m.RemoteApplied(g.Header)
		n.seen[g] = true
		w.closeProposal(n, g)
		return
	}
	meet := g.at[0]
	for _, v := range g.at {
		meet = meet.Meet(v)
	}
	n.m.LocalApplied(g.Time, meet)
	for _, s := range n.writing[g] {
		n.m.Close(s.Snapshot)
	}
	delete(n.writing, g)
}

// sync puts the next groups of the log on disk.
func (w *world) sync(n *node, most int) {
	for ; n.disk < len(n.log) && most > 0; most-- {
		g := n.log[n.disk]
		n.disk++
		n.m.Synced(g.Lane, g.Time)
		n.seen[g] = true
	}
}

// durable is what a node may send of a lane.
func (n *node) durable(l clock.Lane) (out []*group) {
	for _, g := range n.log[:n.disk] {
		if g.Lane == l {
			out = append(out, g)
		}
	}
	return out
}

// deliver offers a record that one node has to another: the next one, mostly.
func (w *world) deliver(from, to *node, l clock.Lane, pick func(n int) int) {
	records := from.durable(l)
	if len(records) == 0 || l == to.id {
		return
	}
	taken := to.taken()
	next := slices.IndexFunc(records, func(g *group) bool { return !taken[g] })
	if next < 0 {
		next = 0
	}
	g := records[min(next+pick(5)/4, len(records)-1)]
	want := w.expect(to, taken, g)
	if got := to.m.Offer(g.Header, 1<<40); got.Action != want {
		w.t.Fatalf("%s offered to %s: %s, want %s", g, to.id, got.Action, want)
	}
	if want == Apply {
		to.queue = append(to.queue, g)
	}
}

// expect says, from sets alone, what should become of a record.
func (w *world) expect(n *node, taken set, g *group) Action {
	switch {
	case !n.known[g.Lane]:
		return Stranger
	case taken[g]:
		return Duplicate
	}
	for _, o := range w.groups {
		if o.Lane == g.Lane && !o.lost && o.Time < g.Time && !taken[o] {
			return Gap
		}
	}
	for _, saw := range g.saw {
		for o := range saw {
			if o.Lane != g.Lane && !taken[o] {
				return Wait
			}
		}
	}
	return Apply
}

// promise lets a node raise its safe time.
func (w *world) promise(n *node, step int) {
	n.last += clock.Timestamp(step)
	n.m.LocalSafe(n.prev, n.last)
}

// heartbeat tells one node what another may say of a lane.
func (w *world) heartbeat(from, to *node, l clock.Lane) {
	if from.known[l] {
		last, safe := from.m.Promise(l)
		to.m.Heard(l, last, safe)
	}
}

// report makes a node report, and holds all to it who had not been on its disk.
func (w *world) report(n *node) {
	r := n.m.Report()
	w.reports = append(w.reports, r)
	synced := set{}
	for _, g := range n.log[:n.disk] {
		synced[g] = true
	}
	if got := w.below(r.Durable); !got.equal(synced) {
		w.t.Fatalf("%s reports %v as on disk, want %v", n.id, got, synced)
	}
	here := n.seen.clone()
	w.claimed(claim{fmt.Sprintf("floor of %s", n.id), w.below(r.Floor),
		func(g *group) bool { return g.by != n && g.Lane != n.id || synced[g] || g.by == n && here[g] }})
}

// cuts asks for the cuts, and holds all to them.
func (w *world) cuts(n *node) {
	h, settled := n.m.Cuts()
	stable, here := n.m.Stable(), n.seen.clone()
	w.claimed(claim{fmt.Sprintf("stable at %s", n.id), w.below(stable), func(g *group) bool { return here[g] }})
	above := w.below(h)
	w.claimed(claim{fmt.Sprintf("settled at %s", n.id), w.below(settled), func(g *group) bool { return above[g] }})
	if !stable.Includes(settled) || !n.m.Exposed().Includes(stable) || !h.Includes(settled) || !settled.Includes(n.settled) {
		w.t.Fatalf("settled %s, before %s, stable %s, E %s, horizon %s", settled, n.settled, stable, n.m.Exposed(), h)
	}
	if !settled.Equal(n.settled) {
		w.count.settled++
	}
	n.settled = settled
	n.rewrites = append(n.rewrites, rewritten{len(n.log), above})
}

// crash takes back what is not on disk, but for some that had reached it unnoticed, and starts anew.
func (w *world) crash(n *node, luck int) {
	kept := min(n.disk+luck, len(n.log))
	for _, g := range append(slices.Clone(n.log[kept:]), n.queue...) {
		g.lost = g.lost || g.Lane == n.id
	}
	n.log, n.disk, n.queue, n.open = n.log[:kept], kept, nil, nil
	n.writing, n.seen, n.prev = map[*group][]snapshot{}, set{}, 0
	for _, g := range n.log {
		n.seen[g] = true
		if g.Lane == n.id {
			n.prev = g.Time
		}
	}
	n.horizon = set{}
	n.rewrites = slices.DeleteFunc(n.rewrites, func(r rewritten) bool { return r.behind > kept })
	if k := len(n.rewrites); k > 0 {
		n.horizon = n.rewrites[k-1].horizon
	}
	w.count.crashes++
	w.start(n)
}

// tell makes every region a member at one node, in the order in which they were added.
func (w *world) tell(n *node, l clock.Lane) {
	if err := n.m.AddRegion(l); err != nil {
		w.t.Fatal(err)
	}
	n.known[l] = true
}

// join starts a newcomer that all know from the cut of a member.
func (w *world) join(n, from *node) {
	w.sync(from, len(from.log))
	for l := range from.known {
		n.known[l] = true
	}
	n.log = slices.DeleteFunc(slices.Clone(from.log), func(g *group) bool { return !from.seen[g] })
	n.disk, n.seen = len(n.log), from.seen.clone()
	w.start(n)
	w.count.joins++
}

// check compares a node's vectors with its sets.
func (w *world) check(n *node) {
	e, raw, applied := n.m.Exposed(), n.m.Raw(), n.m.Applied()
	if got := w.below(e); !got.equal(n.seen) {
		w.t.Fatalf("%s exposes %s, which are %v, want %v", n.id, show(e), got, n.seen)
	}
	if got := w.below(raw); !got.equal(n.seen) || !raw.Includes(e) || !raw.Includes(n.raw) || !applied.Includes(e) {
		w.t.Fatalf("%s: raw %s, before %s, shows %v, E %s shows %v", n.id, show(raw), show(n.raw), got, show(e), n.seen)
	}
	n.raw = raw
	for _, entry := range e {
		if !slices.ContainsFunc(w.groups, func(g *group) bool { return g.Lane.Region == entry.Region && g.Time == entry.Time }) {
			w.t.Fatalf("%s exposes %s, and there is no group %d:%d", n.id, show(e), entry.Region, entry.Time)
		}
	}
	for g := range n.seen {
		for _, saw := range g.saw {
			if !n.seen.includes(saw) {
				w.t.Fatalf("%s exposes %s, but not all that it has seen: %v", n.id, g, saw)
			}
		}
	}
	w.checkHorizon(n)
	w.checkUniform(n)
}

func (w *world) checkHorizon(n *node) {
	h := w.below(n.m.Horizon())
	if !h.includes(n.horizon) {
		w.t.Fatalf("%s: the horizon fell from %v to %v", n.id, n.horizon, h)
	}
	n.horizon = h
	for _, s := range n.open {
		if !s.shows.includes(h) || !w.below(s.At()).equal(s.shows) {
			w.t.Fatalf("%s: snapshot %s, which shows %v, is below the horizon %v", n.id, show(s.At()), s.shows, h)
		}
	}
}
