package replication_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/replication"
)

func TestStatusTellsHowFarClocksAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		behind := func(n *node, _ *replication.Config) { n.skew = -300 * time.Millisecond }
		us := c.start("us", newFakeStore(2), []string{"eu"}, behind)
		defer stopAll(eu, us)
		us.writable()
		skew := func(on *node, of clock.Region) time.Duration { return on.r.Status()[of-1].Skew }
		eventually(t, "both have heard of the other's clock", func() bool {
			return skew(eu, 2) == -300*time.Millisecond && skew(us, 1) == 300*time.Millisecond
		})
		require.Zero(t, eu.r.Status()[1].Ahead, "within the bound")
		require.Zero(t, skew(eu, 1), "its own")
	})
}

// traffic counts what the hooks tell.
type traffic struct {
	mu    sync.Mutex
	count map[string]map[clock.Region][2]int // records and bytes, by direction and region
}

func (f *traffic) hook(direction string) func(region clock.Region, records, bytes int) {
	return func(region clock.Region, records, bytes int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.count[direction] == nil {
			f.count[direction] = map[clock.Region][2]int{}
		}
		was := f.count[direction][region]
		f.count[direction][region] = [2]int{was[0] + records, was[1] + bytes}
	}
}

func (f *traffic) get(direction string, region clock.Region) [2]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[direction][region]
}

// counting makes nodes count their traffic, by their names.
func counting() (counted map[string]*traffic, count option) {
	counted = map[string]*traffic{}
	return counted, func(n *node, config *replication.Config) {
		f := &traffic{count: map[string]map[clock.Region][2]int{}}
		counted[n.name] = f
		config.Hooks.Sent, config.Hooks.Received = f.hook("sent"), f.hook("received")
	}
}

func TestTrafficIsCountedByTheRegionAtTheOtherEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		counted, count := counting()
		eu := c.start("eu", newFakeStore(1), nil, count)
		us := c.start("us", newFakeStore(2), []string{"eu"}, count)
		defer stopAll(eu, us)
		us.writable()
		for range 5 {
			us.sees(eu.commit())
		}
		eu.sees(us.commitSized(3 * replication.MaxPart)) // goes in parts
		synctest.Wait()                                  // what was sent is counted once it is on its way
		require.Equal(t, 5, counted["eu"].get("sent", 2)[0])
		require.Equal(t, 1, counted["us"].get("sent", 1)[0])
		require.Equal(t, counted["eu"].get("sent", 2), counted["us"].get("received", 1))
		require.Equal(t, counted["us"].get("sent", 1), counted["eu"].get("received", 2))
		require.NotZero(t, counted["eu"].get("sent", 2)[1])
		require.Zero(t, counted["eu"].get("sent", 1), "nothing goes to itself")
	})
}
