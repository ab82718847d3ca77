package crdt_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

func TestTypesHaveTheNumbersAndNamesThatFormatsFix(t *testing.T) {
	names := []string{"counter", "register-lww", "register-mv", "flag-ew", "flag-dw", "set-aw", "set-rw", "set-go", "map", "map-go"}
	require.Len(t, crdt.Types(), len(names))
	for i, name := range names {
		number := kv.Type(i + 1)
		got, ok := crdt.Lookup(name)
		require.True(t, ok)
		require.Equal(t, number, got)
		require.Equal(t, name, crdt.Name(number))
		require.Equal(t, number, crdt.Types()[i])
		require.Equal(t, i >= 5, crdt.IsCollection(number))
	}
	_, ok := crdt.Lookup("tree")
	require.False(t, ok)
	require.Equal(t, "type(77)", crdt.Name(77))
	require.False(t, crdt.IsCollection(77))
}

func TestResolveRefusesWhatMakesNoSense(t *testing.T) {
	big := strings.Repeat("x", kv.MaxKey+1)
	deep := make(kv.Path, kv.MaxDepth+1)
	for i := range deep {
		deep[i] = kv.Step{Name: "m", Type: crdt.Map}
	}
	object := func(t kv.Type) kv.Object { return kv.Object{Bucket: "b", Key: "k", Type: t} }
	field := func(name string, t kv.Type) kv.Path { return kv.Path{{Name: name, Type: t}} }
	add := func(t kv.Type) kv.Op { return kv.Op{Object: object(t), Verb: kv.VerbAdd, Data: []byte("e")} }
	for name, c := range map[string]struct {
		op   kv.Op
		want *kv.Error
		say  string
	}{
		"unknown type":            {kv.Op{Object: object(99), Verb: kv.VerbReset}, kv.ErrInvalid, "the types are counter, "},
		"type zero":               {kv.Op{Object: object(0), Verb: kv.VerbReset}, kv.ErrInvalid, "unknown type 0"},
		"unknown verb":            {kv.Op{Object: object(crdt.Counter), Verb: 99}, kv.ErrInvalid, "it has increment and reset"},
		"verb zero":               {kv.Op{Object: object(crdt.FlagEW)}, kv.ErrInvalid, "it has enable, disable"},
		"verb of another type":    {kv.Op{Object: object(crdt.RegisterMV), Verb: kv.VerbEnable}, kv.ErrInvalid, "it has assign"},
		"verb on a map":           {add(crdt.Map), kv.ErrInvalid, "a path to a field"},
		"increment on a set":      {kv.Op{Object: object(crdt.SetRW), Verb: kv.VerbIncrement}, kv.ErrInvalid, "it has add, remove and reset"},
		"remove from set-go":      {kv.Op{Object: object(crdt.SetGO), Verb: kv.VerbRemove}, kv.ErrInvalid, "only grows"},
		"empty bucket":            {kv.Op{Object: kv.Object{Key: "k", Type: crdt.Counter}, Verb: kv.VerbReset}, kv.ErrInvalid, "no name"},
		"long bucket":             {kv.Op{Object: kv.Object{Bucket: kv.Bucket(big[:256]), Type: crdt.Counter}, Verb: kv.VerbReset}, kv.ErrTooLarge, "at most 255"},
		"long key":                {kv.Op{Object: kv.Object{Bucket: "b", Key: kv.Key(big), Type: crdt.Counter}, Verb: kv.VerbReset}, kv.ErrTooLarge, "at most 4096"},
		"long field":              {kv.Op{Object: object(crdt.Map), Path: field(big, crdt.Counter), Verb: kv.VerbReset}, kv.ErrTooLarge, "at most 4096"},
		"deep path":               {kv.Op{Object: object(crdt.Map), Path: deep, Verb: kv.VerbReset}, kv.ErrTooLarge, "at most 32"},
		"unknown field type":      {kv.Op{Object: object(crdt.Map), Path: field("f", 88), Verb: kv.VerbReset}, kv.ErrInvalid, "unknown type 88"},
		"field of a leaf":         {kv.Op{Object: object(crdt.Counter), Path: field("f", crdt.Counter), Verb: kv.VerbIncrement}, kv.ErrInvalid, "only a map has fields"},
		"path through a leaf":     {kv.Op{Object: object(crdt.Map), Path: kv.Path{{Name: "f", Type: crdt.FlagEW}, {Name: "g", Type: crdt.FlagEW}}, Verb: kv.VerbEnable}, kv.ErrInvalid, "only a map has fields"},
		"element as a step":       {kv.Op{Object: object(crdt.SetAW), Path: field("e", crdt.FlagEW), Verb: kv.VerbEnable}, kv.ErrInvalid, "address the set itself"},
		"element of a nested set": {kv.Op{Object: object(crdt.Map), Path: kv.Path{{Name: "s", Type: crdt.SetGO}, {Name: "e", Type: crdt.FlagEW}}, Verb: kv.VerbReset}, kv.ErrInvalid, "address the set itself"},
		"field of a map-go":       {kv.Op{Object: object(crdt.MapGO), Path: field("f", crdt.Counter), Verb: kv.VerbReset}, kv.ErrInvalid, "only grows"},
		"large element":           {kv.Op{Object: object(crdt.SetAW), Verb: kv.VerbAdd, Data: make([]byte, kv.MaxElement+1)}, kv.ErrTooLarge, "at most 1048576"},
		"large value":             {kv.Op{Object: object(crdt.RegisterLWW), Verb: kv.VerbAssign, Data: make([]byte, kv.MaxElement+1)}, kv.ErrTooLarge, "at most 1048576"},
		"reset with data":         {kv.Op{Object: object(crdt.SetAW), Verb: kv.VerbReset, Data: []byte("e")}, kv.ErrInvalid, "remove takes an element"},
		"flag with data":          {kv.Op{Object: object(crdt.FlagDW), Verb: kv.VerbEnable, Data: []byte("e")}, kv.ErrInvalid, "takes none"},
		"increment with data":     {kv.Op{Object: object(crdt.Counter), Verb: kv.VerbIncrement, Data: []byte("5")}, kv.ErrInvalid, "as an integer only"},
		"amount elsewhere":        {kv.Op{Object: object(crdt.RegisterLWW), Verb: kv.VerbAssign, Int: 5}, kv.ErrInvalid, "only increments do"},
		"expectation elsewhere":   {kv.Op{Object: object(crdt.RegisterMV), Verb: kv.VerbAssign, Expect: &kv.Expectation{}}, kv.ErrInvalid, "only a register-lww"},
		"expectation too large":   {kv.Op{Object: object(crdt.RegisterLWW), Verb: kv.VerbAssign, Expect: &kv.Expectation{Value: make([]byte, kv.MaxElement+1)}}, kv.ErrTooLarge, "expects"},
		"expectation of both":     {kv.Op{Object: object(crdt.RegisterLWW), Verb: kv.VerbAssign, Expect: &kv.Expectation{Absent: true, Value: []byte("x")}}, kv.ErrInvalid, "say one"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := crdt.Resolve(c.op)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.say)
			require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
			require.Less(t, len(err.Error()), 500)
			var e *kv.Error
			require.True(t, errors.As(err, &e))
		})
	}
}

