package replication

import (
	"sort"
	"sync"

	"github.com/theriac-db/theriac/clock"
)

// Durable is an encoded record that is on this node's disk.
type Durable struct {
	Time    clock.Timestamp
	Encoded []byte // never changed again
}

// outLane is what this node can send of a lane: where its durable end is, and the newest records.
type outLane struct {
	mu    sync.Mutex
	end   clock.Timestamp // last durable record
	begin clock.Timestamp // the tail holds all records behind it, up to end
	tail  []Durable
	bytes int
	// readers are the streams that are told of new records.
	readers map[*stream]struct{}
}

func newOutLane(end clock.Timestamp) *outLane {
	return &outLane{end: end, begin: end, readers: map[*stream]struct{}{}}
}

// publish adds records that have become durable, and wakes the streams that want them. Records
// without bytes move the end only; they are read from the log.
func (o *outLane) publish(records []Durable) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range records {
		if d.Time <= o.end {
			continue
		}
		o.end = d.Time
		if d.Encoded == nil {
			o.tail, o.bytes, o.begin = nil, 0, d.Time
			continue
		}
		o.tail = append(o.tail, d)
		o.bytes += len(d.Encoded)
	}
	o.trim()
	for s := range o.readers {
		s.poke()
	}
}

// trim lets go of the oldest records beyond TailBytes.
func (o *outLane) trim() {
	n := 0
	for o.bytes > TailBytes {
		o.bytes -= len(o.tail[n].Encoded)
		o.begin = o.tail[n].Time
		o.tail[n] = Durable{}
		n++
	}
	o.tail = o.tail[n:]
}

// read returns up to maxBytes of records behind a position, at least one if there is any; inTail
// is false when they must be read from the log, up to end.
func (o *outLane) read(after clock.Timestamp, maxBytes int) (records []Durable, end clock.Timestamp, inTail bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if after >= o.end {
		return nil, o.end, true
	}
	if after < o.begin {
		return nil, o.end, false
	}
	from := sort.Search(len(o.tail), func(i int) bool { return o.tail[i].Time > after })
	to, bytes := from, 0
	for to < len(o.tail) && (to == from || bytes+len(o.tail[to].Encoded) <= maxBytes) {
		bytes += len(o.tail[to].Encoded)
		to++
	}
	return append([]Durable(nil), o.tail[from:to]...), o.end, true
}

// at returns the record that the lane has at a time, nil if there is none. It is not known what the lane
// has outside of the tail.
func (o *outLane) at(t clock.Timestamp) (encoded []byte, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t <= o.begin || t > o.end {
		return nil, false
	}
	i := sort.Search(len(o.tail), func(i int) bool { return o.tail[i].Time >= t })
	if i < len(o.tail) && o.tail[i].Time == t {
		encoded = o.tail[i].Encoded
	}
	return encoded, true
}

// waiting is how many bytes of the tail lie behind a position, counted up to enough; what is not
// in the tail counts as enough.
func (o *outLane) waiting(after clock.Timestamp, enough int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if after >= o.end {
		return 0
	}
	if after < o.begin {
		return enough
	}
	n := 0
	for i := len(o.tail) - 1; i >= 0 && o.tail[i].Time > after && n < enough; i-- {
		n += len(o.tail[i].Encoded)
	}
	return n
}

// last is the last durable record.
func (o *outLane) last() clock.Timestamp {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.end
}

func (o *outLane) join(s *stream) {
	o.mu.Lock()
	o.readers[s] = struct{}{}
	o.mu.Unlock()
}

func (o *outLane) leave(s *stream) {
	o.mu.Lock()
	delete(o.readers, s)
	o.mu.Unlock()
}
