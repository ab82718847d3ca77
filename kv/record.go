package kv

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/theriac-db/theriac/clock"
)

// RecordKind says what a log record holds.
type RecordKind uint8

const (
	RecordGroup RecordKind = 1 // transactions
	RecordVoid  RecordKind = 2 // an interval of timestamps that were never exposed
	RecordDrop  RecordKind = 3 // a bucket is dropped; only the certifier's lane has such
)

// recordVersion is the first byte of every record.
const recordVersion = 1

// Header is the part of a record that decides when it may be applied.
type Header struct {
	Lane clock.Lane
	Time clock.Timestamp
	Prev clock.Timestamp // of the lane's record before this one; 0 for the first
	Kind RecordKind
	Deps clock.Vector // the join of the transactions' snapshots, lowered to transactions
}

// Stamp is the record's group.
func (h Header) Stamp() clock.Stamp { return clock.Stamp{Region: h.Lane.Region, Time: h.Time} }

// Record is one entry of a lane's log: what one group commit wrote.
type Record struct {
	Header
	Txns []Txn
	Void Interval   // RecordVoid only
	Drop BucketDrop // RecordDrop only
}

// BucketDrop says that a bucket's keys have another generation from here on: at snapshots that see it, what was
// written in lower ones is no more.
type BucketDrop struct {
	Bucket     Bucket
	Generation uint32 // the new one, above 0
}

// Interval is (From, To]: timestamps of one lane.
type Interval struct{ From, To clock.Timestamp }

// Contains reports whether t lies in the interval.
func (i Interval) Contains(t clock.Timestamp) bool { return i.From < t && t <= i.To }

const (
	txnHasID       = 1
	txnHasSnapshot = 2
)

// Append encodes the part of a record that the header is.
func (h *Header) Append(dst []byte) []byte {
	dst = append(dst, recordVersion, byte(h.Kind))
	dst = binary.AppendUvarint(dst, uint64(h.Lane.Region))
	dst = append(dst, byte(h.Lane.Slot))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Time))
	dst = binary.AppendUvarint(dst, uint64(h.Time-h.Prev))
	return h.Deps.Append(dst, h.Time)
}

// Append encodes r behind dst.
func (r *Record) Append(dst []byte) []byte {
	dst = r.Header.Append(dst)
	switch r.Kind {
	case RecordVoid:
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.Void.From))
		return binary.BigEndian.AppendUint64(dst, uint64(r.Void.To))
	case RecordDrop:
		return binary.AppendUvarint(appendBytes(dst, string(r.Drop.Bucket)), uint64(r.Drop.Generation))
	}
	return r.appendTxns(dst)
}

type bucketGeneration struct {
	name       Bucket
	generation uint32
}

// AppendAlone encodes a transaction outside of a record, behind dst: version, buckets, transaction, as in a
// record of time 0.
func (t *Txn) AppendAlone(dst []byte) []byte {
	r := Record{Txns: []Txn{*t}}
	return r.appendTxns(append(dst, recordVersion))
}

// DecodeAlone reads what AppendAlone wrote. The slices of the result alias src.
func DecodeAlone(src []byte) (Txn, error) {
	d := decoder{src: src}
	if d.byte() != recordVersion {
		d.fail()
	}
	txns := d.txns(0)
	if d.bad || len(txns) != 1 || len(d.src) != 0 {
		return Txn{}, Errorf(KindCorrupt, "malformed transaction")
	}
	return txns[0], nil
}

// bucketTable numbers the buckets of a record. Most records name one or two, for which a linear
// search wins; beyond fewBuckets a map takes over.
type bucketTable struct {
	list  []bucketGeneration
	index map[bucketGeneration]int
}

const fewBuckets = 8

func (t *bucketTable) number(b Bucket, generation uint32) int {
	e := bucketGeneration{b, generation}
	if t.index == nil {
		if i := slices.Index(t.list, e); i >= 0 {
			return i
		}
	} else if i, ok := t.index[e]; ok {
		return i
	}
	t.list = append(t.list, e)
	switch n := len(t.list); {
	case t.index != nil:
		t.index[e] = n - 1
	case n > fewBuckets:
		t.index = make(map[bucketGeneration]int, 2*n)
		for i, known := range t.list {
			t.index[known] = i
		}
	}
	return len(t.list) - 1
}

func (r *Record) appendTxns(dst []byte) []byte {
	var space [4]bucketGeneration
	table := bucketTable{list: space[:0]}
	for i := range r.Txns {
		for j := range r.Txns[i].Effects {
			table.number(r.Txns[i].Effects[j].Bucket, r.Txns[i].Effects[j].Generation)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(table.list)))
	for _, b := range table.list {
		dst = appendBytes(dst, string(b.name))
		dst = binary.AppendUvarint(dst, uint64(b.generation))
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Txns)))
	for i := range r.Txns {
		dst = r.Txns[i].append(dst, r.Time, &table)
	}
	return dst
}

func (t *Txn) append(dst []byte, time clock.Timestamp, table *bucketTable) []byte {
	var flags byte
	if !t.ID.IsZero() {
		flags |= txnHasID
	}
	if t.Snapshot != nil {
		flags |= txnHasSnapshot
	}
	dst = append(dst, flags)
	if flags&txnHasID != 0 {
		dst = append(dst, t.ID[:]...)
	}
	if flags&txnHasSnapshot != 0 {
		dst = t.Snapshot.Append(dst, time)
	}
	dst = binary.AppendUvarint(dst, uint64(len(t.Effects)))
	for i := range t.Effects {
		e := &t.Effects[i]
		dst = binary.AppendUvarint(dst, uint64(table.number(e.Bucket, e.Generation)))
		dst = append(dst, byte(e.Type))
		dst = appendBytes(dst, string(e.Key))
		dst = appendBytes(dst, e.Path)
		dst = appendBytes(dst, e.Op)
	}
	return dst
}

