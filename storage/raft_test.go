package storage

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// raftEntries makes the entries [from, to] of a term.
func raftEntries(term, from, to uint64) (out []RaftEntry) {
	for i := from; i <= to; i++ {
		out = append(out, RaftEntry{Index: i, Term: term, Kind: uint8(i % 3), Data: fmt.Appendf(nil, "entry %d of term %d", i, term)})
	}
	return out
}

// startRaft has voter 7 append entries 1 to 10 of term 1.
func startRaft(t *testing.T, s *Store) {
	do(t, s, func(b *Batch) error {
		require.NoError(t, b.StartRaft(7))
		b.SetHardState(1, 7, 4)
		return b.AppendRaft(raftEntries(1, 1, 10)...)
	})
}

// putSnapshot writes the parts of a snapshot and returns its head.
func putSnapshot(b *Batch, index, term uint64, data []byte) RaftSnapshot {
	for part, rest := uint32(0), data; len(rest) > 0; part++ {
		n := min(len(rest), RaftPartBytes)
		b.AddRaftPart(index, part, rest[:n])
		rest = rest[n:]
	}
	return RaftSnapshot{Index: index, Term: term, Conf: []byte("conf"), Size: uint64(len(data)), Sum: RaftSum(data)}
}

func requireEntries(t *testing.T, s *Store, want []RaftEntry) {
	t.Helper()
	got, err := s.RaftEntries(want[0].Index, want[len(want)-1].Index+1, 1<<20)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestRaftLogIsKeptAndReplacedFromAnEntryOn(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	require.Equal(t, RaftState{First: 1}, s.Raft())
	startRaft(t, s)
	requireEntries(t, s, raftEntries(1, 1, 10))
	do(t, s, func(b *Batch) error { // a new leader's entries replace the tail, and are fewer
		b.SetHardState(2, 0, 5)
		return b.AppendRaft(raftEntries(2, 6, 7)...)
	})
	want := append(raftEntries(1, 1, 5), raftEntries(2, 6, 7)...)
	requireEntries(t, s, want)
	none, err := s.RaftEntries(8, 20, 1<<20)
	require.NoError(t, err)
	require.Empty(t, none)
	one, err := s.RaftEntries(2, 7, 1)
	require.NoError(t, err)
	require.Len(t, one, 1, "the first in any case")
	state := RaftState{Voter: 7, Term: 2, Commit: 5, First: 1, Last: 7}
	require.Equal(t, state, s.Raft())
	require.NoError(t, s.Close())
	s = openMem(t, fs)
	require.Equal(t, state, s.Raft())
	requireEntries(t, s, want)
}

func TestRaftLogRefusesGapsAndOtherVoters(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	require.ErrorIs(t, try(s, func(b *Batch) error { return b.StartRaft(0) }), kv.ErrInvalid)
	require.ErrorIs(t, try(s, func(b *Batch) error { return b.AppendRaft(raftEntries(1, 1, 1)...) }), kv.ErrInvalid, "nobody has started")
	startRaft(t, s)
	for name, build := range map[string]func(b *Batch) error{
		"beyond the end": func(b *Batch) error { return b.AppendRaft(raftEntries(1, 12, 12)...) },
		"gap within": func(b *Batch) error {
			return b.AppendRaft(append(raftEntries(1, 11, 11), raftEntries(1, 13, 13)...)...)
		},
		"before the start":    func(b *Batch) error { return b.AppendRaft(raftEntries(1, 0, 1)...) },
		"another voter":       func(b *Batch) error { return b.StartRaft(8) },
		"no snapshot":         func(b *Batch) error { return b.TruncateRaft(3, 1) },
		"snapshot beyond":     func(b *Batch) error { return b.SetRaftSnapshot(RaftSnapshot{Index: 11, Term: 1}) },
		"snapshot of nothing": func(b *Batch) error { return b.SetRaftSnapshot(RaftSnapshot{}) },
		"snapshot too large": func(b *Batch) error {
			return b.SetRaftSnapshot(RaftSnapshot{Index: 3, Term: 1, Size: MaxRaftSnapshot + 1})
		},
		"restore of nothing": func(b *Batch) error { return b.RestoreRaft(RaftSnapshot{}) },
	} {
		require.ErrorIs(t, try(s, build), kv.ErrInvalid, name)
	}
	requireEntries(t, s, raftEntries(1, 1, 10))
	do(t, s, func(b *Batch) error { return b.AppendRaft() })
	require.EqualValues(t, 10, s.Raft().Last)
}

func TestRaftSnapshotLetsTheLogBeTruncated(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	startRaft(t, s)
	data := randomBytes(3, 2*RaftPartBytes+5)
	do(t, s, func(b *Batch) error {
		for i := range uint64(10) {
			b.SetCertified(i+1, []byte{byte(i + 1)})
		}
		snap := putSnapshot(b, 6, 1, data)
		require.NoError(t, b.SetRaftSnapshot(snap))
		require.NoError(t, b.TruncateRaft(0, 0))
		return b.TruncateRaft(4, 1)
	})
	check := func() {
		require.EqualValues(t, 5, s.Raft().First)
		require.EqualValues(t, 1, s.Raft().Before)
		_, err := s.RaftEntries(4, 8, 1<<20)
		require.ErrorIs(t, err, kv.ErrTooOld)
		requireEntries(t, s, raftEntries(1, 5, 10))
		got, err := s.RaftSnapshotData()
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got))
		require.Equal(t, []uint64{5, 6, 7}, certified(t, s, 0, 7))
	}
	check()
	require.NoError(t, s.Close())
	s = openMem(t, fs)
	check()
	require.ErrorIs(t, try(s, func(b *Batch) error { return b.SetRaftSnapshot(putSnapshot(b, 6, 1, nil)) }), kv.ErrInvalid, "held already")
	do(t, s, func(b *Batch) error { return b.SetRaftSnapshot(putSnapshot(b, 8, 1, []byte("small"))) })
	got, err := s.RaftSnapshotData()
	require.NoError(t, err)
	require.Equal(t, "small", string(got))
	require.Equal(t, 1, countKeys(t, s, []byte{spaceRaft, raftPart}), "the parts of the one before went")
}

