package grpcapi

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func frameOf(kind, flags byte, stream uint32, payload []byte) []byte {
	head := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(head, stream), payload...)
}

// message is one of gRPC's, of so many bytes.
func message(size int) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(size)), make([]byte, size)...)
}

// fed is a connection whose other end sends these bytes and ends.
type fed struct {
	net.Conn
	io.Reader
	closed bool
}

func (c *fed) Read(p []byte) (int, error)  { return c.Reader.Read(p) }
func (c *fed) Write(p []byte) (int, error) { return len(p), nil }
func (c *fed) Close() error                { c.closed = true; return nil }

// drain reads what a connection brings, in pieces of random sizes.
func drain(t *testing.T, m *meter, random *rand.Rand) {
	for {
		if _, err := m.Read(make([]byte, 1+random.IntN(40))); err != nil {
			require.ErrorIs(t, err, io.EOF)
			return
		}
	}
}

func TestMeterCountsWhatHasNotArrivedWhole(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	open := frameOf(frameHeaders, 4, 1, []byte("some headers"))
	half := frameOf(frameData, 0, 1, message(100)[:50])
	padded := append(append([]byte{7}, message(100)[:30]...), make([]byte, 7)...)
	for name, c := range map[string]struct {
		in, out []byte
		held    int64
	}{
		"no stream":             {},
		"headers":               {in: open, held: streamCost},
		"half a head":           {in: append(open, frameOf(frameData, 0, 1, message(9)[:3])...), held: streamCost},
		"half a message":        {in: append(open, half...), held: streamCost + 45},
		"in padded frames":      {in: append(open, frameOf(frameData, flagPadded, 1, padded)...), held: streamCost + 25},
		"only padding":          {in: append(open, frameOf(frameData, flagPadded, 1, []byte{200, 0, 0})...), held: streamCost},
		"a whole one":           {in: append(append(open, half...), frameOf(frameData, 0, 1, message(100)[50:])...), held: streamCost},
		"one and a half":        {in: append(open, frameOf(frameData, 0, 1, append(message(10), message(20)[:9]...))...), held: streamCost + 4},
		"an empty one":          {in: append(open, frameOf(frameData, 0, 1, message(0))...), held: streamCost},
		"the client ends":       {in: append(append(open, half...), frameOf(frameData, flagEndStream, 1, nil)...)},
		"the client resets":     {in: append(append(open, half...), frameOf(frameReset, 0, 1, make([]byte, 4))...)},
		"the node ends":         {in: append(open, half...), out: frameOf(frameHeaders, flagEndStream, 1, []byte("status"))},
		"the node resets":       {in: append(open, half...), out: frameOf(frameReset, 0, 1, make([]byte, 4))},
		"another stream ends":   {in: append(append(open, half...), frameOf(frameReset, 0, 3, make([]byte, 4))...), held: streamCost + 45},
		"data of another one":   {in: append(append(open, half...), frameOf(frameData, 0, 3, message(9)[:8])...), held: streamCost + 45},
		"settings look like it": {in: append(append(open, half...), frameOf(4, flagEndStream, 1, make([]byte, 6))...), held: streamCost + 45},
	} {
		all := newAllowance()
		m := newMeter(&fed{Reader: bytes.NewReader(append([]byte(preface), c.in...))}, all)
		drain(t, m, random)
		for len(c.out) > 0 {
			n := min(len(c.out), 1+random.IntN(9))
			_, err := m.Write(c.out[:n])
			require.NoError(t, err)
			c.out = c.out[n:]
		}
		require.Equal(t, c.held, all.held, name)
		require.NoError(t, m.Close())
		require.NoError(t, m.Close())
		require.Zero(t, all.held, name)
		require.Empty(t, all.conns)
	}
}

func TestMeterTakesAnyBytes(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	for range 200 {
		junk := []byte(preface)
		for range 20 {
			payload := make([]byte, random.IntN(30))
			for i := range payload {
				payload[i] = byte(random.Uint32() & 3)
			}
			junk = append(junk, frameOf(byte(random.IntN(5)), byte(random.IntN(16)), uint32(random.IntN(3)), payload)...)
		}
		all := newAllowance()
		m := newMeter(&fed{Reader: bytes.NewReader(junk[:random.IntN(len(junk))])}, all)
		drain(t, m, random)
		require.GreaterOrEqual(t, all.held, int64(0))
		require.NoError(t, m.Close())
		require.Zero(t, all.held)
	}
}

func TestHalfRequestsAreBounded(t *testing.T) {
	half := append(frameOf(frameHeaders, 4, 1, nil), frameOf(frameData, 0, 1, message(1000)[:900])...)
	meterOf := func(all *allowance, n int) (*meter, *fed) {
		c := &fed{Reader: bytes.NewReader(append([]byte(preface), half[:n]...))}
		return newMeter(c, all), c
	}
	random := rand.New(rand.NewPCG(1, 1))
	t.Run("of one connection", func(t *testing.T) {
		all := newAllowance()
		all.perConn = streamCost + 800
		less, few := meterOf(all, len(half)-200)
		drain(t, less, random)
		more, much := meterOf(all, len(half))
		drain(t, more, random)
		require.False(t, few.closed)
		require.True(t, much.closed)
		require.NoError(t, less.Close())
		require.Zero(t, all.held)
	})
	t.Run("of all", func(t *testing.T) {
		all := newAllowance()
		all.most = 2*streamCost + 1200
		most, much := meterOf(all, len(half))
		drain(t, most, random)
		last, little := meterOf(all, len(half)-400)
		drain(t, last, random)
		require.True(t, much.closed, "the one that holds most, not the one that comes last")
		require.False(t, little.closed)
		require.NoError(t, last.Close())
		require.Zero(t, all.held)
	})
}

// A request that does not go on arriving ends its connection, however alive that is.
func TestRequestsThatDoNotArriveAreEnded(t *testing.T) {
	literal := func(k, v string) string { return "\x00" + string(byte(len(k))) + k + string(byte(len(v))) + v }
	headers := literal(":method", "POST") + literal(":scheme", "http") + literal(":authority", "x") +
		literal(":path", "/theriac.v1.Database/Do") + literal("content-type", "application/grpc") + literal("te", "trailers")
	open := frameOf(frameHeaders, 4, 1, []byte(headers))
	for name, sends := range map[string][]byte{
		"no message":     open,
		"half a message": append(open, frameOf(frameData, 0, 1, message(4 << 20)[:10_000])...),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lis := &pipeListener{make(chan net.Conn), make(chan struct{})}
				s, served := New(Config{}), make(chan error, 1)
				go func() { served <- s.Serve(lis) }()
				near, far := net.Pipe()
				lis.conns <- far
				began := time.Now()
				go func() { _, _ = near.Write(append([]byte(preface+settings), sends...)) }()
				require.Error(t, answerPings(near))
				require.InDelta(t, requestTimeout.Seconds(), time.Since(began).Seconds(), 0.1)
				s.Stop(t.Context())
				require.NoError(t, <-served)
			})
		})
	}
}
