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

func meterOf(c *fed, all *allowance) *meter { return newMeter(c, c, all) }

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
		"no stream":              {},
		"headers":                {in: open, held: streamCost},
		"half a head":            {in: append(open, frameOf(frameData, 0, 1, message(9)[:3])...), held: streamCost},
		"half a message":         {in: append(open, half...), held: streamCost + 45},
		"in padded frames":       {in: append(open, frameOf(frameData, flagPadded, 1, padded)...), held: streamCost + 25},
		"only padding":           {in: append(open, frameOf(frameData, flagPadded, 1, []byte{200, 0, 0})...), held: streamCost},
		"a whole one":            {in: append(append(open, half...), frameOf(frameData, 0, 1, message(100)[50:])...), held: streamCost},
		"one and a half":         {in: append(open, frameOf(frameData, 0, 1, append(message(10), message(20)[:9]...))...), held: streamCost + 4},
		"an empty one":           {in: append(open, frameOf(frameData, 0, 1, message(0))...), held: streamCost},
		"the client ends":        {in: append(append(open, half...), frameOf(frameData, flagEndStream, 1, nil)...)},
		"the client resets":      {in: append(append(open, half...), frameOf(frameReset, 0, 1, make([]byte, 4))...)},
		"the node ends":          {in: append(open, half...), out: frameOf(frameHeaders, flagEndStream, 1, []byte("status"))},
		"the node resets":        {in: append(open, half...), out: frameOf(frameReset, 0, 1, make([]byte, 4))},
		"another stream ends":    {in: append(append(open, half...), frameOf(frameReset, 0, 3, make([]byte, 4))...), held: streamCost + 45},
		"data of another one":    {in: append(append(open, half...), frameOf(frameData, 0, 3, message(9)[:8])...), held: streamCost + 45},
		"refused when it leaves": {in: append(open, half...), out: frameOf(frameGoAway, 0, 0, []byte{0, 0, 0, 0, 0, 0, 0, 0, 'w'})},
		"taken before it leaves": {in: append(open, half...), out: frameOf(frameGoAway, 0, 0, []byte{0, 0, 0, 1, 0, 0, 0, 0, 'w'}), held: streamCost + 45},
		"about to leave":         {in: append(open, half...), out: frameOf(frameGoAway, 0, 0, []byte{127, 255, 255, 255, 0, 0, 0, 0}), held: streamCost + 45},
		"settings look like it":  {in: append(append(open, half...), frameOf(4, flagEndStream, 1, make([]byte, 6))...), held: streamCost + 45},
	} {
		all := newAllowance()
		m := meterOf(&fed{Reader: bytes.NewReader(append([]byte(preface), c.in...))}, all)
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
		m := meterOf(&fed{Reader: bytes.NewReader(junk[:random.IntN(len(junk))])}, all)
		drain(t, m, random)
		require.GreaterOrEqual(t, all.held, int64(0))
		require.NoError(t, m.Close())
		require.Zero(t, all.held)
	}
}

func TestHalfRequestsAreBounded(t *testing.T) {
	half := append(frameOf(frameHeaders, 4, 1, nil), frameOf(frameData, 0, 1, message(1000)[:900])...)
	begin := func(all *allowance, n int) (*meter, *fed) {
		c := &fed{Reader: bytes.NewReader(append([]byte(preface), half[:n]...))}
		return meterOf(c, all), c
	}
	random := rand.New(rand.NewPCG(1, 1))
	t.Run("of one connection", func(t *testing.T) {
		all := newAllowance()
		all.perConn = streamCost + 800
		less, few := begin(all, len(half)-200)
		drain(t, less, random)
		more, much := begin(all, len(half))
		drain(t, more, random)
		require.False(t, few.closed)
		require.True(t, much.closed)
		require.NoError(t, less.Close())
		require.Zero(t, all.held)
	})
	t.Run("of all", func(t *testing.T) {
		all := newAllowance()
		all.most = 2*streamCost + 1200
		most, much := begin(all, len(half))
		drain(t, most, random)
		last, little := begin(all, len(half)-400)
		drain(t, last, random)
		require.True(t, much.closed, "the one that holds most, not the one that comes last")
		require.False(t, little.closed)
		require.NoError(t, last.Close())
		require.Zero(t, all.held)
	})
}

