package model

import (
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/jepsen/history"
)

// model is a small database that is causally consistent by construction: regions that take over each
// other's whole view at random times, registers whose last write by (time, region) wins.
type model struct {
	choose  func(n int) int // from 0 to n-1
	regions []cut
	times   []int // of each region's last commit
	count   []int // commits of each region
	keys    []string
	values  map[string][]written // of each register, by rising time
	callers []caller
	h       *history.History
	last    int // session and process numbers given out
	plain   bool
}

// cut says how many commits of each region are in a view.
type cut []int

func (c cut) join(o cut) {
	for i := range c {
		c[i] = max(c[i], o[i])
	}
}

// written is a value with its commit: the n-th of a region.
type written struct {
	text            string
	time, region, n int
}

type caller struct {
	process, session int
	token            cut
}

// Shape says what kind of history is made.
type Shape struct {
	Regions, Keys, Callers int
	Ops                    int  // of a transaction, at most
	Plain                  bool // all callers have sessions and call at causal level
}

// History makes a history of so many transactions. choose draws a number from 0 to n-1.
func History(choose func(n int) int, s Shape, txns int) *history.History {
	m := &model{choose: choose, plain: s.Plain, times: make([]int, s.Regions), count: make([]int, s.Regions), values: map[string][]written{}}
	m.h = &history.History{Header: history.Header{Version: history.Version, Workload: "model"}}
	for i := range s.Regions {
		m.regions = append(m.regions, make(cut, s.Regions))
		m.h.Header.Regions = append(m.h.Header.Regions, fmt.Sprint("r", i+1))
	}
	for i := range s.Keys {
		m.keys = append(m.keys, fmt.Sprint("k", i))
	}
	m.callers = make([]caller, s.Callers)
	for i := range m.callers {
		m.renew(&m.callers[i], s.Plain || i%8 != 7)
	}
	for range txns {
		m.step(s.Ops)
	}
	return m.h
}

// renew gives a caller a new process, and a new session or none.
func (m *model) renew(c *caller, session bool) {
	m.last++
	*c = caller{process: m.last, token: make(cut, len(m.regions))}
	if session {
		c.session = m.last
	}
}

// step runs a transaction of up to ops operations.
func (m *model) step(ops int) {
	if m.choose(3) == 0 {
		m.regions[m.choose(len(m.regions))].join(m.regions[m.choose(len(m.regions))])
	}
	c := &m.callers[m.choose(len(m.callers))]
	at := m.choose(len(m.regions))
	t := history.Txn{ID: len(m.h.Txns) + 1, Process: c.process, Session: c.session, Region: m.h.Header.Regions[at],
		Level: "causal", Outcome: history.OK}
	t.Start = int64(10 * t.ID)
	t.End = t.Start + 5
	if !m.plain && m.choose(20) == 0 {
		t.Level = "eventual"
	} else {
		m.regions[at].join(c.token)
	}
	t.Ops = m.ops(at, t.ID, 1+m.choose(ops))
	m.end(c, at, &t)
	m.h.Txns = append(m.h.Txns, t)
}

// ops draws operations and answers the reads from the region's view and the transaction's own writes.
func (m *model) ops(at, id, n int) []history.Op {
	ops := make([]history.Op, n)
	own := map[string]string{}
	for i := range ops {
		key := m.keys[m.choose(len(m.keys))]
		ops[i] = history.Op{Do: history.Get, Key: key, Type: "register-lww"}
		if m.choose(2) == 0 {
			own[key] = fmt.Sprintf("%d.%d", id, i)
			ops[i].Do, ops[i].Arg = history.Assign, &history.Value{Text: own[key]}
		} else if text, ok := own[key]; ok {
			ops[i].Got = &history.Value{Text: text}
		} else {
			ops[i].Got = m.read(at, key)
		}
	}
	return ops
}

func (m *model) read(at int, key string) *history.Value {
	for _, w := range slices.Backward(m.values[key]) {
		if w.n <= m.regions[at][w.region] {
			return &history.Value{Text: w.text}
		}
	}
	return &history.Value{Absent: true}
}

// end decides a transaction's outcome.
func (m *model) end(c *caller, at int, t *history.Txn) {
	switch m.choose(100) {
	case 0, 1:
		t.Outcome = history.Fail
		return
	case 2, 3, 4, 5, 6:
		t.Outcome, t.End = history.Unknown, -1
		token := slices.Clone(c.token)
		if m.choose(2) == 0 {
			m.commit(at, t)
		}
		if m.renew(c, c.session != 0); m.choose(2) == 0 && t.Session != 0 {
			c.session, c.token = t.Session, token // another process goes on with the session
		}
		return
	}
	m.commit(at, t)
	c.token.join(m.regions[at])
	if c.session == 0 {
		clear(c.token)
	}
}

// commit makes the writes visible in the region.
func (m *model) commit(at int, t *history.Txn) {
	if !t.Writes() {
		return
	}
	for o, n := range m.regions[at] {
		if n > 0 {
			m.times[at] = max(m.times[at], m.times[o])
		}
	}
	m.times[at]++
	m.count[at]++
	m.regions[at][at] = m.count[at]
	last := map[string]string{}
	for i := range t.Ops {
		if t.Ops[i].Writes() {
			last[t.Ops[i].Key] = t.Ops[i].Arg.Text
		}
	}
	for key, text := range last {
		m.insert(key, written{text, m.times[at], at, m.count[at]})
	}
}

func (m *model) insert(key string, w written) {
	list := m.values[key]
	i := len(list)
	for i > 0 && (list[i-1].time > w.time || list[i-1].time == w.time && list[i-1].region > w.region) {
		i--
	}
	m.values[key] = slices.Insert(list, i, w)
}
