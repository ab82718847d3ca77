package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/theriac-db/theriac/cmd/theriac/words"
	"github.com/theriac-db/theriac/kv"
)

const (
	// maxStatements bounds the lines of a txn file: as many as a transaction may have operations.
	maxStatements = kv.MaxOps
	// flushBytes is how much goes into one request of a transaction; larger ones take several.
	flushBytes = 1 << 20
)

func (r *run) txnCommand() *cobra.Command {
	return &cobra.Command{
		Use: "txn FILE|-", Short: "run a file of verbs as one transaction, all or nothing", Args: wantArgs(1, 1),
		Long: `Reads verbs, one a line, from a file or from standard input, and runs them as one transaction: all of it
happens, or nothing. The lines are the data commands without "theriac"; get and del need their --type here, and
--bucket may differ from line to line. Reads see the writes of the lines before them. What they read is printed
once the transaction has committed, each value behind its key.

Words with blanks go into double quotes, in which \\, \", \n, \r, \t and \xHH are escapes. Lines that are empty
or start with # are skipped. All lines are checked before anything is sent.`,
		Example: `  theriac txn - <<'END'
  counter add stock -1
  set add orders "order 7"
  counter get stock
  END`,
		RunE: r.data(func(args []string) (func(context.Context, *conn) error, error) {
			in, _, err := r.openInput(args[0])
			if err != nil {
				return nil, err
			}
			defer in.Close()
			statements, err := r.parseTxn(in)
			return func(ctx context.Context, c *conn) error { return c.txn(ctx, statements) }, err
		}),
	}
}

// parseTxn reads and checks all lines.
func (r *run) parseTxn(in io.Reader) ([]statement, error) {
	var out []statement
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, words.MaxLine)
	count := 0
	for n := 1; lines.Scan(); n++ {
		s, err := r.parseLine(string(bytes.TrimSuffix(lines.Bytes(), []byte("\r"))))
		if err != nil {
			return nil, kv.Errorf(kv.KindInvalid, "line %d: %w", n, err)
		}
		if s.verb == nil {
			continue
		}
		out = append(out, s)
		if count += len(s.ops); count > kv.MaxOps || len(out) > maxStatements {
			return nil, kv.Errorf(kv.KindTooLarge, "line %d: more than %d operations in one transaction; split it", n, kv.MaxOps)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, kv.Errorf(kv.KindTooLarge, "a line of more than %d bytes", words.MaxLine)
	} else if err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "reading the transaction: %w", err)
	}
	for _, s := range out {
		r.writes = r.writes || len(s.ops) > 0
	}
	return out, nil
}

// parseLine checks one line. One without words gives a statement without a verb.
func (r *run) parseLine(line string) (statement, error) {
	text, err := words.Split(line)
	if err != nil || len(text) == 0 {
		return statement{}, err
	}
	v, used := findVerb(text)
	if v == nil {
		return statement{}, kv.Errorf(kv.KindInvalid, "unknown verb %q; want one such as counter add", strings.Join(text[:min(len(text), 2)], " "))
	}
	var f verbFlags
	bucket := string(r.client.BucketOrDefault())
	fs := pflag.NewFlagSet(v.title(), pflag.ContinueOnError)
	f.register(fs, v)
	fs.StringVar(&bucket, "bucket", bucket, "")
	if err := fs.Parse(mask(text[used:])); err != nil {
		return statement{}, kv.Errorf(kv.KindInvalid, "%s: %w (-- before it makes a word that starts with - an argument)", v.title(), err)
	}
	if err := noEmpty(fs); err != nil {
		return statement{}, kv.Errorf(kv.KindInvalid, "%s: %w", v.title(), err)
	}
	f.ifValue = unmask(f.ifValue)
	args := unmaskAll(fs.Args())
	if len(args) < v.low || v.high >= 0 && len(args) > v.high {
		return statement{}, kv.Errorf(kv.KindInvalid, "want %s %s", v.title(), v.args)
	}
	s, err := v.statement(fs, f, kv.Bucket(bucket), args)
	if err != nil {
		return statement{}, kv.Errorf(kv.KindOf(err), "%s: %w", v.title(), err)
	}
	return s, nil
}

// txn runs statements as one transaction and prints what they read.
func (c *conn) txn(ctx context.Context, statements []statement) error {
	if len(statements) == 0 {
		return nil
	}
	run := c.interactive
	if oneShot(statements) {
		run = c.oneShot
	}
	values, err := run(ctx, statements)
	if err != nil {
		return err
	}
	for _, s := range statements {
		if s.query != nil {
			c.r.printRead(s, values[0])
			values = values[1:]
		}
	}
	return nil
}

