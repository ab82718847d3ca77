package strong

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// BoundsNote is the key of the header's notes that names the bounds of counters: a JSON list of
// [Bound].
const BoundsNote = "bounds"

// Bound of a counter, or of all counters of a bucket.
type Bound struct {
	Bucket string `json:"bucket,omitempty"` // empty: the default one
	Key    string `json:"key,omitempty"`    // empty: all of the bucket that no other bound names
	Lower  *int64 `json:"lower,omitempty"`  // none: no lower bound
	Upper  *int64 `json:"upper,omitempty"`  // none: no upper bound
	Start  int64  `json:"start,omitempty"`  // the value before the history
}

type bounds struct{}

// Bounds judges whether counters keep the bounds that the header's notes name, and whether final
// reads agree with each other and with what was written. It has no budget: one pass is enough.
func Bounds() checker.Checker { return bounds{} }

func (bounds) Name() string { return "bounds" }

func (bounds) Proves() string {
	return "Valid: no read of a bounded counter is outside its bounds, at no time did the acknowledged writes take its sum outside " +
		"them, whatever became of those under way, and all final reads of a counter are equal and within what the writes allow."
}

// Check implements checker.Checker.
func (c bounds) Check(h *history.History, o checker.Options) checker.Result {
	r := checker.Result{Checker: c.Name(), Verdict: checker.Valid, Counts: map[string]int{}}
	all, err := parseBounds(h.Header.Notes[BoundsNote])
	if err != nil {
		r.Verdict = checker.Unknown
		r.Note = err.Error()
		return r
	}
	if len(all) == 0 {
		r.Note = "the header's notes name no " + BoundsNote + ": only final reads were looked at"
	}
	var found []checker.Anomaly
	for _, t := range tallies(h) {
		t.bound = boundOf(all, t)
		found = append(found, t.judge(r.Counts)...)
	}
	r.Anomalies = found
	settle(&r, o, nil)
	return r
}

// parseBounds reads the note. It refuses unknown fields: a bound misspelt would be no bound.
func parseBounds(text string) ([]Bound, error) {
	if text == "" {
		return nil, nil
	}
	var all []Bound
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("the header's note %q is malformed: %w; it is a list like [{\"key\":\"stock\",\"lower\":0}]", BoundsNote, err)
	}
	return all, nil
}

// tally is what happened to one counter.
type tally struct {
	name, bucket, key string
	bound             *Bound
	adds              []add
	reads             []read
	reset             bool
}

// add is what one transaction added.
type add struct {
	txn *history.Txn
	n   int64
}

type read struct {
	txn *history.Txn
	op  *history.Op
	own int64 // what its own transaction had added before
}

// tallies sorts what was done by counter, in the order of their names.
func tallies(h *history.History) []*tally {
	byName := map[string]*tally{}
	var resets []string
	for i := range h.Txns {
		t := &h.Txns[i]
		for j := range t.Ops {
			o := &t.Ops[j]
			if o.Do == history.Reset && t.Outcome != history.Fail {
				resets = append(resets, checker.Place(o))
			}
			if t.Outcome != history.Fail && o.Leaf() == "counter" {
				take(byName, t, o)
			}
		}
	}
	out := make([]*tally, 0, len(byName))
	for _, t := range byName {
		t.reset = slices.ContainsFunc(resets, func(r string) bool { return r == t.name || strings.HasPrefix(t.name, r+"/") })
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *tally) int { return strings.Compare(a.name, b.name) })
	return out
}

func take(byName map[string]*tally, t *history.Txn, o *history.Op) {
	name := checker.Place(o)
	c := byName[name]
	if c == nil {
		c = &tally{name: name, bucket: o.Bucket, key: o.Key}
		byName[name] = c
	}
	switch n := len(c.adds); {
	case o.Do == history.Add && n > 0 && c.adds[n-1].txn == t:
		c.adds[n-1].n += o.Arg.Int
	case o.Do == history.Add:
		c.adds = append(c.adds, add{t, o.Arg.Int})
	case o.Do == history.Get && t.Outcome == history.OK:
		own := int64(0)
		if n > 0 && c.adds[n-1].txn == t {
			own = c.adds[n-1].n
		}
		c.reads = append(c.reads, read{t, o, own})
	}
}

// boundOf prefers a bound of the counter to one of its bucket.
func boundOf(all []Bound, t *tally) *Bound {
	var found *Bound
	for i := range all {
		b := &all[i]
		if b.Bucket == t.bucket && (b.Key == t.key || b.Key == "" && found == nil) {
			found = b
		}
	}
	return found
}

