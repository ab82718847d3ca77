package client

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/kv"
)

func TestEveryLevelAndDurabilityReachesTheService(t *testing.T) {
	db, f, _ := newTestDB()
	levels := map[string]CallOption{
		"default": At(Consistency{}), "eventual": Eventual(), "causal": Causal(), "bounded:2s": Bounded(2 * time.Second),
		"bounded:1ms:fail": BoundedOrFail(time.Millisecond), "quorum": Quorum(), "strong": Strong(),
	}
	reaches := map[string]Reach{"default": {}, "applied": Applied, "local": Local, "1": Regions(1), "majority": Majority, "all": All}
	for level, at := range levels {
		for reach, r := range reaches {
			require.NoError(t, db.Counter("c").Add(ctx, 1, at, Durable(r)))
			got := f.requests()[len(f.requests())-1].Options
			require.Equal(t, level, got.Consistency().String())
			require.Equal(t, reach, got.Reach().String())
			parsed, err := ParseConsistency(level)
			require.NoError(t, err)
			require.Equal(t, got.Consistency(), parsed)
			gone, err := ParseReach(reach)
			require.NoError(t, err)
			require.Equal(t, got.Reach(), gone)
		}
	}
}

// Of options for one thing the last one counts, and with the level goes its bound.
func TestLaterOptionsWin(t *testing.T) {
	f := newFaulty(memkv.New().Node(1, "eu"))
	db := New(f, WithDefaults(Bounded(time.Second), Durable(Regions(1))), WithDefaults(Durable(Majority)))
	last := func() string {
		o := f.requests()[len(f.requests())-1].Options
		require.NoError(t, o.Check())
		return o.Consistency().String() + " " + o.Reach().String()
	}
	b := db.Bucket("b", Strong())
	for want, call := range map[string]func() error{
		"bounded:1s majority": func() error { return db.Counter("c").Add(ctx, 1) },
		"causal majority":     func() error { return db.Counter("c").Add(ctx, 1, Causal()) },
		"strong majority":     func() error { return b.Counter("c").Add(ctx, 1) },
		"strong all":          func() error { return b.Map("m").Counter("c").Add(ctx, 1, Durable(All)) },
		"quorum majority":     func() error { _, err := b.Set("s").Contains(ctx, "e", Eventual(), Quorum()); return err },
		"eventual applied":    func() error { return b.Counter("c").Add(ctx, 1, Eventual(), Durable(Applied)) },
	} {
		require.NoError(t, call())
		require.Equal(t, want, last())
	}
}

func TestOptionsOfABucketCoverListingsAndNotTransactions(t *testing.T) {
	db, f, _ := newTestDB()
	var r Receipt
	require.NoError(t, db.Bucket("b").Counter("c").Add(ctx, 1))
	for _, err := range db.Bucket("b", Quorum(), WithReceipt(&r)).Keys(ctx, "") {
		require.NoError(t, err)
	}
	require.Equal(t, LevelQuorum, r.Level)
	require.Equal(t, 1, f.count("Begin"))
	err := db.Update(ctx, func(tx *Tx) error { return tx.Bucket("b", Strong()).Counter("c").Add(ctx, 1) })
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "give them to Update or View")

	opts := []CallOption{Strong()}
	b := db.Bucket("b", opts...)
	opts[0] = Eventual()
	require.NoError(t, b.Counter("c").Add(ctx, 1))
	require.Equal(t, LevelStrong, f.requests()[len(f.requests())-1].Options.Level, "the handle has a copy")
}

