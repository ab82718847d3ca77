package grpcapi

import (
	"encoding/binary"
	"math"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// What requests that have not arrived as a whole may hold. gRPC bounds the bytes of one that nobody reads,
// but reads all that come, so that a client may keep as many half ones as it has streams, for ever.
const (
	maxConnPartial = 128 << 20        // bytes of one connection; it is closed beyond
	maxPartial     = 512 << 20        // of all together; beyond, the connection that holds most is closed
	streamCost     = 16 << 10         // bytes that a stream counts beside its request
	progressWindow = 30 * time.Second // in which a connection with an unfinished request brings minProgress, or is closed
	minProgress    = 30 << 10         // bytes of requests: 1 KiB a second
)

// HTTP/2 frames (RFC 9113, section 6), and gRPC's five bytes before each message.
const (
	prefaceLen    = 24
	frameHeadLen  = 9
	messageHead   = 5
	frameData     = 0
	frameHeaders  = 1
	frameReset    = 3
	frameGoAway   = 7
	flagEndStream = 1
	flagPadded    = 8
)

// allowance is what the connections of a door share.
type allowance struct {
	perConn, most int64

	mu    sync.Mutex
	held  int64
	conns map[*meter]int64 // what each holds
}

func newAllowance() *allowance {
	return &allowance{perConn: maxConnPartial, most: maxPartial, conns: map[*meter]int64{}}
}

// add changes what a connection holds, and says which one has to go, if any.
func (a *allowance) add(m *meter, n int64) (closing *meter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.conns[m]; !ok {
		return nil // it is closed
	}
	a.held += n
	a.conns[m] += n
	if n <= 0 {
		return nil
	}
	if a.conns[m] > a.perConn {
		return m
	}
	if a.held <= a.most {
		return nil
	}
	closing = m
	for other, held := range a.conns {
		if held > a.conns[closing] {
			closing = other
		}
	}
	return closing
}

func (a *allowance) enter(m *meter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conns[m] = 0
}

func (a *allowance) leave(m *meter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held -= a.conns[m]
	delete(a.conns, m)
}

// meteredCredentials meter what comes through connections once TLS is taken off.
type meteredCredentials struct {
	credentials.TransportCredentials
	all *allowance
}

func (c meteredCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	plain, info, err := c.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		return plain, info, err
	}
	return newMeter(plain, conn, c.all), info, nil
}

func (c meteredCredentials) Clone() credentials.TransportCredentials {
	return meteredCredentials{c.TransportCredentials.Clone(), c.all}
}

// meter is a connection that knows which requests have begun and not ended. It reads along, changes
// nothing, and leaves what is malformed to gRPC, which ends the connection for it.
//
// It times the connection's progress and not a request's age: streams share a link in turns, so many
// large requests that go on arriving over a slow one all end late.
type meter struct {
	net.Conn
	raw     net.Conn // below TLS
	all     *allowance
	in, out frames

	mu       sync.Mutex
	streams  map[uint32]*partial
	last     uint32      // gRPC drops later streams
	goAway   []byte      // what is there of the id in the frame that tells last
	timer    *time.Timer // set while a request may be unfinished: when the window ends
	from     time.Time   // when the window began
	progress int64       // bytes of requests in it
	closed   bool
}

// partial is a stream, and what has come of its current message.
type partial struct {
	head  [messageHead]byte
	heads int       // bytes of head that are there
	left  uint32    // bytes of the message that are not
	bytes int64     // counted
	since time.Time // when it began; zero: none is unfinished
}

func newMeter(plain, raw net.Conn, all *allowance) *meter {
	m := &meter{Conn: plain, raw: raw, all: all, streams: map[uint32]*partial{}, last: math.MaxUint32}
	m.in.skip = prefaceLen
	all.enter(m)
	return m
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	m.mu.Lock()
	change := int64(0)
	m.in.feed(p[:n], func(f *frame) { change += m.began(f) }, func(f *frame, data []byte) { change += m.came(f, data) },
		func(f *frame) { change += m.ended(f) })
	m.mu.Unlock()
	m.count(change)
	return n, err
}

func (m *meter) Write(p []byte) (int, error) {
	m.mu.Lock()
	change := int64(0)
	m.out.feed(p, func(*frame) { m.goAway = m.goAway[:0] }, func(f *frame, data []byte) { change += m.leaves(f, data) },
		func(f *frame) { change += m.ended(f) })
	m.mu.Unlock()
	m.count(change)
	return m.Conn.Write(p)
}

func (m *meter) count(change int64) {
	if change == 0 {
		return
	}
	if closing := m.all.add(m, change); closing != nil {
		closing.cut() // whoever reads from it finds out
	}
}

// Close ends the connection. It may be called again.
func (m *meter) Close() error {
	m.leave()
	return m.Conn.Close()
}

// cut ends the connection from anywhere: the end of a TLS connection waits for its other end to take
// the news, and nobody else should wait for that.
func (m *meter) cut() {
	m.leave()
	_ = m.raw.Close()
}

func (m *meter) leave() {
	m.all.leave(m)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.timer != nil {
		m.timer.Stop()
	}
}

