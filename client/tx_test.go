package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

func counter(t *testing.T, db *DB, key string) int64 {
	t.Helper()
	n, err := db.Counter(key).Get(ctx)
	require.NoError(t, err)
	return n
}

func TestUpdateSeesItsOwnWritesAndNobodyElseDoes(t *testing.T) {
	db, _, _ := newTestDB()
	err := db.Update(ctx, func(tx *Tx) error {
		require.NoError(t, tx.Counter("c").Add(ctx, 2))
		n, err := tx.Counter("c").Get(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 2, n)
		require.Zero(t, counter(t, db, "c"))
		for key, err := range tx.Keys(ctx, "") {
			require.NoError(t, err)
			require.EqualValues(t, "c", key.Key)
		}
		return tx.Bucket("b").Counter("c").Add(ctx, 1)
	})
	require.NoError(t, err)
	require.EqualValues(t, 2, counter(t, db, "c"))
}

func TestUpdateWithoutReadsIsOneRoundTrip(t *testing.T) {
	db, f, _ := newTestDB()
	var r Receipt
	require.NoError(t, db.Update(ctx, func(tx *Tx) error {
		for i := range 10 {
			require.NoError(t, tx.Counter(fmt.Sprint(i)).Add(ctx, 1))
		}
		return nil
	}, WithReceipt(&r), Durable(Applied)))
	require.Equal(t, []string{"Do"}, f.calls)
	require.False(t, r.Commit.IsZero())
	require.Equal(t, DurabilityApplied, f.reqs[0].Options.Durability)
}

func TestUpdateWithoutCallsSendsNothing(t *testing.T) {
	db, f, _ := newTestDB()
	require.NoError(t, db.Update(ctx, func(*Tx) error { return nil }))
	require.NoError(t, db.View(ctx, func(*Tx) error { return nil }))
	require.Empty(t, f.calls)
}

func TestUpdateBuffersWritesUntilARead(t *testing.T) {
	db, f, _ := newTestDB()
	data := []byte("before")
	require.NoError(t, db.Update(ctx, func(tx *Tx) error {
		require.NoError(t, tx.Register("r").Set(ctx, data))
		copy(data, "XXXXXX") // the caller's slice is the caller's again
		s, err := tx.Register("r").GetString(ctx)
		require.Equal(t, "before", s)
		return err
	}))
	require.Equal(t, []string{"Begin", "Execute", "Commit"}, f.calls)
}

func TestLargeUpdatesGoInParts(t *testing.T) {
	db, f, _ := newTestDB()
	require.NoError(t, db.Update(ctx, func(tx *Tx) error {
		for i := range 6 {
			if err := tx.Register(fmt.Sprint(i)).SetString(ctx, strings.Repeat("x", 400<<10)); err != nil {
				return err
			}
		}
		return nil
	}))
	require.Equal(t, []string{"Begin", "Execute", "Execute", "Commit"}, f.calls)
}

func TestUpdateAbortsOnEveryWayOut(t *testing.T) {
	read := func(tx *Tx) { _, err := tx.Counter("c").Get(ctx); require.NoError(t, err) }
	t.Run("error", func(t *testing.T) {
		db, _, node := newTestDB()
		mine := errors.New("mine")
		require.Equal(t, mine, db.Update(ctx, func(tx *Tx) error { read(tx); return mine }))
		require.Zero(t, node.OpenTxns())
	})
	t.Run("panic", func(t *testing.T) {
		db, _, node := newTestDB()
		require.PanicsWithValue(t, "mine", func() {
			_ = db.Update(ctx, func(tx *Tx) error { read(tx); panic("mine") })
		})
		require.Zero(t, node.OpenTxns())
	})
	t.Run("cancelled", func(t *testing.T) {
		db, _, node := newTestDB()
		ctx, cancel := context.WithCancel(ctx)
		err := db.Update(ctx, func(tx *Tx) error { read(tx); cancel(); return ctx.Err() })
		require.ErrorIs(t, err, context.Canceled)
		require.Zero(t, node.OpenTxns())
	})
	t.Run("view", func(t *testing.T) {
		db, f, node := newTestDB()
		require.NoError(t, db.View(ctx, func(tx *Tx) error { read(tx); return nil }))
		require.Equal(t, []string{"Begin", "Execute", "Abort"}, f.calls)
		require.Zero(t, node.OpenTxns())
	})
}

