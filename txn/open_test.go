package txn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

func TestTheOldestOpenTransactionIsKnown(t *testing.T) {
	r := fresh(t)
	require.Zero(t, r.OldestTxn())
	first, _, err := r.Begin(t.Context(), kv.Begin{ReadOnly: true})
	require.NoError(t, err)
	r.now += 3 * time.Second
	_, _, err = r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	r.now += time.Second
	require.Equal(t, 4*time.Second, r.OldestTxn())
	require.NoError(t, r.Abort(t.Context(), first))
	require.Equal(t, time.Second, r.OldestTxn())
}
