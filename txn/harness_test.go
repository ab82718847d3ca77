package txn

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
	"github.com/theriac-db/theriac/storage"
)

// shell is the least Exposure: the causal machine behind a lock, and waiters.
type shell struct {
	mu      sync.Mutex
	lane    clock.Lane
	machine *causal.Machine
	changed chan struct{}
}

func newShell(t testing.TB, lane clock.Lane, held clock.Timestamp) *shell {
	m, err := causal.New(causal.Start{Self: lane, Lanes: []causal.Position{{Lane: lane, Held: held, Durable: held}}})
	require.NoError(t, err)
	return &shell{lane: lane, machine: m, changed: make(chan struct{})}
}

func (s *shell) do(fn func(m *causal.Machine)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s.machine)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *shell) Exposed() (v clock.Vector) {
	s.do(func(m *causal.Machine) { v = m.Exposed() })
	return v
}
func (s *shell) Applied() (v clock.Vector) {
	s.do(func(m *causal.Machine) { v = m.Applied() })
	return v
}
func (s *shell) LocalApplied(t clock.Timestamp, meet clock.Vector) {
	s.do(func(m *causal.Machine) { m.LocalApplied(t, meet) })
}
func (s *shell) LocalDurable(t clock.Timestamp) {
	s.do(func(m *causal.Machine) { m.Synced(s.lane, t) })
}
func (s *shell) LocalSafe(last, safe clock.Timestamp) {
	s.do(func(m *causal.Machine) { m.LocalSafe(last, safe) })
}

type opened struct {
	shell *shell
	s     causal.Snapshot
}

func (o opened) At() clock.Vector { return o.s.At() }
func (o opened) Close()           { o.shell.do(func(m *causal.Machine) { m.Close(o.s) }) }

func (s *shell) Open(mayWrite, applied bool) (out Snapshot, err error) {
	s.do(func(m *causal.Machine) {
		var snap causal.Snapshot
		snap, err = m.Open(mayWrite, applied)
		out = opened{s, snap}
	})
	return out, err
}

func (s *shell) openSnapshots() (n int) {
	s.do(func(m *causal.Machine) { n = m.OpenSnapshots() })
	return n
}

func (s *shell) Wait(ctx context.Context, v clock.Vector, own bool) error {
	for {
		s.mu.Lock()
		have, changed := s.machine.Exposed(), s.changed
		if own {
			have = s.machine.Applied()
		}
		s.mu.Unlock()
		if have.Includes(v) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return kv.Errorf(kv.KindStale, "not here in time: %w", ctx.Err())
		}
	}
}

// region is one node's transactions over a store in memory.
type region struct {
	t     *testing.T
	fs    *vfs.MemFS
	store *storage.Store
	shell *shell
	*Coordinator
	now    time.Duration // monotonic, moved by tests
	moving sync.Mutex    // of now, where others read it meanwhile
}

var testCluster = kv.ClusterID{1, 2, 3}

func wall() clock.Wall { return clock.WallOf(time.Now()) }

// start opens a region over a file system; incarnation must differ between starts.
func start(t *testing.T, fs *vfs.MemFS, incarnation uint64) *region {
	t.Helper()
	r := startOn(t, fs, incarnation)
	r.fs = fs
	return r
}

// startOn is start over any file system.
func startOn(t *testing.T, fs vfs.FS, incarnation uint64) *region {
	t.Helper()
	r := prepare(t, fs, incarnation)
	require.NoError(t, r.Coordinator.Start(t.Context(), 0))
	return r
}

// prepare is startOn without Start.
func prepare(t *testing.T, fs vfs.FS, incarnation uint64) *region {
	t.Helper()
	return prepareAt(t, fs, incarnation, 0)
}

// prepareAt is prepare with a monotonic clock that goes already.
func prepareAt(t *testing.T, fs vfs.FS, incarnation uint64, now time.Duration) *region {
	t.Helper()
	store, err := storage.Open(storage.Config{FS: fs, Dir: "data"})
	require.NoError(t, err)
	lane := clock.Lane{Region: 1}
	r := &region{t: t, store: store, shell: newShell(t, lane, store.Applied(lane)), now: now}
	r.Coordinator = New(Config{
		CommitterConfig: CommitterConfig{Store: store, Lane: lane, Wall: wall, Mono: r.reading, Skew: 500 * time.Millisecond, Incarnation: incarnation},
		Snapshots:       r.shell, Cluster: testCluster, Region: "eu",
	})
	return r
}

func (r *region) reading() time.Duration {
	r.moving.Lock()
	defer r.moving.Unlock()
	return r.now
}

// pass moves the monotonic clock on while others may read it.
func (r *region) pass(d time.Duration) {
	r.moving.Lock()
	defer r.moving.Unlock()
	r.now += d
}

// fresh starts a region that ends with the test.
func fresh(t *testing.T) *region {
	r := start(t, vfs.NewCrashableMem(), 7)
	t.Cleanup(func() { require.NoError(t, r.store.Close()) })
	return r
}

func object(key string, typ kv.Type) kv.Object {
	return kv.Object{Bucket: kv.DefaultBucket, Key: kv.Key(key), Type: typ}
}

func increment(key string, n int64) kv.Op {
	return kv.Op{Object: object(key, crdt.Counter), Verb: kv.VerbIncrement, Int: n}
}

func assign(key, value string) kv.Op {
	return kv.Op{Object: object(key, crdt.RegisterLWW), Verb: kv.VerbAssign, Data: []byte(value)}
}

func element(verb kv.Verb, key, element string) kv.Op {
	return kv.Op{Object: object(key, crdt.SetAW), Verb: verb, Data: []byte(element)}
}

func (r *region) must(o kv.Options, ops ...kv.Op) kv.Receipt {
	r.t.Helper()
	resp, err := r.Do(r.t.Context(), kv.Request{Options: o, Ops: ops})
	require.NoError(r.t, err)
	return resp.Receipt
}

func (r *region) read(q kv.Query) kv.Value {
	r.t.Helper()
	resp, err := r.Do(r.t.Context(), kv.Request{Queries: []kv.Query{q}})
	require.NoError(r.t, err)
	return resp.Values[0]
}

func (r *region) counter(key string) int64 {
	r.t.Helper()
	return r.read(kv.Query{Object: object(key, crdt.Counter)}).Int
}

func (r *region) text(key string) string {
	r.t.Helper()
	return string(r.read(kv.Query{Object: object(key, crdt.RegisterLWW)}).Bytes)
}

func (r *region) members(key string) []string {
	r.t.Helper()
	return texts(r.read(kv.Query{Object: object(key, crdt.SetAW)}).List)
}

func texts(list [][]byte) []string {
	out := []string{}
	for _, e := range list {
		out = append(out, string(e))
	}
	return out
}
