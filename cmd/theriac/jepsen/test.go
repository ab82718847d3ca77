package jepsen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/jepsen/runner"
	"github.com/theriac-db/theriac/jepsen/workload"
	"github.com/theriac-db/theriac/kv"
)

// runFlags are those that test and all share.
type runFlags struct {
	regions    int
	rate       float64
	workers    int
	seed       uint64
	out        string
	keep       bool
	namespaces bool
}

func (f *runFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.IntVar(&f.regions, "regions", runner.DefaultRegions, fmt.Sprintf("how many regions, a process each, 1 to %d", runner.MaxRegions))
	fs.Float64Var(&f.rate, "rate", runner.DefaultRate, "transactions a second of all callers together; 0: as many as answers allow")
	fs.IntVar(&f.workers, "workers", workload.DefaultWorkers, fmt.Sprintf("callers at a time, 1 to %d", workload.MaxWorkers))
	fs.BoolVar(&f.namespaces, "namespaces", false, "each region in a network namespace of its own, with nftables on its links, instead of proxies: Linux, as root, with the commands ip and nft")
}

// testFlags are those of test.
type testFlags struct {
	runFlags
	workload  string
	nemeses   []string
	timeLimit time.Duration
	json      bool
	cluster   []string
	insecure  bool
	tls       config.TLS
}

func (c *commands) testCommand() *cobra.Command {
	f := new(testFlags)
	cmd := &cobra.Command{
		Use: "test", Short: "run a workload under a nemesis, and check what clients saw", Args: cobra.NoArgs,
		Long: `Starts a node for each region as processes of this command on loopback, with every link between them under its
control, and runs a workload on them for --time-limit while the nemesis disturbs them. Then it heals everything, reads
all that was written in every region, stops the nodes, and prints the verdict of each checker. The folder --out holds
the history, the results, an HTML report (open it with any browser) and the logs of the nodes.

With --cluster it works on nodes that run already, one address for each region, and disturbs nothing: cut their links
yourself while it runs. What it writes goes into buckets of its own, jepsen-SEED and those that begin with it, and stays.

The exit code is 9 if a checker finds what must not be, or the run exercised too little to show anything, and 10 if a
checker gave up. An interrupt cancels all calls, stops the nodes and has the checkers judge
what there is; the verdict is then interrupted, and the exit code 5, unless one finds what must not be. A second
interrupt ends it at once.`,
		Example: "  theriac jepsen test --workload bank --nemesis partition --time-limit 60s\n" +
			"  theriac jepsen test --workload causal --nemesis kill-one,slow --regions 5 --rate 300 --seed 7\n" +
			"  theriac jepsen test --workload session --cluster localhost:6700,localhost:6710",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd.Flags()); err != nil {
				return err
			}
			return c.test(cmd.Context(), f)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.workload, "workload", "", "`NAME` of the workload; theriac jepsen list has them (required)")
	fs.StringSliceVar(&f.nemeses, "nemesis", []string{nemesis.None}, "`NAMES` of what disturbs the nodes, comma-separated; theriac jepsen list has them")
	fs.DurationVar(&f.timeLimit, "time-limit", runner.DefaultTimeLimit, "how long the load lasts, 1s to 24h")
	fs.Uint64Var(&f.seed, "seed", 0, "of what callers do and of the faults; 0: drawn")
	fs.StringVar(&f.out, "out", "", "`FOLDER` of the run, new or empty (default jepsen-WORKLOAD-SEED)")
	fs.BoolVar(&f.keep, "keep", false, "also keep the nodes' data")
	fs.BoolVar(&f.json, "json", false, "print the results as one JSON document")
	fs.StringSliceVar(&f.cluster, "cluster", nil, "`HOST:PORT` of a node of each region of a cluster that runs already, comma-separated")
	fs.BoolVar(&f.insecure, "insecure", false, "with --cluster: plaintext; loopback addresses only")
	fs.StringVar(&f.tls.CA, "tls-ca", "", "with --cluster: PEM `FILE` of the authorities that a node's certificate must come from")
	fs.StringVar(&f.tls.Cert, "tls-cert", "", "with --cluster: PEM `FILE` of the own certificate")
	fs.StringVar(&f.tls.Key, "tls-key", "", "with --cluster: PEM `FILE` of the own private key")
	f.register(cmd)
	return cmd
}

