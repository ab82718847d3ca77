package client

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// A strong write of unknown outcome goes to another region, under its id and with what was known of
// region 0 before its first try: the certifier finds it wherever it comes.
func TestStrongWritesOfUnknownOutcomeMove(t *testing.T) {
	check := func(t *testing.T, r *regions, after clock.Timestamp, tries int) {
		t.Helper()
		list := append(attempts(r.eu.requests()), attempts(r.us.requests())...)
		list = list[len(list)-tries:]
		for i, a := range list {
			require.Equal(t, list[0].ID, a.ID)
			require.Equal(t, i > 0, a.Retry)
			require.Equal(t, clock.Lane{}, a.Lane, "of region 0")
			require.Equal(t, after, a.After)
		}
	}
	inBubble(t, "it was applied", func(t *testing.T, r *regions) {
		r.eu.after = only("Do", 1, cut)
		var got Receipt
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, Strong(), WithReceipt(&got)))
		require.EqualValues(t, 1, counter(t, r.db, "c"), "once")
		require.Zero(t, got.Commit.Region)
		require.Equal(t, 1, r.us.count("Do")-1, "the region that failed is passed over") // and the read
		require.Equal(t, 1, r.eu.count("Do"))
	})
	inBubble(t, "it was not", func(t *testing.T, r *regions) {
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, Strong()))
		r.eu.before = func(name string, n int) error {
			if name == "Do" && n == 2 {
				return cut()
			}
			return nil
		}
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, Strong()))
		check(t, r, 1, 2)
		require.EqualValues(t, 2, counter(t, r.db, "c"))
	})
	inBubble(t, "regions fail in turn", func(t *testing.T, r *regions) {
		r.eu.before, r.us.before = only("Do", 2, cut), only("Do", 2, down)
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, Strong()))
		require.EqualValues(t, 1, counter(t, r.db, "c"))
	})
	inBubble(t, "all fail", func(t *testing.T, r *regions) {
		r.eu.before, r.us.before = only("Do", 1000, cut), only("Do", 1000, down)
		err := r.db.Counter("c").Add(ctx, 1, Strong())
		require.Equal(t, OutcomeUnknown, OutcomeOf(err))
		require.Equal(t, defaultTries+1, r.eu.count("Do")+r.us.count("Do"))
		var e *Error
		require.ErrorAs(t, err, &e)
		r.eu.before, r.us.before = nil, nil
		a, err := r.db.Outcome(ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, OutcomeNotApplied, a.Outcome)
	})
	inBubble(t, "a causal one does not", func(t *testing.T, r *regions) {
		r.eu.before = only("Do", 1000, cut)
		for _, o := range []CallOption{Causal(), Bounded(time.Second), Quorum(), At(Consistency{})} {
			require.Equal(t, OutcomeUnknown, OutcomeOf(r.db.Counter("c").Add(ctx, 1, o)))
			r.router.endpoints[0].downUntil.Store(0)
		}
		require.Zero(t, r.us.count("Do"))
	})
	inBubble(t, "the retry finds it aborted", func(t *testing.T, r *regions) {
		r.eu.before, r.us.before = only("Do", 1, cut), only("Do", 1, func() error { return met(0) })
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, Strong()))
		last := attempts(r.us.requests())
		require.NotEqual(t, last[0].ID, last[len(last)-1].ID, "which decides that operation")
		require.EqualValues(t, 1, counter(t, r.db, "c"))
	})
}

func TestStrongWritesLeaveASilentNode(t *testing.T) {
	inBubbleWithHanging(t, func(t *testing.T, r *regions, h *hanging) {
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, Strong()))
		h.stop()
		began := time.Now()
		var got Receipt
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, Strong(), WithReceipt(&got)))
		require.Equal(t, "us", got.Region)
		require.LessOrEqual(t, time.Since(began), silentTry+maxPause)
		h.goOn()
		require.EqualValues(t, 2, counter(t, r.db, "c"))
	})
}

