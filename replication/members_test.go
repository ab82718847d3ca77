package replication

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// slowMeta writes when it is told to.
type slowMeta struct{ writing, written chan struct{} }

func (m slowMeta) Meta(string) ([]byte, error) { return nil, nil }

func (m slowMeta) SetMeta(context.Context, string, []byte) error {
	m.writing <- struct{}{}
	<-m.written
	return nil
}

// TestMembersAreReadWhileTheyAreWritten: the planner reads the list with the Replicator's lock held,
// for which the store's writer waits, for which a change of the list waits.
func TestMembersAreReadWhileTheyAreWritten(t *testing.T) {
	m := slowMeta{make(chan struct{}), make(chan struct{})}
	g, err := loadRegistry(m)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := g.add(context.Background(), Member{Name: "eu"})
		done <- err
	}()
	<-m.writing
	version, list := g.snapshot()
	require.Zero(t, version)
	require.Empty(t, list)
	close(m.written)
	require.NoError(t, <-done)
	version, list = g.snapshot()
	require.Equal(t, uint64(1), version)
	require.Len(t, list, 1)
}

// mapMeta keeps what it is told.
type mapMeta map[string][]byte

func (m mapMeta) Meta(key string) ([]byte, error) { return m[key], nil }

func (m mapMeta) SetMeta(_ context.Context, key string, value []byte) error {
	m[key] = value
	return nil
}

// failMeta takes nothing.
type failMeta struct{ mapMeta }

func (failMeta) SetMeta(context.Context, string, []byte) error { return errors.New("disk full") }

// joining is a registry of eu, which serves, and us, which joins.
func joining(t *testing.T) *registry {
	t.Helper()
	g := &registry{store: mapMeta{}, self: founder, incarnation: 1}
	for i, name := range []string{"eu", "us"} {
		_, err := g.add(t.Context(), Member{Name: name, Incarnation: uint64(i + 1)})
		require.NoError(t, err)
	}
	return g
}

func TestTheFounderDecidesOnceBetweenServingAndAbandoning(t *testing.T) {
	ctx := t.Context()
	g := joining(t)
	require.NoError(t, g.abandon(ctx, 2))
	news, err := g.serve(ctx, 2, 2)
	require.False(t, news)
	var dismissed dismissedError
	require.ErrorAs(t, err, &dismissed)
	require.NoError(t, g.abandon(ctx, 2), "it is already")
	version, _ := g.snapshot()
	require.Equal(t, uint64(3), version)

	g = joining(t)
	news, err = g.serve(ctx, 2, 77)
	require.False(t, news)
	require.ErrorAs(t, err, &dismissed, "another node's word")
	news, err = g.serve(ctx, 2, 2)
	require.NoError(t, err)
	require.True(t, news)
	require.ErrorIs(t, g.abandon(ctx, 2), kv.ErrInvalid)
	news, err = g.regrant(ctx, 2, 77)
	require.NoError(t, err)
	require.False(t, news, "who serves keeps its number without the founder")
}

func TestNumbersOfAbandonedRegionsStayUsed(t *testing.T) {
	ctx := t.Context()
	g := joining(t)
	require.NoError(t, g.abandon(ctx, 2))
	m, err := g.add(ctx, Member{Name: "us", Incarnation: 3})
	require.NoError(t, err, "its name is free")
	require.Equal(t, clock.Region(3), m.Region)
	again, err := loadRegistry(g.store)
	require.NoError(t, err)
	require.Equal(t, g.all, again.all)
	require.Equal(t, g.list, again.list)
	require.Len(t, again.list, 2)
	require.Error(t, again.dismissed(2, 2))
	require.NoError(t, again.dismissed(3, 3))
	for len(g.all) < MaxMembers {
		m, err = g.add(ctx, Member{Name: "x"})
		require.NoError(t, err)
		require.NoError(t, g.abandon(ctx, m.Region))
	}
	_, err = g.add(ctx, Member{Name: "x"})
	require.ErrorIs(t, err, kv.ErrTooLarge)
}

// TestListsThatTakeADecisionBackAreRefused: serving and abandoned are both for good.
func TestListsThatTakeADecisionBackAreRefused(t *testing.T) {
	const joins, serves, gone = peerv1.MemberState_MEMBER_STATE_JOINING, peerv1.MemberState_MEMBER_STATE_SERVING, peerv1.MemberState_MEMBER_STATE_ABANDONED
	for _, test := range []struct {
		from, to peerv1.MemberState
		ok       bool
	}{
		{joins, serves, true}, {joins, gone, true}, {joins, joins, true},
		{serves, gone, false}, {gone, serves, false}, {gone, joins, false}, {gone, gone, true},
	} {
		list := func(version uint64, state peerv1.MemberState) *peerv1.Members {
			return &peerv1.Members{Version: version, Members: []*peerv1.Member{
				{Region: 1, Name: "eu", State: serves}, {Region: 2, Name: "us", State: state, Incarnation: 2}}}
		}
		g := &registry{store: mapMeta{}, self: founder}
		_, err := g.adopt(t.Context(), list(1, test.from))
		require.NoError(t, err)
		news, err := g.adopt(t.Context(), list(2, test.to))
		require.Equal(t, test.ok, news, "%v to %v: %v", test.from, test.to, err)
		if !test.ok {
			require.ErrorIs(t, err, kv.ErrInvalid)
		}
	}
}

// TestANodeDoesNotTakeAListByWhichItIsNotItsRegion, or it would serve beside the node that is.
func TestANodeDoesNotTakeAListByWhichItIsNotItsRegion(t *testing.T) {
	for _, change := range []func(*registry) error{
		func(g *registry) error { return g.abandon(t.Context(), 2) },
		func(g *registry) error { _, err := g.regrant(t.Context(), 2, 77); return err },
		func(g *registry) error {
			_, err := g.regrant(t.Context(), 2, 77)
			_, err2 := g.serve(t.Context(), 2, 77)
			return errors.Join(err, err2)
		},
	} {
		g := joining(t)
		us := &registry{store: mapMeta{}, self: 2, incarnation: 2}
		_, err := us.adopt(t.Context(), g.message())
		require.NoError(t, err)
		require.NoError(t, change(g))
		_, err = us.adopt(t.Context(), g.message())
		var abandoned abandonedError
		require.ErrorAs(t, err, &abandoned)
		version, _ := us.snapshot()
		require.Equal(t, uint64(2), version)
		// Others do.
		ap := &registry{store: mapMeta{}, self: 3, incarnation: 3}
		_, err = ap.adopt(t.Context(), g.message())
		require.NoError(t, err)
	}
}

func TestADecisionThatIsNotOnDiskDoesNotCount(t *testing.T) {
	g := joining(t)
	g.store = failMeta{}
	require.ErrorContains(t, g.abandon(t.Context(), 2), "disk full")
	_, err := g.serve(t.Context(), 2, 2)
	require.ErrorContains(t, err, "disk full")
	_, err = g.regrant(t.Context(), 2, 77)
	require.ErrorContains(t, err, "disk full")
	m, ok := g.find(2)
	require.True(t, ok)
	require.Equal(t, Member{Region: 2, Name: "us", Incarnation: 2}, m)
}
