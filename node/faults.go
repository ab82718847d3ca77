package node

import (
	"maps"
	"slices"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/replication"
)

// faultQuiet is how long a stream to a region must be up, with no fault of the region told, for the
// last one to be over. One that persists is told again sooner, at the latest each TellEvery.
const faultQuiet = 2 * replication.TellEvery

// fault is damage that needs an operator, as replication told it last of a region.
type fault struct {
	text string
	at   time.Duration // monotonic
}

// faulty notes a fault of a region.
func (n *run) faulty(region clock.Region, err error) {
	n.peers.mu.Lock()
	n.peers.faults[region] = fault{err.Error(), n.config.Time.Monotonic()}
	n.peers.mu.Unlock()
	if region == 0 { // of none
		n.config.logf("%v", err)
		return
	}
	n.config.logf("region %d: %v", region, err)
}

// connected notes that the stream to a region is up, or why it is not.
func (n *run) connected(region clock.Region, up bool, err error) {
	n.peers.mu.Lock()
	delete(n.peers.up, region)
	if up {
		n.peers.up[region] = n.config.Time.Monotonic()
	}
	n.peers.mu.Unlock()
	if up {
		n.config.logf("region %d: connected", region)
	} else {
		n.config.logf("region %d: disconnected: %v", region, err)
	}
}

// others lists the members that there should be a stream to.
func (n *run) others() map[clock.Region]bool {
	out := map[clock.Region]bool{}
	for _, p := range n.replicator.Status() {
		out[p.Region] = p.Region != n.lane.Region
	}
	return out
}

// standing forgets the faults that are over and lists the others. Of what is no other member, as a
// node of another cluster may call itself, no stream is to be expected: silence does. The caller holds
// mu.
func (f *peerFacts) standing(now time.Duration, others map[clock.Region]bool) (out []string) {
	for _, region := range slices.Sorted(maps.Keys(f.faults)) {
		since := f.faults[region].at
		up, ok := f.up[region]
		if (ok || !others[region]) && now-max(since, up) >= faultQuiet {
			delete(f.faults, region)
			continue
		}
		out = append(out, f.faults[region].text)
	}
	return out
}
