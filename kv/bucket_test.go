package kv_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/kv"
)

// Types by their numbers: package crdt names them.
const (
	counter  kv.Type = 1
	register kv.Type = 2
	setAW    kv.Type = 6
)

func at(l kv.Level) kv.Consistency { return kv.Consistency{Level: l} }

func bounded(d time.Duration) kv.Consistency { return kv.Consistency{Level: kv.LevelBounded, Bound: d} }

func to(d kv.Durability) kv.Reach { return kv.Reach{Durability: d} }

// buckets is what the tests of this page decide.
var buckets = kv.NewRules([]kv.BucketRules{
	{Name: "strong only", Generation: 3, Levels: []kv.Level{kv.LevelStrong}, Reach: to(kv.DurabilityMajority)},
	{Name: "fresh", Consistency: bounded(2 * time.Second), Reach: kv.Reach{Durability: kv.DurabilityRegions, Regions: 2}},
	{Name: "fresher", Consistency: kv.Consistency{Level: kv.LevelBounded, Bound: time.Second, BoundFail: true}},
	{Name: "loose", Consistency: at(kv.LevelEventual), Reach: to(kv.DurabilityApplied)},
	{Name: "local", Levels: []kv.Level{kv.LevelEventual, kv.LevelCausal}},
	{Name: "counts", Types: []kv.Type{counter}},
})

func ops(names ...kv.Bucket) []kv.Op {
	var list []kv.Op
	for _, n := range names {
		list = append(list, kv.Op{Object: kv.Object{Bucket: n, Key: "k", Type: counter}, Verb: kv.VerbIncrement, Int: 1})
	}
	return list
}

func queries(names ...kv.Bucket) []kv.Query {
	var list []kv.Query
	for _, n := range names {
		list = append(list, kv.Query{Object: kv.Object{Bucket: n, Key: "k", Type: setAW}})
	}
	return list
}

func TestAWriteGetsTheStrongestDefaultOfItsBuckets(t *testing.T) {
	for _, c := range []struct {
		written, read []kv.Bucket
		level         kv.Consistency
		reach         kv.Reach
	}{
		{nil, nil, at(kv.LevelCausal), to(kv.DurabilityLocal)},
		{[]kv.Bucket{"unknown"}, nil, at(kv.LevelCausal), to(kv.DurabilityLocal)},
		{[]kv.Bucket{"loose"}, nil, at(kv.LevelEventual), to(kv.DurabilityApplied)},
		{[]kv.Bucket{"loose", "unknown"}, nil, at(kv.LevelCausal), to(kv.DurabilityLocal)},
		{[]kv.Bucket{"loose"}, []kv.Bucket{"unknown"}, at(kv.LevelCausal), to(kv.DurabilityLocal)},
		{[]kv.Bucket{"fresh", "fresh"}, nil, bounded(2 * time.Second), kv.Reach{Durability: kv.DurabilityRegions, Regions: 2}},
		{[]kv.Bucket{"unknown", "fresh"}, []kv.Bucket{"fresher"}, kv.Consistency{Level: kv.LevelBounded, Bound: time.Second, BoundFail: true},
			kv.Reach{Durability: kv.DurabilityRegions, Regions: 2}},
		{nil, []kv.Bucket{"fresher", "strong only", "loose"}, at(kv.LevelStrong), to(kv.DurabilityMajority)},
		{[]kv.Bucket{"strong only"}, []kv.Bucket{"fresh"}, at(kv.LevelStrong), to(kv.DurabilityMajority)},
	} {
		req := kv.Request{Ops: ops(c.written...), Queries: queries(c.read...)}
		require.NoError(t, buckets.Request(&req, 3))
		require.Equal(t, c.level, req.Options.Consistency(), "%v %v", c.written, c.read)
		require.Equal(t, c.reach, req.Options.Reach(), "%v %v", c.written, c.read)
		require.NoError(t, req.Options.Check())
	}
}

