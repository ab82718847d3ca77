package cli

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/kv"
)

func TestRulesOfBuckets(t *testing.T) {
	svc := &faulty{Service: memkv.New().Node(1, "eu")}
	on := func(code int, line string) (stdout, stderr string) {
		t.Helper()
		got, stdout, stderr := runOn(svc, "", strings.Fields(line)...)
		require.Equal(t, code, got, "%s: %s%s", line, stdout, stderr)
		return stdout, stderr
	}
	const head = "BUCKET    TYPES                 LEVELS  CONSISTENCY  DURABILITY  GENERATION  PENDING\n"
	out, _ := on(ExitOK, "bucket create accounts --type register-lww --type counter --allow strong --durability majority")
	require.Equal(t, head+"accounts  counter,register-lww  strong  strong       majority    0           -\n", out)
	_, errs := on(ExitUsage, "bucket create accounts")
	require.Contains(t, errs, "not applied")
	_, errs = on(ExitUsage, "counter add n 1 --bucket accounts --consistency causal")
	require.Contains(t, errs, "it allows strong")
	on(ExitUsage, "set add s x --bucket accounts")
	out, _ = on(ExitOK, "bucket alter accounts --allow any --consistency bounded:2s")
	require.Contains(t, out, "accounts  counter,register-lww  any     bounded:2s   majority")
	out, _ = on(ExitOK, "bucket alter accounts --type any --consistency default --durability default -o json")
	require.Equal(t, `{"bucket":"accounts","types":[],"levels":[],"consistency":"causal","durability":"local","generation":0,"pending":[]}`+"\n", out)
	on(ExitOK, "counter add n 1 --bucket accounts --consistency causal")
	out, _ = on(ExitOK, "bucket list")
	require.Contains(t, out, "accounts  any    any     causal       local")

	_, errs = on(ExitUsage, "bucket drop accounts")
	require.Contains(t, errs, "holds data")
	require.Contains(t, errs, "not applied")
	out, _ = on(ExitOK, "bucket drop accounts --yes")
	require.Equal(t, "dropped accounts: generation 1\n", out)
	out, _ = on(ExitOK, "counter get n --bucket accounts")
	require.Equal(t, "0\n", out)
	out, _ = on(ExitOK, "bucket list")
	require.NotContains(t, out, "accounts")
	on(ExitAbsent, "bucket drop accounts --yes")
	on(ExitOK, "bucket create accounts --type set-aw")
	out, _ = on(ExitOK, "bucket drop accounts -o json")
	require.Equal(t, `{"bucket":"accounts","generation":2}`+"\n", out, "no data, no question")
	file := filepath.Join(t.TempDir(), "session")
	on(ExitOK, "counter add n 1 --bucket b")
	_, errs = on(ExitOK, "bucket drop b --yes --receipt --session "+file)
	require.Contains(t, errs, "strong")
	token, err := sessionFile(file).read()
	require.NoError(t, err)
	require.NotZero(t, token.Seen.At(0), "the session has seen the drop")

	on(ExitAbsent, "bucket alter none --allow strong")
	on(ExitUsage, "bucket alter accounts")
	for _, line := range []string{
		"bucket", "bucket create", "bucket create a b", "bucket create theriac.x", "bucket create a --type list", "bucket create a --allow most",
		"bucket create a --allow bounded:2s", "bucket create a --allow bounded", "bucket create a --bucket b", "bucket list a",
		"bucket create a --allow strong --consistency causal", "bucket create x --allow bounded",
		"bucket drop", "bucket drop a b", "bucket drop theriac.import", "bucket drop a --bucket b", "bucket drop a --session /dev/null",
	} {
		_, errs := on(ExitUsage, line)
		require.NotContains(t, errs, "panic")
	}
}

// What the environment says of calls is no default of a bucket.
func TestABucketGetsNoDefaultsFromTheEnvironment(t *testing.T) {
	app, stdout, stderr := newTestApp(memkv.New().Node(1, "eu"), "")
	app.Env = append(app.Env, "THERIAC_CONSISTENCY=strong", "THERIAC_DURABILITY=applied")
	require.Equal(t, ExitOK, app.Run(context.Background(), []string{"bucket", "create", "b", "-o", "json"}), stderr)
	require.Contains(t, stdout.String(), `"consistency":"causal","durability":"local"`)
}

// undecidedRules answers changes of rules with outcome unknown, and names a region as pending.
type undecidedRules struct{ kv.Service }

func (undecidedRules) CreateBucket(context.Context, kv.BucketRules) (kv.DecidedRules, error) {
	return kv.DecidedRules{}, kv.Errorf(kv.KindDeadline, "not seen decided").WithOutcome(kv.OutcomeUnknown)
}

func (undecidedRules) BucketRules(context.Context) ([]kv.DecidedRules, error) {
	return []kv.DecidedRules{{BucketRules: kv.BucketRules{Name: "b"}, Pending: []string{"ap", "us"}}}, nil
}

func (undecidedRules) DropBucket(context.Context, kv.DropRequest) (kv.DroppedBucket, error) {
	return kv.DroppedBucket{}, kv.Errorf(kv.KindDeadline, "not seen decided").WithOutcome(kv.OutcomeUnknown)
}

func (undecidedRules) AlterBucket(context.Context, kv.BucketRules, uint64) (kv.DecidedRules, error) {
	return kv.DecidedRules{}, kv.Errorf(kv.KindUnavailable, "no majority")
}

func TestWhatBecomesOfRulesIsSaid(t *testing.T) {
	svc := undecidedRules{memkv.New().Node(1, "eu")}
	code, _, stderr := runOn(svc, "", "bucket", "create", "b")
	require.Equal(t, ExitUnknown, code)
	require.Contains(t, stderr, "outcome unknown")
	code, _, stderr = runOn(svc, "", "bucket", "alter", "b", "--allow", "strong")
	require.Equal(t, ExitUnavailable, code)
	require.Contains(t, stderr, "not applied")
	code, _, stderr = runOn(svc, "", "bucket", "drop", "b", "--yes")
	require.Equal(t, ExitUnknown, code)
	require.Contains(t, stderr, "outcome unknown")
	code, stdout, _ := runOn(svc, "", "bucket", "list")
	require.Equal(t, ExitOK, code)
	require.Contains(t, stdout, "ap,us")
}
