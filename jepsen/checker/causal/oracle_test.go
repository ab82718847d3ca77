package causal

import (
	"github.com/theriac-db/theriac/jepsen/history"
)

// oracle is the definition, word by word, in cubic time: it says whether a history of registers with
// unique values is correct. (Biswas and Enea, OOPSLA 2019, section 2.)
type oracle struct {
	h     *history.History
	in    []bool
	after [][]bool // after[a][b]: b happened after a
	wrote []map[string][]string
	reads []map[string]*history.Value // the first external read of each key
}

func correct(h *history.History) bool {
	o := &oracle{h: h, in: make([]bool, len(h.Txns))}
	o.begin()
	for i := range h.Txns {
		if o.in[i] && !o.alone(i) {
			return false
		}
	}
	return o.acyclic() && o.readsTheLast() && o.acyclic()
}

// begin finds who committed, and what happened before what.
func (o *oracle) begin() {
	for i := range o.h.Txns {
		o.gather(&o.h.Txns[i])
		o.in[i] = o.h.Txns[i].Outcome == history.OK
		o.after = append(o.after, make([]bool, len(o.h.Txns)))
	}
	for more := true; more; { // unknown ones may read from each other
		more = false
		o.eachSource(func(writer, _ int, _ string) {
			if !o.in[writer] && o.h.Txns[writer].Outcome == history.Unknown {
				o.in[writer], more = true, true
			}
		})
	}
	o.happened()
}

func (o *oracle) gather(t *history.Txn) {
	wrote, reads := map[string][]string{}, map[string]*history.Value{}
	for _, op := range t.Ops {
		switch {
		case op.Writes():
			wrote[op.Key] = append(wrote[op.Key], op.Arg.Text)
		case wrote[op.Key] == nil && reads[op.Key] == nil:
			reads[op.Key] = op.Got
		}
	}
	o.wrote, o.reads = append(o.wrote, wrote), append(o.reads, reads)
}

// writer finds who wrote a value; -1: nobody.
func (o *oracle) writer(key, text string) int {
	for i, w := range o.wrote {
		for _, v := range w[key] {
			if v == text {
				return i
			}
		}
	}
	return -1
}

// eachSource calls f for each external read of a committed transaction that saw a write.
func (o *oracle) eachSource(f func(writer, reader int, key string)) {
	for i, reads := range o.reads {
		for key, v := range reads {
			if w := -1; o.in[i] && v != nil && !v.Absent {
				if w = o.writer(key, v.Text); w >= 0 {
					f(w, i, key)
				}
			}
		}
	}
}

// alone: every read of a transaction is of a value that was there to be read.
func (o *oracle) alone(i int) bool {
	t := &o.h.Txns[i]
	own, first := map[string]string{}, map[string]history.Value{}
	for _, op := range t.Ops {
		if op.Writes() {
			own[op.Key] = op.Arg.Text
			continue
		}
		if op.Got == nil {
			continue
		}
		if text, ok := own[op.Key]; ok {
			if op.Got.Absent || op.Got.Text != text {
				return false
			}
			continue
		}
		if f, ok := first[op.Key]; ok && t.Level != "eventual" {
			if f.Text != op.Got.Text || f.Absent != op.Got.Absent {
				return false
			}
			continue
		}
		first[op.Key] = *op.Got
		if !op.Got.Absent && !o.readable(i, op.Key, op.Got.Text) {
			return false
		}
	}
	return true
}

func (o *oracle) readable(reader int, key, text string) bool {
	w := o.writer(key, text)
	if w < 0 || w == reader || !o.in[w] {
		return false
	}
	texts := o.wrote[w][key]
	end := o.h.Txns[reader].End
	return texts[len(texts)-1] == text && (end < 0 || end >= o.h.Txns[w].Start)
}

// happened fills in session order and what was read from whom, and closes it.
func (o *oracle) happened() {
	for a := range o.h.Txns {
		for b := range o.h.Txns {
			x, y := &o.h.Txns[a], &o.h.Txns[b]
			if o.in[a] && o.in[b] && x.Session != 0 && x.Session == y.Session && x.Start < y.Start &&
				x.Outcome == history.OK && y.Level != "eventual" {
				o.after[a][b] = true
			}
		}
	}
	o.eachSource(func(w, r int, _ string) {
		if o.h.Txns[r].Level != "eventual" {
			o.after[w][r] = true
		}
	})
	o.close()
}

func (o *oracle) close() {
	for k := range o.after {
		for i := range o.after {
			if !o.after[i][k] {
				continue
			}
			for j, after := range o.after[k] {
				o.after[i][j] = o.after[i][j] || after
			}
		}
	}
}

func (o *oracle) acyclic() bool {
	o.close()
	for i := range o.after {
		if o.after[i][i] {
			return false
		}
	}
	return true
}

// readsTheLast adds, for each read, that every other write of its key that its transaction has seen comes
// before the one it read. It reports whether there is none where nothing was read.
func (o *oracle) readsTheLast() bool {
	before := make([][]bool, len(o.after)) // what happened, without what is added here
	for i := range before {
		before[i] = append([]bool(nil), o.after[i]...)
	}
	for r, reads := range o.reads {
		if !o.in[r] || o.h.Txns[r].Level == "eventual" {
			continue
		}
		for key, v := range reads {
			if v == nil {
				continue
			}
			from := o.writer(key, v.Text)
			for w := range o.wrote {
				if o.wrote[w][key] == nil || !o.in[w] || !before[w][r] {
					continue
				}
				if v.Absent {
					return false
				}
				if from != w {
					o.after[w][from] = true
				}
			}
		}
	}
	return true
}
