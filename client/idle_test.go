package client

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// othersWrite writes past the client under test, and returns what the lane then tells.
func othersWrite(t *testing.T, r *regions) clock.Timestamp {
	t.Helper()
	var last Receipt
	for range 3 {
		require.NoError(t, New(r.nodes[0]).Counter("others").Add(ctx, 1))
	}
	_, err := New(r.nodes[0]).Counter("others").Get(ctx, WithReceipt(&last))
	require.NoError(t, err)
	return last.Reading()
}

// asked is a service that remembers the operations that it was asked about.
type asked struct {
	kv.Service
	attempts []kv.Attempt
}

func (a *asked) Outcome(ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	a.attempts = append(a.attempts, req.Attempt)
	return a.Service.Outcome(ctx, req)
}

// What was written while a client slept no retry of it has to be looked for in.
func TestIdleClientAsksAgainBeforeItWrites(t *testing.T) {
	inBubble(t, "one-shot", func(t *testing.T, r *regions) {
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		told := othersWrite(t, r)
		time.Sleep(maxReadingAge)
		asked := r.eu.count("Status")
		r.eu.after = func(name string, n int) error {
			if name == "Do" && n == 2 {
				return cut()
			}
			return nil
		}
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		require.Equal(t, asked+1, r.eu.count("Status"))
		retry := r.eu.requests()[2].Options.Attempt
		require.True(t, retry.Retry)
		require.Equal(t, told, retry.After)
		require.EqualValues(t, 2, counter(t, r.db, "c"))
	})
	inBubble(t, "not while it is in use", func(t *testing.T, r *regions) {
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		asked := r.eu.count("Status")
		for i := range 20 {
			time.Sleep(maxReadingAge - time.Second)
			if i%2 == 0 {
				require.NoError(t, r.db.Counter("c").Add(ctx, 1))
			} else {
				counter(t, r.db, "c")
			}
		}
		require.Equal(t, asked, r.eu.count("Status"))
	})
	inBubble(t, "once for all callers", func(t *testing.T, r *regions) {
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		time.Sleep(maxReadingAge)
		asked := r.eu.count("Status")
		r.eu.before = func(name string, _ int) error {
			if name == "Status" {
				time.Sleep(time.Second)
			}
			return nil
		}
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				if err := r.db.Counter("c").Add(ctx, 1); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		require.Equal(t, asked+1, r.eu.count("Status"))
	})
	inBubble(t, "and goes elsewhere when nobody answers", func(t *testing.T, r *regions) {
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		time.Sleep(maxReadingAge)
		r.eu.before = always(down)
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		require.Equal(t, 1, r.eu.count("Do"), "nothing was sent there whose outcome could be unknown")
		require.Equal(t, 1, r.us.count("Do"))
	})
	inBubble(t, "interactive", func(t *testing.T, r *regions) {
		remembers := &asked{Service: r.eu.Service}
		r.eu.Service = remembers
		r.eu.after = only("Commit", 1, cut)
		var told clock.Timestamp
		require.NoError(t, r.db.Update(ctx, func(tx *Tx) error {
			if _, err := tx.Counter("c").Get(ctx); err != nil {
				return err
			}
			told = othersWrite(t, r)
			time.Sleep(maxReadingAge)
			return tx.Counter("c").Add(ctx, 1)
		}))
		require.Len(t, remembers.attempts, 1)
		require.Equal(t, told, remembers.attempts[0].After)
	})
	inBubble(t, "interactive, of a node that restarted", func(t *testing.T, r *regions) {
		runs := 0
		require.NoError(t, r.db.Update(ctx, func(tx *Tx) error {
			if _, err := tx.Counter("c").Get(ctx); err != nil {
				return err
			}
			if runs++; runs == 1 {
				time.Sleep(maxReadingAge)
				r.nodes[0].Restart()
			}
			return tx.Counter("c").Add(ctx, 1)
		}))
		require.Equal(t, 2, runs)
		require.EqualValues(t, 1, counter(t, r.db, "c"))
	})
}

// An answer that was overtaken by others neither lowers what is known nor makes it look new.
func TestOvertakenAnswersRenewNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(5)
		time.Sleep(time.Second)
		r.raise(3)
		most, at := r.get()
		require.EqualValues(t, 5, most)
		require.Equal(t, time.Second, time.Since(at))
		r.raise(5)
		_, at = r.get()
		require.Zero(t, time.Since(at))
	})
}
