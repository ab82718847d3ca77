package replication

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

const (
	// MaxWaiters is how many calls may wait at a time for a vector on one node.
	MaxWaiters = 1 << 16
	// MaxWatches is how many watches may exist at a time on one node: a few for each peer.
	MaxWatches = 4 * causal.MaxRegions
)

// Exposure is the shell around causal.Machine: it locks it, publishes its vectors for reading
// without a lock, and lets callers wait. The decisions are all causal's. Safe for concurrent use;
// only Wait, WaitDurable and Open block, and only until their context ends.
//
// Opening a snapshot and moving the horizon exclude each other because both hold mu. A lock-free
// scheme (a counter per cut with a bit that closes it to newcomers) saves 20 ns an open and makes
// the horizon's rule untestable as a pure function; the lock is held for a few nanoseconds.
type Exposure struct {
	view atomic.Pointer[view]

	self clock.Lane

	mu      sync.Mutex
	machine Core
	waiters waiters
	fresh   freshWaiters
	watches map[*Watch]struct{}
}

// view is what is read without the lock; never changed once published.
type view struct{ exposed, applied clock.Vector }

// NewExposure builds the exposure of a node that starts. Errors match kv.ErrInvalid.
func NewExposure(start causal.Start) (*Exposure, error) {
	m, err := causal.New(start)
	if err != nil {
		return nil, err
	}
	return ExposureOver(start.Self, m), nil
}

// ExposureOver builds the exposure of a node that starts over the machine that it is to ask.
func ExposureOver(self clock.Lane, m Core) *Exposure {
	x := &Exposure{self: self, machine: m, watches: map[*Watch]struct{}{}}
	x.view.Store(&view{exposed: m.Exposed(), applied: m.Applied()})
	return x
}

// Exposed is what readers see: E, lowered to transactions. It takes no lock.
func (x *Exposure) Exposed() clock.Vector { return x.view.Load().exposed }

// Applied is Exposed with the own entry at the last local group applied, on disk or not. It takes no
// lock.
func (x *Exposure) Applied() clock.Vector { return x.view.Load().applied }

// Raw is Exposed with the safe times of silent lanes: how far behind this node is. It sees the same
// groups.
func (x *Exposure) Raw() clock.Vector {
	return ask(x, Core.Raw)
}

// Durable is what is exposed and on disk here.
func (x *Exposure) Durable() clock.Vector {
	return ask(x, Core.Durable)
}

// Stable is the cut such that nothing concurrent with a group below it will still arrive here.
func (x *Exposure) Stable() clock.Vector {
	return ask(x, func(m Core) clock.Vector { m.Advance(); return m.Stable() })
}

// Everywhere is what every member has on its disk, as far as this node has been told.
func (x *Exposure) Everywhere() clock.Vector {
	return ask(x, Core.Everywhere)
}

// Droppable is up to where the logs here may be cut although some region lacks the records, given what was
// dropped from them before; see causal.Machine.Droppable.
func (x *Exposure) Droppable(dropped clock.Vector) clock.Vector {
	return ask(x, func(m Core) clock.Vector { return m.Droppable(dropped) })
}

// Cuts returns the horizon and what is settled below it. They hold as a pair: an older settled may
// go with a newer horizon, never the other way round.
func (x *Exposure) Cuts() (horizon, settled clock.Vector) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.machine.Cuts()
}

// Members lists the lanes of all member regions, by region.
func (x *Exposure) Members() []clock.Lane {
	return ask(x, Core.Members)
}

// AddRegion makes a region a member; see causal.Machine.AddRegion.
func (x *Exposure) AddRegion(lane clock.Lane) error {
	var err error
	x.tell(func(m Core) { err = m.AddRegion(lane) })
	return err
}

// ask reads something of the machine under the lock.
func ask[T any](x *Exposure, what func(Core) T) T {
	x.mu.Lock()
	defer x.mu.Unlock()
	return what(x.machine)
}

// tell lets an event change what is exposed, on disk or a member, and lets everybody know who waits
// for that.
func (x *Exposure) tell(event func(Core)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	event(x.machine)
	x.publish()
	for w := range x.watches {
		w.signal()
	}
}

