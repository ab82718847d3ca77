package certify

import (
	"encoding/binary"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/wire"
)

// outcomeVersion is the first byte of an entry's outcomes.
const outcomeVersion = 2

// The bit above a verdict.
const (
	verdictBits = 0x7f
	repeatedBit = 0x80
)

// maxVerdict is the highest known.
const maxVerdict = Dropped

// AppendOutcomes encodes what was decided of an entry's proposals, for Replay: 1 to 4 bytes for most.
func AppendOutcomes(dst []byte, decisions []Decision) []byte {
	dst = append(dst, outcomeVersion)
	var ref clock.Timestamp
	for i := range decisions {
		d := &decisions[i]
		k := keep(d)
		dst = k.append(dst, d.Repeated, &ref)
		if d.Verdict == Ended {
			dst = binary.BigEndian.AppendUint64(dst, d.Current)
		}
	}
	return dst
}

// append encodes a decision behind one at the time ref.
func (k *decided) append(dst []byte, repeated bool, ref *clock.Timestamp) []byte {
	dst = append(dst, byte(k.verdict)|byte(bit(repeated))*repeatedBit)
	if k.verdict == Done {
		dst = wire.AppendBool(wire.AppendBytes(dst, k.answer), k.time != 0)
	}
	if k.timed() {
		dst = binary.AppendVarint(dst, int64(k.time-*ref))
		*ref = k.time
	}
	switch k.verdict {
	case Aborted, Dropped:
		dst = binary.AppendUvarint(dst, uint64(k.access))
	case Committed, Done:
		if k.timed() {
			dst = binary.AppendUvarint(dst, uint64(k.time-k.prev))
		}
	}
	return dst
}

// timed reports whether a time is part of the decision.
func (k *decided) timed() bool {
	switch k.verdict {
	case Committed, Aborted, Dropped:
		return true
	}
	return k.verdict == Done && k.time != 0
}

// readDecided reads what append wrote.
func readDecided(r *wire.Reader, ref *clock.Timestamp) (k decided, repeated bool) {
	tag := r.Byte()
	k = decided{verdict: Verdict(tag & verdictBits)}
	commits := k.verdict == Committed
	if k.verdict == Done {
		if b := r.Bytes(MaxAnswer); len(b) > 0 {
			k.answer = b
		}
		commits = r.Bool()
	}
	if commits || k.timed() {
		k.time = *ref + clock.Timestamp(r.Varint())
		*ref = k.time
	}
	switch {
	case commits:
		k.prev = k.time - clock.Timestamp(r.AtMost(uint64(k.time)))
	case k.timed():
		k.access = int(r.AtMost(MaxBatchAccesses))
	}
	if k.verdict == 0 || k.verdict > maxVerdict || commits && k.time == 0 {
		r.Fail()
	}
	return k, tag&repeatedBit != 0
}

// Replay gives the decisions of an entry again, from what AppendOutcomes wrote of it, without a State.
func Replay(outcomes []byte, batches ...[]byte) ([]Decision, error) {
	proposals, err := decodeBatches(batches)
	if err != nil {
		return nil, err
	}
	r := wire.NewReader(outcomes)
	if r.Byte() != outcomeVersion {
		r.Fail()
	}
	decisions := decisionsOf(proposals)
	var ref clock.Timestamp
	for i := range decisions {
		d := &decisions[i]
		k, repeated := readDecided(&r, &ref)
		k.repeat(d)
		if d.Repeated = repeated; k.verdict == Ended {
			d.Current = r.Uint64()
		}
	}
	if !r.Finished() {
		return nil, kv.Errorf(kv.KindCorrupt, "malformed outcomes of an entry of %d proposals", len(proposals))
	}
	return decisions, nil
}

// decisionsOf is the list of what becomes of proposals, not yet decided.
func decisionsOf(proposals []Proposal) []Decision {
	if len(proposals) == 0 {
		return nil
	}
	decisions := make([]Decision, len(proposals))
	for i := range decisions {
		decisions[i].Proposal = &proposals[i]
	}
	return decisions
}
