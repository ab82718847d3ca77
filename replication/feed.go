package replication

import (
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// The certifier's lane is no region's. Every node that votes derives its records from the certifier's own
// log, and feeds them to itself; from there on they go the way of records that came from a peer. A node
// that has no certifier yet, or whose own does not keep up, asks its peers for them like for any lane.

// feeding is how the certifier's lane comes to this node. Replicator.mu guards it.
type feeding struct {
	begun bool            // this node's own certifier feeds it
	room  chan struct{}   // it is told that it may feed more
	mark  clock.Timestamp // the most that a peer had of the lane at since; 0: none had more than this node
	since time.Duration   // monotonic
	gap   bool            // what was fed last lies behind records that are not here
}

// Feed takes decided records of the certifier's lane from this node's own certifier, in order, and returns
// the last one of the lane that is here or waits: whoever feeds goes on behind it, at once if it is the last
// that was given, otherwise when Room receives. That is so when LaneWindow bytes of the lane wait, when the store
// has refused some, so that they are to be given again, and when records before them are missing, which are
// then asked of the other regions. What is here already is passed over.
//
// Who has nothing to feed, but will, says so by a call without records: the others are then asked only when
// they are ahead for longer than SilenceAfter. It does not block; the bytes are kept and must not change.
//
// An error says that the records contradict what is here (kv.ErrCorrupt): the certifier, or what this node
// took from another region, is wrong, and nothing of them was taken.
func (r *Replicator) Feed(records ...Incoming) (last clock.Timestamp, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.feeding.begun = true
	l := r.in[strongLane]
	if err := l.feedable(records); err != nil {
		return l.tail, err
	}
	r.feeding.gap = false
	for _, in := range records {
		h := &in.Record.Header
		if h.Time <= l.tail {
			continue
		}
		if r.feeding.gap = h.Prev > l.tail; r.feeding.gap {
			poke(r.planWake)
			break
		}
		if l.bytes > LaneWindow {
			break
		}
		l.queue = append(l.queue, waiting{Incoming: in})
		l.bytes += len(in.Encoded)
		l.tail = h.Time
	}
	poke(r.applyWake)
	return l.tail, nil
}

// Room receives when more of the certifier's lane may be fed; several reasons may share a signal.
func (r *Replicator) Room() <-chan struct{} { return r.feeding.room }

// feedable refuses records that contradict each other or what is here.
func (l *inLane) feedable(records []Incoming) error {
	for i, in := range records {
		h := &in.Record.Header
		switch {
		case h.Lane != strongLane || h.Kind == kv.RecordVoid || h.Prev >= h.Time || h.Deps.Max() >= h.Time || i > 0 && h.Prev != records[i-1].Record.Time:
			return kv.Errorf(kv.KindCorrupt, "the certifier decided record %s of lane %s behind %s, needing %s: that is none", h.Time, h.Lane, h.Prev, h.Deps)
		case h.Time > l.tail && h.Prev < l.tail:
			return kv.Errorf(kv.KindCorrupt, "the certifier decided record %s of its lane behind %s, but %s is here, which it did not decide", h.Time, h.Prev, l.tail)
		case h.Time > l.tail:
			continue
		}
		if differs, known := l.differs(in); known && differs {
			return kv.Errorf(kv.KindCorrupt, "the certifier decided record %s of its lane otherwise than it is here", h.Time)
		}
	}
	return nil
}

// wantCertified adds the stream to ask for the certifier's lane, if it is to be asked for: while this node's
// own certifier does not feed it, or lacks records, or has not brought for SilenceAfter what a peer has. The
// caller holds mu.
func (r *Replicator) wantCertified(l *inLane, now time.Duration, want map[*stream]bool) {
	f := &r.feeding
	if l.tail >= f.mark {
		f.mark = 0
	}
	s := r.relay(l, now)
	if s == nil {
		return
	}
	if report, ok := r.c.Exposure.Reported(s.peer); ok && f.mark == 0 {
		f.mark, f.since = report.Durable.At(strongLane.Region), now
	}
	if !f.begun || f.gap || l.subs[s] != nil || now-f.since >= SilenceAfter {
		want[s] = true
	}
}
