package node

import (
	"context"
	"slices"

	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

// CreateBucket implements kv.Service.
func (n *run) CreateBucket(ctx context.Context, rules kv.BucketRules) (kv.DecidedRules, error) {
	rules.Generation, rules.Created = 0, n.config.Time.Wall()
	return n.decideRules(ctx, rules.Name, &meta.Create{Rules: rules})
}

// AlterBucket implements kv.Service.
func (n *run) AlterBucket(ctx context.Context, rules kv.BucketRules, since uint64) (kv.DecidedRules, error) {
	return n.decideRules(ctx, rules.Name, &meta.Alter{Rules: rules, Was: since})
}

// DropBucket implements kv.Service.
func (n *run) DropBucket(ctx context.Context, req kv.DropRequest) (kv.DroppedBucket, error) {
	if err := n.awaitMetadata(ctx, req.Bucket); err != nil {
		return kv.DroppedBucket{}, err
	}
	d, version, err := n.Coordinator.DropBucket(ctx, req)
	if err == nil {
		err = n.act(ctx, req.Bucket, version)
	}
	return d, err
}

// awaitMetadata refuses what nobody has agreed on yet.
func (n *run) awaitMetadata(ctx context.Context, bucket kv.Bucket) error {
	if err := n.consensus.metadata.await(ctx, 1); err != nil {
		return kv.Errorf(kv.KindUnavailable, "rules of bucket %q: the regions have not agreed on any metadata yet: %w; try again",
			string(bucket), err)
	}
	return nil
}

// act waits until calls here are judged by what was decided.
func (n *run) act(ctx context.Context, bucket kv.Bucket, version uint64) error {
	if err := n.consensus.metadata.await(ctx, version); err != nil {
		return kv.Errorf(kv.KindDeadline, "the rules of bucket %q are decided, and this node does not act by them yet: %w",
			string(bucket), err).WithOutcome(kv.Applied)
	}
	return nil
}

// decideRules has a command decided, and waits until calls here are judged by it.
func (n *run) decideRules(ctx context.Context, bucket kv.Bucket, command meta.Command) (kv.DecidedRules, error) {
	if err := n.awaitMetadata(ctx, bucket); err != nil {
		return kv.DecidedRules{}, err
	}
	result, err := n.consensus.command(ctx, command)
	if err != nil {
		return kv.DecidedRules{}, err
	}
	if err := n.act(ctx, bucket, result.Version); err != nil {
		return kv.DecidedRules{}, err
	}
	list, err := n.BucketRules(ctx)
	if i := slices.IndexFunc(list, func(r kv.DecidedRules) bool { return r.Name == bucket }); i >= 0 {
		return list[i], nil
	}
	return kv.DecidedRules{}, err
}

// BucketRules implements kv.Service.
func (n *run) BucketRules(context.Context) ([]kv.DecidedRules, error) {
	decided := look(n.consensus.metadata, (*meta.State).Buckets)
	regions := look(n.consensus.metadata, (*meta.State).Regions)
	out := make([]kv.DecidedRules, 0, len(decided))
	for i := range decided {
		r := kv.DecidedRules{BucketRules: decided[i].BucketRules, Since: decided[i].Since}
		for _, m := range n.replicator.EveryRegion() {
			acts := int(m.Region) <= len(regions) && regions[m.Region-1].Acknowledged >= r.Since
			if m.Serving && !m.Fenced && !acts {
				r.Pending = append(r.Pending, m.Name)
			}
		}
		out = append(out, r)
	}
	return out, nil
}