func TestWhatTheCallerNamesIsKept(t *testing.T) {
	req := kv.Request{Ops: ops("fresh"), Options: kv.Options{Level: kv.LevelEventual, Durability: kv.DurabilityApplied}}
	want := req.Options
	require.NoError(t, buckets.Request(&req, 3))
	require.Equal(t, want, req.Options)
	require.NoError(t, (*kv.Rules)(nil).Request(&req, 3))
	require.Equal(t, want, req.Options)
}

func TestWithoutRulesTheDefaultsAreCausalAndLocal(t *testing.T) {
	for _, none := range []*kv.Rules{nil, kv.NewRules(nil)} {
		req := kv.Request{Ops: ops("a")}
		require.NoError(t, none.Request(&req, 3))
		require.Equal(t, kv.Options{Level: kv.LevelCausal, Durability: kv.DurabilityLocal}, req.Options)
		var o kv.Options
		require.NoError(t, none.Listing(&o, "a"))
		require.Equal(t, kv.LevelCausal, o.Level)
		require.NoError(t, none.Within(&kv.Begin{}, ops("a"), nil))
		require.NoError(t, none.ListingWithin(&kv.Begin{}, "a"))
		o = kv.Options{}
		none.Commit(&o, slices.Values([]kv.Bucket{"a"}), 3)
		require.Equal(t, kv.Options{Durability: kv.DurabilityLocal}, o)
	}
}

func refused(t *testing.T, err error, want error, says ...string) {
	t.Helper()
	require.ErrorIs(t, err, want)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	for _, s := range says {
		require.Contains(t, err.Error(), s)
	}
}

// Nobody weakens a bucket by mistake.
func TestALevelThatABucketForbidsIsRefused(t *testing.T) {
	for l := kv.LevelEventual; l < kv.LevelStrong; l++ {
		for _, req := range []kv.Request{{Ops: ops("unknown", "strong only")}, {Queries: queries("unknown", "strong only")},
			{Ops: ops("unknown"), Queries: queries("unknown", "strong only")}} {
			req.Options.Level = l
			refused(t, buckets.Request(&req, 3), kv.ErrLevelRefused, `"strong only"`, l.String(), "it allows strong")
		}
		refused(t, buckets.Listing(&kv.Options{Level: l}, "strong only"), kv.ErrLevelRefused, "it allows strong")
		refused(t, buckets.Within(&kv.Begin{Options: kv.Options{Level: l}}, ops("strong only"), nil), kv.ErrLevelRefused, "it allows strong")
		refused(t, buckets.ListingWithin(&kv.Begin{Options: kv.Options{Level: l}}, "strong only"), kv.ErrLevelRefused, "it allows strong")
	}
	both := kv.Request{Ops: ops("strong only"), Queries: queries("local")}
	refused(t, buckets.Request(&both, 3), kv.ErrLevelRefused, `"local"`, "it allows eventual, causal")

	strong := kv.Options{Level: kv.LevelStrong}
	require.NoError(t, buckets.Request(&kv.Request{Options: strong, Ops: ops("strong only")}, 3))
	require.NoError(t, buckets.Within(&kv.Begin{Options: strong}, ops("strong only"), queries("unknown")))
	require.NoError(t, buckets.ListingWithin(&kv.Begin{Options: strong}, "strong only"))
	require.NoError(t, buckets.Listing(&kv.Options{}, "strong only"))
}

func TestATransactionThatNamesNoLevelIsKeptFromStrongerBuckets(t *testing.T) {
	var unnamed kv.Begin
	for _, b := range []kv.Bucket{"fresh", "fresher", "strong only"} {
		refused(t, buckets.Within(&unnamed, ops("unknown", b), nil), kv.ErrLevelRefused, string(b), "at causal")
		refused(t, buckets.Within(&unnamed, ops("unknown"), queries("unknown", b)), kv.ErrLevelRefused, string(b))
		refused(t, buckets.ListingWithin(&unnamed, b), kv.ErrLevelRefused, string(b))
	}
	require.NoError(t, buckets.Within(&unnamed, ops("unknown", "loose", "local"), queries("counts")))
	require.NoError(t, buckets.Within(&kv.Begin{Options: kv.Options{Level: kv.LevelCausal}}, ops("fresh"), nil), "the caller chose")
	eventual := kv.NewRules([]kv.BucketRules{{Name: "e", Levels: []kv.Level{kv.LevelEventual}}})
	refused(t, eventual.Within(&unnamed, ops("e"), nil), kv.ErrLevelRefused, "it allows eventual")
}

