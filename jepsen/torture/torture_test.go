package torture

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "seed of what is drawn; 0: a new one")
	killsFlag  = flag.Int("kills", 15, "kills of a real node")
	cutsFlag   = flag.Int("cuts", 300, "simulated power cuts")
	keepFlag   = flag.String("keep", "", "folder for what fails; empty: one in the folder for temporary files")
	hoursFlag  = flag.Duration("limit", 0, "end each of both parts after so long, at whatever count; 0: never")
	reportFlag = flag.String("report", "", "write what was exercised to this file")
	loudFlag   = flag.Bool("loud", false, "print the progress")
)

// Counts from which a run is long: everything that is wanted must be hit.
const (
	longKills = 200
	longCuts  = 2000
	// slowOf is of how many kills of a long run one is at a moment that takes 10 s to come.
	slowOf = 40
)

// longestWorld bounds the life of a world, in real time: one whose goroutines wait for each other would
// last for ever, since the time of a bubble stands still then. All of them are printed.
const longestWorld = 10 * time.Minute

// section is what one part of a run writes to the report.
type section struct {
	name, text string
}

var (
	writing  sync.Mutex
	sections []section // in no order
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if *reportFlag != "" && code == 0 {
		if err := writeReport(*reportFlag); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func writeReport(name string) error {
	commit, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return fmt.Errorf("git describe: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Torture\n\nWritten by `make torture KILLS=%d CUTS=%d SEED=%d` at commit %s. [Testing](../guides/testing.md#torture) says\n"+
		"what a kill and a cut are, and what is verified after each. Everything was as promised after every one of them.\n",
		*killsFlag, *cutsFlag, drawn(), strings.TrimSpace(string(commit)))
	slices.SortFunc(sections, func(a, b section) int { return strings.Compare(a.name, b.name) })
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n%s", s.name, s.text)
	}
	return os.WriteFile(name, []byte(b.String()), 0o644) //nolint:gosec // a page of the documentation
}

// drawn is the seed of all tests of a run.
var drawn = sync.OnceValue(func() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return uint64(time.Now().UnixNano()) % 1e9
})

// seed draws a seed unless one is given, and says how to run the test with it again.
func seed(t *testing.T) uint64 {
	s := drawn()
	t.Logf("replay: go test ./jepsen/torture -run '^%s$' -kills %d -cuts %d -seed %d", t.Name(), *killsFlag, *cutsFlag, s)
	return s
}

// kept is a folder for what fails. It stays only if something does.
func kept(t *testing.T) string {
	dir, err := os.MkdirTemp(*keepFlag, "theriac-torture-")
	require.NoError(t, err)
	t.Cleanup(func() {
		if !t.Failed() {
			require.NoError(t, os.RemoveAll(dir))
		}
	})
	return dir
}

func until() time.Time {
	if *hoursFlag == 0 {
		return time.Time{}
	}
	return time.Now().Add(*hoursFlag)
}

// count is how many kills or cuts a run makes.
func count(of, short int) int {
	if testing.Short() {
		return min(of, short)
	}
	return of
}

// follow prints the progress of a run now and then, until it is stopped.
func follow(t *testing.T, tally *Tally, what string, of int) (stop func()) {
	if !*loudFlag {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(15 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Printf("%s: %d of %d, %.1f/s, %d verifications\n", what, tally.Get(what), of, tally.Rate(what), tally.Get("verifications"))
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// conclude prints the summary and checks that everything was hit, if the run was long enough for that.
func conclude(t *testing.T, tally *Tally, what string, wanted []string, long bool) {
	title := fmt.Sprintf("%d %s", tally.Get(what), what)
	text := fmt.Sprintf("In %s, %.1f a second.\n\n%s", time.Since(tally.began).Round(time.Second), tally.Rate(what), tally.Table())
	t.Logf("%s\n%s", title, text)
	writing.Lock()
	sections = append(sections, section{title, text})
	writing.Unlock()
	require.NotZero(t, tally.Get("verifications"))
	require.NotZero(t, tally.Get("tokens honoured"))
	if long {
		require.Empty(t, tally.Missing(wanted), "never hit")
	}
}

// TestKills kills a real node on a real disk.
func TestKills(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "theriac")
	out, err := exec.Command("go", "build", "-o", binary, "../../cmd/theriac").CombinedOutput()
	require.NoError(t, err, "%s", out)
	kills := count(*killsFlag, 5)
	k := &Kills{Binary: binary, Dir: kept(t), Seed: seed(t), Count: kills, Tally: NewTally(), Until: until()}
	if kills >= longKills {
		k.Slow = kills / slowOf
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stop := follow(t, k.Tally, "kills", kills)
	err = k.Run(ctx)
	stop()
	require.NoError(t, err)
	conclude(t, k.Tally, "kills", k.Wanted(), kills >= longKills)
}

// TestCuts cuts the power of simulated regions.
func TestCuts(t *testing.T) {
	t.Parallel()
	c := &Cuts{Dir: kept(t), Tally: NewTally()}
	cuts, first, end := count(*cutsFlag, 40), seed(t), until()
	var next atomic.Uint64
	stop := follow(t, c.Tally, "cuts", cuts)
	t.Run("worlds", func(t *testing.T) {
		for i := range 2 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for c.Tally.Get("cuts") < cuts && !t.Failed() && !over(end) {
					seed := first + next.Add(1) - 1
					stuck := time.AfterFunc(longestWorld, func() {
						debug.SetTraceback("all")
						panic(fmt.Sprintf("the world of seed %d is stuck", seed))
					})
					synctest.Test(t, func(t *testing.T) {
						require.NoError(t, c.World(t.Context(), seed), "replay this world: go test ./jepsen/torture -run '^TestCuts$' -cuts 1 -seed %d", seed)
					})
					stuck.Stop()
				}
			})
		}
	})
	stop()
	conclude(t, c.Tally, "cuts", c.Wanted(), cuts >= longCuts)
}
