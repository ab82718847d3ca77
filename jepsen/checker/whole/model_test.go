package whole

import (
	"fmt"
	"maps"
	"slices"

	"github.com/theriac-db/theriac/jepsen/history"
)

// chooser makes the model's choices: rapid in tests of properties, a plain generator in benchmarks.
type chooser interface {
	// below returns a number from 0 to n-1.
	below(n int) int
}

// model is a database of a few regions on paper: each holds a causally closed set of transactions,
// and a value is what its type's specification says of the effects in a set.
type model struct {
	choose  chooser
	h       *history.History
	made    []*commit
	holds   []map[int]bool // by region: indices of made
	callers []*caller
	pending []*pendingCommit
	now     int64
	process int
}

// commit is a transaction's effects.
type commit struct {
	n      int // index in made
	region int
	time   int
	deps   map[int]bool
	ops    []history.Op
}

// pendingCommit is one of unknown outcome that takes effect later, or never.
type pendingCommit struct {
	region int
	deps   map[int]bool
	ops    []history.Op
}

// caller is a client with a session, or without one.
type caller struct {
	process, session int
	busy             int64 // until when
	token            map[int]bool
	rx               int // prescriptions that it wrote, without a pointer as yet
}

var modelRegions = []string{"eu", "us", "ap"}

func newModel(c chooser) *model {
	m := &model{choose: c, h: &history.History{Header: history.Header{
		Version: history.Version, Workload: "model", Regions: modelRegions,
		Notes: map[string]string{NoteAccounts: "a0,a1,a2", NoteTotal: "30", NotePrescription: "rx-*", NotePointer: "ptr-*"},
	}}}
	for range modelRegions {
		m.holds = append(m.holds, map[int]bool{})
	}
	for session := range 6 {
		m.process++
		m.callers = append(m.callers, &caller{process: m.process, session: session, token: map[int]bool{}})
	}
	m.callers = append(m.callers, &caller{process: 100, token: map[int]bool{}})
	return m
}

// run makes a history of n transactions and the final reads.
func (m *model) run(n int) *history.History {
	for range n {
		m.now += 10
		if m.choose.below(3) == 0 {
			m.deliver(m.choose.below(len(m.holds)), m.choose.below(4))
		}
		if len(m.pending) > 0 && m.choose.below(4) == 0 {
			p := m.pending[0]
			m.pending = m.pending[1:]
			m.commit(p.region, p.deps, p.ops)
		}
		if c := m.callers[m.choose.below(len(m.callers))]; c.busy <= m.now {
			m.call(c)
		}
	}
	m.final()
	return m.h
}

// deliver brings up to n transactions to a region, each with all that it depends on.
func (m *model) deliver(region, n int) {
	for _, c := range m.made {
		if n > 0 && !m.holds[region][c.n] {
			m.bring(region, c.deps)
			m.holds[region][c.n] = true
			n--
		}
	}
}

func (m *model) bring(region int, deps map[int]bool) { maps.Copy(m.holds[region], deps) }

// call is one transaction of a caller, in some region.
func (m *model) call(c *caller) {
	region := m.choose.below(len(m.holds))
	t := history.Txn{
		ID: len(m.h.Txns) + 1, Process: c.process, Session: c.session, Region: modelRegions[region], Level: "causal", Durability: "local",
		Start: max(c.busy, m.now-int64(m.choose.below(30))), End: m.now + int64(m.choose.below(30)), Outcome: history.OK,
	}
	if m.choose.below(8) == 0 {
		t.Level = "eventual"
	} else {
		m.bring(region, c.token)
	}
	snapshot := maps.Clone(m.holds[region])
	if l := len(m.made); l > 0 && m.choose.below(3) == 0 && !c.token[l-1] && m.made[l-1].region == region {
		delete(snapshot, l-1) // both in one group
	}
	t.Ops = m.ops(t.ID, c)
	switch m.choose.below(12) {
	case 0:
		t.Outcome = history.Fail
		stripAnswers(&t)
		c.rx = 0
	case 1:
		m.unknown(&t, c, region, snapshot)
	default:
		m.answer(&t, snapshot, region)
		if t.Writes() {
			n := m.commit(region, snapshot, t.Ops)
			snapshot[n] = true
		}
		if c.session != 0 {
			maps.Copy(c.token, snapshot)
		}
	}
	c.busy = t.End
	if t.Outcome == history.Unknown {
		c.busy = m.now + 1
	}
	m.h.Txns = append(m.h.Txns, t)
}

// unknown makes the outcome unknown: applied now, later or never.
func (m *model) unknown(t *history.Txn, c *caller, region int, snapshot map[int]bool) {
	t.Outcome, t.End = history.Unknown, -1
	stripAnswers(t)
	c.rx = 0
	m.process = max(m.process, 100) + 1
	c.process = m.process
	switch m.choose.below(3) {
	case 0:
		m.commit(region, snapshot, t.Ops)
	case 1:
		m.pending = append(m.pending, &pendingCommit{region, snapshot, t.Ops})
	}
}

func stripAnswers(t *history.Txn) {
	for i := range t.Ops {
		t.Ops[i].Got = nil
	}
}

