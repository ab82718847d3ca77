package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
)

func TestSessionReadsItsWritesInEveryRegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{RoundTrip: func(string, string) time.Duration { return 10 * time.Millisecond }})
		ctx := within(t)
		var token client.Token
		for i := range 30 {
			s := c.DB(c.Regions()[i%3]).Resume(token)
			n, err := s.Counter("n").Get(ctx)
			require.NoError(t, err)
			require.Equal(t, int64(i), n, "its own writes")
			members, err := s.Set("seen").Members(ctx)
			require.NoError(t, err)
			require.Len(t, members, i)
			require.NoError(t, s.Counter("n").Add(ctx, 1))
			require.NoError(t, s.Set("seen").Add(ctx, fmt.Sprint(i)))
			token = s.Token()
		}
	})
}

// TestSessionsAreMonotonicAcrossRegions has readers hop between regions while a writer goes on.
func TestSessionsAreMonotonicAcrossRegions(t *testing.T) {
	c := cluster(t, ClusterOptions{})
	ctx, over := within(t), atomic.Bool{}
	wrote := make(chan error, 1)
	go func() {
		for !over.Load() {
			if err := c.DB("eu").Counter("n").Add(ctx, 1); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	var token client.Token
	var last int64
	for i := 0; i < 300 || last < 50; i++ {
		s := c.DB(c.Regions()[i%3]).Resume(token)
		n, err := s.Counter("n").Get(ctx)
		require.NoError(t, err)
		require.GreaterOrEqual(t, n, last)
		last, token = n, s.Token()
	}
	over.Store(true)
	require.NoError(t, <-wrote)
	require.Positive(t, last)
}

func TestTokenOutOfReachIsStaleAtTheDeadline(t *testing.T) {
	c := cluster(t, ClusterOptions{Regions: []string{"eu", "us"}})
	c.Cut("eu", "us")
	s := c.DB("eu").Session()
	require.NoError(t, s.Counter("n").Add(within(t), 1))
	there := c.DB("us").Resume(s.Token())

	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := there.Counter("n").Get(short)
	require.ErrorIs(t, err, client.ErrStale)
	err = there.Counter("n").Add(short, 1)
	require.ErrorIs(t, err, client.ErrStale)
	require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))

	n, err := there.Counter("n").Get(within(t), client.Eventual())
	require.NoError(t, err)
	require.Zero(t, n, "eventual does not wait")
	require.NoError(t, there.Counter("other").Add(within(t), 1, client.Eventual()))

	c.Heal("eu", "us")
	n, err = there.Counter("n").Get(within(t))
	require.NoError(t, err)
	require.Equal(t, int64(1), n)
}

func TestTokenOfAnotherClusterIsRefused(t *testing.T) {
	one, two := cluster(t, ClusterOptions{Regions: []string{"eu"}}), cluster(t, ClusterOptions{Regions: []string{"eu"}})
	s := one.DB("eu").Session()
	require.NoError(t, s.Counter("n").Add(within(t), 1))
	_, err := two.DB("eu").Resume(s.Token()).Counter("n").Get(within(t))
	require.ErrorIs(t, err, client.ErrInvalid)
}

// lostWrite has eu answer a write with durability "applied" and then lose it, and returns the token
// that names it. While eu is down it can't restart by itself.
func lostWrite(t *testing.T, c *Cluster) client.Token {
	t.Helper()
	for {
		s := c.DB("eu").Session()
		err := s.Counter("lost").Add(within(t), 1, client.Durable(client.Applied))
		require.NoError(t, err)
		token := s.Token()
		c.Crash("eu")
		restart(t, c, "eu")
		_, err = c.DB("eu").Resume(token).Counter("lost").Get(within(t))
		if err != nil {
			require.ErrorIs(t, err, client.ErrLost)
			return token
		}
	}
}

func TestWriteThatACrashTookBackIsAnErrorInEveryRegion(t *testing.T) {
	c := cluster(t, ClusterOptions{})
	token := lostWrite(t, c)
	converge(t, c)
	for _, r := range c.Regions() {
		_, err := c.DB(r).Resume(token).Counter("lost").Get(within(t))
		require.ErrorIs(t, err, client.ErrLost, r)
	}
}

// TestWaiterLearnsThatACrashTookItsTokenBack asks another region before that can know of the crash.
func TestWaiterLearnsThatACrashTookItsTokenBack(t *testing.T) {
	c := cluster(t, ClusterOptions{})
	for range 10 {
		c.Isolate("eu")
		token := lostWrite(t, c)
		got := make(chan error, 1)
		go func() {
			_, err := c.DB("us").Resume(token).Counter("lost").Get(within(t))
			got <- err
		}()
		short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := c.DB("us").Resume(token).Counter("lost").Get(short)
		cancel()
		require.ErrorIs(t, err, client.ErrStale)
		c.Rejoin("eu")
		require.ErrorIs(t, <-got, client.ErrLost)
	}
}

func TestCallsOnARegionThatIsDownSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{})
		c.Crash("us")
		err := c.DB("us").Counter("n").Add(within(t), 1)
		require.ErrorIs(t, err, client.ErrUnavailable)
		require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))
		var e *client.Error
		require.True(t, errors.As(err, &e))
		require.ErrorIs(t, c.Restart(within(t), "eu"), client.ErrInvalid)
		require.ErrorIs(t, c.Add(within(t), "eu"), client.ErrInvalid)
		restart(t, c, "us")
		require.NoError(t, c.DB("us").Counter("n").Add(within(t), 1))
	})
}
