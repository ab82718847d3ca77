package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/cmd/theriac/jsonl"
	"github.com/theriac-db/theriac/cmd/theriac/words"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// Bounds of an import's transactions.
const (
	DefaultBatch = 2000
	MaxBatch     = kv.MaxOps - progressOps
	// maxRounds bounds the concurrent values of one register-mv, which need a transaction each.
	maxRounds = 64
)

func (r *run) importCommand() *cobra.Command {
	var s importSettings
	cmd := &cobra.Command{
		Use: "import FILE|-", Short: "write the objects of a JSON Lines file; resumable", Args: wantArgs(1, 1),
		Long: `Reads objects, one a line, from a file or from standard input, and writes them: counters are added to,
registers assigned, sets and maps get the elements and fields. docs/formats/jsonl.md describes the lines. Lines without
a bucket go into the one that --bucket names, and lines that name another one are refused then; --into writes all lines
into one bucket, whichever they name.

How far the import got is part of each of its transactions, under the import's id. Run again with the same file and
the same --id it goes on where it stopped, and changes nothing once it is complete. Without --id it draws one at random
and prints it on stderr. An import goes on in the region in which it began. One that stops has written what came before;
the exit code is 8 then, or 4 if the last transaction may be written too.`,
		Example: indent("theriac import backup.jsonl --id restore-1\ntheriac import backup.jsonl --id copy-1 --into copy"),
	}
	cmd.Flags().StringVar(&s.id, "id", "", "`NAME` of this import, for going on with it (default random)")
	cmd.Flags().StringVar(&s.into, "into", "", "write all lines into this `BUCKET`, whichever they name")
	cmd.Flags().IntVar(&s.batch, "batch", DefaultBatch, fmt.Sprintf("operations in one transaction, 1 to %d; more: fewer, longer steps", MaxBatch))
	cmd.RunE = r.data(func(args []string) (func(context.Context, *conn) error, error) {
		if err := s.check(r.bucketTyped); err != nil {
			return nil, err
		}
		in, size, err := r.openInput(args[0])
		if err != nil {
			return nil, err
		}
		r.writes = true
		return func(ctx context.Context, c *conn) error {
			defer in.Close()
			return c.importLines(ctx, in, size, s)
		}, nil
	})
	return cmd
}

type importSettings struct {
	id    string
	into  string // bucket of all lines; empty: that which they name
	batch int
}

func (s importSettings) check(bucket bool) error {
	switch {
	case s.batch < 1 || s.batch > MaxBatch:
		return kv.Errorf(kv.KindInvalid, "--batch %d: want 1 to %d", s.batch, MaxBatch)
	case len(s.id) > kv.MaxKey:
		return kv.Errorf(kv.KindTooLarge, "--id of %d bytes, want at most %d", len(s.id), kv.MaxKey)
	case len(s.into) > kv.MaxBucket:
		return kv.Errorf(kv.KindTooLarge, "--into: %d bytes, want at most %d", len(s.into), kv.MaxBucket)
	case s.into != "" && bucket:
		return kv.Errorf(kv.KindInvalid, "--bucket and --into exclude each other: all lines go into one bucket, or those without one")
	case kv.Bucket(s.into).Reserved():
		return reservedError(kv.Bucket(s.into))
	}
	return nil
}

// importer is one import under way.
type importer struct {
	c        *conn
	lines    *lineReader
	record   progressRecord
	at       position // behind the last transaction
	settings importSettings
	partial  string // sum of the line that was written in part, until it is read
	done     bool   // all lines are read

	// The transaction being gathered.
	rounds  [][]kv.Op
	size    int
	next    position
	several map[kv.Object]bool // objects in it whose write takes several rounds
	touched map[kv.Object]bool // all objects in it

	skipped, operations int64
}

func (c *conn) importLines(ctx context.Context, in io.Reader, size int64, s importSettings) error {
	if s.id == "" {
		s.id = rand.Text()
		if err := c.r.remark(map[string]string{"import": s.id}, "import id %s: to go on after an interruption add --id %s", s.id, s.id); err != nil {
			return err
		}
	}
	p := c.r.progress("imported", size)
	defer p.end()
	im := &importer{c: c, lines: newLineReader(in, s.into, p), record: newProgressRecord(s.id), settings: s}
	im.clear()
	err := im.run(ctx)
	if err == nil {
		im.print()
		return nil
	}
	return im.stopped(err)
}

