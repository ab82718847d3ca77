package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/cespare/xxhash/v2"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// A lane is forked when its region has written two histories of it: a data folder was put back from an
// older copy, witness and all, and written to before it met anybody who had the rest. Timestamps alone
// don't show that. The copy's new records lift its end above what it lacks, and may even bear the
// timestamps of those. So whoever says where a lane ends at it says which record that is, and whoever
// hears it looks into its own log: in a handshake (compare), and where a subscription begins (resume).
//
// A node whose own lane is forked stops for good. Nobody can tell whose writes are the right ones, and
// some of both have been acknowledged.

// forkedKey is where a node whose lane is forked notes why: it never starts again.
const forkedKey = "replication/forked"

// forkedCount bounds how much of the own log is read to say how much a fork loses, in bytes.
const forkedCount = 1 << 20

// forkedError says that this node's own lane is forked: nothing of it behind since is anywhere else. 0:
// not known from where on.
type forkedError struct {
	what  string
	since clock.Timestamp
}

func (e forkedError) Error() string { return e.what }

// divergedError says the same of a peer's lane; what that is told becomes its forkedError.
type divergedError struct{ err *kv.Error }

func (e divergedError) Error() string { return e.err.Error() }
func (e divergedError) Unwrap() error { return e.err }

// isFork tells whether a lane was found to be forked, this node's or the peer's.
func isFork(err error) bool {
	var forked forkedError
	var diverged divergedError
	return errors.As(err, &forked) || errors.As(err, &diverged)
}

// sumOf tells a record from another with its timestamp. It is never 0, which stands for "not known".
func sumOf(encoded []byte) uint64 { return max(1, xxhash.Sum64(encoded)) }

// recordAt returns the sum of the record that the log has at t, 0 if it has none there; known is false
// when the log no longer reaches back to it. t must be on disk, if it is there at all.
func (r *Replicator) recordAt(lane clock.Lane, t clock.Timestamp) (sum uint64, known bool, err error) {
	records, err := r.c.Store.Log(lane, t-1, 1)
	switch {
	case errors.Is(err, kv.ErrTooOld):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("reading record %s of lane %s: %w", t, lane, err)
	case len(records) == 0:
		return 0, true, nil
	}
	h, err := kv.DecodeHeader(records[0])
	if err != nil || h.Time != t {
		return 0, err == nil, err
	}
	return sumOf(records[0]), true, nil
}

// contradicts tells whether the log here has no record of a lane where another node says that one is,
// or another record. What is not here yet, or not any more, contradicts nothing. sum 0: any.
func (r *Replicator) contradicts(lane clock.Lane, t clock.Timestamp, sum uint64) (bool, error) {
	out := r.outLane(lane)
	if t == 0 || out == nil || t > out.last() {
		return false, nil
	}
	have, known, err := r.recordAt(lane, t)
	return known && (have == 0 || sum != 0 && have != sum), err
}

// compare judges what a peer says in its handshake of where lanes end, by the logs here.
func (r *Replicator) compare(s *stream, lanes []*peerv1.LanePosition) error {
	for _, p := range lanes {
		lane, err := laneFrom(p.GetRegion(), p.GetSlot())
		if err != nil {
			return err
		}
		t := clock.Timestamp(p.GetApplied())
		other, err := r.contradicts(lane, t, p.GetSum())
		switch {
		case err != nil:
			return err
		case !other:
		case lane == r.self:
			return r.ownFork(s, t)
		case lane.Region == s.peer:
			return r.diverged(lane, t)
		default: // neither of the two can tell which is right
			r.c.Hooks.fault(lane.Region, r.diverged(lane, t))
		}
	}
	return nil
}

// resume judges where a peer wants a lane to be sent from.
func (s *stream) resume(o *outSub) error {
	if o.resumed {
		return nil
	}
	o.resumed = true
	r := s.r
	own := o.lane == r.self && !r.c.Exposure.Recovering()
	if own && o.after > o.out.last() { // of this lane nobody else has what is not on disk here
		return r.checkShort(s, handed{upTo: o.after})
	}
	other, err := r.contradicts(o.lane, o.after, o.sum)
	switch {
	case err != nil || !other:
		return err
	case o.lane == r.self:
		return r.ownFork(s, o.after)
	}
	return r.diverged(o.lane, o.after)
}

// diverged says that a peer's position in a lane is not one of the lane as it is here.
func (r *Replicator) diverged(lane clock.Lane, t clock.Timestamp) error {
	if lane == strongLane {
		return divergedError{kv.Errorf(kv.KindCorrupt,
			"strong commit %s that another region holds is not among those here, or is another one: one of the two has a damaged disk, or an older copy of its data folder", t)}
	}
	m, _ := r.registry.find(lane.Region)
	return divergedError{kv.Errorf(kv.KindCorrupt,
		"region %d (%s) has written two histories: record %s that one of its peers or itself holds is not among its records here, or is another one; its data folder is an older copy that was written to: stop it, move the folder away, and start it on an empty one with --join",
		lane.Region, m.Name, t)}
}

// ownFork says that a peer holds a record of this node's lane that is not here. A region that was given
// up by name is in the wrong itself.
func (r *Replicator) ownFork(s *stream, t clock.Timestamp) error {
	if r.gone(s.name) {
		return kv.Errorf(kv.KindCorrupt, "region %d (%s), which is named as gone, holds record %s of this region, which was given up: move its folder away, and start it on an empty one with --join", s.peer, s.name, t)
	}
	since := r.recovery.start()
	// A fork begins where a start does, perhaps one before this: also not behind the last record below t.
	if records, err := r.c.Store.Log(r.self, t-1, 1); err == nil && len(records) > 0 {
		if h, err := kv.DecodeHeader(records[0]); err == nil {
			since = min(since, h.Prev)
		}
	}
	return forkedError{fmt.Sprintf("it holds this region's record %s, which is not here or is another one", t), since}
}

