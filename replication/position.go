package replication

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/theriac-db/theriac/clock"
)

// A strong commit is acknowledged once a majority of the raft group's voters holds it on disk. So the highest
// position of any majority of them, asked after a moment, is at or above everything that was acknowledged before
// that moment; nobody need ask a leader. Which voters are a majority is settled where that position is applied:
// had the members changed before the moment, the change would be at or below it.

// held is what a voter holds of the group's log.
type held struct {
	position uint64
	at       time.Duration // on this node's monotonic clock: it holds all that was acknowledged before
}

// position is the next statement on the freshness of entry 0: everything that was acknowledged before at is at
// or below index, if stores are a majority of the voters there. Replicator.mu guards it.
type position struct {
	index  uint64
	at     time.Duration
	stores []RegionStore // none: there is no statement
}

// heedPosition takes what a heartbeat or an answer says that the sender's voter holds, which replies to a
// reading of this node's clock. The caller holds mu.
func (r *Replicator) heedPosition(s *stream, h held) {
	if r.c.Strong == nil || s.parting != nil || h.at <= s.held.at {
		return
	}
	s.held = h
	r.takePosition()
}

// takePosition makes what is known by now count, and tells whether those who were heard are a majority of the
// voters. The caller holds mu.
func (r *Replicator) takePosition() (majority bool) {
	r.concludePosition()
	p := r.gatherPosition()
	if len(r.position.stores) == 0 {
		r.position = p
		r.concludePosition()
	}
	return len(p.stores) > 0
}

// gatherPosition is the newest statement that those who were heard allow; without stores: none. The caller
// holds mu.
func (r *Replicator) gatherPosition() position {
	p := position{index: r.c.Strong.Position(), at: r.c.Time.Monotonic(), stores: []RegionStore{{Region: r.self.Region, Incarnation: r.c.Incarnation}}}
	heard := make([]*stream, 0, len(r.streams))
	for _, s := range r.streams {
		if s.held.at != 0 && s.parting == nil {
			heard = append(heard, s)
		}
	}
	slices.SortFunc(heard, func(a, b *stream) int { return cmp.Compare(b.held.at, a.held.at) })
	for _, s := range heard {
		if r.c.Strong.Majority(p.stores) {
			return p
		}
		p.index, p.at = max(p.index, s.held.position), min(p.at, s.held.at)
		p.stores = append(p.stores, RegionStore{Region: s.peer, Incarnation: s.store.incarnation})
	}
	if !r.c.Strong.Majority(p.stores) {
		return position{}
	}
	return p
}

// concludePosition makes the statement count once this node's voter has applied that far. The caller holds mu.
func (r *Replicator) concludePosition() {
	p := &r.position
	applied, t := r.c.Strong.Applied()
	if len(p.stores) == 0 || applied < p.index {
		return
	}
	if r.c.Strong.Majority(p.stores) {
		r.c.Exposure.HeardAt(strongLane, t, p.at)
	}
	r.position = position{}
}

// reachPosition returns a time of entry 0 that includes everything acknowledged before stores told that the
// highest of them holds the log up to index. Where they are no majority of the voters, it asks the group.
func (r *Replicator) reachPosition(ctx context.Context, index uint64, stores []RegionStore) (clock.Timestamp, error) {
	if err := r.c.Strong.Reach(ctx, index); err != nil {
		return 0, err
	}
	_, t := r.c.Strong.Applied()
	if r.c.Strong.Majority(stores) {
		return t, nil
	}
	return r.c.Strong.ReadIndex(ctx)
}
