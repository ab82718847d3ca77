package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

// Config says what a Replicator is and works with. All fields but Gone, Ask, Strong, Consensus and Hooks are required.
type Config struct {
	// Identity is what Identify returned.
	Identity Identity
	// Incarnation is the store's.
	Incarnation uint64
	// Addresses are this node's own, told to the others.
	Addresses kv.Addresses
	Store     Store
	Exposure  *Exposure
	Transport Transport
	Time      Time
	// Random draws random bits, for jitter. Safe for concurrent use.
	Random func() uint64
	// Applied is the store's applied vector at its start, all of it durable.
	Applied map[clock.Lane]clock.Timestamp
	// Skew is the bound of the Exposure's machine (causal.Start.MaxSkew). 0: causal.DefaultMaxSkew.
	Skew time.Duration
	// Gone names regions that the operator says are gone for good: a recovery does not wait for them,
	// they are abandoned while they join, and others join without their being told.
	Gone []string
	// Ask lists the addresses that the node is told to join, to find those that lead to another cluster.
	Ask []string
	// Regions decides which regions there are.
	Regions Regions
	// Strong tells of the raft group for the levels bounded and quorum. Nil: there is none.
	Strong Strong
	// Consensus is given what the raft group's other members send. Nil: nothing is taken or sent.
	Consensus Consensus
	// Hooks tell the node what happens.
	Hooks Hooks
}

// Replicator keeps one node in touch with the other regions. It is safe for concurrent use.
type Replicator struct {
	c        Config
	self     clock.Lane
	registry *registry

	applyWake, planWake, newsWake chan struct{}
	recovery                      recovery
	holds                         holds
	behind                        behind
	feeding                       feeding

	reportMu sync.Mutex
	report   *peerv1.RegionReport
	reported time.Duration

	joining turn // one question for a number is answered at a time

	mu         sync.Mutex
	ctx        context.Context // of Run; nil before
	in         map[clock.Lane]*inLane
	out        map[clock.Lane]*outLane
	order      []*inLane // of all lanes, by lane
	turn       int
	nextSub    uint32
	streams    map[clock.Region]*stream
	attaching  map[clock.Region]*turn         // one stream to a region begins at a time
	dialling   map[clock.Region]chan struct{} // wakes who dials the region, where it is this node that does
	counted    uint64                         // version of the list whose regions' reports all count here
	incarnated map[clock.Region]uint64
	skewed     map[clock.Region]skew
	joiners    map[clock.Region]time.Duration // monotonic, when who joins was last heard of
	admitting  map[clock.Region]bool          // it is being decided whether one serves, or is abandoned
	leaving    map[clock.Region]*leaving
	rivals     map[clock.Region]*rivalry
	position   position
	couriers   map[clock.Region]*courier
	clockAhead bool
	strangers  faults // callers of another cluster
	running    sync.WaitGroup
	rounds     rounds
	wanted     clock.Vector // what calls have waited for on other regions' disks
	awaited    clock.Vector // what other regions have waited for on the disk here
	indexing   bool         // the raft group is asked how far it is
	aged       map[clock.Region]*ages
	sampled    time.Duration
	short      error // ends Run

	forked atomic.Bool // the own lane is, see fork.go
}

