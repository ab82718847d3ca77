package strong

import (
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// none is no transaction, and no version.
const none = -1

// version is one value of one place. The first of a place is that nothing was there.
type version struct {
	text    string
	writer  int32 // transaction, or none for the first
	last    bool  // no later write of its transaction on this place
	readers []int32
	next    []follower
}

// follower is a version that is known to come after another, and why.
type follower struct {
	to  int32
	why reason
	by  int32 // the transaction that shows it
}

// reason of an order between two writes.
type reason uint8

const (
	initial    reason = iota // the first is that nothing was there
	traceable                // a transaction read one and wrote the other
	inSession                // a session saw one before it wrote the other
	inRealTime               // one had been seen before the other's transaction began
)

// register is a place with all its versions.
type register struct {
	name     string
	versions []version
	touches  []touch
	left     string // why it is left out
	byText   map[string]int32
}

// touch is what a transaction had to do with a register.
type touch struct {
	txn   int32
	read  int32 // version that it read before its own writes
	write int32 // version that it left
}

// index knows who wrote and read each value.
type index struct {
	h         *history.History
	txns      []history.Txn
	of        string
	registers []*register
	byName    map[place]int32
	happened  []bool    // by transaction: certainly took effect
	touched   [][]int32 // by transaction: registers that it touches
	suspects  []suspect
	anomalies []checker.Anomaly
	reads     int
}

// suspect is an anomaly if its transaction took effect.
type suspect struct {
	txn     int32
	anomaly checker.Anomaly
}

func newIndex(h *history.History, of string) *index {
	return &index{h: h, txns: h.Txns, of: of, byName: map[place]int32{},
		happened: make([]bool, len(h.Txns)), touched: make([][]int32, len(h.Txns))}
}

func (x *index) judged(t *history.Txn) bool { return x.of == "" || t.Level == x.of }

// place is cheaper to compare than its name.
type place struct{ bucket, key, path string }

// register finds an operation's register, or none if it is on none.
func (x *index) register(o *history.Op) int32 {
	if o.Leaf() != "register-lww" {
		return none
	}
	at := place{bucket: o.Bucket, key: o.Key}
	if len(o.Path) > 0 {
		at.path = checker.Place(o)
	}
	k, ok := x.byName[at]
	if !ok {
		k = int32(len(x.registers))
		x.byName[at] = k
		x.registers = append(x.registers, &register{name: checker.Place(o), byText: map[string]int32{},
			versions: []version{{text: "nothing", writer: none, last: true}}})
	}
	return k
}

// collect numbers all versions, of failed transactions too.
func (x *index) collect() {
	for i := range x.txns {
		for j := range x.txns[i].Ops {
			x.collectOp(int32(i), &x.txns[i].Ops[j])
		}
	}
	x.leaveCovered()
}

func (x *index) collectOp(txn int32, o *history.Op) {
	k := x.register(o)
	if k == none || !o.Writes() {
		return
	}
	r := x.registers[k]
	if o.Do == history.Reset {
		r.left = "it is reset, which may be told twice"
		return
	}
	if _, twice := r.byText[o.Arg.Text]; twice {
		r.left = fmt.Sprintf("%q is written twice", o.Arg.Text)
		return
	}
	v := int32(len(r.versions))
	if p := &r.versions[v-1]; p.writer == txn {
		p.last = false
	}
	r.byText[o.Arg.Text] = v
	r.versions = append(r.versions, version{text: fmt.Sprintf("%q", o.Arg.Text), writer: txn, last: true})
}

// leaveCovered leaves out registers in maps that are reset.
func (x *index) leaveCovered() {
	var resets []string
	for i := range x.txns {
		for j := range x.txns[i].Ops {
			if o := &x.txns[i].Ops[j]; o.Do == history.Reset && x.register(o) == none {
				resets = append(resets, checker.Place(o)+"/")
			}
		}
	}
	slices.Sort(resets)
	resets = slices.Compact(resets)
	for _, r := range x.registers {
		for _, prefix := range resets {
			if len(r.name) > len(prefix) && r.name[:len(prefix)] == prefix {
				r.left = "a map that it is in is reset"
			}
		}
	}
}

// resolve finds the version of each read, and tells those that no transaction may make.
func (x *index) resolve() {
	for i := range x.txns {
		if t := &x.txns[i]; t.Outcome != history.Fail && x.judged(t) {
			x.resolveTxn(int32(i), t)
		}
	}
}

// inside is what a transaction must see of a register, from its own operations.
type inside struct {
	register int32
	version  int32
	wrote    bool
}

func (x *index) resolveTxn(i int32, t *history.Txn) {
	var seen []inside
	for j := range t.Ops {
		o := &t.Ops[j]
		k := x.register(o)
		if k == none || x.registers[k].left != "" {
			continue
		}
		at := slices.IndexFunc(seen, func(s inside) bool { return s.register == k })
		if v := answerOf(o); v != nil {
			x.reads++
			if at == none {
				seen = append(seen, inside{k, x.external(i, k, v), false})
				at = len(seen) - 1
			} else {
				x.internal(t, k, seen[at], v)
			}
		}
		if o.Writes() {
			w := x.wrote(i, k, o)
			if at == none {
				seen = append(seen, inside{k, w, true})
			} else {
				seen[at] = inside{k, w, true}
			}
		}
	}
}

// answerOf is what an operation says that a register held: a read's answer, and the condition of a
// compare-and-set, which held if the transaction took effect. What is found in one that did not is
// dropped by decideUnknown.
func answerOf(o *history.Op) *history.Value {
	if o.Do == history.Get {
		return o.Got
	}
	return o.Expect
}

func (x *index) touch(i, k int32) *touch {
	r := x.registers[k]
	if n := len(r.touches); n == 0 || r.touches[n-1].txn != i {
		r.touches = append(r.touches, touch{txn: i, read: none, write: none})
		x.touched[i] = append(x.touched[i], k)
	}
	return &r.touches[len(r.touches)-1]
}

func (x *index) wrote(i, k int32, o *history.Op) int32 {
	v := x.registers[k].byText[o.Arg.Text]
	x.touch(i, k).write = v
	return v
}

// external takes a read of what others wrote, and returns its version or none.
func (x *index) external(i, k int32, v *history.Value) int32 {
	r := x.registers[k]
	t := &x.txns[i]
	if v.Absent {
		x.touch(i, k).read = 0
		return 0
	}
	at, ok := r.byText[v.Text]
	if !ok {
		x.tell("read of a value that nobody wrote", fmt.Sprintf("%s; no transaction wrote %q to %s", checker.Describe(t), v.Text, r.name), t.ID)
		return none
	}
	w := &r.versions[at]
	by := &x.txns[w.writer]
	switch {
	case by.Outcome == history.Fail:
		x.tell("aborted read (G1a)", fmt.Sprintf("%s; %s: its value %s of %s was read, though it failed",
			checker.Describe(t), checker.Describe(by), w.text, r.name), t.ID, by.ID)
		return at
	case w.writer == i:
		x.tell("internal inconsistency", fmt.Sprintf("%s: it read %s of %s before it wrote that itself", checker.Describe(t), w.text, r.name), t.ID)
		return at
	case !w.last:
		x.tell("intermediate read (G1b)", fmt.Sprintf("%s; %s: its value %s of %s was read, though it wrote another one after it",
			checker.Describe(t), checker.Describe(by), w.text, r.name), t.ID, by.ID)
	}
	x.touch(i, k).read = at
	return at
}

// internal makes sure that a transaction sees its own writes, and what it has read before.
func (x *index) internal(t *history.Txn, k int32, s inside, v *history.Value) {
	r := x.registers[k]
	if s.version == none {
		return // already told
	}
	got := "nothing"
	if !v.Absent {
		got = fmt.Sprintf("%q", v.Text)
	}
	if want := r.versions[s.version].text; got != want {
		did := "read"
		if s.wrote {
			did = "written"
		}
		x.tell("internal inconsistency", fmt.Sprintf("%s: it read %s of %s, after it had %s %s itself", checker.Describe(t), got, r.name, did, want), t.ID)
	}
}

// tell notes an anomaly of the first of the transactions.
func (x *index) tell(name, text string, txns ...int) {
	by := int32(txns[0] - 1)
	slices.Sort(txns)
	x.suspects = append(x.suspects, suspect{by, checker.Anomaly{Name: name, Txns: txns, Text: text}})
}

// decideUnknown finds the transactions of unknown outcome that took effect: one did if somebody who
// took effect read what it wrote. The others are left out: they may never have happened.
func (x *index) decideUnknown() {
	var work []int32
	mark := func(i int32) {
		if !x.happened[i] && x.txns[i].Outcome != history.Fail && x.judged(&x.txns[i]) {
			x.happened[i] = true
			work = append(work, i)
		}
	}
	for i := range x.txns {
		if x.txns[i].Outcome == history.OK {
			mark(int32(i))
		}
	}
	read := x.readFrom()
	for len(work) > 0 {
		i := work[len(work)-1]
		work = work[:len(work)-1]
		for _, w := range read[i] {
			mark(w)
		}
	}
	x.addReaders()
	for _, s := range x.suspects {
		if x.happened[s.txn] {
			x.anomalies = append(x.anomalies, s.anomaly)
		}
	}
}

// readFrom says for each transaction from which others it read.
func (x *index) readFrom() [][]int32 {
	out := make([][]int32, len(x.txns))
	for _, r := range x.registers {
		for _, t := range r.touches {
			if t.read > 0 {
				out[t.txn] = append(out[t.txn], r.versions[t.read].writer)
			}
		}
	}
	return out
}

func (x *index) addReaders() {
	for _, r := range x.registers {
		r.touches = slices.DeleteFunc(r.touches, func(t touch) bool { return !x.happened[t.txn] })
		for _, t := range r.touches {
			if t.read != none {
				r.versions[t.read].readers = append(r.versions[t.read].readers, t.txn)
			}
		}
	}
}

// there reports whether a version was certainly written, by a transaction that is judged.
func (x *index) there(v *version) bool { return v.writer != none && x.happened[v.writer] && v.last }

func (x *index) unsure() []string {
	var out []string
	for _, r := range x.registers {
		if r.left != "" {
			out = append(out, r.name+" ("+r.left+")")
		}
	}
	slices.Sort(out)
	return out
}

func (x *index) count(to map[string]int) {
	for i := range x.happened {
		if x.happened[i] && len(x.touched[i]) > 0 {
			to["transactions"]++
		} else {
			to["transactions left out"]++
		}
	}
	to["registers"], to["reads"] = len(x.registers), x.reads
	for _, r := range x.registers {
		if r.left != "" {
			to["registers left out"]++
			continue
		}
		x.countWrites(r, to)
	}
}

// countWrites counts writes, and those that neither follow nor precede another in a known order.
func (x *index) countWrites(r *register, to map[string]int) {
	ordered := make([]bool, len(r.versions))
	writes := 0
	for i := range r.versions {
		if i > 0 && x.there(&r.versions[i]) {
			writes++
		}
		for _, f := range r.versions[i].next {
			if i > 0 {
				ordered[i], ordered[f.to] = true, true
			}
		}
	}
	to["writes"] += writes
	for i := range r.versions {
		if writes > 1 && x.there(&r.versions[i]) && !ordered[i] {
			to["writes of unknown order"]++
		}
	}
}
