package semantics

import (
	"slices"
	"strings"
)

// want is what a read said of a leaf.
type want struct {
	absent bool // there is nothing
	listed bool // there is something: a map listed it
	n      int64
	text   string
	list   []string
	flag   bool
}

// read is what a read said of one leaf, with what its transaction had done to it before.
type read struct {
	spot
	want want
	snap vec
	own  effect
	mine bool // own counts
	all  bool // the transaction had reset it before

	bounded bool // no more than its bounds could be judged
}

// winner is the value that was seen to win in a group, and by whom.
type winner struct {
	text string
	by   int
}

// settled reports whether the value follows from the transaction's own writes alone.
func (d *read) settled() bool {
	return d.all || d.mine && d.at.kind != "counter" && (d.own.live || d.own.covers[positive])
}

// cut is up to where a leaf's effects are covered for a snapshot, by class.
type cut [2]vec

// cutOf is the specification's first half: an override covers what its transaction's snapshot includes,
// whether it was done to the leaf or to what the leaf is in.
func (r *run) cutOf(d *read) (c cut) {
	l := d.at
	for class := range c {
		c[class] = r.scratch[class]
		clear(c[class])
		if d.all || d.mine && d.own.covers[class] {
			copy(c[class], d.snap)
			continue
		}
		for n := l.on; n != nil; n = n.parent {
			n.resets.covered(d.snap, c[class])
		}
		l.covers[class].covered(d.snap, c[class])
	}
	return c
}

// counter is the sum of what is seen and not covered, and whether anything is.
func (r *run) counter(d *read, c cut) (sum int64, some bool) {
	s := &d.at.items[positive]
	for o := range s.of {
		i, j := s.between(o, c[positive][o], d.snap[o])
		if i == j {
			continue
		}
		some = true
		sum += s.sums[o][j-1]
		if i > 0 {
			sum -= s.sums[o][i-1]
		}
	}
	if d.mine && d.own.live {
		return sum + d.own.n, true
	}
	return sum, some
}

// any reports whether an effect of a class is seen and not covered.
func (r *run) any(d *read, c cut, class int) bool {
	s := &d.at.items[class]
	for o := range s.of {
		if i, j := s.between(o, c[class][o], d.snap[o]); i < j {
			return true
		}
	}
	return d.mine && d.own.live && d.own.class == class
}

// flag: enable wins, and for flag-dw no disable may be left beside it.
func (r *run) flag(d *read, c cut) bool {
	return r.any(d, c, positive) && !(d.at.kind == "flag-dw" && r.any(d, c, disables))
}

// values are those of a register-mv: all that are seen and not covered, each once, in byte order.
func (r *run) values(d *read, c cut) []string {
	var out []string
	s := &d.at.items[positive]
	for o := range s.of {
		i, j := s.between(o, c[positive][o], d.snap[o])
		for _, x := range s.of[o][i:j] {
			out = append(out, x.text)
		}
	}
	if d.mine && d.own.live {
		out = append(out, d.own.text)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// top is the group of the last writer: the items seen and not covered with the highest stamp. Their
// order within the group is not in the history.
func (r *run) top(d *read, c cut) (origin int, group []item) {
	s := &d.at.items[positive]
	for o := range s.of {
		i, j := s.between(o, c[positive][o], d.snap[o])
		if i == j || group != nil && s.of[o][j-1].time < group[0].time {
			continue
		}
		k := j - 1
		for k > i && s.of[o][k-1].time == s.of[o][j-1].time {
			k--
		}
		origin, group = o, s.of[o][k:j] // of equal times the higher region's
	}
	return origin, group
}

// judge compares a read with the specification, where no transaction of unknown outcome can matter.
func (r *run) judge(d *read) {
	c := r.cutOf(d)
	switch l := d.at; l.kind {
	case "counter":
		if sum, some := r.counter(d, c); sum != d.want.n || some && d.want.absent || !some && d.want.listed {
			r.wrongCounter(d, c, sum, some)
		}
	case "register-lww":
		r.judgeLast(d, c)
	case "register-mv":
		if all := r.values(d, c); !slices.Equal(all, d.want.list) {
			r.wrongValues(d, c, all)
		}
	default:
		if r.flag(d, c) != d.want.flag {
			r.wrongFlag(d, c)
		}
	}
}

// judgeLast compares a read of a register-lww. Of the members of one group any may have won, but for
// all readers the same.
func (r *run) judgeLast(d *read, c cut) {
	if d.mine && d.own.live {
		if d.want.absent || d.want.text != d.own.text {
			r.wrongLast(d, c, []string{d.own.text})
		}
		return
	}
	o, group := r.top(d, c)
	var allowed []string
	for _, x := range group {
		allowed = append(allowed, x.text)
	}
	if len(group) == 0 && d.want.absent {
		return
	}
	if d.want.absent || !slices.Contains(allowed, d.want.text) {
		r.wrongLast(d, c, allowed)
		return
	}
	if len(group) > 1 {
		r.judgeGroup(d, commit{group[0].time, o}, allowed)
	}
}

func (r *run) judgeGroup(d *read, k commit, allowed []string) {
	l := d.at
	if l.winners == nil {
		l.winners = map[commit]winner{}
	}
	first, known := l.winners[k]
	if !known {
		l.winners[k] = winner{d.want.text, d.txn}
		return
	}
	if first.text != d.want.text {
		r.tellRead(d.spot, "wrong value", r.readText(d)+" of the values "+quoted(allowed)+" of one group; "+r.describe(first.by)+
			" read another of them at a snapshot where the same group is the last: one of them wins for everybody", first.by)
	}
}

func quoted(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = `"` + s + `"`
	}
	return strings.Join(out, ", ")
}
