package jepsen

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/jepsen/runner"
	"github.com/theriac-db/theriac/jepsen/workload"
	"github.com/theriac-db/theriac/kv"
)

// allFlags are those of all.
type allFlags struct {
	runFlags
	timeLimit, each    time.Duration
	workloads, nemeses []string
}

// summaryPage is the summary for people, beside runner.SummaryFile.
const summaryPage = "summary.md"

func (c *commands) allCommand() *cobra.Command {
	f := new(allFlags)
	cmd := &cobra.Command{
		Use: "all", Short: "run every workload under every nemesis, until the time is over", Args: cobra.NoArgs,
		Long: `Makes runs as theriac jepsen test does, of every workload under every nemesis in an order that the seed draws, again
and again with other seeds, until --time-limit is over. It prints a line for each, and a table in the end, and keeps
summary.json and summary.md in the folder --out; of runs that are not valid, and of all with --keep, history and logs
too. After an interruption the same command, of the same build, goes on with the next run. Without --nemeses it says which
it leaves out, and why. A run that can't be made counts as invalid; after three in a row it gives up.

The exit code is 9 if a run is invalid, and 10 if none is but more than 1% of the checkers' verdicts are unknown.`,
		Example: "  theriac jepsen all --time-limit 2h --each 20s --out matrix\n" +
			"  theriac jepsen all --workloads bank,session --nemeses partition+kill-one,pause --each 30s --time-limit 10m",
		RunE: func(cmd *cobra.Command, _ []string) error { return c.all(cmd.Context(), f) },
	}
	fs := cmd.Flags()
	fs.DurationVar(&f.timeLimit, "time-limit", time.Hour, "no run begins after this `duration`")
	fs.DurationVar(&f.each, "each", 30*time.Second, "`duration` of the load of each run; where several kinds of faults take turns a run has 5s for each at least")
	fs.StringSliceVar(&f.workloads, "workloads", nil, "`NAMES`, comma-separated (default all)")
	fs.StringSliceVar(&f.nemeses, "nemeses", nil, "`NAMES`, comma-separated, with + between those of one run (default each kind that can be brought about, none, and all together)")
	fs.Uint64Var(&f.seed, "seed", 1, "of the first run; the next one has the next")
	fs.StringVar(&f.out, "out", "jepsen-all", "`FOLDER` of the runs")
	fs.BoolVar(&f.keep, "keep", false, "keep history, logs and data of valid runs, too")
	f.register(cmd)
	return cmd
}

func (c *commands) all(ctx context.Context, f *allFlags) error {
	m, err := c.matrix(f)
	if err != nil {
		return err
	}
	s, err := m.Run(ctx)
	if s == nil {
		return err
	}
	if wrote := writePage(filepath.Join(f.out, summaryPage), s); err == nil {
		err = wrote
	}
	if said := c.say("\n" + s.Table() + "\n" + totals(s)); err == nil {
		err = said
	}
	if err != nil {
		return err
	}
	t := s.Totals()
	return failed(s.Verdict(), fmt.Sprintf("%d of %d runs are invalid; %.2f%% of all verdicts are unknown", t.Verdicts[checker.Invalid], t.Runs, 100*t.UnknownShare()))
}

