package workload

import (
	"fmt"

	"github.com/theriac-db/theriac/jepsen/history"
)

// mapLoad works on fields of maps within maps, and removes some with all below.
func mapLoad() Workload {
	return Workload{
		Name:   "map",
		About:  "fields of every type in maps within maps, written, removed with all below, and read alone and together",
		source: func(w *worker) source { return fields{w} },
		usual: usual{
			exercised: {
				"get map": 0.47, "reset map": 0.12, "add counter": 0.083, "get counter": 0.07, "assign register-lww": 0.07,
				"insert set-aw": 0.056, othersRead: 1,
			},
			semanticsName: ofValues(10),
			lostName:      {acknowledgedWrites: 0.6},
		},
	}
}

type fields struct{ w *worker }

func (m fields) next() plan {
	var ops []history.Op
	for range 1 + m.w.random.IntN(3) {
		i := m.w.random.IntN(3)
		ops = append(ops, m.w.mapOp("map", m.w.keyNumber("map", i), i > 0))
	}
	return m.w.vary(ops...)
}

// mapOp draws an operation on a map, or on something within it. From a removable one fields may be
// removed, and all of it: of what never is, checkers can say more.
func (w *worker) mapOp(kind, key string, removable bool) history.Op {
	var path []history.Step
	if w.chance(3) {
		path = append(path, history.Step{Name: fmt.Sprint("m", w.random.IntN(2)), Type: "map"})
	}
	switch w.random.IntN(10) {
	case 0, 1:
		return history.Op{Do: history.Get, Key: key, Type: kind, Path: path}
	case 2:
		if !removable || kind == "map-go" {
			return read(kind, key)
		}
		return history.Op{Do: history.Reset, Key: key, Type: kind, Path: path}
	}
	grows := kind == "map-go" && len(path) == 0 // a map within it does not
	return in(kind, key, path, w.leafOp(fmt.Sprint("f", w.random.IntN(2)), removable && !grows))
}

// leafOp draws an operation on something that is no map.
func (w *worker) leafOp(key string, removable bool) history.Op {
	kind := leaves[w.random.IntN(len(leaves))]
	if removable && w.chance(20) && kind != "set-go" {
		return reset(kind, key)
	}
	switch kind {
	case "counter":
		if w.chance(2) {
			return read(kind, key)
		}
		return add(key, w.random.Int64N(9)-4)
	case "register-lww", "register-mv":
		if w.chance(2) {
			return read(kind, key)
		}
		return assign(kind, key, w.unique())
	case "flag-ew", "flag-dw":
		return w.flagOp(kind, key)
	}
	return w.setOp(kind, key)
}

// leaves are the types that are no maps.
var leaves = []string{"counter", "register-lww", "register-mv", "flag-ew", "flag-dw", "set-aw", "set-rw", "set-go"}
