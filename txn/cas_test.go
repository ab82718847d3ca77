package txn

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
	"github.com/theriac-db/theriac/storage"
)

// applyJob writes a record of another region.
type applyJob struct {
	rec  *kv.Record
	done chan error
}

func (j *applyJob) Build(b *storage.Batch) error { b.Sync(); return b.Apply(j.rec, j.rec.Append(nil)) }
func (j *applyJob) Applied()                     {}
func (j *applyJob) Durable(err error)            { j.done <- err }

// receive is the first record of region 2, which has seen nothing, with one transaction.
func (r *region) receive(ops ...kv.Op) {
	two := clock.Lane{Region: 2}
	r.shell.do(func(m *causal.Machine) { require.NoError(r.t, m.AddRegion(two)) })
	r.hear(&kv.Record{Header: kv.Header{Lane: two, Kind: kv.RecordGroup, Time: 1000 << 12}}, ops...)
}

func compareAndSet(key, old, value string) kv.Op {
	op := assign(key, value)
	op.Expect = &kv.Expectation{Absent: old == "", Value: []byte(old)}
	return op
}

// An assignment covers what its snapshot sees. One that was let through because of a newer value would
// be concurrent with that, and whoever removed it would uncover the value.
func TestCompareAndSetAbortsWhenItsSnapshotIsOlder(t *testing.T) {
	r := fresh(t)
	r.must(kv.Options{}, assign("untouched", "old"))
	id, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	again, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	r.receive(assign("x", "old"))
	require.Equal(t, "old", r.text("x"))
	r.must(kv.Options{}, assign("y", "own"))

	_, err = r.Execute(t.Context(), id, []kv.Op{compareAndSet("x", "old", "new"), increment("n", 1)}, nil)
	require.NoError(t, err)
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.ErrorIs(t, err, kv.ErrAborted)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	require.Equal(t, "old", r.text("x"))
	require.Zero(t, r.counter("n"))

	_, err = r.Execute(t.Context(), again, []kv.Op{compareAndSet("y", "own", "new")}, nil)
	require.NoError(t, err)
	_, err = r.Commit(t.Context(), again, kv.Options{})
	require.ErrorIs(t, err, kv.ErrAborted, "the region's own writes are no better")

	// Begun anew it sees the value; a removal that has seen it then leaves nothing.
	id, _, err = r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	_, err = r.Execute(t.Context(), id, []kv.Op{compareAndSet("x", "old", "new"), compareAndSet("untouched", "old", "new")}, nil)
	require.NoError(t, err)
	receipt, err := r.Commit(t.Context(), id, kv.Options{})
	require.NoError(t, err)
	require.True(t, receipt.Token.Seen.At(2) > 0, "what it replaced is a dependency")
	require.Equal(t, "new", r.text("x"))
	r.must(kv.Options{}, kv.Op{Object: object("x", crdt.RegisterLWW), Verb: kv.VerbReset})
	require.False(t, r.read(kv.Query{Object: object("x", crdt.RegisterLWW)}).Present)
}

// A request that reads and compares takes a snapshot of all that is applied: what is not durable yet
// does not make it abort.
func TestCompareAndSetBesideAQuerySeesWhatIsApplied(t *testing.T) {
	r := fresh(t)
	old := ""
	for i := range 50 {
		value := fmt.Sprint(i)
		r.must(kv.Options{Durability: kv.DurabilityApplied}, assign("other", value))
		resp, err := r.Do(t.Context(), kv.Request{
			Options: kv.Options{Durability: kv.Durability(i % 2)},
			Ops:     []kv.Op{compareAndSet("x", old, value)},
			Queries: []kv.Query{{Object: object("x", crdt.RegisterLWW)}, {Object: object("other", crdt.RegisterLWW)}},
		})
		require.NoError(t, err)
		require.Equal(t, old, string(resp.Values[0].Bytes))
		require.Equal(t, value, string(resp.Values[1].Bytes))
		old = value
	}
}

