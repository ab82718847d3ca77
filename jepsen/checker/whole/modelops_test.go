package whole

import (
	"fmt"

	"github.com/theriac-db/theriac/jepsen/history"
)

func get(key, kind string, path ...history.Step) history.Op {
	return history.Op{Do: history.Get, Key: key, Type: kind, Path: path}
}

func assign(key, kind, text string) history.Op {
	return history.Op{Do: history.Assign, Key: key, Type: kind, Arg: &history.Value{Text: text}}
}

func plus(key string, n int) history.Op {
	return history.Op{Do: history.Add, Key: key, Type: "counter", Arg: &history.Value{Int: int64(n)}}
}

// ops are what one transaction does: one of a few small workloads, or any two operations.
func (m *model) ops(id int, c *caller) []history.Op {
	mark := fmt.Sprintf("t%d", id)
	deposited := false
	for i := range m.h.Txns {
		for _, o := range m.h.Txns[i].Ops {
			deposited = deposited || o.Do == history.Add && o.Key == "a0" && m.h.Txns[i].Outcome != history.Fail
		}
	}
	switch m.choose.below(9) {
	case 0:
		return m.bankOps(deposited)
	case 1:
		return []history.Op{assign("px", "register-lww", mark), assign("py", "register-lww", mark),
			{Do: history.Insert, Key: "sx", Type: "set-aw", Element: mark}, {Do: history.Insert, Key: "sy", Type: "set-rw", Element: mark}}
	case 2:
		return []history.Op{get("px", "register-lww"), get("py", "register-lww"), get("sx", "set-aw"), get("sy", "set-rw")}
	case 3:
		return m.pairOps(id, c)
	case 4:
		return []history.Op{{Do: history.Insert, Key: "keep", Type: "set-go", Element: mark}, plus("keep", 1)}
	case 5:
		return []history.Op{get("keep", "set-go"), get("keep", "counter")}
	}
	return []history.Op{m.anyOp(mark), m.anyOp(mark + "b")}
}

func (m *model) bankOps(deposited bool) []history.Op {
	switch {
	case !deposited:
		return []history.Op{plus("a0", 10), plus("a1", 10), plus("a2", 10)}
	case m.choose.below(2) == 0:
		n := 1 + m.choose.below(5)
		return []history.Op{plus(fmt.Sprintf("a%d", m.choose.below(3)), -n), get("a1", "counter"), plus(fmt.Sprintf("a%d", m.choose.below(3)), n)}
	}
	return []history.Op{get("a0", "counter"), get("a1", "counter"), get("a2", "counter")}
}

// pairOps write a prescription, its pointer in a later transaction, or read both of some pair.
func (m *model) pairOps(id int, c *caller) []history.Op {
	if m.choose.below(2) == 0 {
		n := 1 + m.choose.below(id)
		return []history.Op{get(fmt.Sprintf("rx-%d", n), "register-lww"), get(fmt.Sprintf("ptr-%d", n), "register-lww")}
	}
	if n := c.rx; n != 0 && c.session != 0 {
		c.rx = 0
		return []history.Op{assign(fmt.Sprintf("ptr-%d", n), "register-lww", "rx")}
	}
	c.rx = id
	return []history.Op{assign(fmt.Sprintf("rx-%d", id), "register-lww", "take")}
}

// anyOp is any operation on a few objects that everybody uses.
func (m *model) anyOp(mark string) history.Op {
	kinds := []string{"counter", "register-lww", "register-mv", "set-aw", "set-rw", "set-go", "flag-ew", "flag-dw"}
	kind := kinds[m.choose.below(len(kinds))]
	o := history.Op{Do: history.Get, Key: "any", Type: kind}
	if m.choose.below(4) == 0 {
		o.Type, o.Path = "map", []history.Step{{Name: "f", Type: kind}}
	}
	switch m.choose.below(12) {
	case 0:
		o.Do = history.Reset
		if len(o.Path) > 0 && m.choose.below(2) == 0 {
			o.Path = nil // the whole map
		}
		return o
	case 1, 2, 3, 4, 5:
		return o
	}
	switch {
	case isCounter(kind):
		o.Do, o.Arg = history.Add, &history.Value{Int: int64(m.choose.below(9) - 3)}
	case isRegister(kind):
		o.Do, o.Arg = history.Assign, &history.Value{Text: mark}
	case isFlag(kind):
		o.Do = []history.Do{history.Enable, history.Disable}[m.choose.below(2)]
	default:
		o.Element = fmt.Sprintf("e%d", m.choose.below(5))
		o.Do = []history.Do{history.Insert, history.Insert, history.Remove, history.Contains}[m.choose.below(4)]
		if o.Do == history.Remove && kind == "set-go" {
			o.Do = history.Insert
		}
	}
	return o
}
