package workload_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/workload"
)

// lie changes what a history says that the database answered, as a database with a fault would have
// answered, and reports whether it found a place to do so.
type lie struct {
	name    string
	checker string // that must find it
	tell    func(h *history.History) bool
}

// lies are those that each workload must see through.
var lies = map[string][]lie{
	"bank": {
		{"half a transfer is seen", "bank", lieOfReads("counter", func(v *history.Value) { v.Int += 7 })},
		{"an account is wrong in the end", "lost-writes", lieInTheEnd("counter", func(v *history.Value) { v.Int -= 1_000_000 })},
	},
	"causal": {
		{"the pointer is there without the prescription", "causal-pair", hidePrescription},
		{"a register goes back", "causal", forgetWhatWasSeen},
	},
	"counter": {
		{"an increment is missing", "semantics", lieOfReads("counter", func(v *history.Value) { v.Int-- })},
		{"an increment counts twice", "semantics", lieOfReads("counter", func(v *history.Value) { v.Int++ })},
		{"acknowledged increments are lost", "lost-writes", lieInTheEnd("counter", func(v *history.Value) { v.Int -= 1_000_000 })},
	},
	"flags": {
		{"a flag is the other way round", "semantics", lieOfReads("flag-ew", flip)},
		{"a flag is the other way round", "semantics", lieOfReads("flag-dw", flip)},
		{"a region ends up with another flag", "convergence", lieOfARegion("flag-dw", flip)},
	},
	"long-fork": {
		{"a value of another register is read", "causal", lieOfReads("register-lww", func(v *history.Value) { v.Text = "w99.1" })},
		{"a write is seen in no region in the end", "lost-writes", lieInTheEnd("register-lww", nothing)},
	},
	"map": {
		{"a field is missing", "semantics", lieOfReads("map", func(v *history.Value) { v.Fields = v.Fields[1:] })},
		{"a region ends up without a field", "convergence", lieOfARegion("map", func(v *history.Value) { v.Fields = v.Fields[1:] })},
	},
	"append": {
		{"an acknowledged append is missing", "lists", forgetWhatWasAcknowledged},
		{"an acknowledged append is missing", "strict-serializable", forgetWhatWasAcknowledged},
		{"two lists are in different orders", "lists", reorder},
	},
	"bounded": {
		{"an answer is older than its bound", "bounded", missAnElement("bounded", old)},
		{"an element is missing", "semantics", missAnElement("bounded", old)},
	},
	"durability": {
		{"a write in a majority is gone", "durable", loseElements("majority")},
		{"a write in two regions is gone", "durable", loseElements("2")},
		{"a write in all regions is gone", "lost-writes", loseElements("all")},
	},
	"long-fork-strong": {
		{"two readers see two writes in opposite orders", "long-fork", forkStrongly},
		{"two readers see two writes in opposite orders", "strict-serializable", forkStrongly},
	},
	"mixed-strong": {
		{"half a transaction is seen", "half-transactions", halve},
		{"a session's own write is missing", "session", forgetWhatWasSeen},
		{"a strong read is stale", "strict-serializable", forgetWhatWasAcknowledged},
		{"a write comes out of nothing", "semantics", takeOutAWrite},
		{"a token is not honoured", "semantics", dishonour},
	},
	"phantom": {
		{"two find room without each other", "phantoms", missEachOther},
		{"two find room without each other", "linearizable", missEachOther},
	},
	"quorum": {
		{"a level is weakened in silence", "receipts", weaken},
		{"what a majority had is missing", "quorum", missAnElement("quorum", func(r, w *history.Txn) bool { return w.Durability == "majority" && w.End < r.Start })},
	},
	"strong-register": {
		{"a read is stale", "linearizable", forgetWhatWasAcknowledged},
		{"a read is stale", "strict-serializable", forgetWhatWasAcknowledged},
		{"two compare-and-sets replace one value", "compare-and-set", swapTwice},
		{"two compare-and-sets replace one value", "linearizable", swapTwice},
	},
	"write-skew": {
		{"two miss each other's write", "write-skew", skewTwo},
		{"two miss each other's write", "strict-serializable", skewTwo},
	},
	"mixed": {
		{"a write comes out of nothing", "semantics", takeOutAWrite},
		{"a region ends up with another set", "convergence", lieOfARegion("set-aw", func(v *history.Value) { v.List = v.List[1:] })},
		{"a register goes back", "causal", forgetWhatWasSeen},
	},
	"register": {
		{"a register goes back", "causal", forgetWhatWasSeen},
		{"a register goes back", "session", forgetWhatWasSeen},
		{"a write comes out of nothing", "causal", takeOutAWrite},
		{"a register is empty in the end", "lost-writes", lieInTheEnd("register-lww", nothing)},
		{"half a transaction is seen", "half-transactions", halve},
		{"two compare-and-sets replace one value", "compare-and-set", swapTwice},
	},
	"register-mv": {
		{"a value is missing", "semantics", lieOfReads("register-mv", func(v *history.Value) { v.List = v.List[1:] })},
		{"a value comes out of nothing", "lost-writes", lieInTheEnd("register-mv", func(v *history.Value) { v.List = []string{"nobody's"} })},
	},
	"session": {
		{"a session's own write is missing", "session", forgetWhatWasSeen},
		{"a session's counter goes back", "session", lieOfReads("counter", func(v *history.Value) { v.Int -= 1000 })},
		{"a token is not honoured", "semantics", dishonour},
	},
	"set-aw": {
		{"an element is missing", "semantics", lieOfReads("set-aw", func(v *history.Value) { v.List = v.List[1:] })},
		{"an element that nobody removed is lost", "lost-writes", lieInTheEnd("set-aw", loseUnique)},
	},
	"set-rw": {
		{"an element comes out of nothing", "semantics", lieOfReads("set-rw", func(v *history.Value) { v.List = append([]string{"a"}, v.List...) })},
		{"an element that nobody removed is lost", "lost-writes", lieInTheEnd("set-rw", loseUnique)},
	},
}

