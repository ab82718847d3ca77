package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// addVerbs makes a command of every verb that needs one call.
func (r *run) addVerbs(root *cobra.Command) {
	for _, g := range verbGroups {
		group := &cobra.Command{Use: g.name, Short: g.short, GroupID: groupData, Args: cobra.NoArgs, RunE: needsVerb}
		for i := range verbs {
			if verbs[i].group == g.name {
				group.AddCommand(r.verbCommand(&verbs[i]))
			}
		}
		root.AddCommand(group)
	}
}

// needsVerb makes a group without a verb a usage error and not a silent help page.
func needsVerb(cmd *cobra.Command, _ []string) error {
	return kv.Errorf(kv.KindInvalid, "want a verb: %s", namesBelow(cmd))
}

func namesBelow(cmd *cobra.Command) string {
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	return oneOf(names)
}

func (r *run) verbCommand(v *verb) *cobra.Command {
	var flags verbFlags
	var from string
	cmd := &cobra.Command{Use: v.name + " " + v.args, Short: v.short, Long: v.long, Example: indent(v.example), Args: wantArgs(v.low, v.high)}
	flags.register(cmd.Flags(), v)
	if v.title() == "register set" {
		cmd.Args = wantArgs(1, 2)
		cmd.Flags().StringVar(&from, "from", "", "read the value from this `FILE`, or from standard input for -, byte by byte, also with --escaped")
	}
	cmd.RunE = r.data(func(args []string) (func(context.Context, *conn) error, error) {
		raw, err := r.readValue(v, args, from)
		if err != nil {
			return nil, err
		}
		s, err := v.statementFrom(cmd.Flags(), flags, r.client.BucketOrDefault(), args, raw)
		return r.single(s), err
	})
	return cmd
}

// readValue reads what --from names; nil: nothing. An empty value is not nil.
func (r *run) readValue(v *verb, args []string, from string) ([]byte, error) {
	switch {
	case from == "" && len(args) < v.low:
		return nil, kv.Errorf(kv.KindInvalid, "want a value behind the key, or --from FILE")
	case from == "":
		return nil, nil
	case len(args) > 1:
		return nil, kv.Errorf(kv.KindInvalid, "a value and --from exclude each other")
	}
	read := func() ([]byte, error) { return readUpTo(from, kv.MaxElement) }
	if from == "-" {
		read = func() ([]byte, error) { return io.ReadAll(io.LimitReader(r.app.Stdin, kv.MaxElement+1)) }
	}
	value, err := read()
	if err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "--from: %w", err)
	}
	return append([]byte{}, value...), nil
}

// single runs one statement.
func (r *run) single(s statement) func(context.Context, *conn) error {
	r.writes = len(s.ops) > 0
	return func(ctx context.Context, c *conn) error {
		if s.query == nil {
			_, err := c.do(ctx, nil, s.ops)
			return err
		}
		p := r.newPrinter(s.query, "")
		if err := c.read(ctx, s.query, p.page); err != nil {
			return err
		}
		p.end()
		return p.absent()
	}
}

// pageLimit is how many elements or fields are asked for at once.
const pageLimit = 1000

// read answers a query page by page: in one round trip where one page is enough, else all pages at
// one snapshot.
func (c *conn) read(ctx context.Context, q *kv.Query, page func(kv.Value) error) error {
	first := paged(q)
	values, err := c.do(ctx, []kv.Query{first}, nil)
	if err != nil {
		return err
	}
	if len(values[0].Next) == 0 {
		return page(values[0])
	}
	return c.view(ctx, func(t *tx) error { return t.read(ctx, q, page) })
}

// read answers a query page by page.
func (t *tx) read(ctx context.Context, q *kv.Query, page func(kv.Value) error) error {
	next := paged(q)
	for {
		values, err := t.execute(ctx, nil, []kv.Query{next})
		if err != nil {
			return err
		}
		if err := page(values[0]); err != nil || len(values[0].Next) == 0 {
			return err
		}
		next.After = values[0].Next
	}
}

// paged asks for the first page of what can be paged.
func paged(q *kv.Query) kv.Query {
	out := *q
	if t, err := crdt.Address(q.Object, q.Path); err == nil && q.Kind == kv.QueryValue && crdt.IsCollection(t) {
		out.Kind, out.Limit = kv.QueryPage, pageLimit
	}
	return out
}