// stopped says what became of an import that ends early: of what it has written the position tells, and
// under its id it may be run again in any case.
func (im *importer) stopped(err error) error {
	id := words.Quote(im.settings.id)
	switch {
	case kv.OutcomeOf(err) == kv.OutcomeUnknown:
		return partError{err, kv.OutcomeUnknown.String(), fmt.Sprintf("run it again with --id %s: it goes on where it stopped, and writes nothing twice", id)}
	case im.c.r.applied:
		return partError{err, inPart, fmt.Sprintf("import %s is complete up to line %d; run it again with --id %s to go on", id, im.at.lines, id)}
	}
	return err
}

func (im *importer) print() {
	if im.c.r.json() {
		line, _ := json.Marshal(map[string]any{"id": im.settings.id, "lines": im.at.lines - im.skipped,
			"skipped": im.skipped, "operations": im.operations}) // strings and numbers always marshal
		fmt.Fprintf(im.c.r.out, "%s\n", line)
		return
	}
	fmt.Fprintf(im.c.r.out, "imported %d lines, skipped %d that were imported before; operations written: %d\n",
		im.at.lines-im.skipped, im.skipped, im.operations)
}

func (im *importer) run(ctx context.Context) error {
	if err := im.resume(ctx); err != nil {
		return err
	}
	for !im.done {
		if err := im.line(ctx); err != nil {
			return err
		}
	}
	return im.flush(ctx)
}

// resume finds out how far the import got and skips that much of the file.
func (im *importer) resume(ctx context.Context) error {
	at, sum, err := im.record.load(ctx, im.c)
	if err != nil {
		return err
	}
	im.at, im.next, im.skipped = at, at, at.lines
	for im.lines.count < at.lines {
		if _, err := im.lines.read(); err != nil {
			return im.otherFile(err)
		}
	}
	whole, partial, _ := strings.Cut(sum, ":")
	if at != (position{}) && im.lines.sums[at.lines] != whole {
		return im.otherFile(nil)
	}
	im.partial = partial
	return nil
}

func (im *importer) otherFile(err error) error {
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return kv.Errorf(kv.KindInvalid, "the first %d lines under id %s were others: give this file an id of its own", im.at.lines, words.Quote(im.settings.id))
}

// line takes one line into the transaction, which is written when it is full.
func (im *importer) line(ctx context.Context) error {
	text, err := im.lines.read()
	if errors.Is(err, io.EOF) {
		im.done = true
		return nil
	}
	if err != nil {
		return err
	}
	if im.partial != "" && im.partial != im.lines.lastSum() {
		return im.otherFile(nil)
	}
	im.partial = ""
	o, rounds, err := im.parse(text)
	if err != nil {
		return im.refused(ctx, err)
	}
	if im.conflicts(o, len(rounds)) {
		if err := im.flush(ctx); err != nil {
			return err
		}
	}
	if err := im.take(ctx, o, rounds); err != nil {
		return err
	}
	im.next = position{lines: im.lines.count}
	return nil
}

// refused keeps what came before a line that is wrong, so that the import can go on with it corrected.
func (im *importer) refused(ctx context.Context, err error) error {
	if failed := im.flush(ctx); failed != nil {
		return failed
	}
	return kv.Errorf(kv.KindOf(err), "line %d: %w", im.lines.count, err)
}

// parse reads a line and holds its operations to the rules of their types.
func (im *importer) parse(text []byte) (kv.Object, [][]kv.Op, error) {
	if len(text) == 0 {
		return kv.Object{}, nil, nil
	}
	o, v, err := jsonl.Decode(text, im.c.r.client.BucketOrDefault())
	if err != nil {
		return o, nil, err
	}
	if o.Bucket, err = im.bucket(o.Bucket); err != nil {
		return o, nil, err
	}
	if o.Bucket.Reserved() {
		return o, nil, reservedError(o.Bucket)
	}
	rounds := jsonl.Ops(o, v)
	if len(rounds) > maxRounds {
		return o, nil, kv.Errorf(kv.KindTooLarge, "a register-mv with %d values, want at most %d", len(rounds), maxRounds)
	}
	for _, ops := range rounds {
		for _, op := range ops {
			if _, err := crdt.Resolve(op); err != nil {
				return o, nil, err
			}
		}
	}
	return o, rounds, nil
}

// bucket is where a line goes that names a bucket, or none and has that of --bucket.
func (im *importer) bucket(named kv.Bucket) (kv.Bucket, error) {
	only := kv.Bucket(im.c.r.client.Bucket)
	switch {
	case im.settings.into != "":
		return kv.Bucket(im.settings.into), nil
	case only != "" && named != only:
		return named, kv.Errorf(kv.KindInvalid, "it names bucket %s, and --bucket %s is for lines that name none; --into %s writes all lines into that bucket",
			words.Quote(string(named)), words.Quote(string(only)), words.Quote(string(only)))
	}
	return named, nil
}