// hear lets a safe time or a report change the machine. Only waiters care: a heartbeat wakes no sender.
func (x *Exposure) hear(event func(Core)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	event(x.machine)
	x.wake()
}

// wake ends the waits for what is here now. The caller holds mu.
func (x *Exposure) wake() {
	x.waiters.wake(x.machine)
	x.fresh.wake(x.machine, x.waiters.stopped)
}

// publish shows what has changed to lock-free readers and waiters. The caller holds mu.
func (x *Exposure) publish() {
	v, m := x.view.Load(), x.machine
	if exposed, applied := m.Exposed(), m.Applied(); !exposed.Equal(v.exposed) || !applied.Equal(v.applied) {
		x.view.Store(&view{exposed: exposed, applied: applied})
	}
	x.wake()
}

// Offer judges a record from a peer; see causal.Machine.Offer. Who offers passes the records to the
// store in the order of the Apply verdicts across all lanes, so one goroutine at a time does both.
func (x *Exposure) Offer(h kv.Header, now clock.Wall) causal.Verdict {
	return ask(x, func(m Core) causal.Verdict { return m.Offer(h, now) })
}

// Ready reports whether a record that Offer handed out may be written now. The store's writer asks
// before it writes; after false it drops the record, and the caller of Offer calls Dropped.
func (x *Exposure) Ready(h kv.Header) bool {
	return ask(x, func(m Core) bool { return m.Ready(h) })
}

// Dropped takes back what Offer handed out of a lane and the store has not applied.
func (x *Exposure) Dropped(lane clock.Lane) {
	x.tell(func(m Core) { m.Dropped(lane) })
}

// RemoteApplied exposes a record from a peer that the store has applied.
func (x *Exposure) RemoteApplied(h kv.Header) {
	x.tell(func(m Core) { m.RemoteApplied(h) })
}

// remoteApplied is RemoteApplied of records that the store has applied as one batch: who waits is woken once.
func (x *Exposure) remoteApplied(records []Incoming) {
	x.tell(func(m Core) {
		for i := range records {
			m.RemoteApplied(records[i].Record.Header)
		}
	})
}

// RemoteDurable says that a lane's records up to t, taken from peers, are on disk.
func (x *Exposure) RemoteDurable(lane clock.Lane, t clock.Timestamp) {
	x.tell(func(m Core) { m.Synced(lane, t) })
}

// Heard takes a peer's promise for a lane; see causal.Machine.Heard.
func (x *Exposure) Heard(lane clock.Lane, last, safe clock.Timestamp) {
	x.hear(func(m Core) { m.Heard(lane, last, safe) })
}

// Promise is what may be said to others of a lane's end; see causal.Machine.Promise.
func (x *Exposure) Promise(lane clock.Lane) (last, safe clock.Timestamp) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.machine.Promise(lane)
}

// LocalApplied says that the store has applied an own group. meet is the meet of its transactions'
// snapshots, which may be closed from now on; a group that read nothing passes Exposed.
func (x *Exposure) LocalApplied(t clock.Timestamp, meet clock.Vector) {
	x.tell(func(m Core) { m.LocalApplied(t, meet) })
}

// LocalDurable says that own groups up to t are on disk, and exposes them.
func (x *Exposure) LocalDurable(t clock.Timestamp) {
	x.tell(func(m Core) { m.Synced(x.self, t) })
}

// LocalSafe promises that the own lane commits nothing more at or below safe. last is the last
// timestamp given to a group before the promise was made, whether or not it is applied yet.
func (x *Exposure) LocalSafe(last, safe clock.Timestamp) {
	x.hear(func(m Core) { m.LocalSafe(last, safe) })
}

// Report makes this region's next report.
func (x *Exposure) Report() causal.Report { return ask(x, Core.Report) }

// Receive takes a region's report, from its author or relayed, and tells whether it is news.
func (x *Exposure) Receive(r causal.Report) (news bool) {
	x.hear(func(m Core) { news = m.Receive(r) })
	return news
}

