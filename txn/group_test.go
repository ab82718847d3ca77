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
)

// A group depends on all that its transactions have seen, and holds stability back to what all of them have.
func TestAGroupJoinsDependenciesAndMeetsSnapshots(t *testing.T) {
	vector := func(one, two clock.Timestamp) clock.Vector {
		return clock.VectorOf(clock.Entry{Region: 1, Time: one}, clock.Entry{Region: 2, Time: two})
	}
	var g group
	var rec kv.Record
	for _, s := range []clock.Vector{vector(10, 20), vector(30, 5), vector(20, 10)} {
		g.join(&rec, s)
		g.ready = append(g.ready, result{})
	}
	require.Equal(t, vector(30, 20), rec.Deps)
	require.Equal(t, vector(10, 5), g.meet)
}

// together commits requests so that all are queued before a group forms, and returns their errors.
func (r *region) together(requests ...[]kv.Op) []error {
	r.t.Helper()
	h := held{make(chan struct{}), make(chan struct{})}
	require.NoError(r.t, r.store.Submit(r.t.Context(), h))
	<-h.begun
	answers := make([]chan error, len(requests))
	for i, ops := range requests {
		answers[i] = make(chan error, 1)
		go func() { _, err := r.try(kv.Attempt{}, ops...); answers[i] <- err }()
		require.Eventually(r.t, func() bool { return r.Stats().Queued == i+1 }, 10*time.Second, time.Millisecond)
	}
	close(h.release)
	out := make([]error, len(requests))
	for i := range answers {
		out[i] = <-answers[i]
	}
	return out
}

// Transactions of one group don't see each other: of two large increments that pass the range together
// the second waits for the next group.
func TestLargeIncrementsAtOnceNeverPassTheRangeTogether(t *testing.T) {
	r := fresh(t)
	most := []kv.Op{increment("n", 1<<62)}
	errs := r.together([]kv.Op{increment("m", 1)}, most, most)
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
	require.ErrorIs(t, errs[2], kv.ErrBound)
	require.EqualValues(t, 1<<62, r.counter("n"))
	errs = r.together([]kv.Op{increment("o", 1<<32)}, []kv.Op{increment("o", 1<<62)})
	require.NoError(t, errs[0])
	require.ErrorIs(t, errs[1], kv.ErrBound, "small ones count too")
}

// A record whose time is ahead, within the bound: who has seen it commits above it. It is a peer's whose
// clock is ahead, or a strong commit, which counted on from such a one: a number with any low bits.
func TestCommitIsAboveARecordFromAClockAhead(t *testing.T) {
	for _, from := range []clock.Lane{{Region: 2}, {}} {
		r := fresh(t)
		r.shell.do(func(m *causal.Machine) { require.NoError(t, m.AddRegion(from)) })
		at := clock.At(clock.WallOf(time.Now().Add(400 * time.Millisecond)))
		if from.Region == 0 {
			at += 4095
		}
		r.hear(&kv.Record{Header: kv.Header{Lane: from, Kind: kv.RecordGroup, Time: at}}, assign("x", "theirs"))
		require.Equal(t, "theirs", r.text("x"))
		got := r.must(kv.Options{}, assign("x", "mine"))
		require.Greater(t, got.Commit.Time, at)
		require.Equal(t, "mine", r.text("x"))
		require.LessOrEqual(t, got.Commit.Time, r.MayHaveReserved(), "what a start without this disk begins above")
		require.Equal(t, got.Commit.Time&63, clock.Timestamp(0), "its own slot")
	}
}

// hear applies and exposes a record of one transaction, which has seen nothing.
func (r *region) hear(rec *kv.Record, ops ...kv.Op) {
	r.t.Helper()
	var ws writeSet
	require.NoError(r.t, ws.addAll(ops, nil))
	txn := kv.Txn{Effects: ws.effects(nil, generations{})}
	if ws.overrides {
		txn.Snapshot = clock.Vector{}
	}
	rec.Txns = []kv.Txn{txn}
	j := &applyJob{rec, make(chan error, 1)}
	require.NoError(r.t, r.store.Submit(r.t.Context(), j))
	require.NoError(r.t, <-j.done)
	r.shell.do(func(m *causal.Machine) { m.RemoteApplied(rec.Header) })
}

