package kv_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

func TestErrorsCarryTheTokenOfTheirCause(t *testing.T) {
	token := kv.Token{Cluster: kv.ClusterID{1}, Seen: clock.VectorOf(clock.Entry{Region: 1, Time: 5})}
	plain := kv.Errorf(kv.KindAborted, "it has another value")
	require.True(t, kv.TokenOf(plain).IsZero())
	require.True(t, kv.TokenOf(nil).IsZero())
	require.True(t, kv.TokenOf(errors.New("a fault")).IsZero())
	require.NoError(t, kv.WithToken(nil, token))

	seen := kv.WithToken(plain, token)
	require.Equal(t, token, kv.TokenOf(seen))
	require.True(t, plain.Token.IsZero(), "it is a copy")
	require.Equal(t, plain.Error(), seen.Error())
	for _, wrapped := range []error{
		fmt.Errorf("outside: %w", seen),
		kv.Errorf(kv.KindUnavailable, "again: %w", fmt.Errorf("between: %w", seen)),
	} {
		require.Equal(t, token, kv.TokenOf(wrapped))
		require.ErrorIs(t, wrapped, kv.ErrAborted)
	}

	outer := kv.WithToken(fmt.Errorf("outside: %w", plain.WithOutcome(kv.Applied)), token)
	require.Equal(t, token, kv.TokenOf(outer))
	require.Equal(t, kv.KindAborted, kv.KindOf(outer))
	require.Equal(t, kv.Applied, kv.OutcomeOf(outer))
	require.ErrorContains(t, outer, "outside: it has another value")
}