// The default of one bucket is not what the caller has chosen for the others.
func TestATransactionAtTheDefaultOfABucketIsKeptFromStrongerOnes(t *testing.T) {
	rules := kv.NewRules([]kv.BucketRules{
		{Name: "hour", Consistency: bounded(time.Hour)},
		{Name: "second", Consistency: bounded(time.Second)},
		{Name: "fails", Consistency: kv.Consistency{Level: kv.LevelBounded, Bound: time.Second, BoundFail: true}},
		{Name: "quorum", Consistency: at(kv.LevelQuorum)},
		{Name: "strong", Consistency: at(kv.LevelStrong)},
		{Name: "bounded only", Levels: []kv.Level{kv.LevelBounded}, Consistency: bounded(time.Second)},
	})
	order := []kv.Bucket{"unknown", "hour", "second", "fails", "quorum", "strong"}
	for i, first := range order {
		begun := kv.Begin{ByDefault: true}
		begun.Options.SetConsistency(rules.Of(first).Default())
		for j, b := range order {
			err := rules.Within(&begun, nil, queries(b))
			require.Equal(t, err, rules.ListingWithin(&begun, b))
			if j <= i {
				require.NoError(t, err, "%s at the default of %s", b, first)
				continue
			}
			refused(t, err, kv.ErrLevelRefused, string(b), "at "+begun.Options.Consistency().String())
			require.Equal(t, rules.Of(b).Default(), kv.NeedsOf(err))
			begun.ByDefault = false
			require.NoError(t, rules.Within(&begun, nil, queries(b)), "the caller chose")
			begun.ByDefault = true
		}
	}
	begun := kv.Begin{Options: kv.Options{Level: kv.LevelQuorum}, ByDefault: true}
	refused(t, rules.Within(&begun, ops("bounded only"), nil), kv.ErrLevelRefused, "it allows bounded")
}

func TestACommitGetsTheStrongestDurabilityOfItsBuckets(t *testing.T) {
	for _, c := range []struct {
		written []kv.Bucket
		regions int
		reach   kv.Reach
	}{
		{nil, 3, to(kv.DurabilityLocal)},
		{[]kv.Bucket{"loose"}, 3, to(kv.DurabilityApplied)},
		{[]kv.Bucket{"loose", "unknown"}, 3, to(kv.DurabilityLocal)},
		{[]kv.Bucket{"fresh", "strong only"}, 3, to(kv.DurabilityMajority)},
		{[]kv.Bucket{"strong only", "fresh"}, 5, to(kv.DurabilityMajority)},
		{[]kv.Bucket{"strong only", "fresh"}, 1, kv.Reach{Durability: kv.DurabilityRegions, Regions: 2}}, // which will be refused
	} {
		o := kv.Options{Level: kv.LevelStrong}
		buckets.Commit(&o, slices.Values(c.written), c.regions)
		require.Equal(t, c.reach, o.Reach(), "%v of %d", c.written, c.regions)
		require.Equal(t, kv.LevelStrong, o.Level)
	}
	o := kv.Options{Durability: kv.DurabilityApplied}
	buckets.Commit(&o, slices.Values([]kv.Bucket{"fresh"}), 3)
	require.Equal(t, to(kv.DurabilityApplied), o.Reach(), "the caller chose")
}

