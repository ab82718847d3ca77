package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/theriac-db/theriac/bench/load"
	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
)

// benchSettings are the flags of theriac bench; the rest of its workload comes from the flags of all
// data commands.
type benchSettings struct {
	load.Config
	mix  string
	fill bool
}

func (r *run) benchCommand() *cobra.Command {
	b := benchSettings{Config: load.Defaults()}
	cmd := &cobra.Command{
		Use: "bench", Short: "measure throughput and latencies of a running cluster", Args: wantArgs(0, 0),
		Long: `Runs a mix of operations on the node that --addr names and prints, for each kind of operation and for all
together, how many were done a second and how long they took. It writes to bucket "bench" unless --bucket names
another, and leaves there what it wrote. The kinds are add (1 to a counter), set (a register), set-add (an element to a
set) and read (what the mix writes; counters when it only reads). --durability is that of the writes, --consistency
that of the reads, --timeout that of each operation.

Without --rate every caller begins its next operation when the one before has ended, which finds the highest
throughput. With --rate operations are due at fixed times, and a latency counts from when the operation was due, so that
a stall shows in all that it delayed.

The exit code is 1 when any operation failed; the others were done. docs/benchmarks.md has the figures of the
database beside their limits, which make bench measures.`,
		Example: indent("theriac bench --duration 2s\ntheriac bench --mix add=1,set=1,set-add=1,read=7 --rate 500 --duration 2s -o json"),
	}
	b.register(cmd.Flags())
	measure := r.data(func([]string) (func(context.Context, *conn) error, error) {
		c, err := r.workload(&b)
		r.many = true
		return func(ctx context.Context, cn *conn) error { return cn.bench(ctx, c, b.fill) }, err
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, name := range []string{"session", "receipt"} {
			if cmd.Flags().Changed(name) {
				return kv.Errorf(kv.KindInvalid, "bench takes no --%s: its operations belong to no session", name)
			}
		}
		return measure(cmd, args)
	}
	return cmd
}

func (b *benchSettings) register(fs *pflag.FlagSet) {
	b.mix = b.Mix.String()
	fs.StringVar(&b.mix, "mix", b.mix, "`NAME=WEIGHT,...` of add, set, set-add and read")
	fs.IntVar(&b.Concurrency, "concurrency", b.Concurrency, fmt.Sprintf("callers at a time, 1 to %d", load.MaxConcurrency))
	fs.DurationVar(&b.Duration, "duration", b.Duration, "of the measured part")
	fs.DurationVar(&b.Warmup, "warmup", b.Warmup, "`duration` of the part before it, which is not measured; 0: none")
	fs.Float64Var(&b.Rate, "rate", b.Rate, fmt.Sprintf("operations a second, up to %d; 0: as fast as it goes", load.MaxRate))
	fs.IntVar(&b.Keys, "keys", b.Keys, fmt.Sprintf("keys of each type, 1 to %d, drawn uniformly", load.MaxKeys))
	fs.IntVar(&b.KeySize, "key-size", b.KeySize, fmt.Sprintf("bytes of a key, %d to %d", load.MinKeySize, kv.MaxKey))
	fs.IntVar(&b.ValueSize, "value-size", b.ValueSize, fmt.Sprintf("bytes of a register's value and of an element, up to %d", kv.MaxElement))
	fs.IntVar(&b.Elements, "elements", b.Elements, fmt.Sprintf("different elements of a set, 1 to %d", load.MaxKeys))
	fs.Uint64Var(&b.Seed, "seed", b.Seed, "of the choice of operations, keys and elements")
	fs.BoolVar(&b.fill, "fill", true, "first write every key once, so that reads find something")
}

// workload is what the flags ask for. A session that the environment names is left alone, since it
// would promise later commands that they see what this one wrote.
func (r *run) workload(b *benchSettings) (load.Config, error) {
	r.client.Session, r.client.Receipt = "", false
	c := b.Config
	c.Durability, c.Consistency, c.Timeout = r.client.Durability, r.client.Consistency, r.client.Timeout
	if r.client.Bucket != "" {
		c.Bucket = r.client.Bucket
	}
	var err error
	if c.Mix, err = load.ParseMix(b.mix); err != nil {
		return c, err
	}
	return c, c.Validate()
}

// bench runs a workload and prints its report, also when some of its operations failed.
func (c *conn) bench(ctx context.Context, w load.Config, fill bool) error {
	if err := c.reachable(ctx); err != nil {
		return err
	}
	db := client.New(c.svc)
	if fill {
		if err := load.Fill(ctx, db, w); err != nil {
			return err
		}
	}
	report, err := load.Run(ctx, db, w)
	if err != nil {
		// Told, not wrapped, here and below: what became of one operation is not the command's outcome.
		return fmt.Errorf("nothing was measured: %v", err)
	}
	if err := c.r.printReport(report); err != nil {
		return err
	}
	if failed := report.Failed(); failed > 0 {
		return fmt.Errorf("%d of %d operations failed, the first with: %v", failed, failed+report.Done(), report.First)
	}
	return nil
}

// reachable finds out before a long run that no node answers.
func (c *conn) reachable(ctx context.Context) error {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	_, err := c.svc.Status(ctx)
	return err
}

func (r *run) printReport(report *load.Report) error {
	if r.json() {
		r.printJSON(report)
		return nil
	}
	_, err := report.WriteTo(r.out)
	return err
}
