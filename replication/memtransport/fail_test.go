package memtransport

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/replication"
)

func TestFailLosesWhatWaitsForAHeal(t *testing.T) {
	n := New(replication.SystemTime())
	a, b := n.Node("a"), n.Node("b")
	there := make(chan replication.Conn, 1)
	go func() { _ = b.Serve(t.Context(), func(c replication.Conn) { there <- c; <-t.Context().Done() }) }()
	var here replication.Conn
	require.Eventually(t, func() bool {
		var err error
		here, err = a.Dial(t.Context(), "b")
		return err == nil
	}, 10*time.Second, time.Millisecond)
	remote := <-there
	n.Cut("a", "b")
	require.NoError(t, here.Send(&peerv1.Message{}))
	a.Fail()
	n.Heal("a", "b")
	_, err := remote.Recv()
	require.ErrorIs(t, err, ErrClosed)
}
