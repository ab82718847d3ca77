package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/replication"
)

// window is how many messages a direction of a connection holds; Send blocks beyond it.
const window = 1024

// Errors of the network, wrapped in what was tried.
var (
	errUnreachable = errors.New("unreachable")
	errClosed      = errors.New("connection closed")
)

// link is one direction between two regions.
type link struct{ from, to string }

// linkState is how a link is at the moment.
type linkState struct {
	cut, stalled  bool
	delay, jitter time.Duration // of every message at least, and at most so much more
	weather       nemesis.Weather
	pipes         map[*pipe]struct{}
}

// unruly says how often something befalls a message that TCP would not let happen, from 0 to 1. The
// messages by which nodes greet and copy all data are spared: those have no answer to it but to
// end the connection, which is a fault of its own. Only messages of raft's get lost, as some do that wait for a
// full connection.
type unruly struct{ duplicate, reorder, lose float64 }

// network connects the simulated machines. Everything that it decides by chance it decides by one
// generator, in the order in which it is asked.
type network struct {
	reach  *reached
	nameOf func(clock.Region) string // "" while nobody knows
	unruly unruly

	mu        sync.Mutex
	random    *rand.Rand
	links     map[link]*linkState
	listeners map[string]*endpoint
	made      uint64 // pipes
}

func newNetwork(random *rand.Rand, u unruly, r *reached, nameOf func(clock.Region) string) *network {
	return &network{reach: r, nameOf: nameOf, unruly: u, random: random, links: map[link]*linkState{}, listeners: map[string]*endpoint{}}
}

// linkLocked finds a link. The caller holds mu.
func (n *network) linkLocked(k link) *linkState {
	l := n.links[k]
	if l == nil {
		l = &linkState{pipes: map[*pipe]struct{}{}}
		n.links[k] = l
	}
	return l
}

// change changes a link and wakes who waits for it.
func (n *network) change(k link, set func(*linkState)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.linkLocked(k)
	set(l)
	for p := range l.pipes {
		p.signal()
	}
	if back := n.links[link{k.to, k.from}]; back != nil { // senders learn there that nobody reads
		for p := range back.pipes {
			p.signal()
		}
	}
}

// setDelay sets how long messages are on their way.
func (n *network) setDelay(k link, delay, jitter time.Duration) {
	n.change(k, func(l *linkState) { l.delay, l.jitter = delay, jitter })
}

// blocked reports whether nothing gets through: what is sent waits, as TCP sends it again and again,
// until the connection ends.
func (n *network) blocked(k link) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.linkLocked(k)
	return l.cut || l.stalled
}

// resendAfter is what a lost packet adds to the way of a message.
const resendAfter = 300 * time.Millisecond

// draw decides how long a message is on its way.
func (n *network) draw(k link) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.linkLocked(k)
	d := l.delay + l.weather.Delay
	if jitter := l.jitter + l.weather.Jitter; jitter > 0 {
		d += time.Duration(n.random.Int64N(int64(jitter)))
	}
	if l.weather.Loss > 0 && n.random.Float64() < l.weather.Loss {
		d += resendAfter
	}
	return d
}

