package nemesis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// world is a target that can do everything. It keeps what is disturbed, and notes each step.
type world struct {
	mu      sync.Mutex
	start   time.Time
	log     []string
	bad     map[string]bool  // what is disturbed, as "cut eu>us" or "down eu"
	fail    map[string]error // answers by step, as "kill eu"
	slowing time.Duration    // how long a restart takes
}

func newWorld() *world {
	return &world{start: time.Now(), bad: map[string]bool{}, fail: map[string]error{}}
}

// did notes a step, and what of the world it changes.
func (w *world) did(step, whom, state string, bad bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.fail[step+" "+whom]; err != nil {
		return err
	}
	w.log = append(w.log, fmt.Sprintf("%v %s %s", time.Since(w.start), step, whom))
	if bad {
		w.bad[state+" "+whom] = true
	} else {
		delete(w.bad, state+" "+whom)
	}
	return nil
}

func (w *world) disturbed() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.bad))
}

func (w *world) Cut(_ context.Context, l Link) error  { return w.did("cut", l.String(), "cut", true) }
func (w *world) Heal(_ context.Context, l Link) error { return w.did("heal", l.String(), "cut", false) }
func (w *world) Slow(_ context.Context, l Link, weather Weather) error {
	return w.did("slow", l.String(), "slow", weather != Weather{})
}
func (w *world) Stall(_ context.Context, l Link) error {
	return w.did("stall", l.String(), "stalled", true)
}
func (w *world) Flow(_ context.Context, l Link) error {
	return w.did("flow", l.String(), "stalled", false)
}
func (w *world) Reset(_ context.Context, l Link) error {
	return w.did("reset", l.String(), "reset", false)
}
func (w *world) DropGossip(_ context.Context, l Link) error {
	return w.did("drop-gossip", l.String(), "mute", true)
}
func (w *world) PassGossip(_ context.Context, l Link) error {
	return w.did("pass-gossip", l.String(), "mute", false)
}
func (w *world) Kill(_ context.Context, r string) error { return w.did("kill", r, "down", true) }
func (w *world) Restart(ctx context.Context, r string) error {
	if !sleep(ctx, w.slowing) {
		return ctx.Err()
	}
	return w.did("restart", r, "down", false)
}
func (w *world) Pause(_ context.Context, r string) error  { return w.did("pause", r, "paused", true) }
func (w *world) Resume(_ context.Context, r string) error { return w.did("resume", r, "paused", false) }
func (w *world) FillDisk(_ context.Context, r string) error {
	return w.did("fill-disk", r, "full", true)
}
func (w *world) FreeDisk(_ context.Context, r string) error {
	return w.did("free-disk", r, "full", false)
}
func (w *world) SetClock(_ context.Context, r string, offset time.Duration) error {
	return w.did("set-clock", r, "off", offset != 0)
}
func (w *world) Destroy(_ context.Context, r string) error {
	return w.did("destroy", r, "down", true)
}
func (w *world) Add(_ context.Context, r string) error   { return w.did("add", r, "joining", true) }
func (w *world) Await(_ context.Context, r string) error { return w.did("await", r, "joining", false) }

// bubble runs a test on fake time.
func bubble(t *testing.T, run func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) { run(t, newWorld()) })
}

func TestAScheduleIsPlayedAtItsTimes(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		schedule := []Fault{
			{At: time.Second, For: 2 * time.Second, Kind: KillOne, Regions: []string{"eu"}, Targets: []string{"eu"}},
			{At: 2 * time.Second, For: time.Second, Kind: PartitionFlapping, Links: []Link{{"eu", "us"}}, Period: 800 * time.Millisecond},
			{At: 5 * time.Second, For: time.Second, Kind: RestartLoop, Regions: []string{"ap"}, Period: time.Second},
			{At: 5 * time.Second, For: time.Second, Kind: RegionAdd, Regions: []string{"sa"}},
		}
		var noted []string
		var mu sync.Mutex
		note := func(f Fault) func(Effects) {
			from := time.Since(w.start)
			return func(e Effects) {
				mu.Lock()
				defer mu.Unlock()
				require.Empty(t, e, "the world counts nothing")
				noted = append(noted, fmt.Sprintf("%s %v-%v", f.Kind, from, time.Since(w.start)))
			}
		}
		require.NoError(t, Run(t.Context(), schedule, w, note))
		slices.Sort(w.log)
		require.Equal(t, []string{
			"1s kill eu",
			"2.4s heal eu>us", "2.8s cut eu>us", "2s cut eu>us", "3s heal eu>us", "3s restart eu",
			"5.5s restart ap", "5s add sa", "5s kill ap", "6s await sa", "6s restart ap",
		}, w.log)
		slices.Sort(noted)
		require.Equal(t, []string{"kill-one 1s-3s", "partition-flapping 2s-3s", "region-add 5s-6s", "restart-loop 5s-6s"}, noted)
	})
}

