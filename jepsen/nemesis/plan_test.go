package nemesis

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write the schedules that the plans give into testdata")

var (
	three = []string{"eu", "us", "ap"}
	five  = []string{"eu", "us", "ap", "sa", "af"}
)

// goldens are the plans whose schedules testdata holds.
var goldens = map[string]Plan{
	"partitions of three": {Seed: 1, Regions: three, Kinds: []string{Partition}, Duration: time.Minute},
	"partitions of five":  {Seed: 2, Regions: five, Kinds: []string{Partition}, Duration: 90 * time.Second},
	"kills":               {Seed: 3, Regions: three, Kinds: []string{Kill, "restart-loop", "pause"}, Duration: 40 * time.Second},
	"everything":          {Seed: 4, Regions: five, New: []string{"me"}, Kinds: []string{All}, Duration: 3 * time.Minute},
	"two regions":         {Seed: 5, Regions: three[:2], Kinds: []string{"partition-oneway", "slow", "reset", "stall", "gossip"}, Duration: 20 * time.Second},
	"nothing":             {Seed: 6, Regions: three, Kinds: []string{None}, Duration: time.Minute},
}

// A schedule is its seed's for ever: histories name the seed, and whoever repeats a run gets the same faults.
func TestSchedulesAreThoseOfTheirSeeds(t *testing.T) {
	var got strings.Builder
	names := make([]string, 0, len(goldens))
	for name := range goldens {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		schedule, err := goldens[name].Schedule()
		require.NoError(t, err)
		fmt.Fprintf(&got, "# %s\n", name)
		for _, f := range schedule {
			fmt.Fprintln(&got, f)
			require.NotEmpty(t, f.Targets)
		}
		again, err := goldens[name].Schedule()
		require.NoError(t, err)
		require.Equal(t, schedule, again)
	}
	const file = "testdata/schedules.txt"
	if *rewrite {
		require.NoError(t, os.WriteFile(file, []byte(got.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got.String(), "after a change that is meant: go test ./jepsen/nemesis -run Schedules -rewrite")
}

// Invariants 1 and 2, and that tracks do not overlap themselves, for many seeds.
func TestEveryKindHasItsTurnAndEnds(t *testing.T) {
	for seed := range uint64(300) {
		p := Plan{Seed: seed, Regions: five, New: []string{"me", "oc"}, Kinds: []string{All}, Duration: time.Minute + time.Duration(seed)*time.Second}
		schedule, err := p.Schedule()
		require.NoError(t, err)
		all, err := Expand([]string{All})
		require.NoError(t, err)
		require.Equal(t, all, KindsOf(schedule), "seed %d", seed)
		ends := map[track]time.Duration{}
		for _, f := range schedule {
			i, _ := info(f.Kind)
			require.Greater(t, f.At, ends[i.track], "seed %d: %s", seed, f)
			ends[i.track] = f.At + f.For
			require.Less(t, ends[i.track], p.Duration, "seed %d: %s", seed, f)
			require.Positive(t, len(f.Links)+len(f.Regions), "seed %d: %s", seed, f)
			for _, s := range f.steps() {
				require.Less(t, s.after, f.For, "seed %d: %s", seed, f)
			}
		}
	}
}

// The shapes of partitions are what their names say, whatever the seed draws.
func TestShapesOfPartitions(t *testing.T) {
	for seed := range uint64(200) {
		for n := 2; n <= 5; n++ {
			r := rand.New(rand.NewPCG(seed, 1))
			regions := five[:n]
			one := Isolate(r, regions)
			require.Len(t, one.Links, 2*(n-1))
			require.Len(t, one.Targets, 1)
			for _, l := range one.Links {
				require.Contains(t, []string{l.From, l.To}, one.Targets[0])
			}
			halves := Halves(r, regions)
			small := len(halves.Targets)
			require.Len(t, halves.Links, 2*small*(n-small))
			for _, l := range halves.Links {
				require.NotEqual(t, slices.Contains(halves.Targets, l.From), slices.Contains(halves.Targets, l.To))
			}
			oneway := Oneway(r, regions)
			for _, l := range oneway.Links {
				require.NotContains(t, oneway.Links, l.back())
			}
			if n > 2 {
				checkBridge(t, Bridge(r, regions), regions)
			}
		}
	}
}

func (l Link) back() Link { return Link{l.To, l.From} }

// checkBridge: exactly one region has all its links, and without it the rest falls apart.
func checkBridge(t *testing.T, s Shape, regions []string) {
	t.Helper()
	whole := 0
	for _, r := range regions {
		if !slices.ContainsFunc(s.Links, func(l Link) bool { return l.From == r || l.To == r }) {
			whole++
		}
	}
	require.Equal(t, 1, whole, s.Text)
	for _, l := range s.Links {
		require.Contains(t, s.Links, l.back())
	}
}

func TestNamesOfKinds(t *testing.T) {
	kinds, err := Expand([]string{"kill", "partition-bridge", "kill-one"})
	require.NoError(t, err)
	require.Equal(t, []Kind{PartitionBridge, KillOne, KillSeveral, KillAll}, kinds)
	kinds, err = Expand([]string{None})
	require.NoError(t, err)
	require.Empty(t, kinds)
	for _, e := range List() {
		_, err := Expand([]string{e.Name})
		require.NoError(t, err)
		require.NotEmpty(t, e.About)
	}
}

func TestBadPlans(t *testing.T) {
	for name, c := range map[string]struct {
		plan Plan
		want string
	}{
		"unknown kind": {Plan{Regions: three, Kinds: []string{"earthquake"}, Duration: time.Minute},
			`no nemesis "earthquake"; there are none, all, partition, kill, partition-halves, partition-isolate, partition-bridge, partition-oneway, ` +
				`partition-flapping, slow, stall, reset, gossip, isolate-leader, kill-one, kill-several, kill-all, pause, restart-loop, clock, disk-full, destroy-region, region-add`},
		"no kind":            {Plan{Regions: three, Duration: time.Minute}, "no nemesis is named"},
		"none and another":   {Plan{Regions: three, Kinds: []string{None, "pause"}, Duration: time.Minute}, "goes with no other"},
		"too few regions":    {Plan{Regions: three[:2], Kinds: []string{"partition-bridge"}, Duration: time.Minute}, "takes at least 3 regions, here are 2"},
		"no region to add":   {Plan{Regions: three, Kinds: []string{"region-add"}, Duration: time.Minute}, "no region to add"},
		"too short":          {Plan{Regions: three, Kinds: []string{Partition}, Duration: 9 * time.Second}, "5 kinds of faults of the network take a run of at least 10s"},
		"a run of no length": {Plan{Regions: three, Kinds: []string{"pause"}}, "at least 2s"},
	} {
		t.Run(name, func(t *testing.T) {
			schedule, err := c.plan.Schedule()
			require.ErrorContains(t, err, c.want)
			require.Nil(t, schedule)
		})
	}
}

func TestKindsThatTakeTurnsHaveRoom(t *testing.T) {
	require.Equal(t, 10*RoomySlot, RoomFor([]string{All}))
	require.Equal(t, 2*RoomySlot, RoomFor([]string{"slow", "reset", "kill-one", "clock"}))
	for _, names := range [][]string{{"slow", "kill-one", "clock"}, {None}, {"no such"}} {
		require.Zero(t, RoomFor(names), names)
	}
	_, err := Plan{Regions: five, New: []string{"me"}, Kinds: []string{All}, Duration: RoomFor([]string{All})}.Schedule()
	require.NoError(t, err)
}
