package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// met is what a strong transaction fails with that met one which committed at t.
func met(t clock.Timestamp) error {
	return kv.Conflict(kv.Token{Cluster: kv.ClusterID{'m', 'e', 'm', 'k', 'v'}, Seen: clock.VectorOf(clock.Entry{Time: t})}, "another was first")
}

func attempts(reqs []kv.Request) []Attempt {
	var out []Attempt
	for _, req := range reqs {
		out = append(out, req.Options.Attempt)
	}
	return out
}

// The retry must see what the try before it met, and be an operation of its own: the first one is decided.
func TestOneShotsThatMetAnotherAreTriedAgain(t *testing.T) {
	inBubble(t, "routed", func(t *testing.T, r *regions) {
		require.NoError(t, r.db.Counter("n").Add(ctx, 1, Strong()))
		require.NoError(t, r.db.Counter("n").Add(ctx, 1, Strong())) // so that 2 is here
		r.eu.before = func(name string, n int) error {
			if name == "Do" && n > 2 && n < 5 {
				return met(clock.Timestamp(n - 2))
			}
			return nil
		}
		before := len(r.eu.requests())
		s := r.db.Session()
		require.NoError(t, s.Register("r").CompareAndSet(ctx, nil, []byte("x"), Strong()))
		tries := r.eu.requests()[before:]
		require.Len(t, tries, 3)
		ids := map[OpID]bool{}
		for i, req := range tries {
			require.Equal(t, clock.Timestamp(i), req.Options.Token.Seen.At(0), "try %d includes what the last one met", i+1)
			require.False(t, req.Options.Attempt.Retry)
			ids[req.Options.Attempt.ID] = true
		}
		require.Len(t, ids, 3)
		require.GreaterOrEqual(t, s.Token().Seen.At(0), clock.Timestamp(2))
	})
	inBubble(t, "closures that read nothing", func(t *testing.T, r *regions) {
		r.eu.before = only("Do", 2, func() error { return met(0) })
		runs := 0
		require.NoError(t, r.db.Update(ctx, func(tx *Tx) error {
			runs++
			return tx.Register("r").SetString(ctx, "x")
		}, Strong()))
		require.Equal(t, 1, runs, "its writes go again, not the function")
		require.Equal(t, 3, r.eu.count("Do"))
	})
	inBubble(t, "bounded", func(t *testing.T, r *regions) {
		r.eu.before = only("Do", 1000, func() error { return met(0) })
		began := time.Now()
		err := r.db.Counter("n").Add(ctx, 1, Strong())
		require.True(t, kv.IsConflict(err))
		require.Equal(t, OutcomeNotApplied, OutcomeOf(err))
		require.Equal(t, maxConflicts, r.eu.count("Do"))
		require.Greater(t, time.Since(began), maxConflict)
		require.Less(t, time.Since(began), maxConflicts*maxConflict)
	})
	inBubble(t, "the context ends", func(t *testing.T, r *regions) {
		r.eu.before = only("Do", 1000, func() error { return met(0) })
		ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		require.ErrorIs(t, r.db.Counter("n").Add(ctx, 1, Strong()), ErrAborted)
		require.Equal(t, 1, r.eu.count("Do"))
	})
	inBubble(t, "an id of the caller's is decided for good", func(t *testing.T, r *regions) {
		r.eu.before = only("Do", 1, func() error { return met(0) })
		require.ErrorIs(t, r.db.Counter("n").Add(ctx, 1, Strong(), WithOpID(NewOpID())), ErrAborted)
		require.Equal(t, 1, r.eu.count("Do"))
	})
	inBubble(t, "a condition that does not hold is no conflict", func(t *testing.T, r *regions) {
		err := r.db.Register("r").CompareAndSet(ctx, []byte("other"), []byte("x"), Strong())
		require.ErrorIs(t, err, ErrAborted)
		require.Equal(t, 1, r.eu.count("Do"))
	})
	inBubble(t, "tokens of two clusters", func(t *testing.T, r *regions) {
		foreign := kv.Token{Cluster: kv.ClusterID{1}, Seen: clock.VectorOf(clock.Entry{Region: 1, Time: 1})}
		r.eu.before = only("Do", 2, func() error { return kv.Conflict(foreign, "met") })
		s := r.db.Resume(kv.Token{Cluster: kv.ClusterID{2}})
		require.ErrorIs(t, s.Counter("n").Add(ctx, 1, Strong()), ErrAborted)
		require.Equal(t, 1, r.eu.count("Do"))
		require.ErrorIs(t, s.Update(ctx, readAndAdd, Strong()), ErrInvalid, "the node says so")
	})
	inBubble(t, "a snapshot that is too old", func(t *testing.T, r *regions) {
		old := func() error { return kv.Errorf(kv.KindTooOld, "snapshot") }
		r.eu.before = only("Do", 1, old)
		require.NoError(t, r.db.Counter("n").Add(ctx, 1, Strong()))
		r.eu.before = func(name string, n int) error {
			if name == "Do" && n == 3 {
				return old()
			}
			return nil
		}
		require.ErrorIs(t, r.db.Counter("n").Add(ctx, 1, Causal()), ErrTooOld, "only strong transactions begin again by themselves")
	})
}

