package txn

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

func TestOneShotWritesAreReadBack(t *testing.T) {
	r := fresh(t)
	for _, d := range []kv.Durability{kv.DurabilityLocal, kv.DurabilityApplied} {
		t.Run(d.String(), func(t *testing.T) {
			key := d.String()
			receipt := r.must(kv.Options{Durability: d}, increment(key, 5), increment(key, -2), assign(key, "x"))
			require.Equal(t, clock.Region(1), receipt.Commit.Region)
			resp, err := r.Do(t.Context(), kv.Request{
				Options: kv.Options{Token: receipt.Token},
				Queries: []kv.Query{{Object: object(key, crdt.Counter)}, {Object: object(key, crdt.RegisterLWW)}},
			})
			require.NoError(t, err)
			require.Equal(t, int64(3), resp.Values[0].Int)
			require.Equal(t, "x", string(resp.Values[1].Bytes))
			require.True(t, resp.Receipt.Snapshot.Includes(receipt.Token.Seen), "the session reads its own write")
		})
	}
}

func TestCommitIsAboveItsSnapshot(t *testing.T) {
	r := fresh(t)
	before := r.must(kv.Options{}, increment("a", 1))
	after := r.must(kv.Options{Token: before.Token}, increment("a", 1))
	require.Greater(t, after.Commit.Time, before.Commit.Time)
	require.True(t, after.Snapshot.Includes(clock.VectorOf(clock.Entry(before.Commit))))
}

func TestInteractiveTransactionSeesItsOwnWritesOnly(t *testing.T) {
	r := fresh(t)
	r.must(kv.Options{}, increment("n", 10), assign("s", "old"), element(kv.VerbAdd, "set", "a"), element(kv.VerbAdd, "set", "b"))
	id, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	r.must(kv.Options{}, increment("n", 100)) // after the snapshot

	field := kv.Path{{Name: "f", Type: crdt.Counter}}
	ops := []kv.Op{
		increment("n", 1), assign("s", "mine"), assign("s", "new"),
		element(kv.VerbRemove, "set", "a"), element(kv.VerbAdd, "set", "c"), element(kv.VerbAdd, "set", "d"), element(kv.VerbRemove, "set", "d"),
		{Object: object("m", crdt.Map), Path: field, Verb: kv.VerbIncrement, Int: 4},
	}
	got, err := r.Execute(t.Context(), id, ops, []kv.Query{
		{Object: object("n", crdt.Counter)}, {Object: object("s", crdt.RegisterLWW)}, {Object: object("set", crdt.SetAW)},
		{Object: object("m", crdt.Map)}, {Object: object("set", crdt.SetAW), Kind: kv.QueryContains, Data: []byte("a")},
		{Object: object("m", crdt.Map), Path: field},
	})
	require.NoError(t, err)
	require.Equal(t, int64(11), got[0].Int)
	require.Equal(t, "new", string(got[1].Bytes))
	require.Equal(t, []string{"b", "c"}, texts(got[2].List))
	require.Equal(t, int64(4), got[3].Fields[0].Value.Int)
	require.False(t, got[4].Flag)
	require.Equal(t, int64(4), got[5].Int)

	require.Equal(t, "old", r.text("s"), "nobody else sees it before the commit")
	receipt, err := r.Commit(t.Context(), id, kv.Options{})
	require.NoError(t, err)
	require.False(t, receipt.Commit.IsZero())
	require.Equal(t, "new", r.text("s"))
	require.Equal(t, int64(111), r.counter("n"))
	require.Equal(t, []string{"b", "c"}, r.members("set"))
}

func TestRemovalInATransactionKeepsLaterWrites(t *testing.T) {
	r := fresh(t)
	name, tags := kv.Path{{Name: "name", Type: crdt.RegisterLWW}}, kv.Path{{Name: "tags", Type: crdt.SetAW}}
	m := object("m", crdt.Map)
	r.must(kv.Options{},
		kv.Op{Object: m, Path: name, Verb: kv.VerbAssign, Data: []byte("old")},
		kv.Op{Object: m, Path: tags, Verb: kv.VerbAdd, Data: []byte("t1")})
	id, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	got, err := r.Execute(t.Context(), id, []kv.Op{
		{Object: m, Path: tags, Verb: kv.VerbAdd, Data: []byte("gone")},
		{Object: m, Verb: kv.VerbReset},
		{Object: m, Path: tags, Verb: kv.VerbAdd, Data: []byte("t2")},
	}, []kv.Query{{Object: m}})
	require.NoError(t, err)
	check := func(v kv.Value) {
		require.Len(t, v.Fields, 1)
		require.Equal(t, "tags", v.Fields[0].Name)
		require.Equal(t, []string{"t2"}, texts(v.Fields[0].Value.List))
	}
	check(got[0])
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.NoError(t, err)
	check(r.read(kv.Query{Object: m}))
}

