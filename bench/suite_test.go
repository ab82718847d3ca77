package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// The benchmarks run here on a service in memory, at a scale that measures nothing: what is tested is
// that they run, clean up and give the figures that they should.

// TestMain lets the test binary be a child of itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		if len(os.Args) > 2 && os.Args[2] == "etcd" {
			serveFakeEtcd(os.Args[3:])
		}
		if err := RunChild(context.Background(), os.Args[2:], os.Stdin, os.Stdout, openFake); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// follower is a second region that has always seen all of the first.
type follower struct{ kv.Service }

func (f follower) Do(ctx context.Context, r kv.Request) (kv.Response, error) {
	resp, err := f.Service.Do(ctx, r)
	resp.Receipt.Snapshot = clock.VectorOf(clock.Entry{Region: 1, Time: clock.MaxTimestamp / 2})
	return resp, err
}

// voter is a node that votes where the first region leads.
type voter struct{ kv.Service }

func (v voter) Status(ctx context.Context) (kv.Status, error) {
	s, err := v.Service.Status(ctx)
	s.Leader, s.Strong = wideRegions[0], "follower"
	return s, err
}

// openFake is a RegionOpener.
func openFake(_ context.Context, c RegionConfig) (*Region, error) {
	if c.Name == "broken" {
		return nil, errBroken
	}
	number := clock.Region(1)
	if len(c.Join) > 0 {
		number = 2
	}
	var service kv.Service = memkv.New().Node(number, c.Name)
	if number == 2 {
		service = follower{service}
	}
	service = voter{service}
	region := &Region{
		DB: client.New(service), Peer: "127.0.0.1:1", Written: func() int64 { return 7 }, Stop: func() error { return nil },
	}
	if !c.Serve {
		return region, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	door := grpcapi.New(grpcapi.Config{Service: service})
	door.SetServing(true)
	done := make(chan error, 1)
	go func() { done <- door.Serve(l) }()
	region.Client = l.Addr().String()
	region.Stop = func() error {
		door.Stop(context.Background())
		return <-done
	}
	return region, nil
}

// memory is an Opener that keeps what was written while a test runs.
type memory struct {
	mu     sync.Mutex
	stores map[string]*memkv.Store
	open   int
	fail   error // of the next openings
}

func (m *memory) opener(_ context.Context, dir string, _ Options) (*client.DB, func() error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, nil, m.fail
	}
	if m.stores == nil {
		m.stores = map[string]*memkv.Store{}
	}
	if m.stores[dir] == nil {
		m.stores[dir] = memkv.New()
	}
	m.open++
	return client.New(settling{m.stores[dir].Node(1, "eu")}), func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.open--
		return nil
	}, nil
}

// settling says that all that it has shown is settled.
type settling struct{ kv.Service }

func (s settling) Status(ctx context.Context) (kv.Status, error) {
	status, err := s.Service.Status(ctx)
	status.Settled = status.Exposed
	return status, err
}

func tiny(t *testing.T) (*Env, *memory) {
	t.Helper()
	m := &memory{}
	self, err := os.Executable()
	require.NoError(t, err)
	return &Env{
		Scale: Scale{Rounds: 1, Slice: 5 * time.Millisecond, Keys: 20, Many: 100, Adds: 50, Elements: 40,
			Sustain: 50 * time.Millisecond, Settle: time.Second, Checked: 80,
			Trip: time.Millisecond},
		Open: m.opener, Dir: t.TempDir(), Self: []string{self, "child"}, Etcd: []string{self, "child", "etcd"},
		Logf: t.Logf,
	}, m
}

