package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
)

// relay passes a node's connections on, and can withhold what the node answers.
type relay struct {
	listener net.Listener
	to       string

	mu       sync.Mutex
	withhold bool
	conns    map[net.Conn]struct{}
	running  sync.WaitGroup
}

func newRelay(t *testing.T, to string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{listener: l, to: to, conns: map[net.Conn]struct{}{}}
	r.running.Go(r.accept)
	t.Cleanup(func() {
		_ = l.Close()
		r.cut()
		r.running.Wait()
	})
	return r
}

func (r *relay) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.pass(conn) })
	}
}

// pass connects a client to the node until either ends.
func (r *relay) pass(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", r.to)
	if err != nil {
		return // it is being restarted
	}
	defer to.Close()
	r.mu.Lock()
	r.conns[from], r.conns[to] = struct{}{}, struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.conns, from)
		delete(r.conns, to)
	}()
	r.running.Go(func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	})
	buf := make([]byte, 32<<10)
	for {
		n, err := to.Read(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		lost := r.withhold
		r.mu.Unlock()
		if lost {
			continue // for good: the connection is never let on after it
		}
		if _, err := from.Write(buf[:n]); err != nil {
			return
		}
	}
}

// withholdAnswers begins to lose all that the node says.
func (r *relay) withholdAnswers() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.withhold = true
}

// cut ends all connections; those that come later are passed on whole.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.withhold = false
	for c := range r.conns {
		_ = c.Close()
	}
}

// A node is killed when it has committed what its clients asked for, and before any of them hears of
// it. They hear of it from the node that comes back, without doing anything, and nothing happens twice.
func TestAnswerLostByKill9IsFoundByTheClient(t *testing.T) {
	p := startServe(t, "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0")
	r := newRelay(t, p.ready["clients"])
	db, err := client.Open(t.Context(), r.listener.Addr().String(), client.Insecure(), client.WithTries(100))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	require.NoError(t, db.Counter("n").Add(ctx, 1), "it is connected")

	const callers, interactive = 30, 10
	errs := make(chan error, callers)
	var wg, ready sync.WaitGroup
	withheld := make(chan struct{})
	ready.Add(interactive)
	for range interactive {
		wg.Go(func() {
			begun := sync.OnceFunc(ready.Done)
			errs <- db.Update(ctx, func(tx *client.Tx) error {
				if err := tx.Counter("n").Add(ctx, 1); err != nil {
					return err
				}
				_, err := tx.Counter("n").Get(ctx) // so that only the commit is left
				begun()
				<-withheld
				return err
			})
		})
	}
	ready.Wait()
	r.withholdAnswers()
	close(withheld)
	for range callers - interactive {
		wg.Go(func() { errs <- db.Counter("n").Add(ctx, 1) })
	}
	direct := p.open(t) // another client sees what is on disk
	require.Eventually(t, func() bool {
		n, err := direct.Counter("n").Get(ctx)
		return err == nil && n == 1+callers
	}, 30*time.Second, 5*time.Millisecond)
	require.Empty(t, errs, "nobody has heard of it")
	require.Error(t, p.end(syscall.SIGKILL))
	p.restart()
	r.cut()
	wg.Wait()
	for range callers {
		require.NoError(t, <-errs)
	}
	n, err := p.open(t).Counter("n").Get(ctx)
	require.NoError(t, err)
	require.Equal(t, int64(1+callers), n)
}

// tally is what the operations of a test came to.
type tally struct {
	mu       sync.Mutex
	applied  map[client.OpID]bool
	unknown  []client.OpID
	answered atomic.Int64
}

func (y *tally) add(id client.OpID, err error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	switch {
	case err == nil || client.OutcomeOf(err) == kv.Applied:
		y.applied[id] = true
		y.answered.Add(1)
	case client.OutcomeOf(err) == kv.OutcomeUnknown:
		y.unknown = append(y.unknown, id)
	}
}

// Nodes are killed at random moments with many operations on their way, some of which give up soon.
// The counter holds as many as have succeeded, were told so later, and no other.
func TestEveryOperationHappensOnceAcrossKill9(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d: replay by setting seed in %s; the moments of the kills follow it", seed, t.Name())
	random := rand.New(rand.NewPCG(seed, 0))
	p := startServe(t, "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0")
	db, err := client.Open(t.Context(), p.ready["clients"], client.Insecure(), client.WithTries(100))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	y := &tally{applied: map[client.OpID]bool{}}
	const rounds, callers = 5, 24
	for range rounds {
		stop, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				for stop.Err() == nil {
					y.run(t, db, i%3 == 0)
				}
			})
		}
		goal := y.answered.Load() + 200 + random.Int64N(800)
		require.Eventually(t, func() bool { return y.answered.Load() >= goal }, 60*time.Second, time.Millisecond)
		require.Error(t, p.end(syscall.SIGKILL))
		cancel()
		p.restart()
		wg.Wait()
	}
	y.settle(t, db)
	n, err := db.Counter("n").Get(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(len(y.applied)), n, "seed %d", seed)
	require.Greater(t, len(y.applied), rounds*200)
}

// run does one operation, which, if it is in a hurry, soon gives up.
func (y *tally) run(t *testing.T, db *client.DB, hurry bool) {
	patience := 60 * time.Second
	if hurry {
		patience = 20 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	id := client.NewOpID()
	err := db.Counter("n").Add(ctx, 1, client.WithOpID(id))
	if err != nil && !hurry {
		t.Errorf("operation %s: the node came back, and yet: %v", id, err)
	}
	y.add(id, err)
}

// settle asks what became of the operations whose outcome is unknown; each answer is final.
func (y *tally) settle(t *testing.T, db *client.DB) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	not := 0
	for _, id := range y.unknown {
		answer, err := db.Outcome(ctx, id)
		require.NoError(t, err)
		if answer.Outcome == kv.Applied {
			y.applied[id] = true
			continue
		}
		not++
		err = db.Counter("n").Add(ctx, 1, client.WithOpID(id))
		require.ErrorIs(t, err, client.ErrAborted)
	}
	t.Logf("%d operations, %d of unknown outcome, %d of them not applied", len(y.applied)+not, len(y.unknown), not)
}