func appendBytes[T string | []byte](dst []byte, b T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// DecodeHeader reads a record's header only; cheap, for deciding what to do with the record.
func DecodeHeader(src []byte) (Header, error) {
	d := decoder{src: src}
	h := d.header()
	return h, d.failed()
}

// SplitRecord reads a record's header and returns the bytes behind it, unread.
func SplitRecord(src []byte) (Header, []byte, error) {
	d := decoder{src: src}
	h := d.header()
	return h, d.src, d.failed()
}

// DecodeRecord reads a whole record. The slices of the result alias src.
func DecodeRecord(src []byte) (*Record, error) {
	d := decoder{src: src}
	r := &Record{Header: d.header()}
	switch {
	case d.bad:
	case r.Kind == RecordVoid:
		r.Void.From = clock.Timestamp(d.uint64())
		r.Void.To = clock.Timestamp(d.uint64())
	case r.Kind == RecordDrop:
		r.Drop = d.drop()
	default:
		r.Txns = d.txns(r.Time)
	}
	if err := d.failed(); err != nil {
		return nil, err
	}
	if len(d.src) != 0 {
		return nil, Errorf(KindCorrupt, "log record %s has %d bytes too many", r.Stamp(), len(d.src))
	}
	return r, nil
}

// decoder reads forward and remembers the first failure, so that callers check once.
type decoder struct {
	src []byte
	bad bool
}

func (d *decoder) failed() error {
	if d.bad {
		return Errorf(KindCorrupt, "malformed log record")
	}
	return nil
}

func (d *decoder) fail() { d.bad, d.src = true, nil }

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.src)) {
		d.fail()
		return nil
	}
	out := d.src[:n:n]
	d.src = d.src[n:]
	return out
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.src)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.src = d.src[n:]
	return v
}

// Least bytes that each of these takes. They bound what a forged count can make a decoder allocate.
const (
	minBucket = 2 // length, generation
	minTxn    = 2 // flags, effects
	minEffect = 5 // bucket, type, three lengths
)

// count reads a number of things that take at least so many bytes each.
func (d *decoder) count(least int) int {
	n := d.uvarint()
	if n > uint64(len(d.src)/least) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) bytes() []byte { return d.take(d.uvarint()) }

func (d *decoder) vector(ref clock.Timestamp) clock.Vector {
	v, rest, err := clock.DecodeVector(d.src, ref)
	if err != nil {
		d.fail()
		return nil
	}
	d.src = rest
	return v
}

func (d *decoder) header() Header {
	if v := d.byte(); v != recordVersion {
		d.fail()
	}
	h := Header{Kind: RecordKind(d.byte())}
	region := d.uvarint()
	h.Lane = clock.Lane{Region: clock.Region(region), Slot: clock.Slot(d.byte())}
	h.Time = clock.Timestamp(d.uint64())
	distance := d.uvarint()
	h.Prev = h.Time - clock.Timestamp(distance)
	h.Deps = d.vector(h.Time)
	known := h.Kind >= RecordGroup && h.Kind <= RecordDrop
	if region > 0xffff || h.Lane.Slot > clock.MaxSlot || !known || distance == 0 || distance > uint64(h.Time) {
		d.fail()
	}
	return h
}

func (d *decoder) drop() BucketDrop {
	drop := BucketDrop{Bucket: Bucket(d.bytes()), Generation: d.generation()}
	if drop.Bucket == "" || len(drop.Bucket) > MaxBucket || drop.Generation == 0 {
		d.fail()
	}
	return drop
}

func (d *decoder) generation() uint32 {
	generation := d.uvarint()
	if generation > math.MaxUint32 {
		d.fail()
	}
	return uint32(generation)
}

func (d *decoder) txns(time clock.Timestamp) []Txn {
	table := make([]bucketGeneration, d.count(minBucket))
	for i := range table {
		table[i].name = Bucket(d.bytes())
		table[i].generation = d.generation()
	}
	txns := make([]Txn, d.count(minTxn))
	index := uint32(0)
	for i := range txns {
		t := &txns[i]
		flags := d.byte()
		if flags&txnHasID != 0 {
			copy(t.ID[:], d.take(uint64(len(t.ID))))
		}
		if flags&txnHasSnapshot != 0 {
			if t.Snapshot = d.vector(time); t.Snapshot == nil {
				t.Snapshot = clock.Vector{}
			}
		}
		if flags&^(txnHasID|txnHasSnapshot) != 0 {
			d.fail()
		}
		t.Effects = d.effects(table, &index)
	}
	return txns
}

func (d *decoder) effects(table []bucketGeneration, index *uint32) []Effect {
	effects := make([]Effect, d.count(minEffect))
	for i := range effects {
		e := &effects[i]
		b := d.uvarint()
		if b >= uint64(len(table)) {
			d.fail()
			return nil
		}
		e.Bucket, e.Generation = table[b].name, table[b].generation
		e.Type = Type(d.byte())
		e.Key = Key(d.bytes())
		e.Path = d.bytes()
		e.Op = d.bytes()
		e.Index = *index
		*index++
	}
	return effects
}
