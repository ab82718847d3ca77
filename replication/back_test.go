package replication_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// comesBack crashes one region of three and starts it again after a while, perhaps at another address. It
// returns how long it took until the others saw what it wrote then.
func comesBack(t *testing.T, name, address string, away time.Duration) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		nodes := map[string]*node{"eu": eu, "us": us, "ap": ap}
		gone := nodes[name]
		delete(nodes, name)
		gone.crash()
		wait(t, away)
		begin := time.Now()
		back := c.startAt(name, address, gone.store)
		s := back.commit()
		for _, n := range nodes {
			n.sees(s)
		}
		took = time.Since(begin)
		stopAll(eu, us, ap, back)
	})
	return took
}

// A region that was away for long, at the address that it had or at another, is heard of as soon as
// it is back: those who dial it have waited longer and longer, and it tells them not to. One that dials the
// others does so at once.
func TestARegionThatIsBackIsHeardAtOnce(t *testing.T) {
	for name, at := range map[string][2]string{
		"where it was": {"ap", "ap"}, "elsewhere": {"ap", "ap.new"}, "elsewhere, and it dials": {"eu", "eu.new"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Less(t, comesBack(t, at[0], at[1], time.Minute), 500*time.Millisecond)
		})
	}
}

func TestAMovedNodeIsFound(t *testing.T) {
	comesBack(t, "ap", "ap.new", 0)
}