func TestTransactionsRefuseWhatTheyCannotDo(t *testing.T) {
	db, _, _ := newTestDB()
	var leaked *Tx
	require.NoError(t, db.Update(ctx, func(tx *Tx) error {
		leaked = tx
		require.ErrorIs(t, tx.Counter("c").Add(ctx, 1, Eventual()), ErrInvalid)
		_, err := tx.Counter("c").Get(ctx, Eventual())
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorIs(t, first(tx.Keys(ctx, "", Eventual())), ErrInvalid)
		require.ErrorIs(t, first(tx.Set("s").Elements(ctx, Eventual())), ErrInvalid)
		return nil
	}))
	require.ErrorIs(t, leaked.Counter("c").Add(ctx, 1), ErrInvalid)
	require.NoError(t, db.View(ctx, func(tx *Tx) error {
		require.ErrorIs(t, tx.Counter("c").Add(ctx, 1), ErrInvalid)
		return nil
	}))
	require.ErrorIs(t, db.Update(ctx, func(tx *Tx) error {
		_, err := tx.Do(ctx, make([]Op, kv.MaxOps+1), nil)
		return err
	}), ErrTooLarge)
	require.Zero(t, counter(t, db, "c"))
}

// A refused operation would otherwise be missing from a transaction that commits.
func TestRefusedOperationBreaksTheTransaction(t *testing.T) {
	db, _, node := newTestDB()
	err := db.Update(ctx, func(tx *Tx) error {
		require.NoError(t, tx.Counter("c").Add(ctx, 1))
		_, err := tx.Do(ctx, []Op{{Object: Object{Bucket: "b", Key: "k", Type: 99}, Verb: kv.VerbReset}}, nil)
		require.NoError(t, err, "it is only buffered")
		_, err = tx.Counter("c").Get(ctx)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorIs(t, tx.Counter("d").Add(ctx, 1), ErrInvalid, "broken from now on")
		return nil
	})
	require.ErrorIs(t, err, ErrInvalid)
	require.Zero(t, counter(t, db, "c"))
	require.Zero(t, node.OpenTxns())
}

func TestRefusedQueryLeavesTheTransactionWhole(t *testing.T) {
	db, _, _ := newTestDB()
	require.NoError(t, db.Update(ctx, func(tx *Tx) error {
		_, err := tx.Do(ctx, nil, []Query{{Object: Object{Bucket: "b", Key: "k", Type: 99}}})
		require.ErrorIs(t, err, ErrInvalid)
		return tx.Counter("c").Add(ctx, 1)
	}))
	require.EqualValues(t, 1, counter(t, db, "c"))
}

func TestUpdateRunsAgainWhenAComparisonFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, _, _ := newTestDB()
		runs := 0
		err := db.Update(ctx, func(tx *Tx) error {
			runs++
			old, err := tx.Register("r").Get(ctx)
			if err != nil {
				return err
			}
			if runs < 3 { // somebody else is faster
				require.NoError(t, db.Register("r").SetString(ctx, fmt.Sprint("other", runs)))
			}
			return tx.Register("r").CompareAndSet(ctx, old, append(old, '!'))
		})
		require.NoError(t, err)
		require.Equal(t, 3, runs)
		s, err := db.Register("r").GetString(ctx)
		require.NoError(t, err)
		require.Equal(t, "other2!", s)
	})
}

func TestRunsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, _, _ := newTestDB()
		runs := 0
		err := db.Update(ctx, func(tx *Tx) error {
			runs++
			_, err := tx.Register("r").Get(ctx)
			require.NoError(t, err)
			return tx.Register("r").CompareAndSet(ctx, []byte("never"), nil)
		})
		require.ErrorIs(t, err, ErrAborted)
		require.Equal(t, maxRuns, runs)

		ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		runs = 0
		err = db.Update(ctx, func(tx *Tx) error {
			runs++
			_, err := tx.Register("r").Get(ctx)
			require.NoError(t, err)
			return tx.Register("r").CompareAndSet(ctx, []byte("never"), nil)
		})
		require.ErrorIs(t, err, ErrAborted)
		require.Equal(t, 1, runs, "the context ended in the pause")
	})
}

