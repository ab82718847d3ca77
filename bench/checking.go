package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"syscall"
	"time"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/causal"
	"github.com/theriac-db/theriac/jepsen/checker/causal/model"
	"github.com/theriac-db/theriac/jepsen/history"
)

// checkedShape is of the histories that are checked: 4.5 operations a transaction.
var checkedShape = model.Shape{Regions: 5, Keys: 1000, Callers: 50, Ops: 8, Plain: true}

// checkPatience is how long a parent waits for a history to be made, checked and read.
const checkPatience = 20 * time.Minute

// checking: histories of five sizes are checked for causal consistency, each by a process of its own on one core, and one
// with calls of all kinds. It is processor time that counts, not time on the clock: nothing is waited for.
func checking(ctx context.Context, e *Env) ([]Figure, error) {
	note := fmt.Sprintf("reading the same history from its file; processor time, by a process of its own on one core; %d callers in %d regions, %s registers",
		checkedShape.Callers, checkedShape.Regions, number(float64(checkedShape.Keys)))
	goals := []Goal{{}, {}, {}, atMostOurs(10), atMostOurs(60)}
	var figures []Figure
	var each []float64 // seconds a transaction
	for i, txns := range []int{e.Checked / 8, e.Checked / 4, e.Checked / 2, e.Checked, e.Checked * 20 / 9} {
		r, err := checked(ctx, e, txns, true)
		if err != nil {
			return figures, err
		}
		figures = append(figures, r.checked(txns, "5% of unknown outcome", goals[i], note))
		each = append(each, r.Seconds/float64(txns))
		memory := Goal{}
		if txns == e.Checked {
			memory = atMostOurs(1024)
		}
		of := number(float64(txns)) + " transactions"
		figures = append(figures, alone("time a transaction of checking "+of, "µs of a core", 1e6*each[i], Goal{}, ""),
			alone("memory of checking "+of+", peak", "MiB", float64(r.Bytes)/(1<<20), memory, "of the whole process, with the history"))
	}
	growth := alone("time a transaction of the largest of these by that of the smallest", "times", each[len(each)-1]/each[0], atMostOurs(2),
		"1 would be linear")
	r, err := checked(ctx, e, e.Checked, false)
	if err != nil {
		return figures, err
	}
	return append(figures, growth, r.checked(e.Checked, "5% of unknown outcome, 5% at level eventual, an eighth of no session", atMostOurs(10), note)), nil
}

// checked is the figure of one history.
func (r *reply) checked(txns int, of string, g Goal, note string) Figure {
	f := alone(fmt.Sprintf("checking %s transactions (%s operations) for causal consistency, %s",
		number(float64(txns)), number(float64(r.Done)), of), "s of a core", r.Seconds, g, note)
	f.Limit, f.Ratio = r.Limit, r.Seconds/r.Limit
	f.Low, f.High = f.Ratio, f.Ratio
	return f
}

func checked(ctx context.Context, e *Env, txns int, plain bool) (r reply, err error) {
	p, err := startChild(ctx, e, "", "check")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, p.quit()) }()
	return p.ask(request{Do: "check", Count: int64(txns), Plain: plain}, checkPatience)
}

// checkChild checks one history for its parent.
func checkChild(in io.Reader, out io.Writer) error {
	encoder := json.NewEncoder(out)
	if err := encoder.Encode(ready{}); err != nil {
		return err
	}
	line, err := readLine(bufio.NewReader(in), childLine)
	if err != nil {
		return err
	}
	var q request
	if err := json.Unmarshal(line, &q); err != nil {
		return fmt.Errorf("bench: child: %w", err)
	}
	runtime.GOMAXPROCS(1)
	r, err := check(int(q.Count), q.Plain)
	if err != nil {
		r.Error = err.Error()
	}
	return encoder.Encode(r)
}

// check makes a history, checks it, and reads it from its file's bytes.
func check(txns int, plain bool) (r reply, err error) {
	shape := checkedShape
	shape.Plain = plain
	h := model.History(rand.New(rand.NewPCG(1, 0)).IntN, shape, txns)
	for i := range h.Txns {
		r.Done += int64(len(h.Txns[i].Ops))
	}
	runtime.GC()
	var got checker.Result
	if r.Seconds, _, err = spent(func() error { got = causal.Checker{}.Check(h, checker.Options{}); return nil }); err != nil {
		return r, err
	}
	if got.Verdict != checker.Valid {
		return r, fmt.Errorf("bench: a correct history was found %s: %v", got.Verdict, got.Anomalies)
	}
	if _, r.Bytes, err = spent(func() error { return nil }); err != nil {
		return r, err
	}
	var file bytes.Buffer
	if err := h.Write(&file); err != nil {
		return r, err
	}
	r.Limit, _, err = spent(func() error { _, err := history.Read(&file); return err })
	return r, err
}

// spent is the processor time that fn took, of this process in all its threads, and the most memory that the process has
// had so far.
func spent(fn func() error) (seconds float64, peak int64, err error) {
	var before, after syscall.Rusage
	err = errors.Join(syscall.Getrusage(syscall.RUSAGE_SELF, &before), fn(), syscall.Getrusage(syscall.RUSAGE_SELF, &after))
	took := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	peak = after.Maxrss
	if runtime.GOOS == "linux" {
		peak *= 1024 // others count bytes
	}
	return time.Duration(took).Seconds(), peak, err
}
