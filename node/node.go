package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/theriac-db/theriac/kv"
)

// Node is one running node. It implements kv.Service.
type Node struct {
	config  Config
	current atomic.Pointer[run]
	// gate is entered by every call, and shut while the run is replaced: no call ever meets a store that
	// is being emptied.
	gate     *gate
	renewing atomic.Pointer[renewal] // why it is shut, or was last
	began    chan error              // buffered; what came of the first attempt to take writes

	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Start starts a node and returns once it serves. ctx bounds the start only.
func Start(ctx context.Context, config Config) (*Node, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	door := newDoor(config.Transport)
	config.Transport = door
	background, cancel := context.WithCancel(context.Background())
	n := &Node{config: config, gate: newGate(), began: make(chan error, 1), cancel: cancel}
	n.running.Go(func() { door.serve(background) })
	r, err := newRun(ctx, config, 0)
	if err != nil {
		cancel()
		n.running.Wait()
		return nil, err
	}
	n.current.Store(r)
	n.config.Region = r.identity.Name
	if err := n.start(ctx, background); err != nil {
		n.Kill()
		return nil, err
	}
	return n, nil
}

func (n *Node) start(ctx, background context.Context) error {
	if err := n.startMembership(background); err != nil {
		return err
	}
	r := n.current.Load()
	r.begin(n.tellBegan)
	n.running.Go(func() { n.keepUp(background) })
	if r.recovering() {
		return nil // it serves reads meanwhile
	}
	select {
	case err := <-n.began:
		return err
	case <-ctx.Done():
		return fmt.Errorf("starting: %w", context.Cause(ctx))
	}
}

func (n *Node) tellBegan(err error) {
	select {
	case n.began <- err:
	default:
	}
}

// Close stops the node in order.
func (n *Node) Close(ctx context.Context) error {
	n.stopRunning()
	return n.current.Load().Close(ctx)
}

// Kill stops the node's goroutines without ending anything in order: the files stay as a crash at
// this moment would leave them, but for what the store writes when it is closed.
func (n *Node) Kill() {
	n.stopRunning()
	n.current.Load().Kill()
}

func (n *Node) stopRunning() {
	n.cancel()
	n.running.Wait()
}

// enter returns what serves at the moment, and what to call when done with it; nil: nothing does.
func (n *Node) enter() (*run, func()) {
	if !n.gate.enter() {
		return nil, nil
	}
	return n.current.Load(), n.gate.leave
}

// through makes a call of whatever serves at the moment.
func through[T any](n *Node, call func(*run) (T, error)) (out T, err error) {
	r, err := n.open()
	if err != nil {
		return out, err
	}
	defer n.gate.leave()
	out, err = call(r)
	if r.forked.Load() != nil { // what was done meanwhile is only here
		var none T
		return none, r.errForked().WithOutcome(kv.OutcomeUnknown)
	}
	return out, err
}

// open is enter for calls: the caller leaves the gate, unless there is an error.
func (n *Node) open() (*run, error) {
	if !n.gate.enter() {
		return nil, n.errRenewing()
	}
	r := n.current.Load()
	if r.forked.Load() != nil {
		n.gate.leave()
		return nil, r.errForked()
	}
	return r, nil
}

// Do implements kv.Service. It is through in full: reads are quick enough to feel a function value.
func (n *Node) Do(ctx context.Context, req kv.Request) (resp kv.Response, err error) {
	r, err := n.open()
	if err != nil {
		return resp, err
	}
	defer n.gate.leave()
	resp, err = r.Do(ctx, req)
	if r.forked.Load() != nil {
		return kv.Response{}, r.errForked().WithOutcome(kv.OutcomeUnknown)
	}
	return resp, err
}

// Begin implements kv.Service.
func (n *Node) Begin(ctx context.Context, b kv.Begin) (id kv.TxnID, receipt kv.Receipt, err error) {
	receipt, err = through(n, func(r *run) (receipt kv.Receipt, err error) {
		id, receipt, err = r.Begin(ctx, b)
		return receipt, err
	})
	return id, receipt, err
}

// Execute implements kv.Service.
func (n *Node) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	return through(n, func(r *run) ([]kv.Value, error) { return r.Execute(ctx, id, ops, queries) })
}

