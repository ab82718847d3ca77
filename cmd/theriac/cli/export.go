package cli

import (
	"bufio"
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/cmd/theriac/jsonl"
	"github.com/theriac-db/theriac/cmd/theriac/words"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// exportBatch is how many objects are read in one call, as long as the answer fits.
const exportBatch = 256

func (r *run) exportCommand() *cobra.Command {
	var file string
	var skip bool
	cmd := &cobra.Command{
		Use: "export", Short: "write all objects as JSON Lines, at one snapshot", Args: wantArgs(0, 0),
		Long: `Writes the objects of all buckets, or of the one that --bucket names, one a line, in byte order: the same
content gives the same bytes. Buckets whose names start with "theriac." are the database's own and left out. Large
sets and maps take several lines, so an object may be larger than memory. docs/formats/jsonl.md describes the lines, and theriac import reads them. With
--file the file appears once it is complete; an interrupted export is begun anew, since it is one snapshot.

A counter beyond 64 bits can't be exported: it is to be corrected first, by increments the other way, or reset. Nor can
a register-mv whose concurrent values are together larger than an answer, 16 MiB, before one is assigned in their place.
Until then --skip-unreadable exports everything else.`,
		Example: indent("theriac export --file backup.jsonl\ntheriac export --bucket default"),
	}
	cmd.Flags().StringVar(&file, "file", "", "write to this `FILE` instead of standard output")
	cmd.Flags().BoolVar(&skip, skipFlag, false, "leave out what can't be read, a counter beyond 64 bits or a leaf larger than an answer: its object, of a large map what comes from about there on, and name them on stderr; the exit code is then 8")
	cmd.RunE = r.data(func([]string) (func(context.Context, *conn) error, error) {
		return func(ctx context.Context, c *conn) error {
			e := exporter{c: c, batch: exportBatch, skip: skip}
			write := func(out *bufio.Writer) error { e.out = out; return e.run(ctx) }
			var err error
			if file == "" {
				err = write(r.out)
			} else {
				err = toFile(file, write)
			}
			if err == nil && e.skipped > 0 {
				err = partError{error: kv.Errorf(kv.KindBound, "exported, but for %d objects that can't be read, in whole or in part: see above", e.skipped)}
			}
			return err
		}, nil
	})
	return cmd
}

// skipFlag lets an export go on past what can't be read.
const skipFlag = "skip-unreadable"

// run writes all objects at one snapshot.
func (e *exporter) run(ctx context.Context) error {
	e.progress = e.c.r.progress("exported", -1)
	defer e.progress.end()
	var level kv.Consistency // of all that is exported, since what is written can't be taken back
	if c := e.c; c.r.client.Bucket == "" && c.r.client.Consistency.Level == kv.LevelDefault {
		var err error
		if level, err = c.strictest(ctx); err != nil {
			return err
		}
	}
	return e.c.viewBuckets(ctx, level, func(t *tx) error {
		e.t = t
		return e.c.exported(ctx, func(b kv.Bucket) error {
			return t.keys(ctx, b, "", func(page []kv.Object) (bool, error) { return true, e.objects(ctx, page) })
		})
	})
}

// exported calls fn with the buckets to export. They are listed once the snapshot is open, so every
// bucket of the snapshot is among them.
func (c *conn) exported(ctx context.Context, fn func(kv.Bucket) error) error {
	if c.r.client.Bucket != "" {
		return fn(c.r.client.BucketOrDefault())
	}
	req := kv.BucketsRequest{Limit: keysPage}
	for {
		page, err := c.buckets(ctx, req)
		if err != nil {
			return err
		}
		for _, b := range page.Buckets {
			if err := fn(b); err != nil {
				return err
			}
		}
		if len(page.Next) == 0 {
			return nil
		}
		req.After = page.Next
	}
}

func (c *conn) buckets(ctx context.Context, req kv.BucketsRequest) (kv.BucketsPage, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	page, err := c.svc.Buckets(ctx, req)
	return page, c.failed(err)
}

// exporter writes lines. It asks for several objects at once, and for fewer when an answer would
// be too large.
type exporter struct {
	c        *conn
	t        *tx
	out      *bufio.Writer
	progress *progress
	batch    int
	skip     bool // go on past objects that can't be read
	skipped  int  // how many there were
}

func (e *exporter) objects(ctx context.Context, objects []kv.Object) error {
	for len(objects) > 0 {
		n := min(e.batch, len(objects))
		queries := make([]kv.Query, n)
		for i := range queries {
			queries[i] = paged(&kv.Query{Object: objects[i]})
		}
		values, err := e.t.execute(ctx, nil, queries)
		if errors.Is(err, kv.ErrTooLarge) && n > 1 {
			e.batch = n / 2
			continue
		}
		switch {
		case err == nil:
			err = e.values(ctx, queries, values)
		case errors.Is(err, kv.ErrBound) && n > 1:
			err = e.alone(ctx, objects[:n])
		case n > 1:
		default:
			err = e.unreadable(objects[0], err)
		}
		if err != nil {
			return err
		}
		objects = objects[n:]
	}
	return nil
}

// alone reads objects one by one, since one of them can't be read.
func (e *exporter) alone(ctx context.Context, objects []kv.Object) error {
	for i := range objects {
		if err := e.objects(ctx, objects[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// unreadable says of which object an error is, and passes the object by if it is to be left out.
func (e *exporter) unreadable(o kv.Object, err error) error {
	named := kv.Errorf(kv.KindOf(err), "reading %s %s of bucket %s: %w", crdt.Name(o.Type), words.Quote(string(o.Key)), words.Quote(string(o.Bucket)), err)
	if !e.skip || !errors.Is(err, kv.ErrBound) && !errors.Is(err, kv.ErrTooLarge) {
		return named
	}
	e.skipped++
	e.batch = exportBatch // which that object may have brought down to one
	return e.c.r.remark(map[string]string{"left_out": named.Message}, "left out: %s", named.Message)
}

// values writes the first page of each object, and of those that have more the rest.
func (e *exporter) values(ctx context.Context, queries []kv.Query, values []kv.Value) error {
	for i, v := range values {
		if err := e.value(ctx, queries[i:i+1], v); err != nil {
			return err
		}
	}
	return nil
}

// value writes an object of which a first page is read.
func (e *exporter) value(ctx context.Context, query []kv.Query, v kv.Value) error {
	for {
		if err := e.line(query[0].Object, v); err != nil {
			return err
		}
		if len(v.Next) == 0 {
			return nil
		}
		query[0].After = v.Next
		more, err := e.t.execute(ctx, nil, query)
		if err != nil {
			return e.unreadable(query[0].Object, err)
		}
		v = more[0]
	}
}

func (e *exporter) line(o kv.Object, v kv.Value) error {
	v.Type = o.Type
	for _, piece := range jsonl.Split(v, jsonl.MaxPiece) {
		if _, err := e.out.Write(jsonl.Append(nil, o, piece)); err != nil {
			return e.c.r.after(err)
		}
	}
	e.progress.add(1)
	return nil
}
