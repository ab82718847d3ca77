package proxy

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// quiet is how long nothing must come for it to be held back, and patience how long what should come may take.
const (
	quiet    = 100 * time.Millisecond
	patience = 30 * time.Second
)

// The regions of the tests: eu dials us.
var (
	euHost = netip.MustParseAddr("127.77.0.1")
	usHost = netip.MustParseAddr("127.77.0.2")
)

// newNetwork is a network between eu and us.
func newNetwork(t *testing.T) *Network {
	t.Helper()
	n := New()
	t.Cleanup(n.Close)
	n.Host("eu", euHost)
	n.Host("us", usHost)
	return n
}

// backend accepts connections for us.
func backend(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// dial connects to a front as eu.
func dial(t *testing.T, front string) *net.TCPConn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: euHost.AsSlice()}, Timeout: patience}
	c, err := d.Dial("tcp", front)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func accept(t *testing.T, l net.Listener) *net.TCPConn {
	t.Helper()
	require.NoError(t, l.(*net.TCPListener).SetDeadline(time.Now().Add(patience)))
	c, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// pair is a connection from eu to us through a new front.
func pair(t *testing.T, n *Network) (eu, us *net.TCPConn) {
	t.Helper()
	l := backend(t)
	front, err := n.Stream("us", usHost, l.Addr().String())
	require.NoError(t, err)
	eu = dial(t, front)
	return eu, accept(t, l)
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
}

func hears(t *testing.T, c net.Conn, text string) {
	t.Helper()
	b := make([]byte, len(text))
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	_, err := io.ReadFull(c, b)
	require.NoError(t, err)
	require.Equal(t, text, string(b))
}

func hearsNothing(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(quiet)))
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// isReset waits until the connection ends by a reset.
func isReset(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	_, err := c.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.False(t, errors.Is(err, io.EOF), "an end in order")
}

// isRefused sees that a connection of eu's is reset, which may be before it is made.
func isRefused(t *testing.T, front string) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: euHost.AsSlice()}, Timeout: patience}
	c, err := d.Dial("tcp", front)
	if err != nil {
		return
	}
	defer c.Close()
	isReset(t, c)
}