func flip(v *history.Value) { v.Flag, v.Absent = !v.Flag, v.Flag }

func nothing(v *history.Value) { *v = history.Value{Absent: true} }

// loseUnique takes out the elements that were put in once only.
func loseUnique(v *history.Value) {
	v.List = slices.DeleteFunc(v.List, func(e string) bool { return strings.HasPrefix(e, "w") })
}

// answered reports whether a read found something of a type. A flag is always something.
func answered(o *history.Op, kind string) bool {
	v := o.Got
	if o.Do != history.Get || o.Leaf() != kind || v == nil {
		return false
	}
	return strings.HasPrefix(kind, "flag") || !v.Absent && (v.Int != 0 || v.Flag || v.Text != "" || len(v.List) > 0 || len(v.Fields) > 0)
}

// lieOfReads changes the answers of a type of one transaction amid the run.
func lieOfReads(kind string, change func(*history.Value)) func(*history.History) bool {
	return func(h *history.History) bool {
		for i := range h.Txns[len(h.Txns)/2:] {
			t := &h.Txns[len(h.Txns)/2+i]
			// What a transaction itself wrote may hide what it should have read.
			if t.Final || t.Outcome != history.OK || t.Writes() || t.Snapshot == nil || t.Session == 0 || t.Level != "causal" {
				continue
			}
			for j := range t.Ops {
				if o := &t.Ops[j]; answered(o, kind) {
					change(o.Got)
					return true
				}
			}
		}
		return false
	}
}

// lieInTheEnd changes all final answers of a type.
func lieInTheEnd(kind string, change func(*history.Value)) func(*history.History) bool {
	return func(h *history.History) (told bool) {
		for i := range h.Txns {
			t := &h.Txns[i]
			for j := range t.Ops {
				if o := &t.Ops[j]; t.Final && answered(o, kind) {
					change(o.Got)
					told = true
				}
			}
		}
		return told
	}
}

// lieOfARegion changes one final answer of one region.
func lieOfARegion(kind string, change func(*history.Value)) func(*history.History) bool {
	return func(h *history.History) bool {
		for i := range h.Txns {
			t := &h.Txns[i]
			for j := range t.Ops {
				if o := &t.Ops[j]; t.Final && answered(o, kind) {
					change(o.Got)
					return true
				}
			}
		}
		return false
	}
}

// hidePrescription hides the prescription from somebody who saw the pointer beside it, and went on to
// write nothing: a pointer that is written by who has not seen the prescription says nothing.
func hidePrescription(h *history.History) bool {
	for i := range h.Txns {
		t := &h.Txns[i]
		if len(t.Ops) == 2 && t.Session == 0 && t.Outcome == history.OK && strings.HasPrefix(t.Ops[0].Key, "pointer/") && answered(&t.Ops[0], "register-lww") {
			nothing(t.Ops[1].Got)
			return true
		}
	}
	return false
}

// forgetWhatWasSeen has a session find nothing in a register where it had found or written something.
func forgetWhatWasSeen(h *history.History) bool {
	type known struct {
		session int
		place   string
	}
	met := map[known]bool{}
	for i := range h.Txns {
		t := &h.Txns[i]
		if t.Session == 0 || t.Outcome != history.OK || t.Level != "causal" {
			continue
		}
		for j := range t.Ops {
			o := &t.Ops[j]
			at := known{t.Session, checker.Place(o)}
			switch {
			case o.Leaf() != "register-lww" || len(o.Path) > 0 || strings.HasSuffix(o.Key, "/0"): // which mixed removes
			case o.Do == history.Assign:
				met[at] = true
			case answered(o, "register-lww") && met[at] && !t.Writes():
				nothing(o.Got)
				return true
			case answered(o, "register-lww"):
				met[at] = true
			}
		}
	}
	return false
}