// Keys, field names, elements and values may be any bytes, and none.
func TestResolveTakesEmptyNamesAndTheLargest(t *testing.T) {
	deep := make(kv.Path, kv.MaxDepth)
	for i := range deep {
		deep[i] = kv.Step{Type: crdt.Map}
	}
	deep[kv.MaxDepth-1].Type = crdt.SetAW
	target, err := crdt.Resolve(kv.Op{Object: kv.Object{Bucket: "b", Type: crdt.Map}, Path: deep, Verb: kv.VerbAdd})
	require.NoError(t, err)
	require.Len(t, target.Path, kv.MaxDepth+1)
	path := kv.AppendPath(nil, target.Path)
	decoded, err := kv.DecodePath(path)
	require.NoError(t, err)
	require.Equal(t, target.Path, decoded)
	_, err = crdt.EffectTarget(&kv.Effect{Object: kv.Object{Type: crdt.Map}, Path: path, Op: target.Op})
	require.NoError(t, err)

	largest := strings.Repeat("\x00", kv.MaxElement)
	target, err = crdt.Resolve(kv.Op{Object: kv.Object{Bucket: "b", Key: kv.Key(largest[:kv.MaxKey]), Type: crdt.SetRW}, Verb: kv.VerbAdd, Data: []byte(largest)})
	require.NoError(t, err)
	require.True(t, target.Override)
	require.Equal(t, crdt.FlagDW, target.Leaf)
}

