package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
)

const (
	strongValue   = 64 // bytes
	strongCallers = 64
)

// assigner assigns registers, each by a strong transaction of its own.
type assigner struct {
	db               *client.DB
	keys             []string
	value            []byte
	calls, conflicts atomic.Int64
}

func newAssigner(e *Env, w *wide) *assigner {
	return &assigner{db: w.dbs[w.leader], keys: counterKeys(e.Keys), value: make([]byte, strongValue)}
}

// assign is one transaction. It has an operation id, so that the client does not hide conflicts by trying
// again.
func (a *assigner) assign(ctx context.Context, random *rand.Rand) error {
	a.calls.Add(1)
	err := a.db.Register(a.keys[random.IntN(len(a.keys))]).Set(ctx, a.value, client.Strong(), client.WithOpID(client.NewOpID()))
	if kv.IsConflict(err) {
		a.conflicts.Add(1)
		return nil
	}
	return err
}

func (a *assigner) rate(e *Env, callers int) side {
	return func(ctx context.Context) (float64, error) {
		before := a.conflicts.Load()
		rate, err := perSecond(ctx, callers, e.Slice, a.assign)
		all := rate * e.Slice.Seconds()
		return rate * max(0, 1-float64(a.conflicts.Load()-before)/max(all, 1)), err
	}
}

// strongRates: strong transactions of one key, on loopback without delays, beside etcd.
func strongRates(ctx context.Context, e *Env) (figures []Figure, err error) {
	limit, err := startEtcds(ctx, e)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, limit.quit()) }()
	w, err := startWide(ctx, e, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.quit()) }()
	a := newAssigner(e, w)
	ours, theirs := metered{pids: w.pids()}, metered{pids: limit.pids()}
	for _, callers := range []int{1, 8, strongCallers, 256} {
		a.calls.Store(0)
		a.conflicts.Store(0)
		f, err := compare(ctx, e.Rounds, ours.rate(e, a.rate(e, callers)), theirs.rate(e, limit.puts(e, callers, a.keys, a.value)))
		if err != nil {
			return figures, err
		}
		f.What, f.Unit = fmt.Sprintf("strong transaction assigning one of %s registers, 3 regions on loopback, %d callers", number(float64(e.Keys)), callers), "calls/s"
		f.Note = fmt.Sprintf("etcd's linearizable puts of the same keys and %d-byte values, 3 servers on the same disk; callers at the leader, over one connection", strongValue)
		if callers == strongCallers {
			f.Goal = atLeast(2)
			figures = append(figures, f, a.conflictShare(), costs(&ours, &theirs, e.Rounds))
			continue
		}
		figures = append(figures, f)
	}
	return figures, nil
}

// metered keeps what some processes computed for calls.
type metered struct {
	pids  []int
	costs []float64 // µs a call, of each round
}

// rate measures a rate, and what it cost.
func (m *metered) rate(e *Env, s side) side {
	return func(ctx context.Context) (float64, error) {
		before, err := processorTime(m.pids...)
		if err != nil {
			return 0, err
		}
		begun := time.Now()
		rate, err := s(ctx)
		took := time.Since(begun)
		if err != nil {
			return 0, err
		}
		after, err := processorTime(m.pids...)
		m.costs = append(m.costs, float64((after-before).Microseconds())/max(rate*took.Seconds(), 1))
		return rate, err
	}
}

// costs compares what the calls of the last comparison cost.
func costs(ours, theirs *metered, rounds int) Figure {
	var ratios []float64
	ours.costs, theirs.costs = ours.costs[len(ours.costs)-rounds:], theirs.costs[len(theirs.costs)-rounds:]
	for i := range ours.costs {
		ratios = append(ratios, ours.costs[i]/max(theirs.costs[i], 1)) // a round in which nothing ran costs nothing
	}
	f := Figure{Ours: median(ours.costs), Limit: median(theirs.costs), Ratio: median(ratios), Rounds: rounds, Unit: "µs"}
	f.Low, f.High = ratios[0], ratios[len(ratios)-1] // median has sorted them
	f.What = fmt.Sprintf("of these, processor time a call of the three servers, %d callers", strongCallers)
	f.Note = "the same of etcd's three; the caller's process is not counted"
	return f
}

