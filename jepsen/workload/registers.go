package workload

import (
	"fmt"
	"strings"

	"github.com/theriac-db/theriac/jepsen/history"
)

// registerLoad assigns to registers whose last write wins, several in one transaction, some if they
// still hold what was read.
func registerLoad() Workload {
	return Workload{
		Name:   "register",
		About:  "assignments and compare-and-set of shared registers whose last write wins, beside reads",
		source: func(w *worker) source { return &registers{w: w, last: newMemory(w)} },
		usual: usual{
			exercised:     {"assign register-lww": 0.8, "get register-lww": 0.8, othersRead: 0.5},
			semanticsName: ofValues(0.8),
			causalName:    ofRegisters(0.5, 0.1),
			lostName:      {acknowledgedWrites: 0.5},
			swapsName:     {swapsJudged: 0.2},
		},
	}
}

type registers struct {
	w     *worker
	last  memory
	fresh string // the duel's key of which the worker has just met the value; empty: none
}

func (r *registers) next() plan {
	w := r.w
	if w.chance(3) {
		return r.duel()
	}
	var ops []history.Op
	for range 1 + w.random.IntN(4) {
		key := w.key("register", 5)
		switch w.random.IntN(12) {
		case 0, 1, 2, 3, 4:
			ops = append(ops, assign("register-lww", key, w.unique()))
		case 5:
			ops = append(ops, r.last.swap(key))
		default:
			ops = append(ops, read("register-lww", key))
		}
	}
	p := w.vary(once(ops)...)
	if p.interactive && w.chance(2) {
		p.then = swapRead(w.unique())
	}
	return p
}

// duel is over a register that is written to by compare-and-set in one region alone: of those who met the
// same value there, one may replace it. Who has lost looks again before the next try.
func (r *registers) duel() plan {
	key := fmt.Sprintf("duel/%s/%d", r.w.region, r.w.era())
	if r.fresh != key {
		return plan{ops: []history.Op{read("register-lww", key)}}
	}
	return plan{ops: []history.Op{r.last.swap(key)}}
}

func (r *registers) ended(t *history.Txn) {
	r.last.see(t)
	if o := &t.Ops[0]; strings.HasPrefix(o.Key, "duel/") {
		if r.fresh = ""; t.Outcome == history.OK {
			r.fresh = o.Key
		}
	}
}

// once keeps one write for each object: a second one would hide the first.
func once(ops []history.Op) []history.Op {
	met := map[string]bool{}
	var out []history.Op
	for _, o := range ops {
		if o.Writes() && met[o.Key] {
			continue
		}
		met[o.Key] = met[o.Key] || o.Writes()
		out = append(out, o)
	}
	return out
}

// swapRead replaces the first register that was read and not written, if it still holds what was read.
func swapRead(text string) func([]history.Op) []history.Op {
	return func(done []history.Op) []history.Op {
		wrote := map[string]bool{}
		for i := range done {
			wrote[done[i].Key] = wrote[done[i].Key] || done[i].Writes()
		}
		for i := range done {
			if o := &done[i]; o.Do == history.Get && o.Type == "register-lww" && !wrote[o.Key] {
				return []history.Op{swap(o.Key, text, *o.Got)}
			}
		}
		return nil
	}
}

// memory is what a worker has last seen registers hold.
type memory struct {
	w     *worker
	since int // the rotation that it is of
	texts map[string]history.Value
}

func newMemory(w *worker) memory { return memory{w: w, texts: map[string]history.Value{}} }

// swap replaces what the register held when it was last seen; nothing if it never was.
func (m *memory) swap(key string) history.Op {
	old, met := m.texts[key]
	if !met {
		old.Absent = true
	}
	return swap(key, m.w.unique(), old)
}

// see remembers what a transaction tells.
func (m *memory) see(t *history.Txn) {
	if now := m.w.era(); now != m.since {
		m.since = now
		clear(m.texts)
	}
	if t.Outcome != history.OK {
		return
	}
	for i := range t.Ops {
		switch o := &t.Ops[i]; {
		case o.Type != "register-lww":
		case o.Do == history.Get:
			m.texts[o.Key] = *o.Got
		case o.Do == history.Assign:
			m.texts[o.Key] = *o.Arg
		}
	}
}

// valuesLoad assigns to registers that keep all concurrent values.
func valuesLoad() Workload {
	return Workload{
		Name:   "register-mv",
		About:  "assignments to shared registers that keep concurrent values, beside reads",
		source: func(w *worker) source { return values{w} },
		usual: usual{
			exercised:     {"assign register-mv": 0.88, "get register-mv": 1, othersRead: 0.95},
			semanticsName: ofValues(1),
			sessionName:   {"reads compared": 0.65},
			halfName:      {"marks compared": 0.08},
			lostName:      {acknowledgedWrites: 0.67},
		},
	}
}

type values struct{ w *worker }

func (v values) next() plan {
	w := v.w
	var ops []history.Op
	for range 1 + w.random.IntN(3) {
		key := w.key("values", 4)
		if w.chance(2) {
			ops = append(ops, assign("register-mv", key, w.unique()))
		} else {
			ops = append(ops, read("register-mv", key))
		}
	}
	return w.vary(once(ops)...)
}
