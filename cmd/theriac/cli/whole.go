package cli

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/cmd/theriac/words"
	"github.com/theriac-db/theriac/kv"
)

// printJSON prints one document. What is printed consists of strings, numbers and lists of them,
// which always marshal.
func (r *run) printJSON(document any) {
	line, err := json.Marshal(document)
	must(err)
	fmt.Fprintf(r.out, "%s\n", line)
}

func (r *run) digestCommand() *cobra.Command {
	return &cobra.Command{
		Use: "digest [BUCKET]", Short: "print a digest of all readable content, or of a bucket's, at one snapshot", Args: wantArgs(0, 1),
		Long: `Prints the number of objects and a digest of their content, of all buckets or of one. Two regions whose content
is equal give the same digest. Of all buckets, those whose names start with "theriac." are left out: they are the
database's own. docs/formats/digest.md describes it.`,
		RunE: r.data(func(args []string) (func(context.Context, *conn) error, error) {
			bucket := kv.Bucket(r.client.Bucket)
			switch {
			case len(args) == 0:
			case args[0] == "":
				return nil, kv.Errorf(kv.KindInvalid, "the bucket's name is empty: name one, or leave it out for all of them")
			case r.bucketTyped && r.client.Bucket != args[0]:
				return nil, kv.Errorf(kv.KindInvalid, "--bucket %s and %s: name one bucket", words.Quote(r.client.Bucket), words.Quote(args[0]))
			default:
				bucket = kv.Bucket(args[0])
			}
			return func(ctx context.Context, c *conn) error { return c.digest(ctx, bucket) }, nil
		}),
	}
}

func (c *conn) digest(ctx context.Context, bucket kv.Bucket) error {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	d, err := c.svc.Digest(ctx, kv.DigestRequest{Options: c.options(), Bucket: bucket})
	if err != nil {
		return c.failed(err)
	}
	sum := hex.EncodeToString(d.Sum[:])
	if c.r.json() {
		c.r.printJSON(struct {
			Objects int64  `json:"objects"`
			Digest  string `json:"digest"`
		}{d.Objects, sum})
	} else {
		fmt.Fprintf(c.r.out, "%d objects, digest %s\n", d.Objects, sum)
	}
	return c.saw(d.Receipt)
}

// outcomeName is the command that asks what became of an operation.
const outcomeName = "outcome"

func (r *run) outcomeCommand() *cobra.Command {
	var age time.Duration
	var lane string
	cmd := &cobra.Command{
		Use: outcomeName + " ID", Short: "print what became of an operation: applied or not applied", Args: wantArgs(1, 1),
		Long: `Asks what became of a write that ended with outcome unknown, by the id that its error named. An answer "not
applied" also makes sure that it never will be. Ask the region that the write was sent to; any region can tell of one
at level strong, with --consistency strong. Without a level and a lane both are asked, the region's node and then a
majority.`,
	}
	cmd.Flags().DurationVar(&age, "age", time.Hour, "how long ago the write was sent, at least: how far back to look")
	cmd.Flags().StringVar(&lane, "lane", "", "lane that the write was sent to, as REGION.SLOT (default that of the node at --addr)")
	cmd.RunE = r.data(func(args []string) (func(context.Context, *conn) error, error) {
		id, err := kv.ParseOpID(args[0])
		if err != nil {
			return nil, err
		}
		if id.IsZero() {
			return nil, kv.Errorf(kv.KindInvalid, "%s is no operation's id; the error of the write names it", id)
		}
		of, err := parseLane(lane)
		if err == nil && age < 0 {
			err = kv.Errorf(kv.KindInvalid, "--age %s: want 0s or more", age)
		}
		attempt := kv.Attempt{ID: id, Retry: true, Age: age, Lane: of}
		if r.client.Consistency.Level == kv.LevelStrong {
			if lane != "" {
				return nil, kv.Errorf(kv.KindInvalid, "--lane %s with --consistency strong: an operation at level strong is in no lane; leave one out", lane)
			}
			attempt.After = 1 // nothing is known of when it was sent, so what was forgotten is said to be unknown
		}
		return func(ctx context.Context, c *conn) error { return c.outcome(ctx, attempt) }, err
	})
	return cmd
}

// parseLane reads REGION.SLOT; empty is the zero lane, which no node has.
func parseLane(s string) (clock.Lane, error) {
	if s == "" {
		return clock.Lane{}, nil
	}
	region, slot, _ := strings.Cut(s, ".")
	n, err := strconv.ParseUint(region, 10, 16)
	m, err2 := strconv.ParseUint(slot, 10, 8)
	if err != nil || err2 != nil || n == 0 || m > uint64(clock.MaxSlot) {
		return clock.Lane{}, kv.Errorf(kv.KindInvalid, "--lane %q: want REGION.SLOT, as theriac status prints it", s)
	}
	return clock.Lane{Region: clock.Region(n), Slot: clock.Slot(m)}, nil
}

