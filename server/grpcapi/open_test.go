package grpcapi

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

func TestOpenTableDropsTheLeastRecentlyUsed(t *testing.T) {
	table := newOpenTable(2)
	table.add(1, Access{Level: 1})
	table.add(2, Access{})
	_, err := table.use(1, "")
	require.NoError(t, err)
	table.add(3, Access{})
	_, err = table.use(2, "")
	require.ErrorIs(t, err, kv.ErrNotFound)
	a, err := table.use(1, "")
	require.NoError(t, err)
	require.EqualValues(t, 1, a.Level)
	table.remove(1)
	table.remove(1)
	_, err = table.use(1, "")
	require.ErrorIs(t, err, kv.ErrNotFound)
	require.Equal(t, 1, table.queue.Len())
	require.Len(t, table.byID, 1)
}