func certified(t *testing.T, s *Store, lo, hi uint64) (out []uint64) {
	t.Helper()
	require.NoError(t, s.Certified(lo, hi, func(index uint64, verdict []byte) error {
		require.Equal(t, []byte{byte(index)}, verdict)
		out = append(out, index)
		return nil
	}))
	return out
}

func countKeys(t *testing.T, s *Store, prefix []byte) (n int) {
	t.Helper()
	iter, err := s.iterate(prefix, successor(prefix))
	require.NoError(t, err)
	for ok := iter.First(); ok; ok = iter.Next() {
		n++
	}
	require.NoError(t, iter.Close())
	return n
}

func TestRaftLogBeginsAnewBehindAnothersSnapshot(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	startRaft(t, s)
	do(t, s, func(b *Batch) error {
		b.SetCertified(3, []byte{3})
		require.NoError(t, b.RestoreRaft(putSnapshot(b, 100, 5, []byte("theirs"))))
		b.SetHardState(5, 0, 100)
		return b.AppendRaft(raftEntries(5, 101, 102)...)
	})
	want := RaftState{Voter: 7, Term: 5, Commit: 100, First: 101, Last: 102, Before: 5, Snapshot: s.Raft().Snapshot}
	require.Equal(t, want, s.Raft())
	require.Equal(t, 2, countKeys(t, s, []byte{spaceRaft, raftEntry}))
	require.Empty(t, certified(t, s, 0, 1000))
	require.NoError(t, s.Close())
	s = openMem(t, fs)
	require.Equal(t, want, s.Raft())
	requireEntries(t, s, raftEntries(5, 101, 102))
}

func TestRaftStateOutlivesCrashesOnceDurable(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("replay: seed %d", seed)
	fs := vfs.NewCrashableMem()
	s, err := Open(Config{FS: fs, Dir: "store", SyncDelay: time.Hour})
	require.NoError(t, err)
	startRaft(t, s)
	held := &work{build: func(b *Batch) error { b.SetHardState(9, 9, 9); return b.AppendRaft(raftEntries(9, 8, 8)...) }, durable: make(chan error, 1)}
	applied := make(chan struct{})
	held.applied = func() { close(applied) }
	require.NoError(t, s.Submit(context.Background(), held))
	<-applied
	for percent := 0; percent <= 100; percent += 50 {
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, uint64(percent)))})
		again := openMem(t, crashed)
		if r := again.Raft(); r.Term == 9 { // all of the batch, or nothing
			require.EqualValues(t, 8, r.Last)
			requireEntries(t, again, append(raftEntries(1, 1, 7), raftEntries(9, 8, 8)...))
		} else {
			require.EqualValues(t, 10, r.Last)
			require.EqualValues(t, 7, r.Vote)
			requireEntries(t, again, raftEntries(1, 1, 10))
		}
	}
	require.NoError(t, s.Close())
	require.NoError(t, <-held.durable)
}