func (c *conn) outcome(ctx context.Context, a kv.Attempt) error {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	open := a.Lane == (clock.Lane{}) && a.After == 0 && c.r.client.Consistency.Level == kv.LevelDefault
	if a.Lane == (clock.Lane{}) && a.After == 0 {
		status, err := c.svc.Status(ctx)
		if err != nil {
			return err
		}
		a.Lane = status.Lane
	}
	answer, err := c.svc.Outcome(ctx, kv.OutcomeRequest{Attempt: a})
	if open && err == nil && answer.Outcome == kv.NotApplied {
		answer, err = c.outcomeStrong(ctx, a)
	}
	if err != nil {
		return c.failed(err)
	}
	if c.r.json() {
		c.r.printJSON(map[string]string{"outcome": answer.Outcome.String()})
	} else {
		fmt.Fprintln(c.r.out, answer.Outcome)
	}
	return c.saw(kv.Receipt{Token: answer.Token})
}

func (r *run) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "print what a node says of itself, the regions, their vectors and their lag", Args: wantArgs(0, 0),
		Long: `Prints what a node says of itself and, a line a region, what it knows of all. LAG is how far what can be read here of a
region lies behind the clock: 0 for the node's own. Heartbeats keep that of others near the delay of the link while
nothing is written; it grows while a region is away. EXPOSED is up to where writes of the region can be read here, and
REPORTED what the region said last that it has on its disk.

Then, a line a level, whether the node can serve it now, and why not. What readers here may miss of a region, at most, is
STALE, by the node's own clock, now and for 99 of 100 moments of the last minutes. theriac cluster status asks all regions.`,
		RunE: r.data(func([]string) (func(context.Context, *conn) error, error) {
			return func(ctx context.Context, c *conn) error {
				ctx, cancel := c.limited(ctx)
				defer cancel()
				s, err := c.svc.Status(ctx)
				if err != nil {
					return err
				}
				if r.json() {
					r.printJSON(statusDocument(s))
				} else {
					r.printStatus(s)
				}
				return nil
			}, nil
		}),
	}
}

