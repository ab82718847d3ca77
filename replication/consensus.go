package replication

import (
	"context"
	"errors"
	"sync"
	"time"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Consensus is who the raft group's messages are for. Both methods are called on the goroutines of
// connections.
type Consensus interface {
	// Deliver takes messages from the node of a region with a store. The bytes are the callee's. While it
	// blocks, that node's further messages wait.
	Deliver(from clock.Region, store uint64, messages [][]byte)
	// Unreachable tells that messages to a region were dropped. It must not block.
	Unreachable(region clock.Region)
}

// Limits of what waits to be sent to one region of the raft group's messages. Raft sends again what is
// dropped, so little is kept: bandwidth times delay, 27 MB/s at 150 ms.
const (
	MaxConsensusQueued = 4096
	MaxConsensusBytes  = 4 << 20
	// ConsensusAlive is how often who accepts such a connection says that it is alive.
	ConsensusAlive = time.Second
)

// courier carries the raft group's messages to one region.
type courier struct {
	region clock.Region
	wake   chan struct{}

	mu    sync.Mutex
	queue [][]byte
	bytes int
}

// SendConsensus hands messages for a region over, in order, and does not block. What can't be sent soon is
// dropped, and Consensus.Unreachable called. A message alone may be as large as MaxRecord. The bytes are kept.
func (r *Replicator) SendConsensus(region clock.Region, messages ...[]byte) {
	c := r.courierTo(region)
	if c == nil || !c.put(messages) {
		r.c.Consensus.Unreachable(region)
	}
}

// courierTo finds or starts a region's courier; nil: nothing is sent before Run or after its end.
func (r *Replicator) courierTo(region clock.Region) *courier {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.couriers[region]; c != nil {
		return c
	}
	if r.ctx == nil || r.ctx.Err() != nil {
		return nil
	}
	c := &courier{region: region, wake: make(chan struct{}, 1)}
	r.couriers[region] = c
	r.start(func(ctx context.Context) { r.carry(ctx, c) })
	return c
}

// put queues messages, all or none.
func (c *courier) put(messages [][]byte) bool {
	size := 0
	for _, m := range messages {
		size += len(m)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.queue); n > 0 && (n+len(messages) > MaxConsensusQueued || c.bytes+size > MaxConsensusBytes) {
		return false
	}
	c.queue = append(c.queue, messages...)
	c.bytes += size
	poke(c.wake)
	return true
}

func (c *courier) take() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.queue
	c.queue, c.bytes = nil, 0
	return out
}

// carry connects to a region whenever there are messages for it, until ctx ends. What waits while it is
// not reached is dropped: raft would rather send what is true by then.
func (r *Replicator) carry(ctx context.Context, c *courier) {
	b := backoff{random: r.c.Random}
	told := faults{time: r.c.Time}
	for ctx.Err() == nil {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
		m, known := r.registry.find(c.region)
		if !known || m.Removed {
			c.take()
			continue
		}
		begun := r.c.Time.Monotonic()
		err := r.carryOver(ctx, c, m)
		if ctx.Err() != nil {
			return
		}
		if m.Serving && told.news(err) {
			r.c.Hooks.logf("consensus with region %d (%s) at %s: %v", m.Region, m.Name, m.Addresses.Peer, err)
		}
		if r.c.Time.Monotonic()-begun > StreamTimeout {
			b.reset()
		}
		if !sleep(ctx, r.c.Time, b.next()) {
			return
		}
		if len(c.take()) > 0 {
			r.c.Consensus.Unreachable(c.region)
		}
	}
}

