//go:build mutants

package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/internal/mutant"
)

var (
	mutantFlag  = flag.String("mutant", "", "the mutant to catch; empty: all")
	someFlag    = flag.Int("some", 0, "catch only so many of the mutants: those whose turn it is; 0: all")
	turnFlag    = flag.Int("turn", 0, "whose turn it is, with -some: any number, such as one of the commit")
	tableFlag   = flag.String("table", "", "file to write the table of what caught what into")
	outcomeFlag = flag.String("outcome", "", "file that TestOneSeed writes its outcome into")
)

// What a seed is with a mutant: shorter than it is to find faults that nobody has planted.
const (
	caughtWithin = 4 // minutes, simulated
	caughtTxns   = 1500
	childTimeout = 5 * time.Minute // of real time
)

// seedEnd is what came of one seed.
type seedEnd struct {
	Failures []Failure
	Reached  int64 // how often the mutant made a difference; unknown (-1) if the process ended in a panic
	Seconds  float64
}

// TestOneSeed runs one seed, with the mutant that THERIAC_MUTANT names, in a process of its own: an
// assertion of the database that a mutant breaks ends the process, and no other way ends what it left behind.
func TestOneSeed(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	begun := time.Now()
	r := Run(t, Options{Seed: max(*seedFlag, 1), Workload: *workloadFlag, Minutes: caughtWithin, Txns: caughtTxns})
	out := seedEnd{Failures: r.Failures, Reached: mutant.Reached(), Seconds: time.Since(begun).Seconds()}
	if *outcomeFlag == "" {
		require.Empty(t, wrongs(out.Failures))
		return
	}
	text, err := json.Marshal(out)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(*outcomeFlag, text, 0o600))
}

// TestMutants: every mutant is noticed by one of the checks that the table names, within its number of
// seeds, and the same seeds without a mutant show nothing. Or the tests that the table names fail, and without it none does.
func TestMutants(t *testing.T) {
	all := chosen(t)
	require.True(t, *tableFlag == "" || len(all) == len(mutant.All()), "a table is of all mutants, here are %d", len(all))
	hunt := &hunt{folder: t.TempDir(), controls: map[control]*sync.Once{}, clean: map[control]seedEnd{}}
	t.Run("all", func(t *testing.T) {
		for _, m := range all {
			t.Run(string(m.Name), func(t *testing.T) {
				t.Parallel()
				if m.Seeds == 0 {
					hunt.fail(t, m)
				} else {
					hunt.catch(t, m)
				}
			})
		}
	})
	if *tableFlag != "" {
		require.NoError(t, os.WriteFile(*tableFlag, []byte(hunt.table()), 0o644))
	}
}

// chosen are the mutants to catch.
func chosen(t *testing.T) []mutant.Mutant {
	all := mutant.All()
	if *mutantFlag != "" {
		m, found := mutant.Find(mutant.Name(*mutantFlag))
		require.True(t, found, "there is no mutant %q", *mutantFlag)
		return []mutant.Mutant{m}
	}
	if *someFlag <= 0 || *someFlag >= len(all) {
		return all
	}
	first := *turnFlag % len(all) * *someFlag % len(all)
	return append(all[first:], all[:first]...)[:*someFlag]
}

// hunt is one run of TestMutants.
type hunt struct {
	folder string

	mu       sync.Mutex
	controls map[control]*sync.Once
	clean    map[control]seedEnd // of controls
	caught   []catch
}

// control is a seed without a mutant.
type control struct {
	seed     uint64
	workload string
}

// catch is how a mutant was caught.
type catch struct {
	mutant.Mutant
	By      []string // of its checks
	Others  []string // other checks that noticed it
	Seed    uint64
	Seeds   int
	Reached int64
	Seconds float64
}

// firstSeed is where each hunt begins: what one seed shows another may show later.
const firstSeed = 1

func (h *hunt) catch(t *testing.T, m mutant.Mutant) {
	c := catch{Mutant: m}
	reached := int64(0)
	var others []string
	for n := range m.Seeds {
		seed := firstSeed + uint64(n)
		out := h.run(t, m.Name, seed, m.Workload)
		c.Seconds += out.Seconds
		reached = max(reached, out.Reached)
		c.By, c.Others = divide(out.Failures, m.Checks)
		if c.Seed, c.Seeds, c.Reached = seed, n+1, out.Reached; len(c.By) > 0 {
			break
		}
		others = append(others, c.Others...)
	}
	if len(c.By) == 0 {
		t.Errorf("not caught by any of %s in %d seeds, in which it made a difference %d times at most; other checks that noticed: %s",
			m.Checks, m.Seeds, reached, slices.Compact(slices.Sorted(slices.Values(others))))
		return
	}
	require.True(t, reached > 0 || c.Reached < 0, "no seed came to where it makes a difference")
	for n := range c.Seeds {
		out := h.control(t, control{firstSeed + uint64(n), m.Workload})
		require.Empty(t, wrongs(out.Failures), "seed %d fails without any mutant", firstSeed+n)
	}
	t.Logf("caught by %s (also %s), seed %d, %d seeds, reached %d times, %.1f s", c.By, c.Others, c.Seed, c.Seeds, c.Reached, c.Seconds)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.caught = append(h.caught, c)
}

