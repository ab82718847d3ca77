package jepsen

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/cmd/theriac/cli"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/jepsen/runner"
	"github.com/theriac-db/theriac/jepsen/workload"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// regions in memory.
type regions struct {
	*embedded.Cluster
	db func(region string) *client.DB
}

func (r regions) DB(region string) *client.DB { return r.db(region) }

// cutter can cut links and nothing else.
type cutter struct{ nemesis.Cutter }

func honest(ctx context.Context, n Nodes) (runner.Cluster, error) {
	c, err := embedded.StartCluster(ctx, embedded.ClusterOptions{Regions: n.Regions})
	if err != nil {
		return nil, err
	}
	return regions{c, c.DB}, nil
}

// lying nodes acknowledge one of three writes without making it.
func lying(ctx context.Context, n Nodes) (runner.Cluster, error) {
	c, err := embedded.StartCluster(ctx, embedded.ClusterOptions{Regions: n.Regions})
	if err != nil {
		return nil, err
	}
	calls := new(atomic.Int64)
	return regions{c, func(region string) *client.DB { return client.New(forgetful{c.Service(region), calls}) }}, nil
}

type forgetful struct {
	kv.Service
	calls *atomic.Int64
}

func (f forgetful) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	if len(req.Ops) > 0 && f.calls.Add(1)%3 == 0 {
		req.Ops = nil
	}
	return f.Service.Do(ctx, req)
}

// exec runs theriac jepsen in a folder of its own.
func exec(t *testing.T, o Options, line string) (code int, stdout, stderr string) {
	return execIn(t, t.Context(), o, line)
}

func execIn(t *testing.T, ctx context.Context, o Options, line string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	o.Out, o.Err = &out, &errs
	app := cli.App{Stdin: &bytes.Buffer{}, Stdout: &out, Stderr: &errs, Commands: func() []*cobra.Command { return []*cobra.Command{Command(o)} }}
	code = app.Run(ctx, append([]string{"jepsen"}, strings.Fields(line)...))
	return code, out.String(), errs.String()
}

// TestATestOnNodesInMemory: the verdicts are printed, and the folder tells where.
func TestATestOnNodesInMemory(t *testing.T) {
	t.Chdir(t.TempDir())
	code, stdout, stderr := exec(t, Options{Open: honest}, "test --workload set-aw --time-limit 2s --rate 100 --seed 9")
	require.Equal(t, cli.ExitOK, code, stdout+stderr)
	require.Contains(t, stdout, "valid    convergence")
	require.Contains(t, stderr, "open jepsen-set-aw-9/report.html for the report")
	page, err := os.ReadFile("jepsen-set-aw-9/report.html")
	require.NoError(t, err)
	require.Contains(t, string(page), "theriac jepsen test --workload set-aw --nemesis none --time-limit 2s --rate 100 --seed 9 --regions 3")

	code, stdout, stderr = exec(t, Options{}, "check jepsen-set-aw-9/history.jsonl --report again.html --json")
	require.Equal(t, cli.ExitOK, code, stderr)
	out := new(runner.Outcome)
	require.NoError(t, json.Unmarshal([]byte(stdout), out))
	require.Positive(t, out.Txns)
	require.FileExists(t, "again.html")
}

// TestALieHasAnExitCode: from a planted anomaly to the exit code, by the run and by the history alone.
func TestALieHasAnExitCode(t *testing.T) {
	t.Chdir(t.TempDir())
	code, stdout, stderr := exec(t, Options{Open: lying, Terminal: true}, "test --workload set-aw --time-limit 2s --rate 100 --out lie")
	require.Equal(t, cli.ExitInvalid, code, stdout+stderr)
	require.Contains(t, stdout, "invalid  lost-writes")
	require.Contains(t, stdout, "- lost write: ")
	require.Contains(t, stderr, "theriac jepsen test: invalid: ")
	code, stdout, _ = exec(t, Options{}, "check lie/history.jsonl")
	require.Equal(t, cli.ExitInvalid, code)
	require.Contains(t, stdout, "invalid  lost-writes")
}

// write writes a history of a few lines.
func write(t *testing.T, lines ...string) string {
	name := filepath.Join(t.TempDir(), "history.jsonl")
	require.NoError(t, os.WriteFile(name, []byte(strings.Join(lines, "")), 0o600))
	return name
}

const (
	header = `{"history":2,"workload":"counter","regions":["eu","us"]}` + "\n"
	added  = `{"txn":{"id":1,"process":1,"region":"eu","level":"causal","durability":"local","start":1,"end":2,"outcome":"ok","ops":[{"do":"add","key":"a","type":"counter","arg":{"int":1}}]}}` + "\n"
)

