package storage

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// timers are those of a Config: they go off when the test says so.
type timers struct {
	mu  sync.Mutex
	set map[*func()]time.Duration
}

func (m *timers) after(d time.Duration, f func()) (stop func() bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.set == nil {
		m.set = make(map[*func()]time.Duration)
	}
	m.set[&f] = d
	return func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		_, waiting := m.set[&f]
		delete(m.set, &f)
		return waiting
	}
}

// fire sets off the timers of a duration and returns how many there were.
func (m *timers) fire(d time.Duration) (n int) {
	m.mu.Lock()
	var due []*func()
	for f, of := range m.set {
		if of == d {
			due = append(due, f)
			delete(m.set, f)
		}
	}
	m.mu.Unlock()
	for _, f := range due {
		(*f)()
	}
	return len(due)
}

// await is fire once there is a timer: the goroutine that sets it may only be starting.
func (m *timers) await(d time.Duration) {
	for m.fire(d) == 0 {
		runtime.Gosched()
	}
}

const (
	testSyncDelay = 7 * time.Millisecond
	testTidy      = 11 * time.Millisecond
)

// TestDueSyncIsNeverBehindAChunk has a sync come due while removals of many chunks are pending. The
// next batch must be the sync.
func TestDueSyncIsNeverBehindAChunk(t *testing.T) {
	for name, sets := range map[string]int{"few removals": 1, "as many as may be pending": PendingRemovals + 1} {
		t.Run(name, func(t *testing.T) {
			var clk timers
			s, err := Open(Config{FS: vfs.NewMem(), Dir: "store", SyncDelay: testSyncDelay, After: clk.after, RemovalLeaves: 1})
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			elements := 500 / sets * sets
			elements = max(elements, 2*sets)
			fillOps(t, s, elements, func(i int) kv.Op {
				return kv.Op{Object: setObject(fmt.Sprint(i % sets)), Verb: kv.VerbAdd, Data: element(i)}
			})
			s.cfg.hold.Store(true)
			before := clock.VectorOf(clock.Entry{Region: 1, Time: s.Applied(lane(1))})
			a := &author{lane: lane(1), last: s.Applied(lane(1))}
			var resets []kv.Op
			for i := range sets {
				resets = append(resets, kv.Op{Object: setObject(fmt.Sprint(i)), Verb: kv.VerbReset})
			}
			r, enc := a.group(t, before, resets...)

			written, vouched := uint64(0), make(chan uint64, 2)
			applied := make(chan struct{})
			first := &counted{s: s, vouched: vouched, applied: func() { close(applied) }, build: func(*Batch) error { return nil }}
			require.NoError(t, s.Submit(t.Context(), first))
			<-applied
			second := &counted{s: s, vouched: vouched, build: func(b *Batch) error {
				require.Equal(t, 1, clk.fire(testSyncDelay), "the first job waits for its sync")
				s.cfg.hold.Store(false)
				written = b.state.number
				return b.Apply(r, enc)
			}}
			require.NoError(t, s.Submit(t.Context(), second))
			require.Equal(t, []uint64{written + 1, written + 1}, []uint64{<-vouched, <-vouched}, "chunks came first")
			for s.Stats().PendingRemoval > 0 {
				do(t, s, func(*Batch) error { return nil })
			}
			require.Greater(t, s.counts.batches.Load(), written+uint64(elements-2*sets), "there were chunks to wait for")
		})
	}
}

// counted is a job that tells which batch the witness vouched for when it became durable.
type counted struct {
	s       *Store
	build   func(*Batch) error
	applied func()
	vouched chan uint64
}

func (c *counted) Build(b *Batch) error { return c.build(b) }
func (c *counted) Applied() {
	if c.applied != nil {
		c.applied()
	}
}
func (c *counted) Durable(error) {
	c.s.testimony.mu.Lock()
	defer c.s.testimony.mu.Unlock()
	c.vouched <- c.s.testimony.number
}

