package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// dropRecord is what the certifier's lane says of a bucket that is dropped.
func dropRecord(last, at clock.Timestamp, b kv.Bucket, generation uint32) *kv.Record {
	return &kv.Record{Header: kv.Header{Prev: last, Time: at, Kind: kv.RecordDrop}, Drop: kv.BucketDrop{Bucket: b, Generation: generation}}
}

func applyDrop(t testing.TB, s *Store, last, at clock.Timestamp, b kv.Bucket, generation uint32) {
	t.Helper()
	r := dropRecord(last, at, b, generation)
	do(t, s, func(b *Batch) error { return b.Apply(r, r.Append(nil)) })
}

// upTo is the snapshot that sees the certifier's lane up to a time, and nothing else.
func upTo(at clock.Timestamp) clock.Vector { return clock.VectorOf(clock.Entry{Time: at}) }

func TestAGenerationIsAMatterOfTheSnapshot(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	require.True(t, s.SameGenerations(nil, upTo(9)), "nothing was dropped")
	require.Zero(t, s.Generation("a", upTo(9)))
	applyDrop(t, s, 0, 3, "a", 1)
	applyDrop(t, s, 3, 5, "a", 2)
	applyDrop(t, s, 5, 6, "b", 7)
	check := func(s *Store) {
		t.Helper()
		for at, want := range map[clock.Timestamp]uint32{0: 0, 2: 0, 3: 1, 4: 1, 5: 2, 100: 2} {
			require.Equal(t, want, s.Generation("a", upTo(at)), at)
		}
		require.Zero(t, s.Generation("b", upTo(5)))
		require.EqualValues(t, 7, s.Generation("b", upTo(6)))
		require.Zero(t, s.Generation("c", upTo(100)))
		require.False(t, s.SameGenerations(upTo(3), upTo(4)))
		require.True(t, s.SameGenerations(upTo(4), upTo(4).With(1, 7)))
		require.Equal(t, map[kv.Bucket][]Drop{"a": {{3, 1}, {5, 2}}, "b": {{6, 7}}}, s.Drops())
	}
	check(s)
	require.NoError(t, s.Close())
	s = openMem(t, fs)
	check(s)
	do(t, s, func(b *Batch) error { b.Clear(); return nil })
	check(s)
	do(t, s, func(b *Batch) error { b.LoadDrops(map[kv.Bucket][]Drop{"a": {{3, 1}, {5, 2}}}); return nil })
	check(s)

	other := openMem(t, vfs.NewMem())
	do(t, other, func(b *Batch) error { b.LoadDrops(s.Drops()); return nil })
	check(other)
}

// inGeneration gives all effects of a record a generation.
func inGeneration(r *kv.Record, generation uint32) (*kv.Record, []byte) {
	for i := range r.Txns {
		for j := range r.Txns[i].Effects {
			r.Txns[i].Effects[j].Generation = generation
		}
	}
	return r, r.Append(nil)
}

// leavesOf are how many leaves there are of each generation of a bucket.
func leavesOf(t testing.TB, s *Store, b kv.Bucket) map[uint32]int {
	out := map[uint32]int{}
	all := []byte{spaceLeaf}
	require.NoError(t, s.scan(context.Background(), all, successor(all), func(key, _ []byte) (bool, error) {
		l, err := parseLeaf(key)
		if l.Bucket == b {
			out[l.Generation]++
		}
		return true, err
	}))
	return out
}

// bucketed is an operation on a bucket's set, and so on a leaf of its own.
func bucketed(b kv.Bucket, element string) kv.Op {
	return kv.Op{Object: kv.Object{Bucket: b, Key: "s", Type: crdt.SetAW}, Verb: kv.VerbAdd, Data: []byte(element)}
}

