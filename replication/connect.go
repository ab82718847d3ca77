package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// dialMembers starts a goroutine for every region that has none yet. The caller holds mu.
func (r *Replicator) dialMembers() {
	_, list := r.registry.snapshot()
	for _, m := range list {
		if m.Region == r.self.Region || m.Fenced || r.dialling[m.Region] != nil {
			continue
		}
		wake := make(chan struct{}, 1)
		r.dialling[m.Region] = wake
		if m.Region > r.self.Region {
			r.start(func(ctx context.Context) { r.keepDialling(ctx, m.Region, wake) })
		} else {
			r.start(func(ctx context.Context) { r.keepAnnouncing(ctx, m.Region) })
		}
	}
}

// keepDialling connects to a region, for ever. What comes on wake ends the wait between two attempts,
// which has become long when the region was away for long.
func (r *Replicator) keepDialling(ctx context.Context, region clock.Region, wake <-chan struct{}) {
	b := backoff{random: r.c.Random}
	told := faults{time: r.c.Time}
	for ctx.Err() == nil {
		m, ok := r.registry.find(region)
		if !ok || m.Fenced {
			return // abandoned, or being removed
		}
		begun := r.c.Time.Monotonic()
		err := r.dialOnce(ctx, m)
		if ctx.Err() != nil {
			return
		}
		var starting startingError // one that joins loads its data first, as it should
		if (m.Serving || !errors.As(err, &starting)) && m.Addresses.Peer != "" && told.news(err) {
			r.c.Hooks.logf("region %d (%s) at %s: %v; it is dialled again for ever", region, m.Name, m.Addresses.Peer, err)
		}
		if r.c.Time.Monotonic()-begun > StreamTimeout {
			b.reset() // it was a stream, not an attempt
		}
		if woken, ok := sleepUntil(ctx, r.c.Time, b.next(), wake); !ok {
			return
		} else if woken {
			b.reset()
		}
	}
}

// dialSoon has a region dialled now, if it is this node that dials it: there is a sign that it is
// back.
func (r *Replicator) dialSoon(region clock.Region) {
	r.mu.Lock()
	wake := r.dialling[region]
	r.mu.Unlock()
	poke(wake)
}

// backoff grows from RedialMin to limit, with jitter.
type backoff struct {
	random func() uint64
	limit  time.Duration // 0: RedialMax
	last   time.Duration
}

func (b *backoff) next() time.Duration {
	limit := b.limit
	if limit == 0 {
		limit = RedialMax
	}
	b.last = min(max(2*b.last, RedialMin), limit)
	half := b.last / 2
	return half + time.Duration(b.random()%uint64(half))
}

func (b *backoff) reset() { b.last = 0 }

// faults keeps a fault that persists from filling the log.
type faults struct {
	time Time
	last string
	at   time.Duration
}

func (f *faults) news(err error) bool {
	now := f.time.Monotonic()
	if err == nil || err.Error() == f.last && now-f.at < TellEvery {
		return false
	}
	f.last, f.at = err.Error(), now
	return true
}

// dialOnce connects to a region, and returns when the stream has ended.
func (r *Replicator) dialOnce(ctx context.Context, m Member) error {
	conn, err := r.dial(ctx, m)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := r.limit(conn)
	hello := r.hello(peerv1.Purpose_PURPOSE_REPLICATE)
	answer, err := greet(conn, hello)
	if err == nil {
		err = r.checkPeer(answer, m)
	}
	if err != nil {
		stop()
		return r.faulty(m.Region, err)
	}
	err = r.attach(ctx, conn, m, answer, func(s *stream) (*peerv1.Hello, error) {
		defer stop()
		// What this node holds it says only now: from here on it takes nothing that an earlier
		// incarnation of the peer sent, so that this is all that it ever had of it.
		h, err := r.holding(r.hello(peerv1.Purpose_PURPOSE_REPLICATE), answer)
		if err != nil {
			return nil, err
		}
		return answer, conn.Send(helloMessage(h))
	})
	switch {
	case isFork(err):
		r.tellFork(conn, err)
	case isRival(err), isFenced(err):
		refuse(conn, err)
	}
	return err
}

