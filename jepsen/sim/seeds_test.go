package sim

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/replication/causal"
)

var (
	seedFlag     = flag.Uint64("seed", 0, "first seed; 0: a new one")
	seedsFlag    = flag.Int("seeds", 1, "how many seeds")
	workloadFlag = flag.String("workload", "", "workload; empty: drawn by each seed")
	procsFlag    = flag.Int("procs", 1, "processes to spread the seeds over, each of which has one processor")
	outFlag      = flag.String("out", "", "folder for what failing seeds leave; empty: one for temporary files")
	keepFlag     = flag.Bool("keep", false, "keep what every seed leaves, not only the failing ones")
	reportFlag   = flag.String("report", "", "write the summary to this file, as markdown")
	partFlag     = flag.String("part", "", "K/N: run each N-th seed from the K-th on, and write reports to standard output as JSON (a process of -procs)")
)

// TestSeeds runs seeds, and fails when one of them does, or when none came through what so many should:
//
//	go test ./jepsen/sim -run TestSeeds -seeds 50 -procs 2 -v
func TestSeeds(t *testing.T) {
	base := *seedFlag
	if base == 0 {
		base = uint64(time.Now().UnixNano())
	}
	if *partFlag != "" {
		runPart(t, base)
		return
	}
	fmt.Println("A seed is one simulated cluster: everything that befalls it, and what callers do, is drawn from that number.")
	fmt.Printf("seeds from %d on: go test ./jepsen/sim -run TestSeeds -seed %d -seeds %d\n", base, base, *seedsFlag)
	var sum Summary
	began := time.Now()
	if *procsFlag <= 1 && *seedsFlag <= partSeeds {
		defer alone()()
		for i := range uint64(*seedsFlag) {
			tell(t, &sum, seeded(t, base+i))
		}
	} else {
		spread(t, &sum, base)
	}
	fmt.Printf("%sin %v\n", sum.String(), time.Since(began).Round(time.Second))
	for _, missing := range sum.Missing() {
		t.Error(missing)
	}
	if *reportFlag != "" {
		require.NoError(t, os.WriteFile(*reportFlag, []byte(sum.Markdown(*seedsFlag, made(t, base))), 0o644)) //nolint:gosec // a page of the documentation
	}
	if sum.Seeds < *seedsFlag {
		t.Fail()
	}
	fmt.Println(sum.Verdict(*seedsFlag))
}

// made says how a summary was made.
func made(t *testing.T, base uint64) string {
	commit, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	require.NoError(t, err)
	command := fmt.Sprintf("make sim SEEDS=%d SEED=%d", *seedsFlag, base)
	if *workloadFlag != "" {
		command += " WORKLOAD=" + *workloadFlag
	}
	return fmt.Sprintf("Written by `%s` at commit %s.", command, strings.TrimSpace(string(commit)))
}

// options of a seed. Where little is asked for (go test -short) a run is a short one.
func options(seed uint64) Options {
	o := Options{Seed: seed, Workload: *workloadFlag}
	if testing.Short() {
		o.Minutes, o.Txns = 2, 400
	}
	return o
}

// seeded runs a seed. That it did enough for a verdict is not asked of a short run.
func seeded(t *testing.T, seed uint64) *Report {
	r := Run(t, options(seed))
	if testing.Short() {
		r.Failures = wrongs(r.Failures)
	}
	return r
}

// wrongs leaves out that the run did too little for a verdict, which a short one may.
func wrongs(failures []Failure) []Failure {
	return slices.DeleteFunc(slices.Clone(failures), func(f Failure) bool {
		return f.Check == "exercised" || strings.HasPrefix(f.Text, "no verdict: ") || strings.HasPrefix(f.Text, "not exercised: ")
	})
}

// alone gives the process what a run wants: one processor, so that one goroutine runs at a time, and
// little collection of garbage.
func alone() (undo func()) {
	procs, percent := runtime.GOMAXPROCS(1), debug.SetGCPercent(400)
	return func() {
		runtime.GOMAXPROCS(procs)
		debug.SetGCPercent(percent)
	}
}

