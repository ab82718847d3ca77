package replication

import (
	"context"

	"github.com/theriac-db/theriac/clock"
)

// ReviewJoiner has the founder judge a region as it was a moment ago.
func (r *Replicator) ReviewJoiner(ctx context.Context, m Member) error { return r.reviewJoiner(ctx, m) }

// ForgetTail makes a node read a lane from its log again.
func (r *Replicator) ForgetTail(lane clock.Lane) {
	o := r.outLane(lane)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail, o.bytes, o.begin = nil, 0, o.end
}
