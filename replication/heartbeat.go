package replication

import (
	"slices"
	"time"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

// makeHeartbeat builds what a stream says of this node ten times a second.
func (r *Replicator) makeHeartbeat(s *stream) *peerv1.Message {
	h := &peerv1.Heartbeat{Wall: int64(r.c.Time.Wall()), Sent: int64(r.c.Time.Monotonic())}
	var echoed time.Duration
	h.Echo, echoed = r.echoFor(s) // before what is said of freshness (invariant 13)
	for _, lane := range s.sending() {
		last, safe := r.c.Exposure.Promise(lane)
		h.Promises = append(h.Promises, &peerv1.Promise{
			Region: uint32(lane.Region), Slot: uint32(lane.Slot), Last: uint64(last), Safe: uint64(safe),
			Freshness: r.freshnessOf(lane, echoed),
		})
	}
	h.Reports = []*peerv1.RegionReport{r.ownReport()}
	joining := r.joiningFrom()
	h.Standing = r.standing()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(joining) + len(r.streams)
	h.Hears = append(make([]uint32, 0, n), joining...)
	h.Stores, h.Standings = make([]uint64, len(joining), n), make([]uint64, len(joining), n)
	h.Members = r.counted
	if r.c.Strong != nil {
		h.Position = r.c.Strong.Position()
	}
	h.Ahead = r.skewed[s.peer].beat > 0
	now := r.c.Time.Monotonic()
	for region, o := range r.streams {
		if region == s.peer {
			continue
		}
		if o.live(now) {
			h.Hears = append(h.Hears, uint32(region))
			h.Stores, h.Standings = append(h.Stores, o.store.incarnation), append(h.Standings, o.store.standing)
		}
	}
	for _, l := range r.order {
		region := l.lane.Region
		if region == s.peer || region == r.self.Region || s.hears[region] {
			continue
		}
		if report, ok := r.c.Exposure.Reported(region); ok {
			h.Reports = append(h.Reports, reportTo(report))
		}
	}
	return &peerv1.Message{Body: &peerv1.Message_Heartbeat{Heartbeat: h}}
}

// joiningFrom lists the regions that join by a cut of this node. One that serves and takes its data
// anew is left out: it is not heard, and nobody need learn that it is there.
func (r *Replicator) joiningFrom() []uint32 {
	return slices.DeleteFunc(r.holds.streamingTo(), func(region uint32) bool {
		m, _ := r.registry.find(clock.Region(region))
		return m.Serving
	})
}

// sending lists the lanes that the peer has subscribed to.
func (s *stream) sending() []clock.Lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	lanes := make([]clock.Lane, 0, len(s.out))
	for l := range s.out {
		lanes = append(lanes, l)
	}
	return lanes
}

// ownReport makes a report, or returns the last one while it is young.
func (r *Replicator) ownReport() *peerv1.RegionReport {
	r.reportMu.Lock()
	defer r.reportMu.Unlock()
	now := r.c.Time.Monotonic()
	if r.report == nil || now-r.reported >= HeartbeatEvery/2 {
		r.report, r.reported = reportTo(r.c.Exposure.Report()), now
	}
	return r.report
}

func reportTo(c causal.Report) *peerv1.RegionReport {
	return &peerv1.RegionReport{
		Region: uint32(c.Region), Number: c.Number, Incarnation: c.Incarnation,
		Durable: c.Durable.Append(nil, c.Safe), Floor: c.Floor.Append(nil, c.Safe),
		Safe: uint64(c.Safe), Zero: uint64(c.Zero),
	}
}

func reportFrom(p *peerv1.RegionReport) (causal.Report, error) {
	if p.GetRegion() == 0 || p.GetRegion() > 0xffff {
		return causal.Report{}, badReport(p)
	}
	c := causal.Report{Region: clock.Region(p.GetRegion()), Number: p.GetNumber(), Incarnation: p.GetIncarnation(),
		Safe: clock.Timestamp(p.GetSafe()), Zero: clock.Timestamp(p.GetZero())}
	var rest, rest2 []byte
	var err, err2 error
	c.Durable, rest, err = clock.DecodeVector(p.GetDurable(), c.Safe)
	c.Floor, rest2, err2 = clock.DecodeVector(p.GetFloor(), c.Safe)
	if err != nil || err2 != nil || len(rest)+len(rest2) != 0 {
		return causal.Report{}, badReport(p)
	}
	return c, nil
}

