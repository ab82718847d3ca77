package runner

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/jepsen/workload"
	"github.com/theriac-db/theriac/kv"
)

// Cluster is what a run works on. What can be disturbed in it are the abilities of package nemesis that
// it has as well.
type Cluster interface {
	// Regions are the names of those that run now.
	Regions() []string
	// DB is how to reach a region. It stays valid over crashes, and is closed by Close.
	DB(region string) *client.DB
	// Close ends all that was started, and returns once nothing of it is left.
	Close() error
}

// Watcher is a cluster that notices what no client sees.
type Watcher interface {
	// Failed is what must not have happened to nodes, such as that one ended by itself; nil: nothing.
	Failed() error
	// Broken is closed once Failed is not nil.
	Broken() <-chan struct{}
}

// Partial is a cluster that has regions which the run can't reach.
type Partial interface {
	// Unread are their names.
	Unread() []string
}

// Bounds of a Config.
const (
	MinTimeLimit     = time.Second
	MaxTimeLimit     = 24 * time.Hour
	DefaultRate      = 100.0
	DefaultTimeLimit = 60 * time.Second
	DefaultRegions   = 3
	MaxRegions       = 9
	// DefaultCallTimeout is short enough that callers who meet a fault go on while it lasts.
	DefaultCallTimeout = time.Second
	// InterruptedTime is how long checkers may take once a run is interrupted.
	InterruptedTime = 10 * time.Second
	// SettleTime is how long the final reads may take: a region that was away catches up meanwhile.
	SettleTime = 90 * time.Second
)

// Config says what to run.
type Config struct {
	Workload  string
	Nemesis   []string // names of package nemesis
	Regions   []string // those that run from the start
	New       []string // those that a nemesis may add
	Rate      float64  // transactions a second, of all callers together; 0: as many as answers allow
	Workers   int      // callers; 0: workload.DefaultWorkers
	TimeLimit time.Duration
	Seed      uint64
	Out       string // the folder; new, or empty
	Command   string // what repeats the run, for the report
	// Started is the time of day, for people.
	Started time.Time
	// Open starts the cluster, which may keep what it has to in a folder. It stops what it has started if
	// it fails, or if ctx ends.
	Open func(ctx context.Context, dir string) (Cluster, error)
	// Progress is told every second how far the run is. May be nil.
	Progress func(Progress)
}

// Progress is how far a run is.
type Progress struct {
	Step     string // "starting", "load", "final reads", "checking", or that it is interrupted
	Elapsed  time.Duration
	OK       int64
	Fail     int64
	Unknown  int64
	Faults   []string // under way now
	TimeLeft time.Duration
}

// planned is a configuration that makes sense.
type planned struct {
	Config
	workload workload.Workload
	schedule []nemesis.Fault
}

// plan checks a configuration, before anything is started.
func (c Config) plan() (*planned, error) {
	w, err := workload.Find(c.Workload)
	if err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "%w", err)
	}
	switch {
	case c.TimeLimit < MinTimeLimit || c.TimeLimit > MaxTimeLimit:
		return nil, kv.Errorf(kv.KindInvalid, "a run of %s: want %s to %s", c.TimeLimit, MinTimeLimit, MaxTimeLimit)
	case !(c.Rate >= 0):
		return nil, kv.Errorf(kv.KindInvalid, "%g transactions a second: want 0 (as many as answers allow) or more", c.Rate)
	}
	if len(c.Nemesis) == 0 {
		c.Nemesis = []string{nemesis.None}
	}
	schedule, err := nemesis.Plan{Seed: c.Seed, Regions: c.Regions, New: c.New, Kinds: c.Nemesis, Duration: c.TimeLimit, Slot: slot(c.TimeLimit)}.Schedule()
	if err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "%w", err)
	}
	return &planned{c, w, schedule}, nil
}

// slot is the time of one fault: a short run has several, too.
func slot(limit time.Duration) time.Duration {
	return min(max(limit/3, nemesis.MinSlot), nemesis.DefaultSlot)
}

// stepInterrupted is the step that follows an interrupt.
const stepInterrupted = "interrupted: stopping the nodes, then judging what there is; a second interrupt ends it at once"

// Note names of the header that a run adds.
const (
	noteRate    = "rate"        // transactions a second that were asked for
	noteLimit   = "limit"       // how long the load was to last
	noteFinish  = "finish"      // why the final reads are not complete
	noteNemesis = "nemesis"     // why the nemesis ended early
	noteCut     = "interrupted" // when
	noteUnread  = "unread"      // regions of the cluster that nobody asked
)

func (p *planned) notes(h *history.Header, d *driven) {
	h.Started = p.Started.UTC().Format(time.RFC3339)
	h.Notes[noteRate], h.Notes[noteLimit] = fmt.Sprint(p.Rate), p.TimeLimit.String()
	if d.interrupted {
		h.Notes[noteCut] = fmt.Sprintf("after %s", d.loaded)
	}
	if d.finish != nil {
		h.Notes[noteFinish] = d.finish.Error()
	}
	if d.disturbed != nil {
		h.Notes[noteNemesis] = d.disturbed.Error()
	}
	if len(d.unread) > 0 {
		h.Notes[noteUnread] = strings.Join(d.unread, ", ")
	}
}

func (p *planned) regions() []string {
	all := slices.Clone(p.Regions)
	for _, f := range p.schedule {
		if f.Kind == nemesis.RegionAdd {
			all = append(all, f.Regions...)
		}
	}
	return all
}

func (p *planned) nemesisName() string { return strings.Join(p.Nemesis, ",") }

// Check says what is wrong with a configuration, as Run would before it starts anything.
func (c Config) Check() error {
	_, err := c.plan()
	return err
}