// A retry must find its first try, so what would be strong only by default has to say so.
func TestAnOperationWithAnIDNamesTheStrongLevel(t *testing.T) {
	req := kv.Request{Ops: ops("unknown", "strong only")}
	req.Options.Attempt.ID = kv.OpID{1}
	err := buckets.Request(&req, 3)
	refused(t, err, kv.ErrLevelRefused, "name that")
	require.Equal(t, at(kv.LevelStrong), kv.NeedsOf(err))
	req.Options.SetConsistency(kv.NeedsOf(err))
	require.NoError(t, buckets.Request(&req, 3))
	req = kv.Request{Ops: ops("fresh")}
	req.Options.Attempt.ID = kv.OpID{1}
	require.NoError(t, buckets.Request(&req, 3))
	require.Equal(t, bounded(2*time.Second), kv.NeedsOf(buckets.Within(&kv.Begin{}, ops("fresh"), nil)))
}

func TestABucketTakesOnlyItsTypes(t *testing.T) {
	set := kv.Op{Object: kv.Object{Bucket: "counts", Key: "k", Type: setAW}, Verb: kv.VerbAdd}
	says := `bucket "counts" takes no object of type set-aw: its types are counter`
	refused(t, buckets.Request(&kv.Request{Ops: append(ops("counts"), set)}, 3), kv.ErrInvalid, says)
	refused(t, buckets.Within(&kv.Begin{}, []kv.Op{set}, nil), kv.ErrInvalid, says)
	require.NoError(t, buckets.Request(&kv.Request{Ops: ops("counts"), Queries: queries("counts")}, 3))
	require.NoError(t, buckets.Within(&kv.Begin{}, ops("counts"), queries("counts")))
	set.Verb = kv.VerbReset
	require.NoError(t, buckets.Request(&kv.Request{Ops: []kv.Op{set}}, 3), "what is left over can be removed")
	set.Path = kv.Path{{Name: "f", Type: counter}}
	refused(t, buckets.Request(&kv.Request{Ops: []kv.Op{set}}, 3), kv.ErrInvalid, says)
}

func TestRulesThatMakeNoSenseAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		rules kv.BucketRules
		kind  error
		says  string
	}{
		"no name":         {kv.BucketRules{}, kv.ErrInvalid, "1 to 255"},
		"long name":       {kv.BucketRules{Name: kv.Bucket(strings.Repeat("b", 256))}, kv.ErrInvalid, "1 to 255"},
		"no text":         {kv.BucketRules{Name: "\xff"}, kv.ErrInvalid, "UTF-8"},
		"own name":        {kv.BucketRules{Name: kv.ImportBucket}, kv.ErrInvalid, "the database's own"},
		"no type":         {kv.BucketRules{Name: "b", Types: []kv.Type{0}}, kv.ErrInvalid, "number 0"},
		"unknown type":    {kv.BucketRules{Name: "b", Types: []kv.Type{200}}, kv.ErrInvalid, "number 200"},
		"types twice":     {kv.BucketRules{Name: "b", Types: []kv.Type{counter, counter}}, kv.ErrInvalid, "each once"},
		"default allowed": {kv.BucketRules{Name: "b", Levels: []kv.Level{kv.LevelDefault}}, kv.ErrLevelRefused, "default is no level"},
		"unknown level":   {kv.BucketRules{Name: "b", Levels: []kv.Level{9}}, kv.ErrLevelRefused, "level(9) is no level"},
		"levels mixed":    {kv.BucketRules{Name: "b", Levels: []kv.Level{kv.LevelStrong, kv.LevelCausal}}, kv.ErrInvalid, "in their order"},
		"unknown default": {kv.BucketRules{Name: "b", Consistency: at(9)}, kv.ErrLevelRefused, "unknown consistency level 9"},
		"no bound":        {kv.BucketRules{Name: "b", Consistency: bounded(0)}, kv.ErrInvalid, "at least"},
		"no regions":      {kv.BucketRules{Name: "b", Reach: to(kv.DurabilityRegions)}, kv.ErrInvalid, "1 at least"},
		"default forbidden": {kv.BucketRules{Name: "b", Consistency: at(kv.LevelCausal), Levels: []kv.Level{kv.LevelStrong}},
			kv.ErrInvalid, "not among those that it allows: strong"},
		"bounded by default": {kv.BucketRules{Name: "b", Levels: []kv.Level{kv.LevelBounded, kv.LevelStrong}}, kv.ErrInvalid, "give a default level"},
	} {
		refused(t, c.rules.Check(), c.kind, c.says)
		require.NotEmpty(t, name)
	}
	for _, b := range []kv.Bucket{"strong only", "fresh", "fresher", "loose", "local", "counts"} {
		require.NoError(t, buckets.Of(b).Check())
	}
	require.NoError(t, (&kv.BucketRules{Name: "b", Consistency: bounded(1e9), Levels: []kv.Level{kv.LevelBounded}}).Check())
}

