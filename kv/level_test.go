package kv_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/kv"
)

var genConsistency = rapid.Custom(func(t *rapid.T) kv.Consistency {
	c := kv.Consistency{Level: kv.Level(rapid.Uint8Max(uint8(kv.LevelStrong)).Draw(t, "level"))}
	if c.Level == kv.LevelBounded {
		c.Bound = time.Duration(rapid.Int64Range(int64(kv.MinBound), math.MaxInt64).Draw(t, "bound"))
		c.BoundFail = rapid.Bool().Draw(t, "fail")
	}
	return c
})

var genReach = rapid.Custom(func(t *rapid.T) kv.Reach {
	r := kv.Reach{Durability: kv.Durability(rapid.Uint8Max(uint8(kv.DurabilityAll)).Draw(t, "durability"))}
	if r.Durability == kv.DurabilityRegions {
		r.Regions = rapid.IntRange(1, 1023).Draw(t, "regions")
	}
	return r
})

func TestLevelsAndDurabilitiesParseAsTheyPrint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := genConsistency.Draw(t, "consistency")
		got, err := kv.ParseConsistency(c.String())
		require.NoError(t, err)
		require.Equal(t, c, got)
		require.NoError(t, got.Check())
		r := genReach.Draw(t, "reach")
		reach, err := kv.ParseReach(r.String())
		require.NoError(t, err)
		require.Equal(t, r, reach)
		require.NoError(t, reach.Check())
	})
	require.Equal(t, "bounded:2s:fail", kv.Consistency{Level: kv.LevelBounded, Bound: 2 * time.Second, BoundFail: true}.String())
	require.Equal(t, "2", kv.Reach{Durability: kv.DurabilityRegions, Regions: 2}.String())
	require.Equal(t, "level(9)", kv.Level(9).String())
	require.Equal(t, "durability(9)", kv.Durability(9).String())
}

// What can't be is refused, never taken for something weaker, and the error says what would work.
func TestImpossibleTextsAreRefused(t *testing.T) {
	for text, want := range map[string]error{
		"":                 kv.ErrLevelRefused,
		"linearizable":     kv.ErrLevelRefused,
		"Strong":           kv.ErrLevelRefused,
		"level(9)":         kv.ErrLevelRefused,
		"causal:2s":        kv.ErrLevelRefused,
		"strong:":          kv.ErrLevelRefused,
		"bounded":          kv.ErrInvalid,
		"bounded:":         kv.ErrInvalid,
		"bounded:0":        kv.ErrInvalid,
		"bounded:0s:fail":  kv.ErrInvalid,
		"bounded:-2s":      kv.ErrInvalid,
		"bounded:2":        kv.ErrInvalid,
		"bounded:1ns":      kv.ErrInvalid,
		"bounded:fail":     kv.ErrInvalid,
		"bounded:2s:maybe": kv.ErrInvalid,
	} {
		_, err := kv.ParseConsistency(text)
		require.ErrorIs(t, err, want, "%q", text)
		require.Regexp(t, "bounded:2s|at least", err.Error(), "%q", text)
	}
	for text, want := range map[string]error{
		"":          kv.ErrLevelRefused,
		"fsync":     kv.ErrLevelRefused,
		"regions":   kv.ErrLevelRefused,
		"2 or so":   kv.ErrLevelRefused,
		"0":         kv.ErrInvalid,
		"-1":        kv.ErrInvalid,
		"majority ": kv.ErrLevelRefused,
	} {
		_, err := kv.ParseReach(text)
		require.ErrorIs(t, err, want, "%q", text)
		require.Regexp(t, "majority|at least", err.Error(), "%q", text)
	}
}

