package causal

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

var rewrite = flag.Bool("rewrite", false, "write what happened into testdata as what is expected")

// TestScripts runs each scenario of testdata. A block is commands, a line "----", and one line of
// outcome a command, up to an empty line. Times are small numbers; "700u" is the first timestamp of
// microsecond 700. -rewrite writes the outcomes anew, for a reviewer to read as a diff.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file) })
	}
}

func runScript(t *testing.T, file string) {
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	s := &script{snapshots: map[string]Snapshot{}, holds: map[string]*Hold{}}
	var got strings.Builder
	outcome, inOutcome := strings.Builder{}, false
	for _, line := range strings.Split(strings.TrimRight(string(want), "\n"), "\n") {
		switch {
		case line == "----":
			inOutcome = true
			got.WriteString("----\n" + outcome.String())
			outcome.Reset()
		case line == "":
			inOutcome = false
			got.WriteString("\n")
		case inOutcome: // what was expected
		default:
			got.WriteString(line + "\n")
			if !strings.HasPrefix(line, "#") {
				outcome.WriteString(s.run(line) + "\n")
			}
		}
	}
	require.Empty(t, outcome.String(), "commands without ----")
	if *rewrite {
		require.NoError(t, os.WriteFile(file, []byte(got.String()), 0o644))
		return
	}
	require.Equal(t, string(want), got.String(), "go test ./replication/causal -run TestScripts -rewrite shows the difference")
}

// script is a machine driven by lines of text.
type script struct {
	m         *Machine
	ageing    bool // the script names no serving regions: it is not about strong snapshots, which hold nothing
	snapshots map[string]Snapshot
	holds     map[string]*Hold
}

// run does one command and says in one line what came of it; a panic is an outcome too.
func (s *script) run(line string) (out string) {
	defer func() {
		if p := recover(); p != nil {
			out = fmt.Sprintf("panic: %v", p)
		}
	}()
	words := strings.Fields(line)
	args := arguments(words[1:])
	if s.ageing {
		s.m.Age()
		s.m.Age()
	}
	if out, ok := s.records(words[0], args); ok {
		return out
	}
	if out, ok := s.cuts(words[0], args); ok {
		return out
	}
	if out, ok := s.strong(words[0], args); ok {
		return out
	}
	return s.reports(words[0], args)
}

func (s *script) records(verb string, a args) (string, bool) {
	switch verb {
	case "new":
		m, err := New(a.start())
		if err != nil {
			return err.Error(), true
		}
		s.m, s.ageing = m, true
	case "offer":
		return verdict(s.m.Offer(a.header(), clock.Wall(a.number("now")))), true
	case "ready":
		return fmt.Sprint(s.m.Ready(a.header())), true
	case "apply":
		s.m.RemoteApplied(a.header())
	case "dropped":
		s.m.Dropped(laneOf(a.free[0]))
		return "ok", true
	case "synced":
		s.m.Synced(laneOf(a.free[0]), stamp(a.free[1]))
	case "local":
		s.m.LocalApplied(stamp(a.free[0]), a.vector("meet"))
	case "safe":
		s.m.LocalSafe(stamp(a.free[0]), stamp(a.free[1]))
	case "heard":
		s.m.Heard(laneOf(a.free[0]), stamp(a.free[1]), stamp(a.free[2]))
	case "promise":
		last, safe := s.m.Promise(laneOf(a.free[0]))
		return fmt.Sprintf("last %d, safe %d", last, safe), true
	case "reached":
		r := laneOf(a.free[0]).Region
		return fmt.Sprintf("exposed %d, applied %d, durable %d", s.m.Reached(r, Exposed), s.m.Reached(r, Applied), s.m.Reached(r, Durable)), true
	default:
		return "", false
	}
	return s.state(), true
}

func (s *script) state() string {
	return fmt.Sprintf("E %s applied %s raw %s durable %s", show(s.m.Exposed()), show(s.m.Applied()), show(s.m.Raw()), show(s.m.Durable()))
}

func (s *script) cuts(verb string, a args) (string, bool) {
	var err error
	switch verb {
	case "open":
		var snapshot Snapshot
		if snapshot, err = s.m.Open(a.has("writes"), a.has("applied")); err == nil {
			s.snapshots[a.free[0]] = snapshot
			return "at " + show(snapshot.At()), true
		}
	case "close":
		s.m.Close(s.snapshots[a.free[0]])
	case "hold":
		s.holds[a.free[0]], err = s.m.Hold(a.vector("at"))
	case "pin":
		s.holds[a.free[0]], err = s.m.Pin()
	case "release":
		s.m.Release(s.holds[a.free[0]])
	case "cuts":
		h, settled := s.m.Cuts()
		return fmt.Sprintf("horizon %s settled %s stable %s", show(h), show(settled), show(s.m.Stable())), true
	default:
		return "", false
	}
	if err != nil {
		return fmt.Sprintf("%s: %v", kv.KindOf(err), err), true
	}
	return "horizon " + show(s.m.Horizon()), true
}

func (s *script) strong(verb string, a args) (string, bool) {
	switch verb {
	case "serving":
		s.ageing = false
		var regions []clock.Region
		for _, r := range a.free {
			regions = append(regions, laneOf(r).Region)
		}
		s.m.Serving(regions)
	case "age":
		s.m.Age()
	case "decided":
		s.m.Decided(stamp(a.free[0]))
	case "openstrong":
		snapshot, wait, ok, err := s.m.OpenStrong(a.has("writes"))
		switch {
		case err != nil:
			return fmt.Sprintf("%s: %v", kv.KindOf(err), err), true
		case !ok:
			return fmt.Sprintf("wait for %d of region %d", wait.Time, wait.Region), true
		}
		s.snapshots[a.free[0]] = snapshot
		return "at " + show(snapshot.At()), true
	default:
		return "", false
	}
	return fmt.Sprintf("uniform %s strong %s horizon %s", show(s.m.Uniform()), show(s.m.StrongCut()), show(s.m.Horizon())), true
}

