package txn

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// begin opens a transaction that may write.
func (r *region) begin() kv.TxnID {
	r.t.Helper()
	id, _, err := r.Begin(r.t.Context(), kv.Begin{})
	require.NoError(r.t, err)
	return id
}

func (r *region) execute(id kv.TxnID, ops ...kv.Op) error {
	_, err := r.Execute(r.t.Context(), id, ops, nil)
	return err
}

func field(key, name string, t kv.Type) kv.Op {
	return kv.Op{Object: object(key, crdt.Map), Path: kv.Path{{Name: name, Type: t}}}
}

func fieldAssign(key, name, value string) kv.Op {
	op := field(key, name, crdt.RegisterLWW)
	op.Verb, op.Data = kv.VerbAssign, []byte(value)
	return op
}

// Checked once for each counter, not for each increment: else thousands of them keep the writer, and with
// it all other commits, for many seconds. What is read shows in what is allocated.
func TestLargeIncrementsOfOneCounterAreCheckedTogether(t *testing.T) {
	r := fresh(t)
	const n = 4000
	ops := make([]kv.Op, n)
	for i := range ops {
		ops[i] = increment("n", (1<<33+1)*int64(1-i%2*2))
	}
	ops[0].Int += 5
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r.must(kv.Options{}, ops...)
	runtime.ReadMemStats(&after)
	require.EqualValues(t, 5, r.counter("n"))
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(n*8<<10))
}

// What counts is where large increments take a counter together.
func TestLargeIncrementsAreJudgedByTheirSum(t *testing.T) {
	r := fresh(t)
	r.must(kv.Options{}, increment("n", 1<<62), increment("n", 1<<62), increment("n", -1<<62))
	_, err := r.try(kv.Attempt{}, increment("n", -1<<61), increment("n", 1<<62))
	require.ErrorIs(t, err, kv.ErrBound)
	r.must(kv.Options{}, increment("n", 1<<61), increment("n", -1<<62))
	require.EqualValues(t, 1<<61, r.counter("n"))
	r.must(kv.Options{}, kv.Op{Object: object("n", crdt.Counter), Verb: kv.VerbReset}, increment("n", 1<<62))
	_, err = r.try(kv.Attempt{}, increment("n", 7), increment("n", 1<<40))
	require.ErrorContains(t, err, fmt.Sprintf("by %d takes the counter from %d", 1<<40, 1<<62+7), "small ones are met")
}

// The index of a write set answers what a search from end to end would.
func TestWriteSetFindsItsWrites(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b", "a\x00b"})
	path := rapid.Custom(func(t *rapid.T) kv.Path {
		var p kv.Path
		for range rapid.IntRange(0, 2).Draw(t, "maps") {
			p = append(p, kv.Step{Name: names.Draw(t, "map"), Type: crdt.Map})
		}
		return append(p, kv.Step{Name: names.Draw(t, "field"), Type: rapid.SampledFrom([]kv.Type{crdt.RegisterLWW, crdt.Counter, crdt.Map}).Draw(t, "type")})
	})
	rapid.Check(t, func(t *rapid.T) {
		var set, plain writeSet
		for range rapid.IntRange(1, 40).Draw(t, "operations") {
			op := kv.Op{Object: object(names.Draw(t, "key"), crdt.Map), Path: path.Draw(t, "path"), Verb: kv.VerbReset}
			switch op.Path[len(op.Path)-1].Type {
			case crdt.RegisterLWW:
				op.Verb, op.Data = kv.VerbAssign, []byte("x")
			case crdt.Counter:
				if rapid.Bool().Draw(t, "increment") {
					op.Verb, op.Int = kv.VerbIncrement, 1
				}
			}
			require.NoError(t, set.addAll([]kv.Op{op}, nil))
			plain.at, plain.under = nil, nil
			require.NoError(t, plain.addAll([]kv.Op{op}, nil))
			plain.at, plain.under = nil, nil // it stays small in its own eyes
			require.Equal(t, plain.effects(nil, generations{}), set.effects(nil, generations{}))
			require.Empty(t, set.under[place{op.Object, string(kv.AppendPath(nil, op.Path))}], "a removal looks at what it kills only once")
			require.Equal(t, plain.live, set.live)
			require.Equal(t, plain.bytes, set.bytes)
		}
		leaf := place{object(names.Draw(t, "key"), crdt.Map), string(kv.AppendPath(nil, path.Draw(t, "path")))}
		require.Equal(t, plain.on(leaf), set.on(leaf))
		require.Equal(t, plain.wrote(leaf), set.wrote(leaf))
	})
}

