package crdt_test

import (
	"fmt"
	"testing"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// stamps are timestamps as a live system has them.
const stamps clock.Timestamp = 1_800_000_000_000_000 << 12

// benchLeaf makes a leaf of n items that three regions wrote in turn; an override has seen all but
// the last item before it.
func benchLeaf(tb testing.TB, leaf kv.Type, n int) (items []byte, at clock.Vector) {
	o := leafOps{tb, leaf}
	op := anAdd(o)
	target := resolve(tb, kv.Op{Object: kv.Object{Type: leaf}, Verb: map[kv.Type]kv.Verb{
		crdt.Counter: kv.VerbIncrement, crdt.RegisterLWW: kv.VerbAssign, crdt.RegisterMV: kv.VerbAssign,
		crdt.FlagEW: kv.VerbEnable, crdt.FlagDW: kv.VerbEnable,
	}[leaf]})
	for i := range n {
		d := dot(clock.Region(i%3+1), stamps+clock.Timestamp(i)<<12)
		var snapshot clock.Vector
		if target.Override {
			snapshot = at
		}
		items = crdt.AppendItem(items, d, snapshot, op)
		at = at.With(d.Region, d.Time)
	}
	return items, at
}

func eachLeaf(b *testing.B, run func(b *testing.B, leaf kv.Type, items []byte, at clock.Vector)) {
	for _, leaf := range leafTypes() {
		for _, n := range []int{1, 64, 1024} {
			items, at := benchLeaf(b, leaf, n)
			b.Run(fmt.Sprintf("%s/items=%d", crdt.Name(leaf), n), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(items)))
				run(b, leaf, items, at)
			})
		}
	}
}

func BenchmarkFold(b *testing.B) {
	eachLeaf(b, func(b *testing.B, leaf kv.Type, items []byte, at clock.Vector) {
		for b.Loop() {
			if v, err := crdt.Fold(leaf, items, at); err != nil || !v.Present {
				b.Fatal(v, err)
			}
		}
	})
}

func BenchmarkRewrite(b *testing.B) {
	eachLeaf(b, func(b *testing.B, leaf kv.Type, items []byte, at clock.Vector) {
		var space []byte
		for b.Loop() {
			out, _, err := crdt.Rewrite(leaf, space[:0], items, at, at)
			if err != nil {
				b.Fatal(err)
			}
			space = out
		}
	})
}

func BenchmarkAppendItem(b *testing.B) {
	at := clock.VectorOf(clock.Entry{Region: 1, Time: stamps}, clock.Entry{Region: 2, Time: stamps + 5<<12}, clock.Entry{Region: 3, Time: stamps - 1<<30})
	space := make([]byte, 0, 256)
	b.Run("add", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			space = crdt.AppendItem(space[:0], dot(1, stamps), nil, []byte{1, 2})
		}
		b.ReportMetric(float64(len(space)), "bytes")
	})
	b.Run("override", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			space = crdt.AppendItem(space[:0], dot(1, stamps), at, []byte{1, 2})
		}
		b.ReportMetric(float64(len(space)), "bytes")
	})
}

func BenchmarkTouches(b *testing.B) {
	items, at := benchLeaf(b, crdt.FlagEW, 1)
	b.ReportAllocs()
	for b.Loop() {
		if touches, err := crdt.Touches(crdt.FlagEW, items, at); err != nil || !touches {
			b.Fatal(err)
		}
	}
}

func BenchmarkEffectTarget(b *testing.B) {
	path := kv.AppendPath(nil, kv.Path{{Name: "profile", Type: crdt.Map}, {Name: "likes", Type: crdt.Counter}})
	e := &kv.Effect{Object: kv.Object{Type: crdt.Map}, Path: path, Op: increment(b, 1)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := crdt.EffectTarget(e); err != nil {
			b.Fatal(err)
		}
	}
}
