package jepsen

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/report"
	"github.com/theriac-db/theriac/jepsen/runner"
	"github.com/theriac-db/theriac/kv"
)

// checkFlags are those of check.
type checkFlags struct {
	checkers []string
	report   string
	json     bool
}

func (c *commands) checkCommand() *cobra.Command {
	f := new(checkFlags)
	cmd := &cobra.Command{
		Use: "check HISTORY", Short: "check a recorded history", Args: oneHistory,
		Long: `Reads a history, in the form of docs/formats/history.md, and prints the verdict of each checker of its workload,
with what it found. The history may be one of another database. No node is asked.

The exit code is 9 if a checker finds what must not be, or the history is too small to show anything, and 10 if
nothing was found but a checker gave up. What kept a run from its end, and nodes that ended by themselves, are in no
history: results.json of the run has them.`,
		Example: "  theriac jepsen check jepsen-bank-7/history.jsonl\n  theriac jepsen check history.jsonl --checker causal,session --report report.html",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.check(cmd.Context(), args[0], f)
		},
	}
	cmd.Flags().StringSliceVar(&f.checkers, "checker", nil, "ask only these `NAMES`, comma-separated; theriac jepsen list has them")
	cmd.Flags().StringVar(&f.report, "report", "", "also write an HTML report to this `FILE`")
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON document")
	return cmd
}

// oneHistory says what the argument is to be.
func oneHistory(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return kv.Errorf(kv.KindInvalid, "name one history, such as jepsen-bank-7/%s; %d are named", runner.HistoryFile, len(args))
	}
	return nil
}

func (c *commands) check(ctx context.Context, name string, f *checkFlags) error {
	h, err := history.ReadFile(name)
	if info, wrong := os.Stat(name); wrong == nil && info.IsDir() {
		return kv.Errorf(kv.KindInvalid, "%s is a folder: name the history in it, such as %s", name, filepath.Join(name, runner.HistoryFile))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return kv.Errorf(kv.KindInvalid, "there is no file %s: name the %s of a run", name, runner.HistoryFile)
	}
	if err != nil {
		return kv.Errorf(kv.KindInvalid, "%w (docs/formats/history.md describes histories)", err)
	}
	results, proves, err := runner.Judge(ctx, h, f.checkers)
	if err != nil {
		return err
	}
	if f.report != "" {
		in := report.Input{History: h, Results: results, Proves: proves}
		if err := writeReport(f.report, in); err != nil {
			return err
		}
	}
	out := runner.NewOutcome(h, results)
	if err := c.answer(out, f.json); err != nil || out.Verdict != checker.Interrupted {
		return err
	}
	return kv.Errorf(kv.KindDeadline, "the run was interrupted; until then no checker found what must not be")
}

func writeReport(name string, in report.Input) error {
	file, err := os.Create(name)
	if err != nil {
		return kv.Errorf(kv.KindInvalid, "--report: %w", err)
	}
	out := bufio.NewWriter(file)
	err = report.Write(out, in)
	return errors.Join(err, out.Flush(), file.Close())
}
