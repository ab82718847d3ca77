package node

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func TestANodeWhoseStoreRefusesRecordsWarns(t *testing.T) {
	c, log := config(vfs.NewMem(), "eu"), new(bytes.Buffer)
	c.Log = log
	n, err := Start(t.Context(), c)
	require.NoError(t, err)
	require.Empty(t, n.Warnings())
	n.current.Load().stuck(3, errors.New("unknown type 99"))
	require.Equal(t, []string{"region 3: unknown type 99"}, n.Warnings())
	n.current.Load().stuck(3, errors.New("unknown type 100"))
	require.Equal(t, []string{"region 3: unknown type 100"}, n.Warnings())
	require.Empty(t, n.NotReady(), "clients are served")
	n.current.Load().stuck(3, nil)
	require.Empty(t, n.Warnings())
	require.NoError(t, n.Close(t.Context()))
	require.Contains(t, log.String(), "unknown type 100")
	require.Contains(t, log.String(), "is here now")
}
