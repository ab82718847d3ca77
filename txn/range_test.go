package txn

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

func reset(key string) kv.Op {
	return kv.Op{Object: object(key, crdt.Counter), Verb: kv.VerbReset}
}

// A reset takes back what its transaction has seen. The check of an increment beside it counts on no more.
func TestOverflowCountsWhatTheTransactionsResetHasNotSeen(t *testing.T) {
	r := fresh(t)
	id, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	r.must(kv.Options{}, increment("n", 1<<62))
	_, err = r.Execute(t.Context(), id, []kv.Op{reset("n"), increment("n", 1<<62)}, nil)
	require.NoError(t, err)
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.ErrorIs(t, err, kv.ErrBound)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	require.Equal(t, int64(1<<62), r.counter("n"))
}

// In one round trip, what is checked and what the reset covers are the same, also if it is not durable yet.
func TestResetAndLargeIncrementInOneRequest(t *testing.T) {
	r := fresh(t)
	for range 50 {
		r.must(kv.Options{Durability: kv.DurabilityApplied}, reset("n"), increment("n", 1<<62))
		r.must(kv.Options{}, reset("n"), increment("n", 1<<62))
		require.Equal(t, int64(1<<62), r.counter("n"))
	}
}
