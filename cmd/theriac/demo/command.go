package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// Command is `theriac demo`.
func Command(out io.Writer) *cobra.Command { return command(Options{Out: out, Open: openDoors}) }

func command(o Options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "demo", Short: "watch three regions take concurrent writes, lose a link, crash and converge", Args: cobra.NoArgs,
		Long: `Starts three regions in this process, with round trips of 40, 80 and 120 ms between them and data in memory, and
goes through what the database promises: concurrent writes merge, order is kept, transactions are seen whole or not at
all, one of many callers anywhere gets a seat, a region that is cut off goes on serving and says at which levels it can't,
and a crash loses nothing that was acknowledged. Each claim is checked through the client; the exit code is 1 when one does
not hold. The commands that it shows can be typed while the regions are up: with --serve they stay.`,
		Example: "  theriac demo\n  theriac demo --serve",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return Run(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Stay, "serve", false, "keep the regions up for clients until interrupted")
	return cmd
}

// closeTimeout bounds the end of the doors.
const closeTimeout = 5 * time.Second

// openDoors opens a client port on loopback for each region, which the system picks.
func openDoors(c *embedded.Cluster) (address func(string) string, stop func(), err error) {
	addresses := map[string]string{}
	var doors []*grpcapi.Server
	var running sync.WaitGroup
	stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		for _, d := range doors {
			d.Stop(ctx)
		}
		running.Wait()
	}
	var failed error
	for _, name := range c.Regions() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			failed = errors.Join(failed, kv.Errorf(kv.KindUnavailable, "a port on loopback: %w", err))
			continue
		}
		d := grpcapi.New(grpcapi.Config{Service: c.Service(name)})
		d.SetServing(true)
		doors, addresses[name] = append(doors, d), l.Addr().String()
		running.Go(func() {
			// Accepting on loopback ends with Stop; whatever else ends it shows in the commands.
			_ = d.Serve(l)
		})
	}
	if failed != nil {
		stop()
		return nil, nil, fmt.Errorf("opening the regions: %w", failed)
	}
	return func(name string) string { return addresses[name] }, stop, nil
}