// oneShot reports whether one round trip does it: reads come before writes, and all fits.
func oneShot(statements []statement) bool {
	size, written := 0, false
	for _, s := range statements {
		if written && s.query != nil {
			return false
		}
		written = written || len(s.ops) > 0
		size += opsSize(s.ops)
	}
	return size <= flushBytes
}

func opsSize(ops []kv.Op) int {
	n := 0
	for _, op := range ops {
		n += opSize(op)
	}
	return n
}

// opSize is about what an operation takes in a request.
func opSize(op kv.Op) int {
	const rest = 64 // what is not names and values
	n := rest + len(op.Bucket) + len(op.Key) + len(op.Data)
	for _, s := range op.Path {
		n += len(s.Name) + 8
	}
	if op.Expect != nil {
		n += len(op.Expect.Value)
	}
	return n
}

func (c *conn) oneShot(ctx context.Context, statements []statement) ([]kv.Value, error) {
	var queries []kv.Query
	var ops []kv.Op
	for _, s := range statements {
		ops = append(ops, s.ops...)
		if s.query != nil {
			queries = append(queries, *s.query)
		}
	}
	return c.do(ctx, queries, ops)
}

// Limits and pace of transactions at level strong that met others.
const (
	maxConflicts = 16                     // how often one is run, the first time included
	maxConflict  = 500 * time.Millisecond // the longest pause between two runs
)

// interactive runs the statements in a transaction, again when it met another one at level strong, or where the
// command names no level and that of a bucket turns out to be stronger.
func (c *conn) interactive(ctx context.Context, statements []statement) ([]kv.Value, error) {
	var level kv.Consistency
	for n := 1; ; n++ {
		values, err := c.runStatements(ctx, c.unnamed(kv.Begin{Options: c.options()}, level), statements)
		if c.raises(err) && n < maxConflicts {
			level = kv.NeedsOf(err)
			continue
		}
		if n == maxConflicts || !kv.IsConflict(err) {
			return values, err
		}
		pause := min(time.Millisecond<<n, maxConflict)
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return values, err
		}
	}
}

func (c *conn) runStatements(ctx context.Context, begin kv.Begin, statements []statement) ([]kv.Value, error) {
	t, _, err := c.begin(ctx, begin)
	if err != nil {
		return nil, err
	}
	defer t.end(ctx)
	var values []kv.Value
	b := batcher{t: t}
	for _, s := range statements {
		if err := b.add(ctx, s.ops); err != nil {
			return nil, err
		}
		if s.query == nil {
			continue
		}
		got, err := t.execute(ctx, b.take(), []kv.Query{*s.query})
		if err != nil {
			return nil, err
		}
		values = append(values, got...)
	}
	if err := b.flush(ctx); err != nil {
		return nil, err
	}
	receipt, err := t.commit(ctx)
	if err != nil {
		return nil, err
	}
	return values, c.saw(receipt)
}

// batcher hands operations to a transaction in requests of a bounded size.
type batcher struct {
	t    *tx
	ops  []kv.Op
	size int
}

func (b *batcher) add(ctx context.Context, ops []kv.Op) error {
	for _, op := range ops {
		if n := opSize(op); b.size+n > flushBytes && len(b.ops) > 0 {
			if err := b.flush(ctx); err != nil {
				return err
			}
		}
		b.ops = append(b.ops, op)
		b.size += opSize(op)
	}
	return nil
}

func (b *batcher) take() []kv.Op {
	ops := b.ops
	b.ops, b.size = nil, 0
	return ops
}

func (b *batcher) flush(ctx context.Context) error {
	if len(b.ops) == 0 {
		return nil
	}
	_, err := b.t.execute(ctx, b.take(), nil)
	return err
}

// printRead prints what one line of a transaction read, behind the key.
func (r *run) printRead(s statement, v kv.Value) {
	prefix := place(s.query) + " "
	if s.query.Kind == kv.QueryContains {
		prefix += words.Quote(string(s.query.Data)) + " "
	}
	p := r.newPrinter(s.query, prefix)
	// Printing a page can't fail before the output is flushed.
	_ = p.page(v)
	p.end()
	if !r.json() && !p.filled && (p.absent() != nil || p.many()) {
		fmt.Fprintf(r.out, "%s(absent)\n", prefix)
	}
}
