package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/kv"
)

// The exit codes. docs/reference/commands.md lists them; scripts may rely on them.
const (
	ExitOK          = 0 // done
	ExitFailure     = 1 // failed in a way that no other code names; nothing was written
	ExitUsage       = 2 // the command line, a setting or the input is wrong, or too large; nothing was written
	ExitAbsent      = 3 // what was asked for is not there
	ExitUnknown     = 4 // a write may or may not have happened
	ExitUnavailable = 5 // not now, or not in time; nothing was written; later or elsewhere it may work
	ExitCondition   = 6 // a condition did not hold; nothing was written
	ExitApplied     = 7 // the write happened; something behind it failed
	ExitPart        = 8 // a part is done: of an import that stopped, or of an export that left something out

	// Of judgements, which Coded errors name.
	ExitInvalid   = 9  // what was judged is wrong, or showed too little to be judged
	ExitUndecided = 10 // a judge gave up
)

// Coded is an error of a command of App.Commands that names its exit code.
type Coded struct {
	Err  error
	Code int
}

func (e Coded) Error() string { return e.Err.Error() }

// Unwrap is the error itself.
func (e Coded) Unwrap() error { return e.Err }

// ExitMeaning explains an exit code.
type ExitMeaning struct {
	Code    int
	Meaning string
}

// ExitMeanings explains all of them, for documentation.
func ExitMeanings() []ExitMeaning { return exitMeanings }

var exitMeanings = []ExitMeaning{
	{ExitOK, "done"},
	{ExitFailure, "failed in a way that no other code names; nothing was written (but by bench, which goes on)"},
	{ExitUsage, "the command line, a setting or the input is wrong or too large; nothing was written"},
	{ExitAbsent, "what was asked for is not there"},
	{ExitUnknown, "outcome unknown: the write may or may not have happened; `theriac outcome` finds out (an import is run again under its id)"},
	{ExitUnavailable, "not now or not in time (no node answers, stale, overloaded, read-only, time-out); nothing was written, later or elsewhere it may work"},
	{ExitCondition, "a condition did not hold (compare-and-set, a bound); nothing was written"},
	{ExitApplied, "the write happened, something behind it failed (printing, keeping the session)"},
	{ExitPart, "a part is done: an import stopped and is to be run again under its id, or an export left out what can't be read; stderr says more"},
	{ExitInvalid, "jepsen: a checker found what must not be, or the run exercised too little for a verdict; the report says which and what"},
	{ExitUndecided, "jepsen: nothing wrong was found, but a checker gave up"},
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// absentError says that a read found nothing.
type absentError struct{ what string }

func (e absentError) Error() string { return e.what }

// outputError says that an answer could not be printed.
type outputError struct {
	err     error
	applied bool // something was written before
}

func (e outputError) Error() string { return "printing the answer: " + e.err.Error() }
func (e outputError) Unwrap() error { return e.err }

// partError is what ended a command that has done, or may have done, a part of its work.
type partError struct {
	error
	outcome string // of what it was to write; empty: it does not write
	hint    string
}

func (e partError) Unwrap() error { return e.error }

// inPart is the outcome of what stopped halfway.
const inPart = "applied in part"

var kindCodes = map[kv.Kind]int{
	kv.KindInvalid: ExitUsage, kv.KindTooLarge: ExitUsage, kv.KindLevelRefused: ExitUsage,
	kv.KindNotFound:    ExitAbsent,
	kv.KindUnavailable: ExitUnavailable, kv.KindStale: ExitUnavailable, kv.KindOverloaded: ExitUnavailable,
	kv.KindDeadline: ExitUnavailable, kv.KindReadOnly: ExitUnavailable,
	kv.KindAborted: ExitCondition, kv.KindBound: ExitCondition, kv.KindNoRights: ExitCondition,
}

func exitCode(err error) int {
	var e *kv.Error
	var output outputError
	var coded Coded
	known := errors.As(err, &e)
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &coded):
		return coded.Code
	case errors.As(err, new(usageError)):
		return ExitUsage
	case errors.As(err, new(absentError)):
		return ExitAbsent
	case known && e.Outcome == kv.OutcomeUnknown:
		return ExitUnknown
	case errors.As(err, new(partError)):
		return ExitPart
	case known && e.Outcome == kv.Applied, errors.As(err, &output) && output.applied:
		return ExitApplied
	case output.err != nil, !known:
		return ExitFailure
	}
	if code, ok := kindCodes[e.Kind]; ok {
		return code
	}
	return ExitFailure
}

// kindFailed is the kind of failures that are not the database's, such as of a file.
const kindFailed = "failed"

