package cli

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/kv"
)

// benched is what theriac bench -o json prints.
type benched struct {
	Mix         string  `json:"mix"`
	Concurrency int     `json:"concurrency"`
	Rate        float64 `json:"rate"`
	Seconds     float64 `json:"seconds"`
	Rows        []struct {
		Operation string  `json:"operation"`
		Done      uint64  `json:"done"`
		Failed    uint64  `json:"failed"`
		P99       float64 `json:"p99_us"`
	} `json:"rows"`
	First string `json:"first_failure"`
}

// runBench runs the command, with JSON as the output, on a clock that moves only when everybody
// waits: with a rate the number of operations is then exact.
func runBench(t *testing.T, svc kv.Service, args ...string) (code int, out benched, stderr string) {
	synctest.Test(t, func(*testing.T) {
		var stdout string
		code, stdout, stderr = runOn(svc, "", append([]string{"bench", "-o", "json", "--warmup", "0", "--keys", "20"}, args...)...)
		if stdout != "" {
			require.NoError(t, json.Unmarshal([]byte(stdout), &out), stdout)
		}
	})
	return code, out, stderr
}

func TestBenchMeasuresTheMix(t *testing.T) {
	svc := memkv.New().Node(1, "eu")
	code, out, stderr := runBench(t, svc, "--mix", "add=1,set=1,set-add=1,read=3", "--rate", "100", "--duration", "3s", "--concurrency", "4")
	require.Equal(t, ExitOK, code, stderr)
	require.Empty(t, stderr)
	require.Equal(t, "add=1,set=1,set-add=1,read=3", out.Mix)
	require.Equal(t, 4, out.Concurrency)
	require.InDelta(t, 3, out.Seconds, 0.1)
	names := []string{}
	total := uint64(0)
	for _, row := range out.Rows {
		names = append(names, row.Operation)
		require.NotZero(t, row.Done, row.Operation)
		require.Zero(t, row.Failed)
		total += row.Done
	}
	require.Equal(t, []string{"add", "set", "set-add", "read", "all"}, names)
	require.EqualValues(t, 2*300, total, "each operation in its row and in the last")

	_, stdout, _ := runOn(svc, "", "keys", "--bucket", "bench")
	require.Equal(t, 3*20, strings.Count(stdout, "\n"), "every key was filled, in each of three types")
}

func TestBenchPrintsATable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		code, stdout, stderr := runOn(memkv.New().Node(1, "eu"), "", "bench", "--rate", "10", "--duration", "1s", "--warmup", "0", "--mix", "add=1")
		require.Equal(t, ExitOK, code, stderr)
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		require.Len(t, lines, 2)
		require.Equal(t, []string{"operation", "per", "second", "failed", "mean", "p50", "p90", "p99", "p99.9", "max"}, strings.Fields(lines[0]))
		require.Equal(t, "add", strings.Fields(lines[1])[0])
	})
}

// asked records how it is called.
type asked struct {
	kv.Service
	reads, writes, limited atomic.Int64
	level                  atomic.Int64
	durability             atomic.Int64
	bucket                 atomic.Value
}

func (s *asked) Do(ctx context.Context, r kv.Request) (kv.Response, error) {
	if _, ok := ctx.Deadline(); ok {
		s.limited.Add(1)
	}
	if len(r.Ops) > 0 {
		s.writes.Add(1)
		s.durability.Store(int64(r.Options.Durability))
		s.bucket.Store(string(r.Ops[0].Bucket))
	} else {
		s.reads.Add(1)
		s.level.Store(int64(r.Options.Level))
	}
	return s.Service.Do(ctx, r)
}

func TestBenchHonoursTheFlagsOfData(t *testing.T) {
	svc := &asked{Service: memkv.New().Node(1, "eu")}
	code, _, stderr := runBench(t, svc, "--rate", "100", "--duration", "1s", "--fill=false",
		"--bucket", "b", "--consistency", "eventual", "--durability", "applied", "--timeout", "5s")
	require.Equal(t, ExitOK, code, stderr)
	require.NotZero(t, svc.reads.Load())
	require.NotZero(t, svc.writes.Load())
	require.EqualValues(t, 100, svc.limited.Load(), "every operation has its time-out")
	require.EqualValues(t, kv.LevelEventual, svc.level.Load())
	require.EqualValues(t, kv.DurabilityApplied, svc.durability.Load())
	require.Equal(t, "b", svc.bucket.Load())
}

