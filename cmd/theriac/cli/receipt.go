package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// printReceipt prints how the last call was served, on stderr: it differs from call to call, and
// answers should not.
func (r *run) printReceipt(c kv.Receipt) error {
	text := receiptText(c)
	if r.json() {
		line, _ := json.Marshal(map[string]receiptJSON{"receipt": receiptDocument(c)}) // strings and numbers always marshal
		text = string(line) + "\n"
	}
	if _, err := fmt.Fprint(r.app.Stderr, text); err != nil {
		return r.after(err)
	}
	return nil
}

// receiptText is a line of what was served, and lines of what is known beside that.
func receiptText(c kv.Receipt) string {
	commit := ""
	if !c.Commit.IsZero() {
		commit = c.Commit.String()
	}
	level := kv.Consistency{Level: c.Level, Bound: c.Bound}
	s := fmt.Sprintf("receipt: level %s, region %s, lane %s, snapshot %s, commit %s, token %s\n",
		level, dash(c.Region), c.Lane, c.Snapshot, dash(commit), dash(c.Token.String()))
	if c.Node != "" {
		s += fmt.Sprintf("receipt: node %s, incarnation %016x\n", c.Node, c.Incarnation)
	}
	if c.Durability != kv.DurabilityDefault {
		s += fmt.Sprintf("receipt: durability %s, regions that have it on disk: %d\n", c.Durability, c.Regions)
	}
	if len(c.Staleness) > 0 {
		s += "receipt: staleness " + strings.Join(stalenessTexts(c.Staleness), ", ") + "\n"
	}
	if c.Paid != (kv.Phases{}) {
		s += fmt.Sprintf("receipt: paid %s: %s\n", c.Paid.Total().Round(time.Microsecond), strings.Join(phaseTexts(c.Paid), ", "))
	}
	return s
}

func stalenessTexts(list []kv.RegionStaleness) []string {
	out := make([]string, len(list))
	for i, g := range list {
		age := "unknown"
		if g.Known {
			age = g.Age.Round(time.Millisecond).String()
		}
		out[i] = g.Name + " " + age
	}
	return out
}

// phase is one of kv.Phases, under the name that receipts print.
type phase struct {
	name string
	took time.Duration
}

func phases(p kv.Phases) []phase {
	return []phase{{"queue", p.Queue}, {"token", p.Token}, {"work", p.Work}, {"sync", p.Sync}, {"regions", p.Regions}, {"certify", p.Certify}}
}

// phaseTexts leaves out what took no time.
func phaseTexts(p kv.Phases) (out []string) {
	for _, f := range phases(p) {
		if f.took != 0 {
			out = append(out, f.name+" "+f.took.Round(time.Microsecond).String())
		}
	}
	return out
}

// receiptJSON is a receipt as a document. What was not told is left out.
type receiptJSON struct {
	Level       string            `json:"level"`
	Region      string            `json:"region"`
	Node        string            `json:"node,omitempty"`
	Incarnation string            `json:"incarnation"`
	Lane        string            `json:"lane"`
	Snapshot    map[string]string `json:"snapshot"`
	Commit      map[string]string `json:"commit"`
	Token       string            `json:"token"`
	Durability  string            `json:"durability,omitempty"`
	Regions     int               `json:"regions,omitempty"`
	Staleness   map[string]*int64 `json:"staleness_ms,omitempty"` // by region; null: unknown
	Paid        map[string]int64  `json:"paid_us,omitempty"`      // by phase
}

func receiptDocument(c kv.Receipt) receiptJSON {
	out := receiptJSON{
		Level: kv.Consistency{Level: c.Level, Bound: c.Bound}.String(), Region: c.Region, Node: c.Node,
		Incarnation: fmt.Sprintf("%016x", c.Incarnation), Lane: c.Lane.String(),
		Snapshot: vectorJSON(c.Snapshot), Commit: commitJSON(c.Commit), Token: c.Token.String(), Regions: c.Regions,
	}
	if c.Durability != kv.DurabilityDefault {
		out.Durability = c.Durability.String()
	}
	for _, g := range c.Staleness {
		if out.Staleness == nil {
			out.Staleness = map[string]*int64{}
		}
		out.Staleness[g.Name] = nil
		if ms := g.Age.Milliseconds(); g.Known {
			out.Staleness[g.Name] = &ms
		}
	}
	if c.Paid != (kv.Phases{}) {
		out.Paid = map[string]int64{}
		for _, f := range phases(c.Paid) {
			out.Paid[f.name] = f.took.Microseconds()
		}
	}
	return out
}

// commitJSON is a commit in the form of a snapshot: its region with its time, or nothing.
func commitJSON(s clock.Stamp) map[string]string {
	if s.IsZero() {
		return map[string]string{}
	}
	return vectorJSON(clock.Vector{{Region: s.Region, Time: s.Time}})
}
