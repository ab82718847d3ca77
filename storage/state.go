package storage

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

const stateVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// laneTime is how far a lane is applied.
type laneTime struct {
	lane clock.Lane
	time clock.Timestamp
}

// state is what every batch writes: the store's sequence number, how far each lane is applied, and
// the bound below which the own lane's timestamps stay.
type state struct {
	incarnation uint64
	number      uint64
	bound       clock.Timestamp
	applied     []laneTime // sorted by lane
}

func (s *state) find(l clock.Lane) (int, bool) {
	for i := range s.applied {
		if c := s.applied[i].lane.Compare(l); c >= 0 {
			return i, c == 0
		}
	}
	return len(s.applied), false
}

func (s *state) at(l clock.Lane) clock.Timestamp {
	if i, found := s.find(l); found {
		return s.applied[i].time
	}
	return 0
}

func (s *state) set(l clock.Lane, t clock.Timestamp) {
	i, found := s.find(l)
	if !found {
		s.applied = slices.Insert(s.applied, i, laneTime{lane: l})
	}
	s.applied[i].time = t
}

// copyFrom makes s equal to t without sharing memory.
func (s *state) copyFrom(t *state) {
	applied := append(s.applied[:0], t.applied...)
	*s = *t
	s.applied = applied
}

func (s *state) vector() clock.Vector {
	var v clock.Vector
	for _, a := range s.applied {
		if a.time > v.At(a.lane.Region) {
			v = v.With(a.lane.Region, a.time)
		}
	}
	return v
}

func (s *state) lanes() map[clock.Lane]clock.Timestamp {
	m := make(map[clock.Lane]clock.Timestamp, len(s.applied))
	for _, a := range s.applied {
		m[a.lane] = a.time
	}
	return m
}

func (s *state) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, stateVersion)
	dst = binary.BigEndian.AppendUint64(dst, s.incarnation)
	dst = binary.BigEndian.AppendUint64(dst, s.number)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.bound))
	dst = binary.AppendUvarint(dst, uint64(len(s.applied)))
	for _, a := range s.applied {
		dst = binary.BigEndian.AppendUint64(appendLane(dst, a.lane), uint64(a.time))
	}
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func decodeState(src []byte) (state, error) {
	bad := kv.Errorf(kv.KindCorrupt, "storage: malformed state: %d bytes", len(src))
	const fixed, each = 1 + 8 + 8 + 8, 3 + 8
	if len(src) < fixed+1+4 || src[0] != stateVersion {
		return state{}, bad
	}
	body := src[:len(src)-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(src[len(src)-4:]) {
		return state{}, bad
	}
	s := state{
		incarnation: binary.BigEndian.Uint64(src[1:]),
		number:      binary.BigEndian.Uint64(src[9:]),
		bound:       clock.Timestamp(binary.BigEndian.Uint64(src[17:])),
	}
	n, k := binary.Uvarint(body[fixed:])
	if k <= 0 || n > clock.MaxVectorEntries*(uint64(clock.MaxSlot)+1) || uint64(len(body)-fixed-k) != n*each {
		return state{}, bad
	}
	for b := body[fixed+k:]; len(b) > 0; b = b[each:] {
		l := decodeLane(b)
		if n := len(s.applied); n > 0 && s.applied[n-1].lane.Compare(l) >= 0 {
			return state{}, bad
		}
		s.applied = append(s.applied, laneTime{l, clock.Timestamp(binary.BigEndian.Uint64(b[3:]))})
	}
	return s, nil
}
