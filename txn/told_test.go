package txn

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// stuckDisk syncs nothing from when it is armed until it is told what comes of it.
type stuckDisk struct {
	armed, told chan struct{}
	comes       error
}

func newStuckDisk() *stuckDisk {
	return &stuckDisk{armed: make(chan struct{}), told: make(chan struct{})}
}

func (d *stuckDisk) String() string { return "stuck disk" }

func (d *stuckDisk) MaybeError(op errorfs.Op) error {
	sync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
	select {
	case <-d.armed:
		if sync {
			<-d.told
			return d.comes
		}
	default:
	}
	return nil
}

func (d *stuckDisk) tell(err error) {
	d.comes = err
	close(d.told)
}

// A query that fails beside a condition has read what is applied, which a crash may take back: the error
// waits for the disk, and its token names nothing that can't be read.
func TestAFailedQueryTellsNothingThatIsNotOnDisk(t *testing.T) {
	disk := newStuckDisk()
	r := startOn(t, errorfs.Wrap(vfs.NewCrashableMem(), disk), 7)
	t.Cleanup(func() { require.NoError(t, r.store.Close()) })
	field := kv.Op{Object: object("m", crdt.Map), Path: kv.Path{{Name: "n", Type: crdt.Counter}}, Verb: kv.VerbIncrement, Int: 1 << 62}
	r.must(kv.Options{}, field)
	r.receive(field) // now no answer holds it
	close(disk.armed)
	applied := clock.VectorOf(clock.Entry(r.must(kv.Options{Durability: kv.DurabilityApplied}, assign("x", "a")).Commit))
	require.False(t, r.shell.Exposed().Includes(applied))
	failed := make(chan error, 1)
	go func() {
		_, err := r.Do(t.Context(), kv.Request{Ops: []kv.Op{compareAndSet("x", "no", "y")}, Queries: []kv.Query{{Object: field.Object}}})
		failed <- err
	}()
	select {
	case err := <-failed:
		require.Fail(t, "it was told of what is not on disk", "%v", err)
	case <-time.After(50 * time.Millisecond):
	}
	disk.tell(nil)
	err := <-failed
	require.ErrorIs(t, err, kv.ErrBound)
	require.True(t, kv.TokenOf(err).Seen.Includes(applied))
	require.True(t, r.shell.Exposed().Includes(kv.TokenOf(err).Seen))
}

// Who asks for what is applied is told at once.
func TestAFailedQueryAtAppliedIsToldAtOnce(t *testing.T) {
	disk := newStuckDisk()
	r := startOn(t, errorfs.Wrap(vfs.NewCrashableMem(), disk), 7)
	t.Cleanup(func() { require.NoError(t, r.store.Close()) })
	field := kv.Op{Object: object("m", crdt.Map), Path: kv.Path{{Name: "n", Type: crdt.Counter}}, Verb: kv.VerbIncrement, Int: 1 << 62}
	r.must(kv.Options{}, field)
	r.receive(field)
	close(disk.armed)
	applied := clock.Entry(r.must(kv.Options{Durability: kv.DurabilityApplied}, assign("x", "a")).Commit)
	_, err := r.Do(t.Context(), kv.Request{
		Options: kv.Options{Durability: kv.DurabilityApplied}, Queries: []kv.Query{{Object: field.Object}},
	})
	require.ErrorIs(t, err, kv.ErrBound)
	require.True(t, kv.TokenOf(err).Seen.Includes(clock.VectorOf(applied)))
	disk.tell(nil)
}

// While too many removals are pending, a commit that brings more is refused, and the others of its group
// are not.
func TestRemovalsThatHaveToWaitTakeNobodyAlong(t *testing.T) {
	r := fresh(t)
	queued := func(a kv.Attempt, ops ...kv.Op) *commit {
		w := newCommit(a, kv.DurabilityLocal)
		w.answer = make(chan result, 1)
		require.NoError(t, w.writes.addAll(ops, nil))
		return w
	}
	reset := kv.Op{Object: object("s", crdt.SetAW), Verb: kv.VerbReset}
	plain, removal := queued(kv.Attempt{}, increment("n", 1)), queued(kv.Attempt{}, increment("n", 1), reset)
	retry := queued(kv.Attempt{ID: kv.OpID{1}, Retry: true}, reset)
	g := &group{c: r.Committer, commits: []*commit{removal, plain, retry}}
	g.dropRemovals()
	require.Len(t, g.commits, 1)
	require.Same(t, plain, g.commits[0])
	refused := (<-removal.answer).err
	require.ErrorIs(t, refused, kv.ErrOverloaded)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(refused))
	var e *kv.Error
	require.ErrorAs(t, refused, &e)
	require.Equal(t, removalsRetry, e.RetryAfter)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf((<-retry.answer).err), "an earlier try may have been made")
}

// Only what keeps an import's progress when it is committed lifts the range of increments.
func TestADeadMarkOfAnImportLiftsNoBound(t *testing.T) {
	mark := kv.Object{Bucket: kv.ImportBucket, Key: "k", Type: crdt.RegisterLWW}
	marks := kv.Object{Bucket: kv.ImportBucket, Key: "s", Type: crdt.SetAW}
	progress := kv.Op{Object: mark, Verb: kv.VerbAssign, Data: []byte("1")}
	beyond := []kv.Op{increment("n", 1<<62), increment("n", 1<<61)}
	for _, c := range []struct {
		ops    []kv.Op
		passes bool
	}{
		{append([]kv.Op{progress}, beyond...), true},
		{append([]kv.Op{{Object: marks, Verb: kv.VerbAdd, Data: []byte("1")}, {Object: marks, Verb: kv.VerbReset}}, beyond...), false},
		{append([]kv.Op{{Object: marks, Verb: kv.VerbReset}}, beyond...), false},
	} {
		_, err := fresh(t).try(kv.Attempt{}, c.ops...)
		if c.passes {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, kv.ErrBound)
		}
	}
}
