package cluster

import (
	"context"

	"github.com/theriac-db/theriac/kv"
)

// down is the service of a region that was never started.
type down struct{ region string }

func (d down) err() error {
	return kv.Errorf(kv.KindUnavailable, "region %s was not started yet", d.region)
}

func (d down) Do(context.Context, kv.Request) (kv.Response, error) { return kv.Response{}, d.err() }

func (d down) Begin(context.Context, kv.Begin) (kv.TxnID, kv.Receipt, error) {
	return 0, kv.Receipt{}, d.err()
}

func (d down) Execute(context.Context, kv.TxnID, []kv.Op, []kv.Query) ([]kv.Value, error) {
	return nil, d.err()
}

func (d down) Commit(context.Context, kv.TxnID, kv.Options) (kv.Receipt, error) {
	return kv.Receipt{}, d.err()
}

func (d down) Abort(context.Context, kv.TxnID) error { return d.err() }

func (d down) Keys(context.Context, kv.KeysRequest) (kv.KeysPage, error) {
	return kv.KeysPage{}, d.err()
}

func (d down) Outcome(context.Context, kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	return kv.OutcomeAnswer{}, d.err()
}

func (d down) Digest(context.Context, kv.DigestRequest) (kv.Digest, error) {
	return kv.Digest{}, d.err()
}

func (d down) Status(context.Context) (kv.Status, error) { return kv.Status{}, d.err() }

func (d down) Buckets(context.Context, kv.BucketsRequest) (kv.BucketsPage, error) {
	return kv.BucketsPage{}, d.err()
}

func (d down) CreateBucket(context.Context, kv.BucketRules) (kv.DecidedRules, error) {
	return kv.DecidedRules{}, d.err()
}

func (d down) AlterBucket(context.Context, kv.BucketRules, uint64) (kv.DecidedRules, error) {
	return kv.DecidedRules{}, d.err()
}

func (d down) DropBucket(context.Context, kv.DropRequest) (kv.DroppedBucket, error) {
	return kv.DroppedBucket{}, d.err()
}

func (d down) RemoveRegion(context.Context, string) error { return d.err() }

func (d down) BucketRules(context.Context) ([]kv.DecidedRules, error) { return nil, d.err() }

var _ kv.Service = down{}
