package runner

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/kv"
)

// cut is how a run was ended before its time.
type cut struct {
	loaded, limit time.Duration
	disturbed     error    // what went wrong with a fault until then, or when it was undone
	unasked       []string // checkers that there was no time for
}

// cutShort is nil of a run that came to its end.
func (p *planned) cutShort(d *driven, unasked []checker.Checker) *cut {
	if !d.interrupted && len(unasked) == 0 {
		return nil
	}
	c := &cut{loaded: d.loaded, limit: p.TimeLimit, disturbed: d.disturbed}
	for _, one := range unasked {
		c.unasked = append(c.unasked, one.Name())
	}
	return c
}

// result says of the run itself what it lacks.
func (c *cut) result() checker.Result {
	note := fmt.Sprintf("interrupted after %s of %s", c.loaded.Round(time.Millisecond), c.limit)
	if len(c.unasked) > 0 {
		note += "; not asked, or not waited for: " + strings.Join(c.unasked, ", ")
	}
	if c.disturbed != nil {
		note += "; a fault could not be brought about or undone: " + c.disturbed.Error()
	}
	return checker.Result{Checker: "run", Verdict: checker.Unknown, Note: note}
}

// err is what Run returns with the outcome.
func (c *cut) err() error {
	return kv.Errorf(kv.KindDeadline, "interrupted after %s of %s, and judged by what was recorded until then", c.loaded.Round(time.Second), c.limit)
}

// notYet is why a checker has no verdict on a run that was interrupted.
const notYet = "the run was interrupted before enough had taken place"

// inPart are results on a run that did not come to its end: that something did not take place shows nothing.
func inPart(results []checker.Result) []checker.Result {
	out := slices.Clone(results)
	for i := range out {
		r := &out[i]
		if r.Verdict != checker.Invalid {
			continue
		}
		r.Anomalies = slices.DeleteFunc(slices.Clone(r.Anomalies), func(a checker.Anomaly) bool { return a.Name == checker.NotExercised })
		if len(r.Anomalies) == 0 {
			r.Verdict, r.Note = checker.Unknown, notYet
		}
	}
	return out
}