// Resolve does not write behind the client's path, which may have room there.
func TestResolveLeavesThePathAlone(t *testing.T) {
	path := make(kv.Path, 1, 4)
	path[0] = kv.Step{Name: "s", Type: crdt.SetAW}
	op := kv.Op{Object: kv.Object{Bucket: "b", Type: crdt.Map}, Path: path, Verb: kv.VerbAdd}
	op.Data = []byte("a")
	a, err := crdt.Resolve(op)
	require.NoError(t, err)
	op.Data = []byte("b")
	_, err = crdt.Resolve(op)
	require.NoError(t, err)
	require.Equal(t, "a", a.Path[1].Name)
}

func TestResolveSaysWhereResetsLand(t *testing.T) {
	reset := func(t kv.Type, p ...kv.Step) kv.Op {
		return kv.Op{Object: kv.Object{Bucket: "b", Type: t}, Path: p, Verb: kv.VerbReset}
	}
	require.True(t, resolve(t, reset(crdt.SetGO)).Below)
	require.True(t, resolve(t, reset(crdt.MapGO)).Below)
	require.True(t, resolve(t, reset(crdt.Map, kv.Step{Name: "m", Type: crdt.Map})).Below)
	leaf := resolve(t, reset(crdt.Map, kv.Step{Name: "c", Type: crdt.Counter}))
	require.Equal(t, crdt.Counter, leaf.Leaf)
	require.False(t, leaf.Below)
	require.True(t, leaf.Override)
}

func TestAddressAndElementServeQueries(t *testing.T) {
	got, err := crdt.Address(kv.Object{Bucket: "b", Type: crdt.Map}, kv.Path{{Name: "s", Type: crdt.SetRW}})
	require.NoError(t, err)
	require.Equal(t, crdt.SetRW, got)
	step, ok := crdt.Element(got, []byte("e"))
	require.True(t, ok)
	require.Equal(t, kv.Step{Name: "e", Type: crdt.FlagDW}, step)
	_, ok = crdt.Element(crdt.Counter, nil)
	require.False(t, ok)
	_, ok = crdt.Element(99, nil)
	require.False(t, ok)
}

func TestEffectTargetRefusesWhatNoResolveMakes(t *testing.T) {
	path := func(p ...kv.Step) []byte { return kv.AppendPath(nil, p) }
	reset, enable := []byte{0}, []byte{1}
	var deep kv.Path
	for range kv.MaxDepth + 2 {
		deep = append(deep, kv.Step{Type: crdt.Map})
	}
	for name, e := range map[string]kv.Effect{
		"unknown type":            {Object: kv.Object{Type: 99}, Op: reset},
		"no operation":            {Object: kv.Object{Type: crdt.Counter}},
		"unknown operation":       {Object: kv.Object{Type: crdt.Counter}, Op: []byte{9, 9}},
		"bytes behind a reset":    {Object: kv.Object{Type: crdt.Counter}, Op: []byte{0, 0}},
		"operation on a set":      {Object: kv.Object{Type: crdt.SetAW}, Op: enable},
		"no operation on one":     {Object: kv.Object{Type: crdt.SetAW}},
		"path without an end":     {Object: kv.Object{Type: crdt.Map}, Path: []byte("abc"), Op: reset},
		"path without a type":     {Object: kv.Object{Type: crdt.Map}, Path: kv.AppendName(nil, "abc"), Op: reset},
		"unknown field type":      {Object: kv.Object{Type: crdt.Map}, Path: path(kv.Step{Type: 99}), Op: reset},
		"path below a leaf":       {Object: kv.Object{Type: crdt.Counter}, Path: path(kv.Step{Type: crdt.Counter}), Op: reset},
		"element of a wrong flag": {Object: kv.Object{Type: crdt.SetRW}, Path: path(kv.Step{Type: crdt.FlagEW}), Op: enable},
		"path below an element":   {Object: kv.Object{Type: crdt.SetAW}, Path: path(kv.Step{Type: crdt.FlagEW}, kv.Step{Type: crdt.FlagEW}), Op: enable},
		"too deep":                {Object: kv.Object{Type: crdt.Map}, Path: kv.AppendPath(nil, deep), Op: reset},
	} {
		_, err := crdt.EffectTarget(&e)
		require.ErrorIs(t, err, kv.ErrCorrupt, name)
	}
}