// chance is true so often.
func (n *network) chance(p float64) bool {
	if p <= 0 {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.random.Float64() < p
}

// sever breaks the connections between two regions: what is on the way, from a point on that is
// drawn, is lost.
func (n *network) sever(k link) {
	n.mu.Lock()
	pipes := slices.SortedFunc(maps.Keys(n.linkLocked(k).pipes), func(a, b *pipe) int { return cmp.Compare(a.number, b.number) })
	keep := n.random.Float64()
	n.mu.Unlock()
	for _, p := range pipes {
		p.conn.severed(keep)
		n.reach.count("connection broken")
	}
}

// endpoint is the transport of one run of a process. Once it is dead nothing that the process says
// reaches anybody, though its goroutines may still be ending.
type endpoint struct {
	network *network
	name    string

	mu     sync.Mutex
	dead   bool
	accept func(replication.Conn) // nil while it does not serve
	open   *sync.WaitGroup        // of the calls of accept
	conns  map[*conn]struct{}     // ends at this process
}

var _ replication.Transport = (*endpoint)(nil)

func (n *network) endpoint(name string) *endpoint {
	return &endpoint{network: n, name: name, conns: map[*conn]struct{}{}}
}

// redialEvery is how often a dial looks whether the network lets it through.
const redialEvery = 200 * time.Millisecond

// Dial implements replication.Transport: there and back over the link. Where it is cut nobody
// answers, so the caller's patience ends it; where nobody listens it is refused.
func (e *endpoint) Dial(ctx context.Context, address string) (replication.Conn, error) {
	for _, k := range []link{{e.name, address}, {address, e.name}} {
		if err := e.network.cross(ctx, k); err != nil {
			return nil, fmt.Errorf("dial %s from %s: %w", address, e.name, err)
		}
	}
	e.network.mu.Lock()
	there := e.network.listeners[address]
	e.network.mu.Unlock()
	if there == nil {
		return nil, fmt.Errorf("dial %s from %s: %w: nothing listens there", address, e.name, errUnreachable)
	}
	here, remote := e.network.pair(e, there)
	if !e.own(here) || !there.take(remote) {
		here.Close()
		return nil, fmt.Errorf("dial %s from %s: %w: nothing listens there", address, e.name, errUnreachable)
	}
	return here, nil
}

// cross waits as long as a message takes over a link, or until ctx ends.
func (n *network) cross(ctx context.Context, k link) error {
	for {
		wait := n.draw(k)
		open := !n.blocked(k)
		if !open {
			wait = redialEvery
		}
		if !sleep(ctx, wait) {
			return fmt.Errorf("%w: %w", errUnreachable, context.Cause(ctx))
		}
		if open {
			return nil
		}
	}
}

// sleep waits in the bubble's time, and tells whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// own notes an end of a connection; false: the process is dead.
func (e *endpoint) own(c *conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dead {
		return false
	}
	e.conns[c] = struct{}{}
	return true
}

// take hands a new connection to the accept function.
func (e *endpoint) take(c *conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.accept == nil || e.dead {
		return false
	}
	e.conns[c] = struct{}{}
	accept, open := e.accept, e.open
	open.Add(1)
	go func() {
		defer open.Done()
		defer c.Close()
		accept(c)
	}()
	return true
}

// Serve implements replication.Transport.
func (e *endpoint) Serve(ctx context.Context, accept func(replication.Conn)) error {
	open := new(sync.WaitGroup)
	e.mu.Lock()
	e.accept, e.open = accept, open
	e.mu.Unlock()
	e.network.mu.Lock()
	e.network.listeners[e.name] = e
	e.network.mu.Unlock()
	<-ctx.Done()
	e.network.mu.Lock()
	if e.network.listeners[e.name] == e {
		delete(e.network.listeners, e.name)
	}
	e.network.mu.Unlock()
	e.mu.Lock()
	e.accept = nil
	e.mu.Unlock()
	for _, c := range e.ends() {
		c.Close()
	}
	open.Wait()
	return nil
}

// ends lists the open ends at this process, oldest first.
func (e *endpoint) ends() []*conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]*conn, 0, len(e.conns))
	for c := range e.conns {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *conn) int { return cmp.Compare(a.out.number, b.out.number) })
	return out
}

// die ends the process for everybody else. Of what it has sent, some may still arrive, the rest is
// lost: the network draws.
func (e *endpoint) die() {
	e.mu.Lock()
	e.dead = true
	e.accept = nil
	e.mu.Unlock()
	e.network.mu.Lock()
	if e.network.listeners[e.name] == e {
		delete(e.network.listeners, e.name)
	}
	e.network.mu.Unlock()
	for _, c := range e.ends() {
		e.network.mu.Lock()
		keep := e.network.random.Float64()
		e.network.mu.Unlock()
		c.severed(keep)
	}
}

func (e *endpoint) forget(c *conn) {
	e.mu.Lock()
	delete(e.conns, c)
	e.mu.Unlock()
}
