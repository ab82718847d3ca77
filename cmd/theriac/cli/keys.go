package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/cmd/theriac/jsonl"
	"github.com/theriac-db/theriac/cmd/theriac/words"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// keysFlags choose what keys lists.
type keysFlags struct {
	prefix  string
	kind    kv.Type
	limit   int64
	escaped bool
}

func (r *run) keysCommand() *cobra.Command {
	var f keysFlags
	cmd := &cobra.Command{
		Use: "keys", Short: "list a bucket's keys with their types, in byte order, at one snapshot", Args: wantArgs(0, 0),
		Example: indent("theriac keys --prefix user/"),
	}
	cmd.Flags().StringVar(&f.prefix, "prefix", "", "only keys that start with this `TEXT`")
	addTypeFlag(cmd.Flags(), &f.kind, crdt.Types())
	cmd.Flags().Var(countFlag{&f.limit}, "limit", "print at most this many; 0: all")
	cmd.Flags().BoolVar(&f.escaped, "escaped", false, "the prefix is escaped: any byte as %XX, a percent sign as %25")
	cmd.RunE = r.data(func([]string) (func(context.Context, *conn) error, error) {
		prefix, err := input{escaped: f.escaped}.text(f.prefix)
		f.prefix = prefix
		return func(ctx context.Context, c *conn) error { return c.list(ctx, f) }, err
	})
	return cmd
}

func (c *conn) list(ctx context.Context, f keysFlags) error {
	printed := int64(0)
	return c.view(ctx, func(t *tx) error {
		return t.keys(ctx, c.r.client.BucketOrDefault(), kv.Key(f.prefix), func(page []kv.Object) (bool, error) {
			for _, o := range page {
				if f.kind != 0 && o.Type != f.kind {
					continue
				}
				c.r.printObject(o)
				if printed++; printed == f.limit {
					return false, nil
				}
			}
			return true, nil
		})
	})
}

func (r *run) printObject(o kv.Object) {
	if r.json() {
		r.out.Write(append(jsonl.AppendHead(nil, o), '}', '\n'))
		return
	}
	fmt.Fprintf(r.out, "%s %s\n", words.Quote(string(o.Key)), crdt.Name(o.Type))
}

// indent is how cobra wants examples.
func indent(example string) string {
	if example == "" {
		return ""
	}
	return "  " + strings.Join(slices.Collect(strings.SplitSeq(example, "\n")), "\n  ")
}