// begins notes what transactions begin with.
type begins struct {
	*faulty
	mu   sync.Mutex
	with []kv.Options
}

func (b *begins) Begin(ctx context.Context, r kv.Begin) (kv.TxnID, kv.Receipt, error) {
	b.mu.Lock()
	b.with = append(b.with, r.Options)
	b.mu.Unlock()
	return b.faulty.Begin(ctx, r)
}

func TestClosuresThatMetAnotherRunAgain(t *testing.T) {
	inBubble(t, "until they are alone", func(t *testing.T, r *regions) {
		b := &begins{faulty: r.eu}
		r.router.endpoints[0].svc = b
		runs := 0
		require.NoError(t, r.db.Update(ctx, func(tx *Tx) error {
			runs++
			n, err := tx.Counter("n").Get(ctx)
			if err != nil {
				return err
			}
			if runs < 3 { // somebody else is faster
				require.NoError(t, r.db.Counter("n").Add(ctx, 10, Strong()))
			}
			return tx.Register("r").SetString(ctx, fmt.Sprint(n))
		}, Strong()))
		require.Equal(t, 3, runs)
		got, err := r.db.Register("r").GetString(ctx)
		require.NoError(t, err)
		require.Equal(t, "20", got)
		for i, o := range b.with {
			require.EqualValues(t, i, o.Token.Seen.At(0), "run %d includes what the last one met", i+1)
		}
	})
	inBubble(t, "bounded", func(t *testing.T, r *regions) {
		r.eu.before = only("Commit", 1000, func() error { return met(0) })
		runs := 0
		err := r.db.Update(ctx, func(tx *Tx) error {
			runs++
			return readAndAdd(tx)
		}, Strong())
		require.True(t, kv.IsConflict(err))
		require.Equal(t, maxConflicts, runs)
	})
	inBubble(t, "an id of the caller's", func(t *testing.T, r *regions) {
		r.eu.before = only("Commit", 1, func() error { return met(0) })
		require.ErrorIs(t, r.db.Update(ctx, readAndAdd, Strong(), WithOpID(NewOpID())), ErrAborted)
		require.Equal(t, 1, r.eu.count("Begin"))
	})
	inBubble(t, "when the function returns an error", func(t *testing.T, r *regions) {
		none, runs := errors.New("there is none"), 0
		look := func(tx *Tx) error {
			runs++
			if err := tx.Register("r").SetString(ctx, "seen"); err != nil {
				return err
			}
			n, err := tx.Counter("n").Get(ctx)
			switch {
			case err != nil:
				return err
			case runs == 1: // acknowledged, and not yet in the snapshot
				require.NoError(t, r.db.Counter("n").Add(ctx, 1, Strong()))
			}
			if n == 0 {
				return none
			}
			return nil
		}
		require.NoError(t, r.db.Update(ctx, look, Strong(), WithOpID(NewOpID())))
		require.Equal(t, 2, runs, "what the first has read was not the newest")

		r.eu.before = only("Commit", 3, func() error { return kv.Errorf(kv.KindUnavailable, "no majority") })
		err := r.db.Update(ctx, func(tx *Tx) error {
			require.NoError(t, tx.Register("r").SetString(ctx, "lost"))
			_, err := tx.Counter("n").Get(ctx)
			return errors.Join(err, none)
		}, Strong())
		require.ErrorIs(t, err, none, "judged in the end")
		text, err := r.db.Register("r").GetString(ctx)
		require.NoError(t, err)
		require.Equal(t, "seen", text, "nothing of a run that ends with an error is written")
	})
	inBubble(t, "a function's error that can't be judged", func(t *testing.T, r *regions) {
		none, runs := errors.New("there is none"), 0
		r.eu.before = only("Commit", 1000, func() error { return kv.Errorf(kv.KindUnavailable, "no majority") })
		r.us.before = r.eu.before
		look := func(tx *Tx) error {
			runs++
			_, err := tx.Counter("n").Get(ctx)
			return errors.Join(err, none)
		}
		err := r.db.Update(ctx, look, Strong())
		require.ErrorIs(t, err, ErrUnavailable)
		require.NotErrorIs(t, err, none, "nobody takes it for one that is certain")
		require.ErrorContains(t, err, "there is none")
		require.Equal(t, OutcomeNotApplied, OutcomeOf(err))
		require.Equal(t, maxRuns, runs)
		bounded, cancel := context.WithCancel(ctx)
		err = r.db.Update(bounded, func(tx *Tx) error { _ = look(tx); cancel(); return bounded.Err() }, Strong())
		require.Equal(t, context.Canceled, err, "the caller's own")
		require.ErrorIs(t, r.db.Update(ctx, look, Causal()), none)
		require.ErrorIs(t, r.db.View(ctx, look, Strong()), none, "it includes all that was acknowledged")
		require.ErrorIs(t, r.db.Update(ctx, func(*Tx) error { return none }, Strong()), none, "it has read nothing")
	})
	inBubble(t, "also when the function hides the error", func(t *testing.T, r *regions) {
		r.eu.before = only("Execute", 1, func() error { return met(0) })
		require.NoError(t, r.db.Update(ctx, func(tx *Tx) error {
			_ = tx.Counter("n").Add(ctx, 1)
			if _, err := tx.Counter("n").Get(ctx); err != nil {
				return fmt.Errorf("sorry")
			}
			return nil
		}, Strong()))
		require.Equal(t, 2, r.eu.count("Begin"))
	})
	inBubble(t, "views", func(t *testing.T, r *regions) {
		r.eu.before = only("Execute", 1, func() error { return kv.Errorf(kv.KindTooOld, "snapshot") })
		require.NoError(t, r.db.View(ctx, func(tx *Tx) error {
			_, err := tx.Counter("n").Get(ctx)
			return err
		}, Strong()))
		require.Equal(t, 2, r.eu.count("Begin"))
	})
}

