package replication

import (
	"context"
	"fmt"
	"strings"
	"time"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

// Strong is what a Replicator asks of the raft group. Strong transactions are entry 0 of a vector: no
// region writes them, so no heartbeat tells how fresh they are.
type Strong interface {
	// ReadIndex returns a time of entry 0 that no strong transaction which was answered before the call
	// is above. It asks a majority, and blocks at most until ctx ends.
	ReadIndex(ctx context.Context) (clock.Timestamp, error)
	// Position is the index of the last entry of the raft group's log that this region's voter holds on its
	// disk.
	Position() uint64
	// Reach waits until this region's voter has applied the log up to index.
	Reach(ctx context.Context, index uint64) error
	// Applied is how far it has, and the time of entry 0 there.
	Applied() (index uint64, t clock.Timestamp)
	// Majority tells whether stores are a majority of the group's voters, as this region's voter knows them
	// where it has applied the log. Like Position and Applied it does not block.
	Majority(stores []RegionStore) bool
}

// strongLane is where strong transactions are written.
var strongLane = clock.Lane{}

// addStrong makes strong transactions count for freshness.
func (r *Replicator) addStrong() error {
	if r.c.Strong == nil {
		return nil
	}
	if err := r.c.Exposure.AddRegion(strongLane); err != nil {
		return err
	}
	r.c.Exposure.Serves(strongLane.Region)
	return nil
}

// echoFor is what a heartbeat to a peer answers.
func (r *Replicator) echoFor(s *stream) (echo int64, echoed time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.echo, s.echoed
}

// freshnessOf is what may be said of a lane to a peer whose heartbeat came at echoed: counted back from
// there. What this node has heard of the lane since then is not claimed.
func (r *Replicator) freshnessOf(lane clock.Lane, echoed time.Duration) *peerv1.Freshness {
	last, at, known := r.c.Exposure.Statement(lane, echoed)
	if !known {
		return nil
	}
	age := max(0, echoed-at)
	return &peerv1.Freshness{Last: uint64(last), AgeMicros: uint64((age + time.Microsecond - 1) / time.Microsecond)}
}

// maxAge bounds what a heartbeat may say of a lane's age: older than any process.
const maxAge = 100 * 365 * 24 * time.Hour

// heedFreshness takes what a heartbeat says of the freshness of lanes, by this node's own clock, as the
// heartbeat answers a reading of that. A list of regions newer than the one that counts here may name a
// region that writes by now, and of which nothing is known here: so nothing is taken from who has one.
func (r *Replicator) heedFreshness(s *stream, h *peerv1.Heartbeat) error {
	r.mu.Lock()
	counts := h.GetEcho() != 0 && h.GetMembers() <= r.counted && s.parting == nil
	r.mu.Unlock()
	for _, p := range h.GetPromises() {
		f := p.GetFreshness()
		if f == nil || !counts {
			continue
		}
		lane, err := laneFrom(p.GetRegion(), p.GetSlot())
		if err == nil && f.GetAgeMicros() > uint64(maxAge/time.Microsecond) {
			err = kv.Errorf(kv.KindCorrupt, "lane %s is said to be %d microseconds old", lane, f.GetAgeMicros())
		}
		if err != nil {
			return err
		}
		age := time.Duration(f.GetAgeMicros()) * time.Microsecond
		if age > 0 && mutant.On(mutant.HearsayCountsAsFresh) {
			age = 0
		}
		r.c.Exposure.HeardAt(lane, clock.Timestamp(f.GetLast()), time.Duration(h.GetEcho())-age)
	}
	return nil
}

// stale lists the regions of which what is exposed may lack what was on disk there d ago.
func (r *Replicator) stale(d time.Duration) []causal.Reading {
	now := r.c.Time.Monotonic()
	readings := r.c.Exposure.Readings(now)
	out := readings[:0]
	for _, g := range readings {
		if !g.Known || now-g.At > d {
			out = append(out, g)
		}
	}
	return out
}

// WaitFresh returns once what is exposed includes everything that was on disk in any serving region d
// ago, as of the moment when it returns. If that does not hold at once, fail has it fail at once;
// otherwise it waits until ctx ends, and asks the regions that are too old, so that it need not wait
// for their heartbeats; waited tells that. Either way it then fails with kv.ErrStale, naming the region. The raft group, if
// there is one, is asked for its position in either case. It also fails as Exposure.Wait does.
func (r *Replicator) WaitFresh(ctx context.Context, d time.Duration, fail bool) (waited bool, err error) {
	old := r.stale(d)
	if len(old) == 0 {
		return false, nil
	}
	if fail && (len(old) > 1 || old[0].Region != strongLane.Region) {
		return true, r.errStale(d, old, nil)
	}
	if fail {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, ReadIndexTimeout)
		defer cancel()
	}
	asked := time.Duration(-1)
	err = r.c.Exposure.awaitFresh(ctx, func() (bool, error) {
		old = r.stale(d)
		if now := r.c.Time.Monotonic(); len(old) > 0 && (asked < 0 || now-asked >= HeartbeatEvery) {
			asked = now
			r.refresh(old)
		}
		return len(old) == 0, nil
	})
	if err == nil || ctx.Err() == nil {
		return true, err
	}
	if endedBy(err) == kv.KindDeadline {
		return true, kv.Errorf(kv.KindDeadline, "the caller gave up while it waited for what is shown to be at most %v old: %w", d, err)
	}
	if old = r.stale(d); len(old) == 0 {
		return true, nil
	}
	return true, r.errStale(d, old, err)
}

