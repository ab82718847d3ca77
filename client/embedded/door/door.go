package door

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/theriac-db/theriac/kv"
)

// Door is what a region's clients talk to: its node while it is up, an error while it is down. It is
// safe for concurrent use.
type Door struct {
	region  string
	service atomic.Pointer[kv.Service]
}

var _ kv.Service = (*Door)(nil)

// New returns the door of a region, shut.
func New(region string) *Door { return &Door{region: region} }

// Open lets calls through to a service.
func (d *Door) Open(s kv.Service) { d.service.Store(&s) }

// Shut refuses calls, and keeps back the answers to those under way.
func (d *Door) Shut() { d.service.Store(nil) }

// IsOpen reports whether calls are let through.
func (d *Door) IsOpen() bool { return d.service.Load() != nil }

// enter returns the service behind the door, and what to ask before its answer is let out. The
// outcome is that of a call whose answer is lost.
func (d *Door) enter(lost kv.Outcome) (s kv.Service, leave func(error) error, err error) {
	p := d.service.Load()
	if p == nil {
		return nil, nil, kv.Errorf(kv.KindUnavailable, "region %s is down", d.region)
	}
	return *p, func(err error) error {
		if d.service.Load() == p || err != nil && kv.TokenOf(err).IsZero() { // an error that tells nothing of the data
			return err
		}
		gone := kv.Errorf(kv.KindUnavailable, "region %s went down during the call", d.region)
		if err != nil && kv.OutcomeOf(err) == kv.NotApplied {
			return gone
		}
		return gone.WithOutcome(lost)
	}, nil
}

// through calls a method of the service behind the door.
func through[T any](d *Door, lost kv.Outcome, call func(kv.Service) (T, error)) (T, error) {
	var zero T
	s, leave, err := d.enter(lost)
	if err != nil {
		return zero, err
	}
	out, err := call(s)
	if err := leave(err); err != nil {
		return zero, err
	}
	return out, nil
}

// written is what a lost answer leaves open about a request with so many operations.
func written(ops int) kv.Outcome {
	if ops == 0 {
		return kv.NotApplied
	}
	return kv.OutcomeUnknown
}

// Do implements kv.Service.
func (d *Door) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	resp, err := through(d, written(len(req.Ops)), func(s kv.Service) (kv.Response, error) { return s.Do(ctx, req) })
	var e *kv.Error
	if a := req.Options.Attempt; a.Retry && errors.As(err, &e) && e.Kind == kv.KindUnavailable && e.Outcome == kv.NotApplied {
		e = e.WithOutcome(kv.OutcomeUnknown) // this try was not, but another may have been
		e.ID = a.ID
		return resp, e
	}
	return resp, err
}

// Begin implements kv.Service.
func (d *Door) Begin(ctx context.Context, b kv.Begin) (id kv.TxnID, r kv.Receipt, err error) {
	s, leave, err := d.enter(kv.NotApplied)
	if err != nil {
		return 0, kv.Receipt{}, err
	}
	id, r, err = s.Begin(ctx, b)
	return id, r, leave(err)
}

// Execute implements kv.Service.
func (d *Door) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	return through(d, kv.NotApplied, func(s kv.Service) ([]kv.Value, error) { return s.Execute(ctx, id, ops, queries) })
}

// Commit implements kv.Service.
func (d *Door) Commit(ctx context.Context, id kv.TxnID, o kv.Options) (kv.Receipt, error) {
	lost := kv.OutcomeUnknown
	if o.Discard {
		lost = kv.NotApplied
	}
	return through(d, lost, func(s kv.Service) (kv.Receipt, error) { return s.Commit(ctx, id, o) })
}

// Abort implements kv.Service.
func (d *Door) Abort(ctx context.Context, id kv.TxnID) error {
	s, leave, err := d.enter(kv.NotApplied)
	if err != nil {
		return err
	}
	return leave(s.Abort(ctx, id))
}

// Keys implements kv.Service.
func (d *Door) Keys(ctx context.Context, req kv.KeysRequest) (kv.KeysPage, error) {
	return through(d, kv.NotApplied, func(s kv.Service) (kv.KeysPage, error) { return s.Keys(ctx, req) })
}

// Outcome implements kv.Service.
func (d *Door) Outcome(ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	return through(d, kv.NotApplied, func(s kv.Service) (kv.OutcomeAnswer, error) { return s.Outcome(ctx, req) })
}

// Digest implements kv.Service.
func (d *Door) Digest(ctx context.Context, req kv.DigestRequest) (kv.Digest, error) {
	return through(d, kv.NotApplied, func(s kv.Service) (kv.Digest, error) { return s.Digest(ctx, req) })
}

// Status implements kv.Service.
func (d *Door) Status(ctx context.Context) (kv.Status, error) {
	return through(d, kv.NotApplied, func(s kv.Service) (kv.Status, error) { return s.Status(ctx) })
}

// Buckets implements kv.Service.
func (d *Door) Buckets(ctx context.Context, req kv.BucketsRequest) (kv.BucketsPage, error) {
	return through(d, kv.NotApplied, func(s kv.Service) (kv.BucketsPage, error) { return s.Buckets(ctx, req) })
}

// CreateBucket implements kv.Service.
func (d *Door) CreateBucket(ctx context.Context, rules kv.BucketRules) (kv.DecidedRules, error) {
	return through(d, kv.OutcomeUnknown, func(s kv.Service) (kv.DecidedRules, error) { return s.CreateBucket(ctx, rules) })
}

// AlterBucket implements kv.Service.
func (d *Door) AlterBucket(ctx context.Context, rules kv.BucketRules, since uint64) (kv.DecidedRules, error) {
	return through(d, kv.OutcomeUnknown, func(s kv.Service) (kv.DecidedRules, error) { return s.AlterBucket(ctx, rules, since) })
}

// DropBucket implements kv.Service.
func (d *Door) DropBucket(ctx context.Context, req kv.DropRequest) (kv.DroppedBucket, error) {
	return through(d, kv.OutcomeUnknown, func(s kv.Service) (kv.DroppedBucket, error) { return s.DropBucket(ctx, req) })
}

// RemoveRegion implements kv.Service.
func (d *Door) RemoveRegion(ctx context.Context, name string) error {
	_, err := through(d, kv.OutcomeUnknown, func(s kv.Service) (struct{}, error) { return struct{}{}, s.RemoveRegion(ctx, name) })
	return err
}

// BucketRules implements kv.Service.
func (d *Door) BucketRules(ctx context.Context) ([]kv.DecidedRules, error) {
	return through(d, kv.NotApplied, func(s kv.Service) ([]kv.DecidedRules, error) { return s.BucketRules(ctx) })
}
