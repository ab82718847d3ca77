package replication_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/replication"
)

// A region that was away for long, at the address that it had or at another, is heard of as soon as
// it is back: those who dial it have waited longer and longer, and it tells them not to.
func TestARegionThatIsBackIsDialledAtOnce(t *testing.T) {
	for name, address := range map[string]string{"where it was": "ap", "elsewhere": "ap.new"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, eu, us, ap := three(t)
				defer stopAll(eu, us)
				ap.crash()
				passed, _ := replication.SystemTime().NewTimer(time.Minute)
				<-passed
				begin := time.Now()
				ap = c.startAt("ap", address, ap.store)
				defer stopAll(ap)
				s := ap.commit()
				eu.sees(s)
				us.sees(s)
				require.Less(t, time.Since(begin), 500*time.Millisecond)
			})
		})
	}
}

// A region that can't be dialled for long is told of a node again and again, and finds it once it is
// back itself.
func TestARegionThatIsBackDialsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(us, ap)
		eu.crash()
		passed, _ := replication.SystemTime().NewTimer(time.Minute)
		<-passed
		begin := time.Now()
		eu = c.startAt("eu", "eu.new", eu.store)
		defer stopAll(eu)
		s := eu.commit()
		us.sees(s)
		ap.sees(s)
		require.Less(t, time.Since(begin), 500*time.Millisecond)
	})
}
