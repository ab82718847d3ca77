package workload

import "github.com/theriac-db/theriac/jepsen/history"

// counterLoad adds to counters that all share, and reads them. Some only rise, which bounds what a
// session may read from below; some go both ways.
func counterLoad() Workload {
	return Workload{
		Name:   "counter",
		About:  "increments and decrements of shared counters, beside reads of one and of several",
		source: func(w *worker) source { return counters{w} },
		usual: usual{
			exercised:     {"add counter": 1, "get counter": 1, othersRead: 0.95},
			semanticsName: ofValues(1),
			sessionName:   {"reads compared": 0.3},
			lostName:      {acknowledgedWrites: 0.65},
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