// TestAHistoryThatIsTooSmallOrUndecided: each has its exit code.
func TestAHistoryThatIsTooSmallOrUndecided(t *testing.T) {
	code, stdout, _ := exec(t, Options{}, "check "+write(t, header, added))
	require.Equal(t, cli.ExitInvalid, code)
	require.Contains(t, stdout, "not exercised")
	code, stdout, stderr := exec(t, Options{}, "check --checker compare-and-set "+write(t, header))
	require.Equal(t, cli.ExitUndecided, code, stdout)
	require.Contains(t, stdout, "valid    compare-and-set  there was nothing to judge")
	require.Contains(t, stderr, "undecided: no checker found anything to judge")
	lines := []string{header}
	for i := range 30 {
		lines = append(lines, strings.Replace(added, `"id":1,"process":1`, fmt.Sprintf(`"id":%d,"process":%d`, i+1, i+1), 1))
	}
	code, stdout, stderr = exec(t, Options{}, "check --checker lost-writes "+write(t, lines...))
	require.Equal(t, cli.ExitUndecided, code, stdout)
	require.Contains(t, stdout, "unknown  lost-writes  gave up: 1 places with acknowledged writes were not read")
	require.Contains(t, stderr, "undecided: lost-writes gave up")
}

// TestHistoriesThatCanNotBeRead: each mistake names its line and what to do, and is one of the input.
func TestHistoriesThatCanNotBeRead(t *testing.T) {
	for says, name := range map[string]string{
		"line 3: it is cut off: no line feed ends it; delete this line to check what is before it": write(t, header, added, `{"txn":{"id":2`),
		"line 2: malformed":           write(t, header, "{]\n"),
		"line 1: no header":           write(t, added),
		"the file is empty":           write(t),
		"there is no file ":           filepath.Join(t.TempDir(), "none"),
		`there is no workload "mine"`: write(t, strings.Replace(header, "counter", "mine", 1), added),
	} {
		code, stdout, stderr := exec(t, Options{}, "check "+name)
		require.Equal(t, cli.ExitUsage, code, stderr)
		require.Empty(t, stdout)
		require.Contains(t, stderr, says)
	}
	good := write(t, header, added)
	code, _, stderr := exec(t, Options{}, "check --checker nonsense "+good)
	require.Equal(t, cli.ExitUsage, code)
	require.Contains(t, stderr, `no checker "nonsense" judges this history: choose of causal, `)
	code, _, stderr = exec(t, Options{}, "check --report "+filepath.Join(good, "below")+" "+good)
	require.Equal(t, cli.ExitUsage, code)
	require.Contains(t, stderr, "--report: ")
}

// TestListNamesEverything: all workloads, nemeses and checkers, a line each.
func TestListNamesEverything(t *testing.T) {
	code, stdout, stderr := exec(t, Options{}, "list")
	require.Equal(t, cli.ExitOK, code, stderr)
	for _, w := range workload.All() {
		require.Contains(t, stdout, "\n  "+w.Name+" ")
		checkers, err := workload.Checkers(&history.Header{Workload: w.Name})
		require.NoError(t, err)
		for _, c := range checkers {
			require.Contains(t, stdout, "\n  "+c.Name()+" ")
		}
	}
	for _, n := range nemesis.List() {
		require.Contains(t, stdout, "\n  "+n.Name+" ")
	}
}

