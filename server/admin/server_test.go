package admin

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

func TestHealthSaysWhetherTheProcessCanWork(t *testing.T) {
	n := &fakeNode{}
	h := newServer(n).Handler()
	w := get(t, h, "/healthz")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "ok\n", w.Body.String())

	n.reasons = []string{"recovering"}
	require.Equal(t, 200, get(t, h, "/healthz").Code, "a node that is not ready need not be replaced")

	n.alive = errBroken
	w = get(t, h, "/healthz")
	require.Equal(t, 503, w.Code)
	require.Equal(t, "the disk is full\n", w.Body.String())
}

func TestReadinessListsItsReasons(t *testing.T) {
	n := &fakeNode{}
	h := newServer(n).Handler()
	require.Equal(t, 200, get(t, h, "/readyz").Code)

	n.warns = []string{"us:\nanother cluster"}
	w := get(t, h, "/readyz")
	require.Equal(t, 200, w.Code, "a fault elsewhere drains no healthy region")
	require.Equal(t, "ready\nwarning: us: another cluster\n", w.Body.String())

	n.reasons, n.alive = []string{"recovering:\n3 regions to ask", "no writes are taken"}, errBroken
	w = get(t, h, "/readyz")
	require.Equal(t, 503, w.Code)
	require.Equal(t, "the disk is full\nrecovering: 3 regions to ask\nno writes are taken\nwarning: us: another cluster\n", w.Body.String())
}

func TestIndexIsTextForScriptsAndAPageForBrowsers(t *testing.T) {
	n := &fakeNode{status: sampleStatus(), reasons: []string{"recovering"}, warns: []string{"another cluster"}}
	h := newServer(n).Handler()
	w := get(t, h, "/")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
	for _, want := range []string{"region", "eu", "serving", "not ready", "another cluster", "log bytes", "77", "2023-11-14T22:13:20Z", "1.5s", "down", "us<script>"} {
		require.Contains(t, w.Body.String(), want)
	}

	w = get(t, h, "/", "Accept", "text/html,*/*")
	require.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
	require.Contains(t, w.Body.String(), "us&lt;script&gt;")
	require.NotContains(t, w.Body.String(), "<script")
	require.NotContains(t, w.Body.String(), "http://", "the page loads nothing from elsewhere")
	require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
}

func TestIndexSaysWhyThereIsNoStatus(t *testing.T) {
	w := get(t, newServer(&fakeNode{refuse: errBroken}).Handler(), "/")
	require.Equal(t, 503, w.Code)
	require.Contains(t, w.Body.String(), "the disk is full")
}

func TestStatusHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNode{released: make(chan struct{})}
		begun := time.Now()
		w := get(t, newServer(n).Handler(), "/")
		require.Equal(t, 503, w.Code)
		require.Equal(t, StatusTimeout, time.Since(begun))
	})
}

func TestUnknownPathsAndMethodsAreRefused(t *testing.T) {
	h := newServer(&fakeNode{}).Handler()
	require.Equal(t, 404, get(t, h, "/nothing").Code)
	r := httptest.NewRequest(http.MethodPost, "/healthz", strings.NewReader("x"))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, 405, w.Code)
}

func TestProfilesAreServedWithinBounds(t *testing.T) {
	h := newServer(&fakeNode{}).Handler()
	require.Contains(t, get(t, h, "/debug/pprof/").Body.String(), "goroutine")
	require.Contains(t, get(t, h, "/debug/pprof/goroutine?debug=1").Body.String(), "goroutine profile:")
	require.Equal(t, 200, get(t, h, "/debug/pprof/cmdline").Code)
	require.Equal(t, 200, get(t, h, "/debug/pprof/symbol").Code)
	require.Equal(t, 404, get(t, h, "/debug/pprof/nothing").Code)
	for _, path := range []string{"profile?seconds=61", "trace?seconds=1e9", "heap?seconds=61", "profile?seconds=NaN", "profile?seconds=-1", "trace?seconds=x"} {
		w := get(t, h, "/debug/pprof/"+path)
		require.Equal(t, 400, w.Code, path)
		require.Contains(t, w.Body.String(), "want a number from 0 to 60", path)
	}
}

func TestRequestsBeyondTheBoundAreRefused(t *testing.T) {
	n := &fakeNode{entered: make(chan struct{}), released: make(chan struct{})}
	h := newServer(n).Handler()
	codes := make(chan int, MaxRequests)
	for range MaxRequests {
		go func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			codes <- w.Code
		}()
		<-n.entered
	}
	w := get(t, h, "/healthz")
	require.Equal(t, 503, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	close(n.released)
	for range MaxRequests {
		require.Equal(t, 200, <-codes)
	}
	require.Equal(t, 200, get(t, h, "/healthz").Code)
}

func TestServerAnswersUntilItIsShutDown(t *testing.T) {
	s := newServer(&fakeNode{})
	address, result := start(t, s)
	r, err := http.Get("http://" + address + "/healthz")
	require.NoError(t, err)
	require.Equal(t, "ok\n", body(t, r))
	require.NoError(t, s.Shutdown(t.Context()))
	require.NoError(t, result())
	_, err = net.Dial("tcp", address)
	require.Error(t, err, "the port is closed")
}

