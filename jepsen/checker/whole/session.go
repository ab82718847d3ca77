package whole

import (
	"fmt"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Session checks that a session, wherever it goes, reads what it wrote and never less than it read.
// See the package's documentation.
func Session() checker.Checker { return session{} }

type session struct{}

func (session) Name() string { return "session" }

func (session) Proves() string {
	return "By values alone: sessions read their own writes, and what they read never went back, in counters that only rise or only fall, " +
		"in registers and in sets. Counters that go both ways, flags and maps read as a whole are not judged."
}

func (c session) Check(h *history.History, o checker.Options) checker.Result {
	x := newIndex(h)
	r := newReport(h, "sessions", "sessions that hopped", "reads compared", "reads compared after a hop")
	slopes := map[*place]int64{}
	for _, p := range x.places {
		slopes[p] = slope(p)
	}
	for _, s := range sessions(h) {
		m := &memory{x: x, r: r, slopes: slopes, places: map[*place]*recollection{}}
		for _, t := range s {
			if t.Outcome == history.OK {
				m.take(t)
			}
		}
		r.counts["sessions"]++
		if m.hopped {
			r.counts["sessions that hopped"]++
		}
	}
	return r.result(c.Name(), o)
}

// slope of a counter is 1 for one that only rises, -1 for one that only falls, else 0.
func slope(p *place) int64 {
	up, down := true, true
	for _, a := range p.adds {
		up, down = up && a.n >= 0, down && a.n <= 0
	}
	switch {
	case p.reset():
		return 0
	case up:
		return 1
	case down:
		return -1
	}
	return 0
}

// memory is what a session knows.
type memory struct {
	x      *index
	r      *report
	slopes map[*place]int64
	places map[*place]*recollection
	region string
	hopped bool
}

// recollection is what a session knows of one place.
type recollection struct {
	floor   wide                // of a counter: what it is at least, times its slope
	from    *history.Txn        // how floor is known
	wrote   *history.Txn        // the last to add to it since
	now     []sighting          // of a register: what it held at last
	gone    map[*item]departure // values and elements that can't come back
	known   map[string]sighting // of a set: elements that must be there
	compare bool                // something is known
}

// departure is how a session knows that something was replaced, or removed.
type departure struct {
	met sighting
	by  *history.Txn
}

func (m *memory) of(p *place) *recollection {
	k := m.places[p]
	if k == nil {
		k = &recollection{gone: map[*item]departure{}, known: map[string]sighting{}}
		m.places[p] = k
	}
	return k
}

// take goes through one transaction, in program order: it sees its own writes, too.
func (m *memory) take(t *history.Txn) {
	m.hopped = m.hopped || m.region != "" && m.region != t.Region
	m.region = t.Region
	for j, p := range m.x.at[t.ID-1] {
		o := &t.Ops[j]
		if k := m.places[p]; !o.Writes() && keepsSession(t) && k != nil && k.compare {
			m.r.counts["reads compared"]++
			if m.hopped {
				m.r.counts["reads compared after a hop"]++
			}
		}
		switch {
		case o.Do == history.Reset:
			m.forget(p)
		case isCounter(p.leaf):
			m.counter(t, o, p)
		case isRegister(p.leaf):
			m.register(t, o, p)
		case isSet(p.leaf):
			m.set(t, o, p)
		}
	}
}

// forget drops what is known of a place that the session itself resets, with all below: what it had
// put there is gone, also if that was in the same transaction.
func (m *memory) forget(p *place) {
	delete(m.places, p)
	for _, q := range p.below {
		delete(m.places, q)
	}
}

// counter: what is read is at least what was read before, and what the session has added since.
func (m *memory) counter(t *history.Txn, o *history.Op, p *place) {
	s := m.slopes[p]
	if s == 0 {
		return
	}
	k := m.of(p)
	if o.Writes() {
		k.floor, k.wrote, k.compare = k.floor.plus(s*o.Arg.Int), t, true
		return
	}
	got := s * o.Got.Int
	if keepsSession(t) && k.compare && k.floor.compare(got) > 0 {
		name, since := "non-monotonic read", k.from
		if k.wrote != nil {
			name, since = "own write not read", k.wrote
		}
		m.r.anomaly(name, fmt.Sprintf("session %d knew since %s, in %s, that %s had gone as far as %s; but %s in %s read %d",
			t.Session, tn(since), since.Region, p.name, scaled(k.floor, s), tn(t), t.Region, o.Got.Int), since, t)
	}
	if k.floor.compare(got) <= 0 {
		k.floor, k.from, k.wrote, k.compare = wide{}.plus(got), t, nil, true
	}
}

func scaled(w wide, s int64) string {
	if s < 0 {
		return "minus " + w.String()
	}
	return w.String()
}

// register: a value that was replaced does not come back, and a register does not go back to nothing.
func (m *memory) register(t *history.Txn, o *history.Op, p *place) {
	k := m.of(p)
	if o.Writes() {
		if keepsSession(t) {
			k.leave(nil, t)
		}
		i := p.item(o.Arg.Text)
		delete(k.gone, i) // the transaction wrote it, something else, and it again
		k.now = append(k.now, sighting{i, t, "wrote"})
		k.compare = true
		return
	}
	if !keepsSession(t) {
		return // it may be older than what is known
	}
	have := texts(p.leaf, o.Got)
	if len(have) == 0 && len(k.now) > 0 && !p.reset() {
		m.back(t, p, k.now[0], "nothing", nil)
		return
	}
	for _, text := range have {
		i := p.item(text)
		if d, gone := k.gone[i]; gone && (p.leaf == "register-mv" || !p.reset()) {
			last := d.met
			if len(k.now) > 0 {
				last = k.now[len(k.now)-1]
			}
			m.back(t, p, last, fmt.Sprintf("%q", text), d.by)
			return
		}
	}
	k.leave(have, t)
	k.see(t, p, have)
}

// leave notes that by replaced what was there and is not among the values left.
func (k *recollection) leave(left []string, by *history.Txn) {
	for _, s := range k.now {
		if !in(left, s.item.text) && s.item.writers.only != nil {
			k.gone[s.item] = departure{s, by}
		}
	}
	k.now = staying(k.now, left)
}

// staying keeps those whose text is among the ones left.
func staying(now []sighting, left []string) []sighting {
	out := now[:0]
	for _, s := range now {
		if in(left, s.item.text) {
			out = append(out, s)
		}
	}
	return out
}

// see notes the values that are there now.
func (k *recollection) see(t *history.Txn, p *place, have []string) {
	met := make(map[*item]bool, len(k.now))
	for _, s := range k.now {
		met[s.item] = true
	}
	for _, text := range have {
		if i := p.item(text); !met[i] {
			k.now = append(k.now, sighting{i, t, "read"})
			k.compare = true
		}
	}
}

// back tells of a register that went back. met: what the session had met last. by: who replaced what came back.
func (m *memory) back(t *history.Txn, p *place, met sighting, to string, by *history.Txn) {
	name := "non-monotonic read"
	if met.verb == "wrote" {
		name = "own write not read"
	}
	text := fmt.Sprintf("session %d: %s in %s %s %s, then %s in %s read %s", t.Session, tn(met.by), met.by.Region, met.verb, wrote(p, met.item), tn(t), t.Region, to)
	if by != nil {
		text += fmt.Sprintf(", though that was replaced by the time of %s", tn(by))
	}
	m.r.anomaly(name, text, met.by, t)
}

// set: what was met and can't have been removed stays; what the session removed, and nobody put in
// anew, does not come back.
func (m *memory) set(t *history.Txn, o *history.Op, p *place) {
	k := m.of(p)
	switch o.Do {
	case history.Insert:
		k.meet(p.item(o.Element), t, "put")
	case history.Remove:
		k.remove(p.item(o.Element), t)
	case history.Contains:
		m.element(t, p, k, p.item(o.Element), o.Got.Flag)
	case history.Get:
		have := texts(p.leaf, o.Got)
		for _, e := range have {
			m.element(t, p, k, p.item(e), true)
		}
		for _, e := range missing(k.known, have) {
			m.element(t, p, k, p.item(e), false)
		}
	}
}

func (k *recollection) meet(i *item, t *history.Txn, verb string) {
	if _, met := k.known[i.text]; !met {
		k.known[i.text] = sighting{i, t, verb}
		k.compare = true
	}
}

// remove: an element whose only writer the session knows is gone for good once the session removes it.
func (k *recollection) remove(i *item, t *history.Txn) {
	met, known := k.known[i.text]
	delete(k.known, i.text)
	if known && keepsSession(t) && i.writers.only != nil && i.writers.only != t {
		k.gone[i] = departure{met, t}
	}
}

// missing are the known elements that are not there, in byte order.
func missing(known map[string]sighting, have []string) []string {
	if len(known) == 0 {
		return nil
	}
	gone := map[string]bool{}
	for e := range known {
		if !in(have, e) {
			gone[e] = true
		}
	}
	return sortedKeys(gone)
}

// element judges whether an element is there.
func (m *memory) element(t *history.Txn, p *place, k *recollection, i *item, there bool) {
	met, known := k.known[i.text]
	if there {
		if d, gone := k.gone[i]; gone && keepsSession(t) {
			m.r.anomaly("own write not read", fmt.Sprintf("session %d: %s in %s took %s out, which nobody put in again, but %s in %s read it",
				t.Session, tn(d.by), d.by.Region, wrote(p, i), tn(t), t.Region), d.by, t)
			return
		}
		k.meet(i, t, "read")
		return
	}
	if !known || !keepsSession(t) {
		return
	}
	delete(k.known, i.text)
	if mayBeGone(p, i) {
		return
	}
	name := "non-monotonic read"
	if met.verb == "put" {
		name = "own write not read"
	}
	m.r.anomaly(name, fmt.Sprintf("session %d: %s in %s %s %s, which nothing took out, but %s in %s did not find it",
		t.Session, tn(met.by), met.by.Region, met.verb, wrote(p, i), tn(t), t.Region), met.by, t)
}

// mayBeGone reports whether anything may have taken an element out after it was put in.
func mayBeGone(p *place, i *item) bool {
	w := i.writers.only
	if w == nil {
		return i.removes.n > 0 || p.reset()
	}
	if removeWins(p.leaf) && i.removes.n > 0 {
		return true
	}
	return i.removes.mayCover(w) || p.maySeeReset(w)
}