func TestBytesGoThrough(t *testing.T) {
	n := newNetwork(t)
	eu, us := pair(t, n)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	sent := make([]byte, 3*Window+r.IntN(Piece))
	for i := range sent {
		sent[i] = byte(r.Uint32())
	}
	n.Slow("eu", "us", Weather{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.01})
	go func() {
		_, _ = eu.Write(sent)
		_ = eu.CloseWrite()
	}()
	require.NoError(t, us.SetReadDeadline(time.Now().Add(patience)))
	got, err := io.ReadAll(us)
	require.NoError(t, err)
	require.True(t, bytes.Equal(sent, got), "seed %d: invariant 1", seed)
	say(t, us, "an answer after the end of the question")
	hears(t, eu, "an answer after the end of the question")
	require.NoError(t, us.Close())
	_, err = eu.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestACutIsOneWay(t *testing.T) {
	n := newNetwork(t)
	eu, us := pair(t, n)
	n.Cut("eu", "us")
	say(t, eu, "lost on the way")
	hearsNothing(t, us)
	say(t, us, "still heard")
	hears(t, eu, "still heard")
	n.Heal("eu", "us")
	hears(t, us, "lost on the way")
	n.Cut("us", "eu")
	say(t, eu, "a")
	hears(t, us, "a")
	require.NoError(t, us.Close())
	hearsNothing(t, eu) // nor the end
	n.Heal("us", "eu")
	require.NoError(t, eu.SetReadDeadline(time.Now().Add(patience)))
	_, err := eu.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

// A connection is made when both ways are open, and then carries what was said before.
func TestNoConnectionIsMadeOverACutLink(t *testing.T) {
	for _, cut := range [][2]string{{"eu", "us"}, {"us", "eu"}} {
		n := newNetwork(t)
		l := backend(t)
		front, err := n.Stream("us", usHost, l.Addr().String())
		require.NoError(t, err)
		n.Cut(cut[0], cut[1])
		eu := dial(t, front)
		say(t, eu, "hello")
		require.NoError(t, l.(*net.TCPListener).SetDeadline(time.Now().Add(quiet)))
		_, err = l.Accept()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		n.Heal(cut[0], cut[1])
		hears(t, accept(t, l), "hello")
	}
}

func TestOthersAreNotDisturbed(t *testing.T) {
	n := newNetwork(t)
	l := backend(t)
	front, err := n.Stream("us", usHost, l.Addr().String())
	require.NoError(t, err)
	n.Cut("eu", "us")
	c, err := net.Dial("tcp", front)
	require.NoError(t, err)
	defer c.Close()
	say(t, c, "a client")
	hears(t, accept(t, l), "a client")
}

func TestStallHoldsBackAndLetsGo(t *testing.T) {
	n := newNetwork(t)
	eu, us := pair(t, n)
	n.Stall("eu", "us")
	say(t, eu, "one")
	say(t, eu, "two")
	hearsNothing(t, us)
	n.Flow("eu", "us")
	hears(t, us, "onetwo")
}

// What a stalled link holds is bounded: then who sends waits (invariant 2).
func TestWhatWaitsIsBounded(t *testing.T) {
	n := newNetwork(t)
	eu, us := pair(t, n)
	n.Stall("eu", "us")
	sent := 0
	block := make([]byte, Piece)
	for sent < 64<<20 {
		require.NoError(t, eu.SetWriteDeadline(time.Now().Add(quiet)))
		k, err := eu.Write(block)
		sent += k
		if err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			break
		}
	}
	require.Less(t, sent, 64<<20)
	n.Flow("eu", "us")
	require.NoError(t, us.SetReadDeadline(time.Now().Add(patience)))
	_, err := io.CopyN(io.Discard, us, int64(sent))
	require.NoError(t, err)
}

func TestSlowLinks(t *testing.T) {
	n := newNetwork(t)
	eu, us := pair(t, n)
	for name, c := range map[string]struct {
		weather Weather
		bytes   int
		least   time.Duration
	}{
		"delay":    {Weather{Delay: 150 * time.Millisecond}, 1, 150 * time.Millisecond},
		"throttle": {Weather{Rate: 200 << 10}, 40 << 10, 150 * time.Millisecond},
		"loss":     {Weather{Loss: 1}, 1, resend},
	} {
		n.Slow("eu", "us", c.weather)
		begun := time.Now()
		text := strings.Repeat("x", c.bytes)
		say(t, eu, text)
		hears(t, us, text)
		require.GreaterOrEqual(t, time.Since(begun), c.least, name)
	}
	n.Slow("eu", "us", Weather{Rate: 1})
	say(t, eu, "it would take a minute")
	hearsNothing(t, us)
	n.Slow("eu", "us", Weather{})
	hears(t, us, "it would take a minute")
}

func TestResetBreaksWhatIsOpen(t *testing.T) {
	n := newNetwork(t)
	eu, us := pair(t, n)
	say(t, eu, "a")
	hears(t, us, "a")
	require.Equal(t, 1, n.Reset("us", "eu"), "either direction")
	isReset(t, eu)
	isReset(t, us)
	require.Zero(t, n.Reset("eu", "nobody"))
	again, over := pair(t, n)
	say(t, again, "b")
	hears(t, over, "b")
}

func TestADeadNodeResetsWhoDials(t *testing.T) {
	n := newNetwork(t)
	l := backend(t)
	front, err := n.Stream("us", usHost, l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	isRefused(t, front)
}

// An end that takes no more bytes is told to the other, though nothing else comes back.
func TestADeadEndIsTold(t *testing.T) {
	n := newNetwork(t)
	eu, us := pair(t, n)
	say(t, eu, "a")
	hears(t, us, "a")
	require.NoError(t, us.SetLinger(0))
	require.NoError(t, us.Close())
	isReset(t, eu)
}

// gossipers are sockets of eu and us, and the front before us.
func gossipers(t *testing.T, n *Network) (eu, us *net.UDPConn, l net.Listener, front *net.UDPAddr) {
	t.Helper()
	l = backend(t)
	port := l.Addr().(*net.TCPAddr).Port
	us, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	require.NoError(t, err)
	t.Cleanup(func() { _ = us.Close() })
	eu, err = net.ListenUDP("udp", &net.UDPAddr{IP: euHost.AsSlice()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = eu.Close() })
	text, err := n.Gossip("us", usHost, l.Addr().String())
	require.NoError(t, err)
	front, err = net.ResolveUDPAddr("udp", text)
	require.NoError(t, err)
	return eu, us, l, front
}

func TestGossipIsDropped(t *testing.T) {
	n := newNetwork(t)
	eu, us, l, front := gossipers(t, n)
	send := func(text string) {
		_, err := eu.WriteToUDP([]byte(text), front)
		require.NoError(t, err)
	}
	send("ping")
	hears(t, us, "ping")
	c := dial(t, front.String())
	say(t, c, "state")
	hears(t, accept(t, l), "state")

	for name, bad := range map[string][2]func(){
		"dropped": {func() { n.DropGossip("eu", "us") }, func() { n.PassGossip("eu", "us") }},
		"cut":     {func() { n.Cut("eu", "us") }, func() { n.Heal("eu", "us") }},
		"stalled": {func() { n.Stall("eu", "us") }, func() { n.Flow("eu", "us") }},
		"lost":    {func() { n.Slow("eu", "us", Weather{Loss: 1}) }, func() { n.Slow("eu", "us", Weather{}) }},
	} {
		bad[0]()
		send("never heard")
		hearsNothing(t, us)
		bad[1]()
		send(name)
		hears(t, us, name)
	}
	n.DropGossip("us", "eu")
	isRefused(t, front.String())
	send("one way")
	hears(t, us, "one way")
	n.PassGossip("us", "eu")
	n.Slow("eu", "us", Weather{Delay: 150 * time.Millisecond, Jitter: time.Millisecond})
	begun := time.Now()
	send("late")
	hears(t, us, "late")
	require.GreaterOrEqual(t, time.Since(begun), 150*time.Millisecond)
}

// DropGossip breaks connections of gossip, and no others.
func TestDroppedGossipSparesStreams(t *testing.T) {
	n := newNetwork(t)
	eu, us := pair(t, n)
	_, _, l, front := gossipers(t, n)
	c := dial(t, front.String())
	say(t, c, "a")
	hears(t, accept(t, l), "a")
	n.DropGossip("eu", "us")
	isReset(t, c)
	say(t, eu, "a stream")
	hears(t, us, "a stream")
}

func TestFrontsThatCanNotBe(t *testing.T) {
	n := newNetwork(t)
	elsewhere := netip.MustParseAddr("192.0.2.1")
	_, err := n.Stream("us", elsewhere, "127.0.0.1:1")
	require.ErrorContains(t, err, "a front of us")
	_, err = n.Gossip("us", elsewhere, "127.0.0.1:1")
	require.ErrorContains(t, err, "a front of gossip to us")
	_, err = n.Gossip("us", usHost, "nonsense")
	require.ErrorContains(t, err, "gossip to us")
}

// After Close nothing is left, whatever was under way (invariant 3).
func TestCloseEndsEverything(t *testing.T) {
	before := runtime.NumGoroutine()
	n := New()
	n.Host("eu", euHost)
	eu, us := pair(t, n)
	stalled, _ := pair(t, n)
	say(t, stalled, "hello")
	n.Cut("eu", "us")
	l := backend(t)
	front, err := n.Stream("us", usHost, l.Addr().String())
	require.NoError(t, err)
	waiting := dial(t, front) // for the link
	_, _, _, gossip := gossipers(t, n)
	n.Close()
	n.Close()
	for _, c := range []net.Conn{eu, us, waiting} {
		isReset(t, c)
	}
	for _, address := range []string{front, gossip.String()} {
		_, err = net.DialTimeout("tcp", address, patience)
		require.Error(t, err)
	}
	_, err = n.Stream("us", usHost, l.Addr().String())
	require.NoError(t, err, "it is closed at once")
	n.Close()
	for range 100 { // the last ones have said that they are done, and are about to be
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Fatalf("%d goroutines before, now:\n%s", before, stacks[:runtime.Stack(stacks, true)])
}
