package replication

import (
	"context"
	"time"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
)

// Conn is a connection between two nodes: messages in order, both ways, each whole or not at all.
//
// One goroutine sends and one receives. A message handed to Send, and one returned by Recv, is
// never changed again by anybody: an in-memory transport passes the same one on.
type Conn interface {
	// Send hands a message over. It blocks while the transport's own window is full, and fails once
	// the connection is closed.
	Send(m *peerv1.Message) error
	// Recv returns the next message. It blocks, and fails once the connection is closed: at once
	// after a Close of this end, and after the messages that arrived before a Close of the other.
	Recv() (*peerv1.Message, error)
	// Close ends the connection and makes blocked calls return. What was sent before may still
	// arrive. It may be called from any goroutine and more than once.
	Close()
	// Remote names the other end for log lines.
	Remote() string
}

// Transport makes connections. gRPC is one implementation (replication/grpctransport), memory
// another (replication/memtransport); the simulator brings its own.
type Transport interface {
	// Dial connects to a node's peer address. ctx bounds the dialling, not the connection.
	Dial(ctx context.Context, address string) (Conn, error)
	// Serve calls accept, each time on a goroutine of its own, for every connection that others
	// make to this node, until ctx ends; then it closes them and waits for accept to return.
	Serve(ctx context.Context, accept func(Conn)) error
}

// Time is the clock and the timers of a node. Implementations are safe for concurrent use.
type Time interface {
	// Wall reads the wall clock, which may be wrong and may jump.
	Wall() clock.Wall
	// Monotonic is the time since some moment before the process began. It never goes back.
	Monotonic() time.Duration
	// NewTimer returns a channel that receives once d has passed, and a function that releases the
	// timer early.
	NewTimer(d time.Duration) (<-chan time.Time, func())
}

// systemTime reads the machine's clocks (and a synctest bubble's).
type systemTime struct{ start time.Time }

// SystemTime is the Time of the machine.
func SystemTime() Time { return systemTime{start: time.Now()} }

func (s systemTime) Wall() clock.Wall         { return clock.WallOf(time.Now()) }
func (s systemTime) Monotonic() time.Duration { return time.Since(s.start) }
func (s systemTime) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// AfterFunc calls f on a goroutine of its own once d has passed, unless stopped before.
func (s systemTime) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}

// sleep waits for d or until ctx ends, and tells whether d has passed.
func sleep(ctx context.Context, t Time, d time.Duration) bool {
	_, ok := sleepUntil(ctx, t, d, nil)
	return ok
}

// sleepUntil also ends when something comes on wake; ok is false when ctx has ended.
func sleepUntil(ctx context.Context, t Time, d time.Duration, wake <-chan struct{}) (woken, ok bool) {
	c, stop := t.NewTimer(d)
	defer stop()
	select {
	case <-c:
		return false, true
	case <-wake:
		return true, true
	case <-ctx.Done():
		return false, false
	}
}
