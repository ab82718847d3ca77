package workload

import (
	"fmt"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/history"
)

// rotation is how many transactions all workers together make before their objects are replaced by new
// ones: what one object is used for stays bounded, however long a run is and however many work.
const rotation = 900

// era counts the rotations. Each worker counts for itself, and so sees the same at every replay.
func (w *worker) era() int { return w.made * w.run.config.Workers / rotation }

// key draws one of n keys of the present rotation.
func (w *worker) key(prefix string, n int) string { return w.keyNumber(prefix, w.random.IntN(n)) }

func (w *worker) keyNumber(prefix string, i int) string {
	return fmt.Sprintf("%s/%d/%d", prefix, w.era(), i)
}

// maxThink bounds how long a caller waits within a transaction: long enough for others to write and for what
// nobody reads any more to be folded.
const maxThink = 800 * time.Millisecond

// applies reports whether some of the run's writes have durability applied. A crash may take these
// back, so checkers can say less of a history that has any: every other seed has none.
func (r *Run) applies() bool { return r.config.Seed%2 == 0 }

// vary draws how a transaction is made: most are of the worker's session and in its region, in one
// round trip, at level causal and with durability local.
func (w *worker) vary(ops ...history.Op) plan {
	p := plan{ops: ops}
	if p.interactive = w.chance(4); p.interactive {
		p.paged, p.giveUp = w.chance(3), w.chance(12)
		if w.chance(3) {
			p.think, p.thinks = time.Duration(w.random.Int64N(int64(maxThink))), w.run.toBeat
		}
	}
	p.alone, p.handed = w.chance(6), w.chance(10)
	if w.chance(8) {
		p.level = client.Consistency{Level: client.LevelEventual}
	}
	if w.run.applies() && w.chance(8) {
		p.durable = client.Applied
	}
	if w.chance(15) {
		p.region = w.elsewhere()
	}
	return p
}

// Operations on objects. In adds its path to one.

func read(kind, key string) history.Op { return history.Op{Do: history.Get, Key: key, Type: kind} }

func has(kind, key, element string) history.Op {
	return history.Op{Do: history.Contains, Key: key, Type: kind, Element: element}
}

func add(key string, n int64) history.Op {
	return history.Op{Do: history.Add, Key: key, Type: "counter", Arg: &history.Value{Int: n}}
}

func assign(kind, key, text string) history.Op {
	return history.Op{Do: history.Assign, Key: key, Type: kind, Arg: &history.Value{Text: text}}
}

// swap assigns if the register holds what was read.
func swap(key, text string, old history.Value) history.Op {
	o := assign("register-lww", key, text)
	o.Expect = &history.Value{Absent: old.Absent, Text: old.Text}
	return o
}

func insert(kind, key, element string) history.Op {
	return history.Op{Do: history.Insert, Key: key, Type: kind, Element: element}
}

func remove(kind, key, element string) history.Op {
	return history.Op{Do: history.Remove, Key: key, Type: kind, Element: element}
}

func toggle(kind, key string, on bool) history.Op {
	if on {
		return history.Op{Do: history.Enable, Key: key, Type: kind}
	}
	return history.Op{Do: history.Disable, Key: key, Type: kind}
}

func reset(kind, key string) history.Op { return history.Op{Do: history.Reset, Key: key, Type: kind} }

// in is an operation on an object made one on a field of a map, which has the key's name.
func in(kind, key string, path []history.Step, o history.Op) history.Op {
	o.Path = append(append([]history.Step{}, path...), history.Step{Name: o.Key, Type: o.Type})
	o.Key, o.Type = key, kind
	return o
}
