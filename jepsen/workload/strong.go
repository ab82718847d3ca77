package workload

import (
	"fmt"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/strong"
	"github.com/theriac-db/theriac/jepsen/history"
)

// strongLevel is the level strong, as histories name it.
const strongLevel = "strong"

// strongly makes a plan one at level strong. What of it was to be at another level, or taken back by a crash, is not.
func strongly(p plan) plan {
	p.level, p.durable = client.Consistency{Level: client.LevelStrong}, client.Reach{}
	return p
}

// causally makes a plan one at level causal, on disk when it is answered.
func causally(p plan) plan {
	p.level, p.durable = client.Consistency{}, client.Reach{}
	return p
}

// strongRegisterLoad makes single registers and a few together linearizable.
func strongRegisterLoad() Workload {
	return Workload{
		Name:   "strong-register",
		About:  "reads, assignments and compare-and-set of registers at level strong, one by one and several in a transaction: all are linearizable",
		levels: []client.Level{client.LevelStrong},
		source: func(w *worker) source { return &strongRegisters{w: w, last: newMemory(w)} },
		own:    []checker.Checker{strong.Linearizable(strongLevel), strong.Transactions(strong.StrictSerializable, strongLevel)},
		usual: usual{
			exercised:        {"assign register-lww": 0.4, "get register-lww": 0.7, "level strong": 0.9, othersRead: 0.3},
			linearizableName: {"calls": 1},
			strictName:       {"reads": 0.7, "write dependencies": 0.3},
			semanticsName:    ofValues(0.5),
			lostName:         {acknowledgedWrites: 0.3},
		},
	}
}

type strongRegisters struct {
	w    *worker
	last memory
}

func (r *strongRegisters) next() plan {
	w := r.w
	var ops []history.Op
	for range 1 + w.random.IntN(3)*w.random.IntN(2) { // mostly one
		key := w.key("linear", 5)
		switch w.random.IntN(10) {
		case 0, 1, 2:
			ops = append(ops, assign("register-lww", key, w.unique()))
		case 3, 4:
			ops = append(ops, r.last.swap(key))
		default:
			ops = append(ops, read("register-lww", key))
		}
	}
	p := strongly(w.vary(once(ops)...))
	if p.interactive && w.chance(2) {
		p.then = swapRead(w.unique())
	}
	return p
}

func (r *strongRegisters) ended(t *history.Txn) { r.last.see(t) }

// appendLoad appends to lists, several in a transaction, so that each list says who came after whom.
func appendLoad() Workload {
	return Workload{
		Name:   "append",
		About:  "appends to lists that registers hold, and reads of them, several in a transaction at level strong: one order that respects real time explains all",
		levels: []client.Level{client.LevelStrong},
		source: func(w *worker) source { return appends{w} },
		own:    []checker.Checker{strong.Lists(strongLevel), strong.Transactions(strong.StrictSerializable, strongLevel)},
		usual: usual{
			exercised:     {"assign register-lww": 0.5, "get register-lww": 1, "level strong": 0.9, othersRead: 0.4},
			"lists":       {"appends": 0.6, "lists read": 2},
			strictName:    {"reads": 1.5, "write dependencies": 0.8, "anti-dependencies": 0.8},
			semanticsName: ofValues(0.8),
			lostName:      {acknowledgedWrites: 0.3},
		},
	}
}

type appends struct{ w *worker }

func (a appends) next() plan {
	w := a.w
	var ops []history.Op
	for _, i := range w.random.Perm(lists)[:1+w.random.IntN(3)] {
		ops = append(ops, read("register-lww", w.keyNumber("list", i)))
	}
	p := strongly(w.vary(ops...))
	if w.chance(3) {
		return p // it only reads
	}
	p.interactive, p.think = true, 0
	p.then = appendTo(w.unique(), 1+w.random.IntN(len(ops)))
	return p
}

// lists are how many there are at a time.
const lists = 5

