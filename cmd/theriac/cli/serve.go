package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/kv"
)

func (r *run) serveCommand() *cobra.Command {
	var c config.Serve
	cmd := &cobra.Command{
		Use: "serve", Short: "run a node", Args: wantArgs(0, 0),
		Long: `Runs one node of a region until it gets an interrupt or a termination signal. Without flags it is a database of
one region on loopback, with its data in ./theriac-data.

Clients connect to --listen; other nodes, gossip and the admin port take the three ports after it unless they are set.
A node that is to be in a cluster names others by their --listen addresses with --join, and has a --region name of its
own; without --join, a folder without data founds a new cluster, and one with data goes on with the cluster it knows.
One line on standard output tells all addresses once the node serves:

  theriac ready region=eu clients=127.0.0.1:6700 peers=127.0.0.1:6701 gossip=127.0.0.1:6702 admin=127.0.0.1:6703

All connections are TLS, in both directions, as soon as an address is given. Plaintext takes --insecure (or
THERIAC_INSECURE=1) and is on loopback only.`,
		Example: indent("theriac serve\ntheriac serve --insecure --region eu --data eu --listen 127.0.0.1:6700\ntheriac serve --insecure --region us --data us --listen 127.0.0.1:6710 --join 127.0.0.1:6700"),
	}
	c.Register(cmd.Flags())
	cmd.Flags().String(config.FileFlag, "", config.FileFlagUsage)
	cmd.SetUsageTemplate(withoutInherited(cmd.UsageTemplate()))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := r.onlyServeFlags(cmd); err != nil {
			return err
		}
		unmaskFlags(cmd)
		if err := noEmpty(cmd.Flags()); err != nil { // an empty --join would found another cluster
			return err
		}
		if err := config.Load(cmd.Flags(), r.app.Env); err != nil {
			return err
		}
		if err := c.Validate(cmd.Flags()); err != nil {
			return err
		}
		r.running = true
		return r.app.Serve(cmd.Context(), c, r.app.Stdout)
	}
	return cmd
}

// withoutInherited cuts the section with the data commands' flags out of a help template.
func withoutInherited(template string) string {
	const begin, end = "{{if .HasAvailableInheritedFlags}}", "{{end}}"
	before, section, found := strings.Cut(template, begin)
	_, behind, closed := strings.Cut(section, end)
	if !found || !closed {
		return template
	}
	return before + behind
}

// onlyServeFlags refuses the flags of data commands, which serve would ignore.
func (r *run) onlyServeFlags(cmd *cobra.Command) error {
	for _, name := range []string{"addr", "bucket", "consistency", "durability", "session", "output", "timeout", "receipt"} {
		if cmd.Flags().Changed(name) {
			return kv.Errorf(kv.KindInvalid, "serve takes no --%s, which is for commands on data; addresses of a node are --listen, --join and --advertise", name)
		}
	}
	return nil
}
