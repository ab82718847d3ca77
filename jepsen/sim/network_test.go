package sim

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/replication"
)

func beat(n int64) *peerv1.Message {
	return &peerv1.Message{Body: &peerv1.Message_Heartbeat{Heartbeat: &peerv1.Heartbeat{Sent: n}}}
}

// wires is a network of eu and us, with a connection.
type wires struct {
	*network
	eu, us     *endpoint
	here       replication.Conn // at eu
	there      replication.Conn // at us
	stop       context.CancelFunc
	everything chan struct{}
}

// connected runs f in a bubble with a connection between two endpoints.
func connected(t *testing.T, u unruly, f func(t *testing.T, w *wires)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		n := newNetwork(rand.New(rand.NewPCG(1, 1)), u, newReached(), func(clock.Region) string { return "" })
		n.setDelay(link{"eu", "us"}, 10*time.Millisecond, 0)
		n.setDelay(link{"us", "eu"}, 30*time.Millisecond, 0)
		w := &wires{network: n, eu: n.endpoint("eu"), us: n.endpoint("us"), stop: stop, everything: make(chan struct{})}
		accepted := make(chan replication.Conn, 1)
		go func() {
			defer close(w.everything)
			_ = w.us.Serve(ctx, func(c replication.Conn) { accepted <- c; <-ctx.Done() })
		}()
		synctest.Wait()
		begin := time.Now()
		var err error
		w.here, err = w.eu.Dial(ctx, "us")
		require.NoError(t, err)
		require.Equal(t, 40*time.Millisecond, time.Since(begin), "there and back")
		w.there = <-accepted
		f(t, w)
		w.here.Close()
		stop()
		<-w.everything
	})
}

func expect(t *testing.T, c replication.Conn, want int64) {
	t.Helper()
	m, err := c.Recv()
	require.NoError(t, err)
	require.Equal(t, want, m.GetHeartbeat().GetSent())
}

func TestMessagesArriveInOrderAfterTheirDelay(t *testing.T) {
	connected(t, unruly{}, func(t *testing.T, w *wires) {
		w.setDelay(link{"eu", "us"}, 10*time.Millisecond, 50*time.Millisecond)
		begin := time.Now()
		for i := range int64(20) {
			require.NoError(t, w.here.Send(beat(i)))
		}
		for i := range int64(20) {
			expect(t, w.there, i)
		}
		require.GreaterOrEqual(t, time.Since(begin), 10*time.Millisecond)
		require.Less(t, time.Since(begin), 60*time.Millisecond)
		require.Equal(t, "us", w.here.Remote())
	})
}

func TestACutHoldsOneDirection(t *testing.T) {
	for name, on := range map[string]func(*linkState, bool){
		"cut":   func(l *linkState, v bool) { l.cut = v },
		"stall": func(l *linkState, v bool) { l.stalled = v },
	} {
		t.Run(name, func(t *testing.T) {
			connected(t, unruly{}, func(t *testing.T, w *wires) {
				w.change(link{"eu", "us"}, func(l *linkState) { on(l, true) })
				require.NoError(t, w.here.Send(beat(1)))
				require.NoError(t, w.there.Send(beat(2)))
				expect(t, w.here, 2) // the other way goes on
				begin := time.Now()
				go func() {
					time.Sleep(time.Minute)
					w.change(link{"eu", "us"}, func(l *linkState) { on(l, false) })
				}()
				expect(t, w.there, 1)
				require.Equal(t, time.Minute, time.Since(begin))
			})
		})
	}
}

