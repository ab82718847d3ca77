package replication

import (
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

// Core is what an Exposure asks of causal.Machine, and is one: nothing else decides. It is an interface
// so that a simulation can see each call, which it passes on unchanged. It is called under the
// Exposure's lock, so one call at a time, must not block and must not call the Exposure.
type Core interface {
	// Events.

	Offer(h kv.Header, now clock.Wall) causal.Verdict
	Dropped(lane clock.Lane)
	RemoteApplied(h kv.Header)
	Synced(lane clock.Lane, t clock.Timestamp)
	LocalApplied(t clock.Timestamp, meet clock.Vector)
	LocalSafe(last, safe clock.Timestamp)
	Heard(lane clock.Lane, last, safe clock.Timestamp)
	HeardAt(lane clock.Lane, last clock.Timestamp, at time.Duration)
	Serves(r clock.Region)
	AddRegion(lane clock.Lane) error
	RemoveRegion(lane clock.Lane) error
	EndRegion(lane clock.Lane, last, closed clock.Timestamp) bool
	Report() causal.Report
	Receive(r causal.Report) bool
	Incarnated(r clock.Region, incarnation uint64)
	Parted(r clock.Region)
	Recovered()
	Open(writes, applied bool) (causal.Snapshot, error)
	Close(s causal.Snapshot)
	Hold(v clock.Vector) (*causal.Hold, error)
	Pin() (*causal.Hold, error)
	Release(h *causal.Hold)
	Advance()
	Cuts() (horizon, settled clock.Vector)
	Serving(regions []clock.Region)
	OpenStrong(writes bool) (s causal.Snapshot, wait clock.Entry, ok bool, err error)
	Decided(upTo clock.Timestamp)
	Age()

	// Questions.

	Exposed() clock.Vector
	Applied() clock.Vector
	Raw() clock.Vector
	Durable() clock.Vector
	Stable() clock.Vector
	Everywhere() clock.Vector
	Droppable(dropped clock.Vector) clock.Vector
	Uniform() clock.Vector
	StrongCut() clock.Vector
	Members() []clock.Lane
	Ready(h kv.Header) bool
	Promise(lane clock.Lane) (last, safe clock.Timestamp)
	Reached(r clock.Region, reach causal.Reach) clock.Timestamp
	NeedsApplied(v clock.Vector) bool
	Reported(r clock.Region) (causal.Report, bool)
	Remembered(r clock.Region, uncounted bool) (causal.Report, bool)
	Readings(now time.Duration) []causal.Reading
	ReadingsAt(cut clock.Vector, now time.Duration) []causal.Reading
	Freshened() uint64
	Statement(lane clock.Lane, now time.Duration) (last clock.Timestamp, at time.Duration, known bool)
	Spread(r clock.Region, regions int) clock.Timestamp
	Recovering() bool
	OpenSnapshots() int
}

var _ Core = (*causal.Machine)(nil)
