package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// faulty fails calls. fail is asked before each call by its name; a lost answer is one whose call
// happened all the same.
type faulty struct {
	kv.Service
	fail   func(call string) error
	lost   bool // the failing call happens, only its answer is lost
	calls  []string
	writes int // calls that may write
}

func (f *faulty) enter(call string) error {
	f.calls = append(f.calls, call)
	if f.fail == nil {
		return nil
	}
	return f.fail(call)
}

func (f *faulty) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	call := "read"
	if len(req.Ops) > 0 {
		call = "write"
	}
	err := f.enter(call)
	if err == nil || f.lost {
		resp, real := f.Service.Do(ctx, req)
		if err == nil {
			err = real
		}
		return resp, err
	}
	return kv.Response{}, err
}

func (f *faulty) Begin(ctx context.Context, b kv.Begin) (kv.TxnID, kv.Receipt, error) {
	if err := f.enter("begin"); err != nil {
		return 0, kv.Receipt{}, err
	}
	return f.Service.Begin(ctx, b)
}

func (f *faulty) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, q []kv.Query) ([]kv.Value, error) {
	if err := f.enter("execute"); err != nil {
		return nil, err
	}
	return f.Service.Execute(ctx, id, ops, q)
}

func (f *faulty) Commit(ctx context.Context, id kv.TxnID, o kv.Options) (kv.Receipt, error) {
	if err := f.enter("commit"); err != nil {
		return kv.Receipt{}, err
	}
	return f.Service.Commit(ctx, id, o)
}

func (f *faulty) Keys(ctx context.Context, req kv.KeysRequest) (kv.KeysPage, error) {
	if err := f.enter("keys"); err != nil {
		return kv.KeysPage{}, err
	}
	return f.Service.Keys(ctx, req)
}

func (f *faulty) Digest(ctx context.Context, req kv.DigestRequest) (kv.Digest, error) {
	if err := f.enter("digest"); err != nil {
		return kv.Digest{}, err
	}
	return f.Service.Digest(ctx, req)
}

func (f *faulty) Status(ctx context.Context) (kv.Status, error) {
	if err := f.enter("status"); err != nil {
		return kv.Status{}, err
	}
	return f.Service.Status(ctx)
}

func (f *faulty) Buckets(ctx context.Context, req kv.BucketsRequest) (kv.BucketsPage, error) {
	if err := f.enter("buckets"); err != nil {
		return kv.BucketsPage{}, err
	}
	return f.Service.Buckets(ctx, req)
}

func (f *faulty) Outcome(ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	if err := f.enter("outcome"); err != nil {
		return kv.OutcomeAnswer{}, err
	}
	return f.Service.Outcome(ctx, req)
}

func runOn(svc kv.Service, stdin string, args ...string) (code int, stdout, stderr string) {
	app, out, errs := newTestApp(svc, stdin)
	code = app.Run(context.Background(), args)
	return code, out.String(), errs.String()
}

// down is how a call fails that no node answers: with the cause.
func down() error {
	return kv.Errorf(kv.KindUnavailable, "%w", errors.New("connection refused"))
}

// Who hears that a node can't serve is not told to start one.
func TestANodeThatAnsweredIsNotStarted(t *testing.T) {
	svc := &faulty{Service: memkv.New().Node(1, "eu"), fail: func(string) error { return kv.Errorf(kv.KindUnavailable, "no majority") }}
	code, _, stderr := runOn(svc, "", "counter", "add", "k", "1")
	require.Equal(t, ExitUnavailable, code)
	require.Contains(t, stderr, "hint: the node answered, and can't serve this now: theriac cluster status")
}

