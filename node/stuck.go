package node

import "github.com/theriac-db/theriac/clock"

// stuck notes that the store refuses a record of a region, so that what the region writes waits, or,
// with nil, that this is over.
func (n *run) stuck(region clock.Region, err error) {
	n.peers.mu.Lock()
	if err != nil {
		n.peers.stuck[region] = err.Error()
	} else {
		delete(n.peers.stuck, region)
	}
	n.peers.mu.Unlock()
	if err != nil {
		n.config.logf("region %d: %v", region, err)
	} else {
		n.config.logf("region %d: what the store refused is here now", region)
	}
}
