package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/cmd/theriac/cli"
	"github.com/theriac-db/theriac/cmd/theriac/config"
)

var rewrite = flag.Bool("rewrite", false, "rewrite docs/reference from the commands")

const marker = "<!-- Generated from the commands; to rewrite: go test ./cmd/theriac -run Reference -rewrite -->\n"

func TestReferenceOfCommandsIsCurrent(t *testing.T) {
	checkReference(t, "../../docs/reference/commands.md", commandsPage())
}

func TestReferenceOfConfigurationIsCurrent(t *testing.T) {
	checkReference(t, "../../docs/reference/configuration.md", configurationPage())
}

// checkReference compares what stands behind the marker of a page. What stands before it is written
// by hand.
func checkReference(t *testing.T, name, want string) {
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	intro, got, found := strings.Cut(string(text), marker)
	require.True(t, found, "%s has no line %q", name, marker)
	if *rewrite {
		require.NoError(t, os.WriteFile(name, []byte(intro+marker+want), 0o644))
		return
	}
	require.Equal(t, want, got, "%s is out of date: run this test with -rewrite", name)
}

func commandsPage() string {
	app := newApp()
	if app.Serve == nil {
		app.Serve = func(context.Context, config.Serve, io.Writer) error { return nil }
	}
	root := app.Root()
	root.InitDefaultCompletionCmd()
	var b strings.Builder
	b.WriteString("\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n")
	for _, e := range cli.ExitMeanings() {
		fmt.Fprintf(&b, "| %d | %s |\n", e.Code, e.Meaning)
	}
	b.WriteString("\n## Flags of theriac itself\n\n")
	writeFlagsWhere(&b, root.LocalNonPersistentFlags(), func(*pflag.Flag) bool { return true })
	b.WriteString("\nEvery command has `--help`, too.\n")
	b.WriteString("\n## Flags of all commands on data\n\n")
	writeFlags(&b, root.PersistentFlags())
	writeCommands(&b, root)
	return b.String()
}

// writeCommands writes the commands below cmd that do something, in the order of their names.
func writeCommands(b *strings.Builder, cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		if c.Hidden || c.Name() == "completion" { // which a section in front of the marker explains
			continue
		}
		if !c.HasSubCommands() {
			writeCommand(b, c)
		}
		writeCommands(b, c)
	}
}

func writeCommand(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n%s.\n\n```\n%s\n```\n", c.CommandPath(), upper(c.Short), strings.TrimSuffix(c.UseLine(), " [flags]"))
	if c.Long != "" {
		fmt.Fprintf(b, "\n%s\n", strings.TrimSpace(c.Long))
	}
	if c.Example != "" {
		fmt.Fprintf(b, "\n```%s\n%s\n```\n", fence(c), strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
	}
	if own := c.LocalNonPersistentFlags(); own.HasAvailableFlags() {
		b.WriteString("\n")
		writeFlags(b, own)
	}
}

// fence makes examples run with the pages, but for those of commands that run until they are stopped, or long.
func fence(c *cobra.Command) string {
	if c.Name() == "serve" || c.Name() == "demo" || c.HasParent() && c.Parent().Name() == "jepsen" {
		return "console"
	}
	return "sh run"
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func writeFlags(b *strings.Builder, fs *pflag.FlagSet) {
	writeFlagsWhere(b, fs, func(f *pflag.Flag) bool { return f.Name != "help" })
}

func writeFlagsWhere(b *strings.Builder, fs *pflag.FlagSet, want func(*pflag.Flag) bool) {
	b.WriteString("| flag | default | meaning |\n| --- | --- | --- |\n")
	fs.VisitAll(func(f *pflag.Flag) {
		if !want(f) || f.Hidden {
			return
		}
		placeholder, usage := pflag.UnquoteUsage(f)
		name := "`--" + strings.TrimSpace(f.Name+" "+placeholder) + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", strings.ReplaceAll(name, "|", "\\|"), defaultOf(f), strings.ReplaceAll(usage, "|", "\\|"))
	})
}

// defaultOf is a flag's default as one would type it.
func defaultOf(f *pflag.Flag) string {
	value := strings.Trim(f.DefValue, "[]")
	if value == "" {
		return ""
	}
	return "`" + value + "`"
}

func configurationPage() string {
	var b strings.Builder
	for _, part := range []struct {
		title    string
		register func(fs *pflag.FlagSet)
	}{
		{"Settings of commands on data", new(config.Client).Register},
		{"Settings of theriac serve", new(config.Serve).Register},
	} {
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		part.register(fs)
		fmt.Fprintf(&b, "\n## %s\n\n| key | variable | default | meaning |\n| --- | --- | --- | --- |\n", part.title)
		fs.VisitAll(func(f *pflag.Flag) {
			_, usage := pflag.UnquoteUsage(f)
			fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", f.Name, config.EnvName(f.Name), defaultOf(f), usage)
		})
	}
	return b.String()
}
