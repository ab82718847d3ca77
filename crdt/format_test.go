package crdt_test

import (
	"encoding/hex"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// The bytes of operations are a format: they lie in logs and leaves, and stay readable for ever.
func TestOperationEncodingsAreFixed(t *testing.T) {
	for _, c := range []struct {
		leaf kv.Type
		verb kv.Verb
		n    int64
		data string
		want string
	}{
		{crdt.Counter, kv.VerbIncrement, 1, "", "0102"},
		{crdt.Counter, kv.VerbIncrement, -1, "", "0101"},
		{crdt.Counter, kv.VerbIncrement, 300, "", "01d804"},
		{crdt.Counter, kv.VerbReset, 0, "", "00"},
		{crdt.RegisterLWW, kv.VerbAssign, 0, "v", "0176"},
		{crdt.RegisterLWW, kv.VerbAssign, 0, "", "01"},
		{crdt.RegisterMV, kv.VerbAssign, 0, "v", "0176"},
		{crdt.FlagEW, kv.VerbEnable, 0, "", "01"},
		{crdt.FlagEW, kv.VerbDisable, 0, "", "02"},
		{crdt.FlagDW, kv.VerbEnable, 0, "", "01"},
		{crdt.FlagDW, kv.VerbDisable, 0, "", "02"},
		{crdt.SetAW, kv.VerbAdd, 0, "e", "01"},
		{crdt.SetAW, kv.VerbRemove, 0, "e", "02"},
		{crdt.SetRW, kv.VerbAdd, 0, "e", "01"},
		{crdt.SetRW, kv.VerbRemove, 0, "e", "02"},
		{crdt.SetGO, kv.VerbAdd, 0, "e", "01"},
		{crdt.Map, kv.VerbReset, 0, "", "00"},
	} {
		target := resolve(t, kv.Op{Object: kv.Object{Type: c.leaf}, Verb: c.verb, Int: c.n, Data: []byte(c.data)})
		require.Equal(t, c.want, hex.EncodeToString(target.Op), "%s of %s", c.verb, crdt.Name(c.leaf))
	}
}

// So are those of items.
func TestItemEncodingsAreFixed(t *testing.T) {
	snapshot := clock.VectorOf(clock.Entry{Region: 1, Time: 0x0f}, clock.Entry{Region: 3, Time: 0x11})
	for want, got := range map[string][]byte{
		"01" + "01" + "0000000000000010" + "02" + "0102":                          item(dot(1, 16), nil, []byte{1, 2}),
		"03" + "ac02" + "0000000000000010" + "05" + "01" + "01":                   item(clock.Dot{Region: 300, Time: 16, Index: 5}, nil, []byte{1}),
		"05" + "02" + "0000000000000010" + "02" + "0102" + "0201" + "01" + "00":   item(dot(2, 16), snapshot, []byte{0}),
		"07" + "02" + "0000000000000010" + "09" + "020102" + "0201" + "01" + "00": item(clock.Dot{Region: 2, Time: 16, Index: 9}, snapshot, []byte{0}),
		"00" + "02" + "0102":                      item(clock.Dot{}, nil, []byte{1, 2}),
		"01" + "01" + "ffffffffffffffff" + "0101": item(dot(1, clock.MaxTimestamp), nil, []byte{1}),
	} {
		require.Equal(t, want, hex.EncodeToString(got))
		require.Len(t, crdt.SplitItems(got), 1)
	}
	o := leafOps{t, crdt.Counter}
	two := join(item(dot(1, 10), nil, increment(t, math.MaxInt64)), item(dot(1, 11), nil, increment(t, 1)))
	require.Equal(t, "00"+"11"+"02"+"0000000000000000"+"8000000000000000", hex.EncodeToString(o.rewrite(two, cut(11), cut(11))))
}

func TestMalformedItemsAreRefused(t *testing.T) {
	for name, b := range map[string]string{
		"unknown tag bit":         "09" + "01" + "0000000000000010" + "01" + "00",
		"index without a dot":     "02" + "05" + "01" + "00",
		"snapshot without a dot":  "04" + "00" + "01" + "00",
		"cut in the time":         "01" + "01" + "00000000",
		"no time":                 "01" + "01" + "0000000000000000" + "02" + "0102",
		"region too high":         "01" + "808004" + "0000000000000010" + "01" + "00",
		"index zero":              "03" + "01" + "0000000000000010" + "00" + "01" + "00",
		"index too high":          "03" + "01" + "0000000000000010" + "8080808010" + "01" + "00",
		"no operation":            "01" + "01" + "0000000000000010" + "00",
		"no length":               "01" + "01" + "0000000000000010",
		"operation cut":           "01" + "01" + "0000000000000010" + "05" + "0102",
		"huge operation":          "00" + "ffffffffffffffffff01" + "00",
		"snapshot cut":            "05" + "01" + "0000000000000010" + "0201",
		"huge snapshot":           "05" + "01" + "0000000000000010" + "ffffff7f" + "00" + "01" + "00",
		"snapshot without an end": "05" + "01" + "0000000000000010" + "80",
	} {
		items, err := hex.DecodeString(b)
		require.NoError(t, err)
		for _, leaf := range leafTypes() {
			_, err = crdt.Fold(leaf, items, cut(100))
			require.ErrorIs(t, err, kv.ErrCorrupt, name)
			_, _, err = crdt.Rewrite(leaf, nil, items, cut(100), nil)
			require.ErrorIs(t, err, kv.ErrCorrupt, name)
			_, err = crdt.Touches(leaf, items, cut(100))
			require.ErrorIs(t, err, kv.ErrCorrupt, name)
			_, err = crdt.Present(leaf, items, cut(100))
			require.ErrorIs(t, err, kv.ErrCorrupt, name)
		}
		_, err = crdt.CountItems(items)
		require.ErrorIs(t, err, kv.ErrCorrupt, name)
		_, err = crdt.Filter(nil, items, nil)
		require.ErrorIs(t, err, kv.ErrCorrupt, name)
	}
}

// An item is well formed, its operation or its vector is not.
func TestItemsWithAForeignInsideAreRefused(t *testing.T) {
	twice := "05" + "01" + "0000000000000010" + "02" + "0102" + "0002" + "01" + "00" // region 1 twice
	items, err := hex.DecodeString(twice)
	require.NoError(t, err)
	for _, leaf := range leafTypes() {
		for _, horizon := range []clock.Vector{nil, cut(100)} { // above and below the horizon
			_, _, err := crdt.Rewrite(leaf, nil, items, horizon, nil)
			require.ErrorIs(t, err, kv.ErrCorrupt)
			foreign := item(dot(1, 10), nil, []byte{7, 7})
			_, _, err = crdt.Rewrite(leaf, nil, foreign, horizon, nil)
			require.ErrorIs(t, err, kv.ErrCorrupt)
		}
	}
}