func TestRefusedCallsBufferNothing(t *testing.T) {
	r := fresh(t)
	id, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	_, err = r.Execute(t.Context(), id, []kv.Op{increment("n", 1), element(kv.VerbAdd, "s", strings.Repeat("x", kv.MaxElement+1))}, nil)
	require.ErrorIs(t, err, kv.ErrTooLarge)
	_, err = r.Execute(t.Context(), id, make([]kv.Op, kv.MaxOps+1), nil)
	require.ErrorIs(t, err, kv.ErrTooLarge)
	_, err = r.Execute(t.Context(), id, nil, make([]kv.Query, kv.MaxQueries+1))
	require.ErrorIs(t, err, kv.ErrTooLarge)
	got, err := r.Execute(t.Context(), id, nil, []kv.Query{{Object: object("n", crdt.Counter)}})
	require.NoError(t, err)
	require.False(t, got[0].Present)
	receipt, err := r.Commit(t.Context(), id, kv.Options{})
	require.NoError(t, err)
	require.True(t, receipt.Commit.IsZero())
}

func TestTransactionBounds(t *testing.T) {
	r := fresh(t)
	id, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	big := strings.Repeat("x", kv.MaxElement)
	for i := range MaxTxnBytes/kv.MaxElement - 1 {
		_, err = r.Execute(t.Context(), id, []kv.Op{assign(fmt.Sprint(i), big)}, nil)
		require.NoError(t, err)
	}
	_, err = r.Execute(t.Context(), id, []kv.Op{assign("last", big)}, nil)
	require.ErrorIs(t, err, kv.ErrTooLarge)
	require.NoError(t, r.Abort(t.Context(), id))
	require.NoError(t, r.Abort(t.Context(), id), "aborting again is no error")
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.ErrorIs(t, err, kv.ErrNotFound)
}

func TestReadOnlyTransactionRefusesWrites(t *testing.T) {
	r := fresh(t)
	id, _, err := r.Begin(t.Context(), kv.Begin{ReadOnly: true})
	require.NoError(t, err)
	_, err = r.Execute(t.Context(), id, []kv.Op{increment("n", 1)}, nil)
	require.ErrorIs(t, err, kv.ErrInvalid)
}

func TestAbandonedTransactionsEnd(t *testing.T) {
	r := fresh(t)
	id, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	old, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	require.Equal(t, 2, r.shell.openSnapshots())
	for r.now < MaxLifetime {
		r.now += IdleTimeout
		_, err = r.Execute(t.Context(), old, nil, nil)
		require.NoError(t, err)
		r.Expire()
	}
	_, err = r.Execute(t.Context(), id, nil, nil)
	require.ErrorIs(t, err, kv.ErrNotFound, "unused")
	r.now++
	r.Expire()
	_, err = r.Execute(t.Context(), old, nil, nil)
	require.ErrorIs(t, err, kv.ErrNotFound, "used, but too old")
	require.Zero(t, r.shell.openSnapshots())
}

func TestOpenTransactionsAreBounded(t *testing.T) {
	r := fresh(t)
	for range MaxOpenTxns {
		_, _, err := r.Begin(t.Context(), kv.Begin{})
		require.NoError(t, err)
	}
	_, _, err := r.Begin(t.Context(), kv.Begin{})
	require.ErrorIs(t, err, kv.ErrOverloaded)
	require.Equal(t, MaxOpenTxns, r.shell.openSnapshots())
}

