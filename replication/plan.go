package replication

import (
	"context"
	"time"

	"github.com/theriac-db/theriac/clock"
)

// planForEver keeps subscriptions and dialling as they should be.
func (r *Replicator) planForEver(ctx context.Context) error {
	for {
		if err := r.plan(ctx); err != nil {
			return err
		}
		timer, stop := r.c.Time.NewTimer(HeartbeatEvery)
		select {
		case <-ctx.Done():
		case <-timer:
		case <-r.planWake:
		}
		stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

func (r *Replicator) plan(ctx context.Context) error {
	r.follow()
	r.mu.Lock()
	now := r.c.Time.Monotonic()
	for _, s := range r.streams {
		s.overdue(now)
	}
	for _, l := range r.order {
		r.arrange(l, now)
	}
	r.dialMembers()
	r.sampleStaleness(now)
	err := r.short
	r.mu.Unlock()
	r.holds.review(r)
	r.behind.review(r)
	if err != nil {
		return err
	}
	r.reviewJoiners()
	if err := r.partFromRemoved(ctx); err != nil {
		return err
	}
	return r.recovery.review(ctx, r)
}

// follow moves the end of the own lane where the committer has not published it.
func (r *Replicator) follow() {
	if t := r.c.Exposure.Durable().At(r.self.Region); t != 0 {
		r.outLane(r.self).publish([]Durable{{Time: t}})
	}
}

// arrange subscribes to a lane where it is to be had. The caller holds mu.
func (r *Replicator) arrange(l *inLane, now time.Duration) {
	want := map[*stream]bool{}
	direct := r.streams[l.lane.Region]
	switch {
	case l.lane == r.self:
		if r.c.Exposure.Recovering() {
			for _, s := range r.streams {
				want[s] = true
			}
		}
	case l.barred && l.tail >= l.last: // nobody may be asked for more
	case l.lane == strongLane:
		r.wantCertified(l, now, want)
	case direct != nil:
		want[direct] = true
		if !direct.live(now) || direct.lacks(l) {
			want[r.relay(l, now)] = true
		}
	default:
		want[r.relay(l, now)] = true
	}
	if l.lane != r.self && l.takes(l.tail+1) {
		r.wantMissing(l, now, want)
	}
	delete(want, nil)
	for s, sub := range l.subs {
		if !want[s] {
			s.end(sub)
		}
	}
	for s := range want {
		if l.subs[s] == nil && s.refused[l.lane] <= now && !s.lacks(l) && !l.full {
			s.begin(l)
		}
	}
}

// relay picks whom to ask for the lane of a region that is silent: one that hears the region, else
// the one that holds most of its lane. Whoever serves the lane already keeps doing so while it is
// of use. The caller holds mu.
func (r *Replicator) relay(l *inLane, now time.Duration) *stream {
	var best *stream
	score := func(s *stream) clock.Timestamp {
		var t clock.Timestamp
		if report, ok := r.c.Exposure.Reported(s.peer); ok {
			t = report.Durable.At(l.lane.Region)
		}
		if s.hears[l.lane.Region] {
			return clock.MaxTimestamp
		}
		return t
	}
	for _, s := range r.streams {
		if s.peer == l.lane.Region || !s.live(now) || s.refused[l.lane] > now || s.lacks(l) {
			continue
		}
		t := score(s)
		if t <= l.tail {
			continue // it can't help
		}
		if best == nil || t > score(best) || t == score(best) && (l.subs[s] != nil || l.subs[best] == nil && s.peer < best.peer) {
			best = s
		}
	}
	return best
}

// wantMissing adds the streams that brought records which wait for one of lane l: who sent them
// holds what they depend on. The caller holds mu.
func (r *Replicator) wantMissing(l *inLane, now time.Duration, want map[*stream]bool) {
	patience := Patience
	if l.lane == strongLane && r.feeding.begun {
		patience = SilenceAfter // it comes without being asked for
	}
	for _, other := range r.order {
		if other.missing.IsZero() || other.missing.Region != l.lane.Region || len(other.queue) == 0 || now-other.since < patience {
			continue
		}
		sub := other.queue[0].sub
		if sub == nil { // fed by this node's own certifier, to which nobody sent it
			want[r.relay(l, now)] = true
		} else if s := sub.stream; r.streams[s.peer] == s && s.live(now) {
			want[s] = true
		}
	}
}