// TestUnreadableLeavesPauseARemovalAndNothingElse has the disk refuse to read for a while.
func TestUnreadableLeavesPauseARemovalAndNothingElse(t *testing.T) {
	for name, sets := range map[string]int{"one removal": 1, "as many as may be pending": PendingRemovals} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			reads := &failing{err: syscall.EIO, kind: func(op errorfs.Op) bool {
				return op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst")
			}}
			reads.left.Store(-1)
			var clk timers
			var complaints atomic.Int32
			config := Config{FS: errorfs.Wrap(mem, reads), Dir: "store", SyncDelay: time.Hour, TidyInterval: testTidy, After: clk.after,
				CacheBytes: 1, MemTableBytes: 256 << 10, RemovalLeaves: 1, hold: new(atomic.Bool), Logf: func(format string, args ...any) {
					if strings.Contains(format, "a removal is not carried on") {
						complaints.Add(1)
					}
				}}
			config.hold.Store(true)
			s, err := Open(config)
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			fillOps(t, s, 4*sets, func(i int) kv.Op {
				return kv.Op{Object: setObject(fmt.Sprint(i % sets)), Verb: kv.VerbAdd, Data: element(i)}
			})
			require.NoError(t, s.db.Flush())
			// A compaction in the background would meet the failing reads too, and end the store.
			require.NoError(t, s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false))
			before := clock.VectorOf(clock.Entry{Region: 1, Time: s.Applied(lane(1))})
			a := &author{lane: lane(1), last: s.Applied(lane(1))}
			var resets []kv.Op
			for i := range sets {
				resets = append(resets, kv.Op{Object: setObject(fmt.Sprint(i)), Verb: kv.VerbReset})
			}
			r, enc := a.group(t, before, resets...)
			do(t, s, func(b *Batch) error {
				reads.left.Store(-1)
				err := b.Apply(r, enc)
				reads.left.Store(0)
				return err
			})
			s.cfg.hold.Store(false)
			for range 10 * JobsPerChore {
				do(t, s, func(*Batch) error { return nil })
			}
			require.Equal(t, int32(1), complaints.Load(), "tried once")
			require.Equal(t, sets, s.Stats().PendingRemoval)
			require.NoError(t, s.Failed(), "the disk may recover")
			clk.await(testTidy)
			for complaints.Load() < 2 {
				do(t, s, func(*Batch) error { return nil })
			}
			require.Equal(t, sets, s.Stats().PendingRemoval)
			reads.left.Store(-1)
			clk.await(testTidy)
			for s.Stats().PendingRemoval > 0 {
				do(t, s, func(*Batch) error { return nil })
			}
			require.Equal(t, int32(2), complaints.Load())
			require.Zero(t, countPresent(t, s, clock.VectorOf(clock.Entry{Region: 1, Time: r.Time})))
		})
	}
}

// TestEveryJobIsAnsweredOnceWhenPebbleIsStranded strands a goroutine of Pebble's at any moment of a
// stream of jobs, and closes the store.
func TestEveryJobIsAnsweredOnceWhenPebbleIsStranded(t *testing.T) {
	for round := range 200 {
		s, err := Open(Config{FS: vfs.NewMem(), Dir: "store", SyncDelay: time.Millisecond})
		require.NoError(t, err)
		const senders = 4
		var submitted, answered atomic.Int64
		started := make(chan struct{}, senders)
		var done sync.WaitGroup
		for n := range senders {
			done.Go(func() {
				for i := 0; ; i++ {
					j := &answeredJob{sync: (n+i)%2 == 0, answered: &answered}
					if err := s.Submit(context.Background(), j); err != nil {
						return
					}
					submitted.Add(1)
					if i == round%17 {
						started <- struct{}{}
					}
				}
			})
		}
		for range senders {
			<-started
		}
		go s.strand(errors.New("a test strands")) // never returns
		done.Wait()                               // submitters are refused from now on
		require.ErrorIs(t, s.Close(), kv.ErrReadOnly)
		require.Equal(t, submitted.Load(), answered.Load(), "round %d", round)
	}
}

type answeredJob struct {
	sync     bool
	times    atomic.Int32
	answered *atomic.Int64
}

func (j *answeredJob) Build(b *Batch) error {
	b.sync = j.sync
	return nil
}
func (j *answeredJob) Applied() {}
func (j *answeredJob) Durable(error) {
	if j.times.Add(1) == 1 {
		j.answered.Add(1)
		return
	}
	j.answered.Add(1 << 32) // twice
}

