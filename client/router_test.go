package client

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// regions is a client of two regions that show the same content.
type regions struct {
	db     *DB
	router *router
	eu, us *faulty
	nodes  []*memkv.Node
}

func newRegions() *regions {
	store := memkv.New()
	r := &regions{nodes: []*memkv.Node{store.Node(1, "eu"), store.Node(2, "us")}}
	r.eu, r.us = newFaulty(r.nodes[0]), newFaulty(r.nodes[1])
	cfg := newConfig(nil)
	r.router = newRouter([]*endpoint{{svc: r.eu}, {svc: r.us}}, cfg.policy)
	r.db = newDB(r.router, cfg)
	r.db.routed = true
	return r
}

// inBubble runs a test on synthetic time.
func inBubble(t *testing.T, name string, f func(t *testing.T, r *regions)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, newRegions()) })
	})
}

func TestReadsMoveToTheNextRegion(t *testing.T) {
	inBubble(t, "unavailable", func(t *testing.T, r *regions) {
		r.eu.before = always(down)
		var got Receipt
		_, err := r.db.Counter("c").Get(ctx, WithReceipt(&got))
		require.NoError(t, err)
		require.Equal(t, "us", got.Region)
		_, err = r.db.Counter("c").Get(ctx)
		require.NoError(t, err)
		require.Equal(t, 1, r.eu.count("Do"), "the region that failed is passed over for a while")

		r.eu.before = nil
		time.Sleep(penalty)
		_, err = r.db.Counter("c").Get(ctx, WithReceipt(&got))
		require.NoError(t, err)
		require.Equal(t, "eu", got.Region, "and preferred again after that")
	})
	inBubble(t, "stale", func(t *testing.T, r *regions) {
		r.eu.before = always(func() error { return kv.Errorf(kv.KindStale, "behind") })
		_, err := r.db.Counter("c").Get(ctx)
		require.NoError(t, err)
		_, err = r.db.Counter("c").Get(ctx)
		require.NoError(t, err)
		require.Equal(t, 2, r.eu.count("Do"), "being behind is no fault of the node")
	})
	inBubble(t, "every kind of read", func(t *testing.T, r *regions) {
		r.eu.before = always(down)
		_, err := r.db.Status(ctx)
		require.NoError(t, err)
		_, err = r.db.Digest(ctx, "")
		require.NoError(t, err)
		require.NoError(t, first(r.db.Buckets(ctx)))
		_, err = r.router.Keys(ctx, kv.KeysRequest{Bucket: "b", Limit: 1})
		require.NoError(t, err)
		require.NoError(t, first(r.db.Keys(ctx, "")))
	})
	inBubble(t, "not for errors of the request", func(t *testing.T, r *regions) {
		_, err := r.db.Bucket("").Counter("c").Get(ctx)
		require.ErrorIs(t, err, ErrInvalid)
		require.Zero(t, r.us.count("Do"))
	})
}

func TestRetriesAreBoundedAndPause(t *testing.T) {
	inBubble(t, "by tries", func(t *testing.T, r *regions) {
		r.eu.before, r.us.before = always(down), always(down)
		began := time.Now()
		_, err := r.db.Counter("c").Get(ctx)
		require.ErrorIs(t, err, ErrUnavailable)
		require.Equal(t, defaultTries, r.eu.count("Do")+r.us.count("Do"))
		require.InDelta(t, 6, time.Since(began).Seconds(), 3)
	})
	inBubble(t, "by the context", func(t *testing.T, r *regions) {
		r.eu.before, r.us.before = always(down), always(down)
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		began := time.Now()
		_, err := r.db.Counter("c").Get(ctx)
		require.ErrorIs(t, err, ErrUnavailable)
		require.Equal(t, time.Second, time.Since(began))
	})
	inBubble(t, "by the hint", func(t *testing.T, r *regions) {
		busy := kv.Errorf(kv.KindOverloaded, "full")
		busy.RetryAfter = 700 * time.Millisecond
		r.eu.before, r.us.before = always(down), only("Do", 1, func() error { return busy })
		began := time.Now()
		_, err := r.db.Counter("c").Get(ctx)
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(began), busy.RetryAfter)
	})
	t.Run("WithTries", func(t *testing.T) {
		for n, want := range map[int]int{-1: 1, 1: 1, 5: 5, 1000: maxTries} {
			require.Equal(t, want, newConfig([]Option{WithTries(n)}).policy.tries)
		}
	})
}

func TestPausesDoubleWithJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for n, want := range map[int]time.Duration{1: firstPause, 2: 2 * firstPause, 5: 16 * firstPause, 50: maxPause} {
			for _, random := range []float64{0, 0.999999} {
				p := retryPolicy{tries: 1, random: func() float64 { return random }}
				began := time.Now()
				require.NoError(t, p.pause(ctx, n, 0))
				require.InDelta(t, (want/2 + time.Duration(random*float64(want/2))).Seconds(), time.Since(began).Seconds(), 1e-6)
			}
		}
		began := time.Now()
		require.NoError(t, newRetryPolicy().pause(ctx, 1, time.Hour))
		require.Equal(t, maxPause, time.Since(began), "hints are bounded too")
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		require.ErrorIs(t, newRetryPolicy().pause(ctx, 9, 0), context.Canceled)
	})
}

func TestWritesMoveOnlyWhenNothingWasWritten(t *testing.T) {
	for name, refused := range map[string]func() error{
		"unreachable": down,
		"read-only":   func() error { return kv.Errorf(kv.KindReadOnly, "disk full") },
		"overloaded":  func() error { return kv.Errorf(kv.KindOverloaded, "full") },
	} {
		inBubble(t, name, func(t *testing.T, r *regions) {
			r.eu.before = only("Do", 1, refused)
			var got Receipt
			require.NoError(t, r.db.Counter("c").Add(ctx, 1, WithReceipt(&got)))
			require.Equal(t, "us", got.Region)
			require.EqualValues(t, 1, counter(t, r.db, "c"))
			first, second := r.eu.requests()[0].Options.Attempt, r.us.requests()[0].Options.Attempt
			require.Equal(t, first.ID, second.ID)
			require.False(t, second.Retry, "nothing happened, so it is a first try again")
			require.NotZero(t, second.Incarnation)
		})
	}
	inBubble(t, "unknown identity", func(t *testing.T, r *regions) {
		r.eu.before = always(down) // Status fails: the write is never sent there
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		require.Zero(t, r.eu.count("Do"))
		require.Equal(t, 1, r.us.count("Do"))
	})
}

// checkTries checks that every try of a write went to one region, with one id, as a first try and retries.
func checkTries(t *testing.T, f *faulty, lane clock.Lane) {
	t.Helper()
	var writes []kv.Request
	for _, req := range f.requests() {
		if len(req.Ops) > 0 {
			writes = append(writes, req)
		}
	}
	for i, req := range writes {
		a := req.Options.Attempt
		require.Equal(t, writes[0].Options.Attempt.ID, a.ID)
		require.Equal(t, i > 0, a.Retry)
		if a.Retry {
			require.Equal(t, lane, a.Lane)
			require.Greater(t, a.Age, time.Duration(0))
			require.Zero(t, a.Incarnation)
		}
	}
}

func TestWriteOfUnknownOutcomeIsRetriedInItsRegionOnly(t *testing.T) {
	inBubble(t, "it was applied", func(t *testing.T, r *regions) {
		r.eu.after = only("Do", 3, cut)
		var got Receipt
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, WithReceipt(&got)))
		require.Equal(t, "eu", got.Region)
		require.EqualValues(t, 1, counter(t, r.db, "c"), "once")
		checkTries(t, r.eu, clock.Lane{Region: 1})
		require.Zero(t, r.us.count("Do"))
	})
	inBubble(t, "it was not", func(t *testing.T, r *regions) {
		r.eu.before = only("Do", 1, cut)
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		require.EqualValues(t, 1, counter(t, r.db, "c"))
		checkTries(t, r.eu, clock.Lane{Region: 1})
	})
	inBubble(t, "the node restarts meanwhile", func(t *testing.T, r *regions) {
		r.eu.after = func(name string, n int) error {
			if name == "Do" && n == 1 {
				r.nodes[0].Restart()
				return cut()
			}
			return nil
		}
		r.eu.before = func(name string, n int) error {
			if name == "Do" && n > 1 && n < 5 {
				return down()
			}
			return nil
		}
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		require.EqualValues(t, 1, counter(t, r.db, "c"))
		require.Zero(t, r.us.count("Do"))
	})
}