// ruled is a node with rules of buckets.
type ruled struct {
	*faulty
	rules *kv.Rules
	begun map[kv.TxnID]kv.Begin
}

func (r *ruled) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	asked := req
	err := r.rules.Request(&asked, 1)
	if err != nil {
		_, _ = r.enter("refused")
		return kv.Response{}, err
	}
	return r.faulty.Do(ctx, asked)
}

func (r *ruled) Begin(ctx context.Context, b kv.Begin) (kv.TxnID, kv.Receipt, error) {
	id, receipt, err := r.faulty.Begin(ctx, b)
	r.begun[id] = b
	return id, receipt, err
}

func (r *ruled) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	begun := r.begun[id]
	if err := r.rules.Within(&begun, ops, queries); err != nil {
		return nil, err
	}
	return r.faulty.Execute(ctx, id, ops, queries)
}

func newRuled(list ...kv.BucketRules) (*DB, *ruled) {
	cfg := newConfig(nil)
	r := &ruled{newFaulty(memkv.New().Node(1, "eu")), kv.NewRules(list), map[kv.TxnID]kv.Begin{}}
	db := newDB(newRouter([]*endpoint{{svc: r}}, cfg.policy), cfg)
	db.routed = true
	return db, r
}

// A write of a bucket that is strong by default works without naming it, and its tries all are strong.
func TestBucketsThatAreStrongByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, r := newRuled(kv.BucketRules{Name: "strong", Levels: []kv.Level{kv.LevelStrong}}, kv.BucketRules{Name: "too", Consistency: at0(LevelStrong)})
		b := db.Bucket("strong")
		var got Receipt
		require.NoError(t, b.Counter("n").Add(ctx, 1, WithReceipt(&got)))
		require.Equal(t, LevelStrong, got.Level)
		require.Equal(t, 1, r.count("refused"))
		for range 3 {
			require.NoError(t, b.Counter("n").Add(ctx, 1))
		}
		require.Equal(t, 1, r.count("refused"), "the client remembers")
		n, err := b.Counter("n").Get(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 4, n)

		ops := []Op{add("strong"), add("too")}
		_, err = db.Do(ctx, ops, nil)
		require.NoError(t, err, "it knows one of them")
		_, err = db.Do(ctx, slices.Concat(ops[1:], []Op{add("plain")}), nil)
		require.NoError(t, err)
		require.Equal(t, 2, r.count("refused"), "and can't tell which of two it was")

		r.rules = kv.NewRules([]kv.BucketRules{{Name: "strong", Levels: []kv.Level{kv.LevelCausal}}})
		require.NoError(t, b.Counter("n").Add(ctx, 1, WithReceipt(&got)), "it forgets when the rules have changed")
		require.Equal(t, LevelCausal, got.Level)
		require.Equal(t, 3, r.count("refused"))
		require.NoError(t, b.Counter("n").Add(ctx, 1))
		require.Equal(t, 3, r.count("refused"))
		require.ErrorIs(t, b.Counter("n").Add(ctx, 1, Strong()), ErrLevelRefused, "what the caller names is kept")
	})
}