// fork ends this node for good, if err says that its lane is forked: for its clients at once, for the
// next start durably, and then for its peers, who hang up when they are told. It sends no more records.
func (r *Replicator) fork(region clock.Region, err error) {
	var forked forkedError
	if !errors.As(err, &forked) {
		return
	}
	m, _ := r.registry.find(region)
	if r.gone(m.Name) { // what it alone held was given up
		r.c.Hooks.fault(region, fmt.Errorf("region %d (%s) is named as gone: %w", region, m.Name, err))
		return
	}
	if r.forked.Swap(true) {
		return
	}
	e := kv.Errorf(kv.KindLost, "the data folder of region %q is an older copy that has been written to since, says region %d (%s): %s. Lost are %s; what another region had received before stays there. Stop this node, move the folder away, and start on an empty one with --join",
		r.c.Identity.Name, region, m.Name, forked.what, r.since(forked))
	r.c.Hooks.forked(e)
	if err := r.c.Store.SetMeta(r.context(), forkedKey, []byte(e.Message)); err != nil {
		r.c.Hooks.logf("noting that this folder is of no use any more: %v; the next start finds out again", err)
	}
	r.mu.Lock()
	for _, s := range r.streams {
		s.queue(refusedMessage(err))
	}
	r.mu.Unlock()
	r.start(func(ctx context.Context) {
		waited := RedialMin // a handshake that found it out answers meanwhile
		for sleep(ctx, r.c.Time, RedialMin) && waited < ForkTold && r.streaming() {
			waited += RedialMin
		}
		r.end(e)
	})
}

// streaming tells whether there is a stream to anybody.
func (r *Replicator) streaming() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.streams) > 0
}

// since says what the own log holds behind where a fork begins, as far as that is known.
func (r *Replicator) since(e forkedError) string {
	end, after := r.outLane(r.self).last(), e.since
	if after == 0 && !r.recovery.running() {
		after = r.recovery.start()
	}
	records, err := r.c.Store.Log(r.self, after, forkedCount)
	if err != nil || after == 0 {
		return fmt.Sprintf("its own records up to %s of which no other region has any", end)
	}
	return fmt.Sprintf("at least %d records of its own, written behind %s and up to %s", len(records), after, end)
}

// checkForked refuses a folder that was found to be forked.
func checkForked(store Meta) error {
	why, err := store.Meta(forkedKey)
	if err != nil {
		return fmt.Errorf("reading whether the lane is forked: %w", err)
	}
	if len(why) > 0 {
		return kv.Errorf(kv.KindLost, "%s", why)
	}
	return nil
}

// sumAt is the sum of the record at t, as far as it is known without the log. The caller holds
// Replicator.mu.
func (l *inLane) sumAt(t clock.Timestamp) uint64 {
	switch {
	case t == 0:
		return 0
	case t == l.taken:
		return l.takenSum
	case t == l.applied:
		return l.appliedSum
	}
	if i := l.find(t); i < len(l.queue) {
		return sumOf(l.queue[i].Encoded)
	}
	return 0
}

// find is where a record waits; the queue's length: nowhere.
func (l *inLane) find(t clock.Timestamp) int {
	i := sort.Search(len(l.queue), func(i int) bool { return l.queue[i].Record.Time >= t })
	if i < len(l.queue) && l.queue[i].Record.Time == t {
		return i
	}
	return len(l.queue)
}

// at returns the record that this node has at a time and that does not wait, or nil for none, as far as it
// is in memory. The caller holds Replicator.mu.
func (l *inLane) at(t clock.Timestamp) (encoded []byte, known bool) {
	for _, batch := range l.flying {
		h, last := &batch[0].Record.Header, &batch[len(batch)-1].Record.Header
		if t <= h.Prev || t > last.Time {
			continue
		}
		i := sort.Search(len(batch), func(i int) bool { return batch[i].Record.Time >= t })
		if batch[i].Record.Time == t {
			encoded = batch[i].Encoded
		}
		return encoded, true
	}
	return l.out.at(t)
}

// differs tells whether a record that comes again is another one than that which is here, or comes where
// none is. It is not known of what is in the log alone. The caller holds Replicator.mu.
func (l *inLane) differs(in Incoming) (differs, known bool) {
	t := in.Record.Time
	if i := l.find(t); i < len(l.queue) {
		return !bytes.Equal(l.queue[i].Encoded, in.Encoded), true
	}
	if len(l.queue) > 0 && t > l.queue[0].Record.Time {
		return true, true // between two that wait
	}
	if have, known := l.at(t); known {
		return !bytes.Equal(have, in.Encoded), true
	}
	sum := l.sumAt(t)
	return sum != sumOf(in.Encoded), sum != 0
}

// again judges a record that this node has, or has one in its place, as far as it is in memory. What it has
// only in its log, ever older, is left to the next handshake and the next subscription, which compare where
// the lane ends. The caller holds Replicator.mu.
func (s *inSub) again(in Incoming) error {
	if differs, known := s.lane.differs(in); known && differs {
		return s.stream.r.diverged(s.lane.lane, in.Record.Time)
	}
	return nil
}
