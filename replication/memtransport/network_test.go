package memtransport

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/replication"
)

func beat(n int64) *peerv1.Message {
	return &peerv1.Message{Body: &peerv1.Message_Heartbeat{Heartbeat: &peerv1.Heartbeat{Sent: n}}}
}

// connect serves at b and dials it from a.
func connect(t *testing.T, n *Network) (a, b replication.Conn) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	accepted, done := make(chan replication.Conn, 1), make(chan struct{})
	go func() {
		defer close(done)
		_ = n.Node("b").Serve(ctx, func(c replication.Conn) {
			accepted <- c
			<-ctx.Done()
		})
	}()
	synctest.Wait()
	t.Cleanup(func() { stop(); <-done })
	a, err := n.Node("a").Dial(ctx, "b")
	require.NoError(t, err)
	t.Cleanup(a.Close)
	return a, <-accepted
}

func expect(t *testing.T, c replication.Conn, n int64) {
	t.Helper()
	m, err := c.Recv()
	require.NoError(t, err)
	require.Equal(t, n, m.GetHeartbeat().GetSent())
}

func TestMessagesArriveInOrderAfterTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(replication.SystemTime())
		n.SetDelay("a", "b", 60*time.Millisecond)
		begin := time.Now()
		a, b := connect(t, n)
		require.Equal(t, 60*time.Millisecond, time.Since(begin), "a dial takes a round trip")
		for i := range int64(3) {
			require.NoError(t, a.Send(beat(i)))
		}
		for i := range int64(3) {
			expect(t, b, i)
		}
		require.Equal(t, 120*time.Millisecond, time.Since(begin))
		require.NoError(t, b.Send(beat(7)))
		expect(t, a, 7)
		require.Equal(t, 120*time.Millisecond, time.Since(begin), "the way back has no delay")
	})
}

func TestACutHoldsMessagesUntilTheHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(replication.SystemTime())
		a, b := connect(t, n)
		n.Cut("a", "b")
		require.NoError(t, a.Send(beat(1)))
		got := make(chan int64)
		go func() {
			m, _ := b.Recv()
			got <- m.GetHeartbeat().GetSent()
		}()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("a message crossed a cut link")
		default:
		}
		_, err := n.Node("a").Dial(t.Context(), "b")
		require.ErrorIs(t, err, ErrUnreachable)
		n.Heal("a", "b")
		require.Equal(t, int64(1), <-got)
	})
}

func TestCloseEndsBothEndsBehindWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(replication.SystemTime())
		a, b := connect(t, n)
		require.NoError(t, a.Send(beat(1)))
		a.Close()
		a.Close()
		expect(t, b, 1)
		_, err := b.Recv()
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, b.Send(beat(2)), ErrClosed)
		_, err = a.Recv()
		require.ErrorIs(t, err, ErrClosed)
	})
}

func TestACloseIsNotSeenAcrossACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(replication.SystemTime())
		a, b := connect(t, n)
		n.CutBoth("a", "b")
		a.Close()
		require.NoError(t, b.Send(beat(1)), "as in TCP, the sender has not heard of it")
		ended := make(chan error, 1)
		go func() { _, err := b.Recv(); ended <- err }()
		synctest.Wait()
		require.Empty(t, ended)
		n.HealBoth("a", "b")
		require.ErrorIs(t, <-ended, ErrClosed)
		require.ErrorIs(t, b.Send(beat(2)), ErrClosed)
	})
}

func TestSendBlocksBeyondTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(replication.SystemTime())
		a, b := connect(t, n)
		for i := range int64(Window) {
			require.NoError(t, a.Send(beat(i)))
		}
		sent := make(chan error, 1)
		go func() { sent <- a.Send(beat(Window)) }()
		synctest.Wait()
		require.Empty(t, sent)
		expect(t, b, 0)
		require.NoError(t, <-sent)
	})
}

func TestNobodyListensTwiceAndNobodyListensNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(replication.SystemTime())
		_, err := n.Node("a").Dial(t.Context(), "nowhere")
		require.ErrorIs(t, err, ErrUnreachable)
		connect(t, n)
		require.ErrorContains(t, n.Node("b").Serve(t.Context(), nil), "address in use")
	})
}

func TestADialGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(replication.SystemTime())
		n.SetDelay("a", "b", time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := n.Node("a").Dial(ctx, "b")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestACrashBreaksConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(replication.SystemTime())
		a, _ := connect(t, n)
		n.Node("b").CloseAll()
		_, err := a.Recv()
		require.ErrorIs(t, err, ErrClosed)
		require.Equal(t, "b", a.Remote())
	})
}