func TestImpossibleOptionsAreRefused(t *testing.T) {
	require.NoError(t, (&kv.Options{}).Check())
	for name, c := range map[string]struct {
		options kv.Options
		kind    error
	}{
		"unknown level":              {kv.Options{Level: kv.LevelStrong + 1}, kv.ErrLevelRefused},
		"bounded without a bound":    {kv.Options{Level: kv.LevelBounded}, kv.ErrInvalid},
		"bounded below 0":            {kv.Options{Level: kv.LevelBounded, Bound: -time.Second}, kv.ErrInvalid},
		"bounded below what is told": {kv.Options{Level: kv.LevelBounded, Bound: kv.MinBound - 1}, kv.ErrInvalid},
		"a bound at causal":          {kv.Options{Level: kv.LevelCausal, Bound: time.Second}, kv.ErrInvalid},
		"a bound by default":         {kv.Options{Bound: time.Second}, kv.ErrInvalid},
		"failing at strong":          {kv.Options{Level: kv.LevelStrong, BoundFail: true}, kv.ErrInvalid},
		"unknown durability":         {kv.Options{Durability: kv.DurabilityAll + 1}, kv.ErrLevelRefused},
		"in no region":               {kv.Options{Durability: kv.DurabilityRegions}, kv.ErrInvalid},
		"in less than none":          {kv.Options{Durability: kv.DurabilityRegions, Regions: -1}, kv.ErrInvalid},
		"regions at majority":        {kv.Options{Durability: kv.DurabilityMajority, Regions: 2}, kv.ErrInvalid},
	} {
		err := c.options.Check()
		require.ErrorIs(t, err, c.kind, name)
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err), name)
	}
}

func TestOptionsKeepWhatWasSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := kv.Options{Level: kv.LevelBounded, Bound: 1, BoundFail: true, Durability: kv.DurabilityRegions, Regions: 7}
		c, r := genConsistency.Draw(t, "consistency"), genReach.Draw(t, "reach")
		o.SetConsistency(c)
		o.SetReach(r)
		require.Equal(t, c, o.Consistency())
		require.Equal(t, r, o.Reach())
		require.NoError(t, o.Check())
	})
}

// Stricter is the least level that promises what both do.
func TestStricterPromisesWhatBothDo(t *testing.T) {
	promises := func(c, d kv.Consistency) bool {
		switch {
		case c.Level != d.Level:
			return c.Level > d.Level
		case c.Level != kv.LevelBounded:
			return true
		}
		return c.Bound <= d.Bound
	}
	rapid.Check(t, func(t *rapid.T) {
		c, d := genConsistency.Draw(t, "c"), genConsistency.Draw(t, "d")
		got := c.Stricter(d)
		require.Equal(t, got, d.Stricter(c))
		require.True(t, promises(got, c) && promises(got, d))
		require.True(t, got.Level == c.Level && got.Bound == c.Bound || got.Level == d.Level && got.Bound == d.Bound)
	})
	two := kv.Consistency{Level: kv.LevelBounded, Bound: 2}
	fails := kv.Consistency{Level: kv.LevelBounded, Bound: 2, BoundFail: true}
	require.Equal(t, fails, two.Stricter(fails))
}

func TestCopiesOfADurability(t *testing.T) {
	in := func(d kv.Durability) kv.Reach { return kv.Reach{Durability: d} }
	for _, c := range []struct {
		reach      kv.Reach
		of, copies int
	}{
		{in(kv.DurabilityApplied), 3, 0}, {in(kv.DurabilityDefault), 3, 1}, {in(kv.DurabilityLocal), 3, 1},
		{in(kv.DurabilityMajority), 1, 1}, {in(kv.DurabilityMajority), 2, 2}, {in(kv.DurabilityMajority), 3, 2},
		{in(kv.DurabilityMajority), 4, 3}, {in(kv.DurabilityMajority), 5, 3}, {in(kv.DurabilityAll), 5, 5},
		{kv.Reach{Durability: kv.DurabilityRegions, Regions: 3}, 3, 3},
	} {
		got, err := c.reach.Copies(c.of)
		require.NoError(t, err)
		require.Equal(t, c.copies, got, "%s of %d", c.reach, c.of)
	}
	_, err := kv.Reach{Durability: kv.DurabilityRegions, Regions: 4}.Copies(3)
	require.ErrorIs(t, err, kv.ErrLevelRefused)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	require.Contains(t, err.Error(), "3 at most")
}

func TestPhasesSumUp(t *testing.T) {
	require.Equal(t, time.Duration(63), kv.Phases{Queue: 1, Token: 2, Work: 4, Sync: 8, Regions: 16, Certify: 32}.Total())
}

// A number that no cluster can have is refused as it stands, and not as the one that fits the wire.
func TestDurabilityInMoreRegionsThanACluster(t *testing.T) {
	_, err := kv.ParseReach("999999999999")
	require.ErrorIs(t, err, kv.ErrLevelRefused)
	require.ErrorContains(t, err, "999999999999 regions: a cluster has at most")
}
