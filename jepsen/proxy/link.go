package proxy

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Weather is how a link is when it is bad. The zero value is fair.
type Weather struct {
	Delay  time.Duration // added to all that goes over it
	Jitter time.Duration // at most so much more, drawn for each piece
	Rate   int           // bytes a second of all its connections together; 0: unlimited
	Loss   float64       // share of packets that are lost, 0 to 1
}

// resend is how late a piece comes that was lost on a connection: the least time after which Linux
// sends again.
const resend = 200 * time.Millisecond

// Counts are what a link did to what went over it. They never fall.
type Counts struct {
	BytesHeld        int // of connections, that came while the link was cut or stalled
	EndsHeld         int // connections to be made, and ends of such, that came then
	BytesDelayed     int // of connections, that came while its weather was bad
	DatagramsDropped int
	DatagramsDelayed int
	Reset            int // connections that were broken by Reset
	GossipReset      int // connections of gossip that were broken or refused by DropGossip
}

// link is one direction between two regions, and what is wrong with it.
type link struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced with each change
	cut     bool
	stalled bool
	mute    bool // gossip is dropped
	weather Weather
	free    time.Time // when what was sent so far is through, at the weather's rate
	conns   map[*conn]struct{}
	counts  Counts
}

func newLink() *link {
	return &link{changed: make(chan struct{}), conns: map[*conn]struct{}{}}
}

// change changes the link and wakes whoever waits for it.
func (l *link) change(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
	close(l.changed)
	l.changed = make(chan struct{})
}

// state is what whoever moves bytes needs to know, and a channel that is closed once it is different.
func (l *link) state() (open, fair bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.cut && !l.stalled, l.weather == Weather{}, l.changed
}

// arrival is when n bytes that are sent now are there, if the link is open then; without bytes it is the
// beginning or the end of a connection.
func (l *link) arrival(n int, now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.weather
	l.count(n)
	if w == (Weather{}) {
		l.free = time.Time{}
		return now
	}
	at := now
	if w.Rate > 0 {
		if l.free.Before(now) {
			l.free = now
		}
		l.free = l.free.Add(time.Duration(float64(n) / float64(w.Rate) * float64(time.Second)))
		at = l.free
	}
	at = at.Add(w.Delay)
	if w.Jitter > 0 {
		at = at.Add(rand.N(w.Jitter))
	}
	if w.Loss > 0 && rand.Float64() < w.Loss {
		at = at.Add(resend)
	}
	return at
}

// count counts what comes. The caller holds mu.
func (l *link) count(n int) {
	switch {
	case (l.cut || l.stalled) && n == 0:
		l.counts.EndsHeld++
	case l.cut || l.stalled:
		l.counts.BytesHeld += n
	case l.weather != (Weather{}):
		l.counts.BytesDelayed += n
	}
}

// counted is what the link did so far.
func (l *link) counted() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// datagram is what becomes of one: dropped, or there after a while.
func (l *link) datagram() (drop bool, after time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.weather
	if l.cut || l.stalled || l.mute || w.Loss > 0 && rand.Float64() < w.Loss {
		l.counts.DatagramsDropped++
		return true, 0
	}
	if w == (Weather{}) {
		return false, 0
	}
	l.counts.DatagramsDelayed++
	after = w.Delay
	if w.Jitter > 0 {
		after += rand.N(w.Jitter)
	}
	return false, after
}

// refuses reports whether connections of gossip are refused, and counts one that is.
func (l *link) refuses() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mute {
		l.counts.GossipReset++
	}
	return l.mute
}

// add has a connection reset with the link; remove ends that.
func (l *link) add(c *conn) { l.mu.Lock(); l.conns[c] = struct{}{}; l.mu.Unlock() }

func (l *link) remove(c *conn) { l.mu.Lock(); delete(l.conns, c); l.mu.Unlock() }

// open are the link's connections that which asks for.
func (l *link) open(which func(*conn) bool) []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*conn
	for c := range l.conns {
		if which(c) {
			out = append(out, c)
		}
	}
	return out
}

// abort closes a connection so that the other end is told at once.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