// commit adds a transaction, and returns its number. Its dependencies are a snapshot taken before.
func (m *model) commit(region int, deps map[int]bool, ops []history.Op) int {
	c := &commit{n: len(m.made), region: region, deps: maps.Clone(deps), ops: ops}
	for d := range deps {
		c.time = max(c.time, m.made[d].time)
	}
	c.time += 1 + m.choose.below(3)
	m.made = append(m.made, c)
	m.bring(region, deps)
	m.holds[region][c.n] = true
	return c.n
}

// answer fills in what each read finds: the snapshot, and the transaction's own writes so far.
func (m *model) answer(t *history.Txn, snapshot map[int]bool, region int) {
	seen := make([]*commit, 0, len(snapshot)+1)
	for n := range snapshot {
		seen = append(seen, m.made[n])
	}
	own := &commit{n: -1, region: region, time: 1 << 40, deps: snapshot}
	seen = append(seen, own)
	for i := range t.Ops {
		if o := &t.Ops[i]; o.Writes() {
			own.ops = t.Ops[:i+1]
		} else {
			o.Got = specified(seen, o)
		}
	}
}

// final reads everything in every region once all have all.
func (m *model) final() {
	for region := range m.holds {
		m.deliver(region, len(m.made))
		m.now += 1000
		m.process = max(m.process, 100) + 1
		t := history.Txn{ID: len(m.h.Txns) + 1, Process: m.process, Region: modelRegions[region], Level: "causal", Start: m.now, End: m.now, Outcome: history.OK, Final: true}
		met := map[string]bool{}
		for i := range m.h.Txns {
			for _, o := range m.h.Txns[i].Ops {
				look := history.Op{Do: history.Get, Key: o.Key, Type: o.Type, Path: o.Path}
				if k := fmt.Sprint(look); !met[k] && o.Leaf() != "map" {
					met[k] = true
					t.Ops = append(t.Ops, look)
				}
			}
		}
		if len(t.Ops) == 0 {
			t.Ops = []history.Op{{Do: history.Get, Key: "n", Type: "counter"}}
		}
		m.answer(&t, m.holds[region], region)
		m.h.Txns = append(m.h.Txns, t)
	}
}

// effect is one write with what its transaction saw.
type effect struct {
	of *commit
	at int
	op *history.Op
}

// saw reports whether f is in e's past: then an override of e covers it.
func (e effect) saw(f effect) bool { return e.of == f.of && f.at < e.at || e.of.deps[f.of.n] }

// less orders effects as last-writer-wins registers do.
func (e effect) less(f effect) bool {
	return slices.Compare([]int{e.of.time, e.of.region, e.of.n, e.at}, []int{f.of.time, f.of.region, f.of.n, f.at}) < 0
}

// specified is the value of an object by its type's specification.
func specified(seen []*commit, o *history.Op) *history.Value {
	var all []effect
	for _, c := range seen {
		for i := range c.ops {
			if w := &c.ops[i]; w.Writes() && concerns(w, o) {
				all = append(all, effect{c, i, w})
			}
		}
	}
	live := slices.DeleteFunc(slices.Clone(all), func(f effect) bool {
		return slices.ContainsFunc(all, func(e effect) bool { return e.saw(f) && overrides(e.op, f.op, o.Leaf()) })
	})
	return valueOf(live, o)
}

// concerns reports whether a write is on the read's place, or a reset above it.
func concerns(w, o *history.Op) bool {
	if w.Key != o.Key || w.Type != o.Type {
		return false
	}
	return w.Do == history.Reset && len(w.Path) <= len(o.Path) && slices.Equal(w.Path, o.Path[:len(w.Path)]) || slices.Equal(w.Path, o.Path)
}

// overrides reports whether e takes away an f that it saw.
func overrides(e, f *history.Op, leaf string) bool {
	switch e.Do {
	case history.Reset:
		return true
	case history.Assign, history.Disable:
		return f.Do != history.Reset
	case history.Remove:
		return f.Element == e.Element && f.Do != history.Reset
	case history.Insert, history.Enable:
		return removeWins(leaf) && f.Element == e.Element && (f.Do == history.Remove || f.Do == history.Disable)
	}
	return false
}

func valueOf(live []effect, o *history.Op) *history.Value {
	v := &history.Value{}
	var last *effect
	on, off := map[string]bool{}, map[string]bool{}
	for i, e := range live {
		switch e.op.Do {
		case history.Add:
			v.Int += e.op.Arg.Int
		case history.Assign:
			on[e.op.Arg.Text] = true
			if last == nil || last.less(e) {
				last = &live[i]
			}
		case history.Insert, history.Enable:
			on[e.op.Element] = true
		case history.Remove, history.Disable:
			off[e.op.Element] = true
		}
	}
	if removeWins(o.Leaf()) {
		maps.DeleteFunc(on, func(k string, _ bool) bool { return off[k] })
	}
	switch leaf := o.Leaf(); {
	case leaf == "register-lww":
		v.Absent = last == nil
		if last != nil {
			v.Text = last.op.Arg.Text
		}
	case isFlag(leaf):
		v.Flag = on[""]
	case o.Do == history.Contains:
		v.Flag = on[o.Element]
	case !isCounter(leaf):
		v.List = slices.Sorted(maps.Keys(on))
	}
	return v
}
