package strong

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// ListSeparator stands between the elements of a list that a register holds.
const ListSeparator = " "

// Lists checks registers that hold lists, to which transactions append by assigning what they read with one more
// element. of is the level of the transactions that are judged; empty: all. See the package's documentation.
func Lists(of string) checker.Checker { return lists{of} }

type lists struct{ of string }

func (lists) Name() string { return "lists" }

func (lists) Proves() string {
	return "Of every list each answer is a beginning of every longer one, and has each element whose append had been acknowledged before the " +
		"call began. It looks at one list at a time."
}

// appendList is what happened to one register.
type appendList struct {
	name    string
	reads   []sighting
	appends []appended // in the order of their answers
}

// sighting is what a transaction found a list to be.
type sighting struct {
	txn  *history.Txn
	text string
}

// appended is an element with who appended it.
type appended struct {
	txn     *history.Txn
	element string
}

// Check implements checker.Checker.
func (c lists) Check(h *history.History, o checker.Options) checker.Result {
	r := checker.Result{Checker: c.Name(), Verdict: checker.Valid, Counts: map[string]int{"lists": 0, "appends": 0, "lists read": 0}}
	byName := map[string]*appendList{}
	var all []*appendList
	for i := range h.Txns {
		t := &h.Txns[i]
		if t.Outcome != history.OK || c.of != "" && t.Level != c.of {
			continue
		}
		for place, s := range textsOf(t) {
			l := byName[place]
			if l == nil {
				l = &appendList{name: place}
				byName[place] = l
				all = append(all, l)
			}
			l.take(t, s)
		}
	}
	slices.SortFunc(all, func(a, b *appendList) int { return strings.Compare(a.name, b.name) })
	for _, l := range all {
		r.Counts["lists"]++
		r.Counts["appends"] += len(l.appends)
		r.Counts["lists read"] += len(l.reads)
		r.Anomalies = append(r.Anomalies, l.judge()...)
	}
	settle(&r, o, nil)
	r.Idle("appends", "lists read")
	return r
}

// texts is what a transaction found and left.
type texts struct {
	found, left string
	read        bool
}

func textsOf(t *history.Txn) map[string]texts {
	out := map[string]texts{}
	for i := range t.Ops {
		o := &t.Ops[i]
		if o.Leaf() != "register-lww" {
			continue
		}
		place := checker.Place(o)
		s := out[place]
		switch {
		case o.Do == history.Get && o.Got != nil && !s.read && s.left == "":
			s.found, s.read = o.Got.Text, true
		case o.Do == history.Assign:
			s.left = o.Arg.Text
		}
		out[place] = s
	}
	return out
}

func (l *appendList) take(t *history.Txn, s texts) {
	if s.read {
		l.reads = append(l.reads, sighting{t, s.found})
	}
	if s.left != "" {
		l.reads = append(l.reads, sighting{t, s.left})
		l.appends = append(l.appends, appended{t, s.left[strings.LastIndex(s.left, ListSeparator)+1:]})
	}
}

// judge compares each list with the next longer one, and with what had been acknowledged.
func (l *appendList) judge() (out []checker.Anomaly) {
	slices.SortStableFunc(l.reads, func(a, b sighting) int { return cmp.Compare(len(a.text), len(b.text)) })
	slices.SortStableFunc(l.appends, func(a, b appended) int { return cmp.Compare(a.txn.End, b.txn.End) })
	for i, long := range l.reads {
		if i > 0 && !begins(long.text, l.reads[i-1].text) {
			short := l.reads[i-1]
			out = append(out, checker.Anomaly{Name: "incompatible orders", Txns: pair(short.txn, long.txn),
				Text: fmt.Sprintf("%s; %s: %s is not a beginning of %s, so no one order of the appends explains both",
					checker.Describe(short.txn), checker.Describe(long.txn), quoted(short.text), quoted(long.text))})
		}
		if lost := l.lacks(long); lost != nil {
			out = append(out, checker.Anomaly{Name: "stale list", Txns: pair(lost.txn, long.txn),
				Text: fmt.Sprintf("%s; %s: the second began after the first was acknowledged, and %q is not in what it found of %s",
					checker.Describe(lost.txn), checker.Describe(long.txn), lost.element, l.name)})
		}
	}
	return out
}

// lacks is an append that was acknowledged before somebody began who did not find it.
func (l *appendList) lacks(s sighting) *appended {
	there := map[string]bool{}
	for e := range strings.SplitSeq(s.text, ListSeparator) {
		there[e] = true
	}
	for i := range l.appends {
		a := &l.appends[i]
		if a.txn.End >= s.txn.Start {
			return nil
		}
		if !there[a.element] {
			return a
		}
	}
	return nil
}

// begins reports whether a list begins with another.
func begins(long, short string) bool {
	return short == "" || long == short || strings.HasPrefix(long, short+ListSeparator)
}

// quoted is a list for people: its end, where it is long.
func quoted(text string) string {
	const most = 60
	if len(text) > most {
		return fmt.Sprintf("…%q", text[len(text)-most:])
	}
	return fmt.Sprintf("%q", text)
}

func pair(a, b *history.Txn) []int {
	if a == b {
		return []int{a.ID}
	}
	return []int{min(a.ID, b.ID), max(a.ID, b.ID)}
}
