package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/kv"
)

const secondLineBad = `{"key":"n","type":"counter","value":1}` + "\n" + `{"key":"n","type":"counter","value":"x"}` + "\n"

// exitCases reach every exit code that docs/reference/commands.md lists. Those of a code which says that
// nothing was written are held to it.
var exitCases = []struct {
	code     int
	command  string
	stdin    string
	fail     error  // of the call that is named
	at       string // that call
	lost     bool   // only its answer is lost
	unprint  bool   // stdout is full
	outcome  string // in JSON
	stderr   string // holds
	unwanted string // stderr does not hold
}{
	{code: ExitOK, command: "counter add n"},
	{code: ExitOK, command: "help counter add"},
	{code: ExitOK, command: "completion bash"},
	{code: ExitOK, command: "version"},
	{code: ExitOK, command: "import - --batch 1", stdin: secondLineBad[:39]},
	{code: ExitFailure, command: "counter get n", unprint: true, outcome: "not applied", stderr: "printing the answer", unwanted: "theriac serve"},
	{code: ExitFailure, command: "export", unprint: true, outcome: "not applied", stderr: "printing the answer", unwanted: "theriac serve"},
	{code: ExitFailure, command: "counter get n", at: "read", fail: kv.Errorf(kv.KindCorrupt, "damaged"), outcome: "not applied"},
	{code: ExitUsage, command: "counter add", outcome: "not applied"},
	{code: ExitUsage, command: "counter add n one", outcome: "not applied"},
	{code: ExitUsage, command: "nonsense", outcome: "not applied"},
	{code: ExitUsage, command: "counter", outcome: "not applied"},
	{code: ExitUsage, command: "completion bogus", outcome: "not applied"},
	{code: ExitUsage, command: "help nonsense", outcome: "not applied"},
	{code: ExitUsage, command: "txn -", stdin: "counter add n\nnonsense\n", outcome: "not applied"},
	{code: ExitUsage, command: "import -", stdin: secondLineBad[39:], outcome: "not applied"},
	{code: ExitAbsent, command: "register get r", outcome: "not applied"},
	{code: ExitAbsent, command: "get nothing", outcome: "not applied"},
	{code: ExitUnknown, command: "counter add n", at: "write", fail: kv.Errorf(kv.KindDeadline, "late").WithOutcome(kv.OutcomeUnknown), outcome: "outcome unknown"},
	{code: ExitUnknown, command: "import - --id x", stdin: secondLineBad[:39], at: "write", lost: true, outcome: "outcome unknown",
		fail:   &kv.Error{Kind: kv.KindDeadline, Message: "late", Outcome: kv.OutcomeUnknown, ID: kv.OpID{1}},
		stderr: "run it again with --id x", unwanted: "theriac outcome"},
	{code: ExitUnavailable, command: "counter add n", at: "write", fail: down(), outcome: "not applied", stderr: "theriac serve"},
	{code: ExitUnavailable, command: "counter get n", at: "read", fail: kv.Errorf(kv.KindStale, "old"), outcome: "not applied"},
	{code: ExitUnavailable, command: "import - --batch 1", stdin: secondLineBad[:39], at: "write", fail: down(), outcome: "not applied"},
	{code: ExitCondition, command: "register set taken x --if y", outcome: "not applied"},
	{code: ExitCondition, command: "counter add n", at: "write", fail: kv.Errorf(kv.KindBound, "out of its range"), outcome: "not applied"},
	{code: ExitApplied, command: "txn -", stdin: "counter add n\ncounter get n\n", unprint: true, outcome: "applied", stderr: "do not repeat it"},
	{code: ExitApplied, command: "counter add n", at: "write", fail: kv.Errorf(kv.KindCorrupt, "torn").WithOutcome(kv.Applied), outcome: "applied"},
	{code: ExitPart, command: "import - --batch 1 --id x", stdin: secondLineBad, outcome: "applied in part", stderr: "complete up to line 1; run it again with --id x"},
	{code: ExitPart, command: "import - --batch 1000 --id x", stdin: secondLineBad, outcome: "applied in part", stderr: "line 2: "},
}