// A broken condition tells of data as a read does: its error names what it was judged by, and by the time
// that it comes that can be read, and lost no more.
func TestBrokenConditionsNameWhatTheyWereJudgedBy(t *testing.T) {
	r := fresh(t)
	most := increment("n", 1<<62)
	for i := range 20 {
		r.must(kv.Options{Durability: kv.DurabilityApplied}, assign("x", fmt.Sprint(i)))
		ahead := r.must(kv.Options{Durability: kv.DurabilityApplied}, kv.Op{Object: object("n", crdt.Counter), Verb: kv.VerbReset}, most)
		op := compareAndSet("x", "none", "y")
		if i%2 == 1 {
			op = most
		}
		_, err := r.Do(t.Context(), kv.Request{Ops: []kv.Op{op}})
		require.Contains(t, []kv.Kind{kv.KindAborted, kv.KindBound}, kv.KindOf(err))
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
		token := kv.TokenOf(err)
		require.Equal(t, testCluster, token.Cluster)
		require.True(t, token.Seen.Includes(clock.VectorOf(clock.Entry(ahead.Commit))))
		require.True(t, r.shell.Exposed().Includes(token.Seen))
	}

	id, began, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	later := r.must(kv.Options{}, assign("x", "later"))
	_, err = r.Execute(t.Context(), id, []kv.Op{compareAndSet("x", "19", "y")}, nil)
	require.NoError(t, err)
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.ErrorIs(t, err, kv.ErrAborted)
	require.True(t, kv.TokenOf(err).Seen.Includes(began.Token.Seen))
	require.True(t, kv.TokenOf(err).Seen.Includes(clock.VectorOf(clock.Entry(later.Commit))))

	// Of a retry the log says that it was judged.
	_, err = r.try(again(kv.OpID{1}, time.Second), compareAndSet("x", "none", "y"))
	require.ErrorIs(t, err, kv.ErrAborted)
	require.True(t, r.shell.Exposed().Includes(kv.TokenOf(err).Seen))
	require.False(t, kv.TokenOf(err).IsZero())
	_, err = r.try(again(kv.OpID{1}, time.Second), compareAndSet("x", "later", "y"))
	require.ErrorIs(t, err, kv.ErrAborted)
	require.True(t, kv.TokenOf(err).IsZero(), "it was not judged again")
	_, err = r.try(kv.Attempt{ID: kv.OpID{2}, Incarnation: 99}, assign("x", "y"))
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.True(t, kv.TokenOf(err).IsZero())
}

// A query that fails on what it has read names its snapshot.
func TestUnreadableAnswersNameTheirSnapshot(t *testing.T) {
	r := fresh(t)
	field := kv.Op{Object: object("m", crdt.Map), Path: kv.Path{{Name: "n", Type: crdt.Counter}}, Verb: kv.VerbIncrement, Int: 1 << 62}
	r.must(kv.Options{}, field)
	r.receive(field)
	resp, err := r.Do(t.Context(), kv.Request{})
	require.NoError(t, err)
	_, err = r.Do(t.Context(), kv.Request{Queries: []kv.Query{{Object: field.Object}}})
	require.ErrorIs(t, err, kv.ErrBound)
	require.True(t, kv.TokenOf(err).Seen.Includes(resp.Receipt.Snapshot))
}

// waitsInVain is Snapshots whose waits fail.
type waitsInVain struct{ Snapshots }

func (waitsInVain) Wait(context.Context, clock.Vector, bool) error {
	return kv.Errorf(kv.KindStale, "not here in time")
}

// Who can't wait for what a condition was judged by does not hear of it.
func TestBrokenConditionsAreToldOnlyWithTheirToken(t *testing.T) {
	r := fresh(t)
	r.must(kv.Options{}, assign("x", "a"))
	r.snapshots = waitsInVain{r.shell}
	_, err := r.try(kv.Attempt{}, compareAndSet("x", "b", "c"))
	require.ErrorIs(t, err, kv.ErrStale)
	require.NotErrorIs(t, err, kv.ErrAborted)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	require.True(t, kv.TokenOf(err).IsZero())
	_, err = r.try(again(kv.OpID{1}, time.Second), compareAndSet("x", "b", "c"))
	require.ErrorIs(t, err, kv.ErrStale)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
}
