package replication

import "github.com/theriac-db/theriac/clock"

// ForgetTail makes a node read a lane from its log again.
func (r *Replicator) ForgetTail(lane clock.Lane) {
	o := r.outLane(lane)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail, o.bytes, o.begin = nil, 0, o.end
}