// Without a read of its own, another run would compare with the same value again.
func TestBlindComparisonFailsAtOnce(t *testing.T) {
	db, _, _ := newTestDB()
	runs := 0
	err := db.Update(ctx, func(tx *Tx) error {
		runs++
		return tx.Register("r").CompareAndSet(ctx, []byte("never"), nil)
	})
	require.ErrorIs(t, err, ErrAborted)
	require.Equal(t, 1, runs)
}

func TestTransactionRunsAgainWhenItsNodeFailed(t *testing.T) {
	for _, method := range []string{"Execute", "Commit"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, f, _ := newTestDB()
				f.before = only(method, 1, down)
				require.NoError(t, db.Update(ctx, func(tx *Tx) error {
					n, err := tx.Counter("c").Get(ctx)
					if err != nil {
						return fmt.Errorf("reading: %w", err)
					}
					return tx.Counter("c").Add(ctx, n+1)
				}))
				require.EqualValues(t, 1, counter(t, db, "c"))
				require.Equal(t, 2, f.count("Begin"))
			})
		})
	}
}

func TestCommitOfUnknownOutcomeDoesNotRunAgain(t *testing.T) {
	db, f, _ := newTestDB()
	f.after = only("Commit", 1, cut)
	runs := 0
	err := db.Update(ctx, func(tx *Tx) error {
		runs++
		if _, err := tx.Counter("c").Get(ctx); err != nil {
			return err
		}
		return tx.Counter("c").Add(ctx, 1)
	})
	require.Equal(t, OutcomeUnknown, OutcomeOf(err))
	require.Equal(t, 1, runs)
	require.EqualValues(t, 1, counter(t, db, "c"))
}