func TestADialOverACutLinkWaits(t *testing.T) {
	connected(t, unruly{}, func(t *testing.T, w *wires) {
		w.change(link{"us", "eu"}, func(l *linkState) { l.cut = true })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.eu.Dial(ctx, "us")
		require.ErrorIs(t, err, errUnreachable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = w.eu.Dial(t.Context(), "nowhere")
		require.ErrorContains(t, err, "nothing listens")
	})
}

func TestABrokenConnectionLosesTheTail(t *testing.T) {
	connected(t, unruly{}, func(t *testing.T, w *wires) {
		for i := range int64(100) {
			require.NoError(t, w.here.Send(beat(i)))
		}
		w.sever(link{"eu", "us"})
		require.ErrorIs(t, w.here.Send(beat(100)), errClosed)
		arrived := int64(0)
		for {
			m, err := w.there.Recv()
			if err != nil {
				require.ErrorIs(t, err, errClosed)
				break
			}
			require.Equal(t, arrived, m.GetHeartbeat().GetSent())
			arrived++
		}
		require.Less(t, arrived, int64(100))
		require.EqualValues(t, 100-arrived, w.reach.all()["message lost with its connection"])
	})
}

func TestAProcessThatDiedSaysNothingMore(t *testing.T) {
	connected(t, unruly{}, func(t *testing.T, w *wires) {
		w.eu.die()
		require.ErrorIs(t, w.here.Send(beat(1)), errClosed)
		_, err := w.there.Recv()
		require.ErrorIs(t, err, errClosed)
		_, err = w.eu.Dial(t.Context(), "us")
		require.ErrorIs(t, err, errUnreachable)
		w.us.die()
		_, err = w.endpoint("ap").Dial(t.Context(), "us")
		require.ErrorContains(t, err, "nothing listens")
	})
}

func TestSendBlocksBeyondTheWindow(t *testing.T) {
	connected(t, unruly{}, func(t *testing.T, w *wires) {
		for i := range int64(window) {
			require.NoError(t, w.here.Send(beat(i)))
		}
		sent := make(chan error, 1)
		go func() { sent <- w.here.Send(beat(window)) }()
		synctest.Wait()
		require.Empty(t, sent)
		expect(t, w.there, 0)
		require.NoError(t, <-sent)
	})
}

func TestNobodyHearsAcrossACutThatTheOtherEndClosed(t *testing.T) {
	connected(t, unruly{}, func(t *testing.T, w *wires) {
		for _, k := range []link{{"eu", "us"}, {"us", "eu"}} {
			w.change(k, func(l *linkState) { l.cut = true })
		}
		w.there.Close()
		require.NoError(t, w.here.Send(beat(1)), "lost, and nobody can say so")
		for _, k := range []link{{"eu", "us"}, {"us", "eu"}} {
			w.change(k, func(l *linkState) { l.cut = false })
		}
		_, err := w.here.Recv()
		require.ErrorIs(t, err, errClosed)
		require.ErrorIs(t, w.here.Send(beat(2)), errClosed)
	})
}

func TestUnrulyNetworksRepeatAndReorder(t *testing.T) {
	connected(t, unruly{duplicate: 0.2, reorder: 0.2}, func(t *testing.T, w *wires) {
		const n = 200
		for i := range int64(n) {
			require.NoError(t, w.here.Send(beat(i)))
		}
		hello := &peerv1.Message{Body: &peerv1.Message_Hello{Hello: &peerv1.Hello{}}}
		require.NoError(t, w.here.Send(hello))
		seen, late, times := int64(-1), 0, map[int64]int{}
		for {
			m, err := w.there.Recv()
			require.NoError(t, err)
			if m.GetHello() != nil {
				break // greetings stay where they are
			}
			got := m.GetHeartbeat().GetSent()
			times[got]++
			if got < seen {
				late++
			}
			seen = max(seen, got)
		}
		require.Len(t, times, n, "nothing is lost")
		require.NotZero(t, late)
		counts := w.reach.all()
		require.NotZero(t, counts["message duplicated"])
		require.NotZero(t, counts["message reordered"])
	})
}

func TestWeatherDelays(t *testing.T) {
	connected(t, unruly{}, func(t *testing.T, w *wires) {
		w.change(link{"eu", "us"}, func(l *linkState) {
			l.weather = nemesis.Weather{Delay: time.Second, Loss: 1}
		})
		begin := time.Now()
		require.NoError(t, w.here.Send(beat(1)))
		expect(t, w.there, 1)
		require.Equal(t, 10*time.Millisecond+time.Second+resendAfter, time.Since(begin))
	})
}
