package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// callers is the way of clients to a region: requests and answers get lost on it, and requests are
// held up and arrive after their caller has given up. It counts what comes back.
type callers struct {
	kv.Service
	region string
	reach  *reached
	late   *sync.WaitGroup // requests that are held up
	ctx    context.Context // of the run
	// answered is told of each write that the region acknowledged, whether or not that reaches its caller.
	answered func(o *kv.Options, serving int, r kv.Receipt)
	serving  func() int // regions that serve

	mu     sync.Mutex
	random *rand.Rand
	bad    float64           // share of the writes that go wrong
	strong map[kv.TxnID]bool // interactive transactions that are at that level
}

var _ kv.Service = (*callers)(nil)

// fate of a request.
type fate int

const (
	arrives fate = iota
	requestLost
	answerLost
	heldUp
)

// heldUpFor is how long a request may be held up, at most.
const heldUpFor = 20 * time.Second

func (c *callers) setBad(share float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bad = share
}

func (c *callers) draw() (fate, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bad == 0 || c.random.Float64() >= c.bad {
		return arrives, 0
	}
	return fate(1 + c.random.IntN(3)), time.Duration(c.random.Int64N(int64(heldUpFor)))
}

// Do implements kv.Service.
func (c *callers) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	call := func(ctx context.Context) (kv.Response, error) { return c.Service.Do(ctx, req) }
	if len(req.Ops) == 0 {
		resp, err := call(ctx)
		c.note(err)
		return resp, err
	}
	c.retried(req.Options)
	write := func(ctx context.Context) (kv.Response, error) {
		serving := c.serving()
		resp, err := call(ctx)
		if err == nil {
			c.answered(&req.Options, serving, resp.Receipt)
		}
		return resp, err
	}
	req.Ops, req.Queries = slices.Clone(req.Ops), slices.Clone(req.Queries) // one that is held up outlives the call
	asks := req.Options.Level == kv.LevelStrong && c.name(ctx, &req.Options)
	resp, err := through(ctx, c, write)
	if asks && errors.Is(err, errLost) {
		c.repeat(req)
		resp.Receipt, err = c.decide(ctx, &req.Options, err)
		if err == nil && len(req.Queries) > 0 { // what it had read nobody knows any more
			return kv.Response{}, kv.WithToken(c.lost().WithOutcome(kv.Applied), resp.Receipt.Token)
		}
	}
	return resp, err
}

// Commit implements kv.Service.
func (c *callers) Commit(ctx context.Context, id kv.TxnID, o kv.Options) (kv.Receipt, error) {
	c.retried(o)
	asks := c.isStrong(id) && c.name(ctx, &o)
	r, err := through(ctx, c, func(ctx context.Context) (kv.Receipt, error) {
		serving := c.serving()
		r, err := c.Service.Commit(ctx, id, o)
		if err == nil {
			c.answered(&o, serving, r)
		}
		return r, err
	})
	if asks && errors.Is(err, errLost) {
		return c.decide(ctx, &o, err)
	}
	return r, err
}

// Begin implements kv.Service.
func (c *callers) Begin(ctx context.Context, b kv.Begin) (kv.TxnID, kv.Receipt, error) {
	id, r, err := c.Service.Begin(ctx, b)
	c.note(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.strong == nil {
		c.strong = map[kv.TxnID]bool{}
	}
	c.strong[id] = b.Options.Level == kv.LevelStrong
	return id, r, err
}

// Execute implements kv.Service.
func (c *callers) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	values, err := c.Service.Execute(ctx, id, ops, queries)
	c.note(err)
	return values, err
}

// Outcome implements kv.Service.
func (c *callers) Outcome(ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	c.reach.count("outcome asked for")
	return c.Service.Outcome(ctx, req)
}

func (c *callers) retried(o kv.Options) {
	if o.Attempt.Retry {
		c.reach.count("write tried again")
	}
}

