package workload

import (
	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/history"
)

// sessionLoad has sessions go from region to region with their tokens, and look each time for what
// they have written and read before.
func sessionLoad() Workload {
	return Workload{
		Name:   "session",
		About:  "sessions that go from region to region with their token, and look there for what they have written and seen",
		source: func(w *worker) source { return &traveller{w: w} },
		usual: usual{
			exercised: {
				"add counter": 0.18, "assign register-lww": 0.2, "insert set-aw": 0.18, "hops": 0.32, othersRead: 0.95,
			},
			sessionName:   {"reads compared": 0.85, "reads compared after a hop": 0.8},
			semanticsName: ofValues(5),
			causalName:    ofRegisters(0.19, 0.12),
			lostName:      {acknowledgedWrites: 0.6},
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
	p := plan{ops: ops, interactive: w.chance(6)}
	if w.chance(15) {
		p.level = client.Consistency{Level: client.LevelEventual}
	}
	return p
}