// However long a retry or a question is held up, it names what the lane had told before the first try.
func TestRetriesNameWhatWasToldBeforeTheFirstTry(t *testing.T) {
	inBubble(t, "write", func(t *testing.T, r *regions) {
		var told Receipt
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, WithReceipt(&told)))
		r.eu.after = func(name string, n int) error {
			if name != "Do" || n != 2 {
				return nil
			}
			_, err := r.db.Counter("c").Get(ctx) // others go on and learn more meanwhile
			require.NoError(t, err)
			return cut()
		}
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		retries := 0
		for _, req := range r.eu.requests() {
			if a := req.Options.Attempt; a.Retry {
				retries++
				require.Equal(t, told.Reading(), a.After)
			}
		}
		require.NotZero(t, retries)
	})
	inBubble(t, "first call of all", func(t *testing.T, r *regions) {
		r.eu.after = only("Do", 1, cut)
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		require.EqualValues(t, 1, r.eu.requests()[1].Options.Attempt.After, "nothing was written before")
	})
	inBubble(t, "named by the caller", func(t *testing.T, r *regions) {
		a := Attempt{ID: NewOpID(), Retry: true, Lane: clock.Lane{Region: 1}, After: 77}
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, WithAttempt(a)))
		require.EqualValues(t, 77, r.eu.requests()[0].Options.Attempt.After)
	})
}

// One clock stands still while the machine sleeps, the other may be set back: the age is the larger.
func TestAgeIsTheLargerOfTwoClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Now()
		time.Sleep(time.Minute)
		require.Equal(t, time.Minute, age(at))
		require.Equal(t, time.Hour, age(at.Round(0).Add(time.Minute-time.Hour)))
	})
}

func TestWriteThatStaysUnknownNamesItsOperation(t *testing.T) {
	inBubble(t, "applied", func(t *testing.T, r *regions) {
		r.eu.after = only("Do", 1, cut)
		r.eu.before = func(name string, n int) error {
			if name == "Do" && n > 1 {
				return down()
			}
			return nil
		}
		err := r.db.Counter("c").Add(ctx, 1)
		require.Equal(t, OutcomeUnknown, OutcomeOf(err))
		require.ErrorIs(t, err, ErrUnavailable)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.False(t, e.ID.IsZero())
		require.Contains(t, e.Error(), e.ID.String())
		require.Equal(t, defaultTries+1, r.eu.count("Do"))
		require.Zero(t, r.us.count("Do"))

		time.Sleep(time.Hour)
		a, err := r.db.Outcome(ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, OutcomeApplied, a.Outcome)
		require.False(t, a.Commit.IsZero())
		_, err = r.db.Outcome(ctx, e.ID)
		require.ErrorIs(t, err, ErrInvalid, "it is certain, and forgotten")
	})
	inBubble(t, "the context ends", func(t *testing.T, r *regions) {
		r.eu.before = only("Do", 1, cut)
		ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		err := r.db.Counter("c").Add(ctx, 1)
		require.ErrorIs(t, err, ErrDeadline)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, OutcomeUnknown, OutcomeOf(err))
	})
	for name, refusal := range map[string]func() error{
		"too old": func() error { return kv.Errorf(kv.KindTooOld, "log").WithOutcome(kv.OutcomeUnknown) },
		"denied":  func() error { return kv.Errorf(kv.KindDenied, "no") }, // says nothing of the first try
	} {
		inBubble(t, name, func(t *testing.T, r *regions) {
			r.eu.before = func(name string, n int) error {
				switch {
				case name == "Do" && n == 1:
					return cut()
				case name == "Do":
					return refusal()
				}
				return nil
			}
			err := r.db.Counter("c").Add(ctx, 1)
			require.Equal(t, OutcomeUnknown, OutcomeOf(err))
			require.Equal(t, KindOf(refusal()), KindOf(err))
			require.Equal(t, 2, r.eu.count("Do"))
		})
	}
}