// What later operations have replaced takes no memory, and expected values count.
func TestAnOpenTransactionHoldsNoMoreThanItMay(t *testing.T) {
	r := fresh(t)
	id := r.begin()
	big := strings.Repeat("x", kv.MaxElement)
	for range 3 * MaxTxnBytes / kv.MaxElement {
		require.NoError(t, r.execute(id, assign("r", big)))
	}
	open, err := r.open.get(id)
	require.NoError(t, err)
	for i := range open.writes.writes[:len(open.writes.writes)-1] {
		require.Equal(t, write{dead: true}, open.writes.writes[i])
	}
	require.Less(t, r.open.holds, 2*kv.MaxElement)
	require.NoError(t, r.Abort(t.Context(), id))
	require.Zero(t, r.open.holds)

	id = r.begin()
	for i := range MaxTxnBytes/kv.MaxElement - 1 {
		require.NoError(t, r.execute(id, compareAndSet(fmt.Sprint(i), big, "v"), assign(fmt.Sprint(i), "w")))
	}
	require.ErrorIs(t, r.execute(id, compareAndSet("last", big, "v")), kv.ErrTooLarge)
	require.Greater(t, r.open.holds, MaxTxnBytes-2*kv.MaxElement)
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.ErrorIs(t, err, kv.ErrAborted)
	require.Zero(t, r.open.holds)
}

// MaxOps bounds what a transaction is given from its beginning to its end, whatever becomes of it: so do
// the Go client and its stand-in for tests count, and conditions outlive the writes that they came with.
func TestOperationsOfATransactionAreCountedOnceGiven(t *testing.T) {
	r := fresh(t)
	id := r.begin()
	ops := make([]kv.Op, kv.MaxOps/2)
	for i := range ops {
		ops[i] = fieldAssign("m", fmt.Sprint(i), "v")
		ops[i].Expect = &kv.Expectation{Absent: true}
	}
	require.NoError(t, r.execute(id, ops...))
	require.NoError(t, r.execute(id, kv.Op{Object: object("m", crdt.Map), Verb: kv.VerbReset}))
	require.NoError(t, r.execute(id, ops[:kv.MaxOps/2-1]...))
	err := r.execute(id, assign("r", "x"))
	require.ErrorIs(t, err, kv.ErrTooLarge)
	require.ErrorContains(t, err, "split it")
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.NoError(t, err, "what was refused has changed nothing")
	require.Empty(t, r.text("r"))
	require.Len(t, r.read(kv.Query{Object: object("m", crdt.Map)}).Fields, kv.MaxOps/2-1)
}

// All open transactions of a node together hold no more than so much.
func TestOpenTransactionsTogetherAreBounded(t *testing.T) {
	r := fresh(t)
	full := r.begin()
	one, err := r.open.get(full)
	require.NoError(t, err)
	require.NoError(t, one.hold(MaxOpenBytes-kv.MaxElement))
	id := r.begin()
	big := assign("r", strings.Repeat("x", kv.MaxElement))
	for _, op := range []kv.Op{big, compareAndSet("s", strings.Repeat("x", kv.MaxElement), "v")} {
		err := r.execute(id, op)
		require.ErrorIs(t, err, kv.ErrOverloaded)
		require.ErrorContains(t, err, "try again later")
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	}
	require.NoError(t, r.execute(id, assign("s", "small")), "it goes on")
	r.now += IdleTimeout/2 + 1
	require.NoError(t, r.execute(id))
	r.now += IdleTimeout/2 + 1
	r.Expire()
	require.NoError(t, r.execute(id, big), "who was idle makes room")
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.NoError(t, err)
	require.Equal(t, "small", r.text("s"))
	require.Zero(t, r.open.holds)
}

// What a caller passes in is its own again once the call is back.
func TestExpectationsAreCopied(t *testing.T) {
	r := fresh(t)
	r.must(kv.Options{}, assign("r", "old"))
	id := r.begin()
	op := compareAndSet("r", "old", "new")
	require.NoError(t, r.execute(id, op))
	copy(op.Expect.Value, "xxx")
	op.Expect.Absent = true
	_, err := r.Commit(t.Context(), id, kv.Options{})
	require.NoError(t, err)
	require.Equal(t, "new", r.text("r"))
}

