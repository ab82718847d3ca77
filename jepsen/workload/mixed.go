package workload

import (
	"fmt"

	"github.com/theriac-db/theriac/jepsen/history"
)

// mixedLoad does everything to everything.
func mixedLoad() Workload {
	return Workload{
		Name:   "mixed",
		About:  "random transactions over several objects of all types, interactive and in one round trip, with removals and compare-and-set",
		source: func(w *worker) source { return &mixed{w: w, last: newMemory(w)} },
		usual: usual{
			exercised:     usualOfMixed(),
			semanticsName: ofValues(6),
			sessionName:   {"reads compared": 0.2},
			halfName:      {"marks compared": 0.11},
			causalName:    ofRegisters(0.08, 0.023),
			lostName:      {acknowledgedWrites: 0.75},
		},
	}
}

// usualOfMixed is how many operations of each sort it makes.
func usualOfMixed() map[string]float64 {
	out := map[string]float64{
		"add counter": 0.16, "assign register-lww": 0.13, "assign register-mv": 0.16, "get map": 0.22, "get map-go": 0.088,
		"reset map": 0.046, "level eventual": 0.11, othersRead: 1.3,
	}
	for _, kind := range []string{"flag-ew", "flag-dw"} {
		out["enable "+kind], out["disable "+kind] = 0.066, 0.052
	}
	for _, kind := range []string{"set-aw", "set-rw", "set-go"} {
		out["insert "+kind], out["contains "+kind], out["get "+kind] = 0.11, 0.039, 0.06
	}
	return out
}

type mixed struct {
	w    *worker
	last memory
}

func (m *mixed) next() plan {
	w := m.w
	var ops []history.Op
	for range 1 + w.random.IntN(5) {
		ops = append(ops, m.op())
	}
	p := w.vary(ops...)
	if p.interactive && w.chance(2) {
		p.then = w.react()
	}
	return p
}

func (m *mixed) ended(t *history.Txn) { m.last.see(t) }

// op draws an operation. A third of the objects may be removed.
func (m *mixed) op() history.Op {
	w := m.w
	i := w.random.IntN(3)
	key, removable := w.keyNumber("mixed", i), i == 0
	if kind := []string{"map", "map", "map-go", ""}[min(w.random.IntN(8), 3)]; kind != "" {
		if removable && w.chance(8) {
			return reset(kind, key)
		}
		return w.mapOp(kind, key, removable)
	}
	o := w.leafOp(key, removable)
	if o.Do == history.Assign && o.Type == "register-lww" && w.chance(4) {
		return m.last.swap(key)
	}
	return o
}

// react goes on from what was read: what is written then follows from it.
func (w *worker) react() func([]history.Op) []history.Op {
	text, amount := w.unique(), 1+w.random.Int64N(3)
	swap := swapRead(text)
	return func(done []history.Op) []history.Op {
		out := swap(done)
		for i := range done {
			o := &done[i]
			if o.Do != history.Get {
				continue
			}
			switch next := (history.Op{Key: o.Key, Type: o.Type, Path: o.Path}); o.Leaf() {
			case "counter":
				next.Do, next.Arg = history.Add, &history.Value{Int: amount}
				out = append(out, next)
			case "set-aw", "set-rw":
				if n := len(o.Got.List); n > 0 {
					next.Do, next.Element = history.Remove, o.Got.List[n/2]
					out = append(out, next)
				}
			case "register-mv":
				next.Do, next.Arg = history.Assign, &history.Value{Text: fmt.Sprint(text, "/", i)}
				out = append(out, next)
			}
		}
		return out
	}
}
