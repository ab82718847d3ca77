package nemesis

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// led is a world that knows who leads.
type led struct {
	*witness
	leader string
}

func (l led) Leader(context.Context) string { return l.leader }

// Invariant 5: a fault for the leader hits the leader, or another region where nobody knows it, and says which.
func TestAFaultForTheLeaderFindsIt(t *testing.T) {
	planned := Fault{For: time.Second, Kind: IsolateLeader, Targets: []string{"eu"}, Links: alone("eu", three).Links}
	for name, c := range map[string]struct {
		target  func(w *witness) any
		targets []string
		text    string
		did     Effects
	}{
		"known":         {func(w *witness) any { return led{w, "us"} }, []string{"us"}, "leader us | eu ap", Effects{BytesHeld: 8, LeadersCut: 1}},
		"unknown":       {func(w *witness) any { return led{w, ""} }, []string{"eu"}, "no leader known: eu | us ap", Effects{BytesHeld: 8, LeadersUnknown: 1}},
		"out of reach":  {func(w *witness) any { return led{w, "sa"} }, []string{"eu"}, "no leader known: eu | us ap", Effects{BytesHeld: 8, LeadersUnknown: 1}},
		"nobody to ask": {func(w *witness) any { return w }, []string{"eu"}, "no leader known: eu | us ap", Effects{BytesHeld: 8, LeadersUnknown: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, world *world) {
				w := &witness{world: world, counts: Effects{}}
				require.NoError(t, Run(t.Context(), []Fault{planned}, c.target(w), func(f Fault) func(Effects) {
					require.Equal(t, c.targets, f.Targets)
					require.Equal(t, c.text, f.Text)
					return func(e Effects) { require.Equal(t, c.did, e) }
				}))
				require.Empty(t, world.disturbed())
			})
		})
	}
}

// TestADestroyedRegionComesBack: it is destroyed once, and started when the fault is over.
func TestADestroyedRegionComesBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		require.NoError(t, Run(t.Context(), []Fault{{For: time.Second, Kind: DestroyRegion, Regions: []string{"us"}}}, w, nil))
		require.Equal(t, []string{"0s destroy us", "1s restart us"}, w.log)
		require.Empty(t, w.disturbed())
	})
	require.ErrorContains(t, Possible([]Kind{DestroyRegion}, struct{ Killer }{}), "this cluster can't take disks away")
}