// carryOver connects to a region and sends what is queued until the connection ends, and returns why.
func (r *Replicator) carryOver(ctx context.Context, c *courier, m Member) error {
	conn, err := r.dial(ctx, m)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := r.limit(conn)
	answer, err := greet(conn, r.hello(peerv1.Purpose_PURPOSE_CONSENSUS))
	stop()
	if err == nil {
		err = r.checkPeer(answer, m)
	}
	if err != nil {
		return err
	}
	poke(c.wake) // of what was queued before the connection
	ctx, cancel := context.WithCancelCause(ctx)
	defer context.AfterFunc(ctx, conn.Close)() // ends a Send and a Recv that block
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel(nil)
	alive := make(chan struct{}, 1)
	others.Go(func() { cancel(listen(conn, alive)) })
	others.Go(func() { r.expectLife(ctx, cancel, alive) })
	for {
		select {
		case <-c.wake:
			if err := sendConsensus(conn, c.take()); err != nil {
				cancel(err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// listen takes the signs of life of who accepted a connection.
func listen(conn Conn, alive chan struct{}) error {
	for {
		m, err := conn.Recv()
		switch {
		case err != nil:
			return err
		case m.GetRefused() != nil:
			return refusal(m.GetRefused())
		}
		poke(alive)
	}
}

// expectLife ends a connection on which nothing was heard for StreamTimeout.
func (r *Replicator) expectLife(ctx context.Context, end context.CancelCauseFunc, alive <-chan struct{}) {
	for {
		woken, ok := sleepUntil(ctx, r.c.Time, StreamTimeout, alive)
		if !ok {
			return
		}
		if !woken {
			end(kv.Errorf(kv.KindUnavailable, "nothing heard for %v", StreamTimeout))
		}
	}
}

// sendConsensus packs messages into as few as they fit, and splits those that are too large.
func sendConsensus(conn Conn, messages [][]byte) error {
	for len(messages) > 0 {
		n, size := 0, 0
		for n < len(messages) && (n == 0 || size+len(messages[n]) <= MaxPart) {
			size += len(messages[n])
			n++
		}
		if err := sendPacked(conn, messages[:n], size); err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

func sendPacked(conn Conn, messages [][]byte, size int) error {
	for size > MaxPart { // a single one
		part := &peerv1.Consensus{Messages: [][]byte{messages[0][:MaxPart]}, Partial: true}
		if err := conn.Send(&peerv1.Message{Body: &peerv1.Message_Consensus{Consensus: part}}); err != nil {
			return err
		}
		messages, size = [][]byte{messages[0][MaxPart:]}, size-MaxPart
	}
	return conn.Send(&peerv1.Message{Body: &peerv1.Message_Consensus{Consensus: &peerv1.Consensus{Messages: messages}}})
}

// takeConsensus takes the raft group's messages from a connection that a peer has made.
func (r *Replicator) takeConsensus(conn Conn, h *peerv1.Hello, stop func()) error {
	if r.c.Consensus == nil {
		return kv.Errorf(kv.KindInvalid, "this node takes no part in consensus")
	}
	m, err := r.caller(h)
	if err != nil {
		return err
	}
	if err := conn.Send(helloMessage(r.hello(peerv1.Purpose_PURPOSE_CONSENSUS))); err != nil {
		return nil //nolint:nilerr // the caller is gone, and there is nobody to tell
	}
	stop()
	ctx, cancel := context.WithCancel(r.context())
	var alive sync.WaitGroup
	defer alive.Wait() // who refuses the peer sends on the connection
	defer cancel()
	alive.Go(func() { r.sayAlive(ctx, conn) })
	for {
		messages, err := receiveConsensus(conn)
		if errors.Is(err, kv.ErrCorrupt) {
			return err
		}
		if err != nil {
			return nil //nolint:nilerr // who dials says why it went
		}
		if err := r.registry.dismissed(m.Region, h.GetIncarnation()); err != nil {
			return err
		}
		r.c.Consensus.Deliver(m.Region, h.GetIncarnation(), messages)
	}
}

func (r *Replicator) sayAlive(ctx context.Context, conn Conn) {
	for sleep(ctx, r.c.Time, ConsensusAlive) {
		if conn.Send(&peerv1.Message{Body: &peerv1.Message_Consensus{Consensus: &peerv1.Consensus{}}}) != nil {
			return
		}
	}
}

// receiveConsensus returns the next messages, put together where they came in parts.
func receiveConsensus(conn Conn) ([][]byte, error) {
	var parts []byte
	for {
		m, err := conn.Recv()
		if err != nil {
			return nil, err
		}
		c := m.GetConsensus()
		if c == nil || c.GetPartial() && len(c.GetMessages()) != 1 || len(parts) > 0 && len(c.GetMessages()) != 1 {
			return nil, kv.Errorf(kv.KindCorrupt, "a message that a connection of consensus does not have: %T", m.GetBody())
		}
		if !c.GetPartial() && len(parts) == 0 {
			return c.GetMessages(), nil
		}
		if len(parts)+len(c.GetMessages()[0]) > MaxRecord {
			return nil, kv.Errorf(kv.KindCorrupt, "a message of consensus of more than %d bytes", MaxRecord)
		}
		parts = append(parts, c.GetMessages()[0]...)
		if !c.GetPartial() {
			return [][]byte{parts}, nil
		}
	}
}

// RegionStore is the store that a serving region's node has.
type RegionStore struct {
	Region      clock.Region
	Incarnation uint64 // 0: there is no stream to the node
	// Recovering: the node does not have all of its region's own writes back yet. Another store of the region may
	// yet be heard in its place; from the end of the recovery on every other one is refused.
	Recovering bool
}

// RegionStores lists the stores of all regions that serve and are not being removed.
func (r *Replicator) RegionStores() (out []RegionStore) {
	_, list := r.registry.snapshot()
	own := r.standing()
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.Time.Monotonic()
	for _, m := range list {
		s := RegionStore{Region: m.Region}
		if m.Region == r.self.Region {
			s.Incarnation, s.Recovering = r.c.Incarnation, own < servesFromStart
		} else if peer := r.streams[m.Region]; peer != nil && peer.live(now) {
			s.Incarnation, s.Recovering = peer.store.incarnation, peer.store.standing < servesFromStart
		}
		if m.Serving && !m.Fenced {
			out = append(out, s)
		}
	}
	return out
}