// Commit implements kv.Service.
func (n *Node) Commit(ctx context.Context, id kv.TxnID, o kv.Options) (kv.Receipt, error) {
	return through(n, func(r *run) (kv.Receipt, error) { return r.Commit(ctx, id, o) })
}

// Abort implements kv.Service.
func (n *Node) Abort(ctx context.Context, id kv.TxnID) error {
	_, err := through(n, func(r *run) (struct{}, error) { return struct{}{}, r.Abort(ctx, id) })
	return err
}

// Keys implements kv.Service.
func (n *Node) Keys(ctx context.Context, req kv.KeysRequest) (kv.KeysPage, error) {
	return through(n, func(r *run) (kv.KeysPage, error) { return r.Keys(ctx, req) })
}

// Outcome implements kv.Service.
func (n *Node) Outcome(ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	return through(n, func(r *run) (kv.OutcomeAnswer, error) { return r.Outcome(ctx, req) })
}

// Digest implements kv.Service.
func (n *Node) Digest(ctx context.Context, req kv.DigestRequest) (kv.Digest, error) {
	return through(n, func(r *run) (kv.Digest, error) { return r.Digest(ctx, req) })
}

// Buckets implements kv.Service.
func (n *Node) Buckets(ctx context.Context, req kv.BucketsRequest) (kv.BucketsPage, error) {
	return through(n, func(r *run) (kv.BucketsPage, error) { return r.Buckets(ctx, req) })
}

// CreateBucket implements kv.Service.
func (n *Node) CreateBucket(ctx context.Context, rules kv.BucketRules) (kv.DecidedRules, error) {
	return through(n, func(r *run) (kv.DecidedRules, error) { return r.CreateBucket(ctx, rules) })
}

// DropBucket implements kv.Service.
func (n *Node) DropBucket(ctx context.Context, req kv.DropRequest) (kv.DroppedBucket, error) {
	return through(n, func(r *run) (kv.DroppedBucket, error) { return r.DropBucket(ctx, req) })
}

// AlterBucket implements kv.Service.
func (n *Node) AlterBucket(ctx context.Context, rules kv.BucketRules, since uint64) (kv.DecidedRules, error) {
	return through(n, func(r *run) (kv.DecidedRules, error) { return r.AlterBucket(ctx, rules, since) })
}

// BucketRules implements kv.Service.
func (n *Node) BucketRules(ctx context.Context) ([]kv.DecidedRules, error) {
	return through(n, func(r *run) ([]kv.DecidedRules, error) { return r.BucketRules(ctx) })
}

// RemoveRegion implements kv.Service.
func (n *Node) RemoveRegion(ctx context.Context, name string) error {
	_, err := through(n, func(r *run) (struct{}, error) { return struct{}{}, r.RemoveRegion(ctx, name) })
	return err
}

// Status implements kv.Service. It answers also while nothing else does.
func (n *Node) Status(ctx context.Context) (kv.Status, error) { return n.current.Load().Status(ctx) }

// Stats collects figures, also while nothing is served.
func (n *Node) Stats() Stats {
	s := n.current.Load().Stats()
	_, done := n.enter()
	if done != nil {
		done()
	}
	s.Renewing = done == nil && n.Alive() == nil
	s.Behind = s.Behind || s.Renewing
	return s
}

// Alive is nil while the process can work.
func (n *Node) Alive() error { return n.current.Load().Alive() }

// NotReady lists why the node does not serve clients in full. Empty: it does.
func (n *Node) NotReady() []string { return n.current.Load().NotReady() }

// Warnings lists what is wrong with other regions, or between them and this one, and needs an
// operator. Clients are served meanwhile, so it is no reason to pass over this node.
func (n *Node) Warnings() []string { return n.current.Load().Warnings() }

// Refused is why writes are refused; nil: they are not.
func (n *Node) Refused() *kv.Error { return n.current.Load().Refused() }

// Region is the name of the node's region.
func (n *Node) Region() string { return n.config.Region }

// Logf writes a line to the node's log, for who serves on its behalf.
func (n *Node) Logf(format string, args ...any) { n.config.logf(format, args...) }

// TruncateLog drops log records that need not be kept. The node does so by itself every few seconds.
func (n *Node) TruncateLog(ctx context.Context) {
	if r, done := n.enter(); done != nil {
		defer done()
		r.TruncateLog(ctx)
	}
}

var _ kv.Service = (*Node)(nil)