func TestTheDefaultOfABucketIsOneThatItAllows(t *testing.T) {
	for _, c := range []struct {
		levels []kv.Level
		want   kv.Level
	}{
		{nil, kv.LevelCausal},
		{[]kv.Level{kv.LevelEventual}, kv.LevelEventual},
		{[]kv.Level{kv.LevelEventual, kv.LevelCausal, kv.LevelStrong}, kv.LevelCausal},
		{[]kv.Level{kv.LevelEventual, kv.LevelQuorum, kv.LevelStrong}, kv.LevelQuorum},
		{[]kv.Level{kv.LevelStrong}, kv.LevelStrong},
	} {
		r := kv.BucketRules{Name: "b", Levels: c.levels}
		require.NoError(t, r.Check())
		require.Equal(t, at(c.want), r.Default())
	}
}

func TestRulesAreACopy(t *testing.T) {
	list := []kv.BucketRules{{Name: "b", Generation: 2, Types: []kv.Type{counter}}}
	r := kv.NewRules(list)
	list[0].Generation, list[0].Types[0] = 9, register
	require.EqualValues(t, 2, r.Of("b").Generation)
	require.Equal(t, []kv.Type{counter}, r.Of("b").Types)
}

// Whatever a call touches and in whichever order, what it is served at is what some bucket of it asks for,
// and no bucket of it asks for more.
func TestSettledLevelsDependOnlyOnWhichBucketsAreTouched(t *testing.T) {
	names := []kv.Bucket{"strong only", "fresh", "fresher", "loose", "unknown", "counts"}
	rapid.Check(t, func(t *rapid.T) {
		touched := rapid.SliceOfN(rapid.SampledFrom(names), 1, 12).Draw(t, "buckets")
		cut, regions := rapid.IntRange(0, len(touched)).Draw(t, "cut"), rapid.IntRange(1, 7).Draw(t, "regions")
		req := kv.Request{Ops: ops(touched[:cut]...), Queries: queries(touched[cut:]...)}
		require.NoError(t, buckets.Request(&req, regions))
		o, asked := req.Options, false
		wants := func(r kv.Reach) int {
			if n, err := r.Copies(regions); err == nil {
				return n
			}
			return r.Regions
		}
		most := 0
		for _, b := range touched {
			d := buckets.Of(b).Default()
			asked = asked || d == o.Consistency()
			require.LessOrEqual(t, d.Level, o.Level)
			if d.Level == o.Level {
				require.LessOrEqual(t, o.Bound, d.Bound)
			}
			most = max(most, wants(buckets.Of(b).DefaultReach()))
		}
		require.True(t, asked)
		require.Equal(t, most, wants(o.Reach()))
	})
}

func TestCallsWithoutRulesTakeNoMemory(t *testing.T) {
	req := kv.Request{Ops: ops("a", "b"), Queries: queries("c")}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		req.Options = kv.Options{}
		_ = req.Options.Check()
		_ = (*kv.Rules)(nil).Request(&req, 3)
	}))
}

func TestWhatCanBeDropped(t *testing.T) {
	require.NoError(t, kv.CheckDrop("b"))
	for _, name := range []kv.Bucket{"", "theriac.import", kv.Bucket(strings.Repeat("b", kv.MaxBucket+1)), "\xff"} {
		require.ErrorIs(t, kv.CheckDrop(name), kv.ErrInvalid, name)
	}
}