// tellFork tells a peer of a fork, and waits until it has hung up, so that it hears of that for sure.
func (r *Replicator) tellFork(conn Conn, err error) {
	defer r.limit(conn)()
	refuse(conn, err)
	for {
		if _, err := conn.Recv(); err != nil {
			return
		}
	}
}

func (r *Replicator) dial(ctx context.Context, m Member) (Conn, error) {
	if m.Addresses.Peer == "" {
		return nil, kv.Errorf(kv.KindUnavailable, "no address known")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer, stop := r.c.Time.NewTimer(HandshakeTimeout)
	defer stop()
	go func() {
		select {
		case <-timer:
			cancel()
		case <-ctx.Done():
		}
	}()
	return r.c.Transport.Dial(ctx, m.Addresses.Peer)
}

// limit closes a connection whose handshake takes too long, unless stopped.
func (r *Replicator) limit(conn Conn) (stop func()) { return closeAfter(r.context(), r.c.Time, conn) }

// closeAfter closes a connection after HandshakeTimeout or when parent ends, unless stopped.
func closeAfter(parent context.Context, t Time, conn Conn) (stop func()) {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		if sleep(ctx, t, HandshakeTimeout) || parent.Err() != nil {
			conn.Close()
		}
	}()
	return cancel
}

// greet sends a hello and returns the answer.
func greet(conn Conn, hello *peerv1.Hello) (*peerv1.Hello, error) {
	err := conn.Send(helloMessage(hello))
	if err == nil {
		return receiveHello(conn)
	}
	var refused *kv.Error
	if _, why := receiveHello(conn); errors.As(why, &refused) {
		return nil, why // said before it was closed
	}
	return nil, err
}

func receiveHello(conn Conn) (*peerv1.Hello, error) {
	m, err := conn.Recv()
	if err != nil {
		return nil, err
	}
	if refused := m.GetRefused(); refused != nil {
		return nil, refusal(refused)
	}
	if m.GetHello() == nil {
		return nil, kv.Errorf(kv.KindCorrupt, "a stream that does not begin with a hello, but with %T", m.GetBody())
	}
	return m.GetHello(), checkHello(m.GetHello())
}

func helloMessage(h *peerv1.Hello) *peerv1.Message {
	return &peerv1.Message{Body: &peerv1.Message_Hello{Hello: h}}
}

// refusal makes an error of a peer's refusal.
func refusal(m *peerv1.Refused) error {
	e := kv.Errorf(kv.Kind(m.GetKind()), "refused by the peer: %s", shown(m.GetMessage()))
	if m.GetRetry() {
		e.RetryAfter = RedialMax
	}
	if m.GetAbandoned() {
		return abandonedError{e}
	}
	if m.GetForked() {
		return forkedError{what: e.Message}
	}
	if m.GetRival() {
		return outrankedError{e}
	}
	if m.GetStarting() {
		return startingError{e}
	}
	if m.GetFenced() {
		return fencedError{e}
	}
	return e
}

// startingError refuses a peer since a node takes part in nothing yet.
type startingError struct{ err *kv.Error }

func (e startingError) Error() string { return e.err.Error() }
func (e startingError) Unwrap() error { return e.err }

// refuse ends a stream with a reason.
func refuse(conn Conn, err error) {
	_ = conn.Send(refusedMessage(err)) // it is closed either way
}

// NotYet tells a peer that this node takes part in nothing at the moment, and hangs up.
func NotYet(conn Conn) {
	refuse(conn, startingError{kv.Errorf(kv.KindUnavailable, "the node is starting, or takes all its data anew: it takes no part yet")})
	conn.Close()
}