// Invariants 3 and 4: whatever is planned, and whenever it is interrupted, nothing stays disturbed.
func TestEverythingIsUndone(t *testing.T) {
	for seed := range uint64(40) {
		bubble(t, func(t *testing.T, w *world) {
			w.slowing = 3 * time.Second // restarts are late, so later faults begin late
			p := Plan{Seed: seed, Regions: five, New: []string{"me"}, Kinds: []string{All}, Duration: 2 * time.Minute}
			schedule, err := p.Schedule()
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seed)*3*time.Second)
			defer cancel()
			require.NoError(t, Run(ctx, schedule, w, nil))
			require.Empty(t, w.disturbed(), "seed %d", seed)
			if seed > 1 {
				require.NotEmpty(t, w.log)
			}
		})
	}
}

func TestAnErrorEndsTheRunAndAllIsUndone(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		broken := errors.New("no such process")
		w.fail["kill us"] = broken
		schedule := []Fault{
			{At: time.Second, For: time.Hour, Kind: PartitionIsolate, Links: []Link{{"eu", "us"}, {"us", "eu"}}, Text: "eu | us"},
			{At: 2 * time.Second, For: time.Hour, Kind: KillAll, Regions: []string{"eu", "us"}, Text: "eu us"},
			{At: 3 * time.Second, For: time.Second, Kind: Clock, Regions: []string{"eu"}, Offset: time.Second},
		}
		err := Run(t.Context(), schedule, w, nil)
		require.ErrorIs(t, err, broken)
		require.ErrorContains(t, err, "nemesis kill-all on eu us: kill us: no such process")
		require.Empty(t, w.disturbed())
		require.Equal(t, 2*time.Second, time.Since(w.start))
		require.Contains(t, w.log, "2s restart eu")
		require.Contains(t, w.log, "2s heal us>eu")
	})
}

func TestWhatCanNotBeUndoneIsSaid(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.fail["restart eu"] = errors.New("port in use")
		schedule := []Fault{{At: time.Second, For: time.Second, Kind: KillAll, Regions: []string{"eu", "us"}, Text: "eu us"}}
		err := Run(t.Context(), schedule, w, nil)
		require.ErrorContains(t, err, "nemesis kill-all on eu us: it could not be undone: restart eu: port in use")
		require.Equal(t, []string{"down eu"}, w.disturbed())
	})
}

func TestAnUndoIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.slowing = time.Hour
		schedule := []Fault{{For: time.Second, Kind: KillOne, Regions: []string{"eu"}, Text: "eu"}}
		require.ErrorIs(t, Run(t.Context(), schedule, w, nil), context.DeadlineExceeded)
		require.Equal(t, UndoTimeout+time.Second, time.Since(w.start))
	})
}

// cutter can cut links and do nothing else.
type cutter struct{ *world }

func (c cutter) only() Cutter {
	return struct{ Cutter }{c.world}
}

func TestImpossibleKindsAreRefusedBeforeAnythingHappens(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := Plan{Regions: five, New: []string{"me"}, Kinds: []string{All}, Duration: time.Minute}
		schedule, err := p.Schedule()
		require.NoError(t, err)
		err = Run(t.Context(), schedule, cutter{w}.only(), nil)
		for _, want := range []string{
			"nemesis slow: this cluster can't slow links down", "nemesis stall: this cluster can't stall links",
			"nemesis reset: this cluster can't reset connections", "nemesis gossip: this cluster can't drop gossip",
			"nemesis kill-one: this cluster can't kill nodes", "nemesis restart-loop: this cluster can't kill nodes",
			"nemesis pause: this cluster can't pause nodes", "nemesis clock: this cluster can't set clocks",
			"nemesis disk-full: this cluster can't fill disks", "nemesis region-add: this cluster can't add regions",
		} {
			require.ErrorContains(t, err, want)
		}
		require.NotContains(t, err.Error(), "partition")
		require.ErrorContains(t, Possible([]Kind{PartitionHalves}, nil), "this cluster can't cut links")
		require.NoError(t, Run(t.Context(), nil, nil, nil), "no faults take no abilities")
		require.Empty(t, w.log)
	})
}