// conflicts reports whether the object can't go into the transaction being gathered: values of a
// register-mv that stay beside each other must not meet an assign of another line.
func (im *importer) conflicts(o kv.Object, rounds int) bool {
	return im.several[o] || rounds > 1 && im.touched[o]
}

// take adds a line's operations, in as many transactions as they need. Those of rounds beyond the
// first all go with the line's first part, since they are few.
func (im *importer) take(ctx context.Context, o kv.Object, rounds [][]kv.Op) error {
	if len(rounds) == 0 {
		return nil
	}
	if len(rounds) > 1 {
		return im.takeRounds(ctx, o, rounds)
	}
	skip := im.next.ops
	for i, op := range rounds[0] {
		if int64(i) < skip {
			continue
		}
		if im.full(op) {
			im.next = position{lines: im.lines.count - 1, ops: int64(i)}
			if err := im.flush(ctx); err != nil {
				return err
			}
		}
		im.add(0, op)
		im.touched[o] = true
	}
	return nil
}

// takeRounds adds a line whose register-mv hold several values. It is not cut: its rounds are one
// step or they are not concurrent.
func (im *importer) takeRounds(ctx context.Context, o kv.Object, rounds [][]kv.Op) error {
	count := 0
	for _, ops := range rounds {
		count = max(count, len(ops))
	}
	if count > MaxBatch {
		return kv.Errorf(kv.KindTooLarge, "line %d: an object with concurrent values and more than %d fields", im.lines.count, MaxBatch)
	}
	if len(im.rounds[0])+len(rounds[0]) > im.settings.batch && im.size > 0 {
		if err := im.flush(ctx); err != nil {
			return err
		}
	}
	for i, ops := range rounds {
		for _, op := range ops {
			im.add(i, op)
		}
	}
	im.several[o], im.touched[o] = true, true
	return nil
}

func (im *importer) full(op kv.Op) bool {
	return im.size > 0 && (len(im.rounds[0]) >= im.settings.batch || im.size+opSize(op) > flushBytes)
}

func (im *importer) add(round int, op kv.Op) {
	for len(im.rounds) <= round {
		im.rounds = append(im.rounds, nil)
	}
	im.rounds[round] = append(im.rounds[round], op)
	im.size += opSize(op)
}

func (im *importer) clear() {
	im.rounds, im.size = [][]kv.Op{nil}, 0
	im.several, im.touched = map[kv.Object]bool{}, map[kv.Object]bool{}
}

// flush writes the transaction together with the new position (invariant 4).
func (im *importer) flush(ctx context.Context) error {
	if im.next == im.at {
		return nil
	}
	written := int64(0)
	for _, ops := range im.rounds {
		written += int64(len(ops))
	}
	im.rounds[0] = append(im.rounds[0], im.record.ops(im.at, im.next, im.lines.sum(im.next))...)
	write := im.writeOne
	if len(im.rounds) > 1 || opsSize(im.rounds[0]) > 2*flushBytes {
		write = im.writeRounds
	}
	if err := write(ctx); err != nil {
		return im.explain(err)
	}
	im.operations += written
	im.at = im.next
	im.clear()
	return nil
}

func (im *importer) writeOne(ctx context.Context) error {
	_, err := im.c.do(ctx, nil, im.rounds[0])
	return err
}

// writeRounds writes one transaction a round, all begun before the first commits, so that none sees
// another. The one with the position commits last: if an interruption leaves some of the others
// written, the repetition, which has seen them, replaces them by themselves.
func (im *importer) writeRounds(ctx context.Context) error {
	o := im.c.options()
	var open []*tx
	defer func() {
		for _, t := range open {
			t.end(ctx)
		}
	}()
	for range im.rounds {
		t, _, err := im.c.begin(ctx, kv.Begin{Options: o})
		if err != nil {
			return err
		}
		open = append(open, t)
	}
	for i := len(open) - 1; i >= 0; i-- {
		b := batcher{t: open[i]}
		if err := errors.Join(b.add(ctx, im.rounds[i]), b.flush(ctx)); err != nil {
			return err
		}
		receipt, err := open[i].commit(ctx)
		if err != nil {
			return err
		}
		if err := im.c.saw(receipt); err != nil {
			return err
		}
	}
	return nil
}

// explain says what a failed position means.
func (im *importer) explain(err error) error {
	if !errors.Is(err, kv.ErrAborted) || kv.IsConflict(err) || kv.OutcomeOf(err) != kv.NotApplied {
		return err
	}
	return kv.Errorf(kv.KindAborted, "another import under id %s went on meanwhile; let it finish, or give this one an id of its own: %w",
		words.Quote(im.settings.id), err)
}
