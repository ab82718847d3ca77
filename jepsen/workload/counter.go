package workload

import "github.com/theriac-db/theriac/jepsen/history"

// counterLoad adds to counters that all share, and reads them. Some only rise, which bounds what a
// session may read from below; some go both ways.
func counterLoad() Workload {
	return Workload{
		Name:   "counter",
		About:  "increments and decrements of shared counters, beside reads of one and of several",
		source: func(w *worker) source { return counters{w} },
		least: func(asked int) minimums {
			return minimums{exercised: {"add counter": share(asked, 20), "get counter": share(asked, 20)}}
		},
	}
}

type counters struct{ w *worker }

func (c counters) next() plan {
	w := c.w
	var ops []history.Op
	for range 1 + w.random.IntN(3) {
		switch w.random.IntN(4) {
		case 0:
			ops = append(ops, add(w.key("rises", 3), 1+w.random.Int64N(5)))
		case 1:
			ops = append(ops, add(w.key("varies", 3), w.random.Int64N(9)-4))
		case 2:
			ops = append(ops, read("counter", w.key("rises", 3)))
		default:
			ops = append(ops, read("counter", w.key("varies", 3)))
		}
	}
	return w.vary(ops...)
}