// fail catches a mutant by tests, each of which fails with it alone.
func (h *hunt) fail(t *testing.T, m mutant.Mutant) {
	begun := time.Now()
	for _, check := range m.Checks {
		require.NoError(t, tested(t, "", check), "%s fails without any mutant", check)
		require.Error(t, tested(t, m.Name, check), "%s does not notice", check)
		t.Logf("caught by %s", check)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.caught = append(h.caught, catch{Mutant: m, By: m.Checks, Seconds: time.Since(begun).Seconds()})
}

// tested runs a test that is named with its package, with a mutant. A test that is not there is none that fails.
func tested(t *testing.T, n mutant.Name, check string) error {
	at := strings.LastIndex(check, ".")
	test := exec.CommandContext(t.Context(), "go", "test", "-tags", "mutants", "-count=1", "-v", "-run", "^"+check[at+1:]+"$", "./"+check[:at])
	test.Dir, test.Env = filepath.Join("..", ".."), append(os.Environ(), mutant.Env+"="+string(n))
	said, err := test.CombinedOutput()
	require.Contains(t, string(said), "=== RUN   "+check[at+1:], "%s did not run", check)
	return err
}

// divide separates the checks that noticed something into those that were to and others.
func divide(failures []Failure, named []string) (by, others []string) {
	for _, f := range wrongs(failures) {
		if to := &others; !slices.Contains(append(by, others...), f.Check) {
			if slices.Contains(named, f.Check) {
				to = &by
			}
			*to = append(*to, f.Check)
		}
	}
	return by, others
}

// control is a seed without a mutant, run once for all who ask.
func (h *hunt) control(t *testing.T, c control) seedEnd {
	h.mu.Lock()
	once := h.controls[c]
	if once == nil {
		once = new(sync.Once)
		h.controls[c] = once
	}
	h.mu.Unlock()
	once.Do(func() {
		out := h.run(t, "", c.seed, c.workload)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.clean[c] = out
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clean[c]
}

// run runs a seed in a process of its own.
func (h *hunt) run(t *testing.T, n mutant.Name, seed uint64, workload string) seedEnd {
	file := filepath.Join(h.folder, fmt.Sprintf("%s-%d-%s.json", n, seed, workload))
	ctx, cancel := context.WithTimeout(t.Context(), childTimeout)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestOneSeed$", "-seed="+strconv.FormatUint(seed, 10), "-workload="+workload, "-outcome="+file)
	child.Env = append(os.Environ(), mutant.Env+"="+string(n))
	begun := time.Now()
	said, err := child.CombinedOutput()
	if err != nil {
		return seedEnd{Failures: []Failure{broken(t, ctx, said, err)}, Reached: -1, Seconds: time.Since(begun).Seconds()}
	}
	var out seedEnd
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &out))
	return out
}

// broken is how a process ended that did not come to its end.
func broken(t *testing.T, ctx context.Context, said []byte, err error) Failure {
	if ctx.Err() != nil {
		return Failure{"hang", fmt.Sprintf("no end within %v", childTimeout)}
	}
	for line := range strings.Lines(string(said)) {
		if text, ok := strings.CutPrefix(line, "panic: "); ok {
			return Failure{"panic", strings.TrimSpace(text)}
		}
	}
	require.NoError(t, err, "%s", said)
	return Failure{}
}

// table tells what caught what, as docs/results/mutants.md shows it.
func (h *hunt) table() string {
	var b bytes.Buffer
	commit, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	protocol, seconds := 0, 0.0
	place := map[mutant.Name]int{}
	for i, m := range mutant.All() {
		place[m.Name] = i
	}
	slices.SortFunc(h.caught, func(a, b catch) int { return place[a.Name] - place[b.Name] })
	survived := maps.Clone(place)
	for _, c := range h.caught {
		delete(survived, c.Name)
		seconds += c.Seconds
		if c.Kind == mutant.Protocol {
			protocol++
		}
	}
	fmt.Fprintf(&b, tableHead, strings.TrimSpace(string(commit)), len(h.caught), len(place), protocol, seconds, survivors(survived))
	for _, c := range h.caught {
		by := strings.Join(c.By, ", ")
		if len(c.Others) > 0 {
			by += " (also " + strings.Join(c.Others, ", ") + ")"
		}
		seeds := fmt.Sprintf("%d of %d", c.Seeds, c.Mutant.Seeds)
		if c.Mutant.Seeds == 0 {
			seeds = "a test"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s | %s | %.1f |\n", c.Name, c.Kind, c.Breaks, c.Site, by, seeds, c.Seconds)
	}
	return b.String()
}

// survivors says which mutants nothing has caught.
func survivors(of map[mutant.Name]int) string {
	if len(of) == 0 {
		return "None survived."
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		names = append(names, "`"+string(name)+"`")
	}
	return "**Not caught: " + strings.Join(names, ", ") + ".**"
}

// TestTheTableNamesWhatSurvived: a mutant that was not caught is in no row, and is named above them.
func TestTheTableNamesWhatSurvived(t *testing.T) {
	all := mutant.All()
	var h hunt
	for _, m := range all[1:] {
		h.caught = append(h.caught, catch{Mutant: m, By: []string{"causal"}})
	}
	require.Contains(t, h.table(), "**Not caught: `"+string(all[0].Name)+"`.**")
	require.NotContains(t, h.table(), "| `"+string(all[0].Name)+"` |")
	h.caught = append(h.caught, catch{Mutant: all[0], By: []string{"causal"}})
	require.Contains(t, h.table(), "None survived.")
}

const tableHead = `# Mutants and what caught them

Written by ` + "`make mutants`" + ` at commit %s: %d of %d mutants were caught, %d of them changed protocol decisions; the seeds
took %.0f s together, controls not counted. [Testing](../guides/testing.md#mutants) says what this is. A seed is ` +
	`4 simulated minutes of a cluster; "seeds" is how many were needed, of how many there may be. Where no load comes to what a mutant
breaks, a test of the package fails with it.

%s

| mutant | kind | what it breaks | where | caught by | seeds | seconds |
| --- | --- | --- | --- | --- | --- | --- |
`
