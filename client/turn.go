package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/theriac-db/theriac/kv"
)

// Bounds of one try, where other nodes may do better.
const (
	tokenWait    = 2 * time.Second         // for the token at a node, while there is another to ask
	silentTry    = 3 * time.Second         // until a node that has sent nothing meanwhile is left
	shortestTry  = 500 * time.Millisecond  // however near the caller's deadline is: half of it is a long round trip
	probeTimeout = 1500 * time.Millisecond // for a node to say that it is there
	endlessWait  = 10 * time.Second        // for the token in later rounds, of a call without a deadline
)

// errSilent ends what waits for a node that has become silent.
var errSilent = errors.New("client: the node is silent")

// turn is one try of a call at one endpoint.
type turn struct {
	e      *endpoint
	caller context.Context
	ctx    context.Context // of what writes nothing; ends when the node is found silent
	// wait is how long the node may wait for the token; 0: as long as the caller's deadline allows.
	wait    time.Duration
	patient time.Duration // with a silent node; 0: as long as the caller has, since there is no other
}

// turn plans a try at e. final tells that there is none after it.
func (r *router) turn(ctx context.Context, e *endpoint, failed *failures, final bool) *turn {
	t := &turn{e: e, caller: ctx, ctx: ctx}
	if failed.alone(r.endpoints, e) {
		return t
	}
	others := r.others(e, failed)
	left, bounded := timeLeft(ctx)
	part := silentTry
	if bounded {
		part = left / time.Duration(others+1)
	}
	t.patient = max(min(part, silentTry), shortestTry)
	switch {
	case others > 0:
		t.wait = max(min(part, tokenWait), time.Millisecond)
	case !bounded:
		t.wait = endlessWait
	case final || failed.everywhere(r.endpoints):
	case failed.tried(e):
		t.wait = max(left/2, time.Millisecond) // those that are passed over may be back by then
	default:
		t.wait = max(min(left/2, tokenWait), time.Millisecond)
	}
	return t
}

func timeLeft(ctx context.Context) (time.Duration, bool) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0, false
	}
	return time.Until(deadline), true
}

// last reports whether err is the end of the call: the node has waited for the token as long as the
// caller's deadline allowed, or nobody keeps the bound of a caller who does not want to wait for it, or all have been asked and the time left is too short to hear of another try.
func (t *turn) last(r *router, o *kv.Options, err error, failed *failures) bool {
	if kv.KindOf(err) != kv.KindStale {
		return false
	}
	if o.BoundFail && r.others(t.e, failed) == 0 {
		return true
	}
	left, bounded := timeLeft(t.caller)
	return t.wait == 0 || bounded && left < shortestTry && r.others(t.e, failed) == 0
}

// run runs a try.
func (t *turn) run(r *router, o *kv.Options, try func(t *turn) error) error {
	o.Wait = t.wait
	if t.patient == 0 {
		return try(t)
	}
	own, stop := r.watch(t.caller, t.e, t.patient)
	defer stop()
	t.ctx = own
	err := try(t)
	switch {
	case err == nil || kv.OutcomeOf(err) != kv.NotApplied:
	case t.caller.Err() != nil:
		if kv.KindOf(err) == kv.KindDeadline {
			r.probe(t.e) // the call was too short to find out
		}
	case context.Cause(own) == errSilent: //nolint:errorlint // it is ours
		return kv.Errorf(kv.KindUnavailable, "the node%s does not answer, not even whether it is there", at(t.e.addr))
	}
	return err
}

func at(addr string) string {
	if addr == "" {
		return ""
	}
	return " at " + addr
}

// silentKey is of a context's value: a context that ends when the node is found silent.
type silentKey struct{}

// unsent lets a write go that was not sent when the node is found silent. What was sent waits on.
func (t *turn) unsent(ctx context.Context) context.Context {
	if t.patient == 0 {
		return ctx
	}
	return context.WithValue(ctx, silentKey{}, t.ctx)
}

// unsentContext is for what comes before a call is sent: it also ends when the node is found silent.
func unsentContext(ctx context.Context) context.Context {
	if node, ok := ctx.Value(silentKey{}).(context.Context); ok {
		return node // which came from ctx
	}
	return ctx
}

// silence is closed when a write that was not sent should go elsewhere; nil: never.
func silence(ctx context.Context) <-chan struct{} {
	if node, ok := ctx.Value(silentKey{}).(context.Context); ok {
		return node.Done()
	}
	return nil
}

// within runs a call of a transaction, which can't move; but its owner can begin it again elsewhere.
func (r *router) within(ctx context.Context, e *endpoint, call func(ctx context.Context) error) error {
	return r.turn(ctx, e, &failures{}, true).run(r, &kv.Options{}, func(t *turn) error { return call(t.ctx) })
}

// watch makes a context that ends when the node answers nothing for a while, not even a question that it
// is asked in the middle of it: the call itself may well take longer than that.
func (r *router) watch(ctx context.Context, e *endpoint, patient time.Duration) (context.Context, func()) {
	own, cancel := context.WithCancelCause(ctx)
	answers, asked := e.answers.Load(), false
	var mu sync.Mutex // until timer is there
	mu.Lock()
	defer mu.Unlock()
	var timer *time.Timer
	timer = time.AfterFunc(patient/2, func() {
		mu.Lock()
		defer mu.Unlock()
		now := e.answers.Load()
		switch {
		case own.Err() != nil:
			return
		case !asked:
			r.probe(e)
		case now == answers:
			e.fail(r.now)
			cancel(errSilent)
			return
		}
		answers, asked = now, !asked
		timer.Reset(patient / 2)
	})
	return own, func() { timer.Stop(); cancel(nil) }
}

// probe asks a node whether it is there, unless that is being done. One that does not answer is passed
// over until it does.
func (r *router) probe(e *endpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || !e.probing.CompareAndSwap(false, true) {
		return
	}
	r.probes.Go(func() {
		defer e.probing.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
		defer cancel()
		_, err := e.svc.Status(ctx)
		if kv.KindOf(err) == kv.KindDeadline {
			e.mute.Store(true)
			e.fail(r.now)
			return
		}
		e.answers.Add(1) // an error is an answer, or tells the call itself
		if e.mute.Swap(false) {
			e.downUntil.Store(0)
		}
	})
}

// close waits for the probes under way, which the end of their connections ends.
func (r *router) close(connections func() error) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	err := connections()
	r.probes.Wait()
	return err
}
