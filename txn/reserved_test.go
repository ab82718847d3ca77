package txn

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// Data in a bucket of the database's own would be in no digest, export or list of buckets.
func TestReservedBucketsRefuseData(t *testing.T) {
	r := fresh(t)
	in := func(b kv.Bucket, verb kv.Verb, p ...kv.Step) kv.Op {
		return kv.Op{Object: kv.Object{Bucket: b, Key: "k", Type: crdt.Map}, Path: p, Verb: verb}
	}
	field := kv.Step{Name: "n", Type: crdt.Counter}
	for name, op := range map[string]kv.Op{
		"a write":            in("theriac.x", kv.VerbIncrement, field),
		"the bare prefix":    in(kv.ReservedPrefix, kv.VerbIncrement, field),
		"removing a field":   in("theriac.x", kv.VerbReset, field),
		"import's neighbour": in(kv.ImportBucket+"s", kv.VerbIncrement, field),
	} {
		_, err := r.Do(t.Context(), kv.Request{Ops: []kv.Op{in("b", kv.VerbIncrement, field), op}})
		require.ErrorIs(t, err, kv.ErrInvalid, name)
		require.ErrorContains(t, err, "the database's own", name)
		id, _, err := r.Begin(t.Context(), kv.Begin{})
		require.NoError(t, err)
		_, err = r.Execute(t.Context(), id, []kv.Op{op}, nil)
		require.ErrorIs(t, err, kv.ErrInvalid, name)
		require.NoError(t, r.Abort(t.Context(), id))
	}
	require.Empty(t, r.buckets(10), "a refused transaction writes nothing")

	r.must(kv.Options{}, in(kv.ImportBucket, kv.VerbIncrement, field), in("theriac", kv.VerbIncrement, field))
	r.must(kv.Options{}, in("theriac.x", kv.VerbReset))
	require.Equal(t, []kv.Bucket{"theriac"}, r.buckets(10))
}
