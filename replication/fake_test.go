package replication_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/causal"
	"github.com/theriac-db/theriac/replication/memtransport"
)

// fakeStore is a store in memory. Its leaves are the stamps of the groups applied.
type fakeStore struct {
	mu          sync.Mutex
	incarnation uint64
	meta        map[string][]byte
	log         map[clock.Lane][]replication.Durable
	applied     map[clock.Lane]clock.Timestamp
	truncated   map[clock.Lane]clock.Timestamp
	leaves      map[clock.Stamp]bool
	short       string
	fail        error                  // of Apply
	refuse      func(*kv.Record) error // what its writer says to a record; nil: nothing
	attempts    int                    // refused so far
	logReads    int
	metaHeld    chan struct{} // what SetMeta waits for; nil: nothing
	metaFails   error         // what SetMeta says; nil: nothing
	syncDelay   time.Duration // batches applied wait that long for their sync; what is refused is told at once

	queue    chan func()
	unsynced []func()
	sync     <-chan time.Time // when these are; nil: nothing waits for it
}

func newFakeStore(incarnation uint64) *fakeStore {
	s := &fakeStore{incarnation: incarnation, meta: map[string][]byte{}, queue: make(chan func(), 16)}
	s.clear()
	return s
}

func (s *fakeStore) clear() {
	s.log, s.applied = map[clock.Lane][]replication.Durable{}, map[clock.Lane]clock.Timestamp{}
	s.truncated, s.leaves = map[clock.Lane]clock.Timestamp{}, map[clock.Stamp]bool{}
}

// write runs the store's writer until ctx ends.
func (s *fakeStore) write(ctx context.Context) {
	s.takeUnsynced() // of an earlier run
	for {
		s.mu.Lock()
		sync := s.sync
		s.mu.Unlock()
		select {
		case job := <-s.queue:
			job()
		case <-sync:
			for _, durable := range s.takeUnsynced() {
				durable()
			}
		case <-ctx.Done():
			return
		}
	}
}

// synced has the writer call durable once what is applied is on disk.
func (s *fakeStore) synced(durable func()) {
	s.mu.Lock()
	if s.syncDelay != 0 {
		s.unsynced = append(s.unsynced, durable)
		if s.sync == nil {
			s.sync, _ = replication.SystemTime().NewTimer(s.syncDelay)
		}
		durable = func() {}
	}
	s.mu.Unlock()
	durable()
}

func (s *fakeStore) takeUnsynced() []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := s.unsynced
	s.unsynced, s.sync = nil, nil
	return done
}

func (s *fakeStore) submit(ctx context.Context, job func()) error {
	select {
	case s.queue <- job:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *fakeStore) put(lane clock.Lane, prev, t clock.Timestamp, encoded []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.applied[lane] != prev {
		panic(fmt.Sprintf("lane %s: record %s behind %s, applied %s", lane, t, prev, s.applied[lane]))
	}
	s.applied[lane] = t
	s.log[lane] = append(s.log[lane], replication.Durable{Time: t, Encoded: encoded})
	s.leaves[clock.Stamp{Region: lane.Region, Time: t}] = true
}

func (s *fakeStore) Apply(ctx context.Context, b *replication.Batch) error {
	s.mu.Lock()
	err := s.fail
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.submit(ctx, func() {
		if err := s.refuses(b); err != nil {
			b.Durable(err)
			return
		}
		for _, in := range b.Records {
			s.put(b.Lane, in.Record.Prev, in.Record.Time, in.Encoded)
		}
		b.Applied()
		s.synced(func() { b.Durable(nil) })
	})
}

// refuses judges a batch as a store does: what follows a record that was refused is refused too.
func (s *fakeStore) refuses(b *replication.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if prev := b.Records[0].Record.Prev; s.applied[b.Lane] != prev {
		return kv.Errorf(kv.KindUnavailable, "what it follows was not applied")
	}
	for _, in := range b.Records {
		for _, d := range in.Record.Deps {
			if d.Region != b.Lane.Region && s.applied[clock.Lane{Region: d.Region}] < d.Time {
				return kv.Errorf(kv.KindUnavailable, "what it depends on was not applied")
			}
		}
		if s.refuse == nil {
			continue
		}
		if err := s.refuse(in.Record); err != nil {
			s.attempts++
			return err
		}
	}
	return nil
}

func (s *fakeStore) Log(lane clock.Lane, after clock.Timestamp, maxBytes int) (out [][]byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logReads++
	if after < s.truncated[lane] {
		return nil, kv.Errorf(kv.KindTooOld, "lane %s: truncated", lane)
	}
	log := s.log[lane]
	i, _ := slices.BinarySearchFunc(log, after+1, func(d replication.Durable, t clock.Timestamp) int {
		if d.Time < t {
			return -1
		}
		return 1
	})
	for bytes := 0; i < len(log) && bytes < maxBytes; i++ {
		out = append(out, log[i].Encoded)
		bytes += len(log[i].Encoded)
	}
	return out, nil
}

func (s *fakeStore) Meta(key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.meta[key]), nil
}