func fill(t *testing.T, db *DB, n int) {
	t.Helper()
	var elements []string
	for i := range n {
		elements = append(elements, fmt.Sprintf("%05d", i))
	}
	require.NoError(t, db.Set("s").AddAll(ctx, elements))
	require.NoError(t, db.Update(ctx, func(tx *Tx) error {
		for i := range n {
			if err := tx.Map("m").Counter(fmt.Sprintf("%05d", i)).Add(ctx, int64(i)); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, db.Update(ctx, func(tx *Tx) error {
		for i := range n {
			if err := tx.Bucket("many").Counter(fmt.Sprintf("k%05d", i)).Add(ctx, 1); err != nil {
				return err
			}
		}
		return nil
	}))
}

func TestIteratorsPageAtOneSnapshot(t *testing.T) {
	const n = 2*pageSize + 5
	db, f, node := newTestDB()
	fill(t, db, n)
	i := 0
	for e, err := range db.Set("s").Elements(ctx) {
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%05d", i), e)
		if i == 0 { // written after the snapshot
			require.NoError(t, db.Set("s").Add(ctx, "zzz"))
		}
		i++
	}
	require.Equal(t, n, i)
	require.Equal(t, 3, f.count("Execute"))
	i = 0
	for field, err := range db.Map("m").Fields(ctx) {
		require.NoError(t, err)
		require.EqualValues(t, i, field.Value.Int)
		i++
	}
	require.Equal(t, n, i)
	i = 0
	for o, err := range db.Bucket("many").Keys(ctx, "k0") {
		require.NoError(t, err)
		require.EqualValues(t, fmt.Sprintf("k%05d", i), o.Key)
		if i == 0 {
			require.NoError(t, db.Bucket("many").Counter("k0zzz").Add(ctx, 1))
		}
		i++
	}
	require.Equal(t, n, i)
	require.Equal(t, 3, f.count("Keys"))
	require.Zero(t, node.OpenTxns())
}

// A field that several pages share comes whole, whatever is below it.
func TestFieldsOfSeveralPagesAreJoined(t *testing.T) {
	const n, size = 9, 600_000
	db, f, _ := newTestDB()
	m := db.Map("m")
	element := func(i int) string { return fmt.Sprintf("%05d", i) + strings.Repeat("x", size) }
	for i := range n {
		require.NoError(t, m.Map("b").Set("s").Add(ctx, element(i)))
		require.NoError(t, m.Map("b").Map("t").Register(fmt.Sprintf("r%d", i)).SetString(ctx, element(i)))
	}
	require.NoError(t, m.Counter("a").Add(ctx, 1))
	require.NoError(t, m.Counter("c").Add(ctx, 2))
	var names []string
	for field, err := range m.Fields(ctx) {
		require.NoError(t, err)
		names = append(names, field.Name)
		if field.Name != "b" {
			continue
		}
		require.Len(t, field.Value.Fields, 2)
		require.Len(t, field.Value.Fields[0].Value.List, n)
		require.Len(t, field.Value.Fields[1].Value.Fields, n)
		for i := range n {
			require.Equal(t, element(i), string(field.Value.Fields[0].Value.List[i]))
			require.Equal(t, element(i), string(field.Value.Fields[1].Value.Fields[i].Value.Bytes))
		}
	}
	require.Equal(t, []string{"a", "b", "c"}, names)
	require.Greater(t, f.count("Execute"), 5)

	i := 0
	for e, err := range m.Map("b").Set("s").Elements(ctx) {
		require.NoError(t, err)
		require.Equal(t, element(i), e)
		i++
	}
	require.Equal(t, n, i, "a nested set has pages of its own")
}

func TestIteratorsEndEarly(t *testing.T) {
	db, f, node := newTestDB()
	fill(t, db, pageSize+1)
	for range db.Set("s").Elements(ctx) {
		break
	}
	for range db.Map("m").Fields(ctx) {
		break
	}
	for range db.Bucket("many").Keys(ctx, "") {
		break
	}
	require.Equal(t, 2, f.count("Execute"))
	require.Equal(t, 1, f.count("Keys"))
	require.PanicsWithValue(t, "mine", func() {
		for range db.Set("s").Elements(ctx) {
			panic("mine")
		}
	})
	require.Zero(t, node.OpenTxns())
}

func TestIteratorsEndWithAnError(t *testing.T) {
	db, f, _ := newTestDB()
	fill(t, db, pageSize+1)
	fail := func(method string) {
		f.before = func(name string, _ int) error {
			if name == method && f.counts[method]%2 == 0 { // the second page
				return down()
			}
			return nil
		}
		f.counts[method] = 0
	}
	check := func(n int, err error) {
		t.Helper()
		require.ErrorIs(t, err, ErrUnavailable)
		require.Equal(t, pageSize, n)
	}
	fail("Execute")
	check(last(db.Set("s").Elements(ctx)))
	fail("Execute")
	check(last(db.Map("m").Fields(ctx)))
	fail("Keys")
	check(last(db.Bucket("many").Keys(ctx, "")))
}

// last is an iterator's final error, and how many items came before it.
func last[T any](seq func(func(T, error) bool)) (n int, err error) {
	for _, err := range seq {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func TestIteratorsReadWithinATransaction(t *testing.T) {
	db, f, _ := newTestDB()
	require.NoError(t, db.Update(ctx, func(tx *Tx) error {
		require.NoError(t, tx.Set("s").AddAll(ctx, []string{"a", "b"}))
		var got []string
		for e, err := range tx.Set("s").Elements(ctx) {
			require.NoError(t, err)
			got = append(got, e)
		}
		require.Equal(t, []string{"a", "b"}, got)
		require.NoError(t, tx.Counter("own").Add(ctx, 1))
		n := 0
		for _, err := range tx.Keys(ctx, "") {
			require.NoError(t, err)
			n++
		}
		require.Equal(t, 2, n)
		return nil
	}))
	require.Equal(t, 1, f.count("Begin"))
	require.Equal(t, 1, f.count("Commit"))
}

func TestListingThatCannotBeginOrFlush(t *testing.T) {
	db, f, _ := newTestDB()
	f.before = always(func() error { return kv.Errorf(kv.KindTooOld, "no") })
	require.ErrorIs(t, db.Update(ctx, func(tx *Tx) error {
		require.NoError(t, tx.Counter("c").Add(ctx, 1))
		return first(tx.Keys(ctx, ""))
	}), ErrTooOld)
	require.ErrorIs(t, db.Update(ctx, func(tx *Tx) error { return first(tx.Keys(ctx, "")) }), ErrTooOld)
}

func TestCommitReportsAFailedFlush(t *testing.T) {
	db, _, node := newTestDB()
	err := db.Update(ctx, func(tx *Tx) error {
		if _, err := tx.Counter("c").Get(ctx); err != nil {
			return err
		}
		_, err := tx.Do(ctx, []Op{{Object: Object{Bucket: "b", Key: "k", Type: 99}, Verb: kv.VerbReset}}, nil)
		return err
	})
	require.ErrorIs(t, err, ErrInvalid)
	require.Zero(t, node.OpenTxns())
}