func TestImpossibleOptionsAreRefusedBeforeAnythingIsSent(t *testing.T) {
	db, f, _ := newTestDB()
	for name, c := range map[string]struct {
		opt  CallOption
		want error
	}{
		"bounded 0":         {Bounded(0), ErrInvalid},
		"bounded below 0":   {BoundedOrFail(-time.Second), ErrInvalid},
		"unknown level":     {At(Consistency{Level: 99}), ErrLevelRefused},
		"bound elsewhere":   {At(Consistency{Level: LevelStrong, Bound: time.Second}), ErrInvalid},
		"no region":         {Durable(Regions(0)), ErrInvalid},
		"less than none":    {Durable(Regions(math.MinInt)), ErrInvalid},
		"unknown":           {Durable(Reach{Durability: 99}), ErrLevelRefused},
		"regions elsewhere": {Durable(Reach{Durability: DurabilityAll, Regions: 2}), ErrInvalid},
	} {
		for way, err := range map[string]error{
			"write":  db.Counter("c").Add(ctx, 1, c.opt),
			"bucket": db.Bucket("b", c.opt).Counter("c").Add(ctx, 1),
			"update": db.Update(ctx, func(tx *Tx) error { return tx.Counter("c").Add(ctx, 1) }, c.opt),
			"view":   db.View(ctx, func(*Tx) error { return nil }, c.opt),
			"keys":   first(db.Keys(ctx, "", c.opt)),
			"digest": second(db.Digest(ctx, "", c.opt)),
			"open":   second(Open(ctx, "127.0.0.1:1", Insecure(), WithDefaults(c.opt))),
		} {
			require.ErrorIs(t, err, c.want, "%s by %s", name, way)
			require.Equal(t, OutcomeNotApplied, OutcomeOf(err), "%s by %s", name, way)
		}
	}
	require.Empty(t, f.calls)
	// Defaults of New have nobody to tell; the service refuses.
	err := New(f, WithDefaults(Bounded(0))).Counter("c").Add(ctx, 1)
	require.ErrorIs(t, err, ErrInvalid)
}

func second[T any](_ T, err error) error { return err }

func TestMoreRegionsThanThereAreAreRefused(t *testing.T) {
	db, _, _ := newTestDB()
	err := db.Counter("c").Add(ctx, 1, Durable(Regions(2)))
	require.ErrorIs(t, err, ErrLevelRefused)
	require.Equal(t, OutcomeNotApplied, OutcomeOf(err))
	require.NoError(t, db.Counter("c").Add(ctx, 1, Durable(Regions(1))))
}

func TestReceiptsComeInFullOnRequest(t *testing.T) {
	inBubble(t, "", func(t *testing.T, r *regions) {
		var got Receipt
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, WithReceipt(&got), Durable(All), Bounded(time.Second)))
		require.Equal(t, LevelBounded, got.Level)
		require.Equal(t, time.Second, got.Bound)
		require.Equal(t, DurabilityAll, got.Durability)
		require.Equal(t, 2, got.Regions)
		require.Len(t, got.Staleness, 1)
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		reqs := slices.Concat(r.eu.requests(), r.us.requests())
		require.False(t, reqs[len(reqs)-1].Options.Receipt, "nobody asked for it")
	})
}

// A caller who does not wait for the bound hears at once that nobody keeps it.
func TestABoundThatNobodyKeepsFailsOnceAllWereAsked(t *testing.T) {
	inBubble(t, "", func(t *testing.T, r *regions) {
		behind := always(func() error { return kv.Errorf(kv.KindStale, "behind") })
		r.eu.before, r.us.before = behind, behind
		began := time.Now()
		_, err := r.db.Counter("c").Get(ctx, BoundedOrFail(time.Second))
		require.ErrorIs(t, err, ErrStale)
		require.Equal(t, 2, r.eu.count("Do")+r.us.count("Do"))
		require.Zero(t, time.Since(began))

		r.us.before = nil
		_, err = r.db.Counter("c").Get(ctx, BoundedOrFail(time.Second))
		require.NoError(t, err, "one of them keeps it")
	})
}

func TestPausesAfterConflictsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.NoError(t, newRetryPolicy().yield(ctx, 1))
		began := time.Now()
		require.NoError(t, newRetryPolicy().yield(ctx, 100))
		require.GreaterOrEqual(t, time.Since(began), maxConflict/2)
		require.LessOrEqual(t, time.Since(began), maxConflict)
	})
}
