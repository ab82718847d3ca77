package causal

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// TestClusterOnPaperFindsNoClaimBroken runs clusters of two to four regions through commits,
// deliveries in any order, reports relayed, repeated and late, crashes and joining regions, and
// after each step compares every machine with sets of groups:
//
//   - what is exposed is causally closed, never falls but by a crash, and changes by whole groups;
//   - "the node raises E[o] only when it holds every group of o up to it and the dependencies";
//   - nothing concurrent with a group below a stable vector arrives later;
//   - every group above a horizon has seen all that was settled with it, also those of later times,
//     of regions that joined later, and after crashes;
//   - raw vectors and lowered ones see the same groups;
//   - the strong cut never falls, is causally closed, and shows only what a majority has on disk or a
//     commit has seen; no strong snapshot is below the horizon, nor its commit below a floor or what is
//     stable or settled somewhere;
//   - once all has arrived and nothing is open, everything settles everywhere.
func TestClusterOnPaperFindsNoClaimBroken(t *testing.T) {
	var total counts
	rapid.Check(t, func(t *rapid.T) {
		// Draws of rapid prefer small numbers, which starves most of what can happen. So it draws the
		// seed and the number of steps, and finds the shortest run that fails.
		w := newWorld(t, rapid.IntRange(2, 3).Draw(t, "regions"), rapid.Uint64().Draw(t, "seed"))
		for range rapid.IntRange(1, 1500).Draw(t, "steps") + 300*rapid.IntRange(0, 3).Draw(t, "longer") {
			w.step()
			for _, n := range w.nodes {
				if n.m != nil {
					w.check(n)
				}
			}
		}
		w.quiet()
		total.add(w.count)
	})
	share := 1
	if testing.Short() {
		share = 5 // rapid runs a fifth of the checks
	}
	if !t.Failed() && (total.strong < 100/share || total.refused < 50/share || total.aborted < 20/share) {
		t.Fatalf("the runs exercised too few strong transactions: %+v", total)
	}
	if !t.Failed() && (total.groups < 1000/share || total.settled < 50/share || total.crashes < 20/share || total.joins < 5/share || total.mixed < 50/share) {
		t.Fatalf("the runs exercised too little: %+v", total)
	}
}

// step lets something happen somewhere.
func (w *world) step() {
	die := w.pick(250)
	n := w.node()
	if die >= 200 {
		w.strongStep(n, die-200)
		return
	}
	switch {
	case die < 24:
		w.openSnapshot(n, w.flip(), w.flip())
	case die < 36:
		w.closeOne(n)
	case die < 56:
		if s := n.writers(w.pick(3) + 1); len(s) > 0 {
			w.commit(n, s, w.pick(5)+1)
		}
	case die < 86:
		w.apply(n)
	case die < 112:
		w.sync(n, w.pick(4)+1)
	case die < 150:
		w.deliver(w.node(), n, w.anyLane(), w.pick)
	case die < 155:
		w.promise(n, w.pick(20)+1)
	case die < 163:
		w.heartbeat(w.node(), n, w.anyLane())
	case die < 171:
		w.report(n)
	case die < 187:
		if len(w.reports) > 0 {
			n.m.Receive(w.reports[len(w.reports)-1-w.pick(min(len(w.reports), 6))])
		}
	case die < 197:
		w.cuts(n)
	case die < 198:
		w.crash(n, w.pick(3))
	default:
		w.grow(n)
	}
}

// strongStep lets something happen to strong transactions.
func (w *world) strongStep(n *node, die int) {
	switch {
	case die < 14:
		w.openStrong(n, w.pick(3) > 0)
	case die < 24:
		w.propose(n)
	case die < 32:
		w.decide()
	case die < 44:
		w.feed(n)
	case die < 46:
		n.m.Age()
	case die < 48:
		w.decideProcess(n)
	default:
		w.serve(n)
	}
}

// anyLane picks a lane, the certifier's among them.
func (w *world) anyLane() clock.Lane {
	if w.pick(4) == 0 {
		return clock.Lane{}
	}
	return w.node().id
}

func (w *world) flip() bool     { return w.pick(2) == 0 }
func (w *world) pick(k int) int { return w.random.IntN(k) }

// node picks one that runs.
func (w *world) node() *node {
	running := w.nodes
	if last := len(w.nodes) - 1; w.nodes[last].m == nil {
		running = w.nodes[:last]
	}
	return running[w.pick(len(running))]
}

