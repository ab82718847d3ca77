package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/cmd/theriac/pathspec"
	"github.com/theriac-db/theriac/cmd/theriac/words"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// anyWord stands for no restriction.
const anyWord = "any"

// ruleFlags say what is to be decided for a bucket.
type ruleFlags struct {
	cmd           *cobra.Command
	types, levels []string
	given         []string // which of the flags are on the command line
}

func (f *ruleFlags) register(cmd *cobra.Command) {
	f.cmd = cmd
	cmd.Flags().StringSliceVar(&f.types, "type", nil, "data `TYPE` that objects may be written with, again for each; any: all of them. Types: "+
		strings.Join(pathspec.TypeNames(crdt.Types()), ", "))
	cmd.Flags().StringSliceVar(&f.levels, "allow", nil, "`LEVEL` that calls may have, again for each; any: all of them. Levels: eventual, causal, bounded, quorum, strong")
	must(cmd.RegisterFlagCompletionFunc("allow", cobra.FixedCompletions([]string{"eventual", "causal", "bounded", "quorum", "strong", anyWord}, cobra.ShellCompDirectiveNoFileComp)))
}

// note takes down which flags the command line has: a setting of another place is about calls, and no default
// of a bucket.
func (f *ruleFlags) note() {
	f.given = nil
	for _, name := range []string{"type", "allow", "consistency", "durability"} {
		if f.cmd.Flags().Changed(name) {
			f.given = append(f.given, name)
		}
	}
}

// change makes of rules what the flags say, and leaves the rest.
func (f *ruleFlags) change(r *run, rules *kv.BucketRules) (err error) {
	for _, name := range f.given {
		switch name {
		case "type":
			rules.Types, err = sorted(f.types, pathspec.ParseType)
		case "allow":
			rules.Levels, err = sorted(f.levels, parseLevel)
		case "consistency":
			rules.Consistency = r.client.Consistency
		case "durability":
			rules.Reach = r.client.Durability
		}
		if err != nil {
			return kv.Errorf(kv.KindOf(err), "--%s: %w", name, err)
		}
	}
	return rules.Check()
}

// parseLevel reads a level's name, without a bound.
func parseLevel(name string) (kv.Level, error) {
	for l := kv.LevelEventual; l <= kv.LevelStrong; l++ {
		if l.String() == name {
			return l, nil
		}
	}
	return 0, kv.Errorf(kv.KindInvalid, "no level %q: want eventual, causal, bounded, quorum, strong or %s", name, anyWord)
}

// sorted reads words, each once, in the order of what they mean; "any" alone means none.
func sorted[T ~uint8](list []string, parse func(string) (T, error)) (out []T, err error) {
	if len(list) == 1 && list[0] == anyWord {
		return nil, nil
	}
	for _, word := range list {
		v, err := parse(word)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (r *run) bucketCommand() *cobra.Command {
	group := &cobra.Command{
		Use: "bucket", Short: "decide what a bucket takes, at which levels, and its defaults", Args: cobra.NoArgs, RunE: needsVerb,
		Long: `A bucket exists once it has been written to, and takes any type and any level. Rules restrict it, and give calls that
name no level or durability those that they are to have. They are decided by a majority of the regions, and each
region acts by them as soon as it hears of them; until then the list names it as pending.`,
	}
	group.AddCommand(
		r.bucketChange("create", "decide the rules of a bucket that has none",
			"theriac bucket create accounts --allow strong --durability majority", (*conn).createBucket),
		r.bucketChange("alter", "change the rules of a bucket, but for those that no flag names",
			"theriac bucket create stock --type counter\ntheriac bucket alter stock --consistency quorum", (*conn).alterBucket),
		r.bucketDrop(),
		r.bucketList(),
	)
	return group
}

func (r *run) bucketDrop() *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use: "drop NAME", Short: "take away a bucket's rules and all that it holds", Args: wantArgs(1, 1),
		Long: `Drops a bucket: its rules and every object in it are gone, in every region that hears of it, and the name may be used
for something else at once. A bucket that holds objects is dropped with --yes only. What regions write to it that have not
heard of the drop is lost. The space is reclaimed in the background, once no transaction can read it any more.`,
		Example: indent("theriac bucket create carts\ntheriac bucket drop carts --yes"),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "drop the bucket though it holds data")
	cmd.RunE = r.data(func(args []string) (func(context.Context, *conn) error, error) {
		name := kv.Bucket(args[0])
		if err := r.named(name); err != nil {
			return nil, err
		}
		if err := kv.CheckDrop(name); err != nil {
			return nil, err
		}
		r.writes = true
		return func(ctx context.Context, c *conn) error {
			ctx, cancel := c.limited(ctx)
			defer cancel()
			d, err := c.svc.DropBucket(ctx, kv.DropRequest{Bucket: name, WithData: yes, Token: c.token})
			if err != nil {
				return c.failed(err)
			}
			r.applied = true
			r.printDropped(name, d.Generation)
			return c.saw(d.Receipt)
		}, nil
	})
	return cmd
}

// droppedJSON is what became of a bucket, as a document.
type droppedJSON struct {
	Bucket     string `json:"bucket"`
	Generation uint32 `json:"generation"`
}

