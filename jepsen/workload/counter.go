package workload

import "github.com/theriac-db/theriac/jepsen/history"

// counterLoad adds to counters that all share, and reads them.
func counterLoad() Workload {
	return Workload{
		Name:   "counter",
		About:  "increments and decrements of shared counters, beside reads",
		source: func(w *worker) source { return &counters{w} },
		least: func(asked int, _ *history.Header) map[string]int {
			return map[string]int{"add counter": share(asked, 20), "get counter": share(asked, 20)}
		},
	}
}

type counters struct{ w *worker }

func (c *counters) next() plan {
	key := c.w.key("counter", 6)
	ops := []history.Op{{Do: history.Get, Key: key, Type: "counter"}}
	if c.w.chance(2) {
		ops[0] = add(key, 1+c.w.random.Int64N(5))
	}
	return c.w.vary(plan{ops: ops})
}

func add(key string, n int64) history.Op {
	return history.Op{Do: history.Add, Key: key, Type: "counter", Arg: &history.Value{Int: n}}
}