// appendTo appends an element to the first lists that were read.
func appendTo(element string, most int) func([]history.Op) []history.Op {
	return func(done []history.Op) []history.Op {
		var out []history.Op
		for i := range done[:most] {
			o := &done[i]
			longer := strings.TrimPrefix(o.Got.Text+strong.ListSeparator+element, strong.ListSeparator)
			out = append(out, assign(o.Type, o.Key, longer))
		}
		return out
	}
}

// skewLoad has transactions read two registers and write one of them, at level strong and, on other registers, at
// causal, which allows that two of them miss each other.
func skewLoad() Workload {
	return Workload{
		Name: "write-skew",
		About: "transactions that read two registers and write one: at level strong no two miss each other's write; at causal, on other registers, they may, " +
			"and it is counted",
		levels: []client.Level{client.LevelStrong},
		source: func(w *worker) source { return &twoLevels{w: w, each: skew} },
		own:    []checker.Checker{strong.WriteSkew(strongLevel), strong.Transactions(strong.StrictSerializable, strongLevel)},
		usual: usual{
			exercised:     {"assign register-lww": 0.5, "get register-lww": 1.5, "level strong": 0.3, "level causal": 0.3, othersRead: 0.5},
			skewName:      {"transactions that read and write": 0.5},
			strictName:    {"reads": 0.6, "anti-dependencies": 0.2},
			semanticsName: ofValues(1.2),
			lostName:      {acknowledgedWrites: 0.4},
		},
	}
}

// twoLevels makes the same load at two levels, each on objects of its own.
type twoLevels struct {
	w    *worker
	each func(w *worker, prefix string) plan
}

func (s *twoLevels) next() plan {
	if s.w.chance(2) {
		return causally(s.each(s.w, "causal"))
	}
	return strongly(s.each(s.w, strongLevel))
}

// skewPairs are how many pairs of registers there are at a time, at each level.
const skewPairs = 3

func skew(w *worker, prefix string) plan {
	pair := w.keyNumber("skew/"+prefix, w.random.IntN(skewPairs))
	sides := []string{pair + "/a", pair + "/b"}
	p := w.vary(read("register-lww", sides[0]), read("register-lww", sides[1]))
	if w.chance(4) {
		return p // it only looks
	}
	text, side := w.unique(), w.random.IntN(len(sides))
	p.interactive, p.giveUp = true, false
	p.then = func([]history.Op) []history.Op { return []history.Op{assign("register-lww", sides[side], text)} }
	return p
}

// phantomLoad has transactions read a whole set, and put something into it if there is room.
func phantomLoad() Workload {
	return Workload{
		Name: "phantom",
		About: fmt.Sprintf("transactions that read a whole set, or list keys, and, if there are fewer than %d, put one more in: at level strong there are never more; ", roomSize) +
			"at causal, elsewhere, there may be, and it is counted",
		levels: []client.Level{client.LevelStrong},
		source: func(w *worker) source { return &twoLevels{w: w, each: enterRoom} },
		own:    []checker.Checker{strong.Phantoms(strongLevel), strong.Linearizable(strongLevel)},
		usual: usual{
			exercised: {
				"insert set-aw": 0.05, "get set-aw": 0.4, "insert set-go": 0.05, "get set-go": 0.4, "level strong": 0.3, "level causal": 0.3, othersRead: 0.1,
			},
			phantomsName:     {"predicate writes": 0.1},
			linearizableName: {"calls": 0.3},
			semanticsName:    ofValues(2),
			lostName:         {acknowledgedWrites: 0.05},
		},
	}
}

// Rooms of the phantom workload: all workers look at the same few at a time.
const (
	roomSize  = 3
	roomStays = 4 // transactions of a worker before it goes on to the next room
)

func enterRoom(w *worker, prefix string) plan {
	room := w.made / roomStays
	look := read("set-aw", fmt.Sprintf("room/%s/%d", prefix, room))
	if room%2 == 1 {
		look = read("set-go", fmt.Sprintf("%s%s/%d", listed, prefix, room))
	}
	p := w.vary(look)
	p.interactive, p.giveUp, p.paged = true, false, false
	p.then = takePlace(w.unique())
	return p
}

