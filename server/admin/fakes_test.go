package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// fakeNode is what the port asks. The zero value is healthy.
type fakeNode struct {
	alive    error
	reasons  []string
	warns    []string
	status   kv.Status
	refuse   error
	entered  chan struct{} // if not nil, Status says here that it was called
	released chan struct{} // if not nil, Status waits for it
}

func (n *fakeNode) Alive() error       { return n.alive }
func (n *fakeNode) NotReady() []string { return n.reasons }
func (n *fakeNode) Warnings() []string { return n.warns }

func (n *fakeNode) Status(ctx context.Context) (kv.Status, error) {
	if n.entered != nil {
		n.entered <- struct{}{}
	}
	if n.released != nil {
		select {
		case <-n.released:
		case <-ctx.Done():
			return kv.Status{}, ctx.Err()
		}
	}
	return n.status, n.refuse
}

// journal keeps what was logged.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) logf(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, sprintf(format, args...))
}

func newServer(n *fakeNode) *Server {
	return New(Config{Health: n, Status: n, Metrics: NewRegistry()})
}

// get asks a handler in this goroutine.
func get(t *testing.T, h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// start serves s on loopback and returns the address and a function that waits for Serve's result.
func start(t *testing.T, s *Server) (address string, result func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	return l.Addr().String(), func() error { return <-done }
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(b)
}

func sampleStatus() kv.Status {
	at := clock.At(clock.Wall(1_700_000_000_000_000))
	return kv.Status{
		Cluster: kv.ClusterID{1}, Region: "eu", Lane: clock.Lane{Region: 1}, Version: "0.1", State: "serving",
		Exposed: clock.VectorOf(clock.Entry{Region: 1, Time: at}), LogBytes: 77,
		Regions: []kv.RegionStatus{
			{Region: 1, Name: "eu", Connected: true, Exposed: at, Addresses: []string{"h:6700"}},
			{Region: 2, Name: "us<script>", Lag: 1500000000},
		},
	}
}

var errBroken = errors.New("the disk is full")
