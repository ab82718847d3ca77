package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
)

// Options say how the tour runs.
type Options struct {
	Out io.Writer
	// Open is called once the regions serve, with the cluster, and may open doors to them; it
	// returns the address to show for a region, and what closes the doors. Nil: no doors.
	Open func(c *embedded.Cluster) (address func(region string) string, stop func(), err error)
	// Stay keeps the regions up after the tour until the context ends.
	Stay bool
	// Spoil, in tests, breaks the cluster once it has started.
	Spoil func(c *embedded.Cluster)
	// Patience is how long the tour waits for what must come true. Default 10 s; range above 0.
	Patience time.Duration
}

// regions of the tour, and the round trips between them.
var (
	regions    = []string{"eu", "us", "ap"}
	roundTrips = map[string]time.Duration{"eu-us": 80 * time.Millisecond, "us-ap": 40 * time.Millisecond, "ap-eu": 120 * time.Millisecond}
)

func roundTrip(a, b string) time.Duration { return max(roundTrips[a+"-"+b], roundTrips[b+"-"+a]) }

// defaultPatience is that of Options.
const defaultPatience = 10 * time.Second

// tour is the state of one run.
type tour struct {
	out      io.Writer
	cluster  *embedded.Cluster
	address  func(region string) string
	patience time.Duration
}

// Run runs the tour. Its error says which claim did not hold.
func Run(ctx context.Context, o Options) error {
	cluster, err := embedded.StartCluster(ctx, embedded.ClusterOptions{Regions: regions, RoundTrip: roundTrip})
	if err != nil {
		return fmt.Errorf("starting three regions: %w", err)
	}
	defer cluster.Close()
	t := &tour{out: o.Out, cluster: cluster, address: func(region string) string { return region }, patience: o.Patience}
	if t.patience <= 0 {
		t.patience = defaultPatience
	}
	if o.Open != nil {
		address, stop, err := o.Open(cluster)
		if err != nil {
			return fmt.Errorf("opening the regions to clients: %w", err)
		}
		defer stop()
		t.address = address
	}
	if o.Spoil != nil {
		o.Spoil(cluster)
	}
	if err := t.walk(ctx); err != nil {
		return err
	}
	if o.Stay {
		t.say("", "The regions stay up until you press Ctrl-C. Try the commands above in another terminal.")
		<-ctx.Done()
		return nil
	}
	t.say("", "The regions end here, so the commands above have nobody to ask any more.",
		"To type them, run theriac demo --serve (bin/theriac demo --serve after make), which keeps the regions up.")
	return nil
}

func (t *tour) walk(ctx context.Context) error {
	began := time.Now()
	t.say("Three regions run in this process, each with a disk of its own (in memory), and with",
		"wide-area delay between them: eu-us 80 ms, us-ap 40 ms, ap-eu 120 ms for a round trip.")
	for _, r := range regions {
		t.say(fmt.Sprintf("  %s serves clients at %s", r, t.address(r)))
	}
	for _, step := range []func(context.Context) error{
		t.mergeConcurrentWrites, t.keepOrder, t.stayTogether, t.checkPrecondition, t.oneSeatAnywhere, t.surviveCut, t.askEveryLevel, t.surviveCrash,
	} {
		if err := step(ctx); err != nil {
			return failed(ctx, err)
		}
	}
	t.say("", fmt.Sprintf("Every claim above was checked through the client. It took %.1f s.", time.Since(began).Seconds()))
	return nil
}

func (t *tour) say(lines ...string) {
	for _, l := range lines {
		fmt.Fprintln(t.out, l)
	}
}

func (t *tour) title(n int, text string) { t.say("", fmt.Sprintf("%d. %s", n, text)) }

// command shows what the reader could type.
func (t *tour) command(region, format string, args ...any) {
	t.say(fmt.Sprintf("   $ theriac --insecure --addr %s %s", t.address(region), fmt.Sprintf(format, args...)))
}

// claim prints what has been checked.
func (t *tour) claim(format string, args ...any) { t.say("   ok: " + fmt.Sprintf(format, args...)) }

func (t *tour) db(region string) *client.DB { return t.cluster.DB(region) }

// errClaim is what every step's error is, whatever failed in it.
var errClaim = errors.New("the demo's claim does not hold")

// broken says what a claim was and what was found instead.
func broken(format string, args ...any) error { return fmt.Errorf(format, args...) }

// failed is the error of a step. That its calls succeed, in whatever state the cluster is, is part of
// what it claims.
func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	return fmt.Errorf("%w: %v", errClaim, err) //nolint:errorlint // the database's kinds would choose the exit code
}

// timed runs fn and returns how long it took.
func timed(fn func() error) (time.Duration, error) {
	start := time.Now()
	err := fn()
	return time.Since(start), err
}

// pollInterval is how often eventually looks.
const pollInterval = 5 * time.Millisecond

// eventually waits until fn is true, and returns how long that took.
func (t *tour) eventually(ctx context.Context, what string, fn func() (bool, error)) (time.Duration, error) {
	start := time.Now()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for time.Since(start) < t.patience {
		ok, err := fn()
		if err != nil || ok {
			return time.Since(start), err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return 0, broken("%s within %v", what, t.patience)
}

// converge waits until all regions include what each of them has, and have one digest.
func (t *tour) converge(ctx context.Context) (time.Duration, error) {
	patient, cancel := context.WithTimeout(ctx, t.patience)
	defer cancel()
	return timed(func() error {
		if _, err := t.cluster.Converge(patient); err != nil {
			return broken("all regions hold the same content within %v: %v", t.patience, err)
		}
		return nil
	})
}