// TestMistakesStartNothing: of the command line, of workloads and nemeses, of folders.
func TestMistakesStartNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	never := Options{Open: func(context.Context, Nodes) (runner.Cluster, error) { panic("started") }, Able: cutter{}}
	require.NoError(t, os.Mkdir("full", 0o700))
	require.NoError(t, os.WriteFile("full/mine", nil, 0o600))
	for line, says := range map[string]string{
		"":                        "want a verb: all, check, list or test",
		"nonsense":                "nonsense",
		"test":                    "--workload: name one; theriac jepsen list has them",
		"test --workload nothing": `there is no workload "nothing": choose one of append, bank, `,
		"test --workload counter --nemesis nothing":                   "nothing",
		"test --workload counter --nemesis pause":                     "this cluster can't",
		"test --workload counter --regions 0":                         "--regions 0: want 1 to 9",
		"test --workload counter --regions 1 --nemesis partition":     "region",
		"test --workload counter --time-limit 1ms":                    "want 1s to 24h",
		"test --workload counter --nemesis partition --time-limit 3s": "3s",
		"test --workload counter --out full":                          "holds something, such as mine",
		"test --workload counter --bucket b":                          "takes no --bucket",
		"test --workload counter extra":                               "extra",
		"all --workloads nothing":                                     `there is no workload "nothing"`,
		"all --nemeses nothing":                                       "nothing",
		"all --regions 99":                                            "--regions 99",
		"all --workloads counter --each 1ms":                          "want 1s to 24h",
		"check":                                                       "name one history, such as jepsen-bank-7/history.jsonl; 0 are named",
		"test --workload counter --cluster h:1 --nemesis pause":       "can't be disturbed from here",
		"test --workload counter --workers 0":                         "--workers 0: want 1 to 1000",
		"test --workload counter --cluster=":                          "--cluster: name an address",
		"test --workload counter --cluster h:1 --regions 2":           "choose one",
		"test --workload counter --insecure":                          "--insecure is for nodes that --cluster names",
		"test --workload counter --cluster h:1 --namespaces":          "choose one",
		"test --workload counter --cluster h:1 --insecure":            "--insecure is for loopback only and --cluster h:1 is not",
		"test --workload counter --cluster localhost":                 `theriac jepsen test: --cluster "localhost": want HOST:PORT`,
		"test --workload counter --workers 1001":                      "--workers 1001: want 1 to 1000",
		"test --workload counter --rate NaN":                          "--rate NaN: want 0",
		"test --workload counter --time-limit 0s":                     "--time-limit 0s: want 1s to 24h",
		"test --workload counter --nemesis=":                          "--nemesis is empty: leave the flag out",
		"test --workload counter --nemesis pause,":                    "--nemesis has an empty name: leave the flag out",
		"all --each 0s":                                               "--each 0s: want 1s to 24h",
		"all --time-limit 0s":                                         "--time-limit 0s: want more than 0s",
		"check a b":                                                   "2 are named",
		"test --workload counter --cluster h:1 --tls-cert c":          "--tls-cert and --tls-key go together",
		"test --workload counter --cluster h:1 --tls-ca /dev/null":    "--tls-ca",
	} {
		code, _, stderr := exec(t, never, line)
		require.Equal(t, cli.ExitUsage, code, "%s: %s", line, stderr)
		require.Contains(t, stderr, says, line)
	}
}

// TestNodesThatDoNotStart: the error of whoever starts them is told, with its kind.
func TestNodesThatDoNotStart(t *testing.T) {
	t.Chdir(t.TempDir())
	denied := Options{Open: func(_ context.Context, n Nodes) (runner.Cluster, error) {
		require.True(t, n.Namespaces && n.Keep)
		require.Len(t, n.Regions, 5)
		return nil, kv.Errorf(kv.KindDenied, "network namespaces take root")
	}}
	code, _, stderr := exec(t, denied, "test --workload counter --namespaces --keep --regions 5")
	require.Equal(t, cli.ExitFailure, code)
	require.Contains(t, stderr, "starting the cluster: network namespaces take root")
}

// TestAnInterruptIsAVerdict: what there is is judged, and the exit code is that of any interrupt.
func TestAnInterruptIsAVerdict(t *testing.T) {
	t.Chdir(t.TempDir())
	ctx, interrupt := context.WithCancel(t.Context())
	o := Options{Open: func(ctx context.Context, n Nodes) (runner.Cluster, error) {
		c, err := honest(ctx, n)
		if err == nil {
			r := c.(regions)
			calls := new(atomic.Int64)
			c = regions{r.Cluster, func(region string) *client.DB {
				if calls.Add(1) == 100 {
					interrupt()
				}
				return r.Cluster.DB(region)
			}}
		}
		return c, err
	}}
	code, stdout, stderr := execIn(t, ctx, o, "test --workload counter --time-limit 1h --out run")
	require.Equal(t, cli.ExitUnavailable, code, stderr)
	require.Regexp(t, "theriac jepsen test: interrupted after [0-9]+s of 1h0m0s, and judged by what was recorded until then", stderr)
	require.Contains(t, stderr, "a second interrupt ends it at once")
	require.Contains(t, stdout, "unknown  run ")
	require.FileExists(t, "run/report.html")
	code, stdout, stderr = exec(t, Options{}, "check run/history.jsonl")
	require.Equal(t, cli.ExitUnavailable, code, stderr)
	require.Contains(t, stderr, "the run was interrupted")
	require.Contains(t, stdout, "unknown  run ")
}