func at0(l Level) Consistency { return Consistency{Level: l} }

func add(b kv.Bucket) Op {
	return Op{Object: Object{Bucket: b, Key: "n", Type: TypeCounter}, Verb: kv.VerbIncrement, Int: 1}
}

func TestClosuresRunAtTheLevelThatTheirBucketsNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, r := newRuled(kv.BucketRules{Name: "strong", Levels: []kv.Level{kv.LevelStrong}},
			kv.BucketRules{Name: "fresh", Consistency: Consistency{Level: LevelBounded, Bound: time.Second}})
		for bucket, want := range map[string]Level{"plain": LevelCausal, "fresh": LevelBounded, "strong": LevelStrong} {
			var got Receipt
			runs := 0
			require.NoError(t, db.Update(ctx, func(tx *Tx) error {
				runs++
				if _, err := tx.Bucket(bucket).Counter("n").Get(ctx); err != nil {
					return err
				}
				return tx.Bucket(bucket).Counter("n").Add(ctx, 1)
			}, WithReceipt(&got)))
			require.Equal(t, want, got.Level, bucket)
			require.LessOrEqual(t, runs, 2)
			err := db.Update(ctx, func(tx *Tx) error {
				_, err := tx.Bucket(bucket).Counter("n").Get(ctx)
				return err
			}, Eventual())
			require.Equal(t, bucket == "strong", err != nil, "what the caller names is kept")
		}
		require.Zero(t, r.OpenTxns())
	})
}

