package replication

import (
	"context"
	"errors"
	"slices"
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
		_, err := g.adopt(context.Background(), 1, []Member{{Region: 1, Name: "eu", Serving: true}})
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
	g := &registry{store: mapMeta{}, self: first, incarnation: 1}
	require.NoError(t, g.write(t.Context(), 2, []Member{{Region: 1, Name: "eu", Serving: true}, {Region: 2, Name: "us", Incarnation: 2}}))
	return g
}

// becomes has a registry take a next version in which region 2 is something else.
func (g *registry) becomes(t *testing.T, change func(*Member)) error {
	t.Helper()
	version, all := g.everybody()
	list := slices.Clone(all)
	change(&list[1])
	_, err := g.adopt(t.Context(), version+1, list)
	return err
}

func TestNumbersOfThoseThatAreNoMoreStayUsed(t *testing.T) {
	for _, past := range []func(*Member){
		func(m *Member) { m.Abandoned = true },
		func(m *Member) { m.Serving, m.Fenced, m.Removed, m.Last, m.Closed = true, true, true, 7, 3 },
	} {
		g := joining(t)
		require.NoError(t, g.becomes(t, past))
		version, all := g.everybody()
		news, err := g.adopt(t.Context(), version+1, append(slices.Clone(all), Member{Region: 3, Name: "us", Incarnation: 3}))
		require.NoError(t, err, "its name is free")
		require.True(t, news)
		again, err := loadRegistry(g.store)
		require.NoError(t, err)
		require.Equal(t, g.all, again.all)
		require.Equal(t, g.list, again.list)
		require.Error(t, again.dismissed(2, 2))
		require.NoError(t, again.dismissed(3, 3))
		m, ok := again.named("us")
		require.True(t, ok)
		require.Equal(t, clock.Region(3), m.Region)
		require.NoError(t, again.part(t.Context(), 2))
		require.Len(t, again.past(), 1)
		third, err := loadRegistry(g.store)
		require.NoError(t, err)
		require.Equal(t, again.list, third.list, "also after a start")
		again.store = failMeta{}
		require.ErrorContains(t, again.part(t.Context(), 1), "disk full")
		_, err = loadParted(mapMeta{partedKey: []byte("x")})
		require.ErrorIs(t, err, kv.ErrCorrupt)
		_, list := again.snapshot()
		require.Len(t, list, 2)
		require.Len(t, again.all, 3)
	}
}

// TestAListOfTheSameVersionTellsAddresses: what is decided has none.
func TestAListOfTheSameVersionTellsAddresses(t *testing.T) {
	g := joining(t)
	list := slices.Clone(g.all)
	list[1].Addresses, list[1].Abandoned = kv.Addresses{Peer: "us:1"}, true
	news, err := g.adopt(t.Context(), 2, list)
	require.NoError(t, err)
	require.False(t, news)
	m, ok := g.find(2)
	require.True(t, ok, "nothing else of it counts")
	require.Equal(t, "us:1", m.Addresses.Peer)
	list[1].Addresses.Peer = "elsewhere:1"
	_, err = g.adopt(t.Context(), 2, list)
	require.NoError(t, err)
	m, _ = g.find(2)
	require.Equal(t, "us:1", m.Addresses.Peer)
	news, err = g.adopt(t.Context(), 1, nil)
	require.NoError(t, err)
	require.False(t, news, "an older one")
}

// TestListsThatTakeADecisionBackAreRefused: each step of a region's life is for good.
func TestListsThatTakeADecisionBackAreRefused(t *testing.T) {
	const joins, serves, gone = peerv1.MemberState_MEMBER_STATE_JOINING, peerv1.MemberState_MEMBER_STATE_SERVING, peerv1.MemberState_MEMBER_STATE_ABANDONED
	const fenced, removed = peerv1.MemberState_MEMBER_STATE_FENCED, peerv1.MemberState_MEMBER_STATE_REMOVED
	for _, test := range []struct {
		from, to peerv1.MemberState
		ok       bool
	}{
		{joins, serves, true}, {joins, gone, true}, {joins, joins, true}, {joins, removed, true},
		{serves, gone, false}, {gone, serves, false}, {gone, joins, false}, {gone, gone, true},
		{serves, fenced, true}, {serves, removed, true}, {fenced, removed, true}, {fenced, serves, false},
		{removed, fenced, false}, {removed, serves, false}, {removed, gone, false}, {removed, removed, true},
	} {
		list := func(state peerv1.MemberState) []Member {
			list, err := membersFrom(&peerv1.Members{Members: []*peerv1.Member{
				{Region: 1, Name: "eu", State: serves}, {Region: 2, Name: "us", State: state, Incarnation: 2}}})
			require.NoError(t, err)
			return list
		}
		g := &registry{store: mapMeta{}, self: first}
		_, err := g.adopt(t.Context(), 1, list(test.from))
		require.NoError(t, err)
		news, err := g.adopt(t.Context(), 2, list(test.to))
		require.Equal(t, test.ok, news, "%v to %v: %v", test.from, test.to, err)
		if !test.ok {
			require.ErrorIs(t, err, kv.ErrInvalid)
		}
		require.Equal(t, test.ok, g.message().GetMembers()[1].GetState() == test.to || test.from == test.to)
	}
}

// TestANodeDoesNotTakeAListByWhichItIsNotItsRegion, or it would serve beside the node that is.
func TestANodeDoesNotTakeAListByWhichItIsNotItsRegion(t *testing.T) {
	for _, change := range []func(*Member){
		func(m *Member) { m.Abandoned = true },
		func(m *Member) { m.Incarnation = 77 },
		func(m *Member) { m.Incarnation, m.Serving = 77, true },
		func(m *Member) { m.Serving, m.Fenced, m.Removed = true, true, true },
	} {
		us := joining(t)
		us.self, us.incarnation = 2, 2
		err := us.becomes(t, change)
		var abandoned abandonedError
		require.ErrorAs(t, err, &abandoned)
		version, _ := us.snapshot()
		require.Equal(t, uint64(2), version)
		// Others do.
		ap := joining(t)
		ap.self, ap.incarnation = 3, 3
		require.NoError(t, ap.becomes(t, change))
	}
}

func TestADecisionThatIsNotOnDiskDoesNotCount(t *testing.T) {
	g := joining(t)
	g.store = failMeta{}
	require.ErrorContains(t, g.becomes(t, func(m *Member) { m.Serving = true }), "disk full")
	m, ok := g.find(2)
	require.True(t, ok)
	require.Equal(t, Member{Region: 2, Name: "us", Incarnation: 2}, m)
}