func (s *fakeStore) SetMeta(ctx context.Context, key string, value []byte) error {
	s.mu.Lock()
	held, err := s.metaHeld, s.metaFails
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meta[key] = slices.Clone(value)
	return nil
}

func (s *fakeStore) Short(_ context.Context, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.short = reason
	return nil
}

func (s *fakeStore) Recovered(ctx context.Context) error { return s.Short(ctx, "") }

func (s *fakeStore) SyncSoon() {}

func (s *fakeStore) ReadState(context.Context) ([]byte, error) { return []byte("voids"), nil }

// ReadRange serves two stamps at a time, and takes a millisecond for it.
func (s *fakeStore) ReadRange(_ context.Context, shard int, after []byte, at clock.Vector, _ int) (data, next []byte, err error) {
	passed, _ := replication.SystemTime().NewTimer(time.Millisecond)
	<-passed
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []clock.Stamp
	for l := range s.leaves {
		if int(l.Time>>12)%64 == shard && at.At(l.Region) >= l.Time {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b clock.Stamp) int {
		return clock.Dot{Region: a.Region, Time: a.Time}.Compare(clock.Dot{Region: b.Region, Time: b.Time})
	})
	from := 0
	if after != nil {
		from = int(after[0])
	}
	for i := from; i < min(from+2, len(all)); i++ {
		data = binary.BigEndian.AppendUint16(data, uint16(all[i].Region))
		data = binary.BigEndian.AppendUint64(data, uint64(all[i].Time))
	}
	if from+2 < len(all) {
		next = []byte{byte(from + 2)}
	}
	return data, next, nil
}

func (s *fakeStore) LoadBegin(_ context.Context, keep ...clock.Lane) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	log, truncated := s.log, s.truncated
	s.clear()
	for _, l := range keep {
		s.log[l], s.truncated[l] = log[l], truncated[l]
	}
	return nil
}

func (s *fakeStore) LoadRange(_ context.Context, shard int, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; len(data) > 0; data = data[10:] {
		l := clock.Stamp{Region: clock.Region(binary.BigEndian.Uint16(data)), Time: clock.Timestamp(binary.BigEndian.Uint64(data[2:]))}
		if int(l.Time>>12)%64 != shard {
			return errors.New("leaf in the wrong shard")
		}
		s.leaves[l] = true
	}
	return nil
}

func (s *fakeStore) LoadEnd(_ context.Context, state []byte, applied map[clock.Lane]clock.Timestamp, keep ...clock.Lane) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(state) != "voids" {
		return errors.New("state lost")
	}
	begin := maps.Clone(applied)
	for _, l := range keep {
		begin[l] = s.truncated[l]
		for _, d := range s.log[l] {
			if d.Time > applied[l] {
				s.leaves[clock.Stamp{Region: l.Region, Time: d.Time}] = true
				applied[l] = d.Time
			}
		}
	}
	s.applied, s.truncated = applied, begin
	return nil
}