// The default of the bucket that is read first is not chosen for those that come later.
func TestClosuresRunAtTheStrongestDefaultOfTheirBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bounded := func(d time.Duration) Consistency { return Consistency{Level: LevelBounded, Bound: d} }
		db, r := newRuled(kv.BucketRules{Name: "hour", Consistency: bounded(time.Hour)}, kv.BucketRules{Name: "second", Consistency: bounded(time.Second)},
			kv.BucketRules{Name: "quorum", Consistency: at0(LevelQuorum)}, kv.BucketRules{Name: "strong", Consistency: at0(LevelStrong)})
		order := []string{"plain", "hour", "second", "quorum", "strong"}
		var got Receipt
		read := func(tx *Tx, list []string) error {
			for _, b := range list {
				if _, err := tx.Bucket(b).Counter("n").Get(ctx); err != nil {
					return fmt.Errorf("reading %s: %w", b, err)
				}
			}
			return nil
		}
		for n := range order {
			list := order[:n+1]
			for range 2 {
				runs := 0
				require.NoError(t, db.Update(ctx, func(tx *Tx) error {
					runs++
					if err := read(tx, list); err != nil {
						return err
					}
					return tx.Bucket(list[0]).Counter("n").Add(ctx, 1)
				}, WithReceipt(&got)))
				require.LessOrEqual(t, runs, n+1)
				want := r.rules.Of(kv.Bucket(order[n])).Default()
				require.Equal(t, want, Consistency{Level: got.Level, Bound: got.Bound})
				require.NoError(t, db.View(ctx, func(tx *Tx) error { return read(tx, list) }, WithReceipt(&got)))
				require.Equal(t, want, Consistency{Level: got.Level, Bound: got.Bound})
				list = slices.Clone(list)
				slices.Reverse(list)
			}
		}
		require.NoError(t, db.View(ctx, func(tx *Tx) error { return read(tx, order) }, Causal(), WithReceipt(&got)))
		require.Equal(t, LevelCausal, got.Level, "what the caller names is kept")
		require.Zero(t, r.OpenTxns())
	})
}

// What reads in pages names no level either.
func TestListingsRunAtTheDefaultOfTheirBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, r := newRuled(kv.BucketRules{Name: "strong", Levels: []kv.Level{kv.LevelStrong}}, kv.BucketRules{Name: "quorum", Consistency: at0(LevelQuorum)})
		for bucket, want := range map[string]Level{"plain": LevelCausal, "quorum": LevelQuorum, "strong": LevelStrong} {
			var got Receipt
			b := db.Bucket(bucket)
			require.NoError(t, b.Set("s").Add(ctx, "e"))
			count := 0
			for e, err := range b.Set("s").Elements(ctx, WithReceipt(&got)) {
				require.NoError(t, err)
				require.Equal(t, "e", e)
				count++
			}
			require.Equal(t, want, got.Level)
			for o, err := range b.Keys(ctx, "", WithReceipt(&got)) {
				require.NoError(t, err)
				require.Equal(t, kv.Key("s"), o.Key)
				count++
			}
			require.Equal(t, want, got.Level)
			require.Equal(t, 2, count)
			for _, err := range b.Keys(ctx, "", Causal()) {
				require.Equal(t, bucket == "strong", err != nil, "what the caller names is kept")
			}
		}
		require.Zero(t, r.OpenTxns())
	})
}

func (r *ruled) Keys(ctx context.Context, req kv.KeysRequest) (kv.KeysPage, error) {
	begun := r.begun[req.Txn]
	if err := r.rules.ListingWithin(&begun, req.Bucket); err != nil {
		return kv.KeysPage{}, err
	}
	return r.faulty.Keys(ctx, req)
}

func (r *ruled) OpenTxns() int { return r.Service.(*memkv.Node).OpenTxns() }

func TestKnownStrongBucketsAreBounded(t *testing.T) {
	var s strongBuckets
	for i := range maxStrong + 10 {
		s.learn(&kv.Request{Ops: []kv.Op{add(kv.Bucket(fmt.Sprint(i)))}}, LevelStrong)
	}
	require.Len(t, *s.known.Load(), maxStrong)
	s.learn(&kv.Request{Ops: []kv.Op{add("a")}, Queries: []kv.Query{{Object: Object{Bucket: "b"}}}}, LevelStrong)
	s.learn(&kv.Request{Queries: []kv.Query{{Object: Object{Bucket: "b"}}}}, LevelStrong)
	require.Len(t, *s.known.Load(), maxStrong)
}
