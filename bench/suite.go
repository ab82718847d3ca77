package bench

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/theriac-db/theriac/client"
)

// Options of a database that a benchmark opens.
type Options struct {
	NoLeafCache bool // every read goes to Pebble
}

// Opener opens or creates an embedded one-region database in a folder. stop ends it in order.
type Opener func(ctx context.Context, dir string, o Options) (db *client.DB, stop func() error, err error)

// Scale is how large and how long the benchmarks are.
type Scale struct {
	Rounds   int           // of each comparison, after one to warm up
	Slice    time.Duration // of one side in one round
	Keys     int           // counters that commits go to
	Many     int           // counters of a large store
	Adds     int           // to one counter, to see whether it stays fast; also transactions missed
	Elements int           // of the large set
	Sustain  time.Duration // of the replication run
	Settle   time.Duration // to wait until all is settled, at most
	Checked  int           // transactions of a history
	Trip     time.Duration // round trip between the two nearest of three distant regions; of the others it is twice and three times that
}

// Full is the scale of the published figures.
func Full() Scale {
	return Scale{Rounds: 9, Slice: 800 * time.Millisecond, Keys: 10_000, Many: 1_000_000, Adds: 1_000_000,
		Elements: 1_000_000, Sustain: time.Minute, Settle: time.Minute, Checked: 100_000,
		Trip: 40 * time.Millisecond}
}

// Quick is a scale for a first impression, in about two minutes.
func Quick() Scale {
	return Scale{Rounds: 5, Slice: 250 * time.Millisecond, Keys: 10_000, Many: 100_000, Adds: 100_000,
		Elements: 100_000, Sustain: 5 * time.Second, Settle: 15 * time.Second, Checked: 10_000,
		Trip: 40 * time.Millisecond}
}

// Env is what benchmarks run in.
type Env struct {
	Scale
	Open Opener
	Dir  string   // folder on the disk that is measured
	Self []string // command line that runs RunChild in a process of its own
	Etcd []string // command line that runs etcd; empty: "etcd"
	Logf func(format string, args ...any)
}

// folder makes a new folder for one store; clean removes it.
func (e *Env) folder(name string) (dir string, clean func(), err error) {
	dir, err = os.MkdirTemp(e.Dir, name+"-")
	if err != nil {
		return "", nil, fmt.Errorf("folder for %s: %w", name, err)
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}

// Benchmark measures some figures that share a preparation.
type Benchmark struct {
	Name string
	Run  func(ctx context.Context, e *Env) ([]Figure, error)
}

// All lists the benchmarks in the order of the table.
func All() []Benchmark {
	return []Benchmark{
		{"adds-unsynced", addsUnsynced},
		{"adds-synced", addsSynced},
		{"reads-cached", readsCached},
		{"reads-uncached", readsUncached},
		{"hot-counter", hotCounter},
		{"large-set", largeSet},
		{"rpc", rpc},
		{"replication", replicationStream},
		{"replication-bytes", replicationBytes},
		{"catch-up", catchUp},
		{"size-set", sizeOfEmptiedSet},
		{"size-set-whole", sizeOfDeletedSet},
		{"size-counter", sizeOfCounters},
		{"reopen", reopen},
		{"wide", wideLatencies},
		{"strong", strongRates},
		{"strong-wide", strongFar},
		{"strong-beside", strongBeside},
		{"checking", checking},
	}
}

// Run runs benchmarks one after the other, each in a folder of its own. A benchmark that fails gives
// one figure with its error (invariant 2); only the end of ctx ends the run.
func Run(ctx context.Context, e *Env, all []Benchmark) []Figure {
	var figures []Figure
	for _, b := range all {
		if ctx.Err() != nil {
			break
		}
		begun := time.Now()
		fs, err := runOne(ctx, e, b)
		if err != nil {
			fs = append(fs, Figure{What: "failed", Err: err, Ours: math.NaN(), Limit: math.NaN(), Ratio: math.NaN()})
		}
		for i := range fs {
			fs[i].Benchmark = b.Name
			e.Logf("%s", fs[i].line())
		}
		e.Logf("%s took %s", b.Name, time.Since(begun).Round(100*time.Millisecond))
		figures = append(figures, fs...)
	}
	return figures
}

func runOne(ctx context.Context, e *Env, b Benchmark) ([]Figure, error) {
	inner := *e
	dir, clean, err := e.folder(filepath.Base(b.Name))
	if err != nil {
		return nil, err
	}
	defer clean()
	inner.Dir = dir
	return b.Run(ctx, &inner)
}

// line is a figure for the log.
func (f *Figure) line() string {
	if f.Err != nil {
		return fmt.Sprintf("%s: failed: %v", f.Benchmark, f.Err)
	}
	return fmt.Sprintf("%s: %s: %s %s, limit %s, ratio %s (%s to %s), %s: %s",
		f.Benchmark, f.What, number(f.Ours), f.Unit, number(f.Limit), number(f.Ratio), number(f.Low), number(f.High), f.Goal, f.Verdict())
}
