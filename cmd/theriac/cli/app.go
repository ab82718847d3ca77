package cli

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/kv"
)

// Connection is a database that data commands run on. They use it from one goroutine, but for bench.
type Connection interface {
	kv.Service
	Close() error
}

// App is the command with everything that it takes from its surroundings.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Env            []string // in the form of os.Environ
	Terminal       bool     // stderr is a terminal, so progress may be drawn on it
	Version        string   // empty: a build that was not released
	Source         string   // the version that the source says it is, for such builds

	// Dial connects to the database that the settings name. Nil: over the network.
	Dial func(ctx context.Context, c config.Client) (Connection, error)
	// Serve runs a node until ctx ends. It prints config.ReadyLine on stdout once it serves. Nil:
	// there is no serve command.
	Serve func(ctx context.Context, c config.Serve, stdout io.Writer) error
	// Commands makes further commands, which own their flags and have a RunE, or commands below them that
	// do. Their errors may be Coded. Nil: none.
	Commands func() []*cobra.Command
}

// Run runs the command line and returns the exit code.
func (a *App) Run(ctx context.Context, args []string) int {
	r := &run{app: a, out: bufio.NewWriterSize(a.Stdout, outBuffer)}
	root := r.root()
	root.SetArgs(mask(args))
	cmd, err := root, unknownFlag(root, args)
	if err == nil {
		cmd, err = root.ExecuteContextC(ctx)
	}
	if err != nil && !r.running {
		err = usageError{err}
		if wantsJSON(args) { // behind a flag that was not understood
			r.client.Output = config.OutputJSON
		}
	}
	if failed := r.out.Flush(); err == nil && failed != nil {
		err = r.after(failed)
	}
	if err != nil {
		r.report(cmd, err)
	}
	return exitCode(err)
}

// wantsJSON finds the flag for JSON among arguments that were not read to their end.
func wantsJSON(args []string) bool {
	for i, a := range args {
		switch {
		case a == "--":
			return false
		case a == "-ojson", a == "--output=json", (a == "-o" || a == "--output") && i+1 < len(args) && args[i+1] == "json":
			return true
		}
	}
	return false
}

// Root is the tree of commands, for documentation.
func (a *App) Root() *cobra.Command {
	return (&run{app: a, out: bufio.NewWriter(io.Discard)}).root()
}

// outBuffer is how much output is gathered before it is written, in bytes.
const outBuffer = 64 << 10

// run is one command's execution.
type run struct {
	app     *App
	out     *bufio.Writer
	client  config.Client
	running bool // flags and arguments were understood
	asks    bool // the command asks a node, so hints are about reaching one
	writes  bool // the command may write, so its errors say what became of that
	applied bool // something was written
	// bucketTyped: --bucket is on the command line, and not from the environment or a file only.
	bucketTyped bool
	many        bool // it writes much and does not keep count of what became of it
}

// after is the error of an answer that can't be printed.
func (r *run) after(err error) error { return outputError{err, r.applied} }

func (r *run) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "theriac",
		Short: "a geo-replicated database of counters, registers, flags, sets and maps",
		Long: `theriac runs nodes of a geo-replicated database and reads and writes its data.

A node with default settings and a first write:

  theriac serve &
  theriac counter add likes 1
  theriac counter get likes`,
		Version:       version(r.app),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate(versionLine(r.app))
	root.SetIn(r.app.Stdin)
	root.SetOut(r.out)
	root.SetErr(r.app.Stderr)
	root.PersistentFlags().String(config.FileFlag, "", config.FileFlagUsage)
	r.client.Register(root.PersistentFlags())
	root.AddGroup(&cobra.Group{ID: groupData, Title: "Data:"}, &cobra.Group{ID: groupWhole, Title: "Whole buckets and databases:"},
		&cobra.Group{ID: groupNode, Title: "Nodes:"})
	root.SetFlagErrorFunc(flagError)
	r.addCommands(root)
	completeFlags(root)
	root.Flags().BoolP("help", "h", false, "print what theriac is and its commands")
	root.Flags().BoolP("version", "v", false, "print the version of this command")
	strictHelp(root)
	strictCompletion(root)
	return root
}

const (
	groupData  = "data"
	groupWhole = "whole"
	groupNode  = "node"
)