func TestRetryThatDecidesIsBelieved(t *testing.T) {
	inBubble(t, "aborted", func(t *testing.T, r *regions) {
		r.eu.before = only("Do", 1, cut)
		err := r.db.Register("r").CompareAndSet(ctx, []byte("other"), []byte("x"))
		require.ErrorIs(t, err, ErrAborted)
		require.Equal(t, OutcomeNotApplied, OutcomeOf(err))
	})
	inBubble(t, "applied, but", func(t *testing.T, r *regions) {
		r.eu.before = func(name string, n int) error {
			switch {
			case name == "Do" && n == 1:
				return cut()
			case name == "Do":
				return kv.Errorf(kv.KindStale, "other regions did not answer").WithOutcome(kv.Applied)
			}
			return nil
		}
		require.Equal(t, OutcomeApplied, OutcomeOf(r.db.Counter("c").Add(ctx, 1)))
	})
}

func TestFirstTryAfterARestartNamesTheNewProcess(t *testing.T) {
	inBubble(t, "one-shot", func(t *testing.T, r *regions) {
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		r.nodes[0].Restart()
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		require.Zero(t, r.us.count("Do"), "no reason to leave the region")
		require.EqualValues(t, 2, counter(t, r.db, "c"))
		require.Equal(t, 2, r.eu.count("Status"))
	})
	inBubble(t, "a condition that fails is not a restart", func(t *testing.T, r *regions) {
		require.ErrorIs(t, r.db.Register("r").CompareAndSet(ctx, []byte("x"), nil), ErrAborted)
		require.Equal(t, 1, r.eu.count("Do"))
	})
	inBubble(t, "restarting all the time", func(t *testing.T, r *regions) {
		r.eu.before = func(name string, _ int) error {
			if name == "Do" {
				r.nodes[0].Restart()
			}
			return nil
		}
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		require.Equal(t, defaultTries, r.eu.count("Do"))
		require.Equal(t, 1, r.us.count("Do"), "the next region takes it")
	})
	inBubble(t, "interactive", func(t *testing.T, r *regions) {
		runs := 0
		require.NoError(t, r.db.Update(ctx, func(tx *Tx) error {
			runs++
			if _, err := tx.Counter("c").Get(ctx); err != nil {
				return err
			}
			if runs == 1 {
				r.nodes[0].Restart()
			}
			return tx.Counter("c").Add(ctx, 1)
		}))
		require.Equal(t, 2, runs)
		require.EqualValues(t, 1, counter(t, r.db, "c"))
	})
}

func readAndAdd(tx *Tx) error {
	if _, err := tx.Counter("c").Get(ctx); err != nil {
		return err
	}
	return tx.Counter("c").Add(ctx, 1)
}