// New builds a Replicator; Run runs it. Every member region is added to the Exposure.
func New(c Config) (*Replicator, error) {
	if c.Skew == 0 {
		c.Skew = causal.DefaultMaxSkew
	}
	registry, err := loadRegistry(c.Store)
	if err != nil {
		return nil, err
	}
	registry.self, registry.incarnation = c.Identity.Region, c.Incarnation
	r := &Replicator{
		c: c, self: clock.Lane{Region: c.Identity.Region}, registry: registry,
		applyWake: make(chan struct{}, 1), planWake: make(chan struct{}, 1), newsWake: make(chan struct{}, 1),
		in: map[clock.Lane]*inLane{}, out: map[clock.Lane]*outLane{}, streams: map[clock.Region]*stream{},
		attaching: map[clock.Region]*turn{},
		dialling:  map[clock.Region]chan struct{}{}, incarnated: map[clock.Region]uint64{}, skewed: map[clock.Region]skew{},
		joiners: map[clock.Region]time.Duration{}, admitting: map[clock.Region]bool{}, leaving: map[clock.Region]*leaving{}, rivals: map[clock.Region]*rivalry{}, couriers: map[clock.Region]*courier{}, strangers: faults{time: c.Time},
		rounds: rounds{wake: make(chan struct{}, 1), flying: map[*round]bool{}, last: -AskGap}, aged: map[clock.Region]*ages{},
	}
	r.recovery.init(r)
	r.behind.found = make(chan Behind, 1)
	r.feeding.room = make(chan struct{}, 1)
	if _, ok := registry.find(r.self.Region); !ok {
		return nil, kv.Errorf(kv.KindCorrupt, "region %d (%s) is not in its own list of regions", r.self.Region, c.Identity.Name)
	}
	if err := r.addLanes(); err != nil {
		return nil, err
	}
	if err := r.addStrong(); err != nil {
		return nil, err
	}
	for _, m := range registry.past() {
		r.c.Exposure.EndRegion(m.Lane(), 0, 0)
	}
	if m, _ := registry.find(r.self.Region); m.Fenced {
		r.c.Hooks.fenced()
	}
	return r, r.letGo()
}

// firstSum is the sum of the record with which a lane begins at this start.
func (r *Replicator) firstSum(lane clock.Lane) (sum uint64, err error) {
	if t := r.c.Applied[lane]; t != 0 {
		sum, _, err = r.recordAt(lane, t)
	}
	return sum, err
}

