package node

import "context"

// Abandon gives up a region that has a number and has not finished joining: nothing waits for it any
// more, others may join, and its folder is refused for good. See
// replication.Replicator.Abandon for the errors.
func (n *Node) Abandon(ctx context.Context, region string) error {
	_, err := through(n, func(r *run) (struct{}, error) { return struct{}{}, r.replicator.Abandon(ctx, region) })
	return err
}
