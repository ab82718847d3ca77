package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// identity is what a client has learnt of the node behind an address.
type identity struct {
	incarnation uint64 // 0: of a node that may have ended
	lane        clock.Lane
	region      string
	read        *reading
}

// maxReadingAge is how old what a process has told of its lane may be for a first try to rely on it. A
// retry is looked for in all that the lane wrote since, so a client that was idle for longer asks again
// before it writes: one round trip, where a retry would have an hour of log searched.
const maxReadingAge = 1 * time.Minute

// reading is the most that a process has told of its lane so far: what it writes later is above that.
type reading struct {
	mu   sync.Mutex
	most clock.Timestamp
	at   time.Time // when it was told last
}

func newReading(t clock.Timestamp) *reading { return &reading{most: t, at: time.Now()} }

// raise takes in what was told just now. An answer that others have overtaken tells nothing.
func (r *reading) raise(t clock.Timestamp) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if t >= r.most {
		r.most, r.at = t, now
	}
}

func (r *reading) get() (clock.Timestamp, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most, r.at
}

// fresh reports whether a first try may name the process, and its retries the reading.
func (id *identity) fresh() bool {
	if id == nil || id.incarnation == 0 {
		return false
	}
	_, at := id.read.get()
	return age(at) < maxReadingAge
}

// now is what the retries of a first try name that is sent after it.
func (id *identity) now() sent {
	most, _ := id.read.get()
	return sent{id.lane, time.Now(), most}
}

// endpoint is one address of the database.
type endpoint struct {
	svc   kv.Service
	addr  string      // for errors; empty: none
	ready func() bool // whether calls find a connection; nil: always

	certified *atomic.Uint64           // the router's: the most that any node has told of region 0
	known     atomic.Pointer[identity] // nil: never heard of
	asking    chan struct{}            // holds one item while nobody asks for the identity
	downUntil atomic.Int64             // nanoseconds on the router's clock; 0: up
	probing   atomic.Bool              // somebody asks whether the node is there
	answers   atomic.Uint64            // to that
	mute      atomic.Bool              // the last time there was none
}

// penalty is how long an endpoint that failed is passed over, as long as another is left.
const penalty = 1 * time.Second

// identify tells which process serves, asking it if need be.
func (e *endpoint) identify(ctx context.Context) (identity, error) {
	if id := e.known.Load(); id.fresh() {
		return *id, nil
	}
	select {
	case <-e.asking:
		defer func() { e.asking <- struct{}{} }()
	case <-ctx.Done():
		return identity{}, deadline(ctx, "waiting to learn which node serves")
	}
	if id := e.known.Load(); id.fresh() {
		return *id, nil
	}
	status, err := e.svc.Status(ctx)
	if err != nil {
		return identity{}, err
	}
	told := status.Reading()
	if was := e.known.Load(); was != nil && was.incarnation == status.Incarnation {
		most, _ := was.read.get()
		told = max(told, most)
	}
	e.heard(status.Certified())
	id := identity{status.Incarnation, status.Lane, status.Region, newReading(told)}
	e.known.Store(&id)
	return id, nil
}

// learn takes in what a receipt says of the node.
func (e *endpoint) learn(r *kv.Receipt) {
	e.heard(r.Certified())
	id := e.known.Load()
	switch {
	case r.Incarnation == 0:
	case id != nil && id.incarnation == r.Incarnation:
		id.read.raise(r.Reading())
	default:
		e.known.Store(&identity{r.Incarnation, r.Lane, r.Region, newReading(r.Reading())})
	}
}

// heard takes in what a node has told of region 0.
func (e *endpoint) heard(t clock.Timestamp) {
	for {
		most := e.certified.Load()
		if uint64(t) <= most || e.certified.CompareAndSwap(most, uint64(t)) {
			return
		}
	}
}

// forget keeps the lane but no longer trusts that the same process serves.
func (e *endpoint) forget() {
	if id := e.known.Load(); id != nil && id.incarnation != 0 {
		e.known.CompareAndSwap(id, &identity{0, id.lane, id.region, id.read})
	}
}

// serves reports whether the node behind the endpoint was last seen in this lane.
func (e *endpoint) serves(l clock.Lane) bool {
	id := e.known.Load()
	return id != nil && id.lane == l
}

// up reports whether an endpoint may be used. One that failed is left alone for a while, and after that
// until it has a connection again; one that became silent until it has answered.
func (r *router) up(e *endpoint) bool {
	until := e.downUntil.Load()
	if until == 0 {
		return true
	}
	at := r.now()
	if at < until {
		return false
	}
	if e.mute.Load() {
		e.downUntil.Store(at + int64(penalty))
		r.probe(e)
		return false
	}
	if e.ready != nil && !e.ready() {
		e.downUntil.Store(at + int64(penalty))
		return false
	}
	e.downUntil.Store(0)
	return true
}

func (e *endpoint) fail(now func() int64) {
	e.forget()
	e.downUntil.Store(now() + int64(penalty))
	if e.ready != nil {
		e.ready() // has the connection made anew meanwhile
	}
}

// deadline is the error of a wait that the caller's context ended.
func deadline(ctx context.Context, doing string) *kv.Error {
	return kv.Errorf(kv.KindDeadline, "%s: %w", doing, ctx.Err())
}