func refusedMessage(err error) *peerv1.Message {
	var dismissed dismissedError
	var abandoned abandonedError
	if errors.As(err, &abandoned) { // this node ends; to the peer it is only away
		err = kv.Errorf(kv.KindUnavailable, "the node is ending: %v", err)
	}
	var forked forkedError
	if errors.As(err, &forked) {
		err = kv.Errorf(kv.KindCorrupt, "the node stops for good, since its data folder is an older copy of its region that was written to: move the folder away, and start it on an empty one with --join")
	}
	var diverged divergedError
	var starting startingError
	m := &peerv1.Refused{
		Kind: uint32(kv.KindOf(err)), Message: err.Error(),
		Retry: errors.Is(err, kv.ErrUnavailable), Abandoned: errors.As(err, &dismissed), Forked: errors.As(err, &diverged),
		Rival: isRival(err), Starting: errors.As(err, &starting), Fenced: isFenced(err),
	}
	return &peerv1.Message{Body: &peerv1.Message_Refused{Refused: m}}
}

// hello says who this node is.
func (r *Replicator) hello(purpose peerv1.Purpose) *peerv1.Hello {
	return &peerv1.Hello{
		ProtocolMin: ProtocolMin, ProtocolMax: ProtocolMax, Purpose: purpose,
		Cluster: r.c.Identity.Cluster[:], Region: uint32(r.self.Region), Name: r.c.Identity.Name,
		Incarnation: r.c.Incarnation, Addresses: addressesTo(r.c.Addresses), Members: r.registry.message(),
		Recovering: r.c.Exposure.Recovering(), Standing: r.standing(),
	}
}

// holding adds what this node holds, for a peer: of its own reports one that recovers is told what was
// counted.
func (r *Replicator) holding(h *peerv1.Hello, peer *peerv1.Hello) (*peerv1.Hello, error) {
	goOn, err := r.rest(peer)
	if err != nil {
		return nil, err
	}
	defer goOn()
	r.positions(h, peer)
	for _, p := range h.GetLanes() {
		lane, t := clock.Lane{Region: clock.Region(p.GetRegion()), Slot: clock.Slot(p.GetSlot())}, clock.Timestamp(p.GetApplied())
		if p.GetSum() != 0 || t == 0 {
			continue
		}
		sum, _, err := r.recordAt(lane, t)
		if err != nil {
			return nil, err
		}
		p.Sum = sum
	}
	return h, nil
}

func (r *Replicator) positions(h *peerv1.Hello, peer *peerv1.Hello) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h.Reports = append(h.Reports, r.ownReport())
	raw := r.c.Exposure.Raw() // what waits here have counted, on this node's disk or not
	for _, l := range r.order {
		out := r.out[l.lane]
		out.mu.Lock()
		end := out.end
		out.mu.Unlock()
		applied := max(l.taken, end)
		h.Lanes = append(h.Lanes, &peerv1.LanePosition{
			Region: uint32(l.lane.Region), Slot: uint32(l.lane.Slot),
			Applied: uint64(applied), Durable: uint64(end), Safe: uint64(raw.At(l.lane.Region)), Sum: l.sumAt(applied),
		})
		report, ok := r.c.Exposure.Reported(l.lane.Region)
		if uint32(l.lane.Region) == peer.GetRegion() {
			report, ok = r.c.Exposure.Remembered(l.lane.Region, !peer.GetRecovering())
		}
		if ok {
			h.Reports = append(h.Reports, reportTo(report))
		}
	}
}

// checkProtocol refuses a peer that speaks no version that this node speaks.
func checkProtocol(h *peerv1.Hello) error {
	if h.GetProtocolMax() < ProtocolMin || h.GetProtocolMin() > ProtocolMax {
		return kv.Errorf(kv.KindInvalid, "the peer speaks versions %d to %d of the protocol between regions, this node %d to %d: update the older one",
			h.GetProtocolMin(), h.GetProtocolMax(), ProtocolMin, ProtocolMax)
	}
	return nil
}