func TestLeafFunctionsRefuseTypesThatAreNoLeaves(t *testing.T) {
	for _, leaf := range []kv.Type{0, crdt.SetAW, crdt.Map, 99} {
		_, err := crdt.Fold(leaf, nil, nil)
		require.ErrorIs(t, err, kv.ErrCorrupt)
		_, _, err = crdt.Rewrite(leaf, nil, nil, nil, nil)
		require.ErrorIs(t, err, kv.ErrCorrupt)
		_, err = crdt.Touches(leaf, nil, nil)
		require.ErrorIs(t, err, kv.ErrCorrupt)
		require.ErrorIs(t, crdt.Check(leaf, nil, nil, []byte{1, 2}), kv.ErrCorrupt)
		require.False(t, crdt.Replaces(leaf, []byte{1}))
		require.False(t, crdt.NeedsCheck(leaf, []byte{1}))
		_, ok := crdt.Combine(leaf, []byte{1}, []byte{1})
		require.False(t, ok)
	}
}

func TestCounterChecksLargeIncrementsAgainstItsRange(t *testing.T) {
	for _, c := range []struct {
		n     int64
		needs bool
	}{{0, false}, {1 << 32, false}, {-1 << 32, false}, {1<<32 + 1, true}, {-1<<32 - 1, true}, {math.MinInt64, true}, {math.MaxInt64, true}} {
		require.Equal(t, c.needs, crdt.NeedsCheck(crdt.Counter, increment(t, c.n)), "%d", c.n)
	}
	for _, c := range []struct {
		current, n int64
		ok         bool
	}{
		{0, 1 << 62, true}, {0, -1 << 62, true}, {1, 1 << 62, false}, {-1, -1 << 62, false},
		{1 << 62, math.MinInt64, true}, {0, math.MinInt64, false}, {math.MaxInt64, math.MaxInt64, false},
		{math.MinInt64, math.MinInt64, false}, {-1 << 62, math.MaxInt64, true}, {math.MaxInt64, -1 << 62, true},
	} {
		items := crdt.AppendItem(nil, dot(1, 10), nil, increment(t, c.current))
		err := crdt.Check(crdt.Counter, items, cut(10), increment(t, c.n))
		if c.ok {
			require.NoError(t, err, "%d on %d", c.n, c.current)
		} else {
			require.ErrorIs(t, err, kv.ErrBound, "%d on %d", c.n, c.current)
		}
	}
	for _, c := range []struct {
		current, n int64
		ok         bool
	}{
		{0, math.MaxInt64, true}, {0, math.MinInt64, true}, {1, math.MaxInt64, false}, {-1, math.MinInt64, false},
		{1 << 62, 1<<62 - 1, true}, {1 << 62, 1 << 62, false}, {math.MaxInt64, math.MinInt64, true},
	} {
		items := crdt.AppendItem(nil, dot(1, 10), nil, increment(t, c.current))
		err := crdt.CheckRestored(crdt.Counter, items, cut(10), increment(t, c.n))
		if c.ok {
			require.NoError(t, err, "%d on %d", c.n, c.current)
		} else {
			require.ErrorIs(t, err, kv.ErrBound, "%d on %d", c.n, c.current)
			require.ErrorContains(t, err, "beyond 64 bits")
		}
	}
	require.False(t, crdt.NeedsCheck(crdt.Counter, []byte{0}))
	require.NoError(t, crdt.Check(crdt.Counter, nil, nil, []byte{0}))
	require.NoError(t, crdt.Check(crdt.FlagEW, nil, nil, []byte{1}))
}