// tell notes a report, and fails the test with all that went wrong.
func tell(t *testing.T, sum *Summary, r *Report) {
	sum.Add(r)
	fmt.Println(r)
	if len(r.Failures) == 0 && !*keepFlag {
		return
	}
	if r.Log != "" { // else the process that ran it has saved it
		require.NoError(t, r.Save(folder(t, r)))
	}
	for _, f := range r.Failures {
		t.Errorf("seed %d: %s", r.Seed, f)
	}
	if len(r.Failures) > 0 {
		t.Errorf("seed %d: what it left is in %s; replay: %s", r.Seed, folder(t, r), r.Command())
	}
}

// folder is where a seed's history and log go.
func folder(t *testing.T, r *Report) string {
	dir := *outFlag
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "theriac-sim")
	}
	dir, err := filepath.Abs(filepath.Join(dir, fmt.Sprint(r.Seed)))
	require.NoError(t, err)
	return dir
}

// partLine is a line of what a part writes: the seed that it begins, or what came of it.
type partLine struct {
	Begins uint64  `json:",omitempty"`
	Report *Report `json:",omitempty"`
}

// partMark begins such lines, among those of the testing package.
const partMark = "sim:"

// runPart runs the seeds of one process.
func runPart(t *testing.T, base uint64) {
	var k, n uint64
	_, err := fmt.Sscanf(*partFlag, "%d/%d", &k, &n)
	require.NoError(t, err)
	require.NotZero(t, n)
	defer alone()()
	say := func(l partLine) {
		line, err := json.Marshal(l)
		require.NoError(t, err)
		fmt.Printf("%s%s\n", partMark, line)
	}
	for i := k; i < uint64(*seedsFlag); i += n {
		say(partLine{Begins: base + i})
		r := seeded(t, base+i)
		if len(r.Failures) > 0 || *keepFlag {
			require.NoError(t, r.Save(folder(t, r)))
		}
		say(partLine{Report: r})
	}
}

// partSeeds is how many seeds one process runs at most. A seed in which a disk fails leaves goroutines behind that
// wait for ever, and tens of megabytes with them: what gives these back is the end of the process.
const partSeeds = 50

// parts is how many processes run so many seeds, of which so many are to run at a time.
func parts(seeds, procs int) int {
	return max(procs, (seeds+partSeeds-1)/partSeeds, 1)
}