// refusing fails every write but the first few.
type refusing struct {
	kv.Service
	after int64
	n     atomic.Int64
}

func (s *refusing) Do(ctx context.Context, r kv.Request) (kv.Response, error) {
	if len(r.Ops) > 0 && s.n.Add(1) > s.after {
		return kv.Response{}, kv.Errorf(kv.KindReadOnly, "no more writes").WithOutcome(kv.OutcomeUnknown)
	}
	return s.Service.Do(ctx, r)
}

func TestBenchFailsWhenOperationsFailed(t *testing.T) {
	args := []string{"--rate", "100", "--duration", "1s", "--fill=false", "--mix", "add=1"}
	code, out, stderr := runBench(t, &refusing{Service: memkv.New().Node(1, "eu"), after: 40}, args...)
	require.Equal(t, ExitFailure, code, "not the exit code of one operation, of which the outcome is unknown")
	require.EqualValues(t, 40, out.Rows[0].Done)
	require.EqualValues(t, 60, out.Rows[0].Failed)
	require.Contains(t, out.First, "no more writes")
	require.Contains(t, stderr, "60 of 100 operations failed, the first with: ")
	require.NotContains(t, stderr, `"outcome"`)

	code, _, stderr = runBench(t, &refusing{Service: memkv.New().Node(1, "eu")}, args...)
	require.Equal(t, ExitFailure, code)
	require.Contains(t, stderr, "nothing was measured")

	code, _, stderr = runBench(t, &refusing{Service: memkv.New().Node(1, "eu")}, "--duration", "1s", "--rate", "1", "--mix", "add=1")
	require.Equal(t, ExitUnknown, code, "filling is a write like others: %s", stderr)
}

// unreachable has no node behind it.
type unreachable struct{ kv.Service }

func (unreachable) Status(context.Context) (kv.Status, error) { return kv.Status{}, down() }

func TestBenchWithoutANode(t *testing.T) {
	code, _, stderr := runOn(unreachable{memkv.New().Node(1, "eu")}, "", "bench")
	require.Equal(t, ExitUnavailable, code)
	require.Contains(t, stderr, "theriac serve starts a node")
}

func TestBenchRefusesBadSettings(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"--mix nonsense=1", "want NAME=WEIGHT"},
		{"--mix add=0", "want weights that sum to"},
		{"--concurrency 0", "concurrency 0: want 1 to"},
		{"--concurrency 1MiB", "--concurrency 1MiB: want a whole number"},
		{"--concurrency 99999999999999999999", "--concurrency 99999999999999999999: out of range"},
		{"--concurrency 10000 --value-size 1048576", "at most 1073741824 bytes together"},
		{"--rate fast", "--rate fast: want a number"},
		{"--rate -1", "-1: want a number, 0 or more"},
		{"--insecure=perhaps", "--insecure perhaps: want true or false"},
		{"--rate=-1", "rate -1: want 0"},
		{"--duration 0s", "want positive ones"},
		{"--key-size 3", "key size 3: want"},
		{"--value-size 2000000", "value size 2000000: want"},
		{"--session x", "bench takes no --session"},
		{"--receipt", "bench takes no --receipt"},
		{"more", "1 arguments; want: theriac bench"},
	} {
		code, stdout, stderr := runOn(unreachable{}, "", append([]string{"bench"}, strings.Fields(c.args)...)...)
		require.Equal(t, ExitUsage, code, "%s: %s", c.args, stderr)
		require.Contains(t, stderr, c.says, c.args)
		require.Empty(t, stdout)
	}
}

func TestBenchLeavesTheSessionOfTheEnvironmentAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, _, stderr := newTestApp(memkv.New().Node(1, "eu"), "")
		app.Env = []string{"THERIAC_SESSION=" + t.TempDir() + "/no/session"}
		require.Equal(t, ExitOK, app.Run(t.Context(), strings.Fields("bench --rate 10 --duration 1s --warmup 0 --keys 2")), stderr)
	})
}
