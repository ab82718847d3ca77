package workload_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/theriac-db/theriac/kv"
)

// lossy is the way to a region over which answers get lost, and writes arrive late, even after their
// caller has given up. Calls take some time, so that crashes come in the middle of them.
type lossy struct {
	kv.Service
	late *sync.WaitGroup // writes on their way
	sure bool            // no answer gets lost

	mu     sync.Mutex
	random *rand.Rand
}

func (l *lossy) draw(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.random.IntN(n)
}

// underWay takes the time of a way there or back.
func (l *lossy) underWay() { time.Sleep(time.Duration(l.draw(5000)) * time.Microsecond) }

// sent makes a call that writes: what it returns is nothing when the answer gets lost.
func sent[T any](l *lossy, ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	var nothing T
	lost := kv.Errorf(kv.KindUnavailable, "the answer got lost").WithOutcome(kv.OutcomeUnknown)
	l.underWay()
	lot := l.draw(40)
	if l.sure {
		lot = -1
	}
	switch lot {
	case 0:
		_, _ = call(ctx)
		return nothing, lost
	case 1:
		return nothing, lost
	case 2:
		wait := time.Duration(l.draw(2000)) * time.Millisecond
		l.late.Go(func() {
			time.Sleep(wait)
			_, _ = call(context.WithoutCancel(ctx))
		})
		return nothing, lost
	}
	out, err := call(ctx)
	l.underWay()
	return out, err
}

func (l *lossy) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	if len(req.Ops) == 0 {
		l.underWay()
		return l.Service.Do(ctx, req)
	}
	return sent(l, ctx, func(ctx context.Context) (kv.Response, error) { return l.Service.Do(ctx, req) })
}

func (l *lossy) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	l.underWay()
	return l.Service.Execute(ctx, id, ops, queries)
}

func (l *lossy) Commit(ctx context.Context, id kv.TxnID, o kv.Options) (kv.Receipt, error) {
	return sent(l, ctx, func(ctx context.Context) (kv.Receipt, error) { return l.Service.Commit(ctx, id, o) })
}

func (l *lossy) Outcome(ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	l.underWay()
	return l.Service.Outcome(ctx, req)
}
