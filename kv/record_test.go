package kv_test

import (
	"encoding/hex"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

func drawVector(t *rapid.T, name string) clock.Vector {
	var v clock.Vector
	for range rapid.IntRange(0, 4).Draw(t, name) {
		v = v.With(clock.Region(rapid.Uint16().Draw(t, "region")), clock.Timestamp(rapid.Uint64Min(1).Draw(t, "time")))
	}
	return v
}

func drawHeader(t *rapid.T) kv.Header {
	time := rapid.Uint64Min(1).Draw(t, "time")
	return kv.Header{
		Kind: kv.RecordGroup,
		Lane: clock.Lane{Region: clock.Region(rapid.Uint16().Draw(t, "region")), Slot: clock.Slot(rapid.Uint8Max(63).Draw(t, "slot"))},
		Time: clock.Timestamp(time),
		Prev: clock.Timestamp(rapid.Uint64Max(time-1).Draw(t, "before")),
		Deps: drawVector(t, "deps"),
	}
}

func drawRecord(t *rapid.T) *kv.Record {
	r := &kv.Record{Header: drawHeader(t)}
	if rapid.IntRange(0, 5).Draw(t, "void") == 0 {
		r.Kind = kv.RecordVoid
		r.Void = kv.Interval{From: clock.Timestamp(rapid.Uint64().Draw(t, "from")), To: clock.Timestamp(rapid.Uint64().Draw(t, "to"))}
		return r
	}
	if rapid.IntRange(0, 5).Draw(t, "drop") == 0 {
		r.Kind = kv.RecordDrop
		r.Drop = kv.BucketDrop{Bucket: kv.Bucket(rapid.StringN(1, 60, kv.MaxBucket).Draw(t, "dropped")), Generation: rapid.Uint32Min(1).Draw(t, "generation")}
		return r
	}
	index := uint32(0)
	r.Txns = make([]kv.Txn, rapid.IntRange(0, 3).Draw(t, "transactions"))
	for i := range r.Txns {
		r.Txns[i] = drawTxn(t, &index)
	}
	return r
}

func drawTxn(t *rapid.T, index *uint32) kv.Txn {
	var x kv.Txn
	if rapid.Bool().Draw(t, "with id") {
		copy(x.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	}
	if rapid.Bool().Draw(t, "with snapshot") {
		if x.Snapshot = drawVector(t, "snapshot"); x.Snapshot == nil {
			x.Snapshot = clock.Vector{}
		}
	}
	x.Effects = make([]kv.Effect, rapid.IntRange(0, 4).Draw(t, "effects"))
	for i := range x.Effects {
		x.Effects[i] = kv.Effect{
			Object: kv.Object{
				Bucket: kv.Bucket(rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e", "f"}).Draw(t, "bucket")),
				Key:    kv.Key(drawName(t, "key")),
				Type:   kv.Type(rapid.Byte().Draw(t, "type")),
			},
			Generation: rapid.SampledFrom([]uint32{0, 1, 1<<32 - 1}).Draw(t, "generation"),
			Path:       kv.AppendPath([]byte{}, drawPath(t, "path")),
			Op:         []byte(drawName(t, "op")),
			Index:      *index,
		}
		*index++
	}
	return x
}

func TestRecordsDecodeToWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRecord(t)
		b := r.Append([]byte("before"))[len("before"):]
		got, err := kv.DecodeRecord(b)
		require.NoError(t, err)
		require.Equal(t, r, got)
		h, err := kv.DecodeHeader(b)
		require.NoError(t, err)
		require.Equal(t, r.Header, h)
		h, rest, err := kv.SplitRecord(b)
		require.NoError(t, err)
		require.Equal(t, r.Header, h)
		require.Equal(t, b, append(h.Append(nil), rest...), "a split record joins again")
	})
}

func TestRecordsThatAreCutOrLongerAreRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawRecord(t).Append(nil)
		n := rapid.IntRange(0, len(b)-1).Draw(t, "bytes left")
		_, err := kv.DecodeRecord(b[:n])
		require.ErrorIs(t, err, kv.ErrCorrupt)
		_, err = kv.DecodeRecord(append(b, 0))
		require.ErrorIs(t, err, kv.ErrCorrupt)
	})
}

// groupFixture is a group with everything in it.
func groupFixture() *kv.Record {
	return &kv.Record{
		Header: kv.Header{Lane: clock.Lane{Region: 1, Slot: 2}, Time: 0x2000, Prev: 0x1000, Kind: kv.RecordGroup,
			Deps: clock.VectorOf(clock.Entry{Region: 1, Time: 0x1000}, clock.Entry{Region: 2, Time: 0x1fff})},
		Txns: []kv.Txn{
			{ID: kv.OpID{1, 2, 3}, Snapshot: clock.VectorOf(clock.Entry{Region: 1, Time: 0x1000}), Effects: []kv.Effect{
				{Object: kv.Object{Bucket: "b", Key: "k", Type: 9}, Path: []byte("f\x00\x01\x02"), Op: []byte{1, 'x'}},
			}},
			{Effects: []kv.Effect{
				{Object: kv.Object{Bucket: "c", Key: "k", Type: 1}, Generation: 300, Path: []byte{}, Op: []byte{1, 10}, Index: 1},
			}},
		},
	}
}