// Out of its range a counter takes what brings it nearer to 0, at any distance.
func TestCheckLetsACounterBeyondItsRangeBeCorrected(t *testing.T) {
	for _, sign := range []int64{1, -1} {
		var items []byte
		for i := range 4 { // to 4 * 2^62
			items = crdt.AppendItem(items, dot(1, clock.Timestamp(10+i)), nil, increment(t, sign<<62))
		}
		at := cut(13)
		require.NoError(t, crdt.Check(crdt.Counter, items, at, increment(t, -sign<<62)))
		require.NoError(t, crdt.Check(crdt.Counter, items, at, increment(t, -sign<<40)))
		err := crdt.Check(crdt.Counter, items, at, increment(t, sign<<40))
		require.ErrorIs(t, err, kv.ErrBound)
		require.ErrorContains(t, err, "18446744073709551616 out of its range")
	}
	require.ErrorIs(t, crdt.Check(crdt.Counter, []byte{0xff}, nil, increment(t, 1<<62)), kv.ErrCorrupt)
}

// A sum beyond 64 bits is an error, never a wrap; it is still summed up right, and can be corrected.
func TestCounterSumsBeyond64Bits(t *testing.T) {
	o := leafOps{t, crdt.Counter}
	at := func(d clock.Dot, i int) clock.Dot { d.Index = uint32(i); return d }
	var items []byte
	for i := range 5 {
		items = crdt.AppendItem(items, at(dot(2, 20), i), nil, increment(t, math.MaxInt64))
	}
	all := cut(10, 20)
	_, err := crdt.Fold(crdt.Counter, items, all)
	require.ErrorIs(t, err, kv.ErrBound)
	present, err := crdt.Present(crdt.Counter, items, all)
	require.NoError(t, err)
	require.True(t, present)
	present, err = crdt.Present(crdt.Counter, items, cut(10))
	require.NoError(t, err)
	require.False(t, present)
	out := o.rewrite(items, all, all)
	require.Len(t, crdt.SplitItems(out), 1)
	_, err = crdt.Fold(crdt.Counter, out, all)
	require.ErrorIs(t, err, kv.ErrBound)
	for i := range 5 {
		out = crdt.AppendItem(out, at(dot(3, 40), i), nil, increment(t, -math.MaxInt64))
	}
	require.EqualValues(t, 0, o.fold(out, cut(10, 20, 40)).Int)
}

func TestCombineAddsUpIncrementsThatFit(t *testing.T) {
	op, ok := crdt.Combine(crdt.Counter, increment(t, 5), increment(t, -7))
	require.True(t, ok)
	require.Equal(t, increment(t, -2), op)
	_, ok = crdt.Combine(crdt.Counter, increment(t, math.MaxInt64), increment(t, 1))
	require.False(t, ok)
	_, ok = crdt.Combine(crdt.Counter, increment(t, 1), []byte{0})
	require.False(t, ok, "overrides are never combined")
	_, ok = crdt.Combine(crdt.FlagEW, []byte{1}, []byte{1})
	require.True(t, ok)
	_, ok = crdt.Combine(crdt.FlagDW, []byte{1}, []byte{1})
	require.False(t, ok)
	_, ok = crdt.Combine(crdt.RegisterLWW, []byte{1}, []byte{1})
	require.False(t, ok)
}

// A caller that gives an add the snapshot of its transaction is found out at the first read.
func TestAnAddWithASnapshotIsRefused(t *testing.T) {
	for leaf, op := range map[kv.Type][]byte{crdt.Counter: increment(t, 1), crdt.FlagEW: {1}} {
		_, err := crdt.Fold(leaf, item(dot(1, 10), cut(5), op), cut(10))
		require.ErrorIs(t, err, kv.ErrCorrupt)
	}
}