func TestLostCommitIsAskedFor(t *testing.T) {
	inBubble(t, "applied", func(t *testing.T, r *regions) {
		r.eu.after = only("Commit", 1, cut)
		var got Receipt
		s := r.db.Session()
		require.NoError(t, s.Update(ctx, readAndAdd, WithReceipt(&got)))
		require.Equal(t, 1, r.eu.count("Outcome"))
		require.Equal(t, "eu", got.Region)
		require.False(t, got.Commit.IsZero())
		require.GreaterOrEqual(t, s.Token().Seen.At(1), got.Commit.Time)
		require.EqualValues(t, 1, counter(t, r.db, "c"))
	})
	inBubble(t, "not applied: it runs again, in the other region", func(t *testing.T, r *regions) {
		r.eu.before = only("Commit", 1, cut)
		require.NoError(t, r.db.Update(ctx, readAndAdd))
		require.EqualValues(t, 1, counter(t, r.db, "c"))
		require.Equal(t, 1, r.us.count("Commit"))
	})
	inBubble(t, "not applied, with an id of the caller's", func(t *testing.T, r *regions) {
		r.eu.before = only("Commit", 1, cut)
		err := r.db.Update(ctx, readAndAdd, WithOpID(NewOpID()))
		require.ErrorIs(t, err, ErrUnavailable)
		require.Equal(t, OutcomeNotApplied, OutcomeOf(err))
		require.Equal(t, 1, r.eu.count("Begin"), "the id is spent, so only the caller can go on")
	})
	inBubble(t, "never known", func(t *testing.T, r *regions) {
		r.eu.after = only("Commit", 1, cut)
		r.eu.before = only("Outcome", 1000, down)
		err := r.db.Update(ctx, readAndAdd)
		require.Equal(t, OutcomeUnknown, OutcomeOf(err))
		require.Zero(t, r.us.count("Commit")+r.us.count("Begin"))
		require.ErrorContains(t, err, "ask with Outcome")
		var e *Error
		require.ErrorAs(t, err, &e)
		_, err = r.db.Outcome(ctx, e.ID)
		require.Equal(t, OutcomeUnknown, OutcomeOf(err))
		require.ErrorContains(t, err, "is still not known")
		require.NotContains(t, err.Error(), "ask with Outcome", "that is what has just failed")
		r.eu.before = nil
		a, err := r.db.Outcome(ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, OutcomeApplied, a.Outcome)
	})
}

func TestOutcomeOfAnotherProcessesOperation(t *testing.T) {
	inBubble(t, "found", func(t *testing.T, r *regions) {
		id := NewOpID()
		_, err := r.nodes[1].Do(ctx, kv.Request{
			Options: kv.Options{Attempt: kv.Attempt{ID: id, Incarnation: 1}},
			Ops:     []kv.Op{{Object: kv.Object{Bucket: "b", Key: "k", Type: TypeCounter}, Verb: kv.VerbIncrement, Int: 1}},
		})
		require.NoError(t, err)
		_, err = r.db.Outcome(ctx, id)
		require.ErrorIs(t, err, ErrInvalid, "nobody said where it went")
		a, err := r.db.Outcome(ctx, id, WithAttempt(Attempt{Lane: clock.Lane{Region: 2}, Age: time.Minute}))
		require.NoError(t, err)
		require.Equal(t, OutcomeApplied, a.Outcome)
		require.Zero(t, r.eu.count("Outcome"))
	})
	inBubble(t, "no address of the lane", func(t *testing.T, r *regions) {
		_, err := r.db.Outcome(ctx, NewOpID(), WithAttempt(Attempt{Lane: clock.Lane{Region: 3}}))
		require.ErrorIs(t, err, ErrUnavailable)
	})
	inBubble(t, "a retry of another process's write", func(t *testing.T, r *regions) {
		_, err := r.db.Status(ctx)
		require.NoError(t, err)
		a := Attempt{ID: NewOpID(), Retry: true, Age: time.Minute, Lane: clock.Lane{Region: 1}}
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, WithAttempt(a)))
		got := r.eu.requests()[0].Options.Attempt
		require.True(t, got.Retry)
		require.GreaterOrEqual(t, got.Age, time.Minute)
	})
	inBubble(t, "a retry in a lane not spoken to yet", func(t *testing.T, r *regions) {
		a := Attempt{ID: NewOpID(), Retry: true, Lane: clock.Lane{Region: 2}}
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, WithAttempt(a)))
		require.True(t, r.us.requests()[0].Options.Attempt.Retry)
	})
}