func TestShutdownWaitsForRequestsAndThenCutsThemOff(t *testing.T) {
	n := &fakeNode{entered: make(chan struct{}, 1), released: make(chan struct{})}
	s := newServer(n)
	address, result := start(t, s)
	failed := make(chan error, 1)
	go func() {
		r, err := http.Get("http://" + address + "/")
		if err == nil {
			r.Body.Close()
		}
		failed <- err
	}()
	<-n.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Shutdown(ctx), context.Canceled)
	require.NoError(t, result())
	require.Error(t, <-failed)
	close(n.released)
}

func TestAFailingListenerIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	err = newServer(&fakeNode{}).Serve(l)
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.ErrorContains(t, err, l.Addr().String())
}

func TestTLSIsServedWhenConfigured(t *testing.T) {
	certified := httptest.NewTLSServer(http.NotFoundHandler())
	defer certified.Close()
	n, j := &fakeNode{}, &journal{}
	s := New(Config{Health: n, Status: n, Metrics: NewRegistry(), TLS: &tls.Config{Certificates: certified.TLS.Certificates}, Logf: j.logf})
	address, result := start(t, s)
	client := certified.Client()
	r, err := client.Get("https://" + address + "/healthz")
	require.NoError(t, err)
	require.Equal(t, "ok\n", body(t, r))
	require.Equal(t, 1, r.ProtoMajor)

	plain, err := http.Get("http://" + address + "/healthz")
	require.NoError(t, err)
	require.Equal(t, 400, plain.StatusCode)
	plain.Body.Close()
	client.CloseIdleConnections()
	require.NoError(t, s.Shutdown(t.Context()))
	require.NoError(t, result())
	require.NotEmpty(t, j.lines)
	require.Contains(t, j.lines[0], "TLS handshake")
}

func TestConnectionsBeyondTheBoundAreClosed(t *testing.T) {
	s := newServer(&fakeNode{})
	address, result := start(t, s)
	conns := make([]net.Conn, 0, MaxConnections)
	for range MaxConnections {
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		ask(t, c) // so that the server has accepted it
		conns = append(conns, c)
	}
	over, err := net.Dial("tcp", address)
	require.NoError(t, err)
	_, err = over.Read(make([]byte, 1))
	require.Error(t, err, "closed without an answer")

	for _, c := range conns {
		require.NoError(t, c.Close())
	}
	require.Eventually(t, func() bool {
		r, err := http.Get("http://" + address + "/healthz")
		if err == nil {
			r.Body.Close()
		}
		return err == nil
	}, 10*time.Second, time.Millisecond, "closed connections make room")
	require.NoError(t, s.Shutdown(t.Context()))
	require.NoError(t, result())
}

// ask sends a request on a connection that stays open, and reads the answer.
func ask(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	require.Equal(t, "ok\n", body(t, r))
}

func TestHugeHeadersAreRefused(t *testing.T) {
	s := newServer(&fakeNode{})
	address, result := start(t, s)
	r, err := http.NewRequest(http.MethodGet, "http://"+address+"/healthz", nil)
	require.NoError(t, err)
	r.Header.Set("X-Large", strings.Repeat("x", 4*MaxHeaderBytes))
	resp, err := http.DefaultClient.Do(r)
	if err == nil { // else the connection was closed before the request was sent in full
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)
		resp.Body.Close()
	}
	require.NoError(t, s.Shutdown(t.Context()))
	require.NoError(t, result())
}

func TestHugeBodiesAreCutOff(t *testing.T) {
	h := newServer(&fakeNode{}).Handler()
	read := 0
	endless := readerFunc(func(p []byte) (int, error) {
		read += len(p)
		clear(p)
		return len(p), nil
	})
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/debug/pprof/symbol", endless))
	require.LessOrEqual(t, read, MaxBodyBytes+4096)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// pipeListener hands out one end of pipes, so that a test's clock rules their deadlines.
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

func TestSlowAndIdleConnectionsAreClosed(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		want    time.Duration
	}{
		"no header": {"GET / HT", HeaderTimeout},
		"idle":      {"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", IdleTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(&fakeNode{})
				l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
				done := make(chan error, 1)
				go func() { done <- s.Serve(l) }()
				here, there := net.Pipe()
				l.conns <- there
				begun := time.Now()
				_, err := io.WriteString(here, c.request)
				require.NoError(t, err)
				_, err = io.Copy(io.Discard, here)
				require.NoError(t, err)
				require.Equal(t, c.want, time.Since(begun))
				require.NoError(t, s.Shutdown(t.Context()))
				require.NoError(t, <-done)
			})
		})
	}
}

func TestNewRefusesMissingParts(t *testing.T) {
	n := &fakeNode{}
	for _, c := range []Config{{Status: n, Metrics: NewRegistry()}, {Health: n, Metrics: NewRegistry()}, {Health: n, Status: n}} {
		require.Panics(t, func() { New(c) })
	}
}
