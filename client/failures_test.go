package client

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

func misplaced() error {
	return &kv.Error{Kind: kv.KindInvalid, Message: "eu is no client port", Err: unusableError{context.Canceled}}
}

// One wrong address among several does not end a call.
func TestUnusableAddressesArePassedOver(t *testing.T) {
	inBubble(t, "the first", func(t *testing.T, r *regions) {
		r.eu.before = always(misplaced)
		started := time.Now()
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
		_, err := r.db.Counter("c").Get(ctx)
		require.NoError(t, err)
		require.NoError(t, r.db.Update(ctx, func(tx *Tx) error { _, err := tx.Counter("c").Get(ctx); return err }))
		require.NoError(t, first(r.db.Keys(ctx, "")))
		require.Zero(t, time.Since(started), "nobody waits for it")
		require.Equal(t, 1, r.eu.count("Status"), "which is passed over for a while")
	})
	inBubble(t, "and costs no try", func(t *testing.T, r *regions) {
		r.router.policy.tries = 1
		r.eu.before = always(misplaced)
		require.NoError(t, r.db.Counter("c").Add(ctx, 1))
	})
	inBubble(t, "beside one that is down", func(t *testing.T, r *regions) {
		r.eu.before, r.us.before = always(misplaced), always(down)
		_, err := r.db.Counter("c").Get(ctx)
		require.ErrorIs(t, err, ErrUnavailable, "which may come back")
		require.ErrorContains(t, err, "none of 2 addresses can serve: eu is no client port; ")
		require.Equal(t, 1, r.eu.count("Do"), "is asked once")
		require.Equal(t, defaultTries, r.us.count("Do"))
	})
	inBubble(t, "and the one that is down comes back", func(t *testing.T, r *regions) {
		r.eu.before = always(misplaced)
		r.us.before = func(string, int) error {
			if r.us.count("Do") < 4 {
				return down()
			}
			return nil
		}
		_, err := r.db.Counter("c").Get(ctx)
		require.NoError(t, err)
	})
	inBubble(t, "all", func(t *testing.T, r *regions) {
		r.eu.before, r.us.before = always(misplaced), always(misplaced)
		started := time.Now()
		_, err := r.db.Counter("c").Get(ctx)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "none of 2 addresses can serve: eu is no client port; eu is no client port")
		require.Zero(t, time.Since(started), "trying again would not help")
	})
}

func TestFailuresWithoutAUsableEndpoint(t *testing.T) {
	e := &endpoint{}
	var f failures
	f.note(e, misplaced())
	require.True(t, f.hopeless([]*endpoint{e}))
	other := &endpoint{}
	require.True(t, f.alone([]*endpoint{e, other}, other))
	require.False(t, f.alone([]*endpoint{e, other}, e))
	require.False(t, f.everywhere([]*endpoint{e, other}))
	f.note(other, down())
	require.True(t, f.everywhere([]*endpoint{e, other}))
}
