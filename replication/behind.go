package replication

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Behind says that this node lacks records which no region that it reaches has in its log any more,
// and from whom it can take a cut instead.
type Behind struct {
	// Missing has, for each region whose records are lacking, the least time that a cut must have to
	// be of use.
	Missing clock.Vector
	// Source is a region that has on its disk all that is here, and more of what is lacking.
	Source clock.Region
}

// behind finds out whether this node can still catch up from logs. It can't when somebody has
// refused a lane as truncated beyond what is here, and nobody else in reach holds more of it. That
// must last for BehindAfter: who can help may be about to connect. Then the node is told, which
// refuses writes; what it has written meanwhile goes out as ever; and once a region holds all of it,
// WaitBehind returns.
//
// Nothing is given up here. The cut replaces the data only when it is at hand and includes them
// (JoinConfig.renew), so all this may be wrong without harm.
type behind struct {
	found chan Behind // buffered; the latest finding

	mu    sync.Mutex
	since time.Duration // monotonic, when a lane was first found lacking; 0: none is
	told  string
}

// WaitBehind returns once this node has fallen behind and some region holds all that it has. It fails
// when ctx ends.
func (r *Replicator) WaitBehind(ctx context.Context) (Behind, error) {
	select {
	case b := <-r.behind.found:
		return b, nil
	case <-ctx.Done():
		return Behind{}, fmt.Errorf("waiting: %w", context.Cause(ctx))
	}
}

// review is called by the planner only.
func (b *behind) review(r *Replicator) {
	b.mu.Lock()
	defer b.mu.Unlock()
	missing := r.lacking()
	now := r.c.Time.Monotonic()
	switch {
	case len(missing) == 0:
		b.since = 0
		b.drop()
		b.tell(r, "")
		return
	case b.since == 0:
		b.since = now
	}
	if now-b.since < BehindAfter {
		return
	}
	source, why := r.source(missing, now-b.since >= BehindAfter+ShipPatience)
	if source == 0 {
		b.tell(r, fmt.Sprintf("this region fell behind: the others have dropped records that it lacks (it has %s); it copies all data anew once %s", lacked(missing), why))
		return
	}
	b.tell(r, fmt.Sprintf("this region fell behind: the others have dropped records that it lacks (it has %s); it copies all data anew", lacked(missing)))
	b.drop()
	b.found <- Behind{Missing: missing, Source: source}
}

// lacked shows where the lanes end here.
func lacked(missing clock.Vector) clock.Vector {
	var v clock.Vector
	for _, e := range missing {
		v = v.With(e.Region, e.Time-1)
	}
	return v
}

// drop forgets what was found and nobody has asked for yet.
func (b *behind) drop() {
	select {
	case <-b.found:
	default:
	}
}

func (b *behind) tell(r *Replicator, reason string) {
	if reason != b.told {
		b.told = reason
		r.c.Hooks.behind(reason)
	}
}

// lacking lists the lanes that nobody in reach can serve from where they end here.
func (r *Replicator) lacking() (missing clock.Vector) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.Time.Monotonic()
	for _, l := range r.order {
		if l.lane == r.self && !r.c.Exposure.Recovering() {
			continue
		}
		refused, help := false, false
		for _, s := range r.streams {
			switch {
			case s.lacks(l):
				refused = true
			case s.live(now):
				help = help || r.mayHelp(s, l)
			}
		}
		if refused && !help {
			missing = missing.With(l.lane.Region, l.tail+1)
		}
	}
	return missing
}

// mayHelp tells whether a region that has not refused a lane may have more of it. The caller holds mu.
func (r *Replicator) mayHelp(s *stream, l *inLane) bool {
	report, ok := r.c.Exposure.Reported(s.peer)
	return !ok || s.peer == l.lane.Region || report.Durable.At(l.lane.Region) > l.tail
}

// lacks tells whether the peer has refused a lane as truncated beyond where it ends here. The caller
// holds Replicator.mu.
func (s *stream) lacks(l *inLane) bool {
	at, ok := s.tooOld[l.lane]
	return ok && l.tail <= at
}

