package embedded

import (
	"context"
	"sync/atomic"

	"github.com/theriac-db/theriac/kv"
)

// door is what a region's DB talks to: its node while it is up, an error while it is down. An answer
// that comes after the door was shut is not let out: a crash may have taken back what it says.
type door struct {
	region  string
	service atomic.Pointer[kv.Service]
}

func (d *door) open(s kv.Service) { d.service.Store(&s) }

func (d *door) shut() { d.service.Store(nil) }

// enter returns the service behind the door, and what to ask before its answer is let out. The
// outcome is that of a call whose answer is lost.
func (d *door) enter(lost kv.Outcome) (s kv.Service, leave func(error) error, err error) {
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
func through[T any](d *door, lost kv.Outcome, call func(kv.Service) (T, error)) (T, error) {
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

func (d *door) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	return through(d, written(len(req.Ops)), func(s kv.Service) (kv.Response, error) { return s.Do(ctx, req) })
}

func (d *door) Begin(ctx context.Context, b kv.Begin) (id kv.TxnID, r kv.Receipt, err error) {
	s, leave, err := d.enter(kv.NotApplied)
	if err != nil {
		return 0, kv.Receipt{}, err
	}
	id, r, err = s.Begin(ctx, b)
	return id, r, leave(err)
}

func (d *door) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	return through(d, kv.NotApplied, func(s kv.Service) ([]kv.Value, error) { return s.Execute(ctx, id, ops, queries) })
}

func (d *door) Commit(ctx context.Context, id kv.TxnID, o kv.Options) (kv.Receipt, error) {
	return through(d, kv.OutcomeUnknown, func(s kv.Service) (kv.Receipt, error) { return s.Commit(ctx, id, o) })
}

func (d *door) Abort(ctx context.Context, id kv.TxnID) error {
	s, leave, err := d.enter(kv.NotApplied)
	if err != nil {
		return err
	}
	return leave(s.Abort(ctx, id))
}

func (d *door) Keys(ctx context.Context, req kv.KeysRequest) (kv.KeysPage, error) {
	return through(d, kv.NotApplied, func(s kv.Service) (kv.KeysPage, error) { return s.Keys(ctx, req) })
}

func (d *door) Outcome(ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	return through(d, kv.NotApplied, func(s kv.Service) (kv.OutcomeAnswer, error) { return s.Outcome(ctx, req) })
}

func (d *door) Digest(ctx context.Context, req kv.DigestRequest) (kv.Digest, error) {
	return through(d, kv.NotApplied, func(s kv.Service) (kv.Digest, error) { return s.Digest(ctx, req) })
}

func (d *door) Status(ctx context.Context) (kv.Status, error) {
	return through(d, kv.NotApplied, func(s kv.Service) (kv.Status, error) { return s.Status(ctx) })
}

func (d *door) Buckets(ctx context.Context, req kv.BucketsRequest) (kv.BucketsPage, error) {
	return through(d, kv.NotApplied, func(s kv.Service) (kv.BucketsPage, error) { return s.Buckets(ctx, req) })
}
