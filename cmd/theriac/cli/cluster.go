package cli

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// askPatience is how long the node of another region is waited for.
const askPatience = 2 * time.Second

func (r *run) clusterCommand() *cobra.Command {
	c := &cobra.Command{Use: "cluster", Short: "look at the regions of the cluster, and change which there are"}
	c.AddCommand(r.clusterStatusCommand(), r.clusterAddCommand(), r.clusterRemoveCommand())
	return c
}

func (r *run) clusterStatusCommand() *cobra.Command {
	var every time.Duration
	c := &cobra.Command{
		Use: "status", Short: "print how fresh every region sees every other, and which levels each can serve", Args: wantArgs(0, 0),
		Long: `Asks a node of every region, which the node at --addr names, and prints for each pair of regions what readers in the one
may miss of the other, at most: now, and for 99 of 100 moments of the last minutes. Then, for each region, which levels it
can serve at this moment, and why not. With --every it does so again and again.`,
		RunE: r.data(func([]string) (func(context.Context, *conn) error, error) {
			return func(ctx context.Context, c *conn) error { return r.watchCluster(ctx, c, every) }, nil
		}),
	}
	c.Flags().DurationVar(&every, "every", 0, "print again after this duration, until it is interrupted")
	return c
}

// watchCluster prints the cluster's state, once or for ever.
func (r *run) watchCluster(ctx context.Context, c *conn, every time.Duration) error {
	if every < 0 {
		return kv.Errorf(kv.KindInvalid, "--every %v: want a duration above 0", every)
	}
	for {
		if err := r.clusterStatus(ctx, c); err != nil || every == 0 {
			return err
		}
		if err := r.out.Flush(); err != nil {
			return err
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return nil
		}
	}
}

// view is what a region's node says, or why it says nothing.
type view struct {
	region kv.RegionStatus
	status kv.Status
	err    error
}

func (r *run) clusterStatus(ctx context.Context, c *conn) error {
	limited, cancel := c.limited(ctx)
	defer cancel()
	own, err := c.svc.Status(limited)
	if err != nil {
		return err
	}
	views := make([]view, len(own.Regions))
	var asking sync.WaitGroup
	for i, g := range own.Regions {
		views[i].region = g
		if g.Region == own.Lane.Region {
			views[i].status = own
			continue
		}
		asking.Go(func() { views[i].status, views[i].err = r.askRegion(ctx, g) })
	}
	asking.Wait()
	if r.json() {
		r.printJSON(clusterDocument(own, views))
	} else {
		r.printCluster(own, views)
	}
	return nil
}

// askRegion asks a node of a region for its status.
func (r *run) askRegion(ctx context.Context, g kv.RegionStatus) (kv.Status, error) {
	if len(g.Addresses) == 0 {
		return kv.Status{}, kv.Errorf(kv.KindUnavailable, "no address of region %s is known", g.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	settings := r.client
	settings.Addrs = g.Addresses
	dial := r.app.Dial
	if dial == nil {
		dial = dialNetwork
	}
	svc, err := dial(ctx, settings)
	if err != nil {
		return kv.Status{}, err
	}
	defer func() { _ = svc.Close() }()
	return svc.Status(ctx)
}

func (r *run) printCluster(own kv.Status, views []view) {
	t := tabwriter.NewWriter(r.out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "cluster %s, seen from %s; strong transactions are led from %s\n\n", own.Cluster, own.Region, dash(own.Leader))
	fmt.Fprint(t, "READ IN")
	for _, v := range views {
		fmt.Fprintf(t, "\tOF %s", v.region.Name)
	}
	fmt.Fprintln(t, "\t(now / p99)")
	for i := range views {
		v := &views[i]
		fmt.Fprint(t, v.region.Name)
		for j := range views {
			fmt.Fprintf(t, "\t%s", v.of(views[j].region.Region))
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintln(t, "\nSERVES\teventual\tcausal\tbounded\tquorum\tstrong")
	for i := range views {
		printLevels(t, &views[i])
	}
	// The writer below remembers its error for Flush.
	_ = t.Flush()
	for i := range views {
		r.printPhase(&views[i].region)
		r.printReasons(&views[i])
	}
}

func printLevels(t *tabwriter.Writer, v *view) {
	fmt.Fprint(t, v.region.Name)
	for l := kv.LevelEventual; l <= kv.LevelStrong; l++ {
		word := "?"
		for _, s := range v.status.Levels {
			if s.Level == l {
				word = yes(s.OK)
			}
		}
		fmt.Fprintf(t, "\t%s", word)
	}
	fmt.Fprintln(t)
}

// printPhase says what a region is that does not simply serve.
func (r *run) printPhase(g *kv.RegionStatus) {
	switch {
	case g.Phase == "" || g.Phase == "serving":
	case len(g.Awaits) > 0:
		fmt.Fprintf(r.out, "%s: being removed: waits until these have said what they hold of it: %s\n", g.Name, strings.Join(g.Awaits, ", "))
	case g.Phase == "fenced":
		fmt.Fprintf(r.out, "%s: being removed\n", g.Name)
	case g.Phase == "removed":
		fmt.Fprintf(r.out, "%s: removed; what it left is not all here yet\n", g.Name)
	default:
		fmt.Fprintf(r.out, "%s: %s\n", g.Name, g.Phase)
	}
}

// printReasons says why a region's node was not heard, or can't serve a level.
func (r *run) printReasons(v *view) {
	if v.err != nil {
		fmt.Fprintf(r.out, "%s: not heard: %v\n", v.region.Name, v.err)
		return
	}
	for _, l := range v.status.Levels {
		if !l.OK {
			fmt.Fprintf(r.out, "%s: %s: %s\n", v.region.Name, l.Level, l.Why)
		}
	}
}

// of is how stale a region may be that readers here read, now and mostly.
func (v *view) of(region clock.Region) string {
	if v.err != nil {
		return "?"
	}
	for i := range v.status.Regions {
		if g := &v.status.Regions[i]; g.Region == region {
			now, p99 := staleness(g, v.status.Lane.Region)
			if g.Region == v.status.Lane.Region || !g.StalenessKnown { // there is one word for both
				return now
			}
			return now + " / " + p99
		}
	}
	return "?"
}

// staleness is how stale a region may be for readers in another, in words.
func staleness(g *kv.RegionStatus, own clock.Region) (now, p99 string) {
	switch {
	case g.Region == own:
		return "-", "-"
	case !g.StalenessKnown:
		return "?", "?"
	}
	return g.Staleness.Round(time.Millisecond).String(), g.StalenessP99.Round(time.Millisecond).String()
}

func yes(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}

type clusterJSON struct {
	Cluster string       `json:"cluster"`
	Leader  string       `json:"leader"`
	Regions []viewerJSON `json:"regions"`
}

// viewerJSON is a region and its node's status; without one, the error says why.
type viewerJSON struct {
	Name   string      `json:"name"`
	Phase  string      `json:"phase"` // joining, serving, fenced or removed
	Awaits []string    `json:"awaits,omitempty"`
	Error  string      `json:"error,omitempty"`
	Status *statusJSON `json:"status"`
}

func clusterDocument(own kv.Status, views []view) clusterJSON {
	out := clusterJSON{Cluster: own.Cluster.String(), Leader: own.Leader}
	for _, v := range views {
		w := viewerJSON{Name: v.region.Name, Phase: v.region.Phase, Awaits: v.region.Awaits}
		if v.err != nil {
			w.Error = v.err.Error()
		} else {
			d := statusDocument(v.status)
			w.Status = &d
		}
		out.Regions = append(out.Regions, w)
	}
	return out
}