// matrix is what the flags ask for. Every pair is checked before the first run.
func (c *commands) matrix(f *allFlags) (*runner.Matrix, error) {
	if err := lasting("each", f.each); err != nil {
		return nil, err
	}
	if f.timeLimit <= 0 {
		return nil, kv.Errorf(kv.KindInvalid, "--time-limit %s: want more than 0s, for a run to begin", f.timeLimit)
	}
	if _, err := c.config(&f.runFlags, "", []string{nemesis.None}, f.each); err != nil {
		return nil, err
	}
	if f.workloads == nil {
		for _, w := range workload.All() {
			f.workloads = append(f.workloads, w.Name)
		}
	}
	var left []runner.LeftOut
	if f.nemeses == nil {
		f.nemeses, left = c.possible(f)
	}
	for _, l := range left {
		fmt.Fprintf(c.Err, "left out: nemesis %s: %s\n", l.Nemesis, l.Why)
	}
	settings, err := f.settings()
	if err != nil {
		return nil, err
	}
	m := &runner.Matrix{Workloads: f.workloads, Nemeses: f.nemeses, LeftOut: left, TimeLimit: f.timeLimit, Seed: f.seed, Out: f.out,
		Keep: f.keep, Settings: settings}
	line := c.progressLine(f.each)
	m.Make = func(workload, names string, seed uint64, out string) (runner.Config, error) {
		of := f.runFlags
		of.seed, of.out = seed, out
		nemeses := strings.Split(names, "+")
		each := max(f.each, nemesis.RoomFor(nemeses))
		config, err := c.config(&of, workload, nemeses, each)
		if err != nil {
			return config, err
		}
		config.Command = (&testFlags{runFlags: of, workload: workload, nemeses: config.Nemesis, timeLimit: each}).command()
		if c.Terminal {
			line.title, line.limit = fmt.Sprintf("%s under %s: ", workload, names), each
			config.Progress = line.show
		}
		return config, nil
	}
	m.Done = func(r runner.Row) {
		line.end()
		fmt.Fprint(c.Err, tellRow(&r))
	}
	for _, w := range f.workloads {
		for _, n := range f.nemeses {
			config, err := m.Make(w, n, f.seed, f.out)
			if err == nil {
				err = config.Check()
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// settings are all that a run depends on beside its workload, nemesis and seed, this program included.
func (f *allFlags) settings() (map[string]string, error) {
	program, err := fingerprint()
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"regions": fmt.Sprint(f.regions), "rate": fmt.Sprintf("%g transactions a second", f.rate), "callers": fmt.Sprint(f.workers),
		"load of each run": f.each.String(), "links": map[bool]string{true: "network namespaces", false: "proxies"}[f.namespaces],
		"program": program,
	}, nil
}

// fingerprint tells this program from any other build: nodes are processes of it.
func fingerprint() (string, error) {
	name, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this command: %w", err)
	}
	file, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("reading this command: %w", err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", fmt.Errorf("reading this command: %w", err)
	}
	return fmt.Sprintf("SHA-256 %x", sum.Sum(nil)[:8]), nil
}

// possible are the nemeses that nodes of our own, this many, can be put under in the time of a run, and those that they can't.
func (c *commands) possible(f *allFlags) (names []string, left []runner.LeftOut) {
	for _, e := range nemesis.List() {
		if e.Name == nemesis.Partition || e.Name == nemesis.Kill {
			continue // their kinds are in the list one by one
		}
		plan := nemesis.Plan{Seed: f.seed, Regions: regionNames[:f.regions], New: regionNames[len(regionNames)-spareRegions:], Kinds: []string{e.Name}, Duration: f.each}
		_, err := plan.Schedule()
		if err == nil {
			err = c.able(plan.Kinds)
		}
		if err != nil {
			why := strings.TrimPrefix(strings.Join(strings.Fields(err.Error()), " "), "nemesis "+e.Name)
			left = append(left, runner.LeftOut{Nemesis: e.Name, Why: strings.TrimLeft(why, ": ")})
			continue
		}
		names = append(names, e.Name)
	}
	return names, left
}

func tellRow(r *runner.Row) string {
	text := fmt.Sprintf("%4d  %-8s %s under %s, seed %d: %d transactions, %d faults, %.0f s\n", r.Number, r.Verdict, r.Workload, r.Nemesis, r.Seed, r.Txns, total(r.Faults), r.Seconds)
	if r.Error != "" {
		text += "      - " + r.Error + "\n"
	}
	for _, found := range r.Found {
		text += "      - " + cut(found, 400) + "\n"
	}
	return text
}

func totals(s *runner.Summary) string {
	t := s.Totals()
	return fmt.Sprintf("%s: %d runs in %s, %d valid, %d invalid, %d unknown; %d transactions, %d faults; %.2f%% of the checkers' verdicts are unknown; %s\n",
		s.Verdict(), t.Runs, t.Lasted(), t.Verdicts[checker.Valid], t.Verdicts[checker.Invalid], t.Verdicts[checker.Unknown], t.Txns, total(t.Faults), 100*t.UnknownShare(), t.Weaker())
}

func writePage(name string, s *runner.Summary) error {
	var b bytes.Buffer
	if err := s.Markdown(&b); err != nil {
		return err
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	return nil
}
