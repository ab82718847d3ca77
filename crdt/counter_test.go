package crdt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// resolve gives the encoded operation of a client's operation on an object of a type.
func resolve(t testing.TB, op kv.Op) crdt.Target {
	t.Helper()
	if op.Bucket == "" {
		op.Bucket = kv.DefaultBucket
	}
	target, err := crdt.Resolve(op)
	require.NoError(t, err)
	return target
}

func increment(t testing.TB, n int64) []byte {
	return resolve(t, kv.Op{Object: kv.Object{Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: n}).Op
}

func TestCounterSumsWhatIsVisibleAndUncovered(t *testing.T) {
	reset := resolve(t, kv.Op{Object: kv.Object{Type: crdt.Counter}, Verb: kv.VerbReset})
	require.True(t, reset.Override)
	v := func(a, b clock.Timestamp) clock.Vector {
		return clock.VectorOf(clock.Entry{Region: 1, Time: a}, clock.Entry{Region: 2, Time: b})
	}
	var items []byte
	items = crdt.AppendItem(items, clock.Dot{Region: 1, Time: 10}, nil, increment(t, 5))
	items = crdt.AppendItem(items, clock.Dot{Region: 2, Time: 11}, nil, increment(t, -7))
	items = crdt.AppendItem(items, clock.Dot{Region: 1, Time: 20}, v(10, 0), reset.Op)
	for _, c := range []struct {
		at      clock.Vector
		want    int64
		present bool
	}{
		{nil, 0, false},
		{v(10, 0), 5, true},
		{v(10, 11), -2, true},
		{v(20, 0), 0, false},
		{v(20, 11), -7, true},
	} {
		got, err := crdt.Fold(crdt.Counter, items, c.at)
		require.NoError(t, err)
		require.Equal(t, kv.Value{Type: crdt.Counter, Int: c.want, Present: c.present}, got, "at %s", c.at)
	}
}