// A call waits for the one before it no longer than its context says, and whoever ends transactions that
// nobody uses does not wait at all.
func TestCallsOfATransactionTakeTurns(t *testing.T) {
	r := fresh(t)
	id := r.begin()
	open, err := r.open.get(id)
	require.NoError(t, err)
	require.NoError(t, open.lock(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Execute(ctx, id, []kv.Op{increment("n", 1)}, nil)
	require.ErrorIs(t, err, kv.ErrDeadline)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	_, err = r.Commit(ctx, id, kv.Options{})
	require.ErrorIs(t, err, kv.ErrDeadline)
	_, err = r.Keys(ctx, kv.KeysRequest{Txn: id, Bucket: kv.DefaultBucket, Limit: 1})
	require.ErrorIs(t, err, kv.ErrDeadline)
	waiting := make(chan error, 1)
	go func() { _, err := r.Execute(t.Context(), id, []kv.Op{increment("n", 1)}, nil); waiting <- err }()

	r.pass(MaxLifetime + 1)
	r.Expire()
	require.Equal(t, 1, r.shell.openSnapshots(), "it is in use")
	open.unlock()
	require.ErrorIs(t, <-waiting, kv.ErrNotFound)
	require.Zero(t, r.shell.openSnapshots())
	require.Zero(t, r.counter("n"))
}

// A node that stops waits for the call under way, until its context ends.
func TestStopWaitsForTheCallsOfTransactions(t *testing.T) {
	r := fresh(t)
	open, err := r.open.get(r.begin())
	require.NoError(t, err)
	require.NoError(t, open.lock(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = r.Stop(ctx) // it may have had no time for its own record either
	require.Equal(t, 1, r.shell.openSnapshots())
	open.unlock()
	require.Zero(t, r.shell.openSnapshots())
}

// The work that keeps a commit out of a group is bounded: else a queue of commits with many conditions
// keeps the writer from all others.
func TestACommitThatDependsOnMuchWaitsForAGroupOfItsOwn(t *testing.T) {
	commitOf := func(ops ...kv.Op) *commit {
		w := newCommit(kv.Attempt{}, kv.DurabilityLocal)
		require.NoError(t, w.writes.addAll(ops, nil))
		return w
	}
	many := make([]kv.Op, kv.MaxOps)
	for i := range many {
		many[i] = compareAndSet(fmt.Sprint(i), "", "v")
	}
	w := commitOf(many...)
	require.False(t, w.conflicts(nil))
	require.False(t, w.conflicts([]*commit{commitOf(assign("r", "x"))}))
	require.True(t, w.conflicts([]*commit{commitOf(assign("r", "x")), commitOf(assign("r", "x"))}), "maxCompared")
	require.True(t, w.conflicts([]*commit{commitOf(assign("0", "x"))}))
}

// Errors say which leaf it was, and what to do.
func TestRefusalsNameTheLeafAndWhatToDo(t *testing.T) {
	r := fresh(t)
	count := field("m", "n", crdt.Counter)
	count.Verb, count.Int = kv.VerbIncrement, 1<<62
	r.must(kv.Options{}, count)
	other := fieldAssign("m", "r", "x")
	other.Expect = &kv.Expectation{Value: []byte("y")}
	readOnly, _, err := r.Begin(t.Context(), kv.Begin{ReadOnly: true})
	require.NoError(t, err)
	do := func(ops ...kv.Op) error { _, err := r.try(kv.Attempt{}, ops...); return err }
	_, queries := r.Do(t.Context(), kv.Request{Queries: make([]kv.Query, kv.MaxQueries+1)})
	_, inTxn := r.Execute(t.Context(), readOnly, nil, make([]kv.Query, kv.MaxQueries+1))
	for _, c := range []struct {
		err  error
		kind kv.Kind
		says []string
	}{
		{do(count), kv.KindBound, []string{`field "n" of key "m" in "default"`, "use a smaller one"}},
		{do(other), kv.KindAborted, []string{`field "r" of key "m" in "default"`, "it has no value", "read it again"}},
		{queries, kv.KindTooLarge, []string{"10001 queries", "ask in several"}},
		{inTxn, kv.KindTooLarge, []string{"10001 queries", "ask in several"}},
		{r.execute(readOnly, count), kv.KindInvalid, []string{"begun read-only", "begin one that may"}},
		{r.execute(4711), kv.KindNotFound, []string{IdleTimeout.String(), MaxLifetime.String(), MaxReadOnlyAge.String(), "begin it again"}},
	} {
		require.Equal(t, c.kind, kv.KindOf(c.err), "%v", c.err)
		for _, s := range c.says {
			require.ErrorContains(t, c.err, s)
		}
	}
}

// A counter that many increments lie on, none of them settled, and that is read, is judged by its value:
// the writer does not copy all its items for each large increment.
func TestLargeIncrementsOfAHotCounterReadItsValueOnly(t *testing.T) {
	r := fresh(t)
	r.receive(assign("r", "x")) // region 2, which says nothing more: nothing settles
	const n = 1000
	for range n {
		r.must(kv.Options{Durability: kv.DurabilityApplied}, increment("hot", 1))
	}
	r.must(kv.Options{}, assign("r", "on disk is what came before"))
	require.EqualValues(t, n, r.counter("hot"))
	before := r.store.Stats().CacheHits
	const checks = 50
	for range checks {
		r.must(kv.Options{}, increment("hot", 1<<33))
	}
	require.EqualValues(t, checks, r.store.Stats().CacheHits-before)
	require.EqualValues(t, n+checks<<33, r.counter("hot"))
	_, err := r.try(kv.Attempt{}, increment("hot", 1<<62))
	require.ErrorIs(t, err, kv.ErrBound)
}
