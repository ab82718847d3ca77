package wire_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/txn/strong/wire"
)

func TestWhatFollowsAFailureIsZero(t *testing.T) {
	for what, read := range map[string]func(r *wire.Reader) any{
		"byte":    func(r *wire.Reader) any { r.Take(2); return r.Byte() },
		"uint64":  func(r *wire.Reader) any { return r.Uint64() },
		"uvarint": func(r *wire.Reader) any { return r.Uvarint() },
		"varint":  func(r *wire.Reader) any { return r.Varint() },
		"limit":   func(r *wire.Reader) any { r.Byte(); return r.AtMost(1) },
		"region":  func(r *wire.Reader) any { r.Byte(); return r.Region() },
	} {
		r := wire.NewReader([]byte{0xff, 0xff})
		require.Zero(t, read(&r), what)
		require.True(t, r.Failed(), what)
		require.False(t, r.Finished(), what)
		require.Zero(t, r.Left())
		require.Zero(t, r.Uvarint(), what)
		require.Nil(t, r.Take(0))
	}
}

func TestCountsAndLengthsAreBoundedByWhatThereIs(t *testing.T) {
	r := wire.NewReader([]byte{2, 0, 0, 0, 0})
	require.Equal(t, 2, r.Count(2))
	r = wire.NewReader([]byte{3, 0, 0, 0, 0})
	require.Zero(t, r.Count(2))
	require.True(t, r.Failed())
	r = wire.NewReader([]byte{3, 'a', 'b', 'c'})
	require.Nil(t, r.Bytes(2))
	r = wire.NewReader(wire.AppendBytes(wire.AppendBool(nil, true), "abc"))
	require.True(t, r.Bool())
	require.Equal(t, "abc", string(r.Bytes(3)))
	require.True(t, r.Finished())
	r = wire.NewReader([]byte{2})
	r.Bool()
	require.True(t, r.Failed())
	r = wire.NewReader(nil)
	require.Nil(t, r.Take(math.MaxUint64))
}

func TestSealsTellDamage(t *testing.T) {
	sealed := wire.Seal([]byte("xabc"), 1)
	got, ok := wire.Unseal(sealed[1:])
	require.True(t, ok)
	require.Equal(t, "abc", string(got))
	for i := range sealed[1:] {
		sealed[1+i] ^= 4
		_, ok = wire.Unseal(sealed[1:])
		require.False(t, ok)
		sealed[1+i] ^= 4
	}
	_, ok = wire.Unseal(sealed[:3])
	require.False(t, ok)
}
