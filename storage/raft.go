package storage

import (
	"encoding/binary"
	"hash/crc32"
	"math"

	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// Limits of what is kept for raft; docs/reference/limits.md lists them.
const (
	// RaftPartBytes is the size of the pieces in which a snapshot of the raft group is kept.
	RaftPartBytes = 256 << 10
	// MaxRaftSnapshot bounds the bytes of a snapshot of the raft group.
	MaxRaftSnapshot = 192 << 20
	// MaxRaftConf bounds the bytes of the configuration that a snapshot holds.
	MaxRaftConf = 64 << 10
)

// Kinds of what is kept for raft, by second byte.
const (
	raftState    byte = 0x00
	raftSnapshot byte = 0x01
	raftPart     byte = 0x02
	raftEntry    byte = 0x03
)

var (
	raftStateKey    = []byte{spaceRaft, raftState}
	raftSnapshotKey = []byte{spaceRaft, raftSnapshot}
)

// RaftEntry is an entry of the raft group's log. Kind is raft's, and means nothing here.
type RaftEntry struct {
	Index, Term uint64
	Kind        uint8
	Data        []byte
}

// RaftSnapshot describes the snapshot that is kept: the state machine's as of an entry, and the
// configuration then. Its data are read with Store.RaftSnapshotData.
type RaftSnapshot struct {
	Index, Term uint64
	Conf        []byte // encoded; means nothing here
	Size        uint64 // bytes of data
	Sum         uint32 // crc32c of the data; see RaftSum
}

// RaftSum is the checksum of a snapshot's data.
func RaftSum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// RaftState is what a voter must not forget, and where its log stands. Entries First to Last are
// held; First is Last + 1 where there are none.
type RaftState struct {
	Voter              uint64 // whose it is; 0: nobody's, and all of it is empty
	Term, Vote, Commit uint64
	First, Last        uint64
	Before             uint64       // the term of the entry before First
	Snapshot           RaftSnapshot // Index 0: there is none
}

// Raft is what is kept for raft, as of the last batch; it may not be durable yet.
func (s *Store) Raft() RaftState { return *s.raft.Load() }

const (
	raftStateVersion    = 1
	raftSnapshotVersion = 1
	raftStateLen        = 1 + 6*8 + 4
	raftEntryFixed      = 8 + 1 + 4
	raftEntryKeyLen     = 2 + 8
)

func raftEntryKey(dst []byte, index uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, spaceRaft, raftEntry), index)
}

func raftPartKey(index uint64, part uint32) []byte {
	k := binary.BigEndian.AppendUint64([]byte{spaceRaft, raftPart}, index)
	return binary.BigEndian.AppendUint32(k, part)
}

func certifiedKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{spaceCertified}, index)
}

// append encodes all but the last index, which the entries say, and the snapshot, which has a key of
// its own.
func (r *RaftState) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, raftStateVersion)
	for _, v := range [...]uint64{r.Voter, r.Term, r.Vote, r.Commit, r.First, r.Before} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	return appendSum(dst, start)
}

func decodeRaftState(src []byte) (RaftState, error) {
	body, ok := checkSum(src)
	if !ok || len(src) != raftStateLen || src[0] != raftStateVersion {
		return RaftState{}, kv.Errorf(kv.KindCorrupt, "storage: malformed raft state of %d bytes", len(src))
	}
	v := func(i int) uint64 { return binary.BigEndian.Uint64(body[1+8*i:]) }
	r := RaftState{Voter: v(0), Term: v(1), Vote: v(2), Commit: v(3), First: v(4), Before: v(5)}
	if r.First == 0 {
		return RaftState{}, kv.Errorf(kv.KindCorrupt, "storage: the raft state says that the log begins at 0")
	}
	return r, nil
}

func (s *RaftSnapshot) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, raftSnapshotVersion)
	dst = binary.BigEndian.AppendUint64(dst, s.Index)
	dst = binary.BigEndian.AppendUint64(dst, s.Term)
	dst = binary.BigEndian.AppendUint64(dst, s.Size)
	dst = binary.BigEndian.AppendUint32(dst, s.Sum)
	return appendSum(append(dst, s.Conf...), start)
}

func decodeRaftSnapshot(src []byte) (RaftSnapshot, error) {
	const fixed = 1 + 8 + 8 + 8 + 4
	body, ok := checkSum(src)
	if !ok || len(body) < fixed || src[0] != raftSnapshotVersion {
		return RaftSnapshot{}, kv.Errorf(kv.KindCorrupt, "storage: malformed head of the raft snapshot: %d bytes", len(src))
	}
	s := RaftSnapshot{
		Index: binary.BigEndian.Uint64(body[1:]), Term: binary.BigEndian.Uint64(body[9:]),
		Size: binary.BigEndian.Uint64(body[17:]), Sum: binary.BigEndian.Uint32(body[25:]), Conf: body[fixed:],
	}
	return s, s.check()
}

