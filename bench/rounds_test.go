package bench

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var errBroken = errors.New("broken")

// scripted returns values one after the other and notes its name.
func scripted(order *string, name string, values ...float64) side {
	return func(context.Context) (float64, error) {
		*order += name
		v := values[0]
		values = values[1:]
		return v, nil
	}
}

func TestCompareAlternatesAndTakesTheMedianOfQuotients(t *testing.T) {
	order := ""
	f, err := compare(t.Context(), 3, scripted(&order, "o", 999, 10, 30, 20), scripted(&order, "l", 1, 20, 20, 20))
	require.NoError(t, err)
	require.Equal(t, "lo"+"ol"+"lo"+"ol", order, "a round to warm up, then each in the other order")
	require.Equal(t, Figure{Ours: 20, Limit: 20, Ratio: 1, Low: 0.5, High: 1.5, Rounds: 3}, f)
}

func TestCompareSaysWhichSideFailed(t *testing.T) {
	fails := func(context.Context) (float64, error) { return 0, errBroken }
	works := func(context.Context) (float64, error) { return 1, nil }
	_, err := compare(t.Context(), 1, fails, works)
	require.ErrorContains(t, err, "ours: broken")
	_, err = compare(t.Context(), 1, works, fails)
	require.ErrorContains(t, err, "limit: broken")
	n := 0
	_, err = compare(t.Context(), 1, func(context.Context) (float64, error) {
		if n++; n == 2 { // in the round in which ours comes first
			return 0, errBroken
		}
		return 1, nil
	}, works)
	require.ErrorIs(t, err, errBroken)
}

func TestPerSecondCountsWhatAllGoroutinesDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rate, err := perSecond(t.Context(), 4, time.Second, func(ctx context.Context, _ *rand.Rand) error {
			return idle(ctx, 10*time.Millisecond)
		})
		require.NoError(t, err)
		require.InDelta(t, 400, rate, 5)
	})
}

func TestPerSecondEndsAtTheFirstFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		_, err := perSecond(t.Context(), 2, time.Hour, func(ctx context.Context, _ *rand.Rand) error {
			if n.Add(1) == 10 {
				return errBroken
			}
			return idle(ctx, time.Second)
		})
		require.ErrorIs(t, err, errBroken)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = perSecond(ctx, 1, time.Hour, func(ctx context.Context, _ *rand.Rand) error { return idle(ctx, 2*time.Second) })
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestEachCallsForEveryNumberOnce(t *testing.T) {
	var seen [100]atomic.Int64
	require.NoError(t, each(t.Context(), len(seen), 7, func(_ context.Context, i int) error {
		seen[i].Add(1)
		return nil
	}))
	for i := range seen {
		require.Equal(t, int64(1), seen[i].Load())
	}
	require.ErrorIs(t, each(t.Context(), 10, 3, func(ctx context.Context, i int) error {
		if i == 5 {
			return errBroken
		}
		return nil
	}), errBroken)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, each(ctx, 10, 3, func(context.Context, int) error { return nil }), context.Canceled)
	require.NoError(t, each(t.Context(), 0, 3, nil))
}
