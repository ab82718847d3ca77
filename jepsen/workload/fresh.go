package workload

import (
	"slices"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/fresh"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/nemesis"
)

// freshSets are how many sets there are at a time: what is put into them stays, so that whoever misses it is known.
const freshSets = 3

// put is an insertion into one of the sets, by nobody else.
func (w *worker) put(prefix string) history.Op {
	return insert("set-go", w.key(prefix, freshSets), w.unique())
}

// look reads one of the sets, or asks for one element of it.
func (w *worker) look(prefix string) history.Op { return read("set-go", w.key(prefix, freshSets)) }

// bounds of reads at level bounded.
var bounds = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 3 * time.Second}

// boundedLoad reads at level bounded what callers in all regions write.
func boundedLoad() Workload {
	return Workload{
		Name:   "bounded",
		About:  "reads at level bounded, of 500 ms to 3 s, that wait or fail, beside writes in all regions: none misses what was on a disk longer ago, by the runner's clock",
		levels: []client.Level{client.LevelBounded},
		source: func(w *worker) source { return boundeds{w} },
		own:    []checker.Checker{fresh.Bounded(Excused())},
		usual: usual{
			exercised:     {"insert set-go": 0.4, "get set-go": 0.4, "level bounded": 0.4, othersRead: 0.2},
			boundedName:   {fresh.CountBounded: 0.3, fresh.CountOwed: 5},
			semanticsName: ofValues(10),
			lostName:      {acknowledgedWrites: 0.3},
		},
		more: leastRefused,
	}
}

type boundeds struct{ w *worker }

func (b boundeds) next() plan {
	w := b.w
	if w.chance(2) {
		return w.vary(w.put("bounded"))
	}
	p := w.vary(w.look("bounded"))
	if w.chance(5) {
		p.ops = append(p.ops, w.put("bounded"))
	}
	p.paged, p.giveUp, p.durable = false, false, client.Reach{} // so what fails was refused
	p.level = client.Consistency{Level: client.LevelBounded, Bound: bounds[w.random.IntN(len(bounds))], BoundFail: w.chance(2)}
	return p
}

// longCut is a cut after which some reads of the smallest bound must have been refused, as no way leads around it.
const longCut = 2 * time.Second

// leastRefused asks for a refusal where a partition was long enough: who never refuses has not looked.
func leastRefused(h *history.History, least minimums) {
	for _, f := range h.Faults {
		whole := []nemesis.Kind{nemesis.PartitionHalves, nemesis.PartitionIsolate, nemesis.IsolateLeader}
		if slices.Contains(whole, nemesis.Kind(f.Kind)) && time.Duration(f.End-f.Start) >= longCut {
			least[boundedName][fresh.CountRefused] = 1
		}
	}
}

// quorumLoad reads at level quorum what callers in all regions write, most of it to a majority.
func quorumLoad() Workload {
	return Workload{
		Name:     "quorum",
		About:    "writes at durability majority and local in all regions, beside reads at level quorum: none misses what a majority had before it began",
		levels:   []client.Level{client.LevelQuorum},
		reaching: true,
		source:   func(w *worker) source { return quorums{w} },
		own:      []checker.Checker{fresh.Quorum(Excused())},
		usual: usual{
			exercised:     {"insert set-go": 0.4, "get set-go": 0.4, "level quorum": 0.4, "durability majority": 0.2, othersRead: 0.2},
			quorumName:    {fresh.CountQuorum: 0.3, fresh.CountOwed: 5},
			semanticsName: ofValues(10),
			lostName:      {acknowledgedWrites: 0.3},
		},
	}
}

type quorums struct{ w *worker }

func (q quorums) next() plan {
	w := q.w
	if w.chance(2) {
		p := causally(w.vary(w.put("quorum")))
		if !w.chance(3) {
			p.durable = client.Majority
		}
		return p
	}
	p := w.vary(w.look("quorum"))
	p.paged, p.durable, p.level = false, client.Reach{}, client.Consistency{Level: client.LevelQuorum}
	return p
}

// durabilityLoad writes with every durability from one region to all, for disks to be lost right after.
func durabilityLoad() Workload {
	return Workload{
		Name: "durability",
		About: "writes acknowledged in one region, in two, in a majority and in all, for disks to be destroyed right after: those in n regions survive the loss " +
			"of fewer, those in one may be lost and are counted",
		reaching: true,
		source:   func(w *worker) source { return durabilities{w} },
		own:      []checker.Checker{fresh.Durable(Excused())},
		usual: usual{
			exercised: {
				"insert set-go": 0.7, "durability local": 0.1, "durability 2": 0.1, "durability majority": 0.1, "durability all": 0.05,
				othersRead: 0.1,
			},
			durableName:   {fresh.CountOwed: 1},
			semanticsName: ofValues(2),
			lostName:      {acknowledgedWrites: 0.3},
		},
		more: leastBeforeLosses,
	}
}

// leastBeforeLosses asks for writes that were acknowledged in several regions shortly before a disk was lost.
func leastBeforeLosses(h *history.History, least minimums) {
	if slices.ContainsFunc(h.Faults, func(f history.Fault) bool { return f.Kind == string(nemesis.DestroyRegion) }) {
		least[durableName][fresh.CountBefore] = 1
	}
}

type durabilities struct{ w *worker }

func (d durabilities) next() plan {
	w := d.w
	if w.chance(5) {
		return w.vary(w.look("durable"))
	}
	p := causally(w.vary(w.put("durable")))
	p.durable = []client.Reach{client.Local, client.Regions(min(2, len(w.run.config.Regions))), client.Majority, client.All}[w.random.IntN(4)]
	return p
}
