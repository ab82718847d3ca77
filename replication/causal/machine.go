package causal

import (
	"fmt"
	"slices"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

const (
	// MaxRegions bounds the regions of a cluster: all entries of a vector but the certifier's.
	MaxRegions = clock.MaxVectorEntries - 1
	// DefaultMaxSkew is how far ahead of the local wall clock a record's timestamp may be.
	// Range of Start.MaxSkew: 1 ms to 1 h.
	DefaultMaxSkew = 500 * time.Millisecond
	// DefaultMaxOpen is how many snapshots may be open at a time on one node, those of one-shot
	// calls included. Range of Start.MaxOpen: 1 to 1<<20. Size it above the bound of open
	// transactions plus the calls served at a time.
	DefaultMaxOpen = 1 << 16
	// MaxHolds is how many external holds on the horizon may exist at a time.
	MaxHolds = 256
	// maxUnsynced bounds the remembered snapshots of own groups that are not on disk yet. Beyond it
	// groups share an entry, which only keeps the floor low for longer.
	maxUnsynced = 64
)

// Position says how much of a lane this node holds when it starts.
type Position struct {
	Lane    clock.Lane
	Held    clock.Timestamp // last record applied; 0: none
	Durable clock.Timestamp // last record known to be on disk; at most Held
}

// Start is what a machine knows when it begins.
type Start struct {
	// Self is the lane that this node writes.
	Self clock.Lane
	// Lanes has one entry for each member region, the own one included. Of the own lane everything
	// held must be durable. The certifier's lane is a member's too, and need not be listed while
	// nothing of it is held.
	Lanes []Position
	// Number is the number of the first report, less one. It must be above those of earlier starts,
	// so microseconds of the wall clock serve well; Receive raises it further where peers remember
	// a higher one.
	Number uint64
	// Incarnation is the store's; reports carry it.
	Incarnation uint64
	// Recovering says that the own lane may lack records that others hold. Until Recovered is called
	// own records are taken from others, none is written, and reports carry no floor.
	Recovering bool
	// Undecided says that strong transactions of an earlier process of this region may still be
	// certified, with snapshots that nobody here knows of. Until Decided reports carry no floor.
	Undecided bool
	// MaxSkew is how far a record may be ahead of the wall clock; 0 gives DefaultMaxSkew.
	MaxSkew time.Duration
	// MaxOpen bounds the open snapshots; 0 gives DefaultMaxOpen.
	MaxOpen int
}

// lane is what is known of one lane. The package comment draws how the first four relate.
type lane struct {
	id      clock.Lane
	taken   clock.Timestamp // exposed once everything handed out by Offer is applied
	last    clock.Timestamp // last record applied
	exposed clock.Timestamp // E[id.Region]
	durable clock.Timestamp // last record on disk
	safe    clock.Timestamp // raw: nothing more will come at or below it; >= exposed
	heard   promise         // waits until its records are exposed
	fresh   freshness       // of a lane of others
	serves  bool            // its region takes writes
}

// promise says that a lane's record last is followed by nothing at or below safe.
type promise struct{ last, safe clock.Timestamp }

// keepPromise raises the raw entry once all records of the promise heard are exposed.
func (l *lane) keepPromise() {
	if l.heard.last <= l.exposed {
		l.safe = max(l.safe, l.heard.safe)
	}
}

// shown takes into account that more of the lane is exposed, or that less will follow.
func (m *Machine) shown(l *lane) {
	l.keepPromise()
	if l.fresh.settle(l.safe) {
		m.freshened++
	}
}

// Machine is the state machine of one node.
type Machine struct {
	self       clock.Region
	own        *lane
	lanes      []*lane // by region
	recovering bool
	maxSkew    time.Duration

	applied clock.Vector // E, the own entry at the last local group applied
	open    openCuts     // of E
	strong  strongCuts
	holds   []*Hold

	unsynced []unsynced   // own groups applied and not on disk, oldest first
	floor    clock.Vector // the last one that was told or used
	number   uint64       // of the last report made

	incarnation uint64 // of the store
	freshened   uint64 // changes of what Readings tells

	peers   []*peer // by region, without the own one
	stable  clock.Vector
	settled clock.Vector
	noted   *noted
}

// New builds the machine of a node that starts. Errors match kv.ErrInvalid.
func New(s Start) (*Machine, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	m := &Machine{self: s.Self.Region, recovering: s.Recovering, number: s.Number, incarnation: s.Incarnation}
	m.maxSkew = s.MaxSkew
	if m.maxSkew == 0 {
		m.maxSkew = DefaultMaxSkew
	}
	m.open.limit = s.MaxOpen
	if m.open.limit == 0 {
		m.open.limit = DefaultMaxOpen
	}
	for _, p := range s.Lanes {
		m.addLane(p)
	}
	if m.region(0) == nil {
		m.addLane(Position{})
	}
	m.open.advance(m.vector(func(l *lane) clock.Timestamp { return l.exposed }))
	m.strong.earlier.undecided = s.Undecided
	m.strong.begin(m.Exposed())
	m.showApplied()
	return m, nil
}

func (s *Start) check() error {
	if s.MaxSkew < 0 || s.MaxSkew > time.Hour || s.MaxSkew > 0 && s.MaxSkew < time.Millisecond {
		return kv.Errorf(kv.KindInvalid, "skew bound of %v: want 1ms to 1h", s.MaxSkew)
	}
	if s.MaxOpen < 0 || s.MaxOpen > 1<<20 {
		return kv.Errorf(kv.KindInvalid, "bound of %d open snapshots: want 1 to %d", s.MaxOpen, 1<<20)
	}
	seen := map[clock.Region]bool{0: false}
	self := false
	for _, p := range s.Lanes {
		if seen[p.Lane.Region] {
			return kv.Errorf(kv.KindInvalid, "region %d is listed twice", p.Lane.Region)
		}
		seen[p.Lane.Region] = true
		if p.Lane.Region == 0 && p.Lane != (clock.Lane{}) {
			return kv.Errorf(kv.KindInvalid, "lane %s: the certifier has one lane, %s", p.Lane, clock.Lane{})
		}
		if p.Durable > p.Held || p.Lane == s.Self && p.Durable != p.Held {
			return kv.Errorf(kv.KindInvalid, "lane %s starts with %s held and %s on disk", p.Lane, p.Held, p.Durable)
		}
		self = self || p.Lane == s.Self
	}
	if !self || s.Self.Region == 0 {
		return kv.Errorf(kv.KindInvalid, "lane %s is not one of the members", s.Self)
	}
	if n := len(seen) - 1; n > MaxRegions {
		return kv.Errorf(kv.KindInvalid, "%d regions: at most %d", n, MaxRegions)
	}
	return nil
}

func (m *Machine) addLane(p Position) {
	l := &lane{id: p.Lane, taken: p.Held, last: p.Held, exposed: p.Held, durable: p.Durable, safe: p.Held}
	m.lanes = append(m.lanes, l)
	slices.SortFunc(m.lanes, func(a, b *lane) int { return a.id.Compare(b.id) })
	switch {
	case p.Lane.Region == m.self:
		m.own = l
	case p.Lane.Region != 0: // the certifier reports nothing of its own
		m.peers = append(m.peers, &peer{region: p.Lane.Region})
		slices.SortFunc(m.peers, func(a, b *peer) int { return int(a.region) - int(b.region) })
	}
}

// AddRegion makes a region a member. From now on stability waits for its reports. Adding a member
// again changes nothing; another lane of a member region, or one region too many, is an error that
// matches kv.ErrInvalid.
func (m *Machine) AddRegion(id clock.Lane) error {
	if l := m.region(id.Region); l != nil {
		if l.id == id {
			return nil
		}
		return kv.Errorf(kv.KindInvalid, "lane %s: region %d has lane %s, and one lane only", id, id.Region, l.id)
	}
	if len(m.lanes) > MaxRegions { // the certifier's lane is one of them
		return kv.Errorf(kv.KindInvalid, "lane %s: there are %d regions already, the most there can be", id, MaxRegions)
	}
	m.addLane(Position{Lane: id})
	return nil
}

// Members lists the lanes of all member regions, by region: the certifier's is the first.
func (m *Machine) Members() []clock.Lane {
	out := make([]clock.Lane, len(m.lanes))
	for i, l := range m.lanes {
		out[i] = l.id
	}
	return out
}

// region finds a member's lane, or nil. Regions are few, so a linear search wins.
func (m *Machine) region(r clock.Region) *lane {
	for _, l := range m.lanes {
		if l.id.Region == r {
			return l
		}
	}
	return nil
}

func (m *Machine) lane(id clock.Lane) *lane {
	if l := m.region(id.Region); l != nil && l.id == id {
		return l
	}
	return nil
}

// mustLane is for events that only this node's own store can cause.
func (m *Machine) mustLane(id clock.Lane) *lane {
	l := m.lane(id)
	if l == nil {
		panic(fmt.Sprintf("causal: lane %s is no member's", id))
	}
	return l
}

// vector builds the cut in which each region stands at what pick says of its lane.
func (m *Machine) vector(pick func(*lane) clock.Timestamp) clock.Vector {
	out := make(clock.Vector, 0, len(m.lanes))
	for _, l := range m.lanes {
		if t := pick(l); t != 0 {
			out = append(out, clock.Entry{Region: l.id.Region, Time: t})
		}
	}
	return out
}

// expose raises what readers see of a lane to t, with E, the raw entry and Applied.
func (m *Machine) expose(l *lane, t clock.Timestamp) {
	if t > l.exposed {
		l.exposed = t
		l.taken = max(l.taken, t)
		l.safe = max(l.safe, t)
		m.shown(l)
		m.open.advance(m.Exposed().With(l.id.Region, t))
	}
	m.showApplied()
}

// showApplied rebuilds Applied after E or the last own group has changed.
func (m *Machine) showApplied() {
	m.applied = m.Exposed()
	if m.own.last > m.own.exposed {
		m.applied = m.applied.With(m.self, m.own.last)
	}
}

// Exposed is E.
func (m *Machine) Exposed() clock.Vector { return m.open.current.at }

// Applied is E with the own entry at the last local group applied, on disk or not.
func (m *Machine) Applied() clock.Vector { return m.applied }

// Raw is E with the safe times of lanes that are silent. It sees the same groups as E.
func (m *Machine) Raw() clock.Vector {
	return m.vector(func(l *lane) clock.Timestamp { return l.safe })
}

// Durable is what is exposed and on disk.
func (m *Machine) Durable() clock.Vector {
	return m.vector(func(l *lane) clock.Timestamp { return min(l.exposed, l.durable) })
}

// Recovering tells whether own records are still being taken from others.
func (m *Machine) Recovering() bool { return m.recovering }

// Recovered ends recovering: the own lane is complete, and from now on this node writes it.
func (m *Machine) Recovered() {
	if m.own.durable != m.own.last {
		panic(fmt.Sprintf("causal: recovered while own record %s is not on disk", m.own.last))
	}
	m.own.taken = m.own.last
	m.recovering = false
	m.strong.begin(m.Exposed()) // which includes all that others have counted of this region
}

// Reach is a measure of how far a region's groups have come here.
type Reach uint8

const (
	Exposed Reach = iota // readers see them
	Applied              // the same, or of the own region: applied
	Durable              // readers see them, and they are on disk
	Uniform              // strong snapshots see them, if any can be opened
)

// Reached is the time up to which all groups of a region have come that far. Safe times count, but for
// strong snapshots, which name groups only.
func (m *Machine) Reached(r clock.Region, reach Reach) clock.Timestamp {
	l := m.region(r)
	switch {
	case l == nil:
		return 0
	case reach == Applied && l == m.own:
		return max(l.safe, l.last)
	case reach == Durable:
		_, safe := m.Promise(l.id)
		return safe
	case reach == Uniform:
		return m.strongAt(l)
	}
	return l.safe
}

// NeedsApplied reports whether v names own groups that are not exposed.
func (m *Machine) NeedsApplied(v clock.Vector) bool { return v.At(m.self) > m.own.safe }