// Half a request that came after the node took its leave gets no answer, and does not end the connection
// under the calls that it still carries out.
func TestStreamsAfterTheLeaveCountNothing(t *testing.T) {
	all := newAllowance()
	m := meterOf(&fed{Reader: bytes.NewReader(append([]byte(preface),
		append(frameOf(frameHeaders, 4, 3, nil), frameOf(frameData, 0, 3, message(9)[:7])...)...))}, all)
	_, err := m.Write(frameOf(frameGoAway, 0, 0, []byte{0, 0, 0, 1, 0, 0, 0, 0}))
	require.NoError(t, err)
	drain(t, m, rand.New(rand.NewPCG(1, 1)))
	require.Zero(t, all.held)
	require.Nil(t, m.timer)
}

// The end of a TLS connection waits for its other end, which nobody else's reader should do.
func TestConnectionsAreCutBelowTLS(t *testing.T) {
	all := newAllowance()
	all.perConn = streamCost - 1
	raw, plain := &fed{}, &fed{Reader: bytes.NewReader(append([]byte(preface), frameOf(frameHeaders, 4, 1, nil)...))}
	drain(t, newMeter(plain, raw, all), rand.New(rand.NewPCG(1, 1)))
	require.True(t, raw.closed)
	require.False(t, plain.closed)
	require.Empty(t, all.conns)
}

const openDo = "\x00\x07:method\x04POST\x00\x07:scheme\x04http\x00\x0a:authority\x01x" +
	"\x00\x05:path\x17/theriac.v1.Database/Do\x00\x0ccontent-type\x10application/grpc\x00\x02te\x08trailers"

// beginDo opens a stream and sends the first bytes of a large message on it.
func beginDo(stream uint32, bytes int) []byte {
	open := frameOf(frameHeaders, 4, stream, []byte(openDo))
	return append(open, frameOf(frameData, 0, stream, message(4 << 20)[:bytes])...)
}

// A request that does not go on arriving ends its connection, however alive that is.
func TestRequestsThatDoNotArriveAreEnded(t *testing.T) {
	for name, c := range map[string]struct {
		sends []byte
		every []byte // second
		after time.Duration
	}{
		"half a head":      {beginDo(1, 3), nil, progressWindow},
		"half a message":   {beginDo(1, 10_000), nil, progressWindow},
		"too slowly":       {beginDo(1, 10), frameOf(frameData, 0, 1, make([]byte, minProgress/40)), progressWindow},
		"and then no more": {append(beginDo(1, minProgress/2), frameOf(frameData, 0, 1, make([]byte, minProgress/2))...), nil, 2 * progressWindow},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lis := &pipeListener{make(chan net.Conn), make(chan struct{})}
				s, served := New(Config{}), make(chan error, 1)
				go func() { served <- s.Serve(lis) }()
				near, far := net.Pipe()
				lis.conns <- far
				began, ended := time.Now(), make(chan struct{})
				go func() {
					defer close(ended)
					_, err := near.Write(append([]byte(preface+settings), c.sends...))
					for err == nil && c.every != nil {
						time.Sleep(time.Second)
						_, err = near.Write(c.every)
					}
				}()
				require.Error(t, answerPings(near))
				require.InDelta(t, c.after.Seconds(), time.Since(began).Seconds(), 0.1)
				<-ended
				s.Stop(t.Context())
				require.NoError(t, <-served)
			})
		})
	}
}

// A message that begins just before a window ends has one of its own.
func TestWindowsOfProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		m := newMeter(far, far, newAllowance())
		end := make(chan time.Duration, 1)
		began := time.Now()
		go func() {
			_, _ = io.Copy(io.Discard, m)
			end <- time.Since(began)
		}()
		send := func(p []byte) {
			_, err := near.Write(p)
			require.NoError(t, err)
		}
		send(append([]byte(preface), beginDo(1, 10)...))
		time.Sleep(progressWindow - time.Second)
		send(append(beginDo(3, 10), frameOf(frameReset, 0, 1, make([]byte, 4))...))
		require.Equal(t, 2*progressWindow, <-end)
		require.NoError(t, m.Close())
	})
}

// Whatever is set, one connection has room for its streams and a request on one of them.
func TestSettingsFitWhatAConnectionMayHold(t *testing.T) {
	c := Config{MaxStreams: 1 << 31, MaxRequest: 1 << 40}.withDefaults()
	require.EqualValues(t, MaxMaxStreams, c.MaxStreams)
	require.Equal(t, MaxMaxRequest, c.MaxRequest)
	require.LessOrEqual(t, int(c.MaxStreams)*streamCost+c.MaxRequest, maxConnPartial)
}
