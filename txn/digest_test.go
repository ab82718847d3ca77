package txn

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// asDocumented is docs/formats/digest.md, from whole values.
func asDocumented(dst []byte, v kv.Value) []byte {
	str := func(s string) { dst = append(binary.AppendUvarint(dst, uint64(len(s))), s...) }
	switch crdt.Name(v.Type) {
	case "counter":
		return binary.BigEndian.AppendUint64(dst, uint64(v.Int))
	case "register-lww":
		str(string(v.Bytes))
		return dst
	case "flag-ew", "flag-dw":
		return append(dst, 1)
	}
	for _, e := range v.List {
		dst = append(dst, 1)
		str(string(e))
	}
	for _, f := range v.Fields {
		dst = append(dst, 1)
		str(f.Name)
		str(crdt.Name(f.Value.Type))
		dst = asDocumented(dst, f.Value)
	}
	return append(dst, 0)
}

// randomOp draws an operation on a few nested maps, with names of which some begin others.
func randomOp(t *rapid.T) kv.Op {
	o := object(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"), rapid.SampledFrom([]kv.Type{crdt.Map, crdt.SetAW, crdt.RegisterMV, crdt.FlagEW}).Draw(t, "object"))
	at := o.Type
	var path kv.Path
	for (at == crdt.Map) && len(path) < 4 {
		at = rapid.SampledFrom([]kv.Type{crdt.Map, crdt.Map, crdt.SetAW, crdt.SetGO, crdt.Counter, crdt.RegisterLWW, crdt.RegisterMV, crdt.FlagDW}).Draw(t, "field")
		path = append(path, kv.Step{Name: rapid.SampledFrom([]string{"", "f", "f\x00", "fg"}).Draw(t, "name"), Type: at})
	}
	op := kv.Op{Object: o, Path: path, Verb: kv.VerbReset}
	if rapid.IntRange(0, 9).Draw(t, "reset") == 0 || at == crdt.Map {
		return op
	}
	switch text := rapid.SampledFrom([]string{"", "x", "xy", "\x00"}).Draw(t, "text"); at {
	case crdt.Counter:
		op.Verb, op.Int = kv.VerbIncrement, int64(len(text))
	case crdt.RegisterLWW, crdt.RegisterMV:
		op.Verb, op.Data = kv.VerbAssign, []byte(text)
	case crdt.FlagEW, crdt.FlagDW:
		op.Verb = kv.VerbEnable
	default:
		op.Verb, op.Data = kv.VerbAdd, []byte(text)
	}
	return op
}

// The digest is that of the values, though it never holds one whole.
func TestDigestIsAsDocumented(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := fresh(t)
		for range rapid.IntRange(1, 20).Draw(rt, "operations") {
			r.must(kv.Options{}, randomOp(rt))
		}
		page, err := r.Keys(t.Context(), kv.KeysRequest{Bucket: kv.DefaultBucket, Limit: kv.MaxPage})
		require.NoError(t, err)
		var want []byte
		for _, o := range page.Objects {
			for _, s := range []string{string(o.Bucket), string(o.Key), crdt.Name(o.Type)} {
				want = append(append(want, byte(len(s))), s...)
			}
			want = asDocumented(want, r.read(kv.Query{Object: o}))
		}
		sum := sha256.Sum256(want)
		got, err := r.Digest(t.Context(), kv.DigestRequest{})
		require.NoError(t, err)
		require.Equal(t, sum[:16], got.Sum[:], "of %q", want)
		require.EqualValues(t, len(page.Objects), got.Objects)
	})
}
