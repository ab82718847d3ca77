package replication

import (
	"encoding/binary"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Packed records: consecutive records of one lane, without what the one before tells.
//
//	prev 8, big endian | records, each:
//	    time uvarint (distance from prev) | kind 1
//	    | deps uvarint n, n * (region uvarint, distance zigzag varint)
//	    | body uvarint length, bytes (the encoded record behind its header)
//
// prev is the timestamp of the record before. Dependencies are told as what differs from the
// expected ones: those of the record before (at first none), with prev as the lane's own region. An
// entry that is no longer there stands at 0. Unpacking gives the same bytes as were packed, since
// a header has one encoding.

// packer builds packed records.
type packer struct {
	lane clock.Lane
	prev clock.Timestamp
	deps clock.Vector
	out  []byte
}

func newPacker(lane clock.Lane, prev clock.Timestamp) *packer {
	return &packer{lane: lane, prev: prev, out: binary.BigEndian.AppendUint64(nil, uint64(prev))}
}

// add packs the next record. Errors match kv.ErrCorrupt: the log of this node is damaged.
func (p *packer) add(encoded []byte) (clock.Timestamp, error) {
	h, body, err := kv.SplitRecord(encoded)
	if err != nil {
		return 0, err
	}
	if h.Lane != p.lane || h.Prev != p.prev {
		return 0, kv.Errorf(kv.KindCorrupt, "lane %s: record %s behind %s, instead of behind %s", p.lane, h.Stamp(), h.Prev, p.prev)
	}
	p.out = binary.AppendUvarint(p.out, uint64(h.Time-h.Prev))
	p.out = append(p.out, byte(h.Kind))
	p.out = appendDifference(p.out, p.deps.With(p.lane.Region, p.prev), h.Deps)
	p.out = binary.AppendUvarint(p.out, uint64(len(body)))
	p.out = append(p.out, body...)
	p.prev, p.deps = h.Time, h.Deps
	return h.Time, nil
}

// appendDifference encodes what has to change to make v from expected.
func appendDifference(dst []byte, expected, v clock.Vector) []byte {
	all := expected.Join(v) // every region of either
	n := 0
	for _, e := range all {
		if expected.At(e.Region) != v.At(e.Region) {
			n++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(n))
	for _, e := range all {
		if from, to := expected.At(e.Region), v.At(e.Region); from != to {
			dst = binary.AppendUvarint(dst, uint64(e.Region))
			dst = binary.AppendVarint(dst, int64(to-from))
		}
	}
	return dst
}

func malformed(what string) error {
	return kv.Errorf(kv.KindCorrupt, "malformed packed records: %s", what)
}

// unpacker reads packed records.
type unpacker struct {
	lane clock.Lane
	prev clock.Timestamp
	deps clock.Vector
	src  []byte
}

// unpack rebuilds the records of a lane and says which record they are behind. The records own
// their bytes. Errors match kv.ErrCorrupt.
func unpack(lane clock.Lane, src []byte) (prev clock.Timestamp, records []Incoming, err error) {
	if len(src) < 8 {
		return 0, nil, malformed("too short")
	}
	prev = clock.Timestamp(binary.BigEndian.Uint64(src))
	u := unpacker{lane: lane, prev: prev, src: src[8:]}
	total := 0
	for len(u.src) > 0 {
		in, err := u.next()
		if err != nil {
			return 0, nil, err
		}
		if total += len(in.Encoded); total > MaxRecord {
			return 0, nil, malformed("too large")
		}
		records = append(records, in)
	}
	return prev, records, nil
}

func (u *unpacker) next() (Incoming, error) {
	distance, err := u.uvarint()
	if err != nil {
		return Incoming{}, err
	}
	if len(u.src) == 0 {
		return Incoming{}, malformed("no kind")
	}
	h := kv.Header{Lane: u.lane, Time: u.prev + clock.Timestamp(distance), Prev: u.prev, Kind: kv.RecordKind(u.src[0])}
	u.src = u.src[1:]
	if h.Time <= h.Prev {
		return Incoming{}, malformed("time runs backwards")
	}
	if h.Deps, err = u.difference(u.deps.With(u.lane.Region, u.prev)); err != nil {
		return Incoming{}, err
	}
	size, err := u.uvarint()
	if err != nil || size > uint64(len(u.src)) {
		return Incoming{}, malformed("body")
	}
	encoded := h.Append(make([]byte, 0, 32+12*len(h.Deps)+int(size)))
	encoded = append(encoded, u.src[:size]...)
	u.src = u.src[size:]
	u.prev, u.deps = h.Time, h.Deps
	record, err := kv.DecodeRecord(encoded)
	return Incoming{Record: record, Encoded: encoded}, err
}

func (u *unpacker) uvarint() (uint64, error) {
	v, n := binary.Uvarint(u.src)
	if n <= 0 {
		return 0, malformed("number")
	}
	u.src = u.src[n:]
	return v, nil
}

func (u *unpacker) difference(expected clock.Vector) (clock.Vector, error) {
	n, err := u.uvarint()
	if err != nil || n > clock.MaxVectorEntries {
		return nil, malformed("dependencies")
	}
	v := expected
	for range n {
		region, err := u.uvarint()
		if err != nil || region > 0xffff {
			return nil, malformed("region")
		}
		distance, k := binary.Varint(u.src)
		if k <= 0 {
			return nil, malformed("dependency")
		}
		u.src = u.src[k:]
		r := clock.Region(region)
		v = v.With(r, v.At(r)+clock.Timestamp(distance))
	}
	if len(v) > clock.MaxVectorEntries {
		return nil, malformed("too many dependencies")
	}
	return v, nil
}