func (w *world) closeOne(n *node) {
	if len(n.open) == 0 {
		return
	}
	i := w.pick(len(n.open))
	n.m.Close(n.open[i].Snapshot)
	n.open = append(n.open[:i], n.open[i+1:]...)
}

// grow takes the next step of adding a region: a number, every member told, a cut.
func (w *world) grow(n *node) {
	last := w.nodes[len(w.nodes)-1]
	if last.m != nil {
		if len(w.nodes) < 4 {
			w.nodes = append(w.nodes, newNode(len(w.nodes)+1))
		}
		return
	}
	for _, o := range w.nodes[:len(w.nodes)-1] {
		if !o.known[last.id] {
			w.tell(o, last.id)
			return
		}
	}
	w.join(last, n)
}

// quiet lets everything arrive and close, and expects that all of it settles.
func (w *world) quiet() {
	for w.nodes[len(w.nodes)-1].m == nil {
		w.grow(w.node())
	}
	w.strongQuiet()
	for range len(w.groups) + 2 { // the last one delivered is applied in a round of its own
		for _, n := range w.nodes {
			w.finish(n)
			for _, from := range w.nodes {
				for _, l := range w.nodes {
					w.deliver(from, n, l.id, func(int) int { return 0 })
				}
			}
			w.feed(n)
		}
	}
	for range 3 { // one that waited, one behind it, and the last
		for _, n := range w.nodes {
			w.report(n)
			for _, o := range w.nodes {
				o.m.Receive(w.reports[len(w.reports)-1])
			}
		}
	}
	w.settledEverywhere()
}

// strongQuiet lets all proposals be decided.
func (w *world) strongQuiet() {
	for _, n := range w.nodes {
		w.decideProcess(n)
		for range w.nodes {
			w.serve(n)
		}
	}
	for len(w.proposals) > 0 {
		w.decide()
	}
	for _, n := range w.nodes {
		w.decideProcess(n)
	}
}

func (w *world) finish(n *node) {
	for len(n.open) > 0 {
		w.closeOne(n)
	}
	for len(n.queue) > 0 {
		w.apply(n)
	}
	w.sync(n, len(n.log))
}

func (w *world) settledEverywhere() {
	all := w.below(clock.Vector{{Region: 0, Time: 1 << 60}, {Region: 1, Time: 1 << 60}, {Region: 2, Time: 1 << 60}, {Region: 3, Time: 1 << 60}, {Region: 4, Time: 1 << 60}})
	for _, n := range w.nodes {
		w.cuts(n)
		w.check(n)
		if got := w.below(n.settled); !got.equal(all) {
			w.t.Fatalf("%s: all is quiet, and settled %s is %v, not %v", n.id, show(n.settled), got, all)
		}
		if e := n.m.Everywhere(); !e.Equal(n.m.Exposed()) {
			w.t.Fatalf("%s: all is quiet, and %s is everywhere, not %s", n.id, show(e), show(n.m.Exposed()))
		}
	}
}

func TestDecisionsAreDeterministic(t *testing.T) {
	run := func() string {
		m, err := New(Start{Self: clock.Lane{Region: 1}, Lanes: []Position{{Lane: clock.Lane{Region: 3}}, {Lane: clock.Lane{Region: 1}}, {Lane: clock.Lane{Region: 2}}}})
		require.NoError(t, err)
		var out strings.Builder
		for i := range clock.Timestamp(20) {
			h := kv.Header{Lane: clock.Lane{Region: clock.Region(2 + i%2)}, Time: i + 2, Prev: max(i, 1) - 1 + min(i, 1)}
			if i < 2 {
				h.Prev = 0
			}
			fmt.Fprintln(&out, m.Offer(h, 1))
			m.RemoteApplied(h)
			fmt.Fprintln(&out, m.Report(), m.Raw(), m.Members())
		}
		return out.String()
	}
	require.Equal(t, run(), run())
}

func TestGroupsBeyondTheUnsyncedBoundKeepTheFloorLow(t *testing.T) {
	m := single(t)
	first := m.Exposed()
	m.LocalApplied(20, first)
	for i := range clock.Timestamp(3 * maxUnsynced) {
		m.LocalApplied(21+i, m.Applied())
	}
	require.Len(t, m.unsynced, maxUnsynced)
	m.Synced(m.own.id, 20)
	require.Equal(t, clock.Timestamp(20), m.Report().Floor.At(1))
	m.Synced(m.own.id, m.own.last)
	require.Empty(t, m.unsynced)
	require.Equal(t, m.own.last, m.Report().Floor.At(1))
}

