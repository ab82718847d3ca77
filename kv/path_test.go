package kv_test

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/kv"
)

// drawName draws names of few bytes, those that are escaped among them.
func drawName(t *rapid.T, name string) string {
	b := rapid.SliceOfN(rapid.SampledFrom([]byte{0x00, 0x01, 0x02, 'a', 0xfe, 0xff}), 0, 4).Draw(t, name)
	return string(b)
}

func drawPath(t *rapid.T, name string) kv.Path {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) kv.Step {
		return kv.Step{Name: drawName(t, "step"), Type: kv.Type(rapid.SampledFrom([]byte{0, 1, 4, 255}).Draw(t, "type"))}
	}), 0, 4).Draw(t, name)
}

func TestNamesSortAsTheirEncodingsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawName(t, "a"), drawName(t, "b")
		ea, eb := kv.AppendName(nil, a), kv.AppendName(nil, b)
		require.Equal(t, strings.Compare(a, b), bytes.Compare(ea, eb))
		require.Equal(t, a == b, bytes.HasPrefix(eb, ea), "none is a prefix of another")
	})
}

func TestNamesDecodeToWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name, tail := drawName(t, "name"), []byte(drawName(t, "tail"))
		b := append(kv.AppendName(nil, name), tail...)
		got, rest, err := kv.DecodeName(b)
		require.NoError(t, err)
		require.Equal(t, name, got)
		require.Equal(t, string(tail), string(rest))
		rest, ok := kv.SkipName(b)
		require.True(t, ok)
		require.Equal(t, string(tail), string(rest))
	})
}

// Invariant 1.
func TestPathsSortAsTheirEncodingsDo(t *testing.T) {
	byStep := func(a, b kv.Step) int { return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type)) }
	rapid.Check(t, func(t *rapid.T) {
		p, q := drawPath(t, "p"), drawPath(t, "q")
		ep, eq := kv.AppendPath(nil, p), kv.AppendPath(nil, q)
		require.Equal(t, slices.CompareFunc(p, q, byStep), bytes.Compare(ep, eq))
		below := len(q) >= len(p) && slices.Equal(p, q[:len(p)])
		require.Equal(t, below, bytes.HasPrefix(eq, ep))
		got, err := kv.DecodePath(ep)
		require.NoError(t, err)
		require.True(t, slices.Equal(p, got))
	})
}

func TestDecodePathRefusesWhatIsNone(t *testing.T) {
	step := append(kv.AppendName(nil, "f"), 1)
	for name, b := range map[string][]byte{
		"no end":         []byte("abc"),
		"cut escape":     {'a', 0},
		"unknown escape": {'a', 0, 2, 1},
		"cut after zero": {'a', 0, 0xff, 'b'},
		"no type":        kv.AppendName(nil, "f"),
		"too deep":       bytes.Repeat(step, kv.MaxDepth+2),
	} {
		_, err := kv.DecodePath(b)
		require.ErrorIs(t, err, kv.ErrCorrupt, name)
	}
	p, err := kv.DecodePath(bytes.Repeat(step, kv.MaxDepth+1))
	require.NoError(t, err, "an element of a set on the deepest path")
	require.Len(t, p, kv.MaxDepth+1)
	for _, b := range [][]byte{nil, {'a', 0}, {'a', 0, 2}, {'a', 0, 0xff}} {
		_, ok := kv.SkipName(b)
		require.False(t, ok)
	}
}

func FuzzDecodePath(f *testing.F) {
	f.Add(kv.AppendPath(nil, kv.Path{{Name: "a\x00b", Type: 9}, {Name: "", Type: 1}}))
	f.Add([]byte{0, 0xff, 0, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := kv.DecodePath(b)
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		require.Equal(t, string(b), string(kv.AppendPath(nil, p)))
	})
}

func FuzzDecodeName(f *testing.F) {
	f.Add(kv.AppendName(nil, "a\x00b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, rest, err := kv.DecodeName(b)
		skipped, ok := kv.SkipName(b)
		require.Equal(t, err == nil, ok)
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		require.Equal(t, string(rest), string(skipped))
		require.Equal(t, string(b), string(append(kv.AppendName(nil, name), rest...)))
	})
}

func TestVerbsHaveNames(t *testing.T) {
	require.Equal(t, "increment", kv.VerbIncrement.String())
	require.Equal(t, "reset", kv.VerbReset.String())
	require.Equal(t, "verb(0)", kv.Verb(0).String())
	require.Equal(t, "verb(99)", kv.Verb(99).String())
}

func TestValuesFindTheirFieldsByNameAndType(t *testing.T) {
	v := kv.Value{Fields: []kv.Field{{Name: "f", Value: kv.Value{Type: 1, Int: 1}}, {Name: "f", Value: kv.Value{Type: 2}}}}
	got, ok := v.Field("f", 1)
	require.True(t, ok)
	require.EqualValues(t, 1, got.Int)
	_, ok = v.Field("f", 3)
	require.False(t, ok)
}
