package checker

import "slices"

// NotComplete is the name of the anomaly that a run did not come to its end. No checker finds it.
const NotComplete = "run not complete"

// Findings are the names of checkers, by what they came to. Those of valid verdicts are left out.
type Findings struct {
	Wrong   []string // found what must not be
	Idle    []string // found only that too little took place
	Partial []string // found only that the run is not complete
	GaveUp  []string
}

// Sort sorts results by what they came to.
func Sort(results []Result) Findings {
	var f Findings
	for i := range results {
		r := &results[i]
		to := &f.Wrong
		switch {
		case r.Verdict == Unknown:
			to = &f.GaveUp
		case r.Verdict != Invalid:
			continue
		case r.only(NotExercised):
			to = &f.Idle
		case r.only(NotComplete):
			to = &f.Partial
		}
		*to = append(*to, r.Checker)
	}
	return f
}

// only reports whether there are anomalies, and all have one name.
func (r *Result) only(name string) bool {
	return len(r.Anomalies) > 0 && !slices.ContainsFunc(r.Anomalies, func(a Anomaly) bool { return a.Name != name })
}