// source finds a region that has on its disk all that is here, and more of what is lacking. Until it
// is late it waits until every region in reach has what this one wrote; why says what is waited for.
func (r *Replicator) source(missing clock.Vector, late bool) (source clock.Region, why string) {
	have := r.c.Exposure.Applied()
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.Time.Monotonic()
	unshipped := ""
	for region, s := range r.streams {
		report, ok := r.c.Exposure.Reported(region)
		if !s.live(now) || !ok {
			continue
		}
		if report.Durable.At(r.self.Region) < have.At(r.self.Region) {
			unshipped = s.name
		}
		if report.Durable.Includes(have) && report.Durable.Includes(missing) && (source == 0 || region < source) {
			source = region
		}
	}
	switch {
	case source == 0:
		return 0, "a region in reach holds all that is here"
	case unshipped != "" && !late:
		return 0, "region " + unshipped + " has what was written here"
	}
	return source, ""
}

// KeptFor lowers a cut through the log to what the regions will ask for that are being sent a cut: a
// log may be truncated up to it without having them fall behind again at once.
func (r *Replicator) KeptFor(upTo clock.Vector) clock.Vector {
	r.holds.mu.Lock()
	defer r.holds.mu.Unlock()
	for _, c := range r.holds.list {
		upTo = upTo.Meet(c.cut)
	}
	return upTo
}

// NoteBehind notes durably that a node which has stopped is to take a cut that includes must in place
// of its data. The next Identify does so, and withdraws the note if it finds nobody who has one. must
// is all that is here, and more of what is lacking; of the own lane, whose log stays, only what that
// log does not reach back to.
func NoteBehind(ctx context.Context, store Meta, must clock.Vector) error {
	id, err := loadIdentity(store)
	if err != nil {
		return err
	}
	if !id.loaded || len(must) == 0 {
		return kv.Errorf(kv.KindInvalid, "a node without data, or that lacks nothing, is not behind")
	}
	id.behind = must
	return id.save(ctx, store)
}

// renew takes a cut in place of the data, from whoever has one that includes id.behind; c.First is
// asked first. If nobody has, now, the note is withdrawn and the node goes on with its data: it is
// noticed again that it is behind.
func (c *JoinConfig) renew(ctx context.Context, id *Identity) error {
	g, err := loadRegistry(c.Store)
	if err != nil {
		return err
	}
	_, list := g.snapshot()
	for _, first := range []bool{true, false} {
		for _, m := range list {
			if m.Region == id.Region || (m.Region == c.First) != first {
				continue
			}
			err := c.loadFrom(ctx, m, id)
			if err == nil || hopeless(err) {
				return err
			}
			c.Logf("taking all data anew from region %d (%s) at %s: %v", m.Region, m.Name, m.Addresses.Peer, err)
			if !id.loaded { // there is no way back
				return c.bootstrap(ctx, id)
			}
			if ctx.Err() != nil {
				return fmt.Errorf("taking all data anew: %w", context.Cause(ctx))
			}
		}
	}
	c.Logf("no region has a cut that includes all that is here: going on with what is here")
	id.behind = nil
	return id.save(ctx, c.Store)
}

// giveUp is the point of no return of a node that is behind: the cut at hand includes all that it
// must, and replaces the data from here on. A node without data passes it at once.
func (c *JoinConfig) giveUp(ctx context.Context, id *Identity, cut map[clock.Lane]clock.Timestamp) error {
	var at clock.Vector
	for lane, t := range cut {
		at = at.With(lane.Region, t)
	}
	if !at.Includes(id.behind) {
		return kv.Errorf(kv.KindUnavailable, "its cut %s lacks some of what this node must not lose: %s", at, id.behind)
	}
	if !id.loaded {
		return nil
	}
	changed := *id
	changed.loaded = false
	if err := changed.save(ctx, c.Store); err != nil {
		return diskError{err}
	}
	*id = changed
	return nil
}

// keeps is whose log stays when a node takes a cut: its own, if it has data.
func (id *Identity) keeps() []clock.Lane {
	if len(id.behind) == 0 {
		return nil
	}
	return []clock.Lane{{Region: id.Region}}
}