func TestEveryExitCodeIsAsTheReferenceSays(t *testing.T) {
	reached := map[int]bool{}
	for _, c := range exitCases {
		reached[c.code] = true
		for _, json := range []bool{false, true} {
			svc := &faulty{Service: memkv.New().Node(1, "eu"), lost: c.lost}
			code, _, stderr := runOn(svc, "", "register", "set", "taken", "z")
			require.Equal(t, ExitOK, code, stderr)
			before := contentOf(t, svc)
			svc.fail = func(call string) error {
				if call == c.at {
					return c.fail
				}
				return nil
			}
			args := strings.Fields(c.command)
			if json {
				args = append(args, "-o", "json")
			}
			app, _, errs := newTestApp(svc, c.stdin)
			if c.unprint {
				app.Stdout = brokenPipe{}
			}
			require.Equal(t, c.code, app.Run(context.Background(), args), "%s: %s", c.command, errs)
			require.Contains(t, errs.String(), c.stderr, c.command)
			if c.unwanted != "" {
				require.NotContains(t, errs.String(), c.unwanted, c.command)
			}
			if json && c.code != ExitOK {
				require.Equal(t, c.outcome, outcomeIn(t, errs.String()), c.command)
			}
			svc.fail = nil
			if strings.Contains(exitMeanings[c.code].Meaning, "nothing was written") {
				require.Equal(t, before, contentOf(t, svc), "%s: %s", c.command, errs)
			}
		}
	}
	page, err := os.ReadFile(filepath.FromSlash("../../../docs/reference/commands.md"))
	require.NoError(t, err)
	for i, e := range ExitMeanings() {
		require.Equal(t, i, e.Code)
		require.True(t, reached[e.Code] || e.Code >= ExitInvalid, "code %d", e.Code) // those: TestCommandsOfOthersNameTheirExitCode
		require.Contains(t, string(page), e.Meaning)
	}
}

// A command of App.Commands may lie below another one, and names its exit code.
func TestCommandsOfOthersNameTheirExitCode(t *testing.T) {
	for _, e := range ExitMeanings() {
		app, _, stderr := newTestApp(memkv.New().Node(1, "eu"), "")
		app.Commands = func() []*cobra.Command {
			group := &cobra.Command{Use: "group", Short: "a group"}
			group.AddCommand(&cobra.Command{Use: "verb", Short: "a verb", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
				return fmt.Errorf("judged: %w", Coded{kv.Errorf(kv.KindAborted, "it is so"), e.Code})
			}})
			return []*cobra.Command{group}
		}
		run := func(line string) int {
			stderr.Reset()
			return app.Run(t.Context(), strings.Fields(line))
		}
		require.Equal(t, e.Code, run("group verb"))
		require.Contains(t, stderr.String(), "theriac group verb: judged: it is so")
		require.Equal(t, ExitUsage, run("group"))
		require.Contains(t, stderr.String(), "want a verb: verb")
		require.Equal(t, ExitUsage, run("group nonsense"))
		require.Equal(t, ExitUsage, run("group verb extra"))
		require.Equal(t, ExitUsage, run("group verb --bucket b"))
	}
}

// With -o json whatever stderr says is a document a line.
func TestRemarksOfAnImportAreDocuments(t *testing.T) {
	code, _, stderr := runOn(memkv.New().Node(1, "eu"), secondLineBad, "import", "-", "-o", "json")
	require.Equal(t, ExitPart, code)
	first, second, _ := strings.Cut(stderr, "\n")
	var began struct{ Import string }
	require.NoError(t, json.Unmarshal([]byte(first), &began), stderr)
	require.NotEmpty(t, began.Import)
	require.Equal(t, inPart, outcomeIn(t, second))
	require.Contains(t, second, "--id "+began.Import)

	app, _, _ := newTestApp(memkv.New().Node(1, "eu"), secondLineBad)
	app.Stderr = brokenPipe{}
	require.Equal(t, ExitFailure, app.Run(context.Background(), []string{"import", "-"}), "an id that nobody has read is of no use")
}

// A bucket from the environment is a default, one on the command line is meant.
func TestBucketOfTheEnvironmentGivesWay(t *testing.T) {
	for _, args := range [][]string{{"digest", "other"}, {"import", "-", "--into", "other"}} {
		app, _, stderr := newTestApp(memkv.New().Node(1, "eu"), "")
		app.Env = []string{"THERIAC_BUCKET=b"}
		require.Equal(t, ExitOK, app.Run(context.Background(), args), stderr)
		app, _, stderr = newTestApp(memkv.New().Node(1, "eu"), "")
		require.Equal(t, ExitUsage, app.Run(context.Background(), append(args, "--bucket", "b")), stderr)
	}
}

func contentOf(t *testing.T, svc kv.Service) string {
	code, out, stderr := runOn(svc, "", "export")
	require.Equal(t, ExitOK, code, stderr)
	return out
}

// outcomeIn is the outcome in the last line of stderr.
func outcomeIn(t *testing.T, stderr string) string {
	lines := slices.Collect(strings.Lines(stderr))
	var document struct {
		Error struct{ Outcome string }
	}
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &document), stderr)
	return document.Error.Outcome
}
