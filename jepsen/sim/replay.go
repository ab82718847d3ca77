package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

// errRecording says that bytes are no recording.
var errRecording = errors.New("sim: malformed recording")

// replay tells a fresh machine all that was recorded, and says where it answers something else.
func (r *recording) replay() error {
	m, err := causal.New(r.start)
	if err != nil {
		return fmt.Errorf("sim: the machine of the recording: %w", err)
	}
	again := newRecording(r.name, r.start)
	c := &core{Core: m, reach: newReached(), open: map[uint64]clock.Vector{}, record: again, ended: new(atomic.Bool)}
	c.ended.Store(true) // it has been judged
	p := &player{core: c, in: r.bytes, ref: r.ref, snapshots: map[uint64]causal.Snapshot{}, holds: map[uint64]*causal.Hold{}}
	for call := 1; len(p.in) > 0; call++ {
		begun := len(r.bytes) - len(p.in)
		again.bytes = again.bytes[:0]
		p.one()
		if p.err != nil {
			return fmt.Errorf("call %d: %w", call, p.err)
		}
		if want := r.bytes[begun : len(r.bytes)-len(p.in)]; !bytes.Equal(again.bytes, want) {
			return fmt.Errorf("call %d of %s, kind %d: recorded %x, replayed %x", call, r.name, want[0], want, again.bytes)
		}
	}
	return nil
}

// player makes recorded calls. After the first error it makes no sense of the rest.
type player struct {
	core      *core
	in        []byte
	ref       clock.Timestamp
	err       error
	snapshots map[uint64]causal.Snapshot
	holds     map[uint64]*causal.Hold
}

// one makes the next call, and passes over what came of it then.
func (p *player) one() {
	kind := call(p.byte())
	if kind < callOpen {
		p.event(kind)
	} else {
		p.cut(kind)
	}
	if n := p.uint(); n <= uint64(len(p.in)) {
		p.in = p.in[n:]
	} else {
		p.err = errRecording
	}
}

func (p *player) event(kind call) {
	c := p.core
	switch kind {
	case callOffer:
		h := p.header()
		c.Offer(h, clock.Wall(p.int()))
	case callDropped:
		c.Dropped(p.lane())
	case callRemoteApplied:
		c.RemoteApplied(p.header())
	case callSynced:
		lane := p.lane()
		c.Synced(lane, p.time())
	case callLocalApplied:
		t := p.time()
		c.LocalApplied(t, p.vector())
	case callLocalSafe:
		last := p.time()
		c.LocalSafe(last, p.time())
	case callHeard:
		lane, last := p.lane(), p.time()
		c.Heard(lane, last, p.time())
	case callHeardAt:
		lane, last := p.lane(), p.time()
		c.HeardAt(lane, last, time.Duration(p.int()))
	case callServes:
		c.Serves(clock.Region(p.uint()))
	case callAddRegion:
		_ = c.AddRegion(p.lane()) // the error is compared
	case callRemoveRegion:
		_ = c.RemoveRegion(p.lane())
	case callReport:
		c.Report()
	case callReceive:
		c.Receive(p.report())
	case callIncarnated:
		region := clock.Region(p.uint())
		c.Incarnated(region, p.uint())
	case callParted:
		c.Parted(clock.Region(p.uint()))
	case callRecovered:
		c.Recovered()
	default:
		p.err = errRecording
	}
}

// cut makes a call about snapshots and the horizon.
func (p *player) cut(kind call) {
	c := p.core
	switch kind {
	case callOpen:
		writes := p.byte() == 1
		if s, err := c.Open(writes, p.byte() == 1); err == nil {
			p.snapshots[s.Number()] = s
		}
	case callClose:
		if s, ok := p.snapshots[p.uint()]; ok {
			c.Close(s)
			return
		}
		p.err = errRecording
	case callHold:
		h, _ := c.Hold(p.vector())
		p.held(h)
	case callPin:
		h, _ := c.Pin()
		p.held(h)
	case callRelease:
		if h := p.holds[p.uint()]; h != nil {
			c.Release(h)
			return
		}
		p.err = errRecording
	case callAdvance:
		c.Advance()
	case callCuts:
		c.Cuts()
	default:
		p.strong(kind)
	}
}

// strong makes a call about strong snapshots.
func (p *player) strong(kind call) {
	c := p.core
	switch kind {
	case callServing:
		c.Serving(p.regions())
	case callOpenStrong:
		if s, _, ok, _ := c.OpenStrong(p.byte() == 1); ok {
			p.snapshots[s.Number()] = s
		}
	case callDecided:
		c.Decided(p.time())
	case callAge:
		c.Age()
	default:
		p.err = errRecording
	}
}

func (p *player) held(h *causal.Hold) {
	if h != nil {
		p.holds[p.core.record.hold(h)] = h
	}
}

func (p *player) byte() byte {
	if len(p.in) == 0 {
		p.err = errRecording
		return 0
	}
	b := p.in[0]
	p.in = p.in[1:]
	return b
}

func (p *player) uint() uint64 {
	n, k := binary.Uvarint(p.in)
	return took(p, n, k)
}

func (p *player) int() int64 {
	n, k := binary.Varint(p.in)
	return took(p, n, k)
}

// took passes over what was read, if it could be.
func took[T any](p *player, v T, n int) T {
	if n <= 0 {
		p.err, n = errRecording, 0
	}
	p.in = p.in[n:]
	return v
}

func (p *player) time() clock.Timestamp { return p.ref - clock.Timestamp(p.int()) }

func (p *player) lane() clock.Lane {
	region := clock.Region(p.uint())
	return clock.Lane{Region: region, Slot: clock.Slot(p.byte())}
}

func (p *player) regions() (out []clock.Region) {
	n := p.uint()
	if n > uint64(len(p.in)) {
		p.err = errRecording
		return nil
	}
	for range n {
		out = append(out, clock.Region(p.uint()))
	}
	return out
}

func (p *player) vector() clock.Vector {
	v, rest, err := clock.DecodeVector(p.in, p.ref)
	if err != nil {
		p.err = err
		return nil
	}
	p.in = rest
	return v
}

// changed reads a vector, or that it is the one before.
func (p *player) changed(before clock.Vector) clock.Vector {
	if p.byte() == 0 {
		return before
	}
	return p.vector()
}

func (p *player) header() kv.Header {
	h, rest, err := kv.SplitRecord(p.in)
	if err != nil {
		p.err = err
		return h
	}
	p.in = rest
	return h
}

func (p *player) report() (r causal.Report) {
	r.Region, r.Number, r.Incarnation = clock.Region(p.uint()), p.uint(), p.uint()
	before := p.core.record.received[r.Region]
	r.Durable, r.Floor = p.changed(before.durable), p.changed(before.floor)
	r.Safe, r.Zero = p.time(), p.time()
	return r
}
