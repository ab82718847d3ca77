package jepsen

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/jepsen/runner"
	"github.com/theriac-db/theriac/jepsen/workload"
)

func (c *commands) listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "list workloads, nemeses and checkers", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := lists()
			if err != nil {
				return err
			}
			return c.say(text)
		},
	}
}

// entry is a name and what it is.
type entry struct{ name, about string }

func lists() (string, error) {
	var workloads, nemeses []entry
	for _, w := range workload.All() {
		workloads = append(workloads, entry{w.Name, w.About})
	}
	for _, n := range nemesis.List() {
		nemeses = append(nemeses, entry{n.Name, n.About})
	}
	checkers, err := allCheckers()
	if err != nil {
		return "", err
	}
	return section("Workloads", workloads) + "\n" + section("Nemeses", nemeses) + "\n" + section("Checkers", checkers), nil
}

// allCheckers are those of all workloads, each once.
func allCheckers() ([]entry, error) {
	met := map[string]bool{}
	var out []entry
	for _, w := range workload.All() {
		all, err := runner.Checkers(&history.Header{Workload: w.Name, Nemesis: nemesis.Partition})
		if err != nil {
			return nil, err
		}
		for _, one := range all {
			if !met[one.Name()] {
				met[one.Name()] = true
				out = append(out, entry{one.Name(), firstSentence(one.Proves())})
			}
		}
	}
	return append(out, entry{"nodes", "no node ended by itself; of a run, not of a history"}), nil
}

func firstSentence(text string) string {
	if i := strings.Index(text, ". "); i >= 0 {
		text = text[:i]
	}
	return strings.ToLower(text[:1]) + strings.TrimSuffix(text, ".")[1:]
}

func section(title string, entries []entry) string {
	width := 0
	for _, e := range entries {
		width = max(width, len(e.name))
	}
	var b strings.Builder
	b.WriteString(title + ":\n")
	for _, e := range entries {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, e.name, e.about)
	}
	return b.String()
}
