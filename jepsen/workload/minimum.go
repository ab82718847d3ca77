package workload

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/causal"
	"github.com/theriac-db/theriac/jepsen/checker/semantics"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/nemesis"
)

// Names of checkers and counts of which there are minimums.
const (
	exercised     = "exercised"
	semanticsName = "semantics"
	causalName    = "causal"
	sessionName   = "session"
	lostName      = "lost-writes"
	halfName      = "half-transactions"
	swapsName     = "compare-and-set"

	linearizableName = "linearizable"
	strictName       = "strict-serializable"
	skewName         = "write-skew"
	phantomsName     = "phantoms"
	boundedName      = "bounded"
	quorumName       = "quorum"
	durableName      = "durable"

	othersRead         = "reads of others' writes"
	acknowledgedWrites = "acknowledged writes"
	swapsJudged        = "swaps"
)

// usual says how many of a count a run makes for each transaction that it has acknowledged, by the checker whose count
// it is. The figures are about the smallest of runs of 12 s and more on real nodes and of simulated ones, under every
// sort of fault: what callers do is drawn, so they hardly differ.
type usual map[string]map[string]float64

// ofRegisters is what checker causal counts, which knows registers only.
func ofRegisters(placed, inferred float64) map[string]float64 {
	return map[string]float64{causal.CountPlaced: placed, causal.CountInferred: inferred}
}

// ofValues is what checker semantics counts. Of a set each element ever put in is a value.
func ofValues(judged float64) map[string]float64 {
	return map[string]float64{semantics.CountJudged: judged}
}

// minimums say for checkers, by name, what their counts must come to.
type minimums map[string]map[string]int

// What a run must reach, as shares of the transactions that it was asked for in the time in which nodes served.
//
// What is asked for is open loop: a rate, or where none was named what workers make who wait for each answer. A
// worker leaves out what it should have begun while a call took long, or its caller thought. So quiet runs began 0.79
// to 0.95 of it. Causal service goes on in every region whatever is cut: under partitions 0.70 to 0.87 were begun
// and 0.66 to 0.86 acknowledged. While a node is down or stopped, callers there get nothing and wait up to a second to learn it;
// that time is taken out, by region. Of the rest 0.59 were begun and 0.51 acknowledged at the least, after kill -9 of
// several nodes, whose restart others have to notice. All this was measured on two cores that up to forty threads wanted. The
// minimums are half of the worst, so no machine that can make what it is asked for makes a run of a healthy database
// invalid. One that can't is told so: such a run says little of what it was asked to show.
const (
	begunShare        = 0.3
	acknowledgedShare = 0.25
	// servedShare is the least share of the time that counts as served: a nemesis or a database that keeps nodes down for
	// longer leaves too little to judge.
	servedShare = 0.2
	// regionShare is of a region's part in what must be acknowledged: callers that move prefer some to others.
	regionShare = 0.5
	// usualShare is of what is usual for as many acknowledged transactions as there must be.
	usualShare = 0.6
	// leastTxns is how many transactions any run must have, and half of them acknowledged.
	leastTxns = 50
)

// inFullShare is of the values that must be judged by the time of the first fault that is not gentle, or of the first
// call of unknown outcome: so many must be judged in full, which is where no such call can matter. Until then all are. After
// it there may be none, and where a disk was destroyed there may be none at all: a crash takes back what had durability applied, and one lost answer leaves the bank's accounts open to the end.
// Then a value must be one of those that are possible; where that says no more than its bounds, it does not count as judged.
// A fifth, since that time may be a few seconds in which few things were read: nothing is asked for then.
const inFullShare = 0.2

// minimum is what a run must have done for its verdicts to mean anything.
func (w *Workload) minimum(h *history.History) minimums {
	n := float64(asked(&h.Header))
	served := servedTime(h)
	if w.Coordinates() {
		calm := calmTime(h)
		for i := range served {
			served[i] = min(served[i], calm)
		}
	}
	share := max(mean(served), servedShare)
	acknowledged := max(n*share*acknowledgedShare, leastTxns/2)
	out := minimums{exercised: {}}
	for name, counts := range w.usual {
		out[name] = map[string]int{}
		for count, per := range counts {
			out[name][count] = atLeastOne(acknowledged * per * usualShare)
		}
	}
	w.inFull(h, out[semanticsName])
	least := out[exercised]
	if len(h.Header.Regions) == 1 {
		delete(least, othersRead)
		delete(least, "hops")
		delete(out[sessionName], "reads compared after a hop")
	}
	least["transactions"] = max(int(n*share*begunShare), leastTxns)
	least["outcome "+string(history.OK)] = int(acknowledged)
	least["final reads in every region"] = 1
	for i, region := range h.Header.Regions {
		part := n * served[i] * acknowledgedShare * regionShare / float64(len(served))
		if workers, _ := strconv.Atoi(h.Header.Notes[NoteWorkers]); workers < len(served) {
			part = 1 // nobody stays there
		}
		least["acknowledged in "+region] = atLeastOne(part)
	}
	if w.more != nil {
		w.more(h, out)
	}
	return out
}

