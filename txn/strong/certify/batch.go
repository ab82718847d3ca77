package certify

import (
	"encoding/binary"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/wire"
)

// batchVersion is the first byte of every log entry. It rises with every change of what is decided.
const batchVersion = 2

// The bits above a proposal's kind.
const (
	kindBits    = 0x0f
	newProposer = 0x10
	hasID       = 0x20
)

// headBytes is what a batch has before its first proposal: version, reference time, count.
const headBytes = 1 + 8 + 2

// perProposal bounds what the parts of a proposal take that are not counted one by one.
const perProposal = 128

// basis is what a proposal's encoding refers to.
type basis struct {
	proposer Proposer
	number   uint64
	ref      clock.Timestamp
}

// Builder gathers proposals for one log entry. The zero Builder is empty and ready.
type Builder struct {
	body     []byte // the proposals; the head goes before them
	basis    basis
	timed    bool // a proposal refers to basis.ref, the highest time of the first that has times
	count    int
	accesses int
}

// Len is the bytes that the entry has so far, about.
func (b *Builder) Len() int { return headBytes + len(b.body) }

// Count is the number of proposals in it.
func (b *Builder) Count() int { return b.count }

// Add puts a proposal into the entry, or returns false if it does not fit beside those that are there.
// One that fits into no entry is a kv.KindTooLarge, one that makes no sense a kv.KindInvalid.
func (b *Builder) Add(p *Proposal) (bool, error) {
	if err := p.check(); err != nil {
		return false, err
	}
	size, accesses := p.size(), len(p.Reads)+len(p.Writes)
	if headBytes+size > MaxBatchBytes || accesses > MaxBatchAccesses {
		return false, kv.Errorf(kv.KindTooLarge, "a strong transaction of about %d bytes that reads and writes %d places: at most %d and %d",
			size, accesses, MaxBatchBytes, MaxBatchAccesses)
	}
	if b.count == MaxBatch || b.Len()+size > MaxBatchBytes || b.accesses+accesses > MaxBatchAccesses {
		return false, nil
	}
	if !b.timed && (p.Kind == KindTransaction || len(p.Snapshot) > 0 || !p.ID.IsZero()) {
		b.timed, b.basis.ref = true, max(p.Snapshot.Max(), p.After)
	}
	b.body = p.append(b.body, &b.basis)
	b.count++
	b.accesses += accesses
	return true, nil
}

// Take returns the log entry, and empties the builder, whose space is used again.
func (b *Builder) Take() []byte {
	entry := make([]byte, 0, b.Len())
	entry = append(entry, batchVersion)
	entry = binary.BigEndian.AppendUint64(entry, uint64(b.basis.ref))
	entry = binary.AppendUvarint(entry, uint64(b.count))
	entry = append(entry, b.body...)
	*b = Builder{body: b.body[:0]}
	return entry
}

// check refuses what no proposer means (invariant 6).
func (p *Proposal) check() error {
	var wrong string
	switch {
	case p.Region == 0 || p.Incarnation == 0:
		wrong = "names no proposer"
	case p.Kind == KindBegin && (p.Number != 0 || p.Answered != 0 || p.Ends == p.Incarnation || !p.ID.IsZero()):
		wrong = "has a number, an id, or ends itself"
	case p.Kind != KindBegin && p.Answered >= p.Number:
		wrong = "is numbered among those that were answered"
	case p.Kind == KindDenial && p.ID.IsZero():
		wrong = "names no operation"
	case p.Kind == KindCommand && !p.ID.IsZero():
		wrong = "has an operation id"
	case p.Kind < KindTransaction || p.Kind > KindCommand:
		wrong = "is of no known kind"
	default:
		return p.checkAccesses()
	}
	return kv.Errorf(kv.KindInvalid, "proposal %d of %s, a %s, %s", p.Number, p.Proposer, p.Kind, wrong)
}

func (p *Proposal) checkAccesses() error {
	for i := range len(p.Reads) + len(p.Writes) {
		if n := len(p.access(i).Key); n == 0 || n > MaxAccess {
			return kv.Errorf(kv.KindInvalid, "proposal %d of %s accesses a key of %d bytes: want 1 to %d", p.Number, p.Proposer, n, MaxAccess)
		}
	}
	return nil
}

// access is the i-th access as Conflict counts them.
func (p *Proposal) access(i int) Access {
	if i < len(p.Reads) {
		return p.Reads[i]
	}
	return p.Writes[i-len(p.Reads)].Access
}

// size bounds what append adds.
func (p *Proposal) size() int {
	n := perProposal + len(p.Body) + len(p.Snapshot)*(3+binary.MaxVarintLen64)
	for i := range len(p.Reads) + len(p.Writes) {
		n += 3 + len(p.access(i).Key)
	}
	return n
}

// append encodes a proposal and makes it the next one's basis.
func (p *Proposal) append(dst []byte, c *basis) []byte {
	tag := byte(p.Kind)
	if p.Proposer != c.proposer {
		tag |= newProposer
	}
	if !p.ID.IsZero() {
		tag |= hasID
	}
	dst = append(dst, tag)
	if tag&newProposer != 0 {
		dst = binary.AppendUvarint(dst, uint64(p.Region))
		dst = binary.BigEndian.AppendUint64(dst, p.Incarnation)
		c.proposer = p.Proposer
	}
	if p.Kind == KindBegin {
		return binary.BigEndian.AppendUint64(dst, p.Ends)
	}
	dst = binary.AppendVarint(dst, int64(p.Number-c.number))
	dst = binary.AppendUvarint(dst, p.Number-p.Answered)
	c.number = p.Number
	if tag&hasID != 0 {
		dst = append(dst, p.ID[:]...)
		dst = binary.AppendVarint(dst, int64(c.ref-p.After))
	}
	switch p.Kind {
	case KindTransaction:
		dst = p.appendTransaction(dst, c.ref)
	case KindCommand:
		dst = wire.AppendBytes(p.Snapshot.Append(dst, c.ref), p.Body)
	}
	return dst
}