// began takes in that a frame of the client begins. A stream without a message may stay: it costs
// what it counts, and a Pipe may have nothing to say.
func (m *meter) began(f *frame) int64 {
	if f.kind != frameHeaders || m.streams[f.stream] != nil || f.stream > m.last {
		return 0
	}
	m.streams[f.stream] = &partial{bytes: streamCost}
	return streamCost
}

// leaves takes in the frame with which the node says that it takes no more streams. What was sent of
// those that come later gets no answer.
func (m *meter) leaves(f *frame, data []byte) (change int64) {
	const idLen = 4
	if f.kind != frameGoAway {
		return 0
	}
	m.goAway = append(m.goAway, data[:min(len(data), idLen-len(m.goAway))]...)
	if len(m.goAway) < idLen {
		return 0
	}
	m.last = binary.BigEndian.Uint32(m.goAway) &^ (1 << 31)
	for id, s := range m.streams {
		if id > m.last {
			change -= s.bytes
			delete(m.streams, id)
		}
	}
	return change
}

// watch notes that a message has begun.
func (m *meter) watch(s *partial) {
	s.since = time.Now()
	if m.timer == nil {
		m.open(s.since)
	}
}

// open begins a window.
func (m *meter) open(now time.Time) {
	m.from, m.progress = now, 0
	if !m.closed {
		m.timer = time.AfterFunc(progressWindow, m.look)
	}
}

// look ends a window. It closes the connection if a message was unfinished all the while and too
// little came.
func (m *meter) look() {
	m.mu.Lock()
	m.timer = nil
	var oldest time.Time
	for _, s := range m.streams {
		if !s.since.IsZero() && (oldest.IsZero() || s.since.Before(oldest)) {
			oldest = s.since
		}
	}
	stuck := !oldest.IsZero() && !oldest.After(m.from) && m.progress < minProgress
	if !oldest.IsZero() && !stuck {
		m.open(time.Now())
	}
	m.mu.Unlock()
	if stuck {
		m.cut()
	}
}

// came takes in bytes of messages.
func (m *meter) came(f *frame, data []byte) (change int64) {
	s := m.streams[f.stream]
	if s == nil || f.kind != frameData {
		return 0 // it has ended; gRPC drops them
	}
	defer func(n int) { m.progress += int64(n) }(len(data)) // the first byte may begin the window
	for len(data) > 0 {
		if s.heads < messageHead {
			if s.since.IsZero() {
				m.watch(s)
			}
			n := copy(s.head[s.heads:], data)
			s.heads, data = s.heads+n, data[n:]
			if s.heads < messageHead {
				return change
			}
			s.left = binary.BigEndian.Uint32(s.head[1:])
		}
		n := min(len(data), int(s.left))
		s.left, data = s.left-uint32(n), data[n:]
		s.bytes, change = s.bytes+int64(n), change+int64(n)
		if s.left == 0 {
			change -= s.bytes - streamCost
			*s = partial{bytes: streamCost}
		}
	}
	return change
}

// ended takes in that a frame of either side has ended. A stream that one side has ended holds no part
// of a request any more: either it is there, or nobody waits for the rest.
func (m *meter) ended(f *frame) int64 {
	s := m.streams[f.stream]
	if s == nil || f.kind != frameReset && (f.kind > frameHeaders || f.flags&flagEndStream == 0) {
		return 0
	}
	delete(m.streams, f.stream)
	return -s.bytes
}

// frame is what a frame's header says.
type frame struct {
	kind, flags byte
	stream      uint32
}

// frames finds the frames in one direction of a connection, however they are cut into pieces.
type frames struct {
	skip int // bytes before the next header that are no data
	data int // bytes of data, or of what else is read, before those
	pad  bool
	head [frameHeadLen]byte
	n    int // bytes of head that are there
	frame
	open bool // a frame has begun and not ended
}

// feed takes the next bytes in.
func (r *frames) feed(p []byte, began func(*frame), data func(*frame, []byte), ended func(*frame)) {
	for {
		switch {
		case r.pad && len(p) > 0: // the first byte says how many of the last ones are none
			r.pad = false
			r.skip = min(int(p[0]), r.data-1)
			r.data -= 1 + r.skip
			p = p[1:]
		case r.data > 0 && len(p) > 0:
			n := min(r.data, len(p))
			data(&r.frame, p[:n])
			r.data, p = r.data-n, p[n:]
		case r.skip > 0 && len(p) > 0:
			n := min(r.skip, len(p))
			r.skip, p = r.skip-n, p[n:]
		case r.open && !r.pad && r.data == 0 && r.skip == 0:
			r.open = false
			ended(&r.frame)
		case len(p) == 0:
			return
		default:
			n := copy(r.head[r.n:], p)
			r.n, p = r.n+n, p[n:]
			if r.n == frameHeadLen {
				r.begin()
				began(&r.frame)
			}
		}
	}
}

// begin reads a header.
func (r *frames) begin() {
	size := int(r.head[0])<<16 | int(binary.BigEndian.Uint16(r.head[1:]))
	r.frame = frame{r.head[3], r.head[4], binary.BigEndian.Uint32(r.head[5:]) &^ (1 << 31)}
	r.n, r.open = 0, true
	switch r.kind {
	case frameData:
		r.data = size
		r.pad = r.flags&flagPadded != 0 && size > 0
	case frameGoAway:
		r.data = size
	default:
		r.skip = size
	}
}
