package replication

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestPercentilesAreThoseOfTheWindow compares with all samples sorted.
func TestPercentilesAreThoseOfTheWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a ages
		var all []time.Duration
		now := time.Duration(rapid.IntRange(1, 1000).Draw(t, "start")) * time.Second
		for range rapid.IntRange(1, 200).Draw(t, "samples") {
			age := time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "age")) >> rapid.IntRange(0, 30).Draw(t, "shift")
			a.add(now, age)
			all = append(all, age)
			now += 10 * time.Millisecond
		}
		slices.Sort(all)
		for _, percent := range []int{50, 99, 100} {
			want := max(all[(len(all)*percent+99)/100-1], time.Millisecond)
			got := a.percentile(now, percent)
			require.GreaterOrEqual(t, got, want-time.Microsecond)
			require.LessOrEqual(t, float64(got), 1.2*float64(want))
		}
		require.Zero(t, a.percentile(now+2*StalenessWindow, 99), "they are forgotten")
		a.add(now+2*StalenessWindow, 100*time.Millisecond)
		require.InDelta(t, 100*time.Millisecond, a.percentile(now+2*StalenessWindow, 99), float64(20*time.Millisecond))
	})
}

func TestVeryOldIsInTheLastBucket(t *testing.T) {
	var a ages
	a.add(time.Hour, 1000*time.Hour)
	require.Greater(t, a.percentile(time.Hour, 99), 4*time.Hour)
	require.Zero(t, new(ages).percentile(time.Hour, 99))
}