// addLanes makes a lane of every member that has none yet, and of the certifier. It says which regions serve.
func (r *Replicator) addLanes() error {
	version, list := r.registry.snapshot()
	lanes, serving := []clock.Lane{strongLane}, []clock.Region(nil)
	for _, m := range list {
		if lanes = append(lanes, m.Lane()); m.Serving {
			serving = append(serving, m.Region)
		}
	}
	sums := make([]uint64, len(lanes))
	for i, lane := range lanes {
		var err error
		if sums[i], err = r.firstSum(lane); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, lane := range lanes {
		if err := r.c.Exposure.AddRegion(lane); err != nil {
			return err
		}
		if r.in[lane] != nil {
			continue
		}
		t := r.c.Applied[lane]
		l := &inLane{lane: lane, applied: t, taken: t, tail: t, takenSum: sums[i], appliedSum: sums[i], subs: map[*stream]*inSub{}}
		l.out = newOutLane(t)
		r.in[lane], r.out[lane] = l, l.out
		r.order = append(r.order, l)
	}
	if version >= r.counted {
		r.c.Exposure.Serving(serving) // before anybody hears that this list counts here
		r.counted = version
	}
	r.in[strongLane].room = r.feeding.room
	slices.SortFunc(r.order, func(a, b *inLane) int { return a.lane.Compare(b.lane) })
	return nil
}

func (r *Replicator) outLane(l clock.Lane) *outLane {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out[l]
}

// Publish tells that records of the own lane are on disk, in order; they go to the other regions.
// The committer calls it from the store's syncer goroutine, before it tells the Exposure; what is
// not published is noticed with the next heartbeat and read from the log. It does not block. The
// bytes are kept and must not change.
func (r *Replicator) Publish(records ...Durable) {
	r.outLane(r.self).publish(records)
}

// Run replicates until ctx ends, which is no error, or until this node can't go on: the store
// refused a record, a peer holds more of this node's own lane than it does (kv.ErrLost; the
// store has been told that it is short, so a restart recovers), or something else of it (kv.ErrLost;
// a restart fails: fork.go).
func (r *Replicator) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.mu.Lock()
	r.ctx = ctx
	r.mu.Unlock()
	var wait sync.WaitGroup
	part := func(run func(context.Context) error) {
		wait.Go(func() {
			if err := run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	part(r.applyRecords)
	part(r.planForEver)
	part(r.heedNews)
	part(r.greetOn)
	part(r.askRounds)
	part(func(ctx context.Context) error { return r.c.Transport.Serve(ctx, r.accept) })
	<-ctx.Done()
	wait.Wait()
	r.running.Wait()
	r.holds.releaseAll(r)
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("replication: %w", err)
	}
	return nil
}

// start runs a goroutine that Run waits for.
func (r *Replicator) start(run func(context.Context)) {
	ctx := r.ctx
	r.running.Go(func() { run(ctx) })
}

// adoptMembers takes a list of regions from a peer.
func (r *Replicator) adoptMembers(m *peerv1.Members) error {
	list, err := membersFrom(m)
	if err != nil {
		return err
	}
	return r.adopted(r.registry.adopt(r.context(), m.GetVersion(), list))
}

// adopted acts on a list that was taken, or not.
func (r *Replicator) adopted(news bool, err error) error {
	var abandoned abandonedError
	if errors.As(err, &abandoned) {
		r.endFor(err)
	}
	if err != nil || !news {
		return err
	}
	if m, _ := r.registry.find(r.self.Region); m.Fenced {
		r.c.Hooks.fenced()
	}
	return r.membersChanged()
}

// membersChanged acts on a new list: the machine counts the reports of new regions before any
// heartbeat says that this node has the list.
func (r *Replicator) membersChanged() error {
	if err := r.addLanes(); err != nil {
		return err
	}
	if err := r.letGo(); err != nil {
		return err
	}
	r.mu.Lock()
	for _, s := range r.streams {
		r.tellMembers(s)
	}
	r.mu.Unlock()
	poke(r.planWake)
	poke(r.applyWake)
	return nil
}

// tellMembers sends the list of regions on a stream whose peer has an older one, once. The caller
// holds mu.
func (r *Replicator) tellMembers(s *stream) {
	version, _ := r.registry.snapshot()
	if s.members < version && s.told < version {
		s.told = version
		s.queue(&peerv1.Message{Body: &peerv1.Message_Members{Members: r.registry.message()}})
	}
}

func (r *Replicator) context() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ctx
}

// SetAddresses says where a region's node is, as gossip has learned it.
func (r *Replicator) SetAddresses(ctx context.Context, region clock.Region, a kv.Addresses) error {
	if err := checkAddresses(a); err != nil {
		return err
	}
	news, err := r.registry.setAddresses(ctx, region, a)
	if news {
		poke(r.planWake)
		r.dialSoon(region)
	}
	return err
}

// PeerStatus is what a Replicator knows of one region.
type PeerStatus struct {
	Member
	Connected bool // the direct stream lives
	Waiting   int  // bytes of its lane that wait for a dependency or for the clock
	// Ahead is how far its clock is found ahead, beyond the bound; 0: it isn't.
	Ahead time.Duration
	// Skew is how far its clock was ahead of this node's at the last heartbeat, within the bound or
	// not; negative: behind. The way here makes it less, by the delay. 0 without a stream.
	Skew time.Duration
}

// Status describes all regions, the own one included, by number.
func (r *Replicator) Status() []PeerStatus {
	_, list := r.registry.snapshot()
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.Time.Monotonic()
	out := make([]PeerStatus, 0, len(list))
	for _, m := range list {
		p := PeerStatus{Member: m, Connected: m.Region == r.self.Region}
		if s := r.streams[m.Region]; s != nil {
			p.Connected, p.Skew = s.live(now), s.offset
		}
		if l := r.in[m.Lane()]; l != nil {
			p.Waiting = l.bytes
		}
		p.Ahead = max(r.skewed[m.Region].record, r.skewed[m.Region].beat)
		out = append(out, p)
	}
	return out
}
