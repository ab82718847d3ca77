package replication

import (
	"time"

	"github.com/theriac-db/theriac/clock"
)

// Hooks is how replication tells its node what happens; node turns it into health, metrics and log
// lines. Every field may be nil. They are called from replication's goroutines, must not block and
// must not call back into the Replicator.
type Hooks struct {
	// Connected tells that the direct stream to a region began or, with up false, why it ended.
	Connected func(region clock.Region, up bool, err error)
	// Skew tells that a region's clock is further ahead than the bound, so that its records wait;
	// ahead is 0 once that is over.
	Skew func(region clock.Region, name string, ahead time.Duration)
	// ClockAhead tells that most peers find this node's clock too far ahead, so that it must refuse
	// writes, and when that is over.
	ClockAhead func(ahead bool)
	// Fault tells of damage that needs an operator: a gap or fork in a lane, a peer of another
	// cluster or protocol.
	Fault func(region clock.Region, err error)
	// Stuck tells that this node's store refuses a record of a region, again and again, so that what
	// the region writes waits; at most once each TellEvery, and with a nil error once it is over.
	Stuck func(region clock.Region, err error)
	// Writable tells whether this node may take writes; reason says what it waits for when not.
	Writable func(ok bool, reason string)
	// Forked tells, before anybody else is, that this node's lane is forked (fork.go): nothing of its
	// data may be read or written any more. Run ends with the same error.
	Forked func(err error)
	// Behind tells that this node can't catch up any more and must refuse writes, why, and what it
	// waits for; "" once that is over.
	Behind func(reason string)
	// Fenced tells that this node's region is being removed: what it writes from here on is lost. It may be
	// told more than once.
	Fenced func()
	// Sent and Received count records on the stream to a region, whoever wrote them, and the bytes
	// that they take packed, before compression.
	Sent, Received func(region clock.Region, records, bytes int)
	// Logf writes a line to the node's log.
	Logf func(format string, args ...any)
}

func (h *Hooks) connected(region clock.Region, up bool, err error) {
	if h.Connected != nil {
		h.Connected(region, up, err)
	}
}

func (h *Hooks) skew(region clock.Region, name string, ahead time.Duration) {
	if h.Skew != nil {
		h.Skew(region, name, ahead)
	}
}

func (h *Hooks) clockAhead(ahead bool) {
	if h.ClockAhead != nil {
		h.ClockAhead(ahead)
	}
}

func (h *Hooks) fault(region clock.Region, err error) {
	if h.Fault != nil {
		h.Fault(region, err)
	}
}

func (h *Hooks) stuck(region clock.Region, err error) {
	if h.Stuck != nil {
		h.Stuck(region, err)
	}
}

func (h *Hooks) writable(ok bool, reason string) {
	if h.Writable != nil {
		h.Writable(ok, reason)
	}
}

func (h *Hooks) forked(err error) {
	if h.Forked != nil {
		h.Forked(err)
	}
}

func (h *Hooks) behind(reason string) {
	if h.Behind != nil {
		h.Behind(reason)
	}
}

func (h *Hooks) fenced() {
	if h.Fenced != nil {
		h.Fenced()
	}
}

func (h *Hooks) sent(region clock.Region, records, bytes int) {
	if h.Sent != nil {
		h.Sent(region, records, bytes)
	}
}

func (h *Hooks) received(region clock.Region, records, bytes int) {
	if h.Received != nil {
		h.Received(region, records, bytes)
	}
}

func (h *Hooks) logf(format string, args ...any) {
	if h.Logf != nil {
		h.Logf(format, args...)
	}
}