// snapshot copies what is applied and visible.
func (s *fakeStore) content() map[clock.Stamp]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.leaves)
}

// cluster is a few nodes on one network, in a synctest bubble.
type cluster struct {
	t   *testing.T
	net *memtransport.Network
	rnd func() uint64

	council council
}

func newCluster(t *testing.T) *cluster {
	random := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	return &cluster{t: t, net: memtransport.New(replication.SystemTime()), rnd: func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		return random.Uint64()
	}}
}

// node is one running region; its address is its name.
type node struct {
	c       *cluster
	name    string
	address string
	store   *fakeStore
	skew    time.Duration // of its wall clock
	x       *replication.Exposure
	r       *replication.Replicator
	id      replication.Identity

	mu     sync.Mutex
	lines  []string
	faults []error
	stuck  []error // what the hook was told; nil: it is over
	forked error   // what the hook was told
	ahead  bool
	skewed map[string]time.Duration

	undecided bool // an earlier process may have strong transactions under way

	written func() // what is written behind the start, before anybody is met
	hybrid  *clock.Hybrid
	last    clock.Timestamp
	cancel  context.CancelFunc
	ended   chan struct{}  // closed once err says why it ended
	writer  sync.WaitGroup // the store's writer, which is gone when the store is used again
	err     error
}

// Wall, Monotonic and NewTimer make a node its own clock.
func (n *node) Wall() clock.Wall         { return clock.WallOf(time.Now().Add(n.skew)) }
func (n *node) Monotonic() time.Duration { return time.Since(epoch) }
func (n *node) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	return replication.SystemTime().NewTimer(d)
}

// epoch is where every synctest bubble's clock begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Hour)

func (n *node) logf(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *node) logged() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.lines)
}

type option func(*node, *replication.Config)

// start starts a region and waits until it is who it is.
func (c *cluster) start(name string, store *fakeStore, ask []string, options ...option) *node {
	c.t.Helper()
	n, err := c.tryStart(c.t.Context(), name, store, ask, options...)
	require.NoError(c.t, err)
	return n
}

// startAt starts a region at another address than its name.
func (c *cluster) startAt(name, address string, store *fakeStore) *node {
	return c.start(name, store, nil, func(n *node, _ *replication.Config) { n.address = address })
}

// elsewhere has a region listen at another address than its name, and tells it whom to join.
func elsewhere(address string, join []string) option {
	return func(n *node, r *replication.Config) { n.address, r.Ask = address, join }
}

func (c *cluster) tryStart(parent context.Context, name string, store *fakeStore, ask []string, options ...option) (*node, error) {
	n := &node{c: c, name: name, address: name, store: store, skewed: map[string]time.Duration{}, ended: make(chan struct{})}
	config := replication.Config{}
	for _, o := range options {
		o(n, &config)
	}
	ctx, cancel := context.WithCancel(parent)
	n.cancel = cancel
	id, err := replication.Identify(ctx, replication.JoinConfig{
		Name: name, Incarnation: store.incarnation, Addresses: kv.Addresses{Peer: n.address}, Ask: ask, Store: store,
		Transport: c.net.Node(n.address), Time: n, Random: c.rnd, Logf: n.logf,
	})
	if err != nil {
		cancel()
		return nil, err
	}
	n.id = id
	if err := n.run(ctx, config); err != nil {
		cancel()
		return nil, err
	}
	return n, nil
}