func (r *run) printStatus(s kv.Status) {
	t := tabwriter.NewWriter(r.out, 0, 8, 2, ' ', 0)
	for _, row := range [][2]string{
		{"cluster", s.Cluster.String()}, {"region", s.Region}, {"lane", s.Lane.String()},
		{"incarnation", fmt.Sprintf("%016x", s.Incarnation)}, {"version", s.Version}, {"state", s.State},
		{"clients", s.Addresses.Client}, {"peers", s.Addresses.Peer}, {"gossip", s.Addresses.Gossip}, {"admin", s.Addresses.Admin},
		{"exposed", s.Exposed.String()}, {"durable", s.Durable.String()}, {"stable", s.Stable.String()},
		{"settled", s.Settled.String()}, {"horizon", s.Horizon.String()},
		{"open transactions", strconv.Itoa(s.OpenTxns)}, {"log bytes", strconv.FormatInt(s.LogBytes, 10)},
		{"pending removals", strconv.Itoa(s.Pending)}, {"leader", s.Leader}, {"strong", s.Strong},
	} {
		if row[1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
		}
	}
	fmt.Fprintf(t, "\nLEVEL\tNOW\tWHY NOT\n")
	for _, l := range s.Levels {
		fmt.Fprintf(t, "%s\t%s\t%s\n", l.Level, yes(l.OK), l.Why)
	}
	fmt.Fprintf(t, "\nREGION\tNAME\tCONNECTED\tLAG\tSTALE\tP99\tEXPOSED\tADDRESSES\tREPORTED\n")
	for _, g := range s.Regions {
		lag, exposed := "-", "-" // of a region that was never heard
		if g.Exposed != 0 {
			lag, exposed = g.Lag.Round(time.Millisecond).String(), g.Exposed.String()
		}
		now, p99 := staleness(&g, s.Lane.Region)
		fmt.Fprintf(t, "%d\t%s\t%t\t%s\t%s\t%s\t%s\t%s\t%s\n", g.Region, g.Name, g.Connected, lag, now, p99, exposed,
			dash(strings.Join(g.Addresses, ",")), g.Reported)
	}
	// The writer below remembers its error for Flush.
	_ = t.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

type statusJSON struct {
	Cluster     string            `json:"cluster"`
	Region      string            `json:"region"`
	Lane        string            `json:"lane"`
	Incarnation string            `json:"incarnation"`
	Version     string            `json:"version"`
	State       string            `json:"state"`
	Addresses   map[string]string `json:"addresses"`
	Exposed     map[string]string `json:"exposed"`
	Durable     map[string]string `json:"durable"`
	Stable      map[string]string `json:"stable"`
	Settled     map[string]string `json:"settled"`
	Horizon     map[string]string `json:"horizon"`
	Regions     []regionJSON      `json:"regions"`
	OpenTxns    int               `json:"open_transactions"`
	LogBytes    int64             `json:"log_bytes"`
	Pending     int               `json:"pending_removals"`
	Leader      string            `json:"leader"`
	Strong      string            `json:"strong"`
	Levels      []levelJSON       `json:"levels"`
}

type levelJSON struct {
	Level string `json:"level"`
	OK    bool   `json:"ok"`
	Why   string `json:"why,omitempty"`
}

type regionJSON struct {
	Region    uint16            `json:"region"`
	Name      string            `json:"name"`
	Addresses []string          `json:"addresses"`
	Connected bool              `json:"connected"`
	Exposed   string            `json:"exposed"`
	LagMillis int64             `json:"lag_ms"`
	Reported  map[string]string `json:"reported"`
	// Of what readers may miss of the region at most; null: nothing was heard of it yet.
	Staleness    *int64 `json:"staleness_ms"`
	StalenessP99 *int64 `json:"staleness_p99_ms"`
}

func statusDocument(s kv.Status) statusJSON {
	out := statusJSON{
		Cluster: s.Cluster.String(), Region: s.Region, Lane: s.Lane.String(), Incarnation: fmt.Sprintf("%016x", s.Incarnation),
		Version: s.Version, State: s.State, Exposed: vectorJSON(s.Exposed), Durable: vectorJSON(s.Durable),
		Addresses: map[string]string{"clients": s.Addresses.Client, "peers": s.Addresses.Peer, "gossip": s.Addresses.Gossip, "admin": s.Addresses.Admin},
		Stable:    vectorJSON(s.Stable), Settled: vectorJSON(s.Settled), Horizon: vectorJSON(s.Horizon),
		OpenTxns: s.OpenTxns, LogBytes: s.LogBytes, Pending: s.Pending, Regions: []regionJSON{},
		Leader: s.Leader, Strong: s.Strong, Levels: []levelJSON{},
	}
	for _, l := range s.Levels {
		out.Levels = append(out.Levels, levelJSON{l.Level.String(), l.OK, l.Why})
	}
	for _, g := range s.Regions {
		r := regionJSON{
			Region: uint16(g.Region), Name: g.Name, Addresses: append([]string{}, g.Addresses...), Connected: g.Connected,
			Exposed: timeJSON(g.Exposed), LagMillis: g.Lag.Milliseconds(), Reported: vectorJSON(g.Reported),
		}
		if g.StalenessKnown || g.Region == s.Lane.Region {
			r.Staleness, r.StalenessP99 = millis(g.Staleness), millis(g.StalenessP99)
		}
		out.Regions = append(out.Regions, r)
	}
	return out
}

func millis(d time.Duration) *int64 {
	n := d.Milliseconds()
	return &n
}

// timeJSON is a timestamp as a decimal string: numbers above 2^53, as all real timestamps are, lose
// digits in most readers of JSON.
func timeJSON(t clock.Timestamp) string { return strconv.FormatUint(uint64(t), 10) }

// vectorJSON is a vector by region numbers.
func vectorJSON(v clock.Vector) map[string]string {
	out := map[string]string{}
	for _, e := range v {
		out[strconv.Itoa(int(e.Region))] = timeJSON(e.Time)
	}
	return out
}

func (r *run) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version of this command", Args: wantArgs(0, 0),
		RunE: func(*cobra.Command, []string) error {
			r.running = true
			if r.json() {
				r.printJSON(map[string]string{"version": version(r.app), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
				return nil
			}
			_, err := r.out.WriteString(versionLine(r.app))
			return err
		},
	}
}

func versionLine(a *App) string {
	return fmt.Sprintf("theriac %s (%s, %s/%s)\n", version(a), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// version is what the build was given, or else what the Go tools know of the source, or else what
// the source says of itself.
func version(a *App) string {
	if a.Version != "" {
		return a.Version
	}
	const unknown = "(devel)" // also what the Go tools say
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != unknown {
		return info.Main.Version
	}
	return cmp.Or(a.Source, unknown)
}

// outcomeStrong asks what became of an operation that is not in the lane where it was looked for: it may have been
// at level strong, by itself or since its bucket's default is.
func (c *conn) outcomeStrong(ctx context.Context, of kv.Attempt) (kv.OutcomeAnswer, error) {
	answer, err := c.svc.Outcome(ctx, kv.OutcomeRequest{Attempt: kv.Attempt{ID: of.ID, Retry: true, Age: of.Age, After: 1}})
	if err != nil {
		return answer, kv.Errorf(kv.KindOf(err), "operation %s is not in lane %s; whether it was applied at level strong is not known: %w; "+
			"if it was at another level, name that: --consistency causal", of.ID, of.Lane, err)
	}
	return answer, nil
}