// TestAClusterThatRunsAlready: over the network, at two addresses; and one that nobody runs.
func TestAClusterThatRunsAlready(t *testing.T) {
	t.Chdir(t.TempDir())
	c, err := embedded.StartCluster(t.Context(), embedded.ClusterOptions{Regions: []string{"eu", "us"}})
	require.NoError(t, err)
	defer c.Close()
	var addresses []string
	for _, region := range c.Regions() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		s := grpcapi.New(grpcapi.Config{Service: c.Service(region)})
		s.SetServing(true)
		go func() { _ = s.Serve(l) }() // ends with Stop
		defer s.Stop(t.Context())
		addresses = append(addresses, l.Addr().String())
	}
	line := fmt.Sprintf("test --workload register --time-limit 2s --rate 100 --seed 4 --insecure --cluster %s", strings.Join(addresses, ","))
	code, stdout, stderr := exec(t, Options{}, line)
	require.Equal(t, cli.ExitOK, code, stdout+stderr)
	for bucket, err := range c.DB("us").Buckets(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, "jepsen-4", bucket)
	}
	code, _, stderr = exec(t, Options{}, line)
	require.Equal(t, cli.ExitUsage, code)
	require.Contains(t, stderr, "region eu has a bucket jepsen-4, of an earlier run: choose another seed")
	code, _, stderr = exec(t, Options{}, strings.Replace(line, "--seed 4", "--seed 5 --out jepsen-register-4", 1))
	require.Equal(t, cli.ExitUsage, code, "its folder is there already")
	require.Contains(t, stderr, "holds something")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := l.Addr().String()
	require.NoError(t, l.Close())
	code, _, stderr = exec(t, Options{}, "test --workload counter --insecure --cluster "+nobody)
	require.Equal(t, cli.ExitUnavailable, code, stderr)
	require.Contains(t, stderr, "--cluster "+nobody)
}

// TestAllRunsPairs: rows, table and summary; a lie among them decides the exit code.
func TestAllRunsPairs(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct {
		open func(context.Context, Nodes) (runner.Cluster, error)
		code int
		says string
	}{{honest, cli.ExitOK, "valid: 1 runs"}, {lying, cli.ExitInvalid, "invalid: 1 runs"}} {
		out := fmt.Sprintf("matrix-%d", c.code)
		code, stdout, stderr := exec(t, Options{Open: c.open}, "all --workloads set-aw --nemeses none --each 2s --rate 100 --time-limit 1s --out "+out)
		require.Equal(t, c.code, code, stdout+stderr)
		require.Contains(t, stdout, c.says)
		require.Contains(t, stdout, "| none | ")
		require.Contains(t, stderr, "set-aw under none, seed 1: ")
		require.FileExists(t, filepath.Join(out, runner.SummaryFile))
		require.FileExists(t, filepath.Join(out, summaryPage))
	}
}

// TestNemesesOfAMatrix: without names, those that a cluster of this size and runs of this length allow. The others are
// told with the reason.
func TestNemesesOfAMatrix(t *testing.T) {
	c := &commands{Options{Able: processes{}}}
	f := &allFlags{runFlags: runFlags{regions: 1, seed: 1}, each: minute}
	possible := func() []string {
		names, left := c.possible(f)
		require.Len(t, append(names, make([]string, len(left))...), len(nemesis.List())-2, "each is in one of the lists")
		return names
	}
	require.NotContains(t, possible(), "partition-halves")
	require.Contains(t, possible(), "kill-one")
	_, left := c.possible(f)
	require.Contains(t, left, runner.LeftOut{Nemesis: "kill-several", Why: "takes at least 3 regions, here are 1"})
	f.regions = 3
	for _, want := range []string{"none", "all", "partition-halves", "pause"} {
		require.Contains(t, possible(), want)
	}
	require.NotContains(t, possible(), "partition")
	c.Able = nil
	require.Equal(t, []string{"none"}, possible())
	c.Able = processes{}
	f.each = second
	require.Equal(t, []string{"none"}, possible())
}

// TestWhatIsLeftOutIsTold: on the terminal and in the summary; and a name that a user gave is refused instead.
func TestWhatIsLeftOutIsTold(t *testing.T) {
	t.Chdir(t.TempDir())
	o := Options{Open: honest}
	line := "all --workloads counter --each 2s --time-limit 1s --regions 2 --out matrix"
	code, stdout, stderr := exec(t, o, line)
	require.Equal(t, cli.ExitOK, code, stdout+stderr)
	require.Contains(t, stderr, "left out: nemesis partition-bridge: takes at least 3 regions, here are 2\n")
	require.Contains(t, stderr, "left out: nemesis pause: this cluster can't pause nodes\n")
	page, err := os.ReadFile(filepath.Join("matrix", summaryPage))
	require.NoError(t, err)
	require.Contains(t, string(page), "- left out: nemesis partition-bridge: ")
	text, err := os.ReadFile(filepath.Join("matrix", runner.SummaryFile))
	require.NoError(t, err)
	require.Contains(t, string(text), `"nemesis": "partition-bridge",`)

	code, _, stderr = exec(t, Options{Open: honest, Able: cutter{}}, line+" --nemeses none,partition-bridge")
	require.Equal(t, cli.ExitUsage, code)
	require.Contains(t, stderr, "partition-bridge takes at least 3 regions")
	code, _, stderr = exec(t, o, line+" --workers 3")
	require.Equal(t, cli.ExitUsage, code)
	require.Contains(t, stderr, `with other settings (callers "9", now "3")`)
}

const second, minute = 1e9, 60e9
