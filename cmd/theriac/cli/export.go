package cli

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"

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
	cmd := &cobra.Command{
		Use: "export", Short: "write all objects as JSON Lines, at one snapshot", Args: wantArgs(0, 0),
		Long: `Writes the objects of all buckets, or of the one that --bucket names, one a line, in byte order: the same
content gives the same bytes. Buckets whose names start with "theriac." are the database's own and left out. Large
sets and maps take several lines, so an object may be larger than memory. docs/formats/jsonl.md describes the lines, and theriac import reads them. With
--file the file appears once it is complete; an interrupted export is begun anew, since it is one snapshot.`,
		Example: indent("theriac export --file backup.jsonl\ntheriac export --bucket default"),
	}
	cmd.Flags().StringVar(&file, "file", "", "write to this `FILE` instead of standard output")
	cmd.RunE = r.data(func([]string) (func(context.Context, *conn) error, error) {
		return func(ctx context.Context, c *conn) error {
			if file == "" {
				return c.export(ctx, r.out)
			}
			return toFile(file, func(out *bufio.Writer) error { return c.export(ctx, out) })
		}, nil
	})
	return cmd
}

// toFile lets write fill a new file, which takes its name once it is complete.
func toFile(name string, write func(out *bufio.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return kv.Errorf(kv.KindInvalid, "--file %s: %w", name, errors.Unwrap(err)) // os.CreateTemp wraps with its own name
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	out := bufio.NewWriterSize(f, outBuffer)
	if err = write(out); err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func (c *conn) export(ctx context.Context, out *bufio.Writer) error {
	progress := c.r.progress("exported", -1)
	defer progress.end()
	e := exporter{out: out, progress: progress, batch: exportBatch}
	return c.view(ctx, func(t *tx) error {
		e.t = t
		return c.exported(ctx, func(b kv.Bucket) error {
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
	t        *tx
	out      *bufio.Writer
	progress *progress
	batch    int
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
		if err != nil {
			return naming(objects[0], n, err)
		}
		if err := e.values(ctx, queries, values); err != nil {
			return err
		}
		objects = objects[n:]
	}
	return nil
}

// naming says of which object an error is, where it is of one.
func naming(o kv.Object, n int, err error) error {
	if n > 1 {
		return err
	}
	out := kv.Errorf(kv.KindOf(err), "reading %s %s of bucket %s: %w", crdt.Name(o.Type), words.Quote(string(o.Key)), words.Quote(string(o.Bucket)), err)
	return out.WithOutcome(kv.NotApplied)
}

// values writes the first page of each object, and of those that have more the rest.
func (e *exporter) values(ctx context.Context, queries []kv.Query, values []kv.Value) error {
	for i, v := range values {
		for {
			if err := e.line(queries[i].Object, v); err != nil {
				return err
			}
			if len(v.Next) == 0 {
				break
			}
			queries[i].After = v.Next
			more, err := e.t.execute(ctx, nil, queries[i:i+1])
			if err != nil {
				return naming(queries[i].Object, 1, err)
			}
			v = more[0]
		}
	}
	return nil
}

func (e *exporter) line(o kv.Object, v kv.Value) error {
	v.Type = o.Type
	for _, piece := range jsonl.Split(v, jsonl.MaxPiece) {
		if _, err := e.out.Write(jsonl.Append(nil, o, piece)); err != nil {
			return kv.Errorf(kv.KindUnavailable, "writing: %w", err)
		}
	}
	e.progress.add(1)
	return nil
}