func (p *Proposal) appendTransaction(dst []byte, ref clock.Timestamp) []byte {
	dst = p.Snapshot.Append(dst, ref)
	dst = binary.AppendUvarint(dst, uint64(len(p.Reads)))
	for _, r := range p.Reads {
		dst = binary.AppendUvarint(dst, uint64(len(r.Key))<<1|bit(r.Prefix))
		dst = append(dst, r.Key...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(p.Writes)))
	for _, w := range p.Writes {
		dst = binary.AppendUvarint(dst, uint64(len(w.Key))<<2|bit(w.Covers)<<1|bit(w.Prefix))
		dst = append(dst, w.Key...)
	}
	return wire.AppendBytes(dst, p.Body)
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// Least bytes that each of these takes.
const (
	minProposal = 3 // tag, number, answered
	minAccess   = 2 // length, one byte
)

// decoder reads a batch. What several proposals have many of it takes from a few large slices.
type decoder struct {
	wire.Reader
	basis
	reads   []Access
	writes  []Write
	entries []clock.Entry
}

// DecodeBatch reads what Builder made. The slices of the result alias it. A shell calls it on what a peer
// sends, before that goes into the log: Apply takes a malformed entry for the end.
func DecodeBatch(entry []byte) ([]Proposal, error) {
	d := decoder{Reader: wire.NewReader(entry)}
	if len(entry) > MaxBatchBytes || d.Byte() != batchVersion {
		d.Fail()
	}
	d.ref = d.Time()
	batch := make([]Proposal, min(d.Count(minProposal), MaxBatch+1))
	if len(batch) > MaxBatch {
		d.Fail()
	}
	for i := range batch {
		if d.proposal(&batch[i]); d.Failed() {
			break
		}
	}
	if !d.Finished() {
		return nil, kv.Errorf(kv.KindCorrupt, "malformed log entry of strong transactions (%d bytes)", len(entry))
	}
	return batch, nil
}

// decodeBatches reads the batches of one entry.
func decodeBatches(batches [][]byte) (proposals []Proposal, err error) {
	for _, batch := range batches {
		if len(batch) == 0 {
			continue
		}
		list, err := DecodeBatch(batch)
		if err != nil {
			return nil, err
		}
		if proposals == nil {
			proposals = list
		} else {
			proposals = append(proposals, list...)
		}
	}
	return proposals, nil
}

func (d *decoder) proposal(p *Proposal) {
	tag := d.Byte()
	if tag&newProposer != 0 {
		d.proposer = Proposer{Region: d.Region(), Incarnation: d.Uint64()}
	}
	p.Proposer, p.Kind = d.proposer, Kind(tag&kindBits)
	if p.Kind == KindBegin {
		p.Ends = d.Uint64()
	} else {
		d.number += uint64(d.Varint())
		p.Number = d.number
		p.Answered = p.Number - d.AtMost(p.Number)
	}
	if tag&hasID != 0 {
		copy(p.ID[:], d.Take(uint64(len(p.ID))))
		p.After = d.ref - clock.Timestamp(d.Varint())
	}
	switch p.Kind {
	case KindTransaction:
		d.transaction(p)
	case KindCommand:
		p.Snapshot = d.vector()
		p.Body = d.Bytes(MaxBatchBytes)
	}
	if tag&^(kindBits|newProposer|hasID) != 0 || tag&hasID != 0 && p.ID.IsZero() || p.check() != nil {
		d.Fail()
	}
}

func (d *decoder) transaction(p *Proposal) {
	p.Snapshot = d.vector()
	first := len(d.reads)
	for range d.accessCount() {
		n := d.Uvarint()
		d.reads = append(d.reads, Access{Key: d.Take(n >> 1), Prefix: n&1 != 0})
	}
	p.Reads = d.reads[first:len(d.reads):len(d.reads)]
	first = len(d.writes)
	for range d.accessCount() {
		n := d.Uvarint()
		d.writes = append(d.writes, Write{Access: Access{Key: d.Take(n >> 2), Prefix: n&1 != 0}, Covers: n&2 != 0})
	}
	p.Writes = d.writes[first:len(d.writes):len(d.writes)]
	p.Body = d.Bytes(MaxBatchBytes)
}

// accessCount reads how many accesses follow, within the bound of the whole entry.
func (d *decoder) accessCount() int {
	n := d.Count(minAccess)
	if n > MaxBatchAccesses-len(d.reads)-len(d.writes) {
		d.Fail()
		return 0
	}
	return n
}

// entryChunk is how many vector entries are allocated at a time.
const entryChunk = 256

func (d *decoder) vector() clock.Vector {
	if cap(d.entries)-len(d.entries) < entryChunk/8 {
		d.entries = make([]clock.Entry, 0, entryChunk)
	}
	v := d.Vector(d.entries[len(d.entries):], d.ref)
	if n := len(v); n <= cap(d.entries)-len(d.entries) { // else it has a slice of its own
		d.entries = d.entries[:len(d.entries)+n]
	}
	return v[:len(v):len(v)]
}
