package fresh

import (
	"fmt"
	"strconv"
	"time"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Names of counts.
const (
	CountBounded = "bounded reads"                // answered
	CountRefused = "bounded reads refused"        // not answered, or too late
	CountQuorum  = "quorum reads"                 // answered
	CountOwed    = "writes that reads had to see" // one for each read of each
	CountBefore  = "writes in several regions shortly before a loss"
	CountSingle  = "writes in one region that a loss may have taken"
	CountGone    = "of these gone"
)

// Bounded checks that reads at level bounded miss nothing that is older than their bound. See the package's
// documentation, also of excused.
func Bounded(excused checker.Losses) checker.Checker { return bounded{excused} }

type bounded struct{ excused checker.Losses }

func (bounded) Name() string { return "bounded" }

func (bounded) Proves() string {
	return "No answer at level bounded missed an element whose write had been acknowledged as on disk, in any region, longer before the read " +
		"began than its bound, by the clock of whoever recorded the run. It looks at elements of sets that nobody took out."
}

func (c bounded) Check(h *history.History, o checker.Options) checker.Result {
	x := newIndex(h, c.excused, o)
	counts := map[string]int{CountBounded: 0, CountRefused: 0}
	durable := func(t *history.Txn) bool {
		return checker.Copies(t, len(h.Header.Regions)) > 0 && !x.lost.Excuses(t)
	}
	var found []finding
	owed := 0
	for i := range h.Txns {
		t := &h.Txns[i]
		switch {
		case t.Level != "bounded":
		case t.Outcome == history.OK:
			counts[CountBounded]++
			found = append(found, x.missed(t, t.Start-t.Bound, durable, &owed)...)
		case t.Outcome == history.Fail:
			counts[CountRefused]++
		}
	}
	counts[CountOwed] = owed
	r := x.result(c.Name(), "older than its bound", found, counts, func(f finding) string {
		return fmt.Sprintf("that was acknowledged %s before the read began, whose bound is %s", time.Duration(f.read.Start-f.write.End), time.Duration(f.read.Bound))
	})
	r.Idle(CountBounded)
	return r
}

// Quorum checks that reads at level quorum see what a majority had before they began. See the package's
// documentation, also of excused.
func Quorum(excused checker.Losses) checker.Checker { return quorum{excused} }

type quorum struct{ excused checker.Losses }

func (quorum) Name() string { return "quorum" }

func (quorum) Proves() string {
	return "No answer at level quorum missed an element whose write had been acknowledged in a majority of the regions before the read " +
		"began. It looks at elements of sets that nobody took out."
}

func (c quorum) Check(h *history.History, o checker.Options) checker.Result {
	x := newIndex(h, c.excused, o)
	counts := map[string]int{CountQuorum: 0}
	wide := func(t *history.Txn) bool { return byMajority(t, len(h.Header.Regions)) && !x.lost.Excuses(t) }
	var found []finding
	owed := 0
	for i := range h.Txns {
		if t := &h.Txns[i]; t.Level == "quorum" && t.Outcome == history.OK {
			counts[CountQuorum]++
			found = append(found, x.missed(t, t.Start, wide, &owed)...)
		}
	}
	counts[CountOwed] = owed
	r := x.result(c.Name(), "missed what a majority had", found, counts, func(f finding) string {
		return fmt.Sprintf("a majority had that %s before the read began", time.Duration(f.read.Start-f.write.End))
	})
	r.Idle(CountQuorum)
	return r
}

// byMajority reports whether a write was acknowledged in a majority of so many regions.
func byMajority(t *history.Txn, regions int) bool {
	if t.Level == "strong" || t.Durability == "majority" || t.Durability == "all" {
		return true
	}
	n, err := strconv.Atoi(t.Durability)
	return err == nil && n > regions/2
}

// Durable checks that writes survive the loss of fewer disks than they were on. See the package's documentation,
// also of excused.
func Durable(excused checker.Losses) checker.Checker { return durable{excused} }

type durable struct{ excused checker.Losses }

func (durable) Name() string { return "durable" }

func (durable) Proves() string {
	return "Every final read has every element whose write had been acknowledged as on n disks, where fewer than n were away at one time. " +
		"What was acknowledged on a disk that was lost, and nowhere else, may be gone, and is counted."
}

// shortly is how long before the loss of its region's disk a write counts as right before it.
const shortly = int64(time.Second)

func (c durable) Check(h *history.History, o checker.Options) checker.Result {
	x := newIndex(h, c.excused, o)
	counts := map[string]int{CountBefore: 0, CountSingle: 0, CountGone: 0}
	for i := range h.Txns {
		if t := &h.Txns[i]; t.Outcome == history.OK && t.Writes() {
			x.countDurable(h, c.excused, t, counts)
		}
	}
	safe := func(t *history.Txn) bool { return checker.Copies(t, len(h.Header.Regions)) > 0 && !x.lost.Excuses(t) }
	single := func(t *history.Txn) bool { return x.single(h, t) }
	var found []finding
	owed, risky := 0, 0
	gone := map[write]bool{}
	for i := range h.Txns {
		t := &h.Txns[i]
		if !t.Final || t.Outcome != history.OK {
			continue
		}
		found = append(found, x.missed(t, always, safe, &owed)...)
		for _, f := range x.missed(t, always, single, &risky) {
			gone[write{f.write, f.element}] = true
		}
	}
	counts[CountGone], counts[CountOwed] = len(gone), owed
	r := x.result(c.Name(), "lost", found, counts, func(f finding) string {
		return fmt.Sprintf("that was acknowledged with durability %s at level %s", f.write.Durability, f.write.Level)
	})
	r.Idle(CountOwed)
	return r
}

// single reports whether a write was acknowledged in one region, whose disk was lost.
func (x *index) single(h *history.History, t *history.Txn) bool {
	return checker.Copies(t, len(h.Header.Regions)) == 1 && x.lost.Excuses(t)
}

// countDurable counts a write by how far it had got, and by whether its region was lost soon after.
func (x *index) countDurable(h *history.History, excused checker.Losses, t *history.Txn, counts map[string]int) {
	if x.single(h, t) {
		counts[CountSingle]++
	}
	if checker.Copies(t, len(h.Header.Regions)) < 2 {
		return
	}
	for i := range h.Faults {
		if f := &h.Faults[i]; excused.Destroys(f, t.Region) && t.End <= f.Start && f.Start-t.End < shortly {
			counts[CountBefore]++
			return
		}
	}
}
