package membership

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/stretchr/testify/require"
)

// call opens a connection to a node's gossip port and sends the cluster's label and more.
func call(t *testing.T, g *Gossip, more ...byte) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", g.Address())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = c.Write(append(label(g), more...))
	require.NoError(t, err)
	return c
}

func label(g *Gossip) []byte {
	name := g.config.Self.Cluster.String()
	return append([]byte{labelMsg, byte(len(name))}, name...)
}

// hungUp waits until the other end has closed a connection, with anything or nothing said before.
func hungUp(t *testing.T, c net.Conn, name string) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(2*maxStreamTime)))
	_, err := io.Copy(io.Discard, c)
	var late net.Error
	require.False(t, err != nil && isA(err, &late) && late.Timeout(), name)
}

func isA(err error, to *net.Error) bool {
	e, ok := err.(net.Error)
	*to = e
	return ok
}

// pushPull is the head of a state of n nodes.
func pushPull(n uint32) []byte {
	b := []byte{pushPullMsg, 0x83, 0xa5}
	b = append(b, "Nodes\xce"...)
	b = binary.BigEndian.AppendUint32(b, n)
	b = append(b, "\xacUserStateLen\x00\xa4Join\xc3"...)
	return b
}

// allocated is what a function and what runs beside it take in memory, in bytes, all counted.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestStreamsAreBounded sends what makes memberlist alone take hundreds of megabytes: places for a million
// nodes, a name of 2 GiB of which as many bytes come as are taken, what unpacks to 40 MB, a state of 20 MB.
func TestStreamsAreBounded(t *testing.T) {
	a, _ := start(t, node(1, 1), nil)
	str32 := []byte("\x81\xa4Name\xdb\x7f\xff\xff\xff")
	for name, test := range map[string][]byte{
		"a million nodes":        pushPull(1 << 20),
		"257 nodes":              pushPull(maxNodes + 1),
		"a huge name":            append(pushPull(1), str32...),
		"a user's message":       append([]byte{userMsg}, "\x81\xaaUserMsgLen\xce\x01\x00\x00\x00"...),
		"compressed":             append([]byte{compressMsg}, "\x82\xa4Algo\x00\xa3Buf\xc6\x7f\xff\xff\xff"...),
		"encrypted without keys": {encryptMsg, 0x01, 0x40, 0, 0},
		"a ping of a huge name":  append([]byte{pingMsg}, "\x81\xa4Node\xdb\x7f\xff\xff\xff"...),
		"no map":                 {pushPullMsg, 0xdf, 0x7f, 0xff, 0xff, 0xff},
		"a map of numbers":       {pushPullMsg, 0x83, 0x01},
		"a count of nothing":     {pushPullMsg, 0x83, 0xa1, 'x', 0xdb},
		"negative nodes":         append(append([]byte{pushPullMsg, 0x83, 0xa5}, "Nodes\xd3"...), bytes.Repeat([]byte{0xff}, 8)...),
		"an unknown type":        {77},
		"another label":          {labelMsg, 1, 'x', pingMsg},
	} {
		c := call(t, a, test...)
		sent := 0
		took := allocated(func() {
			zeroes := make([]byte, 64<<10)
			for err := error(nil); err == nil && sent < 64<<20; {
				var n int
				require.NoError(t, c.SetWriteDeadline(time.Now().Add(2*maxStreamTime)))
				n, err = c.Write(zeroes)
				sent += n
			}
			hungUp(t, c, name)
		})
		require.Less(t, sent, 32<<20, "%s: the connection is closed", name)
		require.Less(t, took, uint64(64<<20), "%s: memory", name)
	}
	_, saw := start(t, node(1, 2), nil, a.Address())
	require.Eventually(t, func() bool { return len(saw.regions()) == 1 }, 20*time.Second, 5*time.Millisecond)
}