func TestEveryBenchmarkGivesItsFigures(t *testing.T) {
	want := map[string]int{"adds-unsynced": 3, "adds-synced": 2, "hot-counter": 2, "large-set": 3, "rpc": 1, "replication": 3,
		"catch-up": 1, "size-set": 1, "size-set-whole": 1, "size-counter": 1, "reopen": 1, "wide": 11,
		"strong": 6, "strong-wide": 4, "strong-beside": 6, "checking": 17}
	e, m := tiny(t)
	counts := map[string]int{}
	for _, f := range Run(t.Context(), e, All()) {
		if f.Benchmark == "replication-bytes" {
			require.ErrorContains(t, f.Err, "does not go through the relay", "the fake regions have no stream")
			continue
		}
		require.NoError(t, f.Err, f.Benchmark)
		require.NotEmpty(t, f.What)
		require.NotEmpty(t, f.Unit)
		require.Positive(t, f.Rounds)
		counts[f.Benchmark]++
	}
	for name, n := range want {
		require.Equal(t, n, counts[name], name)
	}
	require.Positive(t, counts["reads-cached"])
	require.Positive(t, counts["reads-uncached"])
	require.Zero(t, m.open, "every database was stopped")
	left, err := os.ReadDir(e.Dir)
	require.NoError(t, err)
	require.Empty(t, left, "every folder was removed")
}

func TestABenchmarkThatFailsIsALineOfTheTable(t *testing.T) {
	e, m := tiny(t)
	m.fail = errBroken
	e.Self, e.Etcd = []string{"/nonexistent/command"}, []string{"/nonexistent/etcd"}
	figures := Run(t.Context(), e, All())
	require.Len(t, figures, len(All()))
	for _, f := range figures {
		require.Error(t, f.Err, f.Benchmark)
	}
	e.Dir = "/nonexistent/folder"
	require.ErrorContains(t, Run(t.Context(), e, All()[:1])[0].Err, "/nonexistent/folder")
	e.Self = nil
	e.Dir = t.TempDir()
	_, err := rpc(t.Context(), e)
	require.ErrorContains(t, err, "no command")
}

func TestTheEndOfTheContextEndsTheRun(t *testing.T) {
	e, _ := tiny(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Empty(t, Run(ctx, e, All()))
	require.ErrorIs(t, idle(ctx, time.Hour), context.Canceled)
}

// wrongService answers reads with other values than were written.
type wrongService struct{ kv.Service }

func (wrongService) Do(_ context.Context, r kv.Request) (kv.Response, error) {
	return kv.Response{Values: make([]kv.Value, len(r.Queries))}, nil
}

func TestReadsAreChecked(t *testing.T) {
	e, _ := tiny(t)
	e.Open = func(context.Context, string, Options) (*client.DB, func() error, error) {
		return client.New(wrongService{memkv.New().Node(1, "eu")}), func() error { return nil }, nil
	}
	_, err := readsCached(t.Context(), e)
	require.ErrorContains(t, err, "reads 0 in place of 1")
	_, err = hotCounter(t.Context(), e)
	require.ErrorContains(t, err, "the counter reads 0 in place of")
	_, err = largeSet(t.Context(), e)
	require.ErrorContains(t, err, "paging found 0 elements of 40")
}

func TestWhatDoesNotSettleIsAnError(t *testing.T) {
	e, _ := tiny(t)
	e.Open = func(context.Context, string, Options) (*client.DB, func() error, error) {
		return client.New(memkv.New().Node(1, "eu")), func() error { return nil }, nil
	}
	_, err := sizeOfCounters(t.Context(), e)
	require.ErrorContains(t, err, "settled up to {} and not to")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Error(t, sweep(t.Context(), "/dev/null", nil))
}

func TestAStopThatFailsFailsTheBenchmark(t *testing.T) {
	e, m := tiny(t)
	e.Open = func(ctx context.Context, dir string, o Options) (*client.DB, func() error, error) {
		db, _, err := m.opener(ctx, dir, o)
		return db, func() error { return errors.New("will not stop") }, err
	}
	_, err := addsSynced(t.Context(), e)
	require.ErrorContains(t, err, "will not stop")
	_, err = readsCached(t.Context(), e)
	require.ErrorContains(t, err, "will not stop")
}