// checkCluster refuses a peer of another cluster. Both ends tell the same: the dialer shows what it
// was refused with.
func (r *Replicator) checkCluster(h *peerv1.Hello) error {
	own := r.c.Identity
	if string(h.GetCluster()) == string(own.Cluster[:]) {
		return nil
	}
	return kv.Errorf(kv.KindInvalid, "region %q belongs to cluster %x, but region %q to cluster %s: correct the address; or, if one of the two lost its disk and was started without --join, so that it founded a cluster, stop it, delete its data folder and start it with --join",
		h.GetName(), h.GetCluster(), own.Name, own.Cluster)
}

// meetCluster reports a caller of another cluster that knows a region of this name: one of the two is
// where the other should be.
func (r *Replicator) meetCluster(h *peerv1.Hello) {
	err := r.checkCluster(h)
	named := func(m *peerv1.Member) bool { return m.GetName() == r.c.Identity.Name }
	if err == nil || !slices.ContainsFunc(h.GetMembers().GetMembers(), named) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.strangers.news(errors.New("another cluster")) { // at most so often, however many call
		r.c.Hooks.fault(clock.Region(h.GetRegion()), err)
	}
}

// checkPeer judges the hello of a member. A newer list of regions in it is taken.
func (r *Replicator) checkPeer(h *peerv1.Hello, want Member) error {
	if err := errors.Join(checkProtocol(h), r.checkCluster(h)); err != nil {
		return kv.Errorf(kv.KindInvalid, "%w", err)
	}
	if err := r.adoptMembers(h.GetMembers()); err != nil {
		return err
	}
	if err := r.registry.dismissed(clock.Region(h.GetRegion()), h.GetIncarnation()); err != nil {
		return err
	}
	if h.GetRegion() != uint32(want.Region) || h.GetName() != want.Name {
		return kv.Errorf(kv.KindInvalid, "the peer is region %d (%s) instead of region %d (%s)", h.GetRegion(), h.GetName(), want.Region, want.Name)
	}
	return nil
}

// faulty reports what no redialling mends. What makes this node useless ends it.
func (r *Replicator) faulty(region clock.Region, err error) error {
	var abandoned abandonedError
	var dismissed dismissedError
	var outranked outrankedError
	r.fork(region, err)
	switch {
	case isFenced(err) && !r.registry.fenced(region): // said by the peer, of this node
		r.c.Hooks.fenced()
	case errors.As(err, &outranked):
		r.outranked(region)
	case errors.As(err, &abandoned):
		r.endFor(err)
	case errors.As(err, &dismissed): // the peer's affair
	case errors.Is(err, kv.ErrInvalid), errors.Is(err, kv.ErrCorrupt):
		r.c.Hooks.fault(region, err)
	}
	return err
}

// accept handles a connection that a peer has made.
func (r *Replicator) accept(conn Conn) {
	stop := r.limit(conn)
	defer stop()
	h, err := receiveHello(conn)
	switch {
	case h == nil:
		return
	case err != nil:
		r.c.Hooks.logf("connection from %s: %v", conn.Remote(), err)
		refuse(conn, err)
		return
	}
	switch h.GetPurpose() {
	case peerv1.Purpose_PURPOSE_JOIN:
		err = r.answerJoin(conn, h)
	case peerv1.Purpose_PURPOSE_REPLICATE:
		err = r.acceptStream(conn, h, stop)
	case peerv1.Purpose_PURPOSE_BOOTSTRAP:
		stop()
		err = r.serveCut(conn, h)
	case peerv1.Purpose_PURPOSE_ANNOUNCE:
		err = r.acceptAnnouncement(conn, h)
	case peerv1.Purpose_PURPOSE_CONSENSUS:
		err = r.takeConsensus(conn, h, stop)
	default:
		err = errors.Join(checkProtocol(h), kv.Errorf(kv.KindInvalid, "a stream for purpose %v", h.GetPurpose()))
	}
	if err != nil {
		r.meetCluster(h)
		if !isRival(err) && !isFenced(err) { // that is told already, and comes again and again
			r.c.Hooks.logf("connection from %s (region %d, %s): %v", conn.Remote(), h.GetRegion(), h.GetName(), err)
		}
		if isFork(err) {
			r.tellFork(conn, err)
			return
		}
		refuse(conn, err)
	}
}