// What is cut off anywhere in the head ends the connection, too.
func TestAStreamThatEndsEarlyIsLeft(t *testing.T) {
	a, _ := start(t, node(1, 1), nil)
	head := pushPull(1)
	for n := range len(head) {
		c := call(t, a, head[:n]...)
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		hungUp(t, c, fmt.Sprint(n))
	}
}

// Connections that say nothing take a bounded number of places, and give them back.
func TestConnectionsAreBounded(t *testing.T) {
	a, _ := start(t, node(1, 1), nil)
	var open []net.Conn
	for range maxStreams {
		open = append(open, call(t, a))
	}
	require.Eventually(t, func() bool { return len(a.transport.slots) == maxStreams }, 20*time.Second, time.Millisecond)
	hungUp(t, call(t, a), "one too many")
	for _, c := range open {
		require.NoError(t, c.Close())
	}
	require.Eventually(t, func() bool { return len(a.transport.slots) == 0 }, 20*time.Second, time.Millisecond)
	require.Less(t, time.Until(newStream(open[0], func() {}).sooner(time.Now().Add(time.Hour))), maxStreamTime+time.Second)
	require.False(t, newStream(open[0], func() {}).sooner(time.Time{}).IsZero(), "none is without an end")
}

// Packets that unpack, and those that carry what no node sends, are dropped; the others are not.
func TestPacketsAreChecked(t *testing.T) {
	a, saw := start(t, node(1, 1), nil)
	compound := func(messages ...string) []byte {
		b := []byte{compoundMsg, byte(len(messages))}
		for _, m := range messages {
			b = binary.BigEndian.AppendUint16(b, uint16(len(m)))
		}
		for _, m := range messages {
			b = append(b, m...)
		}
		return b
	}
	for name, b := range map[string][]byte{
		"compressed":           {compressMsg, 0x80},
		"compressed inside":    compound("\x00\x80", "\x09\x80"),
		"compounds inside":     compound(string(compound("\x00\x80"))),
		"checked, compressed":  {crcMsg, 0, 0, 0, 0, compressMsg},
		"user's":               {userMsg},
		"encrypted":            {encryptMsg},
		"nothing":              {},
		"an empty message":     compound(""),
		"a compound of none":   {compoundMsg},
		"a compound cut short": {compoundMsg, 9, 0, 0},
	} {
		require.Error(t, checkPacket(append(label(a), b...)), name)
	}
	require.Error(t, checkPacket([]byte{labelMsg}))
	require.NoError(t, checkPacket(append(label(a), compound("\x00\x80", "\x04\x80")...)))
	require.NoError(t, checkPacket([]byte{crcMsg, 0, 0, 0, 0, aliveMsg}))
	require.NoError(t, checkPacket(compound("\x00\x80", "\x04\x80")[:8]), "cut off, as memberlist takes it")

	c, err := net.Dial("udp", a.Address())
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	_, err = c.Write(append(label(a), compressMsg, 0x80))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return saw.has("messages of type 9 are not taken") }, 20*time.Second, time.Millisecond)
}

// FuzzHead: whatever comes, no count beyond the bound passes, and nothing panics.
func FuzzHead(f *testing.F) {
	f.Add(pushPull(1))
	f.Add(pushPull(1 << 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = checkPacket(b)
		r := bytes.NewReader(b)
		_ = checkHead(r.ReadByte)
	})
}

// Nodes that are none of this cluster's regions are not kept, however many are told of.
func TestMadeUpNodesAreNotKept(t *testing.T) {
	a, saw := start(t, node(1, 1), nil)
	for i, meta := range [][]byte{nil, mustEncode(t, node(2, 2)), mustEncode(t, node(1, 3)), mustEncode(t, node(1, maxNodes+1))} {
		m := memberlist.DefaultLocalConfig()
		m.Name, m.Label, m.BindAddr, m.BindPort, m.EnableCompression = fmt.Sprintf("evil %d", i), a.config.Self.Cluster.String(), "127.0.0.1", 0, false
		if i == 3 {
			m.Name = node(1, maxNodes+1).name()
		}
		m.Delegate, m.LogOutput = told{meta}, io.Discard
		m.DelegateProtocolMin, m.DelegateProtocolMax, m.DelegateProtocolVersion = 1, 1, 1
		evil, err := memberlist.Create(m)
		require.NoError(t, err)
		_, err = evil.Join([]string{a.Address()})
		require.NoError(t, err)
		require.NoError(t, evil.Shutdown())
	}
	require.Equal(t, 1, a.Members())
	require.Empty(t, saw.regions())
}

