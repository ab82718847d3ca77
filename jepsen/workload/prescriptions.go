package workload

import (
	"slices"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/whole"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Where prescriptions and pointers are.
const (
	prescriptionKey = "prescription/"
	pointerKey      = "pointer/"
)

// causalLoad writes prescriptions, and pointers to those that were seen: nobody may see a pointer
// without its prescription. Names of prescriptions travel by another way than the data, as by
// telephone, so that one may be asked for before it has arrived.
func causalLoad() Workload {
	return Workload{
		Name:   "causal",
		About:  "prescriptions, and pointers to them by whoever has seen them in another region: never the pointer without the prescription",
		notes:  map[string]string{whole.NotePrescription: prescriptionKey + "*", whole.NotePointer: pointerKey + "*", whole.NoteBucket: ""},
		source: func(w *worker) source { return &pharmacy{w: w} },
		own:    []checker.Checker{whole.CausalPair()},
		usual: usual{
			exercised:     {"assign register-lww": 0.47, "get register-lww": 1.75, othersRead: 0.38},
			"causal-pair": {"pairs": 0.12, "pairs read": 0.068},
			semanticsName: ofValues(1.75),
			sessionName:   {"reads compared": 0.12},
			causalName:    ofRegisters(1.6, 0.037),
			lostName:      {acknowledgedWrites: 0.45},
		},
	}
}

type pharmacy struct {
	w      *worker
	seen   []string // prescriptions of other regions that the session has seen, without a pointer from here
	looked []string // pointers that the session has seen, whose prescription it has not looked for since
}

func (s *pharmacy) next() plan {
	w := s.w
	name, known := w.run.notice(w.random)
	switch choice := w.random.IntN(10); {
	case choice < 2 || !known:
		id := w.unique()
		return w.own(assign("register-lww", prescriptionKey+id, w.unique()))
	case choice < 4 && len(s.seen) > 0:
		id := s.seen[0]
		s.seen = s.seen[1:]
		return w.own(assign("register-lww", pointerKey+id, w.unique()))
	case choice < 5 && len(s.looked) > 0:
		id := s.looked[0]
		s.looked = s.looked[1:]
		return w.own(read("register-lww", prescriptionKey+id))
	case choice < 7:
		return w.own(read("register-lww", prescriptionKey+name))
	case choice < 8:
		p := w.own(read("register-lww", prescriptionKey+name))
		p.interactive, p.then = true, pointOut(name, w.unique())
		return p
	}
	return w.vary(read("register-lww", pointerKey+name), read("register-lww", prescriptionKey+name))
}

// own is a transaction of the worker's session, at level causal and with durability local. Some are made elsewhere.
func (w *worker) own(ops ...history.Op) plan {
	p := plan{ops: ops}
	if w.chance(6) {
		p.region = w.elsewhere()
	}
	return p
}

// pointOut writes the pointer if the prescription was found.
func pointOut(id, text string) func([]history.Op) []history.Op {
	return func(done []history.Op) []history.Op {
		if done[0].Got.Absent {
			return nil
		}
		return []history.Op{assign("register-lww", pointerKey+id, text)}
	}
}

// ended tells the others of what was written, and remembers what was seen.
func (s *pharmacy) ended(t *history.Txn) {
	if t.Session != 0 && t.Session != s.w.session {
		s.seen, s.looked = nil, nil
	}
	if t.Outcome == history.Fail {
		return
	}
	for i := range t.Ops {
		o := &t.Ops[i]
		id, pointer := idOf(o.Key)
		switch {
		case o.Do == history.Assign && !pointer:
			s.w.run.post(id)
		case o.Do != history.Get || t.Outcome != history.OK || o.Got.Absent || t.Session != s.w.session:
		case pointer:
			s.looked = remember(s.looked, id)
		default:
			s.seen = remember(s.seen, id)
		}
	}
}

func idOf(key string) (id string, pointer bool) {
	if len(key) > len(pointerKey) && key[:len(pointerKey)] == pointerKey {
		return key[len(pointerKey):], true
	}
	return key[len(prescriptionKey):], false
}

// remember adds a name unless it is there.
func remember(list []string, name string) []string {
	if slices.Contains(list, name) {
		return list
	}
	return last(append(list, name))
}