func TestCompareAndSetIsAtomicWithinTheRegion(t *testing.T) {
	r := fresh(t)
	cas := func(old, value string) error {
		op := assign("r", value)
		op.Expect = &kv.Expectation{Absent: old == "", Value: []byte(old)}
		_, err := r.Do(t.Context(), kv.Request{Ops: []kv.Op{op, increment("wins", 1)}})
		return err
	}
	require.ErrorIs(t, cas("x", "y"), kv.ErrAborted)
	require.NoError(t, cas("", "0"))
	require.ErrorIs(t, cas("", "1"), kv.ErrAborted)

	// Many at once, each from the value that it read: every value is replaced once.
	var wg sync.WaitGroup
	const callers, rounds = 8, 20
	for range callers {
		wg.Go(func() {
			for done := 0; done < rounds; {
				resp, err := r.Do(context.Background(), kv.Request{Queries: []kv.Query{{Object: object("r", crdt.RegisterLWW)}}})
				if err != nil {
					t.Error(err)
					return
				}
				old := string(resp.Values[0].Bytes)
				var n int
				fmt.Sscan(old, &n)
				if err := cas(old, fmt.Sprint(n+1)); err == nil {
					done++
				} else if kv.KindOf(err) != kv.KindAborted {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, fmt.Sprint(callers*rounds), r.text("r"))
	require.Equal(t, int64(callers*rounds+1), r.counter("wins"), "what failed wrote nothing of its transaction")
}

func TestCompareAndSetOnOwnWrite(t *testing.T) {
	r := fresh(t)
	id, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	op := assign("r", "b")
	op.Expect = &kv.Expectation{Value: []byte("a")}
	_, err = r.Execute(t.Context(), id, []kv.Op{assign("r", "a")}, nil)
	require.NoError(t, err)
	_, err = r.Execute(t.Context(), id, []kv.Op{op}, nil)
	require.NoError(t, err)
	_, err = r.Execute(t.Context(), id, []kv.Op{op}, nil)
	require.ErrorIs(t, err, kv.ErrAborted)
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.NoError(t, err)
	require.Equal(t, "b", r.text("r"))
}

func TestConditionOutlivesTheWriteItCameWith(t *testing.T) {
	r := fresh(t)
	op := assign("r", "b")
	op.Expect = &kv.Expectation{Value: []byte("not there")}
	_, err := r.Do(t.Context(), kv.Request{Ops: []kv.Op{op, assign("r", "c")}})
	require.ErrorIs(t, err, kv.ErrAborted)
	require.Equal(t, "", r.text("r"))
}

func TestConditionsAreForRegistersOnly(t *testing.T) {
	r := fresh(t)
	op := increment("n", 1)
	op.Expect = &kv.Expectation{Absent: true}
	_, err := r.Do(t.Context(), kv.Request{Ops: []kv.Op{op}})
	require.ErrorIs(t, err, kv.ErrInvalid)
	op = assign("r", "x")
	op.Expect = &kv.Expectation{Value: make([]byte, kv.MaxElement+1)}
	_, err = r.Do(t.Context(), kv.Request{Ops: []kv.Op{op}})
	require.ErrorIs(t, err, kv.ErrTooLarge)
}

func TestCounterOverflowIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	r := fresh(t)
	r.must(kv.Options{}, increment("n", 1<<62))
	for _, n := range []int64{1 << 40, math.MaxInt64} {
		_, err := r.Do(t.Context(), kv.Request{Ops: []kv.Op{increment("n", n), assign("r", "x")}})
		require.ErrorIs(t, err, kv.ErrBound)
		require.ErrorContains(t, err, `key "n" in "default": an increment by`, "which of the transaction's counters it was")
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	}
	require.Equal(t, int64(1<<62), r.counter("n"))
	require.Equal(t, "", r.text("r"))
}

func TestOverflowCountsTheTransactionsOwnIncrements(t *testing.T) {
	r := fresh(t)
	_, err := r.Do(t.Context(), kv.Request{Ops: []kv.Op{increment("n", 1<<62), increment("n", 1<<62)}})
	require.ErrorIs(t, err, kv.ErrBound)
	r.must(kv.Options{}, increment("n", 1<<62), increment("n", -1<<62))
	r.must(kv.Options{}, increment("n", 1<<62))
	r.must(kv.Options{}, kv.Op{Object: object("n", crdt.Counter), Verb: kv.VerbReset}, increment("n", 1<<62))
	require.Equal(t, int64(1<<62), r.counter("n"))
}

func TestMapOfRegistersKeepsItsBytes(t *testing.T) {
	r := fresh(t)
	m := object("m", crdt.Map)
	var ops []kv.Op
	for i := range 200 {
		ops = append(ops, kv.Op{Object: m, Path: kv.Path{{Name: fmt.Sprintf("f%03d", i), Type: crdt.RegisterLWW}}, Verb: kv.VerbAssign, Data: fmt.Appendf(nil, "value %03d", i)})
	}
	r.must(kv.Options{}, ops...)
	v := r.read(kv.Query{Object: m})
	require.Len(t, v.Fields, 200)
	for i, f := range v.Fields {
		require.Equal(t, fmt.Sprintf("value %03d", i), string(f.Value.Bytes))
	}
}

func TestTokensOfOthersAreRefused(t *testing.T) {
	r := fresh(t)
	seen := clock.VectorOf(clock.Entry{Region: 1, Time: 5})
	_, err := r.Do(t.Context(), kv.Request{Options: kv.Options{Token: kv.Token{Cluster: kv.ClusterID{9}, Seen: seen}}})
	require.ErrorIs(t, err, kv.ErrInvalid)
	_, err = r.Do(t.Context(), kv.Request{Options: kv.Options{Level: 9}})
	require.ErrorIs(t, err, kv.ErrLevelRefused)
	_, err = r.Do(t.Context(), kv.Request{Options: kv.Options{Durability: 9}})
	require.ErrorIs(t, err, kv.ErrLevelRefused)
}

func TestTokenIsWaitedForUntilTheDeadline(t *testing.T) {
	r := fresh(t)
	token := kv.Token{Cluster: testCluster, Seen: clock.VectorOf(clock.Entry{Region: 2, Time: 5})}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	q := []kv.Query{{Object: object("n", crdt.Counter)}}
	_, err := r.Do(ctx, kv.Request{Options: kv.Options{Token: token}, Queries: q})
	require.ErrorIs(t, err, kv.ErrStale)
	_, err = r.Do(t.Context(), kv.Request{Options: kv.Options{Token: token, Wait: time.Millisecond}, Queries: q})
	require.ErrorIs(t, err, kv.ErrStale, "or for as long as the call says")
	resp, err := r.Do(t.Context(), kv.Request{Options: kv.Options{Token: token, Level: kv.LevelEventual}, Queries: q})
	require.NoError(t, err, "eventual does not wait")
	require.True(t, resp.Receipt.Token.Seen.Includes(token.Seen), "and loses nothing of the session")
}

func TestRefusedNodeWritesNothingAndReads(t *testing.T) {
	r := fresh(t)
	r.must(kv.Options{}, increment("n", 1))
	r.Refuse(kv.Errorf(kv.KindReadOnly, "recovering"))
	_, err := r.Do(t.Context(), kv.Request{Ops: []kv.Op{increment("n", 1)}})
	require.ErrorIs(t, err, kv.ErrReadOnly)
	require.Equal(t, int64(1), r.counter("n"))
	r.Refuse(nil)
	r.must(kv.Options{}, increment("n", 1))
	require.Equal(t, int64(2), r.counter("n"))
	require.Zero(t, r.shell.openSnapshots())
}

func TestStoppedNodeRefusesCommits(t *testing.T) {
	r := fresh(t)
	require.NoError(t, r.Stop(t.Context()))
	_, err := r.Do(t.Context(), kv.Request{Ops: []kv.Op{increment("n", 1)}})
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
}

func TestManyCallersLoseNothing(t *testing.T) {
	r := fresh(t)
	var wg sync.WaitGroup
	const callers, each = 16, 100
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				o := kv.Options{Durability: kv.Durability(i % 2)}
				if _, err := r.Do(context.Background(), kv.Request{Options: o, Ops: []kv.Op{increment("all", 1), increment(fmt.Sprint(c), 1)}}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	r.must(kv.Options{}, assign("fence", "durable"))
	require.Equal(t, int64(callers*each), r.counter("all"))
	require.Equal(t, int64(each), r.counter("3"))
	stats := r.Stats()
	require.Equal(t, uint64(callers*each+1), stats.Commits)
	var groups uint64
	for _, n := range stats.GroupSizes {
		groups += n
	}
	require.Equal(t, stats.Groups, groups)
	require.Zero(t, stats.Queued)
	require.Zero(t, r.shell.openSnapshots())
}
