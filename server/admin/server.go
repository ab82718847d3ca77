package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/theriac-db/theriac/kv"
)

// Limits of the port. docs/reference/limits.md lists them.
const (
	MaxConnections = 128              // open connections; one more is closed at once
	MaxRequests    = 32               // requests under way; one more gets 503
	MaxHeaderBytes = 16 << 10         // request line and headers
	MaxBodyBytes   = 64 << 10         // body; only /debug/pprof/symbol reads one
	HeaderTimeout  = 5 * time.Second  // from connection (or the request before) to the end of the headers, TLS included
	ReadTimeout    = 10 * time.Second // the same to the end of the body
	IdleTimeout    = 30 * time.Second // between two requests of a connection
	StatusTimeout  = 2 * time.Second  // for the status behind the page /
	MaxProfile     = time.Minute      // seconds=N of a profile or trace
	// WriteTimeout bounds an answer from the end of the headers on; the longest is a profile.
	WriteTimeout = MaxProfile + 30*time.Second
)

// Health says how the node is. Its methods are called on any goroutine, several at a time, and
// answer from memory.
type Health interface {
	// Alive is nil while the process can work, or why it can't and should be replaced.
	Alive() error
	// NotReady lists, as sentences, why the node does not serve clients in full now: it recovers, it
	// takes no writes, its disk has failed. Empty: it does.
	NotReady() []string
	// Warnings lists, as sentences, what is wrong with other regions and needs an operator: the node
	// serves clients in full all the same, and passing over it would only make matters worse.
	Warnings() []string
}

// Status gives what the page / shows. It is called on any goroutine and answers from memory; ctx
// ends after StatusTimeout.
type Status interface {
	Status(ctx context.Context) (kv.Status, error)
}

// Config is what a Server is made of.
type Config struct {
	Health  Health              // required
	Status  Status              // required
	Metrics prometheus.Gatherer // required; NewRegistry makes one
	// Regions takes the operator's decisions about regions. Nil: the port offers none.
	Regions Regions
	// Faults makes the node ill, for tests. Nil, as in every node that matters: the port offers no such call.
	Faults Faults
	// TLS is the server's configuration. Nil: plaintext, for loopback only.
	TLS *tls.Config
	// Logf takes one line of text for the operator: broken connections, a failed scrape. Default:
	// dropped.
	Logf func(format string, args ...any)
}

// Server serves the port. Make one with New; it serves one listener.
type Server struct {
	cfg  Config
	http *http.Server
}

// New prepares a server. It panics when a required part of c is missing.
func New(c Config) *Server {
	if c.Health == nil || c.Status == nil || c.Metrics == nil {
		panic("admin: New without Health, Status or Metrics")
	}
	if c.Logf == nil {
		c.Logf = func(string, ...any) {}
	}
	s := &Server{cfg: c}
	s.http = &http.Server{
		Handler:           s.Handler(),
		TLSConfig:         c.TLS.Clone(),
		ReadHeaderTimeout: HeaderTimeout,
		ReadTimeout:       ReadTimeout,
		WriteTimeout:      WriteTimeout,
		IdleTimeout:       IdleTimeout,
		MaxHeaderBytes:    MaxHeaderBytes,
		ErrorLog:          log.New(logWriter(c.Logf), "", 0),
		Protocols:         new(http.Protocols),
	}
	s.http.Protocols.SetHTTP1(true) // streams of HTTP/2 would need bounds of their own, for nothing
	return s
}

// Serve answers on l until Shutdown or Close, and then returns nil; any other end is an error. It
// closes l.
func (s *Server) Serve(l net.Listener) error {
	l = newBoundedListener(l, MaxConnections)
	var err error
	if s.cfg.TLS != nil {
		err = s.http.ServeTLS(l, "", "")
	} else {
		err = s.http.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return kv.Errorf(kv.KindUnavailable, "admin port %s: %w", l.Addr(), err)
}

// Shutdown closes the listener and idle connections and waits for the requests under way until ctx
// ends; those that are left it cuts off, and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		// Close's own error would only say that a listener was closed already.
		_ = s.http.Close()
	}
	return err
}

// logWriter turns net/http's log lines into calls of logf.
type logWriter func(format string, args ...any)

func (w logWriter) Write(line []byte) (int, error) {
	w("admin: %s", strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}