func (r *run) addCommands(root *cobra.Command) {
	r.addVerbs(root)
	in := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	in(groupData, r.getCommand(), r.delCommand(), r.keysCommand(), r.txnCommand())
	in(groupWhole, r.bucketCommand(), r.importCommand(), r.exportCommand(), r.digestCommand(), r.outcomeCommand())
	in(groupNode, r.statusCommand(), r.clusterCommand(), r.benchCommand())
	if r.app.Serve != nil {
		in(groupNode, r.serveCommand())
	}
	root.AddCommand(withoutData(r.versionCommand(), "output"))
	if r.app.Commands == nil {
		return
	}
	for _, c := range r.app.Commands() {
		root.AddCommand(r.adopt(c))
	}
}

// adopt prepares a command of App.Commands, and those below it.
func (r *run) adopt(cmd *cobra.Command) *cobra.Command {
	if cmd.HasSubCommands() {
		cmd.Args, cmd.RunE = cobra.NoArgs, needsVerb
		for _, c := range cmd.Commands() {
			r.adopt(c)
		}
	} else {
		cmd.RunE = r.foreign(cmd.RunE)
	}
	return withoutData(cmd)
}

// foreign makes the RunE of a command of App.Commands: what goes wrong once it runs is no mistake on
// the command line.
func (r *run) foreign(work func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		r.running = true
		return work(cmd, args)
	}
}

// data makes the RunE of a command on a database: it loads the settings, prepares what the
// arguments say, and only then connects (invariant 1).
func (r *run) data(prepare func(args []string) (func(ctx context.Context, c *conn) error, error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := r.load(cmd); err != nil {
			return err
		}
		work, err := prepare(unmaskAll(args))
		if err != nil {
			return err
		}
		r.running, r.asks = true, true
		return r.connected(cmd.Context(), work)
	}
}

// load gives the settings their values and checks them.
func (r *run) load(cmd *cobra.Command) error {
	unmaskFlags(cmd)
	if err := noEmpty(cmd.Flags()); err != nil {
		return err
	}
	r.bucketTyped = cmd.Flags().Changed("bucket")
	if err := config.Load(cmd.Flags(), r.app.Env); err != nil {
		return err
	}
	return r.client.Validate(cmd.Flags())
}

// connected runs work on a connection and keeps the session, also when work failed halfway.
func (r *run) connected(ctx context.Context, work func(ctx context.Context, c *conn) error) error {
	c, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer c.svc.Close()
	err = work(ctx, c)
	if saved := c.save(); err == nil && saved != nil {
		return saved
	}
	if err == nil && r.client.Receipt {
		err = r.printReceipt(c.receipt)
	}
	return err
}

// args wraps a check of arguments so that a wrong number of them says what is wanted.
func wantArgs(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= low && (high < 0 || len(args) <= high) {
			return nil
		}
		return kv.Errorf(kv.KindInvalid, "%d arguments; want: %s", len(args), cmd.UseLine())
	}
}

// flagError explains an argument that was taken for a flag.
func flagError(_ *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	switch {
	case strings.Contains(err.Error(), "unknown shorthand"):
		return kv.Errorf(kv.KindInvalid, "%w; put -- before arguments that start with -", err)
	case errors.As(err, &value) && strings.Contains(err.Error(), "missing unit in duration"):
		return kv.Errorf(kv.KindInvalid, "--%s %s: want a unit, as in %ss", value.GetFlag().Name, value.GetValue(), value.GetValue())
	}
	if want, ok := config.Wanted(err); ok && errors.As(err, &value) {
		if strings.HasPrefix(value.GetValue(), maskByte) { // no flag takes a negative number
			want += ", 0 or more"
		}
		return kv.Errorf(kv.KindInvalid, "--%s %s: %s", value.GetFlag().Name, value.GetValue(), want)
	}
	return err
}

// The mask keeps pflag from reading a negative number as flags: theriac counter add likes -5. No
// argument can hold a zero byte, so the mask is in no argument before.
const maskByte = "\x00"

func mask(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if len(a) > 1 && a[0] == '-' && '0' <= a[1] && a[1] <= '9' {
			a = maskByte + a
		}
		out[i] = a
	}
	return out
}

func unmask(s string) string { return strings.TrimPrefix(s, maskByte) }

func unmaskAll(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = unmask(a)
	}
	return out
}
