package txn

import (
	"fmt"
	"testing"

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
	var ws writeSet
	require.NoError(r.t, ws.addAll(ops, nil))
	txn := kv.Txn{Effects: ws.effects(nil)}
	if ws.overrides {
		txn.Snapshot = clock.Vector{}
	}
	rec := &kv.Record{Header: kv.Header{Lane: two, Kind: kv.RecordGroup, Time: 1000 << 12}, Txns: []kv.Txn{txn}}
	j := &applyJob{rec, make(chan error, 1)}
	require.NoError(r.t, r.store.Submit(r.t.Context(), j))
	require.NoError(r.t, <-j.done)
	r.shell.do(func(m *causal.Machine) { m.RemoteApplied(rec.Header) })
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