// TestJobThatPebbleNeverReturnsFromIsAnswered strands Pebble while the writer is at a job.
func TestJobThatPebbleNeverReturnsFromIsAnswered(t *testing.T) {
	s, err := Open(Config{FS: vfs.NewMem(), Dir: "store"})
	require.NoError(t, err)
	busy, free := make(chan struct{}), make(chan struct{})
	at := &work{durable: make(chan error, 2), build: func(*Batch) error { close(busy); <-free; return nil }}
	behind := &work{durable: make(chan error, 2), build: func(*Batch) error { return nil }}
	require.NoError(t, s.Submit(t.Context(), at))
	<-busy
	require.NoError(t, s.Submit(t.Context(), behind))
	go s.strand(errors.New("a test strands"))
	err = <-at.durable
	require.ErrorIs(t, err, kv.ErrReadOnly)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	err = <-behind.durable
	require.ErrorIs(t, err, kv.ErrReadOnly)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	require.ErrorIs(t, s.Submit(t.Context(), behind), kv.ErrReadOnly)
	require.ErrorIs(t, s.Close(), kv.ErrReadOnly)
	close(free)
	<-s.written
	require.Empty(t, at.durable, "answered once")
	require.Empty(t, behind.durable, "answered once")
}

// TestEveryCloseWaitsForTheFirst: whoever closed a store may open its folder.
func TestEveryCloseWaitsForTheFirst(t *testing.T) {
	s, err := Open(Config{FS: vfs.NewMem(), Dir: "store"})
	require.NoError(t, err)
	var done sync.WaitGroup
	var one sync.Mutex
	for range 8 {
		done.Go(func() {
			err := s.Close()
			one.Lock()
			defer one.Unlock()
			lock, e := lockFolder(&s.cfg)
			if err = errors.Join(err, e); err == nil {
				err = lock.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
}

// asked is a context that tells when somebody is about to wait for its end.
type asked struct {
	context.Context
	once sync.Once
	when chan struct{}
}

func (a *asked) Done() <-chan struct{} {
	a.once.Do(func() { close(a.when) })
	return a.Context.Done()
}

// TestAJobMaySubmitWhileCloseWaitsForASender has a job submit another from its Build, as a group does for
// those that it leaves behind, while the queue is full, a sender waits for room in it, and Close for the
// sender.
func TestAJobMaySubmitWhileCloseWaitsForASender(t *testing.T) {
	s, err := Open(Config{FS: vfs.NewMem(), Dir: "store"})
	require.NoError(t, err)
	ended, end := context.WithCancel(t.Context())
	end()
	building, goOn := make(chan struct{}), make(chan struct{})
	nothing := func() *work {
		return &work{build: func(*Batch) error { return nil }, durable: make(chan error, 1)}
	}
	var inside error
	first := nothing()
	first.build = func(*Batch) error {
		close(building)
		<-goOn
		inside = s.Submit(ended, nothing())
		return nil
	}
	require.NoError(t, s.Submit(t.Context(), first))
	<-building
	for range QueuedJobs {
		require.NoError(t, s.Submit(t.Context(), nothing()))
	}
	require.ErrorIs(t, s.Submit(ended, nothing()), kv.ErrDeadline, "the queue is full")

	last, waits := nothing(), &asked{Context: t.Context(), when: make(chan struct{})}
	sent, closed := make(chan error, 1), make(chan error, 1)
	go func() { sent <- s.Submit(waits, last) }()
	<-waits.when
	go func() { closed <- s.Close() }()
	for s.submit.TryRLock() { // until Close waits for it
		s.submit.RUnlock()
		runtime.Gosched()
	}
	close(goOn)
	require.NoError(t, <-closed)
	require.NoError(t, <-sent, "it was submitted before")
	require.NoError(t, <-last.durable)
	require.NoError(t, <-first.durable)
	require.ErrorIs(t, inside, kv.ErrUnavailable)
	require.ErrorIs(t, s.Submit(t.Context(), nothing()), kv.ErrUnavailable)
}
