package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/cmd/theriac/words"
	"github.com/theriac-db/theriac/kv"
)

func (r *run) clusterAddCommand() *cobra.Command {
	return &cobra.Command{
		Use: "add NAME", Short: "print how to start a region that joins the cluster", Args: wantArgs(1, 1),
		Long: `Looks whether a region of this name can join now, and prints the command that starts its first node. The region joins by
being started: its node asks those that --join names, the regions decide by majority that it joins, it copies the data,
and serves then. One region joins at a time, and none while another is removed. It changes nothing itself.`,
		Example: indent("theriac cluster add sa"),
		RunE: r.data(func(args []string) (func(context.Context, *conn) error, error) {
			name := args[0]
			return func(ctx context.Context, c *conn) error {
				s, err := c.status(ctx)
				if err == nil {
					err = mayJoin(s.Regions, name)
				}
				if err != nil {
					return err
				}
				var join []string
				for _, g := range s.Regions {
					join = append(join, g.Addresses...)
				}
				fmt.Fprintf(r.out, "theriac serve --region %s --data %s --listen HOST:6700 --join %s\n", name, name, strings.Join(join, ","))
				return nil
			}, nil
		}),
	}
}

// mayJoin refuses a region that can't join now.
func mayJoin(regions []kv.RegionStatus, name string) error {
	for _, g := range regions {
		switch {
		case g.Phase == "joining" && g.Name != name:
			return kv.Errorf(kv.KindUnavailable, "region %s has not finished joining, and one joins at a time: wait until it serves, or give it up: theriac cluster remove %s", g.Name, g.Name)
		case g.Phase == "fenced":
			return kv.Errorf(kv.KindUnavailable, "region %s is being removed, and none joins meanwhile: see theriac cluster status", g.Name)
		case g.Phase == "serving" && g.Name == name:
			return kv.Errorf(kv.KindInvalid, "there is a region %s, number %d: take another name, or remove that one first; one that lost its disk is started again under its own name with --join", name, g.Region)
		}
	}
	return nil
}

func (r *run) clusterRemoveCommand() *cobra.Command {
	var sure bool
	c := &cobra.Command{
		Use: "remove REGION", Short: "remove a region from the cluster, for good", Args: wantArgs(1, 1),
		Long: `Has the regions decide by majority that a region is no more, whether or not it can be reached. From the first of two
decisions on no region takes what it writes. The second one is made once every other region has said what it holds of it,
so that one which is cut off delays it, or is removed too. What the region acknowledged and no other region had received is
lost: to lose nothing, stop its clients first, and remove it once "cluster status" shows that the others have all. Its node
ends by itself when it hears of it, and never starts again on its folder. A region that has not finished joining is
given up.

The command waits until it is done, at most for --timeout; what it has begun goes on without it.`,
		RunE: r.data(func(args []string) (func(context.Context, *conn) error, error) {
			r.writes = true
			return func(ctx context.Context, c *conn) error { return r.removeRegion(ctx, c, args[0], sure) }, nil
		}),
	}
	c.Flags().BoolVar(&sure, "yes", false, "do it; without this nothing is done but to say what would be")
	return c
}

func (r *run) removeRegion(ctx context.Context, c *conn, name string, sure bool) error {
	if !sure {
		s, err := c.status(ctx)
		if err != nil {
			return err
		}
		return kv.Errorf(kv.KindInvalid, "region %s %s; removing it is for good: say --yes", words.Quote(name), standing(s.Regions, name))
	}
	ctx, cancel := c.limited(ctx)
	defer cancel()
	if err := c.svc.RemoveRegion(ctx, name); err != nil {
		return err
	}
	r.applied = true
	fmt.Fprintf(r.out, "region %s is removed\n", name)
	return nil
}

// standing says how a region stands, as far as that matters for its removal.
func standing(regions []kv.RegionStatus, name string) string {
	for i := range regions {
		g := &regions[i]
		switch {
		case g.Name != name:
		case g.Phase != "serving":
			return "is " + dash(g.Phase)
		case !g.Connected:
			return "is not connected: what it has acknowledged and no other region has received would be lost"
		default:
			return fmt.Sprintf("is connected, and %s behind here: what it acknowledges until its removal and no other region has received would be lost", g.Lag.Round(time.Millisecond))
		}
	}
	return "is not known here"
}

// status asks the node for its status.
func (c *conn) status(ctx context.Context) (kv.Status, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	return c.svc.Status(ctx)
}
