package replication

import (
	"context"
	"errors"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

// HeardAt takes what a peer said of a lane's freshness; see causal.Machine.HeardAt.
func (x *Exposure) HeardAt(lane clock.Lane, last clock.Timestamp, at time.Duration) {
	x.hear(func(m Core) { m.HeardAt(lane, last, at) })
}

// Serves says that a region takes writes from here on; see causal.Machine.Serves.
func (x *Exposure) Serves(r clock.Region) {
	x.tell(func(m Core) { m.Serves(r) })
}

// Readings say how recent what is exposed of each serving region is; see causal.Machine.Readings.
func (x *Exposure) Readings(now time.Duration) []causal.Reading {
	return ask(x, func(m Core) []causal.Reading { return m.Readings(now) })
}

// ReadingsAt are those of a cut that may be older than what is exposed; see causal.Machine.ReadingsAt.
func (x *Exposure) ReadingsAt(cut clock.Vector, now time.Duration) []causal.Reading {
	return ask(x, func(m Core) []causal.Reading { return m.ReadingsAt(cut, now) })
}

// Statement is what may be said to others of a lane's freshness; see causal.Machine.Statement.
func (x *Exposure) Statement(lane clock.Lane, now time.Duration) (last clock.Timestamp, at time.Duration, known bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.machine.Statement(lane, now)
}

// Spread is the time up to which so many serving regions have what a region wrote on their disks; see
// causal.Machine.Spread.
func (x *Exposure) Spread(r clock.Region, regions int) clock.Timestamp {
	return ask(x, func(m Core) clock.Timestamp { return m.Spread(r, regions) })
}

// freshWaiters are calls that wait for Readings to change. They change some ten times a second a peer,
// and each call asks something else of them, so all are woken to look.
type freshWaiters struct {
	seen    uint64 // of causal.Machine.Freshened, when they were woken last
	changed chan struct{}
	count   int
}

// wake lets them look again after a change; anyway without one.
func (f *freshWaiters) wake(m Core, anyway bool) {
	if n := m.Freshened(); n != f.seen || anyway {
		f.seen = n
		if f.changed != nil {
			close(f.changed)
			f.changed = nil
		}
	}
}

// lookAgain has those who wait for Readings look again, though nothing has changed.
func (x *Exposure) lookAgain() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fresh.wake(x.machine, true)
}

// awaitFresh waits until enough says so of Readings. It is asked again after each change, and its error
// ends the wait. The context's end is the error of that, bare.
func (x *Exposure) awaitFresh(ctx context.Context, enough func() (bool, error)) error {
	for {
		changed, err := x.enterFresh()
		if err != nil {
			return err
		}
		ok, err := enough()
		if !ok && err == nil {
			select {
			case <-changed:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		x.leaveFresh()
		if ok || err != nil {
			return err
		}
	}
}

func (x *Exposure) enterFresh() (<-chan struct{}, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := &x.fresh
	switch {
	case x.waiters.stopped:
		return nil, kv.Errorf(kv.KindUnavailable, "this node stopped while it was waited for what it shows to be recent; try another")
	case f.count >= MaxWaiters:
		return nil, kv.Errorf(kv.KindOverloaded, "can't wait for what is shown to be recent: %d calls wait already; try again, or another region", MaxWaiters)
	}
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	f.count++
	return f.changed, nil
}

func (x *Exposure) leaveFresh() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fresh.count--
}

// waitSpread returns once so many serving regions have what a region wrote up to a time on their disks.
// The context's end is the error of that, bare.
func (x *Exposure) waitSpread(ctx context.Context, s clock.Stamp, regions int) error {
	w, err := x.enter(goal{region: s.Region, regions: regions}, s.Time)
	if w == nil {
		return err
	}
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	woken := w.index < 0
	x.waiters.remove(w)
	switch {
	case w.time <= w.goal.reached(x.machine):
		return nil
	case woken && x.waiters.stopped:
		return errStopped(clock.Entry(s))
	case woken: // a region has lost its disk since it told
		return nil
	}
	return ctx.Err()
}

// endedBy tells the deadline's end of a wait from a caller that gave up.
func endedBy(err error) kv.Kind {
	if errors.Is(err, context.DeadlineExceeded) {
		return kv.KindStale
	}
	return kv.KindDeadline
}
