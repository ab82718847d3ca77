package node

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/memtransport"
)

func TestDoorIsServedAgainAndAgain(t *testing.T) {
	net := memtransport.New(replication.SystemTime())
	d := newDoor(net.Node("eu"))
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() { d.serve(ctx); close(served) }()
	var client replication.Conn
	dial := func() {
		require.Eventually(t, func() bool {
			var err error
			client, err = net.Node("us").Dial(t.Context(), "eu")
			return err == nil
		}, patience, tick)
	}
	dial()
	m, err := client.Recv()
	require.NoError(t, err)
	require.Equal(t, kv.KindUnavailable, kv.Kind(m.GetRefused().GetKind()), "nobody serves yet")
	_, err = client.Recv()
	require.Error(t, err, "and it is hung up on")
	for range 3 {
		one, stop := context.WithCancel(t.Context())
		came, ended := make(chan replication.Conn, 1), make(chan error, 1)
		go func() {
			ended <- d.Serve(one, func(c replication.Conn) {
				came <- c
				_, _ = c.Recv() // until it is closed
			})
		}()
		require.Eventually(t, func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.accept != nil }, patience, tick)
		dial()
		there := <-came
		require.NoError(t, there.Send(nil))
		_, err := client.Recv()
		require.NoError(t, err)
		stop()
		require.NoError(t, <-ended)
		_, err = client.Recv()
		require.Error(t, err, "what came in is closed with it")
	}
	cancel()
	<-served
	require.NoError(t, d.Serve(t.Context(), func(replication.Conn) {}), "it ends with the transport")
}

func TestDoorTellsWhyTheTransportFailed(t *testing.T) {
	net := memtransport.New(replication.SystemTime())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = net.Node("eu").Serve(ctx, func(replication.Conn) {}) }()
	require.Eventually(t, func() bool {
		c, err := net.Node("us").Dial(t.Context(), "eu")
		if err == nil {
			c.Close()
		}
		return err == nil
	}, patience, tick)
	d := newDoor(net.Node("eu"))
	d.serve(t.Context())
	require.ErrorContains(t, d.Serve(t.Context(), func(replication.Conn) {}), "address in use")
}
