package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Every decoder of what storage finds on disk, and what fuzzes it:
//
//	decodeState                       FuzzDecodeState
//	decodeTestimony, readWitness      FuzzReadWitness
//	decodeRemoval, decodePendingKey   FuzzDecodeRemoval
//	decodeVoid                        FuzzDecodeVoid
//	decodeTruncated                   FuzzDecodeTruncated
//	decodeLogKey, decodeLane          FuzzDecodeLogKey
//	parseLeaf, leafType               FuzzParseLeaf
//	manifestNumber                    FuzzManifestNumber
//	checkManifest                     FuzzCheckManifest
//	checkFormat                       FuzzCheckFormat
//	loading a whole store             FuzzOpenMetadata
//
// The records of the logs are kv's to decode, the items of the leaves crdt's, vectors clock's; their
// packages fuzz them. Reasons of a short store and the callers' metadata are bytes as they are.

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// refused checks the error of a decoder.
func refused(t *testing.T, err error) { require.ErrorIs(t, err, kv.ErrCorrupt) }

func FuzzDecodeState(f *testing.F) {
	s := state{incarnation: 7, number: 9, bound: 1 << 40}
	f.Add(s.append(nil))
	s.set(clock.Lane{Region: 300, Slot: 2}, 5) // set keeps them in order
	s.set(lane(1), 1<<63)
	f.Add(s.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeState(b); err != nil {
			refused(t, err)
		} else {
			require.Equal(t, b, s.append(nil))
		}
		if len(b) < 4 {
			return
		}
		// With the checksum put right the rest is looked at.
		b = binary.BigEndian.AppendUint32(bytes.Clone(b[:len(b)-4]), checksum(b[:len(b)-4]))
		if s, err := decodeState(b); err != nil {
			refused(t, err)
		} else {
			again, err := decodeState(s.append(nil))
			require.NoError(t, err)
			require.Equal(t, s, again)
			s.vector()
			s.lanes()
		}
	})
}

func FuzzReadWitness(f *testing.F) {
	var b [witnessLen]byte
	said := testimony{incarnation: 1, number: 2, manifests: [manifestMarks]manifestMark{{3, 4, 5}, {1, 9, 8}}}
	said.encode(&b)
	f.Add(b[:], b[:])
	f.Add(b[:], []byte{})
	f.Add(b[:witnessLen-1], []byte("other"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var best *testimony
		page := make([]byte, witnessSlot+witnessLen)
		copy(page[:witnessSlot], a)
		copy(page[witnessSlot:], b)
		for _, slot := range [][]byte{page[:witnessLen], page[witnessSlot:]} {
			read, ok := decodeTestimony((*[witnessLen]byte)(slot))
			if !ok {
				continue
			}
			var again [witnessLen]byte
			read.encode(&again)
			require.Equal(t, slot, again[:])
			if best == nil || read.newer(best) {
				best = &read
			}
		}
		fs := vfs.NewMem()
		overwrite(t, fs, witnessName, page)
		said, turn, found, err := readWitness(fs, witnessName)
		require.True(t, found)
		if best == nil {
			refused(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, *best, said)
		require.Contains(t, []int{0, 1}, turn)
	})
}

func FuzzDecodeRemoval(f *testing.F) {
	o := setObject("s")
	prefix := appendObjectKey(nil, &o, 3)
	r := removal{prefix: prefix, cursor: append(bytes.Clone(prefix), 1, 2), op: []byte{4},
		snapshot: clock.VectorOf(clock.Entry{Region: 2, Time: 77}, clock.Entry{Region: 5, Time: 1 << 50})}
	f.Add(pendingKey(clock.Dot{Region: 2, Time: 9, Index: 1}), r.append(nil))
	f.Add([]byte{spaceMeta, metaPending}, []byte{pendingVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		dot, ok := decodePendingKey(key)
		r, err := decodeRemoval(key, value)
		if err != nil {
			refused(t, err)
			return
		}
		require.True(t, ok)
		require.Equal(t, dot, r.dot)
		require.Equal(t, pendingKey(dot), key)
		again, err := decodeRemoval(key, r.append(nil))
		require.NoError(t, err)
		require.Equal(t, r, again)
		require.True(t, bytes.HasPrefix(r.cursor, r.prefix))
	})
}

func FuzzDecodeVoid(f *testing.F) {
	f.Add(voidKey(clock.Lane{Region: 3, Slot: 1}, 5), binary.BigEndian.AppendUint64(nil, 9))
	f.Add(voidKey(lane(1), 5), binary.BigEndian.AppendUint64(nil, 5))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		l, i, err := decodeVoid(key, value)
		if err != nil {
			refused(t, err)
			return
		}
		require.Less(t, i.From, i.To)
		require.Equal(t, voidKey(l, i.From), key)
		require.Equal(t, binary.BigEndian.AppendUint64(nil, uint64(i.To)), value)
	})
}

