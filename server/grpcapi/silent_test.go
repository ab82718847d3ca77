package grpcapi

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// pipeListener accepts what a test hands it.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

const (
	preface  = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	ping     = 6
)

// deaf reads and answers nothing.
func deaf(conn net.Conn) error {
	_, err := io.Copy(io.Discard, conn)
	return err
}

// answerPings does no more than keep a connection alive.
func answerPings(conn net.Conn) error {
	for {
		var head [9]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return err
		}
		payload := make([]byte, int(head[0])<<16|int(binary.BigEndian.Uint16(head[1:])))
		if _, err := io.ReadFull(conn, payload); err != nil {
			return err
		}
		if head[3] == ping && head[4] == 0 {
			head[4] = 1
			if _, err := conn.Write(append(head[:], payload...)); err != nil {
				return err
			}
		}
	}
}

// Nobody holds one of the port's connections for nothing.
func TestConnectionsThatDoNothingAreClosed(t *testing.T) {
	for name, c := range map[string]struct {
		sends  string
		then   func(net.Conn) error
		tls    *tls.Config
		within time.Duration
	}{
		"silent":             {"", deaf, nil, handshakeTimeout},
		"half a handshake":   {preface[:10], deaf, nil, handshakeTimeout},
		"no settings":        {preface, deaf, nil, handshakeTimeout},
		"silent before TLS":  {"", deaf, &tls.Config{}, handshakeTimeout},
		"half a TLS record":  {"\x16\x03\x01", deaf, &tls.Config{}, handshakeTimeout},
		"gone without a FIN": {preface + settings, deaf, nil, pingAfter + pingTimeout},
		"alive but idle":     {preface + settings, answerPings, nil, idleTimeout + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(Config{TLS: c.tls, MaxConnections: 1})
				lis := &pipeListener{make(chan net.Conn), make(chan struct{})}
				done := make(chan error, 1)
				go func() { done <- s.Serve(lis) }()
				here, there := net.Pipe()
				lis.conns <- there
				begun := time.Now()
				if c.sends != "" {
					go func() { _, _ = here.Write([]byte(c.sends)) }() // the reader below tells how it ended
				}
				_ = c.then(here)
				require.LessOrEqual(t, time.Since(begun), c.within)
				require.Greater(t, time.Since(begun), c.within/2, "not at once")

				next, other := net.Pipe()
				lis.conns <- other // its slot is free again
				require.NoError(t, next.Close())
				require.NoError(t, here.Close())
				s.Stop(t.Context())
				require.NoError(t, <-done)
			})
		})
	}
}
