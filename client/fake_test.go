package client

import (
	"context"
	"sync"

	"github.com/theriac-db/theriac/kv"
)

// faulty is a kv.Service whose calls can be made to fail before or after they take effect, and
// which counts them.
type faulty struct {
	kv.Service
	mu     sync.Mutex
	calls  []string
	reqs   []kv.Request
	before func(name string, n int) error // n counts the calls of this name from 1
	after  func(name string, n int) error // the call took effect; its answer gets lost
	counts map[string]int
}

func newFaulty(svc kv.Service) *faulty {
	return &faulty{Service: svc, counts: map[string]int{}}
}

func (f *faulty) enter(name string) (int, error) {
	f.mu.Lock()
	f.calls = append(f.calls, name)
	f.counts[name]++
	n, before := f.counts[name], f.before
	f.mu.Unlock()
	if before == nil {
		return n, nil
	}
	return n, before(name, n)
}

func (f *faulty) leave(name string, n int, err error) error {
	f.mu.Lock()
	after := f.after
	f.mu.Unlock()
	if err != nil || after == nil {
		return err
	}
	return after(name, n)
}

// count is how often a method was called; names are the service's.
func (f *faulty) count(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[name]
}

func (f *faulty) requests() []kv.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reqs
}

func (f *faulty) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	n, err := f.enter("Do")
	f.mu.Lock()
	f.reqs = append(f.reqs, req)
	f.mu.Unlock()
	if err != nil {
		return kv.Response{}, err
	}
	resp, err := f.Service.Do(ctx, req)
	return resp, f.leave("Do", n, err)
}

func (f *faulty) Begin(ctx context.Context, b kv.Begin) (kv.TxnID, kv.Receipt, error) {
	n, err := f.enter("Begin")
	if err != nil {
		return 0, kv.Receipt{}, err
	}
	id, r, err := f.Service.Begin(ctx, b)
	return id, r, f.leave("Begin", n, err)
}

func (f *faulty) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	n, err := f.enter("Execute")
	if err != nil {
		return nil, err
	}
	values, err := f.Service.Execute(ctx, id, ops, queries)
	return values, f.leave("Execute", n, err)
}

func (f *faulty) Commit(ctx context.Context, id kv.TxnID, o kv.Options) (kv.Receipt, error) {
	n, err := f.enter("Commit")
	if err != nil {
		return kv.Receipt{}, err
	}
	r, err := f.Service.Commit(ctx, id, o)
	return r, f.leave("Commit", n, err)
}

func (f *faulty) Abort(ctx context.Context, id kv.TxnID) error {
	n, err := f.enter("Abort")
	if err != nil {
		return err
	}
	return f.leave("Abort", n, f.Service.Abort(ctx, id))
}

func (f *faulty) Keys(ctx context.Context, req kv.KeysRequest) (kv.KeysPage, error) {
	n, err := f.enter("Keys")
	if err != nil {
		return kv.KeysPage{}, err
	}
	page, err := f.Service.Keys(ctx, req)
	return page, f.leave("Keys", n, err)
}

func (f *faulty) Outcome(ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	n, err := f.enter("Outcome")
	if err != nil {
		return kv.OutcomeAnswer{}, err
	}
	a, err := f.Service.Outcome(ctx, req)
	return a, f.leave("Outcome", n, err)
}

func (f *faulty) Digest(ctx context.Context, req kv.DigestRequest) (kv.Digest, error) {
	n, err := f.enter("Digest")
	if err != nil {
		return kv.Digest{}, err
	}
	d, err := f.Service.Digest(ctx, req)
	return d, f.leave("Digest", n, err)
}

func (f *faulty) Status(ctx context.Context) (kv.Status, error) {
	n, err := f.enter("Status")
	if err != nil {
		return kv.Status{}, err
	}
	s, err := f.Service.Status(ctx)
	return s, f.leave("Status", n, err)
}

func (f *faulty) Buckets(ctx context.Context, req kv.BucketsRequest) (kv.BucketsPage, error) {
	n, err := f.enter("Buckets")
	if err != nil {
		return kv.BucketsPage{}, err
	}
	b, err := f.Service.Buckets(ctx, req)
	return b, f.leave("Buckets", n, err)
}

// down is what a call to a node that can't be reached fails with.
func down() error { return kv.Errorf(kv.KindUnavailable, "connection refused") }

// cut is what a write fails with whose connection broke while it was under way.
func cut() error {
	return kv.Errorf(kv.KindUnavailable, "connection reset").WithOutcome(kv.OutcomeUnknown)
}

// always fails every call.
func always(err func() error) func(string, int) error {
	return func(string, int) error { return err() }
}

// only fails the first n calls of one method.
func only(method string, most int, err func() error) func(string, int) error {
	return func(name string, n int) error {
		if name == method && n <= most {
			return err()
		}
		return nil
	}
}
