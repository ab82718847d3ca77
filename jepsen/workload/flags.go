package workload

import "github.com/theriac-db/theriac/jepsen/history"

// flagLoad turns flags of both kinds on and off.
func flagLoad() Workload {
	return Workload{
		Name:   "flags",
		About:  "flags of both kinds, enabled and disabled by all, beside reads",
		source: func(w *worker) source { return flags{w} },
		least: func(asked int) minimums {
			least := map[string]int{}
			for _, kind := range []string{"flag-ew", "flag-dw"} {
				least["enable "+kind], least["disable "+kind], least["get "+kind] = share(asked, 50), share(asked, 50), share(asked, 20)
			}
			return minimums{exercised: least}
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
