package semantics

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"

	"github.com/theriac-db/theriac/jepsen/history"
)

// model is a small database of three regions, only as good as its specification: every write is kept, and
// every read asks of each pair of writes whether one overrides the other. It shares nothing with the
// checker but the history.
type model struct {
	rng      *rand.Rand
	unknown  int // percent of calls that are not answered
	clock    uint64
	exposed  [3]history.Vector
	groups   [3][][]*call         // by region, in the order of commits
	writes   map[[2]string][]done // by key and type
	open     []*call
	h        *history.History
	sessions []*client
	next     int
	spread   int // objects of each type, beside the first
}

// client is a session, or a caller without one.
type client struct {
	process, session int
	token            history.Vector
	busy             bool
}

// call is a transaction under way, or committed.
type call struct {
	txn    history.Txn
	by     *client
	region int
	seen   history.Vector
	time   uint64 // of its stamp; 0: not committed
	place  int    // in its group
	lost   bool   // never answered
}

// done is a write.
type done struct {
	c   *call
	pos int
	op  *history.Op
}

func newModel(seed uint64, unknown int) *model {
	m := &model{rng: rand.New(rand.NewPCG(seed, 1)), unknown: unknown, writes: map[[2]string][]done{}, h: new(history.History)}
	m.h.Header = history.Header{Version: history.Version, Workload: "model", Regions: []string{"eu", "us", "ap"}}
	for i := range m.exposed {
		m.exposed[i] = history.Vector{}
	}
	for i := range 6 {
		m.sessions = append(m.sessions, m.newClient(i < 4))
	}
	return m
}

func (m *model) newClient(session bool) *client {
	m.next++
	c := &client{process: m.next, token: history.Vector{}}
	if session {
		c.session = m.next
	}
	return c
}

func (m *model) now() uint64 { m.clock++; return m.clock }

// run makes a history of so many steps, and lets all regions meet at the end.
func (m *model) run(steps int) *history.History {
	for range steps {
		switch m.rng.IntN(5) {
		case 0, 1:
			m.begin()
		case 2, 3:
			m.commit(m.rng.IntN(3))
		default:
			m.replicate(m.rng.IntN(3), m.rng.IntN(3))
		}
	}
	for q := range 3 {
		for m.commit(q) {
		}
	}
	for range 2 { // what the first round can't expose yet, the second one can
		for q := range 3 {
			m.catchUp(q)
		}
	}
	for q := range 3 {
		m.readAll(q)
	}
	slices.SortFunc(m.h.Txns, func(a, b history.Txn) int { return a.ID - b.ID })
	return m.h
}

// replicate exposes in region q what it may of region o, or its clock reading if there is nothing more.
func (m *model) replicate(q, o int) bool {
	e := m.exposed[q]
	if next := m.upTo(o, e[o+1]); next < len(m.groups[o]) {
		g := m.groups[o][next]
		for _, c := range g {
			for region, t := range c.seen {
				if region != o+1 && m.lastAt(region-1, t) > e[region] {
					return false
				}
			}
		}
		m.exposed[q] = with(e, o+1, g[0].time)
		return true
	}
	m.exposed[q] = with(e, o+1, m.now())
	return false
}

// upTo is how many groups of a region are at or below t.
func (m *model) upTo(o int, t uint64) int {
	return sort.Search(len(m.groups[o]), func(i int) bool { return m.groups[o][i][0].time > t })
}

// lastAt is the stamp of a region's last group at or below t.
func (m *model) lastAt(o int, t uint64) uint64 {
	if n := m.upTo(o, t); n > 0 {
		return m.groups[o][n-1][0].time
	}
	return 0
}

func (m *model) catchUp(q int) {
	for more := true; more; {
		more = false
		for o := range 3 {
			more = m.replicate(q, o) || more
		}
	}
}

func with(v history.Vector, region int, t uint64) history.Vector {
	v = maps.Clone(v)
	v[region] = max(v[region], t)
	return v
}

func join(v, w history.Vector) history.Vector {
	for region, t := range w {
		v = with(v, region, t)
	}
	return v
}

func includes(v, w history.Vector) bool {
	for region, t := range w {
		if v[region] < t {
			return false
		}
	}
	return true
}

// begin opens a transaction of an idle client, with all its operations.
func (m *model) begin() {
	by := m.sessions[m.rng.IntN(len(m.sessions))]
	if by.busy {
		return
	}
	q := m.rng.IntN(3)
	if !includes(m.exposed[q], by.token) {
		for range 2 {
			for r := range 3 {
				m.catchUp(r)
			}
		}
	}
	c := m.start(by, q)
	for range 1 + m.rng.IntN(4) {
		m.do(c, m.randomOp())
	}
	m.open = append(m.open, c)
}

func (m *model) start(by *client, q int) *call {
	by.busy = true
	c := &call{by: by, region: q, seen: m.exposed[q]}
	c.txn = history.Txn{ID: len(m.h.Txns) + len(m.open) + 1, Process: by.process, Session: by.session, Level: "causal",
		Region: m.h.Header.Regions[q], Start: int64(m.now()), Snapshot: c.seen}
	if by.session != 0 {
		c.txn.TokenBefore = by.token
	}
	return c
}