func (a *assigner) conflictShare() Figure {
	calls, conflicts := a.calls.Load(), a.conflicts.Load()
	return alone(fmt.Sprintf("of these, refused for a conflict, %d callers", strongCallers), "%", 100*float64(conflicts)/float64(max(calls, 1)), atMostOurs(1),
		fmt.Sprintf("%d of %d", conflicts, calls))
}

// strongFar: whether throughput grows with callers where each call takes a long round trip.
func strongFar(ctx context.Context, e *Env) (figures []Figure, err error) {
	w, err := startWide(ctx, e, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.quit()) }()
	if err := w.settle(ctx, e, equal(e)); err != nil {
		return nil, err
	}
	a := newAssigner(e, w)
	for _, callers := range []int{1, 8, strongCallers, 256} {
		f, err := compare(ctx, e.Rounds, a.rate(e, callers), func(ctx context.Context) (float64, error) {
			d, err := w.majority(ctx, w.leader)
			return float64(callers) / d.Seconds(), err
		})
		if err != nil {
			return figures, err
		}
		f.What, f.Unit = fmt.Sprintf("strong transaction assigning one of %s registers, %s, %d callers", number(float64(e.Keys)), equal(e), callers), "calls/s"
		f.Note = "one call a caller and round trip, measured by bare bytes over the same links in the same round"
		figures = append(figures, f)
	}
	return figures, nil
}

// strongBeside: causal and strong calls beside each other, with the regions on loopback and far away.
func strongBeside(ctx context.Context, e *Env) (figures []Figure, err error) {
	for _, far := range []bool{false, true} {
		f, err := besideAt(ctx, e, far)
		figures = append(figures, f...)
		if err != nil {
			return figures, err
		}
	}
	return figures, nil
}

func besideAt(ctx context.Context, e *Env, far bool) (figures []Figure, err error) {
	inner := *e
	dir, clean, err := e.folder("beside")
	if err != nil {
		return nil, err
	}
	defer clean()
	inner.Dir = dir
	w, err := startWide(ctx, &inner, far)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.quit()) }()
	where := "3 regions on loopback"
	if far {
		where = distant(e).String()
		if err := w.settle(ctx, e, distant(e)); err != nil {
			return nil, err
		}
	}
	shares := [2][]float64{}
	var sums []float64
	for i := range e.Rounds + 1 {
		causal, strong, err := w.beside(ctx, e)
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first warms up
			shares[0], shares[1], sums = append(shares[0], causal), append(shares[1], strong), append(sums, causal+strong)
		}
	}
	share := func(what string, values []float64, g Goal, note string) Figure {
		f := Figure{What: what + ", " + where, Unit: "share", Ours: median(values), Limit: 1, Ratio: median(values), Rounds: e.Rounds, Goal: g, Note: note}
		f.Low, f.High = values[0], values[len(values)-1] // median has sorted them
		return f
	}
	callers := fmt.Sprintf("%d callers of each kind over gRPC at the leader's region; the limit is the rate without the other kind", strongCallers)
	return []Figure{
		share("durable causal adds beside strong transactions", shares[0], Goal{}, callers),
		share("strong transactions beside durable causal adds", shares[1], Goal{}, callers),
		share("both shares together", sums, atLeast(0.95), "1 where two loads share what one of them had, and nothing is lost"),
	}, nil
}

// beside measures the shares of their rates alone that causal and strong calls have together.
func (w *wide) beside(ctx context.Context, e *Env) (causal, strong float64, err error) {
	a, adds := newAssigner(e, w), rpcAdds(e, w.dbs[w.leader])
	strongAlone, err := a.rate(e, strongCallers)(ctx)
	if err != nil {
		return 0, 0, err
	}
	causalAlone, err := adds(ctx)
	if err != nil {
		return 0, 0, err
	}
	var both sync.WaitGroup
	var failed error
	both.Go(func() { causal, failed = adds(ctx) })
	strong, err = a.rate(e, strongCallers)(ctx)
	both.Wait()
	return causal / causalAlone, strong / strongAlone, errors.Join(err, failed)
}
