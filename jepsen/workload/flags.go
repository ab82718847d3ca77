package workload

import "github.com/theriac-db/theriac/jepsen/history"

// flagLoad turns flags of both kinds on and off.
func flagLoad() Workload {
	return Workload{
		Name:   "flags",
		About:  "flags of both kinds, enabled and disabled by all, beside reads",
		source: func(w *worker) source { return flags{w} },
		usual: usual{
			exercised: {
				"enable flag-ew": 0.24, "disable flag-ew": 0.24, "get flag-ew": 0.5,
				"enable flag-dw": 0.22, "disable flag-dw": 0.23, "get flag-dw": 0.48, othersRead: 0.95,
			},
			semanticsName: ofValues(1),
			lostName:      {acknowledgedWrites: 0.65},
		},
	}
}

type flags struct{ w *worker }

func (f flags) next() plan {
	var ops []history.Op
	for range 1 + f.w.random.IntN(3) {
		ops = append(ops, f.w.flagOp([]string{"flag-ew", "flag-dw"}[f.w.random.IntN(2)], f.w.key("flag", 4)))
	}
	return f.w.vary(ops...)
}

// flagOp draws an operation on a flag.
func (w *worker) flagOp(kind, key string) history.Op {
	if w.chance(2) {
		return read(kind, key)
	}
	return toggle(kind, key, w.chance(2))
}
