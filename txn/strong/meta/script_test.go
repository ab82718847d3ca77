package meta_test

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
	"github.com/theriac-db/theriac/txn/strong/meta"
)

var rewrite = flag.Bool("rewrite", false, "write what happened into testdata as what is expected")

// TestScripts runs each scenario of testdata: blocks of commands, a line "----", and one line of outcome
// a command, up to an empty line. -rewrite writes the outcomes anew, for a reviewer to read as a diff.
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
	s := &script{T: t, state: meta.New()}
	var got, outcome strings.Builder
	inOutcome := false
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
				outcome.WriteString(s.run(strings.Fields(line)) + "\n")
			}
		}
	}
	require.Empty(t, outcome.String(), "commands without ----")
	if *rewrite {
		require.NoError(t, os.WriteFile(file, []byte(got.String()), 0o644))
		return
	}
	require.Equal(t, string(want), got.String(), "go test ./txn/strong/meta -run TestScripts -rewrite shows the difference")
}

type script struct {
	*testing.T
	state   *meta.State
	members []meta.Member
}

// number reads the n-th word as a number; a name stands for the last region of that name.
func (s *script) number(words []string, n int) uint64 {
	if v, err := strconv.ParseUint(words[n], 0, 64); err == nil {
		return v
	}
	regions := s.state.Regions()
	for i := len(regions) - 1; i >= 0; i-- {
		if regions[i].Name == words[n] {
			return uint64(regions[i].Number)
		}
	}
	s.Fatalf("%q: no region %q", strings.Join(words, " "), words[n])
	return 0
}

func (s *script) region(words []string, n int) clock.Region { return clock.Region(s.number(words, n)) }

// run carries out one line.
func (s *script) run(w []string) string {
	switch w[0] {
	case "regions":
		return s.regions()
	case "buckets":
		return s.buckets()
	case "group":
		s.group(w[1:])
		return "ok"
	case "next":
		return s.next()
	case "refound": // VERSION
		s.state.Refound(s.number(w, 1))
		return fmt.Sprintf("version %d", s.state.Version())
	}
	c, err := meta.Encode(s.command(w))
	require.NoError(s, err)
	r, err := s.state.Apply(c, 70)
	require.NoError(s, err)
	return outcome(&r)
}

func outcome(r *meta.Result) string {
	text := fmt.Sprintf("version %d", r.Version)
	if r.Region != 0 {
		text += fmt.Sprintf(", region %d", r.Region)
	}
	if len(r.Ends) > 0 {
		text += fmt.Sprintf(", ends %v", r.Ends)
	}
	if r.Commits {
		text += ", commits"
	}
	if r.Err != nil {
		text += fmt.Sprintf(", %s: %s", r.Err.Kind, r.Err)
	}
	return text
}

func (s *script) command(w []string) meta.Command {
	switch w[0] {
	case "found":
		return &meta.Found{Name: w[1], Store: s.number(w, 2)}
	case "add":
		return &meta.Add{Name: w[1], Store: s.number(w, 2)}
	case "serve":
		return &meta.Serve{Region: s.region(w, 1), Store: s.number(w, 2)}
	case "abandon":
		return &meta.Abandon{Region: s.region(w, 1)}
	case "replace":
		return &meta.Replace{Region: s.region(w, 1), Was: s.number(w, 2), Store: s.number(w, 3)}
	case "fence":
		return &meta.Fence{Region: s.region(w, 1)}
	case "close":
		return &meta.Close{Region: s.region(w, 1)}
	case "acknowledge":
		return &meta.Acknowledge{Region: s.region(w, 1), Version: s.number(w, 2)}
	case "held": // REPORTER VERSION REGION=TIME...
		return &meta.Held{Reporter: s.region(w, 1), Version: s.number(w, 2), Holds: s.vector(w[3:])}
	case "create":
		return &meta.Create{Rules: rules(w)}
	case "alter": // BUCKET LEVELS VERSION
		return &meta.Alter{Rules: rules(w), Was: s.number(w, 3)}
	case "drop": // BUCKET GENERATION [ruled]
		return &meta.Drop{Bucket: kv.Bucket(w[1]), Generation: uint32(s.number(w, 2)), Ruled: len(w) > 3}
	}
	s.Fatalf("no command %q", w[0])
	return nil
}

func (s *script) vector(words []string) (v clock.Vector) {
	for _, w := range words {
		name, time, _ := strings.Cut(w, "=")
		v = v.With(s.region([]string{name}, 0), clock.Timestamp(s.number([]string{time}, 0)))
	}
	return v
}

// rules are BUCKET LEVELS: levels by their numbers, any for all.
func rules(w []string) kv.BucketRules {
	r := kv.BucketRules{Name: kv.Bucket(w[1])}
	if w[2] != "any" {
		for _, l := range w[2] {
			r.Levels = append(r.Levels, kv.Level(l-'0'))
		}
	}
	return r
}

func (s *script) regions() string {
	var list []string
	for _, r := range s.state.Regions() {
		text := fmt.Sprintf("%d %s %s store %x", r.Number, r.Name, r.Phase, r.Store)
		if r.Phase == meta.Removed {
			text += fmt.Sprintf(" last %d closed %d heir %d", r.Last, r.Closed, r.Heir)
		}
		list = append(list, text)
	}
	text := strings.Join(list, "; ")
	if m := s.state.Missing(); len(m) > 0 {
		text += fmt.Sprintf("; missing %v", m)
	}
	return text
}

func (s *script) buckets() string {
	var list []string
	for _, b := range s.state.Buckets() {
		list = append(list, fmt.Sprintf("%s levels %v generation %d since %d pending %v", b.Name, b.Levels, b.Generation, b.Since, b.Pending))
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, "; ")
}

// group sets the members of the raft group: REGION.STORE with "+" for a voter, "-" for a learner, "!" if it
// is not heard of, "?" if it has not caught up.
func (s *script) group(words []string) {
	s.members = nil
	for _, w := range words {
		name := strings.TrimRight(w, "+-!?")
		region, store, _ := strings.Cut(name, ".")
		m := meta.Member{ID: meta.VoterID(s.region([]string{region}, 0), s.number([]string{store}, 0)), Role: meta.Voter,
			Active: !strings.Contains(w, "!"), Caught: !strings.Contains(w, "?")}
		if strings.Contains(w, "-") {
			m.Role = meta.Learner
		}
		s.members = append(s.members, m)
	}
}

// next makes all changes that can be made, one by one.
func (s *script) next() string {
	var steps []string
	for range 20 {
		step, found := s.state.Next(s.members)
		if !found {
			return strings.Join(append(steps, "done"), ", ")
		}
		steps = append(steps, fmt.Sprintf("%d.%d %s", meta.VoterRegion(step.ID), step.ID&0xffff, step.Role))
		s.members = take(s.members, step)
	}
	return "no end"
}

// take carries out a step; a member that is new is heard of, and has caught up.
func take(members []meta.Member, step meta.Step) (changed []meta.Member) {
	known := false
	for _, m := range members {
		if m.ID == step.ID {
			m.Role, known = step.Role, true
		}
		if m.Role != meta.None {
			changed = append(changed, m)
		}
	}
	if !known {
		changed = append(changed, meta.Member{ID: step.ID, Role: step.Role, Active: true, Caught: true})
	}
	return changed
}