func (s *script) reports(verb string, a args) string {
	switch verb {
	case "report":
		r := s.m.Report()
		return fmt.Sprintf("number %d durable %s floor %s safe %d zero %d", r.Number, show(r.Durable), show(r.Floor), r.Safe, r.Zero)
	case "receive":
		return fmt.Sprintf("news: %t", s.m.Receive(Report{Region: laneOf(a.free[0]).Region, Number: uint64(a.number("number")), Incarnation: uint64(a.number("store")),
			Durable: a.vector("durable"), Floor: a.vector("floor"), Safe: stamp(a.value["safe"]), Zero: stamp(a.value["zero"])}))
	case "reported":
		r, ok := s.m.Reported(laneOf(a.free[0]).Region)
		return fmt.Sprintf("%t number %d durable %s", ok, r.Number, show(r.Durable))
	case "incarnated":
		s.m.Incarnated(laneOf(a.free[0]).Region, uint64(a.number("store")))
		return "everywhere " + show(s.m.Everywhere())
	case "parted":
		s.m.Parted(laneOf(a.free[0]).Region)
		return "everywhere " + show(s.m.Everywhere())
	case "remembered":
		r, ok := s.m.Remembered(laneOf(a.free[0]).Region, a.has("uncounted"))
		return fmt.Sprintf("%t number %d durable %s floor %s safe %d", ok, r.Number, show(r.Durable), show(r.Floor), r.Safe)
	case "everywhere":
		return show(s.m.Everywhere())
	case "droppable":
		return show(s.m.Droppable(a.vector("dropped")))
	case "add":
		if err := s.m.AddRegion(laneOf(a.free[0])); err != nil {
			return err.Error()
		}
		return fmt.Sprint(s.m.Members())
	case "recovered":
		s.m.Recovered()
		return fmt.Sprintf("recovering: %t", s.m.Recovering())
	}
	return "no such command: " + verb
}

func verdict(v Verdict) string {
	out := fmt.Sprintf("%s, held %d", v.Action, v.Held)
	if !v.Missing.IsZero() {
		out += fmt.Sprintf(", missing %d of region %d", v.Missing.Time, v.Missing.Region)
	}
	if v.Ahead != 0 {
		out += fmt.Sprintf(", ahead %v", v.Ahead)
	}
	return out
}

func show(v clock.Vector) string {
	parts := make([]string, len(v))
	for i, e := range v {
		parts[i] = fmt.Sprintf("%d:%d", e.Region, e.Time)
	}
	return "{" + strings.Join(parts, " ") + "}"
}

// args are a command's words: NAME=VALUE, or free.
type args struct {
	free  []string
	value map[string]string
}

func arguments(words []string) args {
	a := args{value: map[string]string{}}
	for _, w := range words {
		if name, value, ok := strings.Cut(w, "="); ok {
			a.value[name] = value
		} else {
			a.free = append(a.free, w)
		}
	}
	return a
}

func (a args) has(word string) bool {
	for _, w := range a.free {
		if w == word {
			return true
		}
	}
	return false
}

func (a args) number(name string) int64 {
	if a.value[name] == "" {
		return 0
	}
	n, err := strconv.ParseInt(a.value[name], 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// vector reads REGION:TIME,...
func (a args) vector(name string) clock.Vector {
	var v clock.Vector
	for _, part := range strings.Split(a.value[name], ",") {
		if r, t, ok := strings.Cut(part, ":"); ok {
			v = v.With(laneOf(r).Region, stamp(t))
		}
	}
	return v
}

// header reads LANE TIME<PREV deps=VECTOR.
func (a args) header() kv.Header {
	t, prev, _ := strings.Cut(a.free[1], "<")
	h := kv.Header{Lane: laneOf(a.free[0]), Time: stamp(t), Prev: stamp(prev), Kind: kv.RecordGroup, Deps: a.vector("deps")}
	if a.has("void") {
		h.Kind = kv.RecordVoid
	}
	return h
}

// start reads self=REGION lanes=REGION:HELD/DURABLE,...
func (a args) start() Start {
	st := Start{Self: laneOf(a.value["self"]), Recovering: a.has("recovering"), Undecided: a.has("undecided"), MaxOpen: int(a.number("maxopen"))}
	for _, part := range strings.Split(a.value["lanes"], ",") {
		r, held, _ := strings.Cut(part, ":")
		held, durable, ok := strings.Cut(held, "/")
		if !ok {
			durable = held
		}
		st.Lanes = append(st.Lanes, Position{Lane: laneOf(r), Held: stamp(held), Durable: stamp(durable)})
	}
	return st
}

// laneOf reads REGION or REGION.SLOT.
func laneOf(s string) clock.Lane {
	r, slot, _ := strings.Cut(s, ".")
	return clock.Lane{Region: clock.Region(stamp(r)), Slot: clock.Slot(stamp(slot))}
}

func stamp(s string) clock.Timestamp {
	if s == "" {
		return 0
	}
	if u, ok := strings.CutSuffix(s, "u"); ok {
		return clock.At(clock.Wall(stamp(u)))
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return clock.Timestamp(n)
}
