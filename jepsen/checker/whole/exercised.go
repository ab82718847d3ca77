package whole

import (
	"cmp"
	"math"
	"slices"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Exercised fails a run that did too little for its verdicts to mean anything. least gives the
// minimum of each count that matters; the package's documentation lists the counts. One that the run
// never met counts as 0, so a misspelt name fails as well.
func Exercised(least map[string]int) checker.Checker { return exercised{least} }

type exercised struct{ least map[string]int }

func (exercised) Name() string { return "exercised" }

func (exercised) Proves() string {
	return "The run did at least as much of each kind as was asked for: operations, outcomes, regions, faults during transactions, " +
		"sessions that moved. It says nothing of what the database answered."
}

func (c exercised) Check(h *history.History, o checker.Options) checker.Result {
	counts := map[string]int{"transactions": len(h.Txns)}
	for _, region := range h.Header.Regions {
		counts["acknowledged in "+region] = 0
	}
	for i := range h.Txns {
		countTxn(&h.Txns[i], counts)
	}
	countRegions(h, counts)
	countSessions(h, counts)
	countFaults(h, counts)
	countMet(h, counts)
	r := checker.Result{Checker: c.Name(), Verdict: checker.Valid, Counts: counts}
	r.Exercised(c.least)
	r.Anomalies = r.Anomalies[:min(len(r.Anomalies), o.Most())]
	return r
}

func countTxn(t *history.Txn, counts map[string]int) {
	counts["outcome "+string(t.Outcome)]++
	counts["level "+t.Level]++
	if t.Durability != "" {
		counts["durability "+t.Durability]++
	}
	if isFinal(t) {
		counts["final reads in "+t.Region]++
	}
	switch {
	case t.Outcome == history.OK:
		counts["acknowledged in "+t.Region]++
	case t.Outcome == history.Unknown && t.Writes():
		counts["unknown writes"]++
	}
	reads := 0
	for j := range t.Ops {
		o := &t.Ops[j]
		if !o.Writes() {
			reads++
		}
		if t.Outcome == history.OK {
			counts[string(o.Do)+" "+o.Leaf()]++
		}
	}
	if t.Outcome == history.OK && reads > 0 {
		counts["transactions that read"]++
	}
	if t.Outcome == history.OK && reads < len(t.Ops) {
		counts["transactions that write"]++
	}
}

// countRegions adds what every region did at least.
func countRegions(h *history.History, counts map[string]int) {
	acknowledged, final := math.MaxInt, math.MaxInt
	for _, region := range h.Header.Regions {
		acknowledged = min(acknowledged, counts["acknowledged in "+region])
		final = min(final, counts["final reads in "+region])
	}
	counts["acknowledged in every region"] = acknowledged
	counts["final reads in every region"] = final
}

func countSessions(h *history.History, counts map[string]int) {
	for _, s := range sessions(h) {
		counts["sessions"]++
		hops, region := 0, ""
		for _, t := range s {
			if t.Outcome != history.OK {
				continue
			}
			if region != "" && region != t.Region {
				hops++
			}
			region = t.Region
		}
		counts["hops"] += hops
		if hops > 0 {
			counts["sessions that hopped"]++
		}
	}
}

// countFaults counts faults during which a transaction was under way, and those transactions. With
// starts and ends sorted, those under way are all that began before the fault's end less all that
// ended before its start.
func countFaults(h *history.History, counts map[string]int) {
	starts, ends := make([]int64, 0, len(h.Txns)), make([]int64, 0, len(h.Txns))
	for i := range h.Txns {
		t := &h.Txns[i]
		starts = append(starts, t.Start)
		if t.Ended() {
			ends = append(ends, t.End)
		}
	}
	slices.Sort(starts)
	slices.Sort(ends)
	for _, f := range h.Faults {
		end := f.End
		if end < 0 {
			end = math.MaxInt64
		}
		begun, _ := slices.BinarySearchFunc(starts, end, after)
		ended, _ := slices.BinarySearch(ends, f.Start)
		if during := begun - ended; during > 0 {
			counts["faults"]++
			counts["fault "+f.Kind]++
			counts["transactions during "+f.Kind] += during
		}
	}
}

// after makes a binary search end behind all that are equal.
func after(a, b int64) int { return cmp.Or(cmp.Compare(a, b), -1) }

// othersWrites is the count of reads of objects that another region had written to.
const othersWrites = "reads of others' writes"

// object is what transactions meet on, whatever fields of it they are about.
type object struct{ bucket, key, kind string }

// countMet counts reads of objects that another region had written to, as far as the reader's reported
// snapshot goes: without them regions that never met would pass.
func countMet(h *history.History, counts map[string]int) {
	first := firstWrites(h)
	for i := range h.Txns {
		t := &h.Txns[i]
		own := slices.Index(h.Header.Regions, t.Region) + 1
		for j := range t.Ops {
			o := &t.Ops[j]
			if o.Got == nil || t.Final || !sees(t.Snapshot, first[object{o.Bucket, o.Key, o.Type}], own) {
				continue
			}
			counts[othersWrites]++
		}
	}
}

// firstWrites are, for each object, the stamps of each region's first write to it.
func firstWrites(h *history.History) map[object]map[int]uint64 {
	first := map[object]map[int]uint64{}
	for i := range h.Txns {
		t := &h.Txns[i]
		for j := range t.Ops {
			o := &t.Ops[j]
			if t.Commit == nil || !o.Writes() {
				continue
			}
			at := object{o.Bucket, o.Key, o.Type}
			if first[at] == nil {
				first[at] = map[int]uint64{}
			}
			if was, met := first[at][t.Commit.Region]; !met || t.Commit.Time < was {
				first[at][t.Commit.Region] = t.Commit.Time
			}
		}
	}
	return first
}

// sees reports whether a snapshot includes one of the stamps of a region but its own.
func sees(snapshot history.Vector, stamps map[int]uint64, own int) bool {
	for region, at := range stamps {
		if region != own && snapshot[region] >= at {
			return true
		}
	}
	return false
}