// takePlace puts an element into the set that was read if there is room.
func takePlace(element string) func([]history.Op) []history.Op {
	return func(done []history.Op) []history.Op {
		if len(done[0].Got.List) >= roomSize {
			return nil
		}
		return []history.Op{insert(done[0].Type, done[0].Key, element)}
	}
}

// strongForkLoad is the long-fork load at level strong, where all readers see the writes in one order.
func strongForkLoad() Workload {
	load := forkLoad()
	load.Name = "long-fork-strong"
	load.About = "registers that are each written once, read by groups, all at level strong: all readers see the writes in one order"
	load.levels = []client.Level{client.LevelStrong}
	load.source = func(w *worker) source { return &strongForks{forks{w: w}} }
	load.own = []checker.Checker{strong.Transactions(strong.StrictSerializable, strongLevel)}
	load.usual = usual{
		exercised:     {"assign register-lww": 0.1, "get register-lww": 5.5, "level strong": 0.9, othersRead: 1},
		"long-fork":   {"readers of several": 0.6},
		strictName:    {"reads": 5, "anti-dependencies": 0.5},
		semanticsName: ofValues(2.2),
		lostName:      {acknowledgedWrites: 0.1},
	}
	return load
}

type strongForks struct{ forks }

func (f *strongForks) next() plan { return strongly(f.forks.next()) }

// strongMixedLoad has transactions of both levels meet on the same objects of several types.
func strongMixedLoad() Workload {
	return Workload{
		Name: "mixed-strong",
		About: "transactions at levels strong and causal over the same registers, counters, sets and flags: all or nothing everywhere, strong ones in causal order " +
			"with the rest, and in one order among themselves",
		levels: []client.Level{client.LevelStrong},
		source: func(w *worker) source { return &strongMixed{w: w, last: newMemory(w)} },
		own:    []checker.Checker{strong.Transactions(strong.StrictSerializable, strongLevel)},
		usual: usual{
			exercised: {
				"add counter": 0.035, "assign register-lww": 0.5, "get register-lww": 0.5, "insert set-aw": 0.025, "level strong": 0.3, "level causal": 0.3,
				othersRead: 0.5,
			},
			semanticsName: ofValues(1.5),
			sessionName:   {"reads compared": 0.1},
			halfName:      {"marks compared": 0.05},
			strictName:    {"reads": 0.1},
			causalName:    ofRegisters(0.1, 0.01),
			lostName:      {acknowledgedWrites: 0.4},
		},
	}
}

type strongMixed struct {
	w    *worker
	last memory
}

func (m *strongMixed) next() plan {
	w := m.w
	strongOne := w.chance(2)
	var ops []history.Op
	for range 1 + w.random.IntN(4) {
		ops = append(ops, m.op(strongOne))
	}
	p := w.vary(once(ops)...)
	ordered := slices.ContainsFunc(p.ops, func(o history.Op) bool { return strings.HasPrefix(o.Key, "ordered/") })
	if p.interactive && (strongOne || !ordered) && w.chance(2) {
		p.then = w.react()
	}
	if strongOne {
		return strongly(p)
	}
	return p
}

func (m *strongMixed) ended(t *history.Txn) { m.last.see(t) }

// op draws an operation: half of them on registers, which the order of strong transactions is told by. Some registers
// strong transactions alone write, so that this order has no gaps.
func (m *strongMixed) op(strongOne bool) history.Op {
	w := m.w
	key := w.key("both", 3)
	switch w.random.IntN(14) {
	case 0, 1, 2:
		return assign("register-lww", key, w.unique())
	case 7, 8, 9:
		if key = w.key("ordered", 3); strongOne && w.chance(2) {
			return assign("register-lww", key, w.unique())
		}
		return read("register-lww", key)
	case 3:
		return m.last.swap(key)
	case 4, 5, 6:
		return read("register-lww", key)
	}
	return w.leafOp(key, false)
}