func TestRaftSpaceOutlivesABootstrapAndIsKnownInACopy(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	startRaft(t, s)
	do(t, s, func(b *Batch) error {
		b.SetCertified(3, []byte{3})
		b.Clear(lane(1))
		b.LoadApplied(map[clock.Lane]clock.Timestamp{{}: 50})
		return nil
	})
	requireEntries(t, s, raftEntries(1, 1, 10))
	require.Equal(t, []uint64{3}, certified(t, s, 0, 10))
	require.NoError(t, s.Checkpoint("copy"))
	copied, err := Open(Config{FS: fs, Dir: "copy"})
	require.NoError(t, err)
	defer copied.Close()
	require.True(t, copied.Start().Short)
	require.NotEqual(t, s.Start().Incarnation, copied.Start().Incarnation, "it must not vote as the one it was copied from")
	require.EqualValues(t, 7, copied.Raft().Voter)
	require.ErrorIs(t, try(copied, func(b *Batch) error { return b.StartRaft(8) }), kv.ErrInvalid)
	do(t, copied, func(b *Batch) error { b.ResetRaft(); return b.StartRaft(8) })
	require.Equal(t, RaftState{Voter: 8, First: 1}, copied.Raft())
	require.Empty(t, certified(t, copied, 0, 10))
	require.Equal(t, 1, countKeys(t, copied, []byte{spaceRaft}))
}

// TestDamagedRaftValuesAreErrors flips every bit of every kind of value.
func TestDamagedRaftValuesAreErrors(t *testing.T) {
	state := RaftState{Voter: 7, Term: 2, Vote: 7, Commit: 5, First: 3, Before: 1}
	snap := RaftSnapshot{Index: 6, Term: 1, Conf: []byte("conf"), Size: 4, Sum: 9}
	entry := raftEntries(1, 5, 5)[0]
	key := raftEntryKey(nil, 5)
	for name, c := range map[string]struct {
		value  []byte
		decode func([]byte) error
	}{
		"state":    {state.append(nil), func(b []byte) error { _, err := decodeRaftState(b); return err }},
		"snapshot": {snap.append(nil), func(b []byte) error { _, err := decodeRaftSnapshot(b); return err }},
		"entry":    {entry.appendValue(nil), func(b []byte) error { _, err := decodeRaftEntry(key, b); return err }},
	} {
		require.NoError(t, c.decode(c.value), name)
		for i := range c.value {
			require.ErrorIs(t, c.decode(c.value[:i]), kv.ErrCorrupt, "%s cut at %d", name, i)
			for bit := range 8 {
				flipped := bytes.Clone(c.value)
				flipped[i] ^= 1 << bit
				require.ErrorIs(t, c.decode(flipped), kv.ErrCorrupt, "%s, bit %d of byte %d", name, bit, i)
			}
		}
	}
	_, err := decodeRaftEntry(key[1:], entry.appendValue(nil))
	require.ErrorIs(t, err, kv.ErrCorrupt)
	empty := state
	empty.First = 0
	_, err = decodeRaftState(empty.append(nil))
	require.ErrorIs(t, err, kv.ErrCorrupt)
}

// TestDamageOnDiskIsFound damages what is behind Pebble's own checksums.
func TestDamageOnDiskIsFound(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, s *Store) error{
		"entry": func(t *testing.T, s *Store) error {
			require.NoError(t, s.db.Set(raftEntryKey(nil, 5), []byte("damaged entry"), pebble.NoSync))
			_, err := s.RaftEntries(4, 8, 1<<20)
			return err
		},
		"missing entry": func(t *testing.T, s *Store) error {
			require.NoError(t, s.db.Delete(raftEntryKey(nil, 5), pebble.NoSync))
			_, err := s.RaftEntries(4, 8, 1<<20)
			return err
		},
		"missing part": func(t *testing.T, s *Store) error {
			require.NoError(t, s.db.Delete(raftPartKey(6, 1), pebble.NoSync))
			_, err := s.RaftSnapshotData()
			return err
		},
		"damaged part": func(t *testing.T, s *Store) error {
			require.NoError(t, s.db.Set(raftPartKey(6, 1), []byte("x"), pebble.NoSync))
			_, err := s.RaftSnapshotData()
			return err
		},
		"certified": func(t *testing.T, s *Store) error {
			require.NoError(t, s.db.Set(append(certifiedKey(3), 1), nil, pebble.NoSync))
			return s.Certified(0, 10, func(uint64, []byte) error { return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(Config{FS: vfs.NewMem(), Dir: "store"})
			require.NoError(t, err)
			startRaft(t, s)
			do(t, s, func(b *Batch) error { return b.SetRaftSnapshot(putSnapshot(b, 6, 1, randomBytes(1, RaftPartBytes+1))) })
			require.ErrorIs(t, damage(t, s), kv.ErrCorrupt)
			require.ErrorIs(t, s.Close(), kv.ErrReadOnly, "nothing is built upon it")
		})
	}
}
