package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

// enterAll carries out what enter asks for, until it asks for nothing.
func enterAll(t *testing.T, s *meta.State, all []replication.Member, stores map[clock.Region]uint64) (phases []meta.Phase) {
	t.Helper()
	for range 100 {
		c := enter(s.Regions(), all, stores)
		if c == nil {
			for _, r := range s.Regions() {
				phases = append(phases, r.Phase)
			}
			return phases
		}
		b, err := meta.Encode(c)
		require.NoError(t, err)
		r, err := s.Apply(b, 0)
		require.NoError(t, err)
		require.Nil(t, r.Err, "%T %+v", c, c)
	}
	require.Fail(t, "it never ends")
	return nil
}

func TestTheMetadataComesToKnowTheRegionsUnderTheirNumbers(t *testing.T) {
	s := meta.New()
	all := []replication.Member{{Region: 1, Name: "eu", Serving: true}}
	require.Empty(t, enterAll(t, s, all, nil), "nobody knows its store")
	stores := map[clock.Region]uint64{1: 11}
	require.Equal(t, []meta.Phase{meta.Serving}, enterAll(t, s, all, stores))
	all = append(all, replication.Member{Region: 2, Name: "us"}, replication.Member{Region: 3, Name: "ap", Serving: true})
	stores[3] = 33
	require.Len(t, enterAll(t, s, all, stores), 1, "who joins may yet serve")
	all[1] = replication.Member{Region: 2, Abandoned: true}
	all = append(all, replication.Member{Region: 4, Name: "us", Serving: true})
	stores[4] = 44
	want := []meta.Phase{meta.Serving, meta.Abandoned, meta.Serving, meta.Serving}
	require.Equal(t, want, enterAll(t, s, all, stores))
	us, _ := s.Region(4)
	require.Equal(t, "us", us.Name)
	require.EqualValues(t, 44, us.Store)

	stores[4] = 45
	require.Equal(t, want, enterAll(t, s, all, stores))
	us, _ = s.Region(4)
	require.EqualValues(t, 45, us.Store, "its store was lost")
	version := s.Version()
	delete(stores, 4)
	require.Equal(t, want, enterAll(t, s, all, stores))
	require.Equal(t, version, s.Version(), "one that is not reached has the store that it had")
	require.Nil(t, enter(nil, []replication.Member{{Region: 2, Name: "us", Serving: true}}, stores), "a list without its beginning")
}
