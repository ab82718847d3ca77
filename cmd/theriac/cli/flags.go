package cli

import (
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/theriac-db/theriac/cmd/theriac/pathspec"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// unmaskFlags takes the mask off values of flags that take any text.
func unmaskFlags(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if v := f.Value.String(); f.Changed && f.Value.Type() == "string" && unmask(v) != v {
			// Setting a string never fails.
			_ = f.Value.Set(unmask(v))
		}
	})
}

// mayBeEmpty are the flags whose empty value means something: every key, and the empty value.
var mayBeEmpty = []string{"prefix", "if"}

// noEmpty refuses flags that are given without a value, as a script does whose variable is not set: taken
// for flags that are not given they would mean something else.
func noEmpty(fs *pflag.FlagSet) (err error) {
	fs.VisitAll(func(f *pflag.Flag) {
		empty := f.Value.Type() == "string" && f.Value.String() == "" || f.Value.Type() == "stringSlice" && f.Value.String() == "[]"
		if f.Changed && empty && !slices.Contains(mayBeEmpty, f.Name) && err == nil {
			err = kv.Errorf(kv.KindInvalid, "--%s is empty: give it a value, or leave it out", f.Name)
		}
	})
	return err
}

// typeFlag makes a choice of types a flag's value. Empty choices allow every type.
type typeFlag struct {
	to      *kv.Type
	choices []kv.Type
}

func (f typeFlag) String() string {
	if f.to == nil || *f.to == 0 {
		return ""
	}
	return crdt.Name(*f.to)
}

func (f typeFlag) Set(name string) error {
	t, err := pathspec.ParseType(name)
	for _, c := range f.choices {
		if err == nil && c == t {
			*f.to = t
			return nil
		}
	}
	return kv.Errorf(kv.KindInvalid, "want %s", oneOf(pathspec.TypeNames(f.choices)))
}

func (f typeFlag) Type() string { return "type" }

// countFlag makes a number from 0 a flag's value.
type countFlag struct{ to *int64 }

func (f countFlag) String() string {
	if f.to == nil {
		return "0"
	}
	return strconv.FormatInt(*f.to, 10)
}

func (f countFlag) Set(s string) error {
	n, err := strconv.ParseInt(unmask(s), 10, 64)
	if err != nil || n < 0 {
		return kv.Errorf(kv.KindInvalid, "want a whole number, 0 or more")
	}
	*f.to = n
	return nil
}

func (f countFlag) Type() string { return "int" }

func oneOf(names []string) string {
	out := ""
	for i, n := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			out += " or "
		default:
			out += ", "
		}
		out += n
	}
	return out
}

func addTypeFlag(fs *pflag.FlagSet, to *kv.Type, choices []kv.Type) {
	fs.Var(typeFlag{to, choices}, "type", "data type: "+oneOf(pathspec.TypeNames(choices)))
}

// completeFlags gives the shell the words that flags accept.
func completeFlags(root *cobra.Command) {
	words := map[string][]string{
		"output":      {"table", "json"},
		"consistency": {"eventual", "causal", "bounded:2s", "bounded:2s:fail", "quorum", "strong"},
		"durability":  {"applied", "local", "2", "majority", "all"},
	}
	for name, choices := range words {
		must(root.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(choices, cobra.ShellCompDirectiveNoFileComp)))
	}
	for _, c := range root.Commands() {
		completeTypes(c)
	}
}

func completeTypes(cmd *cobra.Command) {
	if f := cmd.Flags().Lookup("type"); f != nil {
		if t, ok := f.Value.(typeFlag); ok {
			must(cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(pathspec.TypeNames(t.choices), cobra.ShellCompDirectiveNoFileComp)))
		}
	}
	for _, c := range cmd.Commands() {
		completeTypes(c)
	}
}

// must stops on errors that only a mistake in this package can cause.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