// openStill is a store that sweeps when it is told to only.
func openStill(t testing.TB) *Store {
	s, err := Open(Config{FS: vfs.NewMem(), Dir: "store", Logf: t.Logf, TidyInterval: time.Hour, SweepInterval: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// What was dropped is there until the horizon has passed the drop: an open snapshot may read it. Then it goes, and
// nothing else does; and what others still write to it is not kept.
func TestWhatWasDroppedIsReclaimedOnceNobodyCanReadIt(t *testing.T) {
	s := openStill(t)
	a := &author{lane: lane(1)}
	const elements = 100
	var ops []kv.Op
	for i := range elements {
		ops = append(ops, bucketed("a", fmt.Sprint(i)), bucketed("b", fmt.Sprint(i)))
	}
	r, enc := a.group(t, nil, ops...)
	do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
	applyDrop(t, s, 0, 3, "a", 1)
	r, enc = a.group(t, upTo(3).With(1, r.Time))
	do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
	first, _ := a.group(t, upTo(3).With(1, r.Time), bucketed("a", "new"))
	first, enc = inGeneration(first, 1)
	late := &author{lane: lane(2)} // which has not heard of the drop
	early, earlyEnc := late.group(t, nil, bucketed("a", "late"))
	do(t, s, func(b *Batch) error { return errors.Join(b.Apply(first, enc), b.Apply(early, earlyEnc)) })

	now := upTo(3).With(1, first.Time).With(2, early.Time)
	s.SetCuts(now.With(0, 2), nil)
	s.sweepSome()
	require.Equal(t, map[uint32]int{0: elements + 1, 1: 1}, leavesOf(t, s, "a"), "a snapshot may still be open")
	require.NoError(t, s.Sweep(context.Background()))
	require.Equal(t, map[uint32]int{0: elements + 1, 1: 1}, leavesOf(t, s, "a"))

	s.SetCuts(now, nil)
	s.sweepSome()
	require.Equal(t, map[uint32]int{1: 1}, leavesOf(t, s, "a"))
	require.Equal(t, map[uint32]int{0: elements}, leavesOf(t, s, "b"))

	later, laterEnc := late.group(t, nil, bucketed("a", "later"), bucketed("b", "later"),
		kv.Op{Object: bucketed("a", "").Object, Verb: kv.VerbReset})
	do(t, s, func(b *Batch) error { return b.Apply(later, laterEnc) })
	require.Equal(t, map[uint32]int{1: 1}, leavesOf(t, s, "a"), "nobody would read it")
	require.Equal(t, map[uint32]int{0: elements + 1}, leavesOf(t, s, "b"))
	log, err := s.Log(lane(2), early.Time, 1<<20)
	require.NoError(t, err)
	require.Equal(t, [][]byte{laterEnc}, log, "others may have to get it from here")
}

// The background goes through a dropped bucket in steps, however much it holds, and again after another drop.
func TestTheSweepOfADroppedBucketGoesOnWhereItWas(t *testing.T) {
	s := openStill(t)
	a := &author{lane: lane(1)}
	const elements = SweepLeaves + 10
	var last clock.Timestamp
	for i := 0; i < elements; i += 1000 {
		var ops []kv.Op
		for k := i; k < min(i+1000, elements); k++ {
			ops = append(ops, bucketed("a", fmt.Sprint(k)))
		}
		r, enc := a.group(t, nil, ops...)
		do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
		last = r.Time
	}
	applyDrop(t, s, 0, 3, "a", 1)
	applyDrop(t, s, 3, 4, "b", 1)
	s.SetCuts(upTo(4).With(1, last), nil)
	for range 3 {
		s.sweepDropped(s.stopped)
	}
	require.Empty(t, leavesOf(t, s, "a"))
	for s.sweep.dropped.done["b"] == 0 {
		s.sweepDropped(s.stopped)
	}
	require.Equal(t, map[kv.Bucket]uint32{"a": 1, "b": 1}, s.sweep.dropped.done)

	r, _ := a.group(t, upTo(4).With(1, last), bucketed("a", "x"))
	r, enc := inGeneration(r, 1)
	do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
	s.sweepDropped(s.stopped)
	require.Equal(t, map[uint32]int{1: 1}, leavesOf(t, s, "a"))
	applyDrop(t, s, 4, 9, "a", 2)
	s.SetCuts(upTo(9).With(1, r.Time), nil)
	s.sweepDropped(s.stopped)
	s.sweepDropped(s.stopped)
	require.Empty(t, leavesOf(t, s, "a"))

	applyDrop(t, s, 9, 10, "a", 3)
	require.Equal(t, map[kv.Bucket][]Drop{"a": {{9, 2}, {10, 3}}, "b": {{4, 1}}}, s.Drops(), "no snapshot tells the first apart from the second")
	s.SetCuts(upTo(10).With(1, r.Time), nil)
	require.NoError(t, s.Close())
	s.sweepDropped(s.stopped)
	require.EqualValues(t, 2, s.sweep.dropped.done["a"], "what can't be read is tried again")
}

func TestListingsAndCutsLeaveOutWhatWasDropped(t *testing.T) {
	s := openStill(t)
	a := &author{lane: lane(1)}
	r, enc := a.group(t, nil, bucketed("a", "x"), bucketed("b", "x"), bucketed("c", "x"))
	do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
	applyDrop(t, s, 0, 3, "a", 1)
	applyDrop(t, s, 3, 4, "b", 1)
	next, _ := a.group(t, upTo(4).With(1, r.Time), bucketed("b", "y"))
	next, enc = inGeneration(next, 1)
	do(t, s, func(b *Batch) error { return b.Apply(next, enc) })
	for at, want := range map[clock.Timestamp][]kv.Bucket{0: {"a", "b", "c"}, 3: {"b", "c"}, 4: {"b", "c"}} {
		got, err := s.Buckets(context.Background(), upTo(at), "", 10)
		require.NoError(t, err)
		require.Equal(t, want, got, at)
	}
	keys := func(at clock.Vector) (n int) {
		for shard := range uint8(Shards) {
			leaves, _, err := s.ShardRange(context.Background(), shard, nil, at, 1<<20)
			require.NoError(t, err)
			n += len(leaves)
		}
		return n
	}
	require.Equal(t, 3, keys(clock.VectorOf(clock.Entry{Region: 1, Time: r.Time})))
	require.Equal(t, 1, keys(upTo(4).With(1, r.Time)), "only c's")
	require.Equal(t, 2, keys(upTo(4).With(1, next.Time)))
	for b, want := range map[kv.Bucket]int{"a": 0, "b": 1} {
		n := 0
		at := upTo(4).With(1, next.Time)
		err := s.ScanKeys(context.Background(), KeyRange{Bucket: b, Generation: s.Generation(b, at)}, at, func(kv.Object) (bool, error) { n++; return true, nil })
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
}

func TestDamagedDropsRefuseToOpen(t *testing.T) {
	for what, kept := range map[string][2][]byte{
		"no bucket":     {{}, make([]byte, dropBytes)},
		"no drops":      {[]byte("b"), {}},
		"cut":           {[]byte("b"), bytes.Repeat([]byte{1}, dropBytes-1)},
		"generation 0":  {[]byte("b"), append(bytes.Repeat([]byte{1}, 8), 0, 0, 0, 0)},
		"no later time": {[]byte("b"), bytes.Repeat([]byte{1}, 2*dropBytes)},
	} {
		fs := vfs.NewMem()
		s, err := Open(Config{FS: fs, Dir: "store"})
		require.NoError(t, err)
		do(t, s, func(b *Batch) error { return b.pb.Set(dropKey(kv.Bucket(kept[0])), kept[1], nil) })
		require.NoError(t, s.Close())
		_, err = Open(Config{FS: fs, Dir: "store"})
		require.ErrorIs(t, err, kv.ErrCorrupt, what)
	}
}

// Whatever is forgotten, at every snapshot that includes the horizon the generation is that of the last drop which
// the snapshot sees, in whatever order two stores' lists are joined.
func TestGenerationsAreWhatTheNaiveListSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var naive []Drop
		var last Drop
		for range rapid.IntRange(1, 12).Draw(t, "drops") {
			last.Time += clock.Timestamp(rapid.IntRange(1, 3).Draw(t, "step"))
			last.Generation += uint32(rapid.IntRange(1, 3).Draw(t, "raise"))
			naive = append(naive, last)
		}
		horizon := clock.Timestamp(rapid.IntRange(0, int(last.Time)).Draw(t, "horizon"))
		d := drops{}
		for _, drop := range rapid.Permutation(naive).Draw(t, "order") {
			d.add("b", drop, horizon)
			d.add("b", drop, horizon)
		}
		for at := horizon; at <= last.Time+1; at++ {
			want := uint32(0)
			for _, drop := range naive {
				if drop.Time <= at {
					want = drop.Generation
				}
			}
			require.Equal(t, want, d.at("b", at), "at %d of %v from %d", at, naive, horizon)
		}
	})
}
