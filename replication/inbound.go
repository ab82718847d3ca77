package replication

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

// inLane is what comes in of a lane: the records that wait, in the order of their chain, and the
// subscriptions that bring more. Replicator.mu guards it.
//
//	held by the store | handed to it | waiting in queue | not here yet
//	           applied ^        taken ^             tail ^
//
// Invariant: applied <= taken <= tail.
type inLane struct {
	lane    clock.Lane
	applied clock.Timestamp
	taken   clock.Timestamp
	tail    clock.Timestamp
	queue   []waiting
	bytes   int // of queue
	subs    map[*stream]*inSub
	full    bool // a record found no room: nobody is asked for more before half of it is free

	missing clock.Stamp   // what the head of the queue waits for; zero: nothing
	since   time.Duration // monotonic, when it began to wait for it
	retry   time.Duration // monotonic; the head is too far ahead of the wall clock until then; 0: it isn't

	takenSum, appliedSum uint64 // of those records (sumOf); 0: not known

	out       *outLane        // of the same lane
	room      chan struct{}   // of the certifier's lane: who feeds it is told to go on; nil: nobody does
	flying    [][]Incoming    // batches that the store has and has not answered, in order
	dropped   bool            // what waited was, on a refusal; it is asked for again once nothing is flying
	barred    bool            // its region is being removed, or was: nothing behind last is taken
	last      clock.Timestamp // of one that is barred
	rejection *rejection      // the store has refused a batch of it; nil: none, or what it refused is here
	asked     int             // handshakes that tell what is held of it; nothing is handed over meanwhile
	idle      chan struct{}   // closed once nothing is flying; nil: nobody waits for that
}

// waiting is a record that came and is not handed to the store yet.
type waiting struct {
	Incoming
	sub *inSub // nil: this node's own certifier fed it
}

// inSub is one stream's delivery of a lane to this node. Replicator.mu guards it.
type inSub struct {
	stream    *stream
	lane      *inLane
	id        uint32
	last      clock.Timestamp // last record delivered
	parts     []byte          // of packed records too large for one message
	done      uint64          // bytes delivered that are applied or dropped
	announced uint64          // credit told to the sender, a total
}

// credit is how much the sender may send in total.
func (s *inSub) credit() uint64 { return s.done + LaneWindow }

// finish gives the credit of delivered bytes back. Whoever fed them goes by the lane's length.
func (s *inSub) finish(n int) {
	if s == nil {
		return
	}
	s.done += uint64(n)
	if s.credit()-s.announced >= LaneWindow/4 {
		s.stream.poke()
	}
}

// restart drops what waits and asks for it again.
func (l *inLane) restart() {
	l.reset()
	l.dropped = false
	for _, sub := range slices.Collect(maps.Values(l.subs)) {
		sub.stream.resubscribe(sub)
	}
}

// reset drops what waits.
func (l *inLane) reset() {
	for i := range l.queue {
		l.queue[i].sub.finish(len(l.queue[i].Encoded))
	}
	l.queue, l.bytes, l.tail, l.full = nil, 0, l.taken, false
	l.missing, l.retry = clock.Stamp{}, 0
	poke(l.room)
}

// deliver puts records that a subscription brought behind those that wait. It returns an error when
// the stream contradicts what is here; the stream is then closed.
func (l *inLane) deliver(sub *inSub, prev clock.Timestamp, records []Incoming) error {
	if prev != sub.last {
		return kv.Errorf(kv.KindCorrupt, "gap in lane %s: records behind %s came, those behind %s were expected", l.lane, prev, sub.last)
	}
	// A sender with credit left sends a whole message, so one subscription never lacks room.
	room := l.bytes <= LaneWindow
	defer poke(l.room)
	for _, in := range records {
		h := &in.Record.Header
		sub.last = h.Time
		switch {
		case !l.takes(h.Time):
			sub.finish(len(in.Encoded)) // it counts nowhere
		case h.Time <= l.tail:
			if err := sub.again(in); err != nil {
				return err
			}
			sub.finish(len(in.Encoded)) // another subscription was quicker
		case h.Prev == l.tail && room:
			l.queue = append(l.queue, waiting{in, sub})
			l.bytes += len(in.Encoded)
			l.tail = h.Time
		case h.Prev < l.tail:
			return kv.Errorf(kv.KindCorrupt, "fork in lane %s: record %s comes behind %s, but %s did already", l.lane, h.Time, h.Prev, l.tail)
		case h.Prev == l.tail: // several subscriptions together have filled the window
			sub.finish(len(in.Encoded))
			l.full = true
			sub.stream.end(sub)
			return nil
		default: // records before it were dropped: the subscription begins anew
			sub.finish(len(in.Encoded))
			sub.stream.resubscribe(sub)
			return nil
		}
	}
	return nil
}

// receive takes packed records that a stream brought.
func (r *Replicator) receive(s *stream, id uint32, packed []byte, partial bool) error {
	r.mu.Lock()
	sub := s.in[id]
	r.mu.Unlock()
	if sub == nil {
		return nil // of a subscription that has ended
	}
	if partial || len(sub.parts) > 0 { // only this stream's reader touches parts
		if len(sub.parts)+len(packed) > MaxRecord {
			return kv.Errorf(kv.KindCorrupt, "lane %s: a record of more than %d bytes", sub.lane.lane, MaxRecord)
		}
		sub.parts = append(sub.parts, packed...)
		if partial {
			return nil
		}
		packed, sub.parts = sub.parts, nil
	}
	prev, records, err := unpack(sub.lane.lane, packed)
	if err != nil {
		return err
	}
	r.c.Hooks.received(s.peer, len(records), len(packed))
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.in[id] != sub {
		return nil
	}
	if err := sub.lane.deliver(sub, prev, records); err != nil {
		r.c.Hooks.fault(sub.lane.lane.Region, err)
		return err
	}
	poke(r.applyWake)
	return nil
}

