package runner

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/whole"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/jepsen/workload"
	"github.com/theriac-db/theriac/kv"
)

// Checkers are those that judge a history with this header: the workload's, and that each kind of fault
// that was asked for did what it is for, and was met.
func Checkers(h *history.Header) ([]checker.Checker, error) {
	all, err := workload.Checkers(h)
	if err != nil {
		return nil, err
	}
	if kinds := askedFor(h.Nemesis); len(kinds) > 0 {
		all = append(all, faults{kinds})
	}
	return all, nil
}

// askedFor are the kinds that a header names. A history from elsewhere may name others; then nobody
// knows what to look for.
func askedFor(names string) []nemesis.Kind {
	if names == "" {
		return nil
	}
	kinds, err := nemesis.Expand(strings.Split(names, ","))
	if err != nil {
		return nil
	}
	return kinds
}

// faults judges that a run met what it was to be disturbed by.
type faults struct{ kinds []nemesis.Kind }

// metAtLeast is how many transactions must have been under way or begun during each kind of fault.
const metAtLeast = 3

func (faults) Name() string { return "faults" }

func (faults) Proves() string {
	return "Each kind of fault that was asked for took place at least once, transactions met it, and it had an effect that was counted: " +
		"a cut held something back, a kill ended a node that ran. It says nothing of what the database answered."
}

func (f faults) Check(h *history.History, o checker.Options) checker.Result {
	least := map[string]int{}
	for _, kind := range f.kinds {
		least["fault "+string(kind)] = 1
		least["transactions during "+string(kind)] = metAtLeast
	}
	r := whole.Exercised(least).Check(h, o)
	r.Checker = f.Name()
	counts := map[string]int{}
	for name := range least {
		counts[name] = r.Counts[name]
	}
	r.Counts = counts
	for _, kind := range f.kinds {
		f.bite(h, kind, &r)
	}
	r.Anomalies = r.Anomalies[:min(len(r.Anomalies), o.Most())]
	return r
}

// bite counts what faults of a kind did, and finds a kind that did nothing. One that never took place was found before.
func (faults) bite(h *history.History, kind nemesis.Kind, r *checker.Result) {
	times, did := 0, nemesis.Effects{}
	for i := range h.Faults {
		if h.Faults[i].Kind != string(kind) {
			continue
		}
		times++
		for name, n := range h.Faults[i].Effects {
			did[name] += n
		}
	}
	for name, n := range did {
		r.Counts[string(kind)+": "+name] = n
	}
	if times > 0 && !did.Bit(kind) {
		r.Verdict = checker.Invalid
		r.Anomalies = append(r.Anomalies, checker.Anomaly{Name: "no effect", Text: nemesis.Inert(kind, times)})
	}
}

// nodes is the result of what a cluster noticed of its nodes.
func nodes(failed error) checker.Result {
	r := checker.Result{Checker: "nodes", Verdict: checker.Valid}
	if failed != nil {
		r.Verdict = checker.Invalid
		r.Anomalies = []checker.Anomaly{{Name: "node failed", Text: failed.Error()}}
	}
	return r
}

// nodesProve is what a valid verdict of nodes means.
const nodesProve = "No node ended by itself. Those that the nemesis killed do not count."

// Judge judges a history by its checkers, or by those of them that are named, and returns with it what a
// valid verdict of each means. When ctx ends it is an error. A run that was interrupted is judged as it was then.
func Judge(ctx context.Context, h *history.History, names []string) ([]checker.Result, map[string]string, error) {
	all, err := Checkers(&h.Header)
	if err != nil {
		return nil, nil, kv.Errorf(kv.KindInvalid, "the history names a workload that this program does not have: %w", err)
	}
	if all, err = choose(all, names); err != nil {
		return nil, nil, err
	}
	results := askAll(ctx, h, all, 0)
	if len(results) < len(all) {
		return nil, nil, kv.Errorf(kv.KindDeadline, "interrupted before %s had judged", all[len(results)].Name())
	}
	if when := h.Header.Notes[noteCut]; when != "" {
		results = append(inPart(results), checker.Result{Checker: "run", Verdict: checker.Unknown, Note: "interrupted " + when})
	}
	return results, proofs(all), nil
}

func proofs(all []checker.Checker) map[string]string {
	proves := map[string]string{}
	for _, c := range all {
		proves[c.Name()] = c.Proves()
	}
	return proves
}

// askAll asks one checker after the other, until all have judged, or ctx has ended and grace is over. One
// that is at work then can't be stopped: it goes on by itself, and nobody hears what it finds.
func askAll(ctx context.Context, h *history.History, all []checker.Checker, grace time.Duration) []checker.Result {
	limited, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	said := make(chan checker.Result)
	go func() {
		for _, c := range all {
			select {
			case said <- unread(h, c.Check(h, checker.Options{})):
			case <-limited.Done():
				return
			}
		}
	}()
	var results []checker.Result
	for len(results) < len(all) && (grace > 0 || ctx.Err() == nil) {
		select {
		case r := <-said:
			results = append(results, r)
		case <-limited.Done():
			return results
		}
	}
	return results
}

// unread adds to the verdict on convergence which regions it says nothing of.
func unread(h *history.History, r checker.Result) checker.Result {
	names := h.Header.Notes[noteUnread]
	if names == "" || r.Checker != whole.Convergence().Name() || r.Note == checker.NothingJudged {
		return r
	}
	note := "not read, so not judged: region " + names
	if r.Note != "" {
		note = r.Note + "; " + note
	}
	r.Note = note
	return r
}

// choose keeps the checkers with these names; without names all.
func choose(all []checker.Checker, names []string) ([]checker.Checker, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []checker.Checker
	var have []string
	for _, c := range all {
		have = append(have, c.Name())
	}
	for _, name := range names {
		i := slices.Index(have, name)
		if i < 0 {
			return nil, kv.Errorf(kv.KindInvalid, "no checker %q judges this history: choose of %s", name, strings.Join(have, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
