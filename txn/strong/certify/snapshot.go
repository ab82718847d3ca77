package certify

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/wire"
)

// snapshotVersion is the first byte of a snapshot.
const snapshotVersion = 2

// What an id and a place usually take, beside the place's key: so much room is made before.
const (
	usualID   = 20
	usualSlot = 6
)

// AppendSnapshot encodes the whole state, that of the metadata included. Two replicas at one position have the same bytes.
func (s *State) AppendSnapshot(dst []byte) []byte {
	begin := len(dst)
	places := s.index.points.len() + s.index.prefixes.len()
	dst = slices.Grow(dst, len(s.ids.at)*usualID+places*usualSlot+s.index.points.bytes+s.index.prefixes.bytes)
	dst = append(dst, snapshotVersion)
	dst = binary.BigEndian.AppendUint64(dst, s.position)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.last))
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.floor))
	dst = s.regions.append(dst)
	dst = s.ids.append(dst)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.index.low))
	dst = s.index.points.append(dst)
	dst = s.index.prefixes.append(dst)
	dst = wire.AppendBytes(dst, s.metadata.AppendSnapshot(nil))
	return wire.Seal(dst, begin)
}

func (r *regions) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(r.ended)))
	for _, region := range r.ended {
		dst = binary.AppendUvarint(dst, uint64(region))
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.of)))
	for _, region := range slices.Sorted(maps.Keys(r.of)) {
		dst = binary.AppendUvarint(dst, uint64(region))
		dst = r.of[region].append(dst)
	}
	return dst
}

func (p *proposer) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, p.incarnation)
	dst = binary.AppendUvarint(dst, p.answered)
	var ref clock.Timestamp
	for ahead := range uint64(len(p.ring)) {
		if k := p.of(p.answered + 1 + ahead); k.verdict != 0 {
			dst = binary.AppendUvarint(dst, ahead+1)
			dst = k.append(dst, false, &ref)
		}
	}
	return append(dst, 0)
}

func (t *ids) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.low))
	order := t.order[t.first:]
	dst = binary.AppendUvarint(dst, uint64(len(order)))
	var ref clock.Timestamp // not low, which may be above what is known
	for i := range order {
		k := &order[i]
		dst = append(dst, k.id[:]...)
		dst = wire.AppendBool(dst, k.denied)
		dst = binary.AppendUvarint(dst, uint64(k.time-ref))
		ref = k.time
	}
	return dst
}

func (r *recency) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(r.len()))
	var ref clock.Timestamp
	for i := r.oldest; i != none; i = r.slots[i].newer {
		s := &r.slots[i]
		dst = binary.AppendUvarint(dst, uint64(s.time-ref))
		dst = wire.AppendBytes(dst, s.key)
		ref = s.time
	}
	return dst
}

// Restore reads what AppendSnapshot wrote, and has the metadata take its part. Nothing of the result
// aliases it.
func Restore(snapshot []byte, metadata Metadata) (*State, error) {
	s := New(metadata)
	sealed, ok := wire.Unseal(snapshot)
	r := restorer{Reader: wire.NewReader(sealed)}
	if ok && len(sealed) > 0 && snapshot[0] != snapshotVersion {
		return nil, kv.Errorf(kv.KindCorrupt, "snapshot of the certifier in format %d: this version reads format %d alone; begin with a new data folder, or use the version that wrote it",
			snapshot[0], snapshotVersion)
	}
	if !ok || r.Byte() != snapshotVersion {
		r.Fail()
	}
	s.position, s.last, s.floor = r.Uint64(), r.Time(), r.Time()
	r.last = s.last
	r.regions(&s.regions)
	r.ids(&s.ids)
	s.index.low = r.Time()
	r.recency(&s.index.points)
	r.recency(&s.index.prefixes)
	for key := range s.index.prefixes.at {
		s.index.count(len(key), 1)
	}
	ofMetadata := r.Bytes(MaxMetadata)
	full := s.index.points.len()+s.index.prefixes.len() > MaxIndexEntries || s.index.points.bytes+s.index.prefixes.bytes > MaxIndexBytes
	if !r.Finished() || full || s.index.low > s.last || s.last > clock.MaxTimestamp-1 || s.floor > highest {
		return nil, kv.Errorf(kv.KindCorrupt, "malformed snapshot of the certifier (%d bytes)", len(snapshot))
	}
	if err := metadata.Restore(ofMetadata); err != nil {
		return nil, err
	}
	return s, nil
}

// restorer reads a snapshot, and checks what Apply relies on.
type restorer struct {
	wire.Reader
	last clock.Timestamp
}

// rising reads a region above the one before.
func (r *restorer) rising(first bool, before clock.Region) clock.Region {
	region := r.Region()
	if region == 0 || !first && region <= before {
		r.Fail()
	}
	return region
}

func (r *restorer) regions(to *regions) {
	for i := range r.Count(1) {
		to.ended = append(to.ended, r.rising(i == 0, last(to.ended)))
	}
	n := r.Count(minLife)
	if n > MaxProposers {
		r.Fail()
		return
	}
	var region clock.Region
	for i := range n {
		region = r.rising(i == 0, region)
		to.of[region] = r.proposer()
	}
}

// minLife is the least bytes of a region's life: number, incarnation, answered, end of the list.
const minLife = 11

func last(regions []clock.Region) clock.Region {
	if len(regions) == 0 {
		return 0
	}
	return regions[len(regions)-1]
}

func (r *restorer) proposer() *proposer {
	p := &proposer{incarnation: r.Uint64(), answered: r.Uvarint()}
	var ref clock.Timestamp
	for before := uint64(0); ; {
		ahead := r.AtMost(MaxUnderWay)
		if ahead == 0 {
			break
		}
		number := p.answered + ahead
		if ahead <= before || number < p.answered || !p.reserve(number, MaxUnderWay) {
			r.Fail()
			break
		}
		k, repeated := readDecided(&r.Reader, &ref)
		if repeated || k.time > r.last {
			r.Fail()
		}
		k.answer = slices.Clone(k.answer)
		p.set(number, k)
		before = ahead
	}
	if p.incarnation == 0 || p.commands > MaxCommands {
		r.Fail()
	}
	return p
}

// minID is the least bytes of an operation id and what became of it.
const minID = 18

func (r *restorer) ids(to *ids) {
	to.low = r.Time()
	n := r.Count(minID)
	if n > MaxIDs {
		r.Fail()
		return
	}
	var time clock.Timestamp
	to.at, to.order = make(map[kv.OpID]known, n), make([]noted, 0, n)
	for range n {
		id, denied := r.id(), r.Bool()
		before := time
		time += clock.Timestamp(r.Uvarint())
		if _, twice := to.at[id]; twice || id.IsZero() || time > r.last+1 || time < before {
			r.Fail()
			return
		}
		k := known{denied: denied, time: time}
		to.at[id] = k
		to.order = append(to.order, noted{id, k})
	}
}

func (r *restorer) id() (id kv.OpID) {
	copy(id[:], r.Take(uint64(len(id))))
	return id
}

// minSlot is the least bytes of a place and its time.
const minSlot = 3

func (r *restorer) recency(to *recency) {
	var time clock.Timestamp
	n := r.Count(minSlot)
	if n > MaxIndexEntries {
		r.Fail()
		return
	}
	to.at, to.slots = make(map[string]int32, n), make([]slot, 0, n)
	for range n {
		time += clock.Timestamp(r.Uvarint())
		key := r.Bytes(MaxAccess)
		if len(key) == 0 || time > r.last || time == 0 || !to.write(key, time) {
			r.Fail()
			return
		}
	}
}
