package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/theriac-db/theriac/kv"
)

// strictHelp makes help about what is not there a mistake. Cobra prints the page of the whole
// command then, and ends well.
func strictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() != "help" {
			continue
		}
		c.Use, c.Short, c.Long = "help [COMMAND]", "print the help of a command", "theriac help COMMAND prints what theriac COMMAND --help does."
		c.Args = func(_ *cobra.Command, args []string) error {
			if _, rest, err := root.Find(args); err != nil || len(rest) > 0 {
				return kv.Errorf(kv.KindInvalid, "no command %q", strings.Join(args, " "))
			}
			return nil
		}
	}
}

// strictCompletion makes a shell that is not known a mistake, where cobra prints help and ends well.
func strictCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = cobra.ArbitraryArgs, func(cmd *cobra.Command, args []string) error {
				return kv.Errorf(kv.KindInvalid, "want a shell: %s", namesBelow(cmd))
			}
		}
	}
}

// withoutData makes a command one that reaches no database: its help leaves out the flags of those that
// do, and it refuses them rather than ignore what somebody meant by them.
func withoutData(cmd *cobra.Command, but ...string) *cobra.Command {
	cmd.SetUsageTemplate(withoutInherited(cmd.UsageTemplate()))
	work := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var refused error
		cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) {
			if f.Changed && refused == nil && !slices.Contains(but, f.Name) {
				refused = kv.Errorf(kv.KindInvalid, "%s takes no --%s, which is for commands on data", cmd.Name(), f.Name)
			}
		})
		if refused != nil {
			return refused
		}
		return work(cmd, args)
	}
	return cmd
}

// unknownFlag names a flag before the command that no command has. Cobra takes the command for such
// a flag's value, and complains about the words behind it.
func unknownFlag(root *cobra.Command, args []string) error {
	for len(args) > 0 && strings.HasPrefix(args[0], "--") && args[0] != "--" {
		name, _, valued := strings.Cut(args[0][len("--"):], "=")
		f := anyFlag(root, name)
		switch {
		case f == nil && name != "help" && name != "version":
			return kv.Errorf(kv.KindInvalid, "unknown flag: --%s", name)
		case f != nil && f.NoOptDefVal == "" && !valued && len(args) > 1:
			args = args[1:]
		}
		args = args[1:]
	}
	return nil
}

// anyFlag is the flag of that name of a command or of one below it.
func anyFlag(cmd *cobra.Command, name string) *pflag.Flag {
	for _, fs := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
		if f := fs.Lookup(name); f != nil {
			return f
		}
	}
	for _, c := range cmd.Commands() {
		if f := anyFlag(c, name); f != nil {
			return f
		}
	}
	return nil
}