// getCommand reads what is under a key, of one type or of all.
func (r *run) getCommand() *cobra.Command {
	v, _ := findVerb([]string{"get"})
	var flags verbFlags
	cmd := &cobra.Command{
		Use: "get KEY", Short: "print what is under a key, of every type", Args: wantArgs(1, 1),
		Long: `Prints the type and the value of each object under a key; with --type only the value of that one.
The exit code is 3 when nothing is there.`,
		Example: indent("theriac get likes\ntheriac get likes --type counter"),
	}
	flags.register(cmd.Flags(), v)
	cmd.RunE = r.data(func(args []string) (func(context.Context, *conn) error, error) {
		if flags.kind != 0 {
			return r.getOne(cmd, v, flags, args)
		}
		key, err := input{escaped: flags.escaped}.text(args[0])
		return func(ctx context.Context, c *conn) error { return c.getAll(ctx, kv.Key(key)) }, err
	})
	return cmd
}

// getOne is get --type: what is not there is absent, whatever the type.
func (r *run) getOne(cmd *cobra.Command, v *verb, flags verbFlags, args []string) (func(context.Context, *conn) error, error) {
	s, err := v.statement(cmd.Flags(), flags, r.client.BucketOrDefault(), args)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, c *conn) error {
		p := r.newPrinter(s.query, "")
		page := func(v kv.Value) error {
			if !v.Present && !p.json {
				return nil
			}
			return p.page(v)
		}
		if err := c.read(ctx, s.query, page); err != nil {
			return err
		}
		p.end()
		if !p.filled {
			return nothingUnder(s.object.Bucket, s.object.Key)
		}
		return nil
	}, nil
}

func nothingUnder(b kv.Bucket, k kv.Key) error {
	q := kv.Query{Object: kv.Object{Bucket: b, Key: k}}
	return absentError{fmt.Sprintf("nothing at %s in bucket %s", place(&q), place(&kv.Query{Object: kv.Object{Key: kv.Key(b)}}))}
}

func (c *conn) getAll(ctx context.Context, key kv.Key) error {
	bucket := c.r.client.BucketOrDefault()
	return c.view(ctx, func(t *tx) error {
		objects, err := t.under(ctx, bucket, key)
		if err != nil {
			return err
		}
		for _, o := range objects {
			q := &kv.Query{Object: o}
			p := c.r.newPrinter(q, crdt.Name(o.Type)+" ")
			if err := t.read(ctx, q, p.page); err != nil {
				return err
			}
			p.end()
		}
		if len(objects) == 0 {
			return nothingUnder(bucket, key)
		}
		return nil
	})
}

// delCommand removes what is under a key, of one type or of all.
func (r *run) delCommand() *cobra.Command {
	v, _ := findVerb([]string{"del"})
	var flags verbFlags
	cmd := &cobra.Command{
		Use: "del KEY", Short: "remove what is under a key, of every type", Args: wantArgs(1, 1),
		Long: `Removes the objects under a key with everything in them, in one transaction; with --type only that one.
Updates that are concurrent with the removal survive it. Removing what is not there is no error.`,
	}
	flags.register(cmd.Flags(), v)
	cmd.RunE = r.data(func(args []string) (func(context.Context, *conn) error, error) {
		r.writes = true
		if flags.kind != 0 {
			s, err := v.statement(cmd.Flags(), flags, r.client.BucketOrDefault(), args)
			return r.single(s), err
		}
		key, err := input{escaped: flags.escaped}.text(args[0])
		return func(ctx context.Context, c *conn) error { return c.delAll(ctx, kv.Key(key)) }, err
	})
	return cmd
}

func (c *conn) delAll(ctx context.Context, key kv.Key) error {
	var objects []kv.Object
	err := c.view(ctx, func(t *tx) (err error) {
		objects, err = t.under(ctx, c.r.client.BucketOrDefault(), key)
		return err
	})
	if err != nil || len(objects) == 0 {
		return err
	}
	ops := make([]kv.Op, len(objects))
	for i, o := range objects {
		ops[i] = kv.Op{Object: o, Verb: kv.VerbReset}
	}
	// The token of the view goes with it, so the removal has seen all that was listed.
	_, err = c.do(ctx, nil, ops)
	return err
}

// openInput opens a file, or standard input for -. size is -1 when it is not known.
func (r *run) openInput(name string) (in io.ReadCloser, size int64, err error) {
	if name == "-" {
		return io.NopCloser(r.app.Stdin), -1, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, kv.Errorf(kv.KindInvalid, "%w", err)
	}
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		f.Close()
		return nil, 0, kv.Errorf(kv.KindInvalid, "%s is not a file that can be read", name)
	}
	size = -1
	if info.Mode().IsRegular() {
		size = info.Size()
	}
	return f, size, nil
}

// json reports whether answers are JSON.
func (r *run) json() bool { return r.client.Output == config.OutputJSON }
