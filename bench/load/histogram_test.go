package load

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// durations draws from nanoseconds to centuries, alike in each power of two.
var durations = rapid.Custom(func(t *rapid.T) time.Duration {
	top := rapid.IntRange(0, 62).Draw(t, "power")
	return time.Duration(rapid.Int64Range(0, 1<<top).Draw(t, "ns"))
})

func TestQuantilesAreNotBelowTheTrueOnesNorFarAbove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(durations, 1, 200).Draw(t, "all")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		var h Histogram
		for _, d := range all {
			h.Record(d)
		}
		slices.Sort(all)
		want := all[max(int(math.Ceil(q*float64(len(all))))-1, 0)]
		got := h.Quantile(q)
		require.GreaterOrEqual(t, got, want)
		require.LessOrEqual(t, float64(got-want), float64(want)/(1<<subBits))
		require.Equal(t, all[len(all)-1], h.Max())
		require.Equal(t, all[0], h.Min())
		require.Equal(t, uint64(len(all)), h.Count())
	})
}

func TestMergingCountsWhatBothCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(durations, 0, 50).Draw(t, "a")
		b := rapid.SliceOfN(durations, 0, 50).Draw(t, "b")
		var ha, hb, both Histogram
		for _, d := range a {
			ha.Record(d)
			both.Record(d)
		}
		for _, d := range b {
			hb.Record(d)
			both.Record(d)
		}
		ha.Merge(&hb)
		require.Equal(t, both.counts, ha.counts)
		require.Equal(t, []any{both.Count(), both.Min(), both.Max()}, []any{ha.Count(), ha.Min(), ha.Max()})
		require.InDelta(t, float64(both.Mean()), float64(ha.Mean()), 1+float64(both.Mean())*1e-9)
	})
}

func TestEmptyHistogramAnswersZero(t *testing.T) {
	var h Histogram
	require.Zero(t, h.Quantile(0.5))
	require.Zero(t, h.Mean())
	require.Zero(t, h.Max())
	h.Record(-time.Second)
	require.Equal(t, uint64(1), h.Count())
	require.Zero(t, h.Quantile(1))
}

func TestEveryDurationHasABucket(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 127, 128, 129, math.MaxInt64} {
		b := bucketOf(d)
		require.Less(t, b, buckets)
		require.GreaterOrEqual(t, upperOf(b), d)
		if b > 0 {
			require.Less(t, upperOf(b-1), d)
		}
	}
}
