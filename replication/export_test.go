package replication

import (
	"github.com/theriac-db/theriac/clock"
)

// ReviewJoiner judges a region as it was a moment ago.
func (r *Replicator) ReviewJoiner(m Member) { r.reviewJoiner(m) }

// ForgetTail makes a node read a lane from its log again.
func (r *Replicator) ForgetTail(lane clock.Lane) {
	o := r.outLane(lane)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail, o.bytes, o.begin = nil, 0, o.end
}

// Rewind makes a subscription expect its lane from the beginning.
func (r *Replicator) Rewind(lane clock.Lane, id uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sub := range r.in[lane].subs {
		if sub.id == id {
			sub.last = 0
		}
	}
}

// Pack packs records.
func Pack(lane clock.Lane, prev clock.Timestamp, encoded ...[]byte) ([]byte, error) {
	p := newPacker(lane, prev)
	for _, e := range encoded {
		if _, err := p.add(e); err != nil {
			return nil, err
		}
	}
	return p.out, nil
}

// HoldCut begins to send a region a cut.
func (r *Replicator) HoldCut(region clock.Region) error {
	_, err := r.holds.open(r, region)
	return err
}

// JoiningFrom is what heartbeats say.
func (r *Replicator) JoiningFrom() []uint32 { return r.joiningFrom() }

// IncarnationOf is which store a region's node came with last.
func (r *Replicator) IncarnationOf(region clock.Region) uint64 { return r.incarnationOf(region) }

// Asked is how many questions the stream to a region was sent.
func (r *Replicator) Asked(region clock.Region) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.streams[region].asking.last
}