func mustEncode(t *testing.T, n Node) []byte {
	b, err := n.encode()
	require.NoError(t, err)
	return b
}

// told is a node that says something else of itself.
type told struct{ meta []byte }

func (d told) NodeMeta(int) []byte               { return d.meta }
func (told) NotifyMsg([]byte)                    {}
func (told) GetBroadcasts(int, int) [][]byte     { return nil }
func (told) LocalState(bool) []byte              { return nil }
func (told) MergeRemoteState(buf []byte, _ bool) {}

// Ending waits for nobody, whatever still comes.
func TestShutdownTwiceAndUnderWay(t *testing.T) {
	m := memberlist.DefaultLocalConfig()
	m.BindAddr, m.BindPort, m.Logger = "127.0.0.1", 0, discard()
	g, err := listen(m, false)
	require.NoError(t, err)
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", m.BindPort))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(g.slots) == 1 }, 20*time.Second, time.Millisecond) // nobody takes it
	require.NoError(t, g.Shutdown())
	require.NoError(t, g.Shutdown())
	hungUp(t, c, "shut down")
	require.NoError(t, c.Close())
}

// Connections come from the host that the node listens on, as packets do.
func TestGossipIsDialledFromWhereTheNodeListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	g, err := Start(Config{Self: node(1, 1), Bind: "127.0.0.2:0"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	c, err := g.transport.DialTimeout(l.Addr().String(), time.Second)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.2", c.LocalAddr().(*net.TCPAddr).IP.String())
	require.NoError(t, c.Close())
	require.Nil(t, local("0.0.0.0"))
	require.Nil(t, local("::"))
}

// A node that ends waits for none of those whom it contacts: over a link that loses everything each would take
// maxStreamTime, one after the other.
func TestEndingWaitsForNoConnectionToBeMade(t *testing.T) {
	g, err := Start(Config{Self: node(1, 1), Bind: "127.0.0.1:0", Known: func() []string {
		return []string{"no-address.invalid:1", "", "127.0.0.2:1", "127.0.0.3:1", "127.0.0.4:1"}
	}})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var dials []string
	var why error
	g.transport.dialer.ControlContext = func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		dials = append(dials, address)
		stop()
		<-ctx.Done()
		why = context.Cause(ctx)
		return why
	}
	g.Run(ctx, nil)
	require.NoError(t, g.Close())
	require.ErrorIs(t, why, context.Canceled, "rather than that its time is over")
	require.Equal(t, []string{"127.0.0.2:1"}, dials)
	_, err = g.transport.DialTimeout("127.0.0.2:1", maxStreamTime)
	require.ErrorIs(t, err, context.Canceled)
}

// Nor does it wait for the answers of those that it is connected to.
func TestEndingWaitsForNoAnswer(t *testing.T) {
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes connections, and nobody reads
	require.NoError(t, err)
	defer func() { require.NoError(t, deaf.Close()) }()
	g, err := Start(Config{Self: node(1, 1), Bind: "127.0.0.1:0"})
	require.NoError(t, err)
	c, err := g.transport.DialTimeout(deaf.Addr().String(), maxStreamTime)
	require.NoError(t, err)
	failed := make(chan error, 1)
	go func() { _, err := c.Read(make([]byte, 1)); failed <- err }()
	require.NoError(t, g.Close())
	require.ErrorIs(t, <-failed, net.ErrClosed, "rather than that its time is over")
	require.ErrorIs(t, c.Close(), net.ErrClosed)
}
