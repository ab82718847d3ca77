package embedded

import (
	"context"
	"sync/atomic"

	"github.com/theriac-db/theriac/kv"
)

// door is what a region's DB talks to: its node while it is up, an error while it is down.
type door struct {
	region  string
	service atomic.Pointer[kv.Service]
}

func (d *door) open(s kv.Service) { d.service.Store(&s) }

func (d *door) shut() { d.service.Store(nil) }

func (d *door) get() (kv.Service, error) {
	if s := d.service.Load(); s != nil {
		return *s, nil
	}
	return nil, kv.Errorf(kv.KindUnavailable, "region %s is down", d.region)
}

// through calls a method of the service behind the door.
func through[T any](d *door, call func(kv.Service) (T, error)) (T, error) {
	s, err := d.get()
	if err != nil {
		var zero T
		return zero, err
	}
	return call(s)
}

func (d *door) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	return through(d, func(s kv.Service) (kv.Response, error) { return s.Do(ctx, req) })
}

func (d *door) Begin(ctx context.Context, b kv.Begin) (id kv.TxnID, r kv.Receipt, err error) {
	s, err := d.get()
	if err != nil {
		return 0, kv.Receipt{}, err
	}
	return s.Begin(ctx, b)
}

func (d *door) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	return through(d, func(s kv.Service) ([]kv.Value, error) { return s.Execute(ctx, id, ops, queries) })
}

func (d *door) Commit(ctx context.Context, id kv.TxnID, o kv.Options) (kv.Receipt, error) {
	return through(d, func(s kv.Service) (kv.Receipt, error) { return s.Commit(ctx, id, o) })
}

func (d *door) Abort(ctx context.Context, id kv.TxnID) error {
	s, err := d.get()
	if err != nil {
		return err
	}
	return s.Abort(ctx, id)
}

func (d *door) Keys(ctx context.Context, req kv.KeysRequest) (kv.KeysPage, error) {
	return through(d, func(s kv.Service) (kv.KeysPage, error) { return s.Keys(ctx, req) })
}

func (d *door) Outcome(ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	return through(d, func(s kv.Service) (kv.OutcomeAnswer, error) { return s.Outcome(ctx, req) })
}

func (d *door) Digest(ctx context.Context, req kv.DigestRequest) (kv.Digest, error) {
	return through(d, func(s kv.Service) (kv.Digest, error) { return s.Digest(ctx, req) })
}

func (d *door) Status(ctx context.Context) (kv.Status, error) {
	return through(d, func(s kv.Service) (kv.Status, error) { return s.Status(ctx) })
}

func (d *door) Buckets(ctx context.Context) ([]kv.Bucket, error) {
	return through(d, func(s kv.Service) ([]kv.Bucket, error) { return s.Buckets(ctx) })
}