// check finds what no package below would say in terms of the flags.
func (f *testFlags) check(fs *pflag.FlagSet) error {
	if f.workload == "" {
		return kv.Errorf(kv.KindInvalid, "--workload: name one; theriac jepsen list has them")
	}
	for _, name := range f.nemeses {
		if strings.TrimSpace(name) == "" {
			return kv.Errorf(kv.KindInvalid, "--nemesis has an empty name: leave the flag out to disturb nothing, or name what theriac jepsen list has")
		}
	}
	if len(f.nemeses) == 0 {
		return kv.Errorf(kv.KindInvalid, "--nemesis is empty: leave the flag out to disturb nothing, or name what theriac jepsen list has")
	}
	if err := lasting("time-limit", f.timeLimit); err != nil {
		return err
	}
	if err := f.together(fs); err != nil {
		return err
	}
	if len(f.cluster) > 0 && !slices.Equal(f.nemeses, []string{nemesis.None}) {
		return kv.Errorf(kv.KindInvalid, "--nemesis %s: nodes that --cluster names can't be disturbed from here; leave --nemesis out, and cut their links or kill them yourself while the run lasts",
			strings.Join(f.nemeses, ","))
	}
	return nil
}

// lasting checks how long a load is to last.
func lasting(flag string, d time.Duration) error {
	if d < runner.MinTimeLimit || d > runner.MaxTimeLimit {
		return kv.Errorf(kv.KindInvalid, "--%s %s: want 1s to 24h", flag, d)
	}
	return nil
}

// together refuses flags that would have no effect. An empty --cluster is a variable of a script that is not set.
func (f *testFlags) together(fs *pflag.FlagSet) error {
	cluster := fs.Changed("cluster")
	if cluster && len(f.cluster) == 0 {
		return kv.Errorf(kv.KindInvalid, "--cluster: name an address for each region, or leave the flag out to have nodes started")
	}
	for _, name := range []string{"regions", "keep", "namespaces"} {
		if cluster && fs.Changed(name) {
			return kv.Errorf(kv.KindInvalid, "--%s is for nodes that this command starts, --cluster for others: choose one", name)
		}
	}
	for _, name := range []string{"insecure", "tls-ca", "tls-cert", "tls-key"} {
		if !cluster && fs.Changed(name) {
			return kv.Errorf(kv.KindInvalid, "--%s is for nodes that --cluster names, and none are named", name)
		}
	}
	return nil
}

func (c *commands) test(ctx context.Context, f *testFlags) error {
	if f.seed == 0 {
		f.seed = 1 + rand.Uint64N(1<<32)
	}
	if f.out == "" {
		f.out = fmt.Sprintf("jepsen-%s-%d", f.workload, f.seed)
	}
	config, err := c.config(&f.runFlags, f.workload, f.nemeses, f.timeLimit)
	if err != nil {
		return err
	}
	config.Command = f.command()
	if len(f.cluster) > 0 {
		if err := c.onExisting(ctx, f, &config); err != nil {
			return err
		}
	}
	line := c.progressLine(f.timeLimit)
	config.Progress = line.show
	out, err := runner.Run(ctx, config)
	line.end()
	if out == nil {
		return err
	}
	fmt.Fprintf(c.Err, "%s holds history, results and logs; open %s for the report\n", f.out, filepath.Join(f.out, runner.ReportFile))
	wrong := c.answer(out, f.json)
	if wrong == nil || err == nil {
		return cmp.Or(wrong, err)
	}
	return fmt.Errorf("%w; %w", wrong, err)
}

