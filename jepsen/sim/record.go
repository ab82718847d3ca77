package sim

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

// recording is everything that a machine was told over one run of a node, with what it answered: what
// a fresh machine needs to answer the same again, byte for byte (replay.go).
//
// A call is: kind 1 byte, its arguments, uvarint length of what came of it, what came of it. That is
// its answers, and what is exposed and applied then, where that has changed.
type recording struct {
	name  string
	start causal.Start
	ref   clock.Timestamp // vectors are written as distances from it

	bytes   []byte
	calls   int
	full    bool // no more was recorded
	answers []byte

	exposed, applied clock.Vector // as last written
	holds            map[*causal.Hold]uint64
	received         map[clock.Region]told // of each region's reports, the vectors that were last written
	made             told                  // of its own ones
}

// told are the vectors of a report. Most reports repeat those of the one before.
type told struct{ durable, floor clock.Vector }

// ownReport is a report that the machine made.
type ownReport causal.Report

// maxRecording bounds the bytes of a recording.
const maxRecording = 64 << 20

// call is a kind of call of a machine.
type call byte

const (
	callOffer call = iota + 1
	callDropped
	callRemoteApplied
	callSynced
	callLocalApplied
	callLocalSafe
	callHeard
	callAddRegion
	callRemoveRegion
	callReport
	callReceive
	callIncarnated
	callParted
	callRecovered
	callHeardAt
	callServes
	callOpen
	callClose
	callHold
	callPin
	callRelease
	callAdvance
	callCuts
	callServing
	callOpenStrong
	callDecided
	callAge
)

func newRecording(name string, start causal.Start) *recording {
	return &recording{name: name, start: start, ref: clock.At(clock.Wall(start.Number)), holds: map[*causal.Hold]uint64{}, received: map[clock.Region]told{}}
}

// begin writes a call down.
func (r *recording) begin(kind call, args ...any) {
	if len(r.bytes) > maxRecording {
		r.full = true
	}
	if r.full {
		return
	}
	r.calls++
	r.bytes = append(r.bytes, byte(kind))
	for _, a := range args {
		r.bytes = r.append(r.bytes, a)
	}
}

// end writes down what came of it.
func (r *recording) end(exposed, applied clock.Vector, answer ...any) {
	if r.full {
		return
	}
	out := r.answers[:0]
	for _, a := range answer {
		out = r.append(out, a)
	}
	if !exposed.Equal(r.exposed) {
		out = r.append(append(out, 'e'), exposed)
		r.exposed = exposed
	}
	if !applied.Equal(r.applied) {
		out = r.append(append(out, 'a'), applied)
		r.applied = applied
	}
	r.bytes = binary.AppendUvarint(r.bytes, uint64(len(out)))
	r.bytes = append(r.bytes, out...)
	r.answers = out
}

// hold numbers the holds.
func (r *recording) hold(h *causal.Hold) uint64 {
	if r.holds[h] == 0 {
		r.holds[h] = uint64(len(r.holds) + 1)
	}
	return r.holds[h]
}

func (r *recording) append(dst []byte, a any) []byte {
	switch a := a.(type) {
	case nil:
		return append(dst, 0)
	case error:
		return append(append(dst, a.Error()...), 0)
	case bool:
		if a {
			return append(dst, 1)
		}
		return append(dst, 0)
	case uint64:
		return binary.AppendUvarint(dst, a)
	case clock.Region:
		return binary.AppendUvarint(dst, uint64(a))
	case clock.Timestamp:
		return binary.AppendVarint(dst, int64(r.ref-a))
	case time.Duration:
		return binary.AppendVarint(dst, int64(a))
	case clock.Wall:
		return binary.AppendVarint(dst, int64(a))
	case clock.Lane:
		return append(binary.AppendUvarint(dst, uint64(a.Region)), byte(a.Slot))
	case clock.Vector:
		return a.Append(dst, r.ref)
	case []clock.Region:
		dst = binary.AppendUvarint(dst, uint64(len(a)))
		for _, region := range a {
			dst = binary.AppendUvarint(dst, uint64(region))
		}
		return dst
	case kv.Header:
		return a.Append(dst)
	case causal.Report:
		before := r.received[a.Region]
		r.received[a.Region] = told{a.Durable, a.Floor}
		return r.appendReport(dst, a, before)
	case ownReport:
		before := r.made
		r.made = told{a.Durable, a.Floor}
		return r.appendReport(dst, causal.Report(a), before)
	case causal.Verdict:
		dst = r.append(append(dst, byte(a.Action)), a.Held)
		dst = r.append(r.append(dst, a.Missing.Region), a.Missing.Time)
		return binary.AppendVarint(dst, int64(a.Ahead))
	}
	panic(fmt.Sprintf("sim: no way to record a %T", a))
}

func (r *recording) appendReport(dst []byte, p causal.Report, before told) []byte {
	dst = binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(dst, uint64(p.Region)), p.Number), p.Incarnation)
	dst = r.appendChanged(r.appendChanged(dst, p.Durable, before.durable), p.Floor, before.floor)
	return binary.AppendVarint(binary.AppendVarint(dst, int64(r.ref-p.Safe)), int64(r.ref-p.Zero))
}

// appendChanged writes a vector, or that it is the one before.
func (r *recording) appendChanged(dst []byte, v, before clock.Vector) []byte {
	if v.Equal(before) {
		return append(dst, 0)
	}
	return v.Append(append(dst, 1), r.ref)
}

// savedStart is the first line of a saved recording, in JSON. The calls are behind it.
type savedStart struct {
	Name  string
	Start causal.Start
}

func (r *recording) encode() []byte {
	start, err := json.Marshal(savedStart{r.name, r.start})
	if err != nil {
		panic(fmt.Sprintf("sim: a start is plain numbers: %v", err))
	}
	return append(append(start, '\n'), r.bytes...)
}

// decodeRecording reads what encode wrote.
func decodeRecording(src []byte) (*recording, error) {
	line, calls, found := bytes.Cut(src, []byte("\n"))
	var s savedStart
	if !found {
		return nil, errRecording
	}
	if err := json.Unmarshal(line, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecording, err)
	}
	r := newRecording(s.Name, s.Start)
	r.bytes = calls
	return r, nil
}