// through makes a call that may write, or has it go wrong.
func through[T any](ctx context.Context, c *callers, call func(context.Context) (T, error)) (T, error) {
	var none T
	f, wait := c.draw()
	switch f {
	case requestLost:
		c.reach.count("request lost")
		return none, c.lost()
	case heldUp:
		c.reach.count("request held up")
		c.late.Go(func() {
			if sleep(c.ctx, wait) {
				late, cancel := context.WithTimeout(c.ctx, heldUpFor)
				defer cancel()
				_, err := call(late)
				c.reach.count("late request " + outcome(err))
			}
		})
		return none, c.lost()
	}
	out, err := call(ctx)
	c.note(err)
	if f == answerLost {
		c.reach.count("answer lost")
		return none, c.lost()
	}
	return out, err
}

// errLost is why a caller does not know what became of a write.
var errLost = errors.New("the connection broke")

func (c *callers) lost() *kv.Error {
	return kv.Errorf(kv.KindUnavailable, "region %s: %w", c.region, errLost).WithOutcome(kv.OutcomeUnknown)
}

func (c *callers) isStrong(id kv.TxnID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.strong[id]
}

// name gives a try at level strong the id under which it can be asked for, as clients do that connect.
func (c *callers) name(ctx context.Context, o *kv.Options) bool {
	s, err := c.Service.Status(ctx)
	if !o.Attempt.ID.IsZero() || err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	binary.BigEndian.PutUint64(o.Attempt.ID[:], c.random.Uint64())
	binary.BigEndian.PutUint64(o.Attempt.ID[8:], c.random.Uint64())
	o.Attempt.Incarnation, o.Attempt.After = s.Incarnation, s.Certified()
	return true
}

// Asking what became of a try at level strong.
const (
	decideTries = 5
	decidePause = 500 * time.Millisecond
)

// decide asks what became of a try at level strong whose caller does not know; some callers leave it at that.
func (c *callers) decide(ctx context.Context, o *kv.Options, lost error) (kv.Receipt, error) {
	if c.drawn(3) == 0 {
		return kv.Receipt{}, lost
	}
	a := kv.Attempt{ID: o.Attempt.ID, Retry: true, After: o.Attempt.After}
	for range decideTries {
		answer, err := c.Outcome(ctx, kv.OutcomeRequest{Attempt: a})
		switch {
		case err == nil && answer.Outcome == kv.NotApplied:
			c.reach.count("strong try denied")
			return kv.Receipt{}, kv.Errorf(kv.KindAborted, "it was asked for, and will not be applied")
		case err == nil:
			c.reach.count("strong try found")
			return kv.Receipt{
				Level: kv.LevelStrong, Region: c.region, Commit: answer.Commit, Snapshot: clock.VectorOf(clock.Entry(answer.Commit)), Token: answer.Token,
				Durability: kv.DurabilityMajority, Regions: c.serving()/2 + 1,
			}, nil
		case !sleep(ctx, decidePause):
			return kv.Receipt{}, lost
		}
	}
	return kv.Receipt{}, lost
}

// repeat has a try at level strong arrive once more, for nobody, now and then: it must change nothing that was decided.
func (c *callers) repeat(req kv.Request) {
	if c.drawn(2) == 0 {
		return
	}
	wait := time.Duration(c.drawn(int64(heldUpFor)))
	req.Options.Attempt = kv.Attempt{ID: req.Options.Attempt.ID, Retry: true, After: req.Options.Attempt.After}
	c.late.Go(func() {
		if sleep(c.ctx, wait) {
			late, cancel := context.WithTimeout(c.ctx, heldUpFor)
			defer cancel()
			_, err := c.Service.Do(late, req)
			c.reach.count("late retry " + outcome(err))
		}
	})
}

func (c *callers) drawn(n int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.Int64N(n)
}

func (c *callers) note(err error) {
	if err != nil {
		c.reach.count(outcome(err))
	}
}

// outcome says in a few words what a region answered.
func outcome(err error) string {
	if err == nil {
		return "taken"
	}
	return fmt.Sprintf("answer: %s, %s", kv.KindOf(err), client.OutcomeOf(err))
}
