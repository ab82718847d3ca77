package txn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

func in(b kv.Bucket, op kv.Op) kv.Op {
	op.Bucket = b
	return op
}

// ruled is a region that knows rules of buckets.
func ruled(t *testing.T) *region {
	r := fresh(t)
	rules := kv.NewRules([]kv.BucketRules{
		{Name: "strong", Levels: []kv.Level{kv.LevelStrong}},
		{Name: "loose", Consistency: kv.Consistency{Level: kv.LevelEventual}, Reach: kv.Reach{Durability: kv.DurabilityApplied}},
		{Name: "far", Reach: kv.Reach{Durability: kv.DurabilityRegions, Regions: 2}},
		{Name: "counts", Types: []kv.Type{crdt.Counter}},
	})
	r.rules = func() *kv.Rules { return rules }
	return r
}

func TestBucketsDecideWhatOneShotsLeaveOpen(t *testing.T) {
	r := ruled(t)
	require.Equal(t, kv.LevelEventual, r.must(kv.Options{}, in("loose", increment("n", 1))).Level)
	require.Equal(t, kv.LevelCausal, r.must(kv.Options{}, in("loose", increment("n", 1)), increment("n", 1)).Level)
	for name, c := range map[string]struct {
		o    kv.Options
		op   kv.Op
		want error
		says string
	}{
		"forbidden":        {kv.Options{Level: kv.LevelCausal}, in("strong", increment("n", 1)), kv.ErrLevelRefused, "it allows strong"},
		"no consensus":     {kv.Options{}, in("strong", increment("n", 1)), kv.ErrLevelRefused, "takes no part in the consensus"},
		"unnamed":          {kv.Options{Attempt: first(kv.OpID{1})}, in("strong", increment("n", 1)), kv.ErrLevelRefused, "name that"},
		"too many regions": {kv.Options{}, in("far", increment("n", 1)), kv.ErrLevelRefused, "there are 1"},
		"type":             {kv.Options{}, in("counts", assign("r", "x")), kv.ErrInvalid, "its types are counter"},
	} {
		_, err := r.Do(t.Context(), kv.Request{Options: c.o, Ops: []kv.Op{c.op}})
		require.ErrorIs(t, err, c.want, name)
		require.ErrorContains(t, err, c.says, name)
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err), name)
	}
	_, err := r.Keys(t.Context(), kv.KeysRequest{Bucket: "strong", Limit: 1, Options: kv.Options{Level: kv.LevelEventual}})
	require.ErrorIs(t, err, kv.ErrLevelRefused)
	page, err := r.Keys(t.Context(), kv.KeysRequest{Bucket: "loose", Limit: 1})
	require.NoError(t, err)
	require.Equal(t, kv.LevelEventual, page.Receipt.Level)
	_, err = r.Digest(t.Context(), kv.DigestRequest{Bucket: "strong", Options: kv.Options{Level: kv.LevelCausal}})
	require.ErrorIs(t, err, kv.ErrLevelRefused)
	digest, err := r.Digest(t.Context(), kv.DigestRequest{Bucket: "loose"})
	require.NoError(t, err)
	require.Equal(t, kv.LevelEventual, digest.Receipt.Level)
	digest, err = r.Digest(t.Context(), kv.DigestRequest{})
	require.NoError(t, err, "of all it is a call on none")
	require.Equal(t, kv.LevelCausal, digest.Receipt.Level)
}

func TestInteractiveTransactionsKeepToTheRulesOfBuckets(t *testing.T) {
	r := ruled(t)
	id, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	_, err = r.Execute(t.Context(), id, []kv.Op{in("strong", increment("n", 1))}, nil)
	require.ErrorIs(t, err, kv.ErrLevelRefused)
	require.Equal(t, kv.LevelStrong, kv.NeedsOf(err).Level)
	_, err = r.Keys(t.Context(), kv.KeysRequest{Txn: id, Bucket: "strong", Limit: 1})
	require.ErrorIs(t, err, kv.ErrLevelRefused)
	_, err = r.Execute(t.Context(), id, []kv.Op{in("loose", increment("n", 1))}, nil)
	require.NoError(t, err, "the transaction goes on")
	receipt, err := r.Commit(t.Context(), id, kv.Options{Receipt: true})
	require.NoError(t, err)
	require.Equal(t, kv.DurabilityApplied, receipt.Durability)

	id, _, err = r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	_, err = r.Execute(t.Context(), id, []kv.Op{in("far", increment("n", 1))}, nil)
	require.NoError(t, err)
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.ErrorIs(t, err, kv.ErrLevelRefused, "there are not so many regions")
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	require.Zero(t, r.OpenTxns())
	resp, err := r.Do(t.Context(), kv.Request{Queries: []kv.Query{{Object: in("far", increment("n", 1)).Object}},
		Options: kv.Options{Durability: kv.DurabilityLocal}})
	require.NoError(t, err)
	require.Zero(t, resp.Values[0].Int)
}

// A transaction at the default of one bucket is kept from those whose default is stronger; one at a level that the
// caller named is not.
func TestATransactionAtADefaultIsKeptFromStrongerBuckets(t *testing.T) {
	r, _ := withNeighbours(t)
	rules := kv.NewRules([]kv.BucketRules{
		{Name: "hour", Consistency: kv.Consistency{Level: kv.LevelBounded, Bound: time.Hour}},
		{Name: "second", Consistency: kv.Consistency{Level: kv.LevelBounded, Bound: time.Second}},
	})
	r.rules = func() *kv.Rules { return rules }
	for byDefault, want := range map[bool]error{true: kv.ErrLevelRefused, false: nil} {
		id, _, err := r.Begin(t.Context(), kv.Begin{Options: kv.Options{Level: kv.LevelBounded, Bound: time.Hour}, ByDefault: byDefault})
		require.NoError(t, err)
		_, err = r.Execute(t.Context(), id, []kv.Op{in("hour", increment("n", 1))}, nil)
		require.NoError(t, err)
		_, err = r.Execute(t.Context(), id, []kv.Op{in("second", increment("n", 1))}, nil)
		require.ErrorIs(t, err, want)
		_, listed := r.Keys(t.Context(), kv.KeysRequest{Txn: id, Bucket: "second", Limit: 1})
		require.ErrorIs(t, listed, want)
		if want != nil {
			require.Equal(t, time.Second, kv.NeedsOf(err).Bound)
			require.Equal(t, time.Second, kv.NeedsOf(listed).Bound)
		}
		require.NoError(t, r.Abort(t.Context(), id))
	}
}