// do runs an operation in a transaction: a read is answered at once.
func (m *model) do(c *call, o history.Op) {
	if !o.Writes() {
		v := m.read(c, &o)
		o.Got = &v
	}
	c.txn.Ops = append(c.txn.Ops, o)
}

// commit ends up to three open transactions of a region, as one group. It reports whether there was one.
func (m *model) commit(q int) (any bool) {
	var group, writers []*call
	for _, i := range m.rng.Perm(len(m.open)) { // later stamps may have earlier snapshots
		c := m.open[i]
		if c.region == q && len(group) < 3 {
			group = append(group, c)
			if c.txn.Writes() {
				writers = append(writers, c)
			}
		}
	}
	t := m.now()
	stored := writers[:0:0]
	for _, c := range writers {
		c.lost = m.rng.IntN(100) < m.unknown
		if !c.lost || m.rng.IntN(2) == 0 {
			c.time, c.place = t, len(stored)
			stored = append(stored, c)
			m.store(c)
		}
	}
	if len(stored) > 0 {
		m.groups[q] = append(m.groups[q], stored)
		m.exposed[q] = with(m.exposed[q], q+1, t)
	}
	for _, c := range group {
		m.answer(c)
	}
	m.open = slices.DeleteFunc(m.open, func(c *call) bool { return slices.Contains(group, c) })
	return len(group) > 0
}

func (m *model) store(c *call) {
	for i := range c.txn.Ops {
		if o := &c.txn.Ops[i]; o.Writes() {
			k := [2]string{o.Key, o.Type}
			m.writes[k] = append(m.writes[k], done{c, i, o})
		}
	}
}

func (m *model) answer(c *call) {
	c.by.busy = false
	t := &c.txn
	t.Outcome, t.End = history.OK, int64(m.now())
	if c.lost {
		t.Outcome, t.End, t.Snapshot = history.Unknown, -1, nil
		for i := range t.Ops {
			t.Ops[i].Got = nil
		}
		*c.by = *m.newClient(c.by.session != 0)
	} else {
		after := join(c.by.token, c.seen)
		if c.time > 0 {
			t.Commit = &history.Stamp{Region: c.region + 1, Time: c.time}
			after = with(after, c.region+1, c.time)
		}
		t.TokenAfter = after
		if c.by.session != 0 {
			c.by.token = after
		}
	}
	m.h.Txns = append(m.h.Txns, *t)
}

// readAll reads every object, as final reads.
func (m *model) readAll(q int) {
	c := m.start(&client{process: m.next + q + 1, token: history.Vector{}}, q)
	c.txn.Final = true
	for _, k := range objects {
		m.do(c, history.Op{Do: history.Get, Key: k, Type: k})
	}
	m.answer(c)
}

// objects are one of each type, named by it.
var objects = []string{"counter", "register-lww", "register-mv", "flag-ew", "flag-dw", "set-aw", "set-rw", "set-go", "map", "map-go"}

// paths are the fields of maps that are used.
var paths = [][]history.Step{
	{{Name: "n", Type: "counter"}}, {{Name: "s", Type: "set-aw"}}, {{Name: "w", Type: "set-rw"}},
	{{Name: "m", Type: "map"}, {Name: "x", Type: "register-lww"}}, {{Name: "m", Type: "map"}, {Name: "v", Type: "register-mv"}},
	{{Name: "m", Type: "map"}, {Name: "f", Type: "flag-dw"}}, {{Name: "m", Type: "map"}},
}

func (m *model) randomOp() history.Op {
	k := objects[m.rng.IntN(len(objects))]
	o := history.Op{Key: k, Type: k}
	if m.spread > 0 {
		o.Key = fmt.Sprint(k, m.rng.IntN(m.spread))
	}
	if isMap(k) && m.rng.IntN(4) > 0 {
		o.Path = paths[m.rng.IntN(len(paths))]
	}
	if dice := m.rng.IntN(10); dice < 4 || isMap(o.Leaf()) && dice < 9 {
		o.Do = history.Get
		return o
	} else if dice == 9 && m.rng.IntN(2) == 0 || isMap(o.Leaf()) {
		o.Do = history.Reset
		return o
	}
	first := m.rng.IntN(3) > 0
	switch kind := o.Leaf(); kind {
	case "counter":
		o.Do, o.Arg = history.Add, &history.Value{Int: int64(m.rng.IntN(8) - 2)}
	case "register-lww", "register-mv":
		o.Do, o.Arg = history.Assign, &history.Value{Text: fmt.Sprintf("v%d", m.now())}
	case "flag-ew", "flag-dw":
		o.Do = history.Enable
		if !first {
			o.Do = history.Disable
		}
	default:
		o.Do, o.Element = history.Insert, string(rune('a'+m.rng.IntN(4)))
		if !first && kind != "set-go" {
			o.Do = history.Remove
		} else if !first {
			o.Do = history.Contains
		}
	}
	return o
}