// A commit more than the queue holds is refused, and the caller may come again.
func TestTheQueueOfCommitsIsBounded(t *testing.T) {
	c := &Committer{queue: make([]*commit, MaxQueued), kicked: true, ids: newOpTable()}
	err := c.enqueue(newCommit(kv.Attempt{}, kv.DurabilityLocal))
	require.ErrorIs(t, err, kv.ErrOverloaded)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	require.Positive(t, err.(*kv.Error).RetryAfter)
	require.Len(t, c.queue, MaxQueued)
	c.queue = c.queue[1:]
	require.NoError(t, c.enqueue(newCommit(kv.Attempt{}, kv.DurabilityLocal)))
}

// A transaction that wrote nothing leaves nothing behind when it commits.
func TestCommitOfNothingClosesItsSnapshot(t *testing.T) {
	r := fresh(t)
	for _, readOnly := range []bool{true, false} {
		id, _, err := r.Begin(t.Context(), kv.Begin{ReadOnly: readOnly})
		require.NoError(t, err)
		require.Equal(t, 1, r.shell.openSnapshots())
		_, err = r.Commit(t.Context(), id, kv.Options{})
		require.NoError(t, err)
		require.Zero(t, r.shell.openSnapshots())
		require.Zero(t, r.OpenTxns())
	}
}

// A read-only transaction holds back this node's horizon only, so it may live longer.
func TestReadOnlyTransactionsLiveLonger(t *testing.T) {
	r := fresh(t)
	id, _, err := r.Begin(t.Context(), kv.Begin{ReadOnly: true})
	require.NoError(t, err)
	for r.now < MaxReadOnlyAge {
		r.now += IdleTimeout
		require.NoError(t, r.execute(id), "after %s", r.now)
		r.Expire()
	}
	require.NoError(t, r.execute(id), "used, and no older than it may get")
	r.now++
	r.Expire()
	require.ErrorIs(t, r.execute(id), kv.ErrNotFound)
	require.Zero(t, r.shell.openSnapshots())
}

// A comparison on what the transaction itself has removed from above is decided by that, however the
// removal came about and however many writes there are.
func TestCompareAndSetAfterTheTransactionsOwnRemoval(t *testing.T) {
	for _, others := range []int{0, 2 * fewWrites} {
		r := fresh(t)
		r.must(kv.Options{}, fieldAssign("m", "f", "old"))
		removal := kv.Op{Object: object("m", crdt.Map), Verb: kv.VerbReset}
		cas := fieldAssign("m", "f", "new")
		cas.Expect = &kv.Expectation{Value: []byte("old")}
		ops := []kv.Op{removal}
		for i := range others {
			ops = append(ops, increment(fmt.Sprint(i), 1))
		}
		id := r.begin()
		require.NoError(t, r.execute(id, ops...))
		require.ErrorIs(t, r.execute(id, cas), kv.ErrAborted)
		cas.Expect = &kv.Expectation{Absent: true}
		require.NoError(t, r.execute(id, cas))
		_, err := r.Commit(t.Context(), id, kv.Options{})
		require.NoError(t, err)
		require.Equal(t, "new", string(r.read(kv.Query{Object: object("m", crdt.Map), Path: cas.Path}).Bytes))
	}
}

// lostMeanwhile is Snapshots whose waits end when a crash elsewhere has taken back what they wait for.
type lostMeanwhile struct {
	Snapshots
	lose func()
}

func (l lostMeanwhile) Wait(context.Context, clock.Vector, bool) error { l.lose(); return nil }

// A session is told that what it has seen is lost also when that is heard of while it waits.
func TestLossIsNoticedAfterTheWaitToo(t *testing.T) {
	r := fresh(t)
	two := clock.Lane{Region: 2}
	r.shell.do(func(m *causal.Machine) { require.NoError(t, m.AddRegion(two)) })
	token := kv.Token{Cluster: testCluster, Seen: clock.VectorOf(clock.Entry{Region: 2, Time: 1000 << 12})}
	r.snapshots = lostMeanwhile{r.shell, func() {
		rec := &kv.Record{Header: kv.Header{Lane: two, Kind: kv.RecordVoid, Time: 2000 << 12}, Void: kv.Interval{From: 500 << 12, To: 1500 << 12}}
		j := &applyJob{rec, make(chan error, 1)}
		require.NoError(t, r.store.Submit(t.Context(), j))
		require.NoError(t, <-j.done)
	}}
	_, err := r.Do(t.Context(), kv.Request{Options: kv.Options{Token: token}, Ops: []kv.Op{increment("n", 1)}})
	require.ErrorIs(t, err, kv.ErrLost)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	r.snapshots = r.shell
	require.Zero(t, r.counter("n"))
}