// Reported is the latest report of a region's current store; false when none has come since this node
// started.
func (x *Exposure) Reported(r clock.Region) (causal.Report, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.machine.Reported(r)
}

// Remembered is what all stores of a region have reported, together; see causal.Machine.Remembered.
func (x *Exposure) Remembered(r clock.Region, uncounted bool) (causal.Report, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.machine.Remembered(r, uncounted)
}

// Incarnated says which store a region's node has come with; see causal.Machine.Incarnated.
func (x *Exposure) Incarnated(r clock.Region, incarnation uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.machine.Incarnated(r, incarnation)
}

// Parted says that no connection to a region is left; see causal.Machine.Parted.
func (x *Exposure) Parted(r clock.Region) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.machine.Parted(r)
}

// Recovering tells whether own records are still being taken from others.
func (x *Exposure) Recovering() bool { return ask(x, Core.Recovering) }

// Recovered ends recovering: the own lane is complete and on disk, and is written from now on.
func (x *Exposure) Recovered() { x.tell(Core.Recovered) }

// Hold keeps the horizon at or below a vector; see causal.Machine.Hold. End it with Release.
func (x *Exposure) Hold(v clock.Vector) (*causal.Hold, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.machine.Hold(v)
}

// Pin holds the horizon where it is. End it with Release.
func (x *Exposure) Pin() (*causal.Hold, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.machine.Pin()
}

// Release ends a hold. Releasing it again changes nothing.
func (x *Exposure) Release(h *causal.Hold) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.machine.Release(h)
}

// OpenSnapshots is how many snapshots are open.
func (x *Exposure) OpenSnapshots() int { return ask(x, Core.OpenSnapshots) }

// OpenOptions say what snapshot is wanted.
type OpenOptions struct {
	// Token is what the snapshot must include; Open waits for it. Empty (eventual): no wait.
	Token clock.Vector
	// Writes says that the transaction may write: stability waits for it.
	Writes bool
	// Applied asks for own groups that are not on disk yet. A token that names one gets them anyway.
	Applied bool
}

// Snapshot is an open snapshot. It is a value: copies are the same snapshot.
type Snapshot struct {
	x    *Exposure
	open causal.Snapshot
}

// At is the vector to read at; also the dependencies of what the transaction writes.
func (s Snapshot) At() clock.Vector { return s.open.At() }

// Close ends the snapshot. Call it exactly once; for one that wrote, after LocalApplied of its group.
func (s Snapshot) Close() {
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	s.x.machine.Close(s.open)
}

// Open waits until the token is here and opens a snapshot that includes it. Errors are those of
// Wait, and kv.ErrOverloaded when too many snapshots are open.
func (x *Exposure) Open(ctx context.Context, want OpenOptions) (Snapshot, error) {
	if len(want.Token) > 0 {
		if err := x.Wait(ctx, want.Token, true); err != nil {
			return Snapshot{}, err
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	applied := want.Applied || x.machine.NeedsApplied(want.Token)
	open, err := x.machine.Open(want.Writes, applied)
	return Snapshot{x: x, open: open}, err
}

// Wait returns once all groups at or below v are exposed here, or, with own, once those of the own
// region are applied and the rest is exposed. What a safe time passes counts as reached, so Exposed
// need not include v number by number. It fails with kv.ErrStale when the context's deadline passes,
// kv.ErrDeadline when it is cancelled, kv.ErrOverloaded when too many calls wait, kv.ErrUnavailable
// after Stop.
func (x *Exposure) Wait(ctx context.Context, v clock.Vector, own bool) error {
	seen := x.view.Load()
	if seen.exposed.Includes(v) || own && seen.applied.Includes(v) {
		return nil
	}
	if own {
		return x.wait(ctx, v, causal.Applied)
	}
	return x.wait(ctx, v, causal.Exposed)
}

// WaitDurable returns once all groups at or below v are exposed and on disk here. Errors are those
// of Wait.
func (x *Exposure) WaitDurable(ctx context.Context, v clock.Vector) error {
	return x.wait(ctx, v, causal.Durable)
}
