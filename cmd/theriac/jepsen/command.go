package jepsen

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/cmd/theriac/cli"
	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/runner"
)

// Options are what the commands take from their surroundings.
type Options struct {
	Out, Err io.Writer
	Terminal bool // Err is a terminal, so that a line on it may be drawn anew
	// Open starts nodes. Nil: processes of this command.
	Open func(ctx context.Context, n Nodes) (runner.Cluster, error)
	// Able has the abilities of what Open gives: those of package nemesis. Nil: those of processes.
	Able any
}

// Nodes say what to start.
type Nodes struct {
	Dir          string   // for data and logs
	Regions, New []string // names: from the start, and to be added later
	Keep         bool     // the data, too
	Namespaces   bool     // network namespaces instead of proxies
	Nemeses      []string // what will be done to them, as a user names it
}

// Command is `theriac jepsen`.
func Command(o Options) *cobra.Command {
	if o.Open == nil {
		o.Open, o.Able = openProcesses, processes{}
	}
	c := &commands{o}
	group := &cobra.Command{
		Use: "jepsen", Short: "run workloads on nodes that are disturbed, and check what clients saw",
		Long: `Runs workloads on real nodes while links are cut, nodes killed, clocks set wrong, heals all of it, and checks what
the clients saw. docs/guides/testing.md explains how to read a report.`,
	}
	group.AddCommand(c.testCommand(), c.allCommand(), c.checkCommand(), c.listCommand())
	return group
}

// commands are those below `theriac jepsen`.
type commands struct{ Options }

// failed is the error of a verdict, with its exit code; nil of a valid one.
func failed(v checker.Verdict, text string) error {
	switch v {
	case checker.Invalid:
		return cli.Coded{Err: errors.New(text), Code: cli.ExitInvalid}
	case checker.Unknown:
		return cli.Coded{Err: errors.New(text), Code: cli.ExitUndecided}
	}
	return nil
}

// say prints an answer.
func (c *commands) say(text string) error {
	if _, err := io.WriteString(c.Out, text); err != nil {
		return fmt.Errorf("printing the answer: %w", err)
	}
	return nil
}
