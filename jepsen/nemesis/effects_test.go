package nemesis

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// witness is a world that counts what faults do, but for the first deaf steps, which do nothing.
type witness struct {
	*world
	mu     sync.Mutex // what hits several regions does so at once
	deaf   int
	counts Effects
	looks  int
	failAt int // the look that fails; 0: none
}

func (w *witness) hit(step, effect, whom, state string) error {
	if err := w.did(step, whom, state, true); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deaf--; w.deaf < 0 {
		w.counts[effect] += 2
	}
	w.counts[ClockMoved]++ // another fault meets the same regions
	return nil
}

func (w *witness) Cut(_ context.Context, l Link) error {
	return w.hit("cut", BytesHeld, l.String(), "cut")
}

func (w *witness) Kill(_ context.Context, region string) error {
	return w.hit("kill", NodesKilled, region, "down")
}

var errBlind = errors.New("no such counter")

func (w *witness) Effects(context.Context, Fault) (Effects, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.looks++; w.looks == w.failAt {
		return nil, errBlind
	}
	return maps.Clone(w.counts), nil
}

// noted keeps what a run says of its faults.
func noted(w *world, to *[]Effects, lasted *[]time.Duration) func(Fault) func(Effects) {
	return func(Fault) func(Effects) {
		from := time.Now()
		return func(e Effects) { *to, *lasted = append(*to, e), append(*lasted, time.Since(from)) }
	}
}

func TestWhatFaultsDoIsCounted(t *testing.T) {
	bubble(t, func(t *testing.T, world *world) {
		w := &witness{world: world, counts: Effects{BytesHeld: 7, NodesKilled: 1}}
		var told []Effects
		var lasted []time.Duration
		require.NoError(t, Run(t.Context(), []Fault{
			{For: time.Second, Kind: PartitionOneway, Links: []Link{{"eu", "us"}}},
			{At: 2 * time.Second, For: time.Second, Kind: PartitionFlapping, Links: []Link{{"eu", "us"}}, Period: 500 * time.Millisecond},
		}, w, noted(world, &told, &lasted)))
		require.Equal(t, []Effects{{BytesHeld: 2}, {BytesHeld: 4}}, told, "what was there before is not theirs")
		require.Equal(t, []time.Duration{time.Second, time.Second}, lasted)
	})
}

// Invariant 5: what a fault begins with is done again until it bites.
func TestAFaultThatBitesLateLastsUntilThen(t *testing.T) {
	bubble(t, func(t *testing.T, world *world) {
		w := &witness{world: world, counts: Effects{}, deaf: 3}
		var told []Effects
		var lasted []time.Duration
		require.NoError(t, Run(t.Context(), []Fault{{For: time.Second, Kind: KillOne, Regions: []string{"eu"}}}, w, noted(world, &told, &lasted)))
		require.Equal(t, []Effects{{NodesKilled: 2}}, told)
		require.Equal(t, []time.Duration{time.Second + 3*lingerPause}, lasted)
		require.Empty(t, world.disturbed())
	})
}

// One that never does is undone before the next one is due, and soon after its time where there is none.
func TestAFaultThatNeverBitesEnds(t *testing.T) {
	bubble(t, func(t *testing.T, world *world) {
		w := &witness{world: world, counts: Effects{}, deaf: 1 << 30}
		var told []Effects
		var lasted []time.Duration
		begun := time.Now()
		require.NoError(t, Run(t.Context(), []Fault{
			{For: time.Second, Kind: KillOne, Regions: []string{"eu"}},
			{At: 3 * time.Second, For: time.Second, Kind: KillAll, Regions: []string{"eu", "us"}},
		}, w, noted(world, &told, &lasted)))
		require.Equal(t, []Effects{{}, {}}, told)
		require.Equal(t, []time.Duration{3 * time.Second, time.Second + MaxLinger}, lasted)
		require.Equal(t, 4*time.Second+MaxLinger, time.Since(begun))
		require.Empty(t, world.disturbed())
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		require.NoError(t, Run(ctx, []Fault{{For: time.Second, Kind: KillOne, Regions: []string{"eu"}}}, w, nil))
		require.Equal(t, 9*time.Second+MaxLinger, time.Since(begun), "the end of the run ends it")
	})
}

// A target that can't tell what it did, before a fault, while one lasts on or after it, is an error, and all is undone.
func TestATargetThatCanNotTellEndsTheRun(t *testing.T) {
	for look := 1; look <= 3; look++ {
		bubble(t, func(t *testing.T, world *world) {
			w := &witness{world: world, counts: Effects{BytesHeld: 1}, failAt: look}
			err := Run(t.Context(), []Fault{{For: time.Second, Kind: PartitionOneway, Links: []Link{{"eu", "us"}}, Text: "eu>us"}}, w, nil)
			require.ErrorIs(t, err, errBlind)
			require.ErrorContains(t, err, "nemesis partition-oneway on eu>us: what it did can't be told: no such counter")
			require.Empty(t, world.disturbed())
		})
	}
}

// A step that fails while a fault is prolonged ends the run as any other.
func TestAStepThatFailsLateIsAnError(t *testing.T) {
	bubble(t, func(t *testing.T, world *world) {
		w := &witness{world: world, counts: Effects{}, deaf: 1 << 30}
		broken := errors.New("no such process")
		time.AfterFunc(1500*time.Millisecond, func() {
			world.mu.Lock()
			defer world.mu.Unlock()
			world.fail["kill eu"] = broken
		})
		require.ErrorIs(t, Run(t.Context(), []Fault{{For: time.Second, Kind: KillOne, Regions: []string{"eu"}}}, w, nil), broken)
		require.Empty(t, world.disturbed())
	})
}

// Each kind has effects that show it, and words for none.
func TestEveryKindCanBite(t *testing.T) {
	require.Len(t, bites, len(kindTable))
	for _, k := range kindTable {
		require.False(t, Effects{}.Bit(k.kind), k.kind)
		require.False(t, Effects{"something else": 1}.Bit(k.kind), k.kind)
		for _, name := range bites[k.kind].by {
			require.True(t, Effects{name: 1}.Bit(k.kind), k.kind)
		}
		require.NotEmpty(t, bites[k.kind].none, k.kind)
	}
	require.False(t, Effects{GossipDropped: 9}.Bit(PartitionHalves), "gossip alone shows no cut")
	require.Equal(t, "fault pause: no node stood still the one time that it came; a longer run has it come again", Inert(Pause, 1))
	require.Equal(t, "fault partition-halves: nothing was held back any of the 3 times that it came", Inert(PartitionHalves, 3))
	require.Empty(t, Effects(nil).since(Effects{NodesKilled: 1}), "where looking failed")
}

// Links of a region that is added later are left alone until then.
func TestOnlyLinksThatThereAreAreDisturbed(t *testing.T) {
	met := false
	for seed := range uint64(60) {
		p := Plan{Seed: seed, Regions: three, New: []string{"sa"}, Kinds: []string{Partition, "region-add"}, Duration: time.Minute}
		schedule, err := p.Schedule()
		require.NoError(t, err)
		var added time.Duration
		for _, f := range schedule {
			if f.Kind == RegionAdd {
				added = f.At
			}
		}
		for _, f := range schedule {
			for _, l := range f.Links {
				if l.From == "sa" || l.To == "sa" {
					met = true
					require.LessOrEqual(t, added, f.At+f.For/2, "seed %d: %s", seed, f)
				}
			}
		}
	}
	require.True(t, met)
}
