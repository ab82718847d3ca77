package report

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Input is what a report shows.
type Input struct {
	History *history.History
	Results []checker.Result
	// Verdict is that of all together. Default: the worst of the results.
	Verdict checker.Verdict
	Proves  map[string]string // what a valid verdict of a checker means, by its name; any may be missing
	Command string            // that repeats the run; empty: none is shown
}

// Limits of what a page shows. The rest is counted on it.
const (
	openAtOnce   = 3     // anomalies of a checker; the others open when they are asked for
	maxDrawn     = 40    // anomalies, of all checkers together
	maxRows      = 100   // faults in the table
	maxErrors    = 12    // different errors
	maxTextRunes = 4_000 // of one text that comes from the history or from a checker
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	styleText string
	//go:embed page.js
	scriptText string

	pageTemplate = template.Must(template.New("page").Parse(pageText))
)

// page is what the template shows.
type page struct {
	Style      template.CSS
	Script     template.JS
	Title      string
	Overall    verdict
	Sentence   string
	Command    string
	Facts      []fact
	Notes      []fact
	Checks     []check
	Anomalies  []anomaly
	Undrawn    int
	Operations []operation
	Charts     []chart
	Faults     []faultRow
	MoreFaults int
	Errors     []errorRow
	MoreErrors int
}

// fact is a name and a value.
type fact struct{ Name, Value string }

// verdict with what shows it beside its colour.
type verdict struct{ Word, Icon string }

var icons = map[checker.Verdict]string{checker.Valid: "✓", checker.Invalid: "✗", checker.Unknown: "?", checker.Interrupted: "…"}

func toVerdict(v checker.Verdict) verdict { return verdict{string(v), icons[v]} }

// check is the row of a checker.
type check struct {
	Name, Proves, Note string
	Verdict            verdict
	Found              string // how many anomalies of which names
	Idle               bool   // it found nothing to judge
	First              string // the id of its first anomaly on the page
	Counts             []fact
}

// Write writes the page.
func Write(w io.Writer, in Input) error {
	p := newPage(in)
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func newPage(in Input) *page {
	run := newRun(in.History)
	overall := cmp.Or(in.Verdict, checker.Worst(in.Results))
	p := &page{
		Style: template.CSS(styleText), Script: template.JS(scriptText),
		Title:   title(&in.History.Header),
		Overall: toVerdict(overall), Sentence: sentence(in.Results, overall),
		Command: in.Command, Facts: run.facts(), Notes: run.notes(),
		Operations: run.operations(), Charts: run.charts(),
	}
	p.Faults, p.MoreFaults = run.faultRows()
	p.Errors, p.MoreErrors = run.errors()
	p.addChecks(in)
	return p
}

func title(h *history.Header) string {
	if h.Nemesis == "" {
		return h.Workload
	}
	return h.Workload + " under " + h.Nemesis
}

// sentence says in one what the checkers found.
func sentence(results []checker.Result, overall checker.Verdict) string {
	f := checker.Sort(results)
	var parts []string
	say := func(names []string, format string) {
		if len(names) > 0 {
			parts = append(parts, fmt.Sprintf(format, fmt.Sprintf("%d of %s", len(names), plural(len(results), "checker")), strings.Join(names, ", ")))
		}
	}
	if overall == checker.Interrupted {
		parts = append(parts, "The run was interrupted; nothing wrong was found in what took place until then")
	}
	say(f.Wrong, "%s found what must not be: %s")
	say(f.Idle, "Not exercised: too little took place for %s to judge: %s")
	if len(f.Partial) > 0 {
		parts = append(parts, "The run did not come to its end")
	}
	say(f.GaveUp, "%s gave up: %s")
	switch {
	case len(results) == 0:
		return "No checker judged this history."
	case len(parts) > 0:
		return strings.Join(parts, ". ") + "."
	case overall == checker.Unknown:
		return "No checker found anything to judge."
	}
	return fmt.Sprintf("%s looked at all that they claim to, and found nothing wrong.", plural(len(results), "checker"))
}

// addChecks adds the rows of the checkers and draws what they found.
func (p *page) addChecks(in Input) {
	for _, r := range in.Results {
		c := check{
			Name: r.Checker, Proves: in.Proves[r.Checker], Note: short(r.Note, maxTextRunes), Verdict: toVerdict(r.Verdict),
			Found: found(r.Anomalies), Idle: r.Note == checker.NothingJudged, Counts: counts(r.Counts),
		}
		for i := range r.Anomalies {
			if len(p.Anomalies) == maxDrawn {
				p.Undrawn += len(r.Anomalies) - i
				break
			}
			a := newAnomaly(in.History, r.Checker, &r.Anomalies[i])
			a.ID = fmt.Sprintf("anomaly-%d", len(p.Anomalies)+1)
			a.Open = i < openAtOnce
			if i == 0 {
				c.First = a.ID
			}
			p.Anomalies = append(p.Anomalies, a)
		}
		p.Checks = append(p.Checks, c)
	}
}

// found counts anomalies by name.
func found(anomalies []checker.Anomaly) string {
	n := map[string]int{}
	for _, a := range anomalies {
		n[a.Name]++
	}
	var parts []string
	for _, name := range sortedKeys(n) {
		parts = append(parts, fmt.Sprintf("%s × %d", name, n[name]))
	}
	return strings.Join(parts, ", ")
}

func counts(of map[string]int) []fact {
	var out []fact
	for _, name := range sortedKeys(of) {
		out = append(out, fact{name, count(of[name])})
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
