package jepsen

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/runner"
)

// answer prints what became of a history, and returns the error that its verdict is.
func (c *commands) answer(out *runner.Outcome, asJSON bool) error {
	text := tell(out)
	if asJSON {
		line, err := json.Marshal(out)
		if err != nil {
			return fmt.Errorf("printing the answer: %w", err)
		}
		text = string(line) + "\n"
	}
	if err := c.say(text); err != nil {
		return err
	}
	return failed(out.Verdict, summary(out.Results))
}

// tell tells verdicts as a person reads them: a line for each checker, and its anomalies below.
func tell(out *runner.Outcome) string {
	var b strings.Builder
	nemesis := ""
	if out.Nemesis != "" {
		nemesis = " under " + out.Nemesis
	}
	fmt.Fprintf(&b, "%s%s: %d transactions (%d acknowledged, %d not applied, %d of unknown outcome), %d faults\n\n",
		out.Workload, nemesis, out.Txns, out.OK, out.Fail, out.Unknown, total(out.Faults))
	width := 0
	for _, r := range out.Results {
		width = max(width, len(r.Checker))
	}
	for i := range out.Results {
		tellResult(&b, &out.Results[i], width)
	}
	return b.String()
}

func tellResult(b *strings.Builder, r *checker.Result, width int) {
	more := ""
	switch {
	case r.Verdict == checker.Invalid:
		if more = found(r.Anomalies); r.Note != "" {
			more += "; " + r.Note
		}
	case r.Verdict == checker.Unknown:
		more = "gave up: " + r.Note
	default:
		more = r.Note // what was left out, or judged less strictly
	}
	fmt.Fprintln(b, strings.TrimRight(fmt.Sprintf("%-8s %-*s  %s", r.Verdict, width, r.Checker, more), " "))
	for _, a := range r.Anomalies {
		fmt.Fprintf(b, "         - %s\n", strings.ReplaceAll(a.String(), "\n", "\n           "))
	}
}

// found counts anomalies by name, in the order in which they come.
func found(anomalies []checker.Anomaly) string {
	n := map[string]int{}
	var names []string
	for _, a := range anomalies {
		if n[a.Name]++; n[a.Name] == 1 {
			names = append(names, a.Name)
		}
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%s (%d)", name, n[name])
	}
	return strings.Join(names, ", ")
}

// summary is the verdict of all in a line.
func summary(results []checker.Result) string {
	f := checker.Sort(results)
	var parts []string
	if len(f.Wrong) > 0 {
		parts = append(parts, strings.Join(f.Wrong, ", ")+" found what must not be")
	}
	if len(f.Idle) > 0 {
		parts = append(parts, "too little took place for "+strings.Join(f.Idle, ", "))
	}
	if len(f.Partial) > 0 {
		parts = append(parts, "the run did not come to its end")
	}
	if len(parts) > 0 {
		return "invalid: " + strings.Join(parts, "; ")
	}
	if len(f.GaveUp) > 0 {
		return fmt.Sprintf("undecided: %s gave up", strings.Join(f.GaveUp, ", "))
	}
	return "undecided: no checker found anything to judge"
}

func total(n map[string]int) int {
	sum := 0
	for _, v := range n {
		sum += v
	}
	return sum
}
