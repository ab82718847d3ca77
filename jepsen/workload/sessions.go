package workload

import (
	"github.com/theriac-db/theriac/jepsen/history"
)

// sessionLoad has sessions go from region to region with their tokens, and look each time for what
// they have written and read before.
func sessionLoad() Workload {
	return Workload{
		Name:   "session",
		About:  "sessions that go from region to region with their token, and look there for what they have written and seen",
		source: func(w *worker) source { return &traveller{w: w} },
		least: func(asked int) minimums {
			return minimums{
				exercised: {
					"add counter": share(asked, 50), "assign register-lww": share(asked, 50), "insert set-aw": share(asked, 50),
					"hops": share(asked, 20),
				},
				"session": {"reads compared after a hop": share(asked, 20)},
			}
		},
	}
}

// traveller is one session on its way. It writes where it is, moves on, and reads.
type traveller struct {
	w       *worker
	written []history.Op // reads of what it wrote last
}

func (s *traveller) next() plan {
	w := s.w
	if w.chance(3) {
		w.region = w.elsewhere()
	}
	ops := s.written
	s.written = nil
	if len(ops) == 0 || w.chance(3) {
		key := w.key("travel", 3)
		write := []history.Op{
			add(key, 1+w.random.Int64N(3)), assign("register-lww", key, w.unique()), insert("set-aw", key, w.unique()),
		}[w.random.IntN(3)]
		s.written = append(ops, read(write.Type, key))
		return w.travel(write)
	}
	return w.travel(append(ops, read("counter", w.key("travel", 3)))...)
}

// travel is a transaction of the session. Now and then it is at level eventual, which owes the session nothing.
func (w *worker) travel(ops ...history.Op) plan {
	return plan{ops: ops, interactive: w.chance(6), eventual: w.chance(15)}
}