func TestTransactionsStayWithTheirNode(t *testing.T) {
	r := newRegions()
	id, _, err := r.router.Begin(ctx, kv.Begin{})
	require.NoError(t, err)
	_, err = r.router.Execute(ctx, id+1, nil, nil)
	require.ErrorIs(t, err, ErrNotFound)
	_, err = r.router.Commit(ctx, id+1, kv.Options{})
	require.ErrorIs(t, err, ErrNotFound)
	_, err = r.router.Keys(ctx, kv.KeysRequest{Txn: id + 1, Bucket: "b", Limit: 1})
	require.ErrorIs(t, err, ErrNotFound)
	require.NoError(t, r.router.Abort(ctx, id+1))
	require.NoError(t, r.router.Abort(ctx, id))
	require.Empty(t, r.router.txns)
	require.Zero(t, r.us.count("Begin"))
}

func TestOpenTransactionsAreBounded(t *testing.T) {
	r := newRegions()
	for range maxOpenTxns {
		_, err := r.router.opened(openTxn{})
		require.NoError(t, err)
	}
	_, _, err := r.router.Begin(ctx, kv.Begin{})
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestSentTableForgetsTheOldest(t *testing.T) {
	table := newSentTable(3)
	var ids []OpID
	for i := range 4 {
		ids = append(ids, NewOpID())
		table.add(ids[i], sent{lane: clock.Lane{Region: clock.Region(i)}})
	}
	_, ok := table.find(ids[0])
	require.False(t, ok)
	table.add(ids[1], sent{lane: clock.Lane{Region: 99}})
	s, ok := table.find(ids[1])
	require.True(t, ok)
	require.EqualValues(t, 1, s.lane.Region, "the age is that of the first try")
	table.remove(ids[1])
	table.remove(ids[1])
	_, ok = table.find(ids[1])
	require.False(t, ok)
	require.Equal(t, 2, table.queue.Len())
}

func TestManyCallersLearnAnIdentityOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegions()
		r.router.endpoints = r.router.endpoints[:1] // nowhere else to go
		release := make(chan struct{})
		r.eu.before = func(name string, _ int) error {
			if name == "Status" {
				<-release
			}
			return nil
		}
		errs := make(chan error, 10)
		for range 9 {
			go func() { errs <- r.db.Counter("c").Add(ctx, 1) }()
		}
		synctest.Wait() // one of them asks, eight wait
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		go func() { errs <- r.db.Counter("c").Add(short, 1) }()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		close(release)
		failed := 0
		for range 10 {
			if err := <-errs; err != nil {
				require.ErrorIs(t, err, ErrDeadline)
				failed++
			}
		}
		require.Equal(t, 1, failed, "the impatient one")
		require.Equal(t, 1, r.eu.count("Status"))
	})
}

func TestAddressesAreChecked(t *testing.T) {
	plain := newConfig([]Option{Insecure()})
	got, err := parseAddresses(" localhost, 127.0.0.1:1 ,[::1]:2,::1,", plain)
	require.NoError(t, err)
	require.Equal(t, []string{"localhost:6700", "127.0.0.1:1", "[::1]:2", "[::1]:6700"}, got)
	got, err = parseAddresses("db.example:1", newConfig(nil))
	require.NoError(t, err)
	require.Equal(t, []string{"db.example:1"}, got)
	many := ""
	for i := range MaxAddresses + 1 {
		many += fmt.Sprintf("127.0.0.1:%d,", i)
	}
	for _, bad := range []string{"", " , ", "db.example:1", "10.0.0.1", many} {
		_, err = parseAddresses(bad, plain)
		require.ErrorIs(t, err, ErrInvalid, bad)
		_, err = Open(ctx, bad, Insecure())
		require.ErrorIs(t, err, ErrInvalid, bad)
	}
}

func TestOutcomeOfAnAnsweredWriteIsWhatItsCallSaid(t *testing.T) {
	inBubble(t, "applied", func(t *testing.T, r *regions) {
		id := NewOpID()
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, WithOpID(id)))
		_, err := r.db.Outcome(ctx, id)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "if its call succeeded it was applied")
	})
}