// The certifier forgets operations that are long ago. A client that heard of it as long ago asks how far it is.
func TestFirstTriesThatTheCertifierCannotTellFromLateOnes(t *testing.T) {
	forgotten := func() error { return kv.Errorf(kv.KindTooOld, "operation").WithOutcome(kv.OutcomeUnknown) }
	inBubble(t, "others went on", func(t *testing.T, r *regions) {
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, Strong()))
		for range 5 {
			_, err := r.nodes[1].Do(ctx, kv.Request{Options: kv.Options{Level: LevelStrong}, Ops: []kv.Op{add("x")}})
			require.NoError(t, err)
		}
		r.eu.before = func(name string, n int) error {
			if name == "Do" && n == 2 {
				return forgotten()
			}
			return nil
		}
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, Strong()))
		list := attempts(r.eu.requests())
		require.EqualValues(t, 1, list[1].After)
		require.EqualValues(t, 6, list[2].After)
		require.False(t, list[2].Retry)
		require.EqualValues(t, 2, counter(t, r.db, "c"))
	})
	inBubble(t, "nobody went on", func(t *testing.T, r *regions) {
		r.eu.before = only("Do", 1000, forgotten)
		err := r.db.Counter("c").Add(ctx, 1, Strong())
		require.ErrorIs(t, err, ErrTooOld)
		require.Equal(t, OutcomeUnknown, OutcomeOf(err))
	})
	inBubble(t, "nobody says", func(t *testing.T, r *regions) {
		r.eu.before = func(name string, n int) error {
			if name == "Do" || n > 1 {
				return forgotten()
			}
			return nil
		}
		require.ErrorIs(t, r.db.Counter("c").Add(ctx, 1, Strong()), ErrTooOld)
	})
}

func TestStrongFirstTriesNameTheNewProcessAfterARestart(t *testing.T) {
	inBubble(t, "", func(t *testing.T, r *regions) {
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, Strong()))
		r.nodes[0].Restart()
		var got Receipt
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, Strong(), WithReceipt(&got)))
		require.Equal(t, "eu", got.Region)
		require.EqualValues(t, 2, got.Incarnation)
	})
	inBubble(t, "it can't say who it is", func(t *testing.T, r *regions) {
		r.eu.before, r.us.before = only("Status", 1, down), nil
		var got Receipt
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, Strong(), WithReceipt(&got)))
		require.Equal(t, "us", got.Region)
	})
}

// What became of a strong commit is asked in whichever region answers.
func TestLostStrongCommitsAreAskedForAnywhere(t *testing.T) {
	inBubble(t, "applied", func(t *testing.T, r *regions) {
		r.eu.after = only("Commit", 1, cut)
		var got Receipt
		require.NoError(t, r.db.Update(ctx, readAndAdd, Strong(), WithReceipt(&got)))
		require.Equal(t, 1, r.us.count("Outcome"))
		require.Zero(t, r.eu.count("Outcome"))
		require.Zero(t, got.Commit.Region)
		require.EqualValues(t, 1, counter(t, r.db, "c"))
	})
	inBubble(t, "not applied", func(t *testing.T, r *regions) {
		r.eu.before = only("Commit", 1, cut)
		require.NoError(t, r.db.Update(ctx, readAndAdd, Strong()))
		require.EqualValues(t, 1, counter(t, r.db, "c"))
	})
	inBubble(t, "of another process", func(t *testing.T, r *regions) {
		a, err := r.db.Outcome(ctx, NewOpID(), WithAttempt(Attempt{After: 1}))
		require.NoError(t, err)
		require.Equal(t, OutcomeNotApplied, a.Outcome)
	})
}

func TestReadingsOfTheCertifierOnlyRise(t *testing.T) {
	inBubble(t, "", func(t *testing.T, r *regions) {
		for _, at := range []clock.Timestamp{0, 7, 5, 7} {
			r.router.endpoints[at%2].learn(&kv.Receipt{Snapshot: clock.VectorOf(clock.Entry{Time: at})})
		}
		require.EqualValues(t, 7, r.router.certifiedNow().after)
	})
}

// Calls at strong without an address of a region to go to end with the caller's context.
func TestStrongCallsEndWithTheirContext(t *testing.T) {
	inBubbleWithHanging(t, func(t *testing.T, r *regions, h *hanging) {
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, Strong()))
		r.router.endpoints = r.router.endpoints[:1]
		h.stop()
		bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		err := r.db.Counter("c").Add(bounded, 1, Strong())
		require.ErrorIs(t, err, ErrDeadline)
		require.Equal(t, OutcomeUnknown, OutcomeOf(err))
		h.goOn()
	})
}
