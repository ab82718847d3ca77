package replication

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// drawRecord draws a record of lane 2.0 behind prev.
func drawRecord(t *rapid.T, prev clock.Timestamp) kv.Record {
	r := kv.Record{Header: kv.Header{
		Lane: clock.Lane{Region: 2}, Prev: prev, Kind: kv.RecordGroup,
		Time: prev + clock.Timestamp(rapid.Uint64Range(1, 1<<40).Draw(t, "step")),
	}}
	for region := range clock.Region(4) {
		if rapid.Bool().Draw(t, "has dependency") {
			r.Deps = r.Deps.With(region, clock.Timestamp(rapid.Uint64().Draw(t, "dependency")))
		}
	}
	if rapid.Bool().Draw(t, "own dependency is prev") {
		r.Deps = r.Deps.With(2, prev)
	}
	if rapid.IntRange(0, 9).Draw(t, "void") == 0 {
		r.Kind, r.Void = kv.RecordVoid, kv.Interval{From: 1, To: prev}
		return r
	}
	r.Txns = []kv.Txn{{Effects: []kv.Effect{{
		Object: kv.Object{Bucket: "b", Key: kv.Key(rapid.String().Draw(t, "key")), Type: 1},
		Op:     rapid.SliceOf(rapid.Byte()).Draw(t, "op"), Path: []byte{},
	}}}}
	return r
}

func TestUnpackingGivesWhatWasPacked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		begin := clock.Timestamp(rapid.Uint64Range(0, 1<<62).Draw(t, "begin"))
		p, prev := newPacker(clock.Lane{Region: 2}, begin), begin
		var want [][]byte
		for range rapid.IntRange(0, 8).Draw(t, "records") {
			r := drawRecord(t, prev)
			prev = r.Time
			want = append(want, r.Append(nil))
			if _, err := p.add(want[len(want)-1]); err != nil {
				t.Fatal(err)
			}
		}
		from, got, err := unpack(clock.Lane{Region: 2}, p.out)
		if err != nil || from != begin || len(got) != len(want) {
			t.Fatalf("%v: from %s, %d records, want %s and %d", err, from, len(got), begin, len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i].Encoded, want[i]) {
				t.Fatalf("record %d: %x\nwant %x", i, got[i].Encoded, want[i])
			}
			decoded, err := kv.DecodeRecord(want[i])
			if err != nil || decoded.Time != got[i].Record.Time || !decoded.Deps.Equal(got[i].Record.Deps) {
				t.Fatalf("record %d: %v, %v", i, got[i].Record, err)
			}
		}
	})
}

func TestPackingRefusesABrokenLog(t *testing.T) {
	lane := clock.Lane{Region: 2}
	record := func(region clock.Region, prev, time clock.Timestamp) []byte {
		r := kv.Record{Header: kv.Header{Lane: clock.Lane{Region: region}, Prev: prev, Time: time, Kind: kv.RecordGroup}}
		return r.Append(nil)
	}
	for name, encoded := range map[string][]byte{
		"garbage":       {1, 2, 3},
		"gap":           record(2, 8, 9),
		"fork":          record(2, 3, 9),
		"another lane":  record(3, 5, 9),
		"empty":         nil,
		"half a header": record(2, 5, 9)[:6],
	} {
		_, err := newPacker(lane, 5).add(encoded)
		require.ErrorIs(t, err, kv.ErrCorrupt, name)
	}
}

func FuzzUnpack(f *testing.F) {
	p := newPacker(clock.Lane{Region: 2}, 100)
	for _, t := range []clock.Timestamp{200, 300} {
		r := kv.Record{Header: kv.Header{Lane: clock.Lane{Region: 2}, Prev: t - 100, Time: t, Kind: kv.RecordGroup,
			Deps: clock.VectorOf(clock.Entry{Region: 1, Time: 7}, clock.Entry{Region: 2, Time: t - 100})}}
		_, err := p.add(r.Append(nil))
		require.NoError(f, err)
	}
	f.Add(p.out)
	f.Add([]byte{})
	f.Add(make([]byte, 40))
	f.Fuzz(func(t *testing.T, src []byte) {
		prev, records, err := unpack(clock.Lane{Region: 2}, src)
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		for _, in := range records {
			require.Equal(t, prev, in.Record.Prev, "a chain")
			prev = in.Record.Time
		}
	})
}

// Many records that each name a thousand dependencies by their predecessor's would unpack to far
// more than came.
func TestUnpackingIsBounded(t *testing.T) {
	p := newPacker(clock.Lane{Region: 2}, 1)
	r := kv.Record{Header: kv.Header{Lane: clock.Lane{Region: 2}, Prev: 1, Time: 2, Kind: kv.RecordGroup}}
	for region := range clock.Region(1000) {
		r.Deps = r.Deps.With(region+10, 1)
	}
	_, err := p.add(r.Append(nil))
	require.NoError(t, err)
	for range 20_000 { // one microsecond later, a group, the expected dependencies, an empty body
		p.out = append(p.out, 0x80, 0x20, byte(kv.RecordGroup), 0, 2, 0, 0)
	}
	require.Less(t, len(p.out), 1<<20)
	_, _, err = unpack(clock.Lane{Region: 2}, p.out)
	require.ErrorContains(t, err, "too large")
}

func TestBackoffGrowsWithinItsBounds(t *testing.T) {
	b := backoff{random: func() uint64 { return 1<<63 - 1 }}
	before := b.next()
	for range 20 {
		d := b.next()
		require.GreaterOrEqual(t, d, RedialMin/2)
		require.Less(t, d, RedialMax)
		before = d
	}
	require.GreaterOrEqual(t, before, RedialMax/2)
	b.reset()
	require.Less(t, b.next(), RedialMin+1)
}
