package whole

import (
	"fmt"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Notes of a history of pairs. A pattern is a key with at most one asterisk, which stands for the id
// of the pair. Without one, ids are in the value: the elements of a set, or of a register's text or
// texts the parts between commas and spaces.
const (
	NotePrescription = "prescription"
	NotePointer      = "pointer"
	NotePointerIDs   = "pointer-ids" // "value": ids are in the value though the pattern has an asterisk
)

// CausalPair checks that nobody sees a pointer without its prescription. See the package's documentation.
func CausalPair() checker.Checker { return causalPair{} }

type causalPair struct{}

func (causalPair) Name() string { return "causal-pair" }

func (causalPair) Proves() string {
	return "Whoever saw a pointer that was written after its prescription saw the prescription in the same transaction, and later in the " +
		"same session, wherever it asked for it. Pairs whose prescription may have been removed are not judged."
}

func (c causalPair) Check(h *history.History, o checker.Options) checker.Result {
	r := newReport(h, "pairs", "pairs not judged", "pointers seen", "pairs read")
	p := &pairs{h: h, r: r, unsure: map[string]bool{}, written: map[string]bool{}}
	if err := p.notes(); err != nil {
		r.unjudged("%v", err)
		return r.result(c.Name(), o)
	}
	p.takeRemovals()
	p.eachSession(p.takeWrites)
	r.counts["pairs"] = len(p.written)
	for id := range p.written {
		if p.unsure[id] {
			r.counts["pairs not judged"]++
		}
	}
	p.eachSession(p.takeReads)
	return r.result(c.Name(), o)
}

// side is where prescriptions are, or pointers.
type side struct {
	bucket, before, behind string // of the key; without an asterisk before is all of it
	asterisk               bool
	values                 bool // ids are in the value
}

func newSide(bucket, pattern string) side {
	before, behind, asterisk := strings.Cut(pattern, "*")
	return side{bucket, before, behind, asterisk, !asterisk}
}

// on reports whether an operation is on this side, and the id in its key.
func (s side) on(o *history.Op) (id string, yes bool) {
	switch {
	case o.Bucket != s.bucket || len(o.Path) > 0:
		return "", false
	case !s.asterisk:
		return "", o.Key == s.before
	case len(o.Key) < len(s.before)+len(s.behind) || !strings.HasPrefix(o.Key, s.before) || !strings.HasSuffix(o.Key, s.behind):
		return "", false
	}
	return o.Key[len(s.before) : len(o.Key)-len(s.behind)], true
}

// ids are those that an operation on this side writes, or finds.
func (s side) ids(o *history.Op) []string {
	id, on := s.on(o)
	switch {
	case !on || o.Do == history.Remove || o.Do == history.Disable || o.Do == history.Reset:
		return nil
	case !s.values && (o.Writes() || present(o)):
		return []string{id}
	case !s.values:
		return nil
	case o.Do == history.Assign:
		return split(o.Arg.Text)
	case o.Do == history.Insert, o.Do == history.Contains && o.Got.Flag:
		return []string{o.Element}
	case o.Do != history.Get:
		return nil
	case isSet(o.Leaf()):
		return texts(o.Leaf(), o.Got)
	}
	return split(strings.Join(texts(o.Leaf(), o.Got), ","))
}

func split(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// present reports whether a read found something.
func present(o *history.Op) bool {
	v := o.Got
	return !v.Absent && (v.Int != 0 || v.Flag || len(v.List) > 0 || len(v.Fields) > 0 || o.Leaf() == "register-lww")
}

// pairs is one check of prescriptions and pointers.
type pairs struct {
	h                     *history.History
	r                     *report
	prescription, pointer side
	unsure                map[string]bool // ids that can't be judged
	all                   bool            // every prescription may have been removed at once
	written               map[string]bool // ids of pointers that were written
}

func (p *pairs) notes() error {
	n := p.h.Header.Notes
	for _, name := range []string{NotePrescription, NotePointer} {
		if n[name] == "" || strings.Count(n[name], "*") > 1 {
			return fmt.Errorf("the header's note %q is %q: a history of pairs gives there the pattern of the keys, with one * for the id, or none if ids are in the value", name, n[name])
		}
	}
	p.prescription, p.pointer = newSide(n[NoteBucket], n[NotePrescription]), newSide(n[NoteBucket], n[NotePointer])
	p.pointer.values = p.pointer.values || n[NotePointerIDs] == "value"
	return nil
}

// takeRemovals finds prescriptions that may be gone again: their absence says nothing.
func (p *pairs) takeRemovals() {
	for i := range p.h.Txns {
		t := &p.h.Txns[i]
		for j := range t.Ops {
			o := &t.Ops[j]
			id, on := p.prescription.on(o)
			if !on || !possible(t) || !o.Writes() {
				continue
			}
			removes := o.Do == history.Remove || o.Do == history.Disable || o.Do == history.Reset
			switch {
			case removes && p.prescription.asterisk:
				p.unsure[id] = true
			case o.Do == history.Remove:
				p.unsure[o.Element] = true
			case o.Do == history.Reset, p.prescription.values && !isSet(o.Leaf()):
				p.all = true
			case o.Do == history.Add && o.Arg.Int <= 0:
				p.unsure[id] = true // it may be back at nothing
			}
		}
	}
	if p.all {
		p.r.unjudged("prescriptions were perhaps removed or replaced all together: their absence says nothing")
	}
}

// eachSession goes through the transactions session by session, those without one each alone. known
// is shared by a session.
func (p *pairs) eachSession(visit func(t *history.Txn, known map[string]*history.Txn)) {
	for _, s := range sessions(p.h) {
		known := map[string]*history.Txn{}
		for _, t := range s {
			visit(t, known)
		}
	}
	for i := range p.h.Txns {
		if t := &p.h.Txns[i]; t.Session == 0 {
			visit(t, map[string]*history.Txn{})
		}
	}
}

// takeWrites makes sure that whoever writes a pointer knows the prescription: wrote or saw it, in the
// same transaction or before in the session. known: the prescriptions that a session knows.
func (p *pairs) takeWrites(t *history.Txn, known map[string]*history.Txn) {
	own := map[string]bool{}
	for j := range t.Ops {
		if o := &t.Ops[j]; o.Writes() || o.Got != nil {
			for _, id := range p.prescription.ids(o) {
				own[id] = true
			}
		}
	}
	for j := range t.Ops {
		o := &t.Ops[j]
		if !o.Writes() || !possible(t) {
			continue
		}
		for _, id := range p.pointer.ids(o) {
			p.written[id] = true
			if !own[id] && (known[id] == nil || !keepsSession(t)) {
				p.unsure[id] = true
			}
		}
	}
	if t.Outcome == history.OK {
		for id := range own {
			known[id] = t
		}
	}
}

// takeReads judges what a transaction saw. known: the pointers that a session has seen. From its own
// first write to a pair on a transaction sees its own work, which is left out.
func (p *pairs) takeReads(t *history.Txn, known map[string]*history.Txn) {
	if t.Outcome != history.OK || p.all {
		return
	}
	if !keepsSession(t) {
		p.judge(t, p.see(t, map[string]*history.Txn{}, known))
		return
	}
	p.see(t, known, known)
	p.judge(t, known)
}

// see adds the pointers that a transaction saw to both maps, and returns the first.
func (p *pairs) see(t *history.Txn, to, also map[string]*history.Txn) map[string]*history.Txn {
	for _, o := range p.reads(t) {
		for _, id := range p.pointer.ids(o) {
			p.r.counts["pointers seen"]++
			if to[id] == nil {
				to[id] = t
			}
			if also[id] == nil {
				also[id] = t
			}
		}
	}
	return to
}

// reads are those before the transaction's first write to a pair.
func (p *pairs) reads(t *history.Txn) []*history.Op {
	var out []*history.Op
	for j := range t.Ops {
		o := &t.Ops[j]
		_, pre := p.prescription.on(o)
		_, ptr := p.pointer.on(o)
		switch {
		case !pre && !ptr:
		case o.Writes():
			return out
		default:
			out = append(out, o)
		}
	}
	return out
}

// judge holds the prescriptions that a transaction found against the pointers that it or its session saw.
func (p *pairs) judge(t *history.Txn, pointers map[string]*history.Txn) {
	for _, o := range p.reads(t) {
		id, on := p.prescription.on(o)
		switch {
		case !on:
		case !p.prescription.values:
			p.pair(t, pointers[id], id, present(o))
		case o.Do == history.Contains:
			p.pair(t, pointers[o.Element], o.Element, o.Got.Flag)
		default:
			have := texts(o.Leaf(), o.Got)
			missing := map[string]*history.Txn{}
			for id, saw := range pointers {
				if in(have, id) {
					p.r.counts["pairs read"]++
				} else {
					missing[id] = saw
				}
			}
			for _, id := range sortedKeys(missing) {
				p.pair(t, missing[id], id, false)
			}
		}
	}
}

// pair judges one pair of which somebody saw the pointer. there: t found the prescription.
func (p *pairs) pair(t, saw *history.Txn, id string, there bool) {
	if saw == nil {
		return
	}
	p.r.counts["pairs read"]++
	if there || p.unsure[id] || !p.written[id] {
		return
	}
	when := "in the same transaction"
	if saw != t {
		when = fmt.Sprintf("though %s of the same session had seen the pointer, in %s", tn(saw), saw.Region)
	}
	p.r.anomaly("pointer without prescription", fmt.Sprintf("the pointer to %q was written by who knew its prescription; %s in %s did not find the prescription, %s",
		id, tn(t), t.Region, when), saw, t)
}