func badReport(p *peerv1.RegionReport) error {
	return kv.Errorf(kv.KindCorrupt, "malformed report of region %d", p.GetRegion())
}

// heartbeat takes what the peer says of itself.
func (r *Replicator) heartbeat(s *stream, h *peerv1.Heartbeat) error {
	for _, p := range h.GetPromises() {
		lane, err := laneFrom(p.GetRegion(), p.GetSlot())
		if err != nil {
			return err
		}
		if safe := clock.Timestamp(p.GetSafe()); safe.Wall().Sub(r.c.Time.Wall()) <= r.c.Skew {
			r.c.Exposure.Heard(lane, clock.Timestamp(p.GetLast()), safe)
		}
	}
	if err := r.takeReports(h.GetReports()); err != nil {
		return err
	}
	if err := r.heedFreshness(s, h); err != nil {
		return err
	}
	offset := clock.Wall(h.GetWall()).Sub(r.c.Time.Wall())
	ahead := offset
	if ahead <= r.c.Skew {
		ahead = 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setBeatSkew(s.peer, ahead)
	r.heedPosition(s, held{h.GetPosition(), time.Duration(h.GetEcho())})
	s.ahead, s.members, s.offset = h.GetAhead(), h.GetMembers(), offset
	s.echo, s.echoed = h.GetSent(), r.c.Time.Monotonic()
	s.takeHears(h)
	r.judgeRivals(s)
	r.judgeOwnClock()
	// The list may have changed after the hello was sent and before this stream was there to be told.
	r.tellMembers(s)
	return nil
}

// takeHears notes which regions the peer hears, and which store of each. The caller holds Replicator.mu.
func (s *stream) takeHears(h *peerv1.Heartbeat) {
	s.store.standing = h.GetStanding()
	if s.hears == nil {
		s.hears, s.stores = map[clock.Region]bool{}, map[clock.Region]claim{}
	}
	clear(s.hears)
	clear(s.stores)
	for i, region := range h.GetHears() {
		s.hears[clock.Region(region)] = true
		if i < min(len(h.GetStores()), len(h.GetStandings())) && h.GetStores()[i] != 0 {
			s.stores[clock.Region(region)] = claim{h.GetStores()[i], h.GetStandings()[i]}
		}
	}
}

func (r *Replicator) takeReports(reports []*peerv1.RegionReport) error {
	for _, p := range reports {
		c, err := reportFrom(p)
		if err != nil {
			return err
		}
		if !r.registry.fenced(c.Region) { // what it acknowledges from here on counts nowhere
			r.c.Exposure.Receive(c)
		}
	}
	return nil
}

// skew is how far a region is found ahead of the local wall clock: by a record that waits, and by
// its heartbeats. 0: not beyond the bound.
type skew struct{ record, beat time.Duration }

// setSkew notes what a record says; setBeatSkew what a heartbeat says. The caller holds mu.
func (r *Replicator) setSkew(region clock.Region, ahead time.Duration) {
	k := r.skewed[region]
	k.record = ahead
	r.noteSkew(region, k)
}

func (r *Replicator) setBeatSkew(region clock.Region, ahead time.Duration) {
	k := r.skewed[region]
	k.beat = ahead
	r.noteSkew(region, k)
}

func (r *Replicator) noteSkew(region clock.Region, k skew) {
	before, now := r.skewed[region], max(k.record, k.beat)
	was := max(before.record, before.beat)
	if k == (skew{}) {
		delete(r.skewed, region)
	} else {
		r.skewed[region] = k
	}
	if (was > 0) == (now > 0) {
		return
	}
	m, _ := r.registry.find(region)
	r.c.Hooks.skew(region, m.Name, now)
	if now > 0 {
		r.c.Hooks.logf("the clock of region %d (%s) is %v ahead of this node's, more than %v: what it writes waits until one of the clocks is set right", region, m.Name, now, r.c.Skew)
	} else {
		r.c.Hooks.logf("the clock of region %d (%s) is within %v of this node's again", region, m.Name, r.c.Skew)
	}
}

// judgeOwnClock tells the node when most peers find its clock too far ahead. The caller holds mu.
func (r *Replicator) judgeOwnClock() {
	n := 0
	for _, s := range r.streams {
		if s.ahead {
			n++
		}
	}
	others := len(r.order) - 2 // without this region and the certifier
	if ahead := 2*n > others; ahead != r.clockAhead {
		r.clockAhead = ahead
		r.c.Hooks.clockAhead(ahead)
	}
}