func atLeastOne(n float64) int { return max(int(n), 1) }

func mean(of []float64) float64 {
	sum := 0.0
	for _, x := range of {
		sum += x
	}
	return sum / max(float64(len(of)), 1)
}

// inFull adds the minimum of values judged in full, from that of all judged.
func (w *Workload) inFull(h *history.History, least map[string]int) {
	from, to := loadTime(h)
	first := to
	for i := range h.Txns {
		if t := &h.Txns[i]; t.Outcome == history.Unknown {
			first = min(first, t.Start)
		}
	}
	for _, f := range h.Faults {
		switch {
		case slices.Contains(Excused().Destroying, f.Kind):
			first = from // what was written before it may be gone as well
		case !gentle(f.Kind):
			first = min(first, f.Start)
		}
	}
	share := inFullShare
	if to > from {
		share *= float64(max(first, from)-from) / float64(to-from)
	}
	least[semantics.CountInFull] = int(float64(least[semantics.CountJudged]) * share)
}

// gentle reports whether faults of a kind keep no node from answering its callers.
func gentle(kind string) bool {
	return slices.Contains([]nemesis.Kind{
		nemesis.PartitionHalves, nemesis.PartitionIsolate, nemesis.PartitionBridge, nemesis.PartitionOneway, nemesis.PartitionFlapping,
		nemesis.IsolateLeader, nemesis.Slow, nemesis.Stall, nemesis.Reset, nemesis.Gossip, nemesis.RegionAdd,
	}, nemesis.Kind(kind))
}

// servedTime is the share of the load's time in which no fault kept each region from answering, as far as anybody knows.
func servedTime(h *history.History) []float64 {
	from, to := loadTime(h)
	out := make([]float64, len(h.Header.Regions))
	for i, region := range h.Header.Regions {
		out[i] = 1
		if to > from {
			out[i] = 1 - float64(awayTime(h, region, from, to))/float64(to-from)
		}
	}
	return out
}

// recovery is how long calls that need a majority may fail once regions are connected again.
const recovery = int64(5 * time.Second)

// calmTime is the share of the load's time in which calls that wait for other regions could be answered: that without
// any fault, and not so soon after one that a leader may be missing.
func calmTime(h *history.History) float64 {
	from, to := loadTime(h)
	if to <= from {
		return 1
	}
	disturbed, upTo := int64(0), from // what was before is counted
	for _, f := range h.Faults {
		if f.Kind == string(nemesis.Gossip) || f.Kind == Unwatched {
			continue
		}
		end := int64(math.MaxInt64)
		if f.End >= 0 {
			end = f.End + recovery
		}
		disturbed += max(min(end, to)-max(f.Start, upTo), 0)
		upTo = max(upTo, min(end, to))
	}
	return 1 - float64(disturbed)/float64(to-from)
}

// awayTime is how much of a time a region was not there. Faults are in the order of their starts.
func awayTime(h *history.History, region string, from, to int64) (away int64) {
	upTo := from // what was before is counted
	for _, f := range h.Faults {
		start, end := f.Start, f.End
		switch {
		case !slices.Contains(f.Targets, region) || f.Kind == Unwatched:
			continue
		case f.Kind == string(nemesis.RegionAdd):
			start = from // it serves once it was added
		case gentle(f.Kind):
			continue
		}
		if end < 0 {
			end = math.MaxInt64
		}
		start, end = max(start, upTo), min(end, to)
		away += max(end-start, 0)
		upTo = max(upTo, end)
	}
	return away
}

// loadTime is from the first transaction's start to the last one's, final reads left out.
func loadTime(h *history.History) (from, to int64) {
	from, to = math.MaxInt64, 0
	for i := range h.Txns {
		if t := &h.Txns[i]; !t.Final {
			from, to = min(from, t.Start), max(to, t.Start)
		}
	}
	return from, to
}

// asked is how many transactions a run was asked for; 0 where its history does not say.
func asked(h *history.Header) int {
	n, err := strconv.Atoi(h.Notes[NoteAsked])
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// atLeast is a checker whose own counts must reach a minimum as well.
type atLeast struct {
	checker.Checker
	workload *Workload
}

// Check implements checker.Checker.
func (a atLeast) Check(h *history.History, o checker.Options) checker.Result {
	r := a.Checker.Check(h, o)
	told := len(r.Anomalies)
	r.Exercised(a.workload.minimum(h)[a.Name()])
	advise(r.Anomalies[told:], asked(&h.Header))
	r.Anomalies = r.Anomalies[:min(len(r.Anomalies), max(o.Most(), told+1))]
	return r
}

// advise adds what to do about what was too little, where the run was asked for a number of transactions.
func advise(anomalies []checker.Anomaly, asked int) {
	if len(anomalies) > 0 && asked > 0 {
		anomalies[0].Text += fmt.Sprintf(" (%d transactions were asked for; if the machine can't make so many, ask for fewer a second with --rate)", asked)
	}
}