// caller finds the member that a hello is from.
func (r *Replicator) caller(h *peerv1.Hello) (Member, error) {
	if err := errors.Join(checkProtocol(h), r.checkCluster(h)); err != nil {
		return Member{}, kv.Errorf(kv.KindInvalid, "%w", err)
	}
	if err := r.registry.dismissed(clock.Region(h.GetRegion()), h.GetIncarnation()); err != nil {
		return Member{}, err
	}
	m, ok := r.registry.find(clock.Region(h.GetRegion()))
	if !ok {
		if err := r.adoptMembers(h.GetMembers()); err != nil {
			return Member{}, err
		}
		if m, ok = r.registry.find(clock.Region(h.GetRegion())); !ok {
			return Member{}, kv.Errorf(kv.KindUnavailable, "region %d (%s) is not known here yet", h.GetRegion(), h.GetName())
		}
	}
	return m, r.checkPeer(h, m)
}

func (r *Replicator) acceptStream(conn Conn, h *peerv1.Hello, stop func()) error {
	m, err := r.caller(h)
	if err != nil {
		return err
	}
	if m.Region >= r.self.Region {
		return kv.Errorf(kv.KindInvalid, "region %d dials region %d: the lower number dials", m.Region, r.self.Region)
	}
	if err := r.learnAddresses(m.Region, h); err != nil {
		return err
	}
	err = r.attach(r.context(), conn, m, h, func(*stream) (*peerv1.Hello, error) {
		defer stop()
		held, err := r.holding(r.hello(peerv1.Purpose_PURPOSE_REPLICATE), h)
		if err != nil {
			return nil, err
		}
		return greet(conn, held)
	})
	if isFork(err) || isRival(err) || isFenced(err) {
		return err // the peer must hear of it
	}
	r.c.Hooks.logf("region %d (%s): %v", m.Region, m.Name, err)
	return nil
}

func (r *Replicator) learnAddresses(region clock.Region, h *peerv1.Hello) error {
	return r.SetAddresses(r.context(), region, addressesFrom(h.GetAddresses()))
}

// attach makes a connection the stream to a region, and runs it. finish completes the handshake and
// returns what the peer says it holds; it runs when no other stream to the region is left.
func (r *Replicator) attach(ctx context.Context, conn Conn, m Member, h *peerv1.Hello, finish func(*stream) (*peerv1.Hello, error)) error {
	s := newStream(r, conn, m, claimOf(h))
	ctx, s.cancel = context.WithCancelCause(ctx)
	defer s.cancel(nil)
	if err := r.begin(s, m, finish); err != nil {
		close(s.done)
		return r.faulty(m.Region, err)
	}
	r.c.Hooks.connected(m.Region, true, nil)
	err := s.run(ctx)
	r.detach(s)
	r.c.Hooks.connected(m.Region, false, err) // the next stream begins after it
	close(s.done)
	return fmt.Errorf("stream ended: %w", err)
}

func (r *Replicator) begin(s *stream, m Member, finish func(*stream) (*peerv1.Hello, error)) error {
	r.mu.Lock()
	attaching := r.attaching[s.peer]
	if attaching == nil {
		attaching = new(turn)
		r.attaching[s.peer] = attaching
	}
	r.mu.Unlock()
	attaching.Lock()
	defer attaching.Unlock()
	r.mu.Lock()
	old := r.streams[s.peer]
	r.mu.Unlock()
	if err := errors.Join(r.turnedAway(s.peer), r.rival(m, s.store)); err != nil {
		return err
	}
	if old != nil {
		r.replace(old, s)
		<-old.done
	}
	r.reincarnate(s)
	defer r.parted(s.peer) // if it fails
	h, err := finish(s)
	if err != nil {
		return err
	}
	// The dialer's acceptor says what it holds in its answer, the acceptor's dialer afterwards.
	if err := r.met(s, h); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// letGo ends the streams that are here: a region may have been abandoned since it was checked.
	if err := errors.Join(r.turnedAway(s.peer), r.registry.dismissed(s.peer, s.store.incarnation)); err != nil {
		return err
	}
	r.streams[s.peer] = s
	r.c.Exposure.Incarnated(s.peer, s.store.incarnation) // the end of a cut's transfer may have parted them
	s.heard = r.c.Time.Monotonic()
	if len(r.wanted) > 0 {
		s.press(r.wanted)
	}
	poke(r.planWake)
	return nil
}

