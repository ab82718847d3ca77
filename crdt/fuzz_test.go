package crdt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

func leafTypes() []kv.Type {
	return []kv.Type{crdt.Counter, crdt.RegisterLWW, crdt.RegisterMV, crdt.FlagEW, crdt.FlagDW}
}

// seedItems adds leaves of every kind of item.
func seedItems(f *testing.F) {
	for i, leaf := range leafTypes() {
		o := leafOps{f, leaf}
		first := item(dot(1, 10), nil, anAdd(o))
		items := join(first, item(clock.Dot{Region: 300, Time: 20, Index: 7}, cut(10, 3), o.op(kv.VerbReset, "")),
			item(dot(2, 30), nil, anAdd(o)))
		f.Add(byte(i), items, uint64(10), uint64(20))
		f.Add(byte(i), o.rewrite(first, cut(10), cut(10)), uint64(30), uint64(5))
	}
	f.Add(byte(0), []byte{5, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}, uint64(1), uint64(1))
	f.Add(byte(0), []byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, uint64(1), uint64(1))
}

// Reading arbitrary bytes as a leaf gives an error or a value. Where it is a leaf, a rewrite with
// nothing settled reads the same at the horizon, and a rewrite of a rewrite is the same again.
func FuzzLeaf(f *testing.F) {
	seedItems(f)
	f.Fuzz(func(t *testing.T, which byte, items []byte, a, b uint64) {
		leaf := leafTypes()[int(which)%len(leafTypes())]
		at := cut(clock.Timestamp(a), clock.Timestamp(b))
		value, err := crdt.Fold(leaf, items, at)
		if err != nil && kv.KindOf(err) != kv.KindBound {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		_, _ = crdt.Touches(leaf, items, at)
		filtered, err := crdt.Filter(nil, items, at)
		require.NoError(t, err)
		n, err := crdt.CountItems(items)
		require.NoError(t, err)
		require.LessOrEqual(t, n, len(items)/2)
		require.LessOrEqual(t, len(filtered), len(items))

		out, kept, err := crdt.Rewrite(leaf, nil, items, at, at)
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		require.LessOrEqual(t, kept, n)
		again, _, err := crdt.Rewrite(leaf, nil, out, at, at)
		require.NoError(t, err)
		require.Equal(t, out, again)
		if after, err := crdt.Fold(leaf, out, at); err == nil {
			require.Equal(t, value, after)
		}
	})
}

// What is decoded and encoded again is the same.
func FuzzItemsAreSelfDelimiting(f *testing.F) {
	seedItems(f)
	f.Fuzz(func(t *testing.T, _ byte, items []byte, _, _ uint64) {
		n, err := crdt.CountItems(items)
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			_, err = crdt.Filter(nil, items, nil)
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		parts := crdt.SplitItems(items)
		require.Len(t, parts, n)
		require.Equal(t, string(items), string(join(parts...)))
	})
}

// An effect out of a record is refused or understood, and its path with it.
func FuzzEffectTarget(f *testing.F) {
	f.Add(byte(crdt.Map), kv.AppendPath(nil, kv.Path{{Name: "s\x00", Type: crdt.SetRW}, {Name: "e", Type: crdt.FlagDW}}), []byte{1})
	f.Add(byte(crdt.Counter), []byte(nil), []byte{1, 2})
	f.Add(byte(crdt.MapGO), []byte(nil), []byte{0})
	f.Fuzz(func(t *testing.T, root byte, path, op []byte) {
		target, err := crdt.EffectTarget(&kv.Effect{Object: kv.Object{Type: kv.Type(root)}, Path: path, Op: op})
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		steps, err := kv.DecodePath(path)
		require.NoError(t, err)
		require.Equal(t, string(path), string(kv.AppendPath(nil, steps)))
		if target.Below {
			return
		}
		items := crdt.AppendItem(nil, dot(1, 10), nil, target.Op)
		if crdt.IsCollection(kv.Type(root)) {
			value, err := crdt.Fold(target.Leaf, items, cut(10))
			require.NoError(t, err)
			require.NoError(t, crdt.NewCollector(kv.Type(root)).Add(steps, value))
		}
		crdt.Replaces(target.Leaf, op)
		crdt.Combine(target.Leaf, op, op)
		if crdt.NeedsCheck(target.Leaf, op) {
			_ = crdt.Check(target.Leaf, items, cut(10), op)
		}
	})
}