// takeOutAWrite makes a transaction whose value others have read one that certainly failed.
func takeOutAWrite(h *history.History) bool {
	readers := map[string][]int{}
	for i := range h.Txns {
		t := &h.Txns[i]
		for _, o := range t.Ops {
			if o.Do == history.Get && o.Got != nil && o.Leaf() == "register-lww" && t.Outcome == history.OK {
				readers[o.Got.Text] = append(readers[o.Got.Text], t.ID)
			}
		}
	}
	for i := range h.Txns {
		t := &h.Txns[i]
		others := func(id int) bool { return id != t.ID }
		for _, o := range t.Ops {
			if o.Do == history.Assign && o.Type == "register-lww" && t.Outcome == history.OK && slices.ContainsFunc(readers[o.Arg.Text], others) {
				t.Outcome, t.Commit = history.Fail, nil
				return true
			}
		}
	}
	return false
}

// swapTwice has another compare-and-set of the same region replace what one has replaced.
func swapTwice(h *history.History) bool {
	for i := range h.Txns {
		t := &h.Txns[i]
		o := &t.Ops[0]
		if t.Outcome != history.OK || t.Durability == "applied" || len(t.Ops) > 1 || o.Expect == nil || o.Expect.Absent {
			continue
		}
		again := *t
		again.ID, again.Process, again.OpID, again.Session = len(h.Txns)+1, 1<<20, "", 0
		swap := *o
		swap.Arg = &history.Value{Text: "another"}
		again.Ops = []history.Op{swap}
		h.Txns = append(h.Txns, again)
		return true
	}
	return false
}

// halve has a reader of two registers that one transaction wrote find nothing in the second.
func halve(h *history.History) bool {
	writer := map[string]int{}
	for i := range h.Txns {
		for _, o := range h.Txns[i].Ops {
			if o.Do == history.Assign {
				writer[o.Arg.Text] = h.Txns[i].ID
			}
		}
	}
	for i := range h.Txns {
		t := &h.Txns[i]
		from := map[int]string{}
		for j := range t.Ops {
			o := &t.Ops[j]
			if t.Outcome != history.OK || t.Writes() || !answered(o, "register-lww") {
				continue
			}
			w := writer[o.Got.Text]
			if before, met := from[w]; met && before != o.Key {
				for k := range t.Ops {
					if t.Ops[k].Key == o.Key {
						nothing(t.Ops[k].Got)
					}
				}
				return true
			}
			from[w] = o.Key
		}
	}
	return false
}

// dishonour takes out of a snapshot what the token had asked for.
func dishonour(h *history.History) bool {
	for i := range h.Txns {
		t := &h.Txns[i]
		for region := range t.TokenBefore {
			if t.Outcome == history.OK && t.Level == "causal" && t.Snapshot != nil && !t.Writes() {
				delete(t.Snapshot, region)
				t.Snapshot[region%len(h.Header.Regions)+1]++
				return true
			}
		}
	}
	return false
}

// TestLiesAreSeenThrough: what a faulty database would answer makes the named checker's verdict invalid.
// No outcome is unknown: such a one may explain a lie.
func TestLiesAreSeenThrough(t *testing.T) {
	each(t, func(t *testing.T, name string, seed uint64) {
		h := inBubble(t, name, setting{Config: workload.Config{Rate: 100, Txns: 800, Seed: seed}, sure: true})
		requireValid(t, h)
		require.NotEmpty(t, lies[name])
		for _, l := range lies[name] {
			told := copied(t, h)
			require.True(t, l.tell(told), "%s: nothing to lie about; seed %d", l.name, seed)
			results, err := workload.Judge(told, checker.Options{})
			require.NoError(t, err)
			at := slices.IndexFunc(results, func(r checker.Result) bool { return r.Checker == l.checker })
			require.GreaterOrEqual(t, at, 0, l.checker)
			require.Equal(t, checker.Invalid, results[at].Verdict, "%s: %s does not notice; replay: go test ./jepsen/workload -run '^%s$' -seed %d", l.name, l.checker, t.Name(), seed)
			require.NotEqual(t, "not exercised", results[at].Anomalies[0].Name, l.name)
		}
	})
}

// copied is a copy by way of a file's text.
func copied(t *testing.T, h *history.History) *history.History {
	t.Helper()
	var text bytes.Buffer
	require.NoError(t, h.Write(&text))
	back, err := history.Read(&text)
	require.NoError(t, err)
	return back
}