// The bytes of version 1 are a format: they stay readable for ever.
func TestRecordEncodingIsFixed(t *testing.T) {
	drop := &kv.Record{Header: kv.Header{Time: 5, Prev: 4, Kind: kv.RecordDrop}, Drop: kv.BucketDrop{Bucket: "b", Generation: 300}}
	void := &kv.Record{Header: kv.Header{Lane: clock.Lane{Region: 300}, Time: 5, Kind: kv.RecordVoid}, Void: kv.Interval{From: 3, To: 4}}
	for want, r := range map[string]*kv.Record{
		"0101010200000000000020008020020180400102" + // header
			"020162000163ac02" + "02" + "0301020300000000000000000000000000" + "01018040" + "01" + "0009016b04660001020201" + "78" +
			"0001" + "01" + "01016b0002010a": groupFixture(),
		"0102ac0200" + "0000000000000005" + "0500" + "00000000000000030000000000000004": void,
		"01030000" + "0000000000000005" + "0100" + "0162ac02":                           drop,
	} {
		require.Equal(t, want, hex.EncodeToString(r.Append(nil)))
		b, err := hex.DecodeString(want)
		require.NoError(t, err)
		got, err := kv.DecodeRecord(b)
		require.NoError(t, err)
		require.Equal(t, r, got)
	}
}

func TestDecodeRecordRefusesWhatIsNone(t *testing.T) {
	good := groupFixture().Append(nil)
	set := func(at int, to byte) []byte {
		b := append([]byte(nil), good...)
		b[at] = to
		return b
	}
	for name, b := range map[string][]byte{
		"empty":            nil,
		"unknown version":  set(0, 2),
		"unknown kind":     set(1, 4),
		"slot too high":    set(3, 64),
		"no predecessor":   append(append([]byte(nil), good[:12]...), 0),
		"many buckets":     {1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"many txns":        {1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"many effects":     {1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"unknown flag":     {1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 1, 4, 0},
		"unknown bucket":   {1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0},
		"large generation": {1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 1, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 0},
		"large region":     {1, 1, 0x80, 0x80, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 0},
		"dropped unnamed":  {1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 1},
		"dropped to 0":     {1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 1, 'b', 0},
		"dropped too long": append(append([]byte{1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0x80, 2}, make([]byte, 256)...), 1),
		"prev below zero":  {1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 10, 0, 0, 0},
	} {
		_, err := kv.DecodeRecord(b)
		require.ErrorIs(t, err, kv.ErrCorrupt, name)
	}
	_, err := kv.DecodeHeader(set(0, 2))
	require.ErrorIs(t, err, kv.ErrCorrupt)
	_, _, err = kv.SplitRecord(set(0, 2))
	require.ErrorIs(t, err, kv.ErrCorrupt)
}

func TestIntervalsAreOpenBelowAndClosedAbove(t *testing.T) {
	i := kv.Interval{From: 3, To: 5}
	require.False(t, i.Contains(3))
	require.True(t, i.Contains(4))
	require.True(t, i.Contains(5))
	require.False(t, i.Contains(6))
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(groupFixture().Append(nil))
	f.Add((&kv.Record{Header: kv.Header{Time: 5, Kind: kv.RecordVoid}, Void: kv.Interval{From: 3, To: 4}}).Append(nil))
	f.Add((&kv.Record{Header: kv.Header{Time: 5, Kind: kv.RecordDrop}, Drop: kv.BucketDrop{Bucket: "b", Generation: 1}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, headerErr := kv.DecodeHeader(b)
		_, _, splitErr := kv.SplitRecord(b)
		require.Equal(t, headerErr == nil, splitErr == nil)
		r, err := kv.DecodeRecord(b)
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		require.NoError(t, headerErr)
		again, err := kv.DecodeRecord(r.Append(nil))
		require.NoError(t, err)
		require.Equal(t, r.Append(nil), again.Append(nil))
	})
}

// A forged count makes no allocation beyond a multiple of the bytes that came.
func TestDecodeRecordAllocatesInProportion(t *testing.T) {
	b := []byte{1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 1, 0, 0x90, 0x4e} // 10,000 effects
	b = append(b, make([]byte, 10_001)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := kv.DecodeRecord(b)
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, kv.ErrCorrupt)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64*len(b)))
}

func TestATransactionAloneDecodesToWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		index := uint32(0)
		x := drawTxn(t, &index)
		b := x.AppendAlone([]byte("before"))[len("before"):]
		got, err := kv.DecodeAlone(b)
		require.NoError(t, err)
		require.Equal(t, x, got)
		_, err = kv.DecodeAlone(b[:rapid.IntRange(0, len(b)-1).Draw(t, "bytes left")])
		require.ErrorIs(t, err, kv.ErrCorrupt)
		_, err = kv.DecodeAlone(append(b, 0))
		require.ErrorIs(t, err, kv.ErrCorrupt)
	})
}

func FuzzDecodeAlone(f *testing.F) {
	f.Add([]byte{})
	for _, x := range groupFixture().Txns {
		f.Add(x.AppendAlone(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := kv.DecodeAlone(b)
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		again, err := kv.DecodeAlone(x.AppendAlone(nil))
		require.NoError(t, err)
		require.Equal(t, x, again)
	})
}