// check refuses what no snapshot can be.
func (s *RaftSnapshot) check() error {
	if s.Index == 0 || s.Term == 0 || s.Size > MaxRaftSnapshot || len(s.Conf) > MaxRaftConf {
		return kv.Errorf(kv.KindInvalid, "storage: raft snapshot at entry %d of term %d with %d bytes and %d of configuration; up to %d and %d are allowed",
			s.Index, s.Term, s.Size, len(s.Conf), MaxRaftSnapshot, MaxRaftConf)
	}
	return nil
}

func appendSum(dst []byte, start int) []byte {
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// checkSum is what stands before a checksum, and whether it is that of it.
func checkSum(src []byte) (body []byte, ok bool) {
	if len(src) < 4 {
		return nil, false
	}
	body = src[:len(src)-4]
	return body, crc32.Checksum(body, castagnoli) == binary.BigEndian.Uint32(src[len(body):])
}

func (e *RaftEntry) appendValue(dst []byte) []byte {
	start := len(dst)
	dst = append(binary.BigEndian.AppendUint64(dst, e.Term), e.Kind)
	return appendSum(append(dst, e.Data...), start)
}

func decodeRaftEntry(key, value []byte) (RaftEntry, error) {
	if len(key) != raftEntryKeyLen || key[0] != spaceRaft || key[1] != raftEntry {
		return RaftEntry{}, kv.Errorf(kv.KindCorrupt, "storage: malformed key %x of a raft entry", key)
	}
	e := RaftEntry{Index: binary.BigEndian.Uint64(key[2:])}
	body, ok := checkSum(value)
	if !ok || len(value) < raftEntryFixed {
		return RaftEntry{}, kv.Errorf(kv.KindCorrupt, "storage: raft entry %d is damaged", e.Index)
	}
	e.Term, e.Kind, e.Data = binary.BigEndian.Uint64(body), body[8], body[9:]
	return e, nil
}

// StartRaft takes the raft space for a voter. It refuses one that is another's: whoever voted as that
// may have promised what this one does not know. ResetRaft forgets it.
func (b *Batch) StartRaft(voter uint64) error {
	switch {
	case voter == 0:
		return b.invalid("storage: a voter of id 0")
	case b.raft.Voter != 0 && b.raft.Voter != voter:
		return b.invalid("storage: the raft space is that of voter %x, not of %x; it has to be reset first", b.raft.Voter, voter)
	}
	b.raft.Voter, b.raftSet = voter, true
	return nil
}

// ResetRaft drops all that is kept for raft, what was certified included.
func (b *Batch) ResetRaft() {
	b.clearSpace([]byte{spaceRaft}, nil)
	b.clearSpace([]byte{spaceCertified}, nil)
	b.raft, b.raftSet = emptyRaft, true
}

// emptyRaft is that of a store in which no voter has started.
var emptyRaft = RaftState{First: 1}

// SetHardState notes raft's term, vote and commit. It must be durable before a message that follows
// from it is sent.
func (b *Batch) SetHardState(term, vote, commit uint64) {
	b.raft.Term, b.raft.Vote, b.raft.Commit = term, vote, commit
	if mutant.On(mutant.VoteForgotten) {
		b.raft.Vote = 0
	}
	b.raftSet = true
}

// AppendRaft adds entries to raft's log, which continue one another, in place of those that were held
// from the first one's index on. It refuses a gap.
func (b *Batch) AppendRaft(entries ...RaftEntry) error {
	if len(entries) == 0 {
		return nil
	}
	if first := entries[0].Index; first < b.raft.First || first > b.raft.Last+1 {
		return b.invalid("storage: raft entry %d does not continue the log, which holds %d to %d", first, b.raft.First, b.raft.Last)
	}
	for i := range entries {
		e := &entries[i]
		if e.Index != entries[0].Index+uint64(i) {
			return b.invalid("storage: raft entry %d behind entry %d", e.Index, entries[i-1].Index)
		}
		b.scratch = raftEntryKey(b.scratch[:0], e.Index)
		n := len(b.scratch)
		b.scratch = e.appendValue(b.scratch)
		b.keep(b.pb.Set(b.scratch[:n], b.scratch[n:], nil))
	}
	last := entries[len(entries)-1].Index
	if !mutant.On(mutant.OldEntriesStay) {
		b.dropEntries(last+1, b.raft.Last+1)
	}
	b.raft.Last = last
	return b.err
}

// dropEntries deletes the entries of [from, to).
func (b *Batch) dropEntries(from, to uint64) {
	if from < to {
		b.keep(b.pb.DeleteRange(raftEntryKey(nil, from), raftEntryKey(nil, to), nil))
	}
}

// TruncateRaft drops the entries up to an index, that one included, whose term is given, and what was
// certified of them. A snapshot must be held of that index or a later one.
func (b *Batch) TruncateRaft(upTo, term uint64) error {
	if upTo < b.raft.First {
		return nil
	}
	if upTo > b.raft.Last || upTo > b.raft.Snapshot.Index {
		return b.invalid("storage: truncate raft's log up to %d: it holds %d to %d and a snapshot of %d", upTo, b.raft.First, b.raft.Last, b.raft.Snapshot.Index)
	}
	// The tombstone begins where the last one ended, so that old ones are not carried along.
	b.dropEntries(b.raft.First, upTo+1)
	b.keep(b.pb.DeleteRange(certifiedKey(b.raft.First), certifiedKey(upTo+1), nil))
	b.raft.First, b.raft.Before, b.raftSet = upTo+1, term, true
	return b.err
}

// AddRaftPart writes one piece of a snapshot's data: all of RaftPartBytes but the last. SetRaftSnapshot
// or RestoreRaft takes it into use, in this batch or a later one.
func (b *Batch) AddRaftPart(index uint64, part uint32, data []byte) {
	b.keep(b.pb.Set(raftPartKey(index, part), data, nil))
}

// SetRaftSnapshot takes a snapshot of the own state machine into use in place of the one before, whose
// parts go. Its parts have been added.
func (b *Batch) SetRaftSnapshot(s RaftSnapshot) error {
	if s.Index > b.raft.Last {
		return b.invalid("storage: raft snapshot of entry %d beyond the log, which ends at %d", s.Index, b.raft.Last)
	}
	return b.setSnapshot(s)
}

// RestoreRaft takes another voter's snapshot into use in place of all that the log holds: it begins anew
// behind it.
func (b *Batch) RestoreRaft(s RaftSnapshot) error {
	if err := b.setSnapshot(s); err != nil {
		return err
	}
	b.dropEntries(b.raft.First, b.raft.Last+1)
	b.clearSpace([]byte{spaceCertified}, nil)
	b.raft.First, b.raft.Last, b.raft.Before, b.raftSet = s.Index+1, s.Index, s.Term, true
	return b.err
}

func (b *Batch) setSnapshot(s RaftSnapshot) error {
	if err := s.check(); err != nil {
		b.keep(err)
		return err
	}
	if s.Index <= b.raft.Snapshot.Index {
		return b.invalid("storage: raft snapshot of entry %d, but one of %d is held", s.Index, b.raft.Snapshot.Index)
	}
	parts := raftParts(s.Size)
	b.keep(b.pb.DeleteRange(raftPartKey(0, 0), raftPartKey(s.Index, 0), nil))
	b.keep(b.pb.DeleteRange(raftPartKey(s.Index, parts), raftPartKey(math.MaxUint64, math.MaxUint32), nil))
	b.keep(b.pb.Set(raftSnapshotKey, s.append(nil), nil))
	b.raft.Snapshot, b.raftSet = s, true
	return b.err
}

// raftParts is in how many parts so many bytes are kept.
func raftParts(size uint64) uint32 { return uint32((size + RaftPartBytes - 1) / RaftPartBytes) }

// SetCertified keeps what was decided of an entry of raft's log, until the entry is truncated.
func (b *Batch) SetCertified(index uint64, verdict []byte) {
	b.keep(b.pb.Set(certifiedKey(index), verdict, nil))
}

// writeRaft writes the state, if the batch has changed it.
func (b *Batch) writeRaft() {
	switch {
	case b.raft.Voter == 0 && (b.raft.Last != 0 || b.raft.Term != 0 || b.raft.Snapshot.Index != 0):
		b.keep(kv.Errorf(kv.KindInvalid, "storage: raft's log was written before a voter started"))
	case b.raft.Voter == 0 || !b.raftSet:
		return
	}
	b.scratch = b.raft.append(b.scratch[:0])
	b.keep(b.pb.Set(raftStateKey, b.scratch, nil))
}

// loadRaft reads where raft stands.
func (s *Store) loadRaft() error {
	r := emptyRaft
	defer func() { s.raft.Store(&r) }()
	b, found, err := s.read(raftStateKey)
	if err != nil || !found {
		return err
	}
	if r, err = decodeRaftState(b); err != nil {
		return err
	}
	if r.Last, err = s.lastRaftEntry(r.First); err != nil {
		return err
	}
	if b, found, err = s.read(raftSnapshotKey); err != nil || !found {
		return err
	}
	r.Snapshot, err = decodeRaftSnapshot(b)
	return err
}

// lastRaftEntry is the index of the last entry held, from first on; the one before first: there is none.
func (s *Store) lastRaftEntry(first uint64) (last uint64, err error) {
	iter, err := s.iterate(raftEntryKey(nil, first), successor([]byte{spaceRaft, raftEntry}))
	if err != nil {
		return 0, s.readFailed("raft's log", err)
	}
	defer func() {
		if e := iter.Close(); e != nil && err == nil {
			err = s.readFailed("raft's log", e)
		}
	}()
	last = first - 1
	if iter.Last() {
		e, err := decodeRaftEntry(iter.Key(), emptyEntry)
		if err != nil {
			return 0, err
		}
		last = e.Index
	}
	if err := iter.Error(); err != nil {
		return 0, s.readFailed("raft's log", err)
	}
	return last, nil
}

// emptyEntry is a value that decodes, where only the key is asked for.
var emptyEntry = (&RaftEntry{}).appendValue(nil)