// read is the specification.
func (m *model) read(c *call, o *history.Op) history.Value {
	alive := m.alive(c, o)
	if o.Do == history.Contains {
		alive = slices.DeleteFunc(alive, func(d done) bool { return d.op.Element != o.Element })
		return history.Value{Flag: len(value(o.Leaf(), len(o.Path), of(alive, o.Path)).List) > 0}
	}
	return value(o.Leaf(), len(o.Path), of(alive, o.Path))
}

// alive are the writes on an object that a transaction sees, and that nothing which it sees overrides, in
// the order of the last writer.
func (m *model) alive(c *call, o *history.Op) (out []done) {
	var seen []done
	for _, d := range m.writes[[2]string{o.Key, o.Type}] {
		if d.c.time <= c.seen[d.c.region+1] {
			seen = append(seen, d)
		}
	}
	for i := range c.txn.Ops {
		if p := &c.txn.Ops[i]; p.Writes() && p.Key == o.Key && p.Type == o.Type {
			seen = append(seen, done{c, i, p})
		}
	}
	for _, f := range seen {
		if !slices.ContainsFunc(seen, func(e done) bool { return sees(e, f) && overrides(e.op, f.op) }) {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b done) int {
		return cmp.Or(cmp.Compare(a.c.time-1, b.c.time-1), // not committed: the last
			a.c.region-b.c.region, a.c.place-b.c.place, a.pos-b.pos)
	})
	return out
}

func sees(e, f done) bool {
	if e.c == f.c {
		return f.pos < e.pos
	}
	return f.c.time > 0 && f.c.time <= e.c.seen[f.c.region+1]
}

func overrides(e, f *history.Op) bool {
	if e.Do == history.Reset {
		return len(e.Path) <= len(f.Path) && slices.Equal(e.Path, f.Path[:len(e.Path)])
	}
	if !slices.Equal(e.Path, f.Path) || e.Element != f.Element {
		return false
	}
	puts := f.Do == history.Insert || f.Do == history.Enable
	takes := f.Do == history.Remove || f.Do == history.Disable
	switch e.Do {
	case history.Assign:
		return e.Leaf() == "register-mv" && f.Do == history.Assign
	case history.Remove, history.Disable:
		return puts
	case history.Insert, history.Enable:
		return takes
	}
	return false
}

// of are the writes at or below a path.
func of(list []done, path []history.Step) (out []done) {
	for _, d := range list {
		if len(d.op.Path) >= len(path) && slices.Equal(d.op.Path[:len(path)], path) {
			out = append(out, d)
		}
	}
	return out
}

// value of a type from the writes that are alive at or below depth.
func value(kind string, depth int, alive []done) (v history.Value) {
	alive = slices.DeleteFunc(slices.Clone(alive), func(d done) bool { return d.op.Do == history.Reset })
	switch kind {
	case "counter":
		for _, d := range alive {
			v.Int += d.op.Arg.Int
		}
		v.Absent = len(alive) == 0
	case "register-lww":
		v.Absent = len(alive) == 0
		if !v.Absent {
			v.Text = alive[len(alive)-1].op.Arg.Text
		}
	case "register-mv":
		for _, d := range alive {
			v.List = append(v.List, d.op.Arg.Text)
		}
		slices.Sort(v.List)
	case "flag-ew", "flag-dw":
		v.Flag = on(kind, alive)
	case "map", "map-go":
		v.Fields = fields(depth, alive)
	default:
		v.List = elements(kind, alive)
	}
	return v
}

func on(kind string, alive []done) bool {
	is := func(a, b history.Do) bool {
		return slices.ContainsFunc(alive, func(d done) bool { return d.op.Do == a || d.op.Do == b })
	}
	wins := kind == "flag-ew" || kind == "set-aw" || kind == "set-go"
	return is(history.Enable, history.Insert) && (wins || !is(history.Disable, history.Remove))
}

func elements(kind string, alive []done) (out []string) {
	by := map[string][]done{}
	for _, d := range alive {
		by[d.op.Element] = append(by[d.op.Element], d)
	}
	for _, e := range slices.Sorted(maps.Keys(by)) {
		if on(kind, by[e]) {
			out = append(out, e)
		}
	}
	return out
}

func fields(depth int, alive []done) (out []history.Field) {
	by := map[history.Step][]done{}
	for _, d := range alive {
		by[d.op.Path[depth]] = append(by[d.op.Path[depth]], d)
	}
	for s, list := range by {
		v := value(s.Type, depth+1, list)
		if !v.Absent && (s.Type == "counter" || s.Type == "register-lww" || v.Flag || v.List != nil || v.Fields != nil) {
			out = append(out, history.Field{Name: s.Name, Type: s.Type, Value: v})
		}
	}
	slices.SortFunc(out, func(a, b history.Field) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type)) })
	return out
}