// config is that of a run on nodes of our own.
func (c *commands) config(f *runFlags, load string, nemeses []string, limit time.Duration) (runner.Config, error) {
	if f.regions < 1 || f.regions > runner.MaxRegions {
		return runner.Config{}, kv.Errorf(kv.KindInvalid, "--regions %d: want 1 to %d", f.regions, runner.MaxRegions)
	}
	if f.workers < 1 || f.workers > workload.MaxWorkers {
		return runner.Config{}, kv.Errorf(kv.KindInvalid, "--workers %d: want 1 to %d", f.workers, workload.MaxWorkers)
	}
	if !(f.rate >= 0) {
		return runner.Config{}, kv.Errorf(kv.KindInvalid, "--rate %g: want 0 (as many as answers allow) or more", f.rate)
	}
	if err := c.able(nemeses); err != nil {
		return runner.Config{}, err
	}
	regions, added := regionNames[:f.regions], regionNames[f.regions:f.regions+spareRegions]
	return runner.Config{
		Workload: load, Nemesis: nemeses, Regions: regions, New: added, Rate: f.rate, Workers: f.workers,
		TimeLimit: limit, Seed: f.seed, Out: f.out, Started: time.Now(),
		Open: func(ctx context.Context, dir string) (runner.Cluster, error) {
			return c.Open(ctx, Nodes{Dir: dir, Regions: regions, New: added, Keep: f.keep, Nemeses: nemeses, Namespaces: f.namespaces})
		},
	}, nil
}

// able says whether nodes of our own can be put under nemeses.
func (c *commands) able(nemeses []string) error {
	kinds, err := nemesis.Expand(nemeses)
	if err == nil {
		err = nemesis.Possible(kinds, c.Able)
	}
	if err != nil {
		return kv.Errorf(kv.KindInvalid, "%w", err)
	}
	return nil
}

// spareRegions may be added to those that a run begins with.
const spareRegions = 3

// regionNames are enough for all that may be asked for.
var regionNames = []string{"eu", "us", "ap", "sa", "af", "me", "au", "ca", "jp", "in", "uk", "mx"}

// command repeats the run.
func (f *testFlags) command() string {
	args := []string{"theriac jepsen test --workload", f.workload, "--nemesis", strings.Join(f.nemeses, ","), "--time-limit", f.timeLimit.String(),
		"--rate", fmt.Sprint(f.rate), "--seed", fmt.Sprint(f.seed)}
	if f.workers != workload.DefaultWorkers {
		args = append(args, "--workers", fmt.Sprint(f.workers))
	}
	if len(f.cluster) > 0 {
		return strings.Join(append(args, f.reach()...), " ")
	}
	args = append(args, "--regions", fmt.Sprint(f.regions))
	if f.namespaces {
		args = append(args, "--namespaces")
	}
	return strings.Join(args, " ")
}

// reach is how nodes that run already are reached.
func (f *testFlags) reach() []string {
	args := []string{"--cluster", strings.Join(f.cluster, ",")}
	if f.insecure {
		args = append(args, "--insecure")
	}
	for _, file := range []struct{ flag, name string }{{"--tls-ca", f.tls.CA}, {"--tls-cert", f.tls.Cert}, {"--tls-key", f.tls.Key}} {
		if file.name != "" {
			args = append(args, file.flag, file.name)
		}
	}
	return args
}

// onExisting has the run work on nodes that run already.
func (c *commands) onExisting(ctx context.Context, f *testFlags, config *runner.Config) error {
	cluster, err := dial(ctx, f)
	if err != nil {
		return err
	}
	config.Regions, config.New = cluster.Regions(), nil
	config.Open = func(context.Context, string) (runner.Cluster, error) { return cluster, nil }
	if err := config.Check(); err != nil { // what would keep Run from closing it
		return errors.Join(err, cluster.Close())
	}
	return nil
}