// spread runs the seeds in several processes, so many of them at a time.
func spread(t *testing.T, sum *Summary, base uint64) {
	self, err := os.Executable()
	require.NoError(t, err)
	var mu sync.Mutex
	var all sync.WaitGroup
	turn := make(chan struct{}, max(*procsFlag, 1))
	n := parts(*seedsFlag, *procsFlag)
	for k := range n {
		all.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			err := runProcess(t.Context(), self, base, fmt.Sprintf("%d/%d", k, n), func(r *Report) {
				mu.Lock()
				defer mu.Unlock()
				tell(t, sum, r)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// runProcess has a process run a part of the seeds, and hands on its reports.
func runProcess(ctx context.Context, self string, base uint64, part string, report func(*Report)) error {
	cmd := exec.CommandContext(ctx, self, "-test.run", "^TestSeeds$", "-test.timeout", "0", fmt.Sprintf("-test.short=%t", testing.Short()),
		"-seed", fmt.Sprint(base), "-seeds", fmt.Sprint(*seedsFlag), "-workload", *workloadFlag, "-out", *outFlag,
		fmt.Sprintf("-keep=%t", *keepFlag), "-part", part)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	stuck := time.AfterFunc(stuckAfter, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) }) // it then tells where
	defer stuck.Stop()
	began, rest := readPart(out, func(r *Report) {
		stuck.Reset(stuckAfter)
		report(r)
	})
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("the process of part %s: %w; the last seed that it began is %d (make sim SEED=%d)\n%s", part, err, began, began, rest)
	}
	return nil
}

// stuckAfter is how long a seed may take of real time. One that takes longer has come to a stop: where a
// goroutine waits for a mutex that another holds for good, or while time passes, a bubble stands still.
const stuckAfter = 20 * time.Minute

// maxRest bounds what is kept of what a part says beside its reports, in bytes.
const maxRest = 1 << 20

// readPart reads what a part writes until it ends.
func readPart(from io.Reader, report func(*Report)) (began uint64, rest string) {
	in := bufio.NewReader(from)
	for {
		line, err := in.ReadString('\n')
		text, ours := strings.CutPrefix(line, partMark)
		var l partLine
		switch {
		case ours && json.Unmarshal([]byte(text), &l) == nil:
			began = max(l.Begins, began)
			if l.Report != nil {
				report(l.Report)
			}
		case len(rest) < maxRest:
			rest += line
		}
		if errors.Is(err, io.EOF) || err != nil {
			return began, rest
		}
	}
}

func TestWhatNoSeedReachedIsMissed(t *testing.T) {
	var sum Summary
	for range 10 {
		sum.Add(&Report{Reached: map[string]int{"crash": 1, "cut taken": 3}, Failures: []Failure{{"causal", "x"}}})
	}
	require.Len(t, sum.Failed, 10)
	missing := strings.Join(sum.Missing(), "\n")
	require.Contains(t, missing, `"closure checked" was not reached in 10 seeds`)
	require.NotContains(t, missing, "cut taken")
	require.NotContains(t, missing, "fault clock", "10 seeds are not enough to expect it")
}

func TestLongRunsAreOfManyProcesses(t *testing.T) {
	require.Equal(t, 2, parts(1, 2))
	require.Equal(t, 1, parts(partSeeds, 1))
	require.Equal(t, 2, parts(partSeeds+1, 1))
	require.Equal(t, 40, parts(2000, 2))
}

func TestAProcessThatEndsEarlyIsNoticed(t *testing.T) {
	var got []*Report
	text := "=== RUN TestSeeds\nsim:{\"Begins\":7}\nsim:{\"Report\":{\"Seed\":7}}\nsim:{\"Begins\":9}\npanic: causal: x\n"
	began, rest := readPart(strings.NewReader(text), func(r *Report) { got = append(got, r) })
	require.EqualValues(t, 9, began)
	require.Len(t, got, 1)
	require.Equal(t, "=== RUN TestSeeds\npanic: causal: x\n", rest)
}

func TestTheLastLineSaysWhetherASeedFailed(t *testing.T) {
	var sum Summary
	sum.Add(&Report{Seed: 8, Regions: 3, Workload: "bank", Faults: map[string]int{"kill-one": 4}})
	sum.Add(&Report{Seed: 7, Regions: 5, Workload: "bank", Faults: map[string]int{"kill-one": 1, "slow": 2}})
	require.Equal(t, "2 seeds, none failed", sum.Verdict(2))
	require.Equal(t, "1 of 3 seeds came to no end", sum.Verdict(3))
	sum.Add(&Report{Seed: 9, Asked: "bank", Failures: []Failure{{"causal", "x"}}})
	require.Equal(t, "1 of 3 seeds failed; replay: make sim SEED=9 WORKLOAD=bank", sum.Verdict(3))
	for range maxReplays {
		sum.Add(&Report{Seed: 9, Failures: []Failure{{"causal", "x"}}})
	}
	require.Contains(t, sum.Verdict(13), "make sim SEED=9; and 1 more; ")
	require.Contains(t, sum.Verdict(13), "paths that so many seeds should come through were not reached")
	page := sum.Markdown(13, "Written by hand.")
	for _, line := range []string{"# Simulation", "Written by hand.", "| seeds | 13 |", "| first seed | 7 |", "| kill-one | 5 |", "| slow | 2 |", "| 3 | 1 |", "| bank | 2 |"} {
		require.Contains(t, page, line)
	}
}

// What a failing seed leaves can be read again.
func TestAReportIsSaved(t *testing.T) {
	dir := t.TempDir()
	h := &history.History{Header: history.Header{Version: history.Version, Workload: "mixed", Regions: []string{"eu"}}}
	c := newRecording("eu", causal.Start{Self: clock.Lane{Region: 1}})
	r := &Report{Seed: 3, Asked: "bank", Plan: "plan", Log: "log", History: h, Failures: []Failure{{"causal", "x"}}, cores: []*recording{c}}
	require.NoError(t, r.Save(dir))
	read, err := history.ReadFile(filepath.Join(dir, "history.jsonl"))
	require.NoError(t, err)
	require.Equal(t, h.Header, read.Header)
	src, err := os.ReadFile(filepath.Join(dir, "core-00-eu.bin"))
	require.NoError(t, err)
	again, err := decodeRecording(src)
	require.NoError(t, err)
	require.Equal(t, c.start.Self, again.start.Self)
	require.Equal(t, "make sim SEED=3 WORKLOAD=bank", r.Command())
	require.ErrorContains(t, r.Save(filepath.Join(dir, "log.txt", "x")), "not a directory")
}
