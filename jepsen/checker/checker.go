package checker

import (
	"fmt"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/history"
)

// Checker judges a history.
type Checker interface {
	// Name is one word or a few with hyphens, as reports and command lines show it.
	Name() string
	// Proves says in a sentence what a valid verdict means, and what it does not.
	Proves() string
	// Check judges h, which it must not change.
	Check(h *history.History, o Options) Result
}

// Options bound a check.
type Options struct {
	// Budget is how many steps a search may take before its verdict is unknown. 0: the checker's own
	// default, which it documents.
	Budget int
	// Anomalies is how many anomalies are told at most. Default 10.
	Anomalies int
}

// MaxAnomalies is how many anomalies are told when Options do not say.
const MaxAnomalies = 10

// Most is how many anomalies to tell.
func (o Options) Most() int {
	if o.Anomalies > 0 {
		return o.Anomalies
	}
	return MaxAnomalies
}

// Verdict of a checker.
type Verdict string

// Verdicts.
const (
	Valid   Verdict = "valid"
	Invalid Verdict = "invalid"
	Unknown Verdict = "unknown"
	// Interrupted is what a run is that was ended before its time, and in which no checker found what must not be.
	// No checker says it.
	Interrupted Verdict = "interrupted"
)

// Result is what a check found.
type Result struct {
	Checker   string         `json:"checker"`
	Verdict   Verdict        `json:"verdict"`
	Anomalies []Anomaly      `json:"anomalies,omitempty"` // the smallest first, at most Options.Most
	Counts    map[string]int `json:"counts,omitempty"`    // what was looked at
	Note      string         `json:"note,omitempty"`      // why the verdict is unknown, and what was left out
}

// Anomaly is one thing that must not happen.
type Anomaly struct {
	Name string `json:"name"`           // the field's term: "fractured read", "causality violation", ...
	Txns []int  `json:"txns,omitempty"` // ids of the transactions that show it
	Text string `json:"text"`           // the smallest explanation: which transactions, which values, which order

	// Order is what the text says of which came before which, for drawings. Empty where the text is not about that.
	Order []Step `json:"order,omitempty"`
}

// Step says that one transaction came before another, or must have.
type Step struct {
	From int    `json:"from"` // ids
	To   int    `json:"to"`
	Why  string `json:"why"`
}

func (a Anomaly) String() string { return a.Name + ": " + a.Text }

// Exercised adds an anomaly for each count that is below its minimum, and makes the result invalid then.
func (r *Result) Exercised(least map[string]int) {
	names := make([]string, 0, len(least))
	for name := range least {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if have := r.Counts[name]; have < least[name] {
			r.Verdict = Invalid
			r.Anomalies = append(r.Anomalies, Anomaly{
				Name: NotExercised,
				Text: fmt.Sprintf("%d %s, a verdict that means something needs %d or more", have, name, least[name]),
			})
		}
	}
}

// NotExercised is the name of the anomaly that too little of something took place.
const NotExercised = "not exercised"

// NothingJudged is the note of a valid verdict over a history in which there was nothing to look at.
const NothingJudged = "there was nothing to judge, so this proves nothing"

// Idle notes that a valid verdict proves nothing, if each of the counts of what was looked at is 0.
func (r *Result) Idle(counts ...string) {
	for _, name := range counts {
		if r.Counts[name] != 0 {
			return
		}
	}
	if r.Verdict == Valid && r.Note == "" {
		r.Note = NothingJudged
	}
}

// Worst is the verdict of several results together: invalid if one is, else unknown if one is, or if there is
// none or all of them found nothing to judge.
func Worst(results []Result) Verdict {
	judged, unknown := false, false
	for _, r := range results {
		if r.Verdict == Invalid {
			return Invalid
		}
		judged = judged || r.Note != NothingJudged
		unknown = unknown || r.Verdict == Unknown
	}
	if unknown || !judged {
		return Unknown
	}
	return Valid
}

// Describe tells a transaction in a line: who, where, and what it did.
//
//	T5 (process 3, eu, ok): read x = 1, wrote y = 2
func Describe(t *history.Txn) string {
	var b strings.Builder
	fmt.Fprintf(&b, "T%d (process %d", t.ID, t.Process)
	if t.Session != 0 {
		fmt.Fprintf(&b, ", session %d", t.Session)
	}
	fmt.Fprintf(&b, ", %s, %s): ", t.Region, t.Outcome)
	for i := range t.Ops {
		if i > 0 {
			b.WriteString(", ")
		}
		if i == maxDescribed {
			fmt.Fprintf(&b, "and %d more", len(t.Ops)-i)
			break
		}
		b.WriteString(DescribeOp(&t.Ops[i]))
	}
	return b.String()
}

// maxDescribed operations of a transaction are told.
const maxDescribed = 6

// DescribeOp tells an operation in a few words.
func DescribeOp(o *history.Op) string {
	at := Place(o)
	switch o.Do {
	case history.Get:
		return "read " + at + " = " + answer(o)
	case history.Contains:
		return fmt.Sprintf("asked whether %s has %q: %s", at, o.Element, answer(o))
	case history.Add:
		return fmt.Sprintf("added %d to %s", o.Arg.Int, at)
	case history.Assign:
		return fmt.Sprintf("wrote %s = %q", at, o.Arg.Text) + condition(o)
	case history.Insert:
		return fmt.Sprintf("put %q into %s", o.Element, at)
	case history.Remove:
		return fmt.Sprintf("took %q out of %s", o.Element, at)
	case history.Enable:
		return "enabled " + at
	case history.Disable:
		return "disabled " + at
	}
	return string(o.Do) + " " + at
}

// Place names what an operation is on: bucket, key, type and path. Two operations are on the same
// thing exactly if their places are equal.
func Place(o *history.Op) string {
	var b strings.Builder
	if o.Bucket != "" {
		fmt.Fprintf(&b, "%q:", o.Bucket)
	}
	fmt.Fprintf(&b, "%s:%s", name(o.Key), o.Type)
	for _, s := range o.Path {
		fmt.Fprintf(&b, "/%s:%s", name(s.Name), s.Type)
	}
	return b.String()
}

// name quotes a name that could be taken for something else.
func name(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == ':' || r == '/' || r == '"' || r > '~' }) {
		return fmt.Sprintf("%q", s)
	}
	return s
}

func answer(o *history.Op) string {
	v := o.Got
	switch {
	case v == nil:
		return "(no answer)"
	case o.Do == history.Contains:
		return fmt.Sprint(v.Flag)
	}
	return DescribeValue(o.Leaf(), v)
}

// condition tells what an assignment depended on.
func condition(o *history.Op) string {
	if o.Expect == nil {
		return ""
	}
	return " if it was " + DescribeValue(o.Leaf(), o.Expect)
}

// DescribeValue tells a value of a type.
func DescribeValue(kind string, v *history.Value) string {
	switch kind {
	case "counter":
		return fmt.Sprint(v.Int)
	case "flag-ew", "flag-dw":
		return fmt.Sprint(v.Flag)
	case "register-lww":
		if v.Absent {
			return "nothing"
		}
		return fmt.Sprintf("%q", v.Text)
	case "map", "map-go":
		parts := make([]string, len(v.Fields))
		for i, f := range v.Fields {
			parts[i] = fmt.Sprintf("%s:%s = %s", name(f.Name), f.Type, DescribeValue(f.Type, &f.Value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprintf("%q", v.List)
}