func TestHoldsAndRegionsAreBounded(t *testing.T) {
	m := single(t)
	for range MaxHolds {
		_, err := m.Pin()
		require.NoError(t, err)
	}
	_, err := m.Pin()
	require.ErrorIs(t, err, kv.ErrOverloaded)
	for r := 2; r <= MaxRegions; r++ { // beside the certifier
		require.NoError(t, m.AddRegion(clock.Lane{Region: clock.Region(r)}))
	}
	require.ErrorIs(t, m.AddRegion(clock.Lane{Region: MaxRegions + 1}), kv.ErrInvalid)
	_, err = New(Start{Lanes: make([]Position, MaxRegions+1)})
	require.ErrorIs(t, err, kv.ErrInvalid)
	require.Len(t, m.holds, MaxHolds)
	require.Equal(t, m.Horizon(), m.holds[0].At())
}

func TestStartRefusesBoundsOutOfRange(t *testing.T) {
	for _, d := range []time.Duration{-1, time.Microsecond, 2 * time.Hour} {
		_, err := New(Start{Self: clock.Lane{Region: 1}, Lanes: []Position{{Lane: clock.Lane{Region: 1}}}, MaxSkew: d})
		require.ErrorIs(t, err, kv.ErrInvalid)
	}
}

func TestListsOfCutsStayAsShortAsWhatIsOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := single(t)
		var open []Snapshot
		for i := range clock.Timestamp(rapid.IntRange(1, 60).Draw(t, "steps")) {
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				s, err := m.Open(rapid.Bool().Draw(t, "writes"), false)
				require.NoError(t, err)
				open = append(open, s)
			case 1:
				m.LocalApplied(20+i, m.Exposed())
				m.Synced(m.own.id, 20+i)
			default:
				if len(open) > 0 {
					k := rapid.IntRange(0, len(open)-1).Draw(t, "closed")
					m.Close(open[k])
					open = append(open[:k], open[k+1:]...)
				}
			}
			checkLists(t, m, open)
		}
	})
}

// checkLists holds both lists of cuts to what is open.
func checkLists(t *rapid.T, m *Machine, open []Snapshot) {
	cuts, writing := map[*cut]bool{m.open.current: true}, map[*cut]bool{}
	for _, s := range open {
		cuts[s.cut] = true
		if s.writes {
			writing[s.cut] = true
		}
	}
	n := 0
	for c := m.open.oldest; c != nil; c = c.all.newer {
		require.True(t, cuts[c])
		n++
	}
	require.Equal(t, len(cuts), n)
	n = 0
	for c := m.open.writing; c != nil; c = c.writing.newer {
		require.True(t, writing[c])
		n++
	}
	require.Equal(t, len(writing), n)
	require.Equal(t, len(open), m.OpenSnapshots())
}

func single(t require.TestingT) *Machine {
	l := clock.Lane{Region: 1}
	m, err := New(Start{Self: l, Lanes: []Position{{Lane: l, Held: 10, Durable: 10}}})
	require.NoError(t, err)
	m.Serving([]clock.Region{1})
	return m
}

func TestActionsHaveNames(t *testing.T) {
	require.Equal(t, "malformed", Malformed.String())
	require.Equal(t, "action(0)", Action(0).String())
	require.Equal(t, "action(99)", Action(99).String())
}

func BenchmarkOpenClose(b *testing.B) {
	m := single(b)
	b.ReportAllocs()
	for b.Loop() {
		s, _ := m.Open(true, false)
		m.Close(s)
	}
}

func BenchmarkRemoteApplied(b *testing.B) {
	m := single(b)
	for r := range clock.Region(2) {
		require.NoError(b, m.AddRegion(clock.Lane{Region: 2 + r}))
	}
	h := kv.Header{Lane: clock.Lane{Region: 2}, Deps: m.Exposed(), Time: 100}
	b.ReportAllocs()
	for b.Loop() {
		h.Prev, h.Time = h.Time, h.Time+1
		if h.Prev == 100 {
			h.Prev = 0
		}
		if v := m.Offer(h, 1<<40); v.Action != Apply {
			b.Fatal(v)
		}
		m.RemoteApplied(h)
	}
}