// Every command returns the database's error, whichever of its calls fails.
func TestEveryCallMayFail(t *testing.T) {
	dir := t.TempDir()
	for _, line := range []string{
		"counter add k", "counter get k", "set members many", "get k", "get k --type counter", "del k", "keys", "txn -", "import -",
		"export", "export --file " + dir + "/out", "digest", "status", "outcome 00112233445566778899aabbccddeeff",
	} {
		args := strings.Fields(line)
		stdin := "counter add k 1\ncounter get k\n"
		if args[0] == "import" {
			stdin = `{"key":"k","type":"register-mv","value":["a","b"]}` + "\n"
		}
		for n := 1; ; n++ {
			svc := &faulty{Service: memkv.New().Node(1, "eu")}
			fill(t, svc.Service)
			svc.fail = func(string) error {
				if len(svc.calls) == n {
					return down()
				}
				return nil
			}
			code, _, stderr := runOn(svc, stdin, args...)
			if len(svc.calls) < n {
				require.Equal(t, ExitOK, code, "%s: %s", line, stderr)
				require.Greater(t, n, 1, "%s makes no call", line)
				break
			}
			require.Contains(t, stderr, "connection refused")
			if line == "import -" && slices.Contains(svc.calls[:n-1], "commit") {
				require.Equal(t, ExitPart, code, "call %d (%v): %s", n, svc.calls, stderr)
				require.Contains(t, stderr, "outcome: applied in part\n  hint: import ")
				continue
			}
			require.Equal(t, ExitUnavailable, code, "%s, call %d (%v): %s", line, n, svc.calls, stderr)
			require.Contains(t, stderr, "hint: theriac serve starts a node")
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	require.NoError(t, err)
	require.Empty(t, left, "temporary files of failed exports")
}

func fill(t *testing.T, svc kv.Service) {
	var ops []kv.Op
	many := kv.Object{Bucket: kv.DefaultBucket, Key: "many", Type: crdt.SetAW}
	for i := range pageLimit + 1 {
		ops = append(ops, kv.Op{Object: many, Verb: kv.VerbAdd, Data: fmt.Append(nil, i)})
	}
	k := kv.Object{Bucket: kv.DefaultBucket, Key: "k", Type: crdt.Counter}
	_, err := svc.Do(context.Background(), kv.Request{Ops: append(ops, kv.Op{Object: k, Verb: kv.VerbIncrement, Int: 1})})
	require.NoError(t, err)
}

func TestExitCodesFollowOutcomeAndKind(t *testing.T) {
	id := kv.OpID{0xab}
	unknown := kv.Errorf(kv.KindDeadline, "no answer").WithOutcome(kv.OutcomeUnknown)
	unknown.ID = id
	for _, c := range []struct {
		err  error
		code int
		says []string
	}{
		{kv.Errorf(kv.KindInvalid, "no sense"), ExitUsage, []string{"theriac counter add: no sense", "outcome: not applied"}},
		{kv.Errorf(kv.KindTooLarge, "too much"), ExitUsage, nil},
		{kv.Errorf(kv.KindNotFound, "no transaction"), ExitAbsent, nil},
		{kv.Errorf(kv.KindDenied, "no"), ExitFailure, nil},
		{kv.Errorf(kv.KindLevelRefused, "no"), ExitUsage, nil},
		{kv.Errorf(kv.KindStale, "no"), ExitUnavailable, []string{"--consistency eventual"}},
		{kv.Errorf(kv.KindAborted, "no"), ExitCondition, []string{"decide anew"}},
		{kv.Errorf(kv.KindBound, "no"), ExitCondition, nil},
		{kv.Errorf(kv.KindNoRights, "no"), ExitCondition, nil},
		{kv.Errorf(kv.KindTooOld, "no"), ExitFailure, nil},
		{kv.Errorf(kv.KindLost, "no"), ExitFailure, []string{"remove the session's file"}},
		{kv.Errorf(kv.KindReadOnly, "no"), ExitUnavailable, []string{"theriac status"}},
		{kv.Errorf(kv.KindCorrupt, "no"), ExitFailure, nil},
		{kv.Errorf(kv.KindOverloaded, "no"), ExitUnavailable, []string{"try again"}},
		{kv.Errorf(kv.KindDeadline, "no"), ExitUnavailable, []string{"--timeout"}},
		{unknown, ExitUnknown, []string{"outcome: outcome unknown", "theriac outcome " + id.String() + " --age 1h"}},
		{kv.Errorf(kv.KindDeadline, "no").WithOutcome(kv.Applied), ExitApplied, []string{"outcome: applied", "do not repeat it"}},
		{errors.New("surprise"), ExitFailure, []string{"surprise"}},
	} {
		svc := &faulty{Service: memkv.New().Node(1, "eu"), fail: func(string) error { return c.err }}
		code, stdout, stderr := runOn(svc, "", "counter", "add", "k")
		require.Equal(t, c.code, code, "%v", c.err)
		require.Empty(t, stdout)
		for _, s := range c.says {
			require.Contains(t, stderr, s)
		}
		code, _, stderr = runOn(svc, "", "counter", "add", "k", "-o", "json")
		require.Equal(t, c.code, code)
		require.Equal(t, 1, strings.Count(stderr, "\n"))
		require.True(t, strings.HasPrefix(stderr, `{"error":{"command":"theriac counter add"`), stderr)
	}
}

// TestAFailedOutcomeIsNotToldToAskForTheOutcome: what failed just now would fail again.
func TestAFailedOutcomeIsNotToldToAskForTheOutcome(t *testing.T) {
	id := kv.OpID{0xab}
	for kind, says := range map[kv.Kind]string{kv.KindTooOld: "a smaller --age", kv.KindDeadline: "--timeout", kv.KindCorrupt: ""} {
		e := kv.Errorf(kind, "no answer").WithOutcome(kv.OutcomeUnknown)
		e.ID = id
		svc := &faulty{Service: memkv.New().Node(1, "eu"), fail: func(call string) error {
			if call == "outcome" {
				return e
			}
			return nil
		}}
		code, stdout, stderr := runOn(svc, "", "outcome", id.String())
		require.Equal(t, ExitUnknown, code)
		require.Empty(t, stdout)
		require.Contains(t, stderr, says)
		require.NotContains(t, stderr, "ask what became of it")
		require.NotContains(t, stderr, "do not repeat it")
	}
}

// brokenPipe takes nothing.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestAnswersThatCannotBePrinted(t *testing.T) {
	svc := memkv.New().Node(1, "eu")
	app, _, stderr := newTestApp(svc, "counter add k 1\ncounter get k\n")
	app.Stdout = brokenPipe{}
	require.Equal(t, ExitApplied, app.Run(context.Background(), []string{"txn", "-"}), "the write happened")
	require.Contains(t, stderr.String(), "broken pipe")

	app, _, stderr = newTestApp(svc, "")
	app.Stdout = brokenPipe{}
	require.Equal(t, ExitFailure, app.Run(context.Background(), []string{"counter", "get", "k"}))
	require.Equal(t, "theriac counter get: printing the answer: broken pipe\n", stderr.String(), "no word about nodes")

	app, _, _ = newTestApp(svc, "")
	app.Stderr = brokenPipe{}
	require.Equal(t, ExitApplied, app.Run(context.Background(), []string{"counter", "add", "k", "--receipt"}))
}

func TestDialThatFails(t *testing.T) {
	app, _, stderr := newTestApp(nil, "")
	app.Dial = func(context.Context, config.Client) (Connection, error) { return nil, down() }
	require.Equal(t, ExitUnavailable, app.Run(context.Background(), []string{"counter", "add", "k"}))
	require.Contains(t, stderr.String(), "outcome: not applied")
}

func TestSessionFile(t *testing.T) {
	store := memkv.New()
	eu, us := store.Node(1, "eu"), store.Node(2, "us")
	file := filepath.Join(t.TempDir(), "session")
	code, _, _ := runOn(eu, "", "counter", "add", "k", "--session", file)
	require.Equal(t, ExitOK, code)
	first, err := sessionFile(file).read()
	require.NoError(t, err)
	require.NotEmpty(t, first.Seen)

	code, stdout, _ := runOn(us, "", "counter", "get", "k", "--session", file)
	require.Equal(t, ExitOK, code)
	require.Equal(t, "1\n", stdout)

	// A command that another one overtook adds to what that wrote.
	code, _, _ = runOn(us, "", "counter", "add", "k", "--session", file)
	require.Equal(t, ExitOK, code)
	later, err := sessionFile(file).read()
	require.NoError(t, err)
	require.NoError(t, sessionFile(file).write(first))
	kept, err := sessionFile(file).read()
	require.NoError(t, err)
	require.True(t, kept.Seen.Equal(later.Seen))

	left, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary files")
}

func TestSessionThatCannotBeKept(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "folder")
	file := filepath.Join(folder, "session")
	svc := &faulty{Service: memkv.New().Node(1, "eu")}
	code, _, stderr := runOn(svc, "", "counter", "add", "k", "--session", file)
	require.Equal(t, ExitUsage, code)
	require.Contains(t, stderr, "can't be kept")
	require.Empty(t, svc.calls, "refused before anything is sent")

	// The folder goes while the write is under way.
	require.NoError(t, os.Mkdir(folder, 0o700))
	svc.fail = func(string) error { return os.Remove(folder) }
	code, _, stderr = runOn(svc, "", "counter", "add", "k", "--session", file)
	require.Equal(t, ExitApplied, code)
	require.Contains(t, stderr, "keeping the session")

	large := filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.WriteFile(large, make([]byte, maxSession+1), 0o600))
	code, _, stderr = runOn(svc, "", "counter", "get", "k", "--session", large)
	require.Equal(t, ExitUsage, code)
	require.Contains(t, stderr, "larger than")

	// Tokens of two clusters do not join.
	other := filepath.Join(t.TempDir(), "other")
	foreign := kv.Token{Cluster: kv.ClusterID{9}}
	require.NoError(t, os.WriteFile(other, []byte(foreign.String()), 0o600))
	require.Error(t, sessionFile(other).write(kv.Token{Cluster: kv.ClusterID{8}}))
	require.Error(t, replaceFile(t.TempDir(), nil), "a folder is in the way")
}