func (n *node) run(ctx context.Context, config replication.Config) error {
	self := clock.Lane{Region: n.id.Region}
	start := causal.Start{Self: self, Recovering: n.id.Recovering || n.store.short != "", Number: uint64(n.Wall()), Incarnation: n.store.incarnation, Undecided: n.undecided}
	applied := maps.Clone(n.store.applied)
	if _, ok := applied[self]; !ok {
		applied[self] = 0
	}
	for lane, t := range applied {
		start.Lanes = append(start.Lanes, causal.Position{Lane: lane, Held: t, Durable: t})
	}
	x, err := replication.NewExposure(start)
	if err != nil {
		return err
	}
	n.x, n.last, n.hybrid = x, applied[self], clock.NewHybrid(0, applied[self])
	config.Identity, config.Incarnation, config.Addresses = n.id, n.store.incarnation, kv.Addresses{Peer: n.address}
	config.Regions = &seat{council: &n.c.council, node: n}
	config.Store, config.Exposure, config.Transport, config.Time = n.store, x, n.c.net.Node(n.address), n
	config.Random, config.Applied = n.c.rnd, applied
	config.Hooks.Logf = n.logf
	config.Hooks.Fault = func(_ clock.Region, err error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.faults = append(n.faults, err)
	}
	config.Hooks.Forked = func(err error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.forked = err
	}
	config.Hooks.Stuck = func(_ clock.Region, err error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.stuck = append(n.stuck, err)
	}
	config.Hooks.ClockAhead = func(ahead bool) { n.mu.Lock(); n.ahead = ahead; n.mu.Unlock() }
	config.Hooks.Skew = func(_ clock.Region, name string, ahead time.Duration) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.skewed[name] = ahead
	}
	n.r, err = replication.New(config)
	if err != nil {
		return err
	}
	if n.written != nil {
		n.written()
		n.x.LocalApplied(n.store.applied[self], n.x.Exposed())
		n.r.Publish(replication.Durable{Time: n.store.applied[self]})
		n.x.LocalDurable(n.store.applied[self])
	}
	n.writer.Go(func() { n.store.write(ctx) })
	go func() { n.err = n.r.Run(ctx); close(n.ended) }()
	return nil
}

// stop ends a node and returns why it had ended.
func (n *node) stop() error {
	n.cancel()
	<-n.ended
	n.writer.Wait()
	return n.err
}

// crash breaks a node's connections and ends it.
func (n *node) crash() {
	n.c.net.Node(n.address).CloseAll()
	_ = n.stop()
}

func (n *node) lane() clock.Lane { return clock.Lane{Region: n.id.Region} }

// commit writes one group that has seen all that the node exposes, and returns its stamp.
func (n *node) commit() clock.Stamp { return n.commitSized(1) }

func (n *node) commitSized(bytes int) clock.Stamp {
	n.c.t.Helper()
	done := make(chan clock.Stamp, 1)
	require.NoError(n.c.t, n.store.submit(n.c.t.Context(), func() {
		deps := n.x.Exposed()
		t := n.hybrid.Next(n.Wall(), deps.Max())
		effect := kv.Effect{Object: kv.Object{Bucket: "b", Key: "key", Type: 1}, Op: make([]byte, bytes)}
		rec := kv.Record{Header: kv.Header{Lane: n.lane(), Time: t, Prev: n.last, Kind: kv.RecordGroup, Deps: deps},
			Txns: []kv.Txn{{Effects: []kv.Effect{effect}}}}
		encoded := rec.Append(nil)
		n.store.put(n.lane(), n.last, t, encoded)
		n.x.LocalApplied(t, deps)
		n.r.Publish(replication.Durable{Time: t, Encoded: encoded})
		n.x.LocalDurable(t)
		n.last = t
		done <- clock.Stamp{Region: n.id.Region, Time: t}
	}))
	return <-done
}

// sees waits until a node exposes a group.
func (n *node) sees(s clock.Stamp) {
	n.c.t.Helper()
	ctx, cancel := context.WithTimeout(n.c.t.Context(), 10*time.Minute)
	defer cancel()
	if err := n.x.Wait(ctx, clock.VectorOf(clock.Entry(s)), false); err != nil {
		n.c.t.Fatalf("%s does not see %s: %v\nexposed %s\nlog: %q", n.name, s, err, n.x.Exposed(), n.logged())
	}
}

// eventually waits in steps of simulated time.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 60_000 {
		synctest.Wait()
		if holds() {
			return
		}
		c, stop := replication.SystemTime().NewTimer(10 * time.Millisecond)
		<-c
		stop()
	}
	t.Fatalf("never: %s", what)
}