func (t *tally) judge(counts map[string]int) []checker.Anomaly {
	counts["counters"]++
	counts["adds"] += len(t.adds)
	counts["reads"] += len(t.reads)
	var out []checker.Anomaly
	if t.bound != nil {
		counts["bounded counters"]++
		out = append(out, t.judgeReads()...)
	}
	final := slices.DeleteFunc(slices.Clone(t.reads), func(r read) bool { return !r.txn.Final })
	counts["final reads"] += len(final)
	out = append(out, t.agree(final)...)
	if t.reset {
		counts["counters that are reset"]++ // what a reset takes away depends on what its region had seen
		return out
	}
	if t.bound != nil {
		out = append(out, t.judgeSum()...)
	}
	return append(out, t.judgeFinal(final)...)
}

// outside says which bound a value is beyond, or nothing.
func (b *Bound) outside(lo, hi int64) string {
	switch {
	case b.Lower != nil && hi < *b.Lower:
		return fmt.Sprintf("below the lower bound %d", *b.Lower)
	case b.Upper != nil && lo > *b.Upper:
		return fmt.Sprintf("above the upper bound %d", *b.Upper)
	}
	return ""
}

func (t *tally) judgeReads() []checker.Anomaly {
	var out []checker.Anomaly
	for _, r := range t.reads {
		if how := t.bound.outside(r.op.Got.Int, r.op.Got.Int); how != "" {
			out = append(out, checker.Anomaly{Name: "bound violated", Txns: []int{r.txn.ID},
				Text: fmt.Sprintf("%s: %d is %s", checker.Describe(r.txn), r.op.Got.Int, how)})
		}
	}
	return out
}

// judgeSum looks at each answer to an add: everything acknowledged by then has been applied, and of
// what was under way or of unknown outcome any part.
func (t *tally) judgeSum() []checker.Anomaly {
	byStart := slices.Clone(t.adds)
	slices.SortStableFunc(byStart, func(a, b add) int { return cmp.Compare(a.txn.Start, b.txn.Start) })
	done := slices.DeleteFunc(slices.Clone(t.adds), func(a add) bool { return a.txn.Outcome != history.OK })
	slices.SortStableFunc(done, func(a, b add) int { return cmp.Compare(a.txn.End, b.txn.End) })
	sum, up, down := t.bound.Start, int64(0), int64(0)
	for _, a := range done {
		for len(byStart) > 0 && byStart[0].txn.Start <= a.txn.End {
			up, down = up+max(0, byStart[0].n), down+min(0, byStart[0].n)
			byStart = byStart[1:]
		}
		sum, up, down = sum+a.n, up-max(0, a.n), down-min(0, a.n)
		if how := t.bound.outside(sum+down, sum+up); how != "" {
			return []checker.Anomaly{{Name: "bound violated by acknowledged writes", Txns: []int{a.txn.ID},
				Text: fmt.Sprintf("%s: once it was answered, at %d, the acknowledged writes made %s = %d, between %d and %d with those under way: %s",
					checker.Describe(a.txn), a.txn.End, t.name, sum, sum+down, sum+up, how)}}
		}
	}
	return nil
}

// agree tells the first two final reads that differ.
func (t *tally) agree(final []read) []checker.Anomaly {
	for _, r := range final {
		if a := final[0]; a.op.Got.Int-a.own != r.op.Got.Int-r.own {
			return []checker.Anomaly{{Name: "final reads differ", Txns: []int{a.txn.ID, r.txn.ID},
				Text: fmt.Sprintf("%s; %s: all faults were healed, but %s is not the same for both", checker.Describe(a.txn), checker.Describe(r.txn), t.name)}}
		}
	}
	return nil
}

// judgeFinal compares final reads with all that was acknowledged and attempted.
func (t *tally) judgeFinal(final []read) []checker.Anomaly {
	for _, r := range final {
		lo, hi := t.within(r)
		if got := r.op.Got.Int; got < lo || got > hi {
			return []checker.Anomaly{{Name: "final read of a wrong sum", Txns: []int{r.txn.ID},
				Text: fmt.Sprintf("%s: %d, but the acknowledged writes, with any of unknown outcome, make %s between %d and %d",
					checker.Describe(r.txn), got, t.name, lo, hi)}}
		}
	}
	return nil
}

// within is between which values a final read may be.
func (t *tally) within(r read) (lo, hi int64) {
	if t.bound != nil {
		lo = t.bound.Start
	}
	hi = lo
	for _, a := range t.adds {
		switch {
		case a.txn == r.txn:
			lo, hi = lo+r.own, hi+r.own
		case a.txn.Outcome == history.OK && a.txn.End < r.txn.Start:
			lo, hi = lo+a.n, hi+a.n
		case a.txn.Start <= r.txn.End:
			lo, hi = lo+min(0, a.n), hi+max(0, a.n)
		}
	}
	return lo, hi
}