// reincarnate lets go of records that wait and came from an earlier incarnation of the region: it
// may have lost them, and writes others in their place once it knows what everybody holds. What that
// incarnation reported to have on its disk does not count any more either.
func (r *Replicator) reincarnate(s *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, ok := r.incarnated[s.peer]; ok && before != s.store.incarnation {
		if l := r.in[clock.Lane{Region: s.peer}]; l != nil {
			l.restart()
		}
	}
	r.incarnated[s.peer] = s.store.incarnation
	r.c.Exposure.Incarnated(s.peer, s.store.incarnation)
}

// parted lets reports tell of a region's next store, unless there is a stream to it.
func (r *Replicator) parted(region clock.Region) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.streams[region] == nil {
		r.c.Exposure.Parted(region)
	}
}

// detach forgets a stream that has ended.
func (r *Replicator) detach(s *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.streams[s.peer] == s {
		delete(r.streams, s.peer)
		r.c.Exposure.Parted(s.peer)
	}
	s.unanswered()
	for _, sub := range s.in {
		s.forget(sub)
	}
	s.mu.Lock()
	for _, o := range s.out {
		s.dropOut(o)
	}
	s.mu.Unlock()
	r.setBeatSkew(s.peer, 0)
	r.judgeOwnClock()
	poke(r.planWake)
}

// keepAnnouncing tells a region with a lower number that this node is there, and where, while it does
// not dial: soon after the start, when it may wait long before it dials again or know another
// address, and then less and less often.
func (r *Replicator) keepAnnouncing(ctx context.Context, region clock.Region) {
	told := faults{time: r.c.Time}
	b := backoff{random: r.c.Random}
	for wait := b.next(); sleep(ctx, r.c.Time, wait); {
		r.mu.Lock()
		connected := r.streams[region] != nil
		r.mu.Unlock()
		m, ok := r.registry.find(region)
		if !ok || m.Fenced {
			return // abandoned, or being removed
		}
		if connected || m.Addresses.Peer == "" {
			b.reset()
			wait = AnnounceEvery/2 + time.Duration(r.c.Random()%uint64(AnnounceEvery))
			continue
		}
		wait = b.next()
		if err := r.announce(ctx, m); err != nil && ctx.Err() == nil && told.news(err) {
			r.c.Hooks.logf("region %d (%s) at %s: %v; it is told of this node again until it dials", region, m.Name, m.Addresses.Peer, err)
		}
	}
}

func (r *Replicator) announce(ctx context.Context, m Member) error {
	conn, err := r.dial(ctx, m)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer r.limit(conn)()
	answer, err := greet(conn, r.hello(peerv1.Purpose_PURPOSE_ANNOUNCE))
	if err != nil {
		return r.faulty(m.Region, err)
	}
	if err := r.checkPeer(answer, m); err != nil {
		return r.faulty(m.Region, err)
	}
	return r.learnAddresses(m.Region, answer)
}

func (r *Replicator) acceptAnnouncement(conn Conn, h *peerv1.Hello) error {
	m, err := r.caller(h)
	if err != nil {
		return err
	}
	if err := r.learnAddresses(m.Region, h); err != nil {
		return err
	}
	r.dialSoon(m.Region)
	return conn.Send(helloMessage(r.hello(peerv1.Purpose_PURPOSE_ANNOUNCE)))
}