func FuzzDecodeTruncated(f *testing.F) {
	f.Add(truncatedKey(clock.Lane{Region: 3, Slot: 1}), binary.BigEndian.AppendUint64(nil, 9))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		l, at, err := decodeTruncated(key, value)
		if err != nil {
			refused(t, err)
			return
		}
		require.Equal(t, truncatedKey(l), key)
		require.Equal(t, binary.BigEndian.AppendUint64(nil, uint64(at)), value)
	})
}

func FuzzDecodeLogKey(f *testing.F) {
	f.Add(appendLogKey(nil, clock.Lane{Region: 3, Slot: 1}, 1<<60))
	f.Add([]byte{spaceLog, 0, 1, 0})
	f.Fuzz(func(t *testing.T, key []byte) {
		l, at, err := decodeLogKey(key)
		if err != nil {
			refused(t, err)
			return
		}
		require.Equal(t, key, appendLogKey(nil, l, at))
	})
}

func FuzzParseLeaf(f *testing.F) {
	l := elementLeaf("s\x00t", 5)
	f.Add(l.appendKey(nil))
	f.Add((&Leaf{Object: counterObject("")}).appendKey(nil))
	f.Fuzz(func(t *testing.T, key []byte) {
		l, err := parseLeaf(key)
		if err != nil {
			refused(t, err)
			return
		}
		require.Equal(t, l.Type(), leafType(key))
		again := l.appendKey(nil)
		require.Equal(t, key[2:], again[2:])
		if shard := Shard(l.Bucket, l.Key); shard == key[1] {
			require.Equal(t, key, again)
		} else {
			require.Equal(t, shard, again[1])
		}
	})
}

func FuzzManifestNumber(f *testing.F) {
	f.Add("MANIFEST-000012")
	f.Add("MANIFEST-99999999999999999999")
	f.Fuzz(func(t *testing.T, name string) {
		if n, ok := manifestNumber(name); ok {
			require.Contains(t, name, manifestPrefix)
			again, ok := manifestNumber(manifestPrefix + fmt.Sprint(n))
			require.True(t, ok)
			require.Equal(t, n, again)
		}
	})
}

func FuzzCheckManifest(f *testing.F) {
	f.Add([]byte("edits"), uint64(3), uint32(0), true)
	f.Add([]byte("edits"), uint64(9), uint32(7), false)
	f.Fuzz(func(t *testing.T, content []byte, length uint64, crc uint32, right bool) {
		fs := vfs.NewMem()
		overwrite(t, fs, "MANIFEST-1", content)
		if right {
			length = min(length, uint64(len(content)))
			crc = checksum(content[:length])
		}
		var b [manifestMarkLen]byte
		m := manifestMark{number: 1, length: length, crc: crc}
		m.put(b[:])
		require.Equal(t, m, getManifestMark(b[:]))
		err := checkManifest(fs, "MANIFEST-1", m)
		if length <= uint64(len(content)) && checksum(content[:length]) == crc {
			require.NoError(t, err)
		} else {
			refused(t, err)
		}
	})
}

func FuzzCheckFormat(f *testing.F) {
	f.Add([]byte(formatText))
	f.Add([]byte("theriac store 3\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		err := checkFormat("FORMAT", text)
		if string(text) == formatText {
			require.NoError(t, err)
		} else if !errors.Is(err, kv.ErrInvalid) {
			refused(t, err)
		}
	})
}

// FuzzOpenMetadata puts a key and a value that no version wrote among the store's own, with checksums
// that fit, and opens it: it opens, or says that it is damaged.
func FuzzOpenMetadata(f *testing.F) {
	fs := vfs.NewMem()
	s, err := Open(Config{FS: fs, Dir: "store", CacheBytes: 1 << 10, MemTableBytes: 256 << 10})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, s.Close()) })
	f.Add([]byte{spaceMeta, metaVoid, 1}, []byte{1})
	f.Add([]byte{spaceMeta, metaTruncated, 0, 1, 0}, []byte{1})
	f.Add([]byte{spaceMeta, metaPending, 0, 1}, []byte{pendingVersion})
	f.Add([]byte{spaceLog, 0, 1, 0, 9}, []byte("record"))
	f.Add(stateKey, []byte{stateVersion})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if len(key) == 0 || len(key) > kv.MaxKey {
			return
		}
		loaded := &Store{cfg: s.cfg, db: s.db}
		loaded.readers.gone = make(chan struct{}, 1)
		loaded.writer.state.set(lane(1), 1<<40) // so that the log is looked at
		loaded.cfg.FS = vfs.NewMem()
		before, closer, err := s.db.Get(stateKey)
		require.NoError(t, err)
		state := bytes.Clone(before)
		require.NoError(t, closer.Close())
		require.NoError(t, s.db.Set(key, value, nil))
		defer func() {
			require.NoError(t, s.db.Delete(key, nil))
			require.NoError(t, s.db.Set(stateKey, state, nil))
		}()
		if err := errors.Join(loaded.load(), loaded.loadState()); err != nil {
			refused(t, err)
		}
	})
}
