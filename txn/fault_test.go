package txn

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// badDisk fails every sync once it is armed.
type badDisk struct{ armed atomic.Bool }

func (b *badDisk) String() string { return "bad disk" }

func (b *badDisk) MaybeError(op errorfs.Op) error {
	sync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
	if sync && b.armed.Load() {
		return syscall.EIO
	}
	return nil
}

func TestRetryAfterAFailedSyncIsNotAnsweredFromMemory(t *testing.T) {
	disk := &badDisk{}
	r := startOn(t, errorfs.Wrap(vfs.NewCrashableMem(), disk), 7)
	defer func() { _ = r.store.Close() }() // it fails, as the disk does
	r.must(kv.Options{}, increment("n", 1))
	disk.armed.Store(true)
	id := kv.OpID{9}
	_, err := r.try(first(id), increment("n", 1))
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	for range 2 {
		_, err = r.try(again(id, time.Second), increment("n", 1))
		require.Error(t, err)
		require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
		_, err = r.Outcome(t.Context(), kv.OutcomeRequest{Attempt: again(id, time.Second)})
		require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	}
	_, err = r.try(first(kv.OpID{10}), increment("n", 1))
	require.ErrorIs(t, err, kv.ErrReadOnly, "later writes are refused, and do not hang")
}

func TestConditionSeesEarlierWritesOfItsCall(t *testing.T) {
	r := fresh(t)
	cas := func(expect, value string) kv.Op {
		op := assign("x", value)
		op.Expect = &kv.Expectation{Value: []byte(expect)}
		return op
	}
	_, err := r.try(kv.Attempt{}, assign("x", "a"), cas("wrong", "c"))
	require.ErrorIs(t, err, kv.ErrAborted)
	require.Equal(t, "", r.text("x"))
	_, err = r.try(kv.Attempt{}, assign("x", "a"), cas("a", "b"), cas("b", "c"))
	require.NoError(t, err)
	require.Equal(t, "c", r.text("x"))
}

func TestOverwrittenWritesOfATransactionAreDropped(t *testing.T) {
	r := fresh(t)
	id, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	for i := range 1000 {
		_, err = r.Execute(t.Context(), id, []kv.Op{assign("x", string(rune('a'+i%26))), increment("n", 1), element(kv.VerbAdd, "s", "e"), element(kv.VerbRemove, "s", "e")}, nil)
		require.NoError(t, err)
	}
	open, err := r.open.get(id)
	require.NoError(t, err)
	require.Equal(t, 1002, open.writes.live)
	require.Less(t, open.writes.bytes, 1002*20)
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.NoError(t, err)
	require.Equal(t, int64(1000), r.counter("n"))
	require.Equal(t, string(rune('a'+999%26)), r.text("x"))
	require.Empty(t, r.members("s"))
}

func TestRefusedRetryIsFinal(t *testing.T) {
	r := fresh(t)
	id := kv.OpID{11}
	op := assign("x", "b")
	op.Expect = &kv.Expectation{Value: []byte("a")}
	_, err := r.try(again(id, time.Second), op)
	require.ErrorIs(t, err, kv.ErrAborted)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	r.must(kv.Options{}, assign("x", "a"))
	_, err = r.try(first(id), op) // overtaken by its own retry, which was told no
	require.ErrorIs(t, err, kv.ErrAborted)
	require.Equal(t, "a", r.text("x"))
}

func TestClockStepBetweenTriesHidesNothing(t *testing.T) {
	r := fresh(t)
	step := time.Duration(0)
	r.wall = func() clock.Wall { return wall().Add(step) }
	id := kv.OpID{12}
	_, err := r.try(first(id), increment("n", 1))
	require.NoError(t, err)
	step = time.Minute
	_, err = r.try(again(id, time.Second), increment("n", 1))
	require.NoError(t, err)
	require.Equal(t, int64(1), r.counter("n"))
}

// held is a job that keeps the writer busy until it is released.
type held struct{ begun, release chan struct{} }

func (h held) Build(*storage.Batch) error { close(h.begun); <-h.release; return errNothing }
func (h held) Applied()                   {}
func (h held) Durable(error)              {}

func TestFullQueueOfTheStoreHoldsNoLock(t *testing.T) {
	r := fresh(t)
	h := held{make(chan struct{}), make(chan struct{})}
	require.NoError(t, r.store.Submit(t.Context(), h))
	<-h.begun
	for range storage.QueuedJobs {
		require.NoError(t, r.store.Submit(t.Context(), &laneJob{build: func(*storage.Batch) error { return errNothing }, done: make(chan error, 1)}))
	}
	answered := make(chan error, 1)
	go func() {
		_, err := r.Do(context.Background(), kv.Request{Ops: []kv.Op{increment("n", 1)}})
		answered <- err
	}()
	require.Eventually(t, func() bool { return r.Stats().Queued == 1 }, 10*time.Second, time.Millisecond, "Stats takes the lock")
	close(h.release)
	require.NoError(t, <-answered)
}
