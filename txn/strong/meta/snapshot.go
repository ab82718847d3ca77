package meta

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/wire"
)

// snapshotVersion is the first byte of a snapshot.
const snapshotVersion = 1

// AppendSnapshot encodes the whole state. Two replicas at one position have the same bytes.
func (s *State) AppendSnapshot(dst []byte) []byte {
	begin := len(dst)
	dst = binary.AppendUvarint(append(dst, snapshotVersion), s.version)
	dst = binary.AppendUvarint(dst, uint64(len(s.regions)))
	for i := range s.regions {
		dst = s.regions[i].append(dst)
	}
	dst = binary.AppendUvarint(dst, s.asked)
	dst = binary.AppendUvarint(dst, uint64(len(s.held)))
	for _, n := range slices.Sorted(maps.Keys(s.held)) {
		dst = s.held[n].Append(appendRegion(dst, n), 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.buckets)))
	for _, name := range slices.Sorted(maps.Keys(s.buckets)) {
		dst = s.buckets[name].append(dst)
	}
	return wire.Seal(dst, begin)
}

func (r *Region) append(dst []byte) []byte {
	dst = append(wire.AppendBytes(dst, r.Name), byte(r.Phase))
	dst = binary.AppendUvarint(appendStore(dst, r.Store), r.Acknowledged)
	if r.Phase != Removed {
		return dst
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Last))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Closed))
	return appendRegion(dst, r.Heir)
}

func (b *bucket) append(dst []byte) []byte {
	dst = appendRules(dst, &b.rules)
	dst = binary.AppendUvarint(dst, uint64(b.rules.Generation))
	dst = binary.AppendUvarint(dst, b.since)
	return binary.AppendUvarint(dst, b.dropped)
}

// Restore reads what AppendSnapshot wrote. Nothing of the result aliases it.
func Restore(snapshot []byte) (*State, error) {
	s := New()
	sealed, ok := wire.Unseal(snapshot)
	r := restorer{Reader: wire.NewReader(sealed), state: s}
	if !ok || r.Byte() != snapshotVersion {
		r.Fail()
	}
	s.version = r.Uvarint()
	r.regions()
	r.held()
	r.buckets()
	if !r.Finished() {
		return nil, kv.Errorf(kv.KindCorrupt, "malformed snapshot of the metadata (%d bytes)", len(snapshot))
	}
	return s, nil
}

// restorer reads a snapshot, and checks what commands rely on.
type restorer struct {
	wire.Reader
	state *State
}

// Least bytes that each of these takes.
const (
	minRegion = 12 // length of the name, a byte of it, phase, store, acknowledged
	minHeld   = 2
	minBucket = 13 // length of the name, a byte of it, and eleven numbers
)

func (r *restorer) regions() {
	s := r.state
	n := r.Count(minRegion)
	if n > MaxRegions {
		r.Fail()
		return
	}
	taken, joining, fenced := map[string]bool{}, 0, 0
	for i := range n {
		g := r.region(clock.Region(i+1), clock.Region(n))
		if g.member() && taken[g.Name] {
			r.Fail()
		}
		taken[g.Name] = taken[g.Name] || g.member()
		joining += int(flag(g.Phase == Joining))
		fenced += int(flag(g.Phase == Fenced))
		s.regions = append(s.regions, g)
	}
	if joining > 1 || joining == 1 && fenced > 0 || n > 0 && len(s.Serving()) == 0 {
		r.Fail()
	}
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (r *restorer) region(number, regions clock.Region) Region {
	g := Region{Number: number, Name: readName(&r.Reader), Phase: Phase(r.Byte()), Store: r.Uint64(), Acknowledged: r.AtMost(r.state.version)}
	if g.Phase == Removed {
		g.Last, g.Closed, g.Heir = r.Time(), r.Time(), r.Region()
		if g.Heir == 0 || g.Heir > regions || g.Heir == number {
			r.Fail()
		}
	}
	if g.Phase < Joining || g.Phase > Abandoned || checkNew(g.Name, g.Store) != nil {
		r.Fail()
	}
	return g
}

func (r *restorer) held() {
	s := r.state
	s.asked = r.AtMost(s.version)
	var before clock.Region
	for range r.Count(minHeld) {
		n := r.Region()
		if n <= before || int(n) > len(s.regions) || s.regions[n-1].Phase != Serving {
			r.Fail()
			return
		}
		s.held[n] = r.Vector(nil, 0)
		before = n
	}
}

func (r *restorer) buckets() {
	s := r.state
	n := r.Count(minBucket)
	if n > MaxBuckets {
		r.Fail()
		return
	}
	var before kv.Bucket
	for range n {
		b := &bucket{rules: readRules(&r.Reader)}
		b.rules.Generation = uint32(r.AtMost(1<<32 - 1))
		b.since, b.dropped = r.AtMost(s.version), r.AtMost(s.version)
		if b.rules.Name <= before || checkRules(&b.rules) != nil || (b.dropped == 0) != (b.rules.Generation == 0) || b.since == 0 && b.dropped == 0 {
			r.Fail()
			return
		}
		before = b.rules.Name
		s.buckets[before] = b
		if g := b.rules.Generation; g > 0 {
			s.generations[string(kv.AppendName(nil, string(before)))] = g
		}
	}
}