// applyRecords hands records to the store, each once what it depends on was handed over, until ctx
// ends or the store refuses. It is the only goroutine that offers records.
func (r *Replicator) applyRecords(ctx context.Context) error {
	watch, err := r.c.Exposure.Watch()
	if err != nil {
		return err
	}
	defer watch.Stop()
	for {
		b, again := r.nextBatch()
		if b != nil {
			if err := r.c.Store.Apply(ctx, b); err != nil {
				return err
			}
			continue
		}
		timer, stop := r.c.Time.NewTimer(again)
		select {
		case <-ctx.Done():
		case <-r.applyWake:
		case <-watch.C():
		case <-timer:
		}
		stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// nextBatch takes records that may be applied from the lane whose turn it is. Without any it says
// when to look again.
func (r *Replicator) nextBatch() (*Batch, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	again := SilenceAfter
	now := r.c.Time.Monotonic()
	for range r.order {
		l := r.order[r.turn%len(r.order)]
		r.turn++
		if d := l.mustRest(now); d > 0 {
			again = min(again, d)
			continue
		}
		if records, subs := r.take(l); len(records) > 0 {
			return r.batch(l, records, subs), 0
		}
		if l.retry != 0 {
			again = min(again, max(time.Millisecond, l.retry-now))
		}
	}
	return nil, again
}

// take moves records that may be applied out of a lane's queue.
func (r *Replicator) take(l *inLane) (records []Incoming, from []*inSub) {
	bytes, most := 0, BatchBytes
	if l.rejection != nil {
		most = 1 // one by one, so that only the record that is refused waits
	}
	for len(l.queue) > 0 && bytes < most {
		w := l.queue[0]
		v := r.c.Exposure.Offer(w.Record.Header, r.c.Time.Wall())
		if v.Action != causal.Apply && v.Action != causal.Duplicate {
			r.held(l, v)
			break
		}
		l.queue[0] = waiting{}
		l.queue = l.queue[1:]
		l.bytes -= len(w.Encoded)
		if l.full && l.bytes <= LaneWindow/2 {
			l.full = false
			poke(r.planWake)
		}
		if l.bytes <= LaneWindow/2 {
			poke(l.room)
		}
		r.runs(l)
		if v.Action == causal.Duplicate {
			w.sub.finish(len(w.Encoded))
			continue
		}
		l.taken, l.takenSum = w.Record.Time, sumOf(w.Encoded)
		bytes += len(w.Encoded)
		records, from = append(records, w.Incoming), append(from, w.sub)
	}
	return records, from
}

// held notes why the head of a lane's queue can't be applied.
func (r *Replicator) held(l *inLane, v causal.Verdict) {
	now := r.c.Time.Monotonic()
	switch v.Action {
	case causal.Wait:
		if l.missing != v.Missing {
			l.missing, l.since = v.Missing, now
			poke(r.planWake)
		}
	case causal.Skewed:
		l.retry = now + v.Ahead - r.c.Skew
		r.setSkew(l.lane.Region, v.Ahead)
	default:
		err := kv.Errorf(kv.KindCorrupt, "record %s of lane %s is refused: %s, behind %s",
			l.queue[0].Record.Time, l.lane, v.Action, v.Held)
		r.c.Hooks.fault(l.lane.Region, err)
		r.refuse(l, err)
	}
}

// runs notes that the head of a lane's queue could be applied.
func (r *Replicator) runs(l *inLane) {
	l.missing = clock.Stamp{}
	if l.retry != 0 {
		l.retry = 0
		r.setSkew(l.lane.Region, 0)
	}
}

// refuse drops what waits of a lane and ends the streams that brought it; they are dialled anew.
func (r *Replicator) refuse(l *inLane, err error) {
	for s := range l.subs {
		s.fail(err)
	}
	l.reset()
}

// batch wraps records for the store. The caller holds mu.
func (r *Replicator) batch(l *inLane, records []Incoming, from []*inSub) *Batch {
	last, sum := records[len(records)-1].Record.Time, l.takenSum
	applied := func() {
		r.c.Exposure.remoteApplied(records)
		r.mu.Lock()
		defer r.mu.Unlock()
		l.applied, l.appliedSum = last, sum
		r.accepted(l)
		for i, sub := range from {
			sub.finish(len(records[i].Encoded))
		}
	}
	l.flying = append(l.flying, records)
	durable := func(err error) {
		if err != nil {
			r.refused(l, records, err)
			return
		}
		r.c.Exposure.RemoteDurable(l.lane, last)
		r.publish(l.lane, records)
		r.mu.Lock()
		defer r.mu.Unlock()
		if l.landed(records); l.rejection != nil {
			poke(r.applyWake)
		}
	}
	wanted := r.awaited.At(l.lane.Region) >= records[0].Record.Time
	return &Batch{Lane: l.lane, Records: records, Sync: wanted, Applied: applied, Durable: durable}
}

// publish makes records from others available to those who ask this node for them.
func (r *Replicator) publish(lane clock.Lane, records []Incoming) {
	out := r.outLane(lane)
	if out == nil {
		return
	}
	d := make([]Durable, len(records))
	for i, in := range records {
		d[i] = Durable{Time: in.Record.Time, Encoded: in.Encoded}
	}
	out.publish(d)
}