// refresh asks all regions for news: who is fresh enough now may not be when the others have answered.
func (r *Replicator) refresh(old []causal.Reading) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.Time.Monotonic()
	for _, s := range r.streams {
		if s.live(now) {
			s.wantNews()
		}
	}
	if old[0].Region == strongLane.Region && !r.takePosition() {
		r.readIndex() // those who are heard are no majority of the voters
	}
}

// readIndex asks the raft group how far it is, once at a time. The caller holds mu.
func (r *Replicator) readIndex() {
	if r.indexing || r.ctx == nil || r.ctx.Err() != nil {
		return
	}
	r.indexing = true
	r.start(func(ctx context.Context) {
		asked := r.c.Time.Monotonic()
		bounded, cancel := context.WithTimeout(ctx, ReadIndexTimeout)
		t, err := r.c.Strong.ReadIndex(bounded)
		cancel()
		if err != nil {
			sleep(ctx, r.c.Time, HeartbeatEvery) // a leader may be elected
		}
		r.mu.Lock()
		r.indexing = false
		r.mu.Unlock()
		if err == nil {
			r.c.Exposure.HeardAt(strongLane, t, asked)
		} else {
			r.c.Exposure.lookAgain()
		}
	})
}

func (r *Replicator) errStale(d time.Duration, old []causal.Reading, cause error) error {
	now, names := r.c.Time.Monotonic(), make([]string, 0, len(old))
	for _, g := range old {
		what := "strong transactions"
		if g.Region != strongLane.Region {
			m, _ := r.registry.find(g.Region)
			what = fmt.Sprintf("region %d (%s)", g.Region, m.Name)
		}
		if g.Known {
			names = append(names, fmt.Sprintf("of %s what is shown here may be %v old", what, (now-g.At).Round(time.Millisecond)))
		} else {
			names = append(names, fmt.Sprintf("of %s nothing was heard since this node started", what))
		}
	}
	e := kv.Errorf(kv.KindStale, "%s, and at most %v was asked for: allow more, wait longer, try another region, or read at level causal", strings.Join(names, "; "), d)
	if cause != nil {
		e = kv.Errorf(kv.KindStale, "%s (%w)", e.Message, cause)
	}
	return e
}

// Staleness says how old what is exposed of a serving region may be.
type Staleness struct {
	Region clock.Region
	Name   string // of the region; empty for region 0, which is strong transactions
	Age    time.Duration
	Known  bool // false: nothing was heard since this node started
	// P99 is what 99 of 100 ages were at most over StalenessWindow, to a fifth; 0: none was known.
	P99 time.Duration
}

// Staleness lists how old what is exposed of each serving region may be, the own region included, by
// region. That of strong transactions is as old as the last call that asked for it.
func (r *Replicator) Staleness() []Staleness {
	now := r.c.Time.Monotonic()
	return r.staleness(r.c.Exposure.Readings(now), now)
}

// StalenessAt is that of a snapshot which may be older than what is exposed.
func (r *Replicator) StalenessAt(cut clock.Vector) []Staleness {
	now := r.c.Time.Monotonic()
	return r.staleness(r.c.Exposure.ReadingsAt(cut, now), now)
}

func (r *Replicator) staleness(readings []causal.Reading, now time.Duration) []Staleness {
	out := make([]Staleness, 0, len(readings))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range readings {
		m, _ := r.registry.find(g.Region)
		s := Staleness{Region: g.Region, Name: m.Name, Known: g.Known}
		if g.Known {
			s.Age = now - g.At
		}
		if a := r.aged[g.Region]; a != nil {
			s.P99 = a.percentile(now, 99)
		}
		out = append(out, s)
	}
	return out
}

// sampleStaleness notes how old what is exposed of other regions is. The caller holds mu.
func (r *Replicator) sampleStaleness(now time.Duration) {
	if now-r.sampled < HeartbeatEvery {
		return
	}
	r.sampled = now
	for _, g := range r.c.Exposure.Readings(now) {
		if !g.Known || g.Region == r.self.Region || g.Region == strongLane.Region {
			continue
		}
		a := r.aged[g.Region]
		if a == nil {
			a = new(ages)
			r.aged[g.Region] = a
		}
		a.add(now, now-g.At)
	}
}
