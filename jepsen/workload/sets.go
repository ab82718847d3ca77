package workload

import (
	"fmt"

	"github.com/theriac-db/theriac/jepsen/history"
)

// setLoad puts elements into sets and takes them out. Some elements are only ever put in once, so
// that their absence says something; others come and go.
func setLoad(kind, about string) Workload {
	return Workload{
		Name:   kind,
		About:  about,
		source: func(w *worker) source { return sets{w, kind} },
		usual: usual{
			exercised:     {"insert " + kind: 0.8, "remove " + kind: 0.38, "get " + kind: 0.42, "contains " + kind: 0.36, othersRead: 0.75},
			semanticsName: ofValues(10),
			sessionName:   {"reads compared": 0.5},
			halfName:      {"marks compared": 0.5},
			lostName:      {acknowledgedWrites: 0.67},
		},
	}
}

type sets struct {
	w    *worker
	kind string
}

func (s sets) next() plan {
	var ops []history.Op
	for range 1 + s.w.random.IntN(3) {
		ops = append(ops, s.w.setOp(s.kind, s.w.key("set", 4)))
	}
	return s.w.vary(ops...)
}

// setOp draws an operation on a set.
func (w *worker) setOp(kind, key string) history.Op {
	some := fmt.Sprint("e", w.random.IntN(6))
	switch w.random.IntN(10) {
	case 0, 1:
		return insert(kind, key, w.unique())
	case 2, 3:
		return insert(kind, key, some)
	case 4, 5:
		if kind == "set-go" {
			return insert(kind, key, some)
		}
		return remove(kind, key, some)
	case 6, 7:
		return has(kind, key, some)
	}
	return read(kind, key)
}