func (r *run) printDropped(name kv.Bucket, generation uint32) {
	if r.json() {
		r.printJSON(droppedJSON{string(name), generation})
		return
	}
	fmt.Fprintf(r.out, "dropped %s: generation %d\n", words.Quote(string(name)), generation)
}

// named refuses a bucket that is not the one of --bucket.
func (r *run) named(name kv.Bucket) error {
	if r.bucketTyped && r.client.Bucket != string(name) {
		return kv.Errorf(kv.KindInvalid, "--bucket %s and %s: name one bucket", words.Quote(r.client.Bucket), words.Quote(string(name)))
	}
	return nil
}

func (c *conn) createBucket(ctx context.Context, name kv.Bucket, f *ruleFlags) (d kv.DecidedRules, err error) {
	rules := kv.BucketRules{Name: name}
	if err := f.change(c.r, &rules); err != nil {
		return d, err
	}
	return c.svc.CreateBucket(ctx, rules)
}

func (c *conn) alterBucket(ctx context.Context, name kv.Bucket, f *ruleFlags) (d kv.DecidedRules, err error) {
	if len(f.given) == 0 {
		return d, kv.Errorf(kv.KindInvalid, "nothing to change: give --type, --allow, --consistency or --durability")
	}
	list, err := c.svc.BucketRules(ctx)
	if err != nil {
		return d, err
	}
	i := slices.IndexFunc(list, func(d kv.DecidedRules) bool { return d.Name == name })
	if i < 0 {
		return d, kv.Errorf(kv.KindNotFound, "bucket %s has no rules: theriac bucket create", words.Quote(string(name)))
	}
	rules := list[i].BucketRules
	if err := f.change(c.r, &rules); err != nil {
		return d, err
	}
	return c.svc.AlterBucket(ctx, rules, list[i].Since)
}

// decideFunc has a bucket's rules decided, as flags say.
type decideFunc func(c *conn, ctx context.Context, name kv.Bucket, f *ruleFlags) (kv.DecidedRules, error)

// bucketChange makes a command that decides a bucket's rules.
func (r *run) bucketChange(verb, short, example string, decide decideFunc) *cobra.Command {
	f := &ruleFlags{}
	cmd := &cobra.Command{
		Use: verb + " NAME", Short: short, Args: wantArgs(1, 1),
		Long:    "With --consistency and --durability on the command line these become the bucket's defaults; \"default\" takes them away.",
		Example: indent(example),
	}
	f.register(cmd)
	work := r.data(func(args []string) (func(context.Context, *conn) error, error) {
		name := kv.Bucket(args[0])
		if err := r.named(name); err != nil {
			return nil, err
		}
		trial := kv.BucketRules{Name: name}
		if err := f.change(r, &trial); err != nil && verb == "create" {
			return nil, err
		}
		r.writes = true
		return func(ctx context.Context, c *conn) error {
			ctx, cancel := c.limited(ctx)
			defer cancel()
			d, err := decide(c, ctx, name, f)
			if err != nil {
				return err
			}
			r.applied = true
			r.printRules([]kv.DecidedRules{d})
			return nil
		}, nil
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f.note()
		return work(cmd, args)
	}
	return cmd
}

func (r *run) bucketList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "print the buckets that have rules, and where those are pending", Args: wantArgs(0, 0),
		Long: `Prints a line for each bucket that has rules: the types that it takes, the levels that calls may have, and the level and
the durability of calls that name none. PENDING are the regions that may still act by the rules before.`,
		RunE: r.data(func([]string) (func(context.Context, *conn) error, error) {
			return func(ctx context.Context, c *conn) error {
				ctx, cancel := c.limited(ctx)
				defer cancel()
				list, err := c.svc.BucketRules(ctx)
				if err == nil {
					r.printRules(list)
				}
				return err
			}, nil
		}),
	}
}

// rulesJSON is a bucket's rules as a document.
type rulesJSON struct {
	Bucket      string   `json:"bucket"`
	Types       []string `json:"types"`
	Levels      []string `json:"levels"`
	Consistency string   `json:"consistency"`
	Durability  string   `json:"durability"`
	Generation  uint32   `json:"generation"`
	Pending     []string `json:"pending"`
}

func (r *run) printRules(list []kv.DecidedRules) {
	t := tabwriter.NewWriter(r.out, 0, 8, 2, ' ', 0)
	if !r.json() {
		fmt.Fprintf(t, "BUCKET\tTYPES\tLEVELS\tCONSISTENCY\tDURABILITY\tGENERATION\tPENDING\n")
	}
	for _, d := range list {
		types, levels := texts(d.Types), texts(d.Levels)
		if r.json() {
			r.printJSON(rulesJSON{string(d.Name), types, levels, d.Default().String(), d.DefaultReach().String(), d.Generation, append([]string{}, d.Pending...)})
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", words.Quote(string(d.Name)), orAny(types), orAny(levels), d.Default(), d.DefaultReach(),
			strconv.FormatUint(uint64(d.Generation), 10), dash(strings.Join(d.Pending, ",")))
	}
	_ = t.Flush() // the writer below remembers its error
}

func texts[T fmt.Stringer](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return out
}

func orAny(list []string) string {
	if len(list) == 0 {
		return anyWord
	}
	return strings.Join(list, ",")
}
