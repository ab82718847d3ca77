package strong

import (
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// WriteSkew finds pairs of transactions of which each replaced what the other had read: an anomaly if both are of
// a level that is named, and counted if not. See the package's documentation.
func WriteSkew(forbidden ...string) checker.Checker { return writeSkew{forbidden} }

type writeSkew struct{ forbidden []string }

func (writeSkew) Name() string { return "write-skew" }

func (writeSkew) Proves() string {
	return "No two transactions at a level that forbids it each replaced a register that the other had read, and had not written itself. " +
		"At other levels such pairs are allowed, and only counted."
}

// held is what a register held: a value, or nothing.
type held struct{ place, text string }

// step is what a transaction had to do with one register.
type step struct {
	read    held
	did     bool // it read it, before it wrote it itself
	written bool
}

// Check implements checker.Checker.
func (c writeSkew) Check(h *history.History, o checker.Options) checker.Result {
	p := pairs{h: h, forbidden: c.forbidden, most: o.Most(), counts: map[string]int{"transactions that read and write": 0, "write skews": 0}}
	steps := make([]map[string]step, len(h.Txns))
	replaced := map[held][]int{} // by what was read: who wrote another value
	for i := range h.Txns {
		if t := &h.Txns[i]; t.Outcome == history.OK {
			steps[i] = stepsOf(t)
			p.counts["transactions that read and write"] += p.enter(i, steps[i], replaced)
		}
	}
	for i := range steps {
		for place, s := range steps[i] {
			if !s.did || s.written {
				continue
			}
			for _, j := range replaced[s.read] {
				if j > i && p.otherWay(steps[i], steps[j]) {
					p.tell("write skew", i, j, fmt.Sprintf("each read what the other replaced: %s for one", place))
				}
			}
		}
	}
	return p.result(c.Name())
}

// enter notes what a transaction replaced, and returns 1 if it replaced something.
func (*pairs) enter(i int, steps map[string]step, replaced map[held][]int) (n int) {
	for _, s := range steps {
		if s.did && s.written {
			replaced[s.read] = append(replaced[s.read], i)
			n = 1
		}
	}
	return n
}

// otherWay reports whether b read, and did not write, something that a replaced.
func (*pairs) otherWay(a, b map[string]step) bool {
	for place, s := range a {
		if other := b[place]; s.did && s.written && other.did && !other.written && other.read == s.read {
			return true
		}
	}
	return false
}

// stepsOf is what a transaction had to do with each register.
func stepsOf(t *history.Txn) map[string]step {
	out := map[string]step{}
	for i := range t.Ops {
		o := &t.Ops[i]
		if o.Leaf() != "register-lww" {
			continue
		}
		place := checker.Place(o)
		s := out[place]
		if v := answerOf(o); v != nil && !s.did && !s.written {
			s.did, s.read = true, held{place, content(o.Leaf(), v)}
		}
		s.written = s.written || o.Writes()
		out[place] = s
	}
	return out
}

// Phantoms finds pairs of transactions that each read a whole set without what the other put into it: an anomaly if both
// are of a level that is named, and counted if not. See the package's documentation.
func Phantoms(forbidden ...string) checker.Checker { return phantoms{forbidden} }

type phantoms struct{ forbidden []string }

func (phantoms) Name() string { return "phantoms" }

func (phantoms) Proves() string {
	return "No two transactions at a level that forbids it each read a whole set and then put an element into it that the other had not " +
		"found. At other levels such pairs are allowed, and only counted. It looks at sets that nobody took anything out of."
}

// entry is a transaction that read a set and put something into it.
type entry struct {
	txn  int
	got  []string
	puts []string
}

// Check implements checker.Checker.
func (c phantoms) Check(h *history.History, o checker.Options) checker.Result {
	p := pairs{h: h, forbidden: c.forbidden, most: o.Most(), counts: map[string]int{"predicate writes": 0, "phantoms": 0}}
	entries, names, shrunk := map[string][]entry{}, []string{}, map[string]bool{}
	for i := range h.Txns {
		t := &h.Txns[i]
		for place, e := range entriesOf(i, t, shrunk) {
			if t.Outcome == history.OK && e.got != nil && len(e.puts) > 0 {
				if entries[place] == nil {
					names = append(names, place)
				}
				entries[place] = append(entries[place], e)
				p.counts["predicate writes"]++
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for i, a := range entries[name] {
			for _, b := range entries[name][:i] {
				if !shrunk[name] && a.misses(b) && b.misses(a) {
					p.tell("phantom", b.txn, a.txn, fmt.Sprintf("each read all of %s without what the other put into it", name))
				}
			}
		}
	}
	return p.result(c.Name())
}

// misses reports whether an entry had not found anything of what another one put in.
func (e entry) misses(other entry) bool {
	return !slices.ContainsFunc(other.puts, func(put string) bool { return slices.Contains(e.got, put) })
}

// entriesOf is what a transaction did with each set, and notes those that somebody took something out of.
func entriesOf(i int, t *history.Txn, shrunk map[string]bool) map[string]entry {
	out := map[string]entry{}
	for j := range t.Ops {
		o := &t.Ops[j]
		if len(o.Path) > 0 || form(o.Type) != "set" {
			continue
		}
		place := checker.Place(o)
		e := out[place]
		e.txn = i
		switch {
		case o.Do == history.Get && o.Got != nil && e.got == nil && len(e.puts) == 0:
			e.got = append([]string{}, o.Got.List...)
		case o.Do == history.Insert:
			e.puts = append(e.puts, o.Element)
		case o.Writes():
			shrunk[place] = true
		}
		out[place] = e
	}
	return out
}

// form is what kind of thing a type is, as far as it matters here.
func form(kind string) string {
	switch kind {
	case "set-aw", "set-rw", "set-go":
		return "set"
	}
	return kind
}

// pairs collects pairs of transactions that must not both have been committed.
type pairs struct {
	h         *history.History
	forbidden []string
	most      int
	counts    map[string]int
	told      map[[2]int]bool
	found     []checker.Anomaly
}

// tell notes a pair, by positions; once.
func (p *pairs) tell(name string, i, j int, why string) {
	if p.told == nil {
		p.told = map[[2]int]bool{}
	}
	if p.told[[2]int{i, j}] {
		return
	}
	p.told[[2]int{i, j}] = true
	a, b := &p.h.Txns[i], &p.h.Txns[j]
	p.counts[name+"s"]++
	if !slices.Contains(p.forbidden, a.Level) || !slices.Contains(p.forbidden, b.Level) {
		return
	}
	p.found = append(p.found, checker.Anomaly{Name: name, Txns: []int{a.ID, b.ID},
		Text: fmt.Sprintf("%s; %s: %s", checker.Describe(a), checker.Describe(b), why)})
}

func (p *pairs) result(name string) checker.Result {
	r := checker.Result{Checker: name, Verdict: checker.Valid, Anomalies: p.found, Counts: p.counts}
	slices.SortStableFunc(r.Anomalies, func(a, b checker.Anomaly) int { return slices.Compare(a.Txns, b.Txns) })
	if r.Counts["anomalies"] = len(p.found); len(p.found) > 0 {
		r.Verdict = checker.Invalid
		r.Anomalies = r.Anomalies[:min(len(r.Anomalies), p.most)]
	}
	r.Idle("transactions that read and write", "predicate writes")
	return r
}