// failure is what is reported of an error.
type failure struct {
	Command string `json:"command"`
	Kind    string `json:"kind"`
	Outcome string `json:"outcome,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// report prints an error on stderr. If that fails too there is nobody left to tell.
func (r *run) report(cmd *cobra.Command, err error) {
	f := r.describe(cmd, err)
	if r.client.Output == config.OutputJSON {
		line, _ := json.Marshal(map[string]failure{"error": f}) // strings always marshal
		fmt.Fprintf(r.app.Stderr, "%s\n", line)
		return
	}
	fmt.Fprintf(r.app.Stderr, "%s: %s\n", f.Command, f.Message)
	if f.Outcome != "" {
		fmt.Fprintf(r.app.Stderr, "  outcome: %s\n", f.Outcome)
	}
	if f.Hint != "" {
		fmt.Fprintf(r.app.Stderr, "  hint: %s\n", f.Hint)
	}
}

// remark says on stderr what is no answer and no error: a line of text, or the document.
func (r *run) remark(document map[string]string, text string, args ...any) error {
	if r.json() {
		line, err := json.Marshal(document)
		must(err) // strings always marshal
		text, args = "%s", []any{line}
	}
	if _, err := fmt.Fprintf(r.app.Stderr, text+"\n", args...); err != nil {
		return r.after(err)
	}
	return nil
}

func (r *run) describe(cmd *cobra.Command, err error) failure {
	f := failure{Command: cmd.CommandPath(), Kind: kindFailed, Message: err.Error()}
	var e *kv.Error
	var output outputError
	var part partError
	switch {
	case errors.As(err, new(usageError)):
		f.Kind, f.Hint = kv.KindInvalid.String(), "see "+cmd.CommandPath()+" --help"
		f.Message = strings.ReplaceAll(strings.ReplaceAll(f.Message, `\x00-`, "-"), maskByte, "") // what pflag saw masked
	case errors.As(err, new(absentError)):
		f.Kind = kv.KindNotFound.String()
	case errors.As(err, &output):
		if output.applied {
			f.Outcome, f.Hint = kv.Applied.String(), hintApplied
		}
	case errors.As(err, &e):
		f.Kind = e.Kind.String()
		if r.running && (r.writes || e.Outcome != kv.NotApplied) {
			f.Outcome = e.Outcome.String()
		}
		f.Message = strings.TrimSuffix(f.Message, " ("+e.Outcome.String()+")")
		if r.asks {
			f.Hint = r.hint(cmd, e)
		}
	}
	if errors.As(err, &part) {
		f.Outcome, f.Hint = part.outcome, part.hint
	}
	if f.Outcome == "" && r.json() && !r.many && cmd.Name() != outcomeName { // whose own it would be taken for
		f.Outcome = kv.NotApplied.String()
	}
	return f
}

// hintApplied is for writes that took place.
const hintApplied = "do not repeat it before you have read what is there"

// hint says what to do, where the message may not.
func (r *run) hint(cmd *cobra.Command, e *kv.Error) string {
	switch {
	case cmd.Name() == outcomeName && e.Kind == kv.KindTooOld:
		return "give a smaller --age if the write was sent later than that, else read the data to see whether it is there"
	case cmd.Name() == outcomeName: // it may be asked again, and what it asks of never is
	case e.Outcome == kv.OutcomeUnknown && !e.ID.IsZero():
		level := ""
		if r.client.Consistency.Level == kv.LevelStrong {
			level = " --consistency strong"
		}
		return fmt.Sprintf("before you repeat it, ask what became of it: theriac outcome %s --age 1h%s", e.ID, level)
	case e.Outcome != kv.NotApplied:
		return hintApplied
	}
	switch e.Kind {
	case kv.KindUnavailable:
		if e.Err == nil {
			return "the node answered, and can't serve this now: theriac cluster status tells which levels are, where"
		}
		return "theriac serve starts a node; --addr names others, now " + strings.Join(r.client.Addrs, ",")
	case kv.KindDeadline:
		return "--timeout gives it more time, now " + r.client.Timeout.String()
	case kv.KindStale:
		return "wait, or read without waiting: --consistency eventual"
	case kv.KindAborted:
		return "read the value again and decide anew"
	case kv.KindBound:
		if r.writes { // the message says what to do
			return ""
		}
		hint := "correct it by increments the other way (counter add, map set), or reset it: theriac del KEY --type counter, theriac map remove KEY FIELD:counter"
		if cmd.Flags().Lookup(skipFlag) != nil {
			hint += "; --" + skipFlag + " exports the rest"
		}
		return hint
	case kv.KindReadOnly:
		return "theriac status says why the node refuses writes"
	case kv.KindOverloaded:
		return "try again in a while"
	case kv.KindLost:
		return "begin a new session: remove the session's file"
	}
	return ""
}
