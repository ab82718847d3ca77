package replication_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// allMove stops three regions and starts them again elsewhere, each told to join these others.
func allMove(t *testing.T, to map[string]string, join map[string][]string) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		before := []*node{eu, us, ap}
		for _, n := range before {
			n.crash()
		}
		wait(t, time.Minute)
		var now []*node
		for _, n := range before {
			now = append(now, c.start(n.name, n.store, nil, elsewhere(to[n.name], join[n.name])))
		}
		defer stopAll(now...)
		began := time.Now()
		meshed(t, now...)
		took = time.Since(began)
	})
	return took
}

// TestRegionsThatHaveAllMovedFindEachOther: all that they know of each other is where they were, and, as their
// operators told some of them, where one is.
func TestRegionsThatHaveAllMovedFindEachOther(t *testing.T) {
	for name, x := range map[string]struct {
		to   map[string]string
		join map[string][]string
	}{
		"the others are told of the first": {
			map[string]string{"eu": "eu.new", "us": "us.new", "ap": "ap.new"},
			map[string][]string{"us": {"eu.new"}, "ap": {"us.new", "eu.new"}},
		},
		"the first is told of the others": {
			map[string]string{"eu": "eu.new", "us": "us.new", "ap": "ap.new"},
			map[string][]string{"eu": {"us.new", "ap.new"}, "us": {"ap.new"}},
		},
		"each is where another was": {
			map[string]string{"eu": "us", "us": "ap", "ap": "eu"},
			map[string][]string{"us": {"us"}, "ap": {"ap", "us"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Less(t, allMove(t, x.to, x.join), 3*time.Second)
		})
	}
}