func TestStatusOfARegionNeverHeard(t *testing.T) {
	var out strings.Builder
	r := &run{app: &App{}, out: bufio.NewWriter(&out)}
	r.printStatus(kv.Status{Regions: []kv.RegionStatus{{Region: 2, Name: "us", Lag: time.Hour}}})
	require.NoError(t, r.out.Flush())
	require.Regexp(t, `2 +us +false +- +\? +\? +- +- +\{\}`, out.String())
	doc := statusDocument(kv.Status{Regions: []kv.RegionStatus{{Region: 2, Exposed: 1<<53 + 1}}})
	require.Equal(t, "9007199254740993", doc.Regions[0].Exposed)
}

func TestVersionFallsBackToTheSource(t *testing.T) {
	require.Equal(t, "v1", version(&App{Version: "v1", Source: "0.1"}))
	require.NotContains(t, version(&App{Source: "0.1"}), "devel")
}

func TestEveryErrorHasAKind(t *testing.T) {
	r := &run{app: &App{}}
	require.Equal(t, "failed", r.describe(&cobra.Command{}, errors.New("disk")).Kind)
	require.Equal(t, "not found", r.describe(&cobra.Command{}, absentError{"nothing"}).Kind)
}

// lines are a file of n counters, each with its own number.
func counterLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"key":"k%02d","type":"counter","value":%d}`+"\n", i%7, i+1)
	}
	return b.String()
}

// Invariant 4: an import that is interrupted at each of its transactions in turn, before it is
// written or with its answer lost, writes everything once when it is repeated.
func TestInterruptedImportWritesOnce(t *testing.T) {
	file := counterLines(25)
	want := exported(t, file)
	for _, lost := range []bool{false, true} {
		for n := 1; n <= 5; n++ {
			svc := &faulty{Service: memkv.New().Node(1, "eu"), lost: lost}
			svc.fail = func(call string) error {
				if call == "write" {
					svc.writes++
				}
				if svc.writes == n {
					svc.fail = nil
					e := kv.Errorf(kv.KindUnavailable, "connection reset")
					if lost {
						e = e.WithOutcome(kv.OutcomeUnknown)
					}
					return e
				}
				return nil
			}
			code, _, _ := runOn(svc, file, "import", "-", "--id", "x", "--batch", "5")
			require.NotEqual(t, ExitOK, code, "interruption %d", n)
			for range 2 {
				code, _, stderr := runOn(svc, file, "import", "-", "--id", "x", "--batch", "7")
				require.Equal(t, ExitOK, code, stderr)
			}
			_, got, _ := runOn(svc, "", "export")
			require.Equal(t, want, got, "interruption %d, answer lost: %t", n, lost)
		}
	}
}

// exported is what export prints after importing a file without interruption.
func exported(t *testing.T, file string) string {
	svc := memkv.New().Node(1, "eu")
	code, _, stderr := runOn(svc, file, "import", "-")
	require.Equal(t, ExitOK, code, stderr)
	require.Contains(t, stderr, "to go on after an interruption add --id ")
	code, out, _ := runOn(svc, "", "export")
	require.Equal(t, ExitOK, code)
	return out
}

// A line of more operations than a transaction takes is interrupted within itself.
func TestInterruptedWithinALine(t *testing.T) {
	var names []string
	for i := range 23 {
		names = append(names, fmt.Sprintf(`"f%02d:counter":%d`, i, i+1))
	}
	file := `{"key":"first","type":"counter","value":1}` + "\n" + `{"key":"m","type":"map","value":{` + strings.Join(names, ",") + "}}\n"
	want := exported(t, file)
	svc := &faulty{Service: memkv.New().Node(1, "eu")}
	svc.fail = func(call string) error {
		if call == "write" {
			svc.writes++
		}
		if svc.writes == 3 {
			return down()
		}
		return nil
	}
	code, _, stderr := runOn(svc, file, "import", "-", "--id", "x", "--batch", "5")
	require.Equal(t, ExitPart, code)
	require.Contains(t, stderr, "complete up to line 1;")
	svc.fail = nil

	changed := strings.Replace(file, `"f22:counter":23`, `"f22:counter":24`, 1)
	code, _, stderr = runOn(svc, changed, "import", "-", "--id", "x")
	require.Equal(t, ExitUsage, code)
	require.Contains(t, stderr, "were others")

	code, stdout, stderr := runOn(svc, file, "import", "-", "--id", "x", "--batch", "4")
	require.Equal(t, ExitOK, code, stderr)
	require.Equal(t, "imported 1 lines, skipped 1 that were imported before; operations written: 14\n", stdout)
	_, got, _ := runOn(svc, "", "export")
	require.Equal(t, want, got)
}

// Concurrent values are written by transactions of which none sees another: all begin before one
// commits, and the one with the position commits last.
func TestConcurrentValuesAreImportedConcurrently(t *testing.T) {
	svc := &faulty{Service: memkv.New().Node(1, "eu")}
	file := `{"key":"a","type":"counter","value":1}
{"key":"r","type":"register-mv","value":["x","y","z"]}
{"key":"r","type":"register-mv","value":["w"]}
`
	code, stdout, stderr := runOn(svc, file, "import", "-", "--id", "x")
	require.Equal(t, ExitOK, code, stderr)
	require.Contains(t, stdout, "imported 3 lines")
	require.Equal(t, "read begin begin begin execute commit execute commit execute commit write", strings.Join(svc.calls, " "))
	_, stdout, _ = runOn(svc, "", "register", "get", "r", "--type", "register-mv")
	require.Equal(t, "w\n", stdout, "the last line replaces what it has seen")

	many := `{"key":"r","type":"register-mv","value":[` + strings.Repeat(`"a",`, 1) + values(maxRounds) + `]}`
	code, _, stderr = runOn(svc, many, "import", "-", "--id", "y")
	require.Equal(t, ExitUsage, code)
	require.Contains(t, stderr, "register-mv with 65 values")
}

func values(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`"v%d"`, i))
	}
	return strings.Join(out, ",")
}

func TestTwoImportsUnderOneID(t *testing.T) {
	svc := &faulty{Service: memkv.New().Node(1, "eu")}
	svc.fail = func(call string) error {
		if call == "write" {
			svc.fail = nil
			code, _, stderr := runOn(svc.Service, counterLines(3), "import", "-", "--id", "x")
			require.Equal(t, ExitOK, code, stderr)
		}
		return nil
	}
	code, _, stderr := runOn(svc, counterLines(3), "import", "-", "--id", "x")
	require.Equal(t, ExitCondition, code)
	require.Contains(t, stderr, "another import under id x")
	_, got, _ := runOn(svc, "", "counter", "get", "k00")
	require.Equal(t, "1\n", got)
}

func TestDamagedImportProgress(t *testing.T) {
	svc := memkv.New().Node(1, "eu")
	record := newProgressRecord("x")
	for _, text := range []string{"", "1", "a+0", "1+-1"} {
		_, err := svc.Do(context.Background(), kv.Request{Ops: []kv.Op{{Object: record.object, Path: registerAt(positionField),
			Verb: kv.VerbAssign, Data: []byte(text)}}})
		require.NoError(t, err)
		code, _, stderr := runOn(svc, counterLines(1), "import", "-", "--id", "x")
		require.Equal(t, ExitFailure, code)
		require.Contains(t, stderr, "want LINES+OPERATIONS")
	}
}

// endless is a line that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

type unreadable struct{}

func (unreadable) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

func TestInputThatCannotBeRead(t *testing.T) {
	for _, c := range []struct {
		in   io.Reader
		args []string
		says string
	}{
		{endless{}, []string{"import", "-", "--id", "x"}, "more than"},
		{endless{}, []string{"txn", "-"}, "a line of more than"},
		{endless{}, []string{"register", "set", "k", "--from", "-"}, "at most 1048576"},
		{unreadable{}, []string{"import", "-", "--id", "x"}, "input/output error"},
		{unreadable{}, []string{"txn", "-"}, "input/output error"},
		{unreadable{}, []string{"register", "set", "k", "--from", "-"}, "input/output error"},
	} {
		svc := &faulty{Service: memkv.New().Node(1, "eu")}
		app, _, stderr := newTestApp(svc, "")
		app.Stdin = c.in
		require.Equal(t, ExitUsage, app.Run(context.Background(), c.args), c.args)
		require.Contains(t, stderr.String(), c.says)
		require.NotContains(t, svc.calls, "write")
	}
}

// Large sets are read, exported and imported page by page.
func TestLargeSetsGoInPages(t *testing.T) {
	svc := &faulty{Service: memkv.New().Node(1, "eu")}
	fill(t, svc.Service)
	_, table, _ := runOn(svc, "", "set", "members", "many")
	require.Equal(t, pageLimit+1, strings.Count(table, "\n"))
	_, document, _ := runOn(svc, "", "set", "members", "many", "-o", "json")
	require.Equal(t, pageLimit, strings.Count(document[strings.Index(document, "["):], `","`))
	require.True(t, strings.HasSuffix(document, "\"]}\n"), document[len(document)-20:])
	_, file, _ := runOn(svc, "", "export")
	require.Equal(t, 3, strings.Count(file, "\n"), "one line for the counter, two for the set")
	require.Equal(t, file, exported(t, file))
}

// A transaction of more bytes than a request takes goes in several, and is still one.
func TestLargeTransactionsGoInParts(t *testing.T) {
	svc := &faulty{Service: memkv.New().Node(1, "eu")}
	var b strings.Builder
	for i := range 3 {
		fmt.Fprintf(&b, "register set k%d %s\n", i, strings.Repeat("x", kv.MaxElement*2/3))
	}
	code, _, stderr := runOn(svc, b.String()+"register get k1\n", "txn", "-")
	require.Equal(t, ExitOK, code, stderr)
	require.Equal(t, "begin execute execute execute commit", strings.Join(svc.calls, " "))
	code, _, stderr = runOn(svc, strings.Repeat("counter add k\n", kv.MaxOps+1), "txn", "-")
	require.Equal(t, ExitUsage, code)
	require.Contains(t, stderr, "line 10001: more than 10000 operations")
}

// An answer that is too large is asked for in smaller parts.
func TestExportAsksForLess(t *testing.T) {
	svc := &faulty{Service: memkv.New().Node(1, "eu")}
	_, want, _ := func() (int, string, string) {
		runOn(svc, counterLines(25), "import", "-", "--id", "x")
		return runOn(svc, "", "export")
	}()
	most := 7
	limited := &limited{svc, most}
	code, got, stderr := runOn(limited, "", "export")
	require.Equal(t, ExitOK, code, stderr)
	require.Equal(t, want, got)
	limited.most = 0
	code, _, stderr = runOn(limited, "", "export")
	require.Equal(t, ExitUsage, code)
	require.Contains(t, stderr, "reading counter k00 of bucket default")
}

// limited answers no more than so many queries at once.
type limited struct {
	*faulty
	most int
}

func (l *limited) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, q []kv.Query) ([]kv.Value, error) {
	if len(q) > l.most {
		return nil, kv.Errorf(kv.KindTooLarge, "answer too large")
	}
	return l.faulty.Execute(ctx, id, ops, q)
}

// short answers with too few values.
type short struct{ kv.Service }

func (short) Do(context.Context, kv.Request) (kv.Response, error) { return kv.Response{}, nil }
func (short) Execute(context.Context, kv.TxnID, []kv.Op, []kv.Query) ([]kv.Value, error) {
	return nil, nil
}

func TestMissingAnswersAreAnError(t *testing.T) {
	node := memkv.New().Node(1, "eu")
	fill(t, node)
	for _, line := range []string{"counter get k", "get k", "export"} {
		code, _, stderr := runOn(short{node}, "", strings.Fields(line)...)
		require.Equal(t, ExitFailure, code, line)
		require.Contains(t, stderr, "answers to")
	}
}

func TestProgressIsDrawnOnTerminalsOnly(t *testing.T) {
	svc := memkv.New().Node(1, "eu")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte(counterLines(3)), 0o600))
	app, stdout, stderr := newTestApp(svc, "")
	app.Terminal = true
	require.Equal(t, ExitOK, app.Run(context.Background(), []string{"import", file, "--id", "x"}), stderr)
	require.Contains(t, stderr.String(), "imported")
	require.Equal(t, "imported 3 lines, skipped 0 that were imported before; operations written: 3\n", stdout.String())
	app, _, stderr = newTestApp(svc, "")
	require.Equal(t, ExitOK, app.Run(context.Background(), []string{"import", file, "--id", "y"}))
	require.Empty(t, stderr.String())
}
