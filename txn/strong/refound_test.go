package strong

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
)

// stands is a node at rest of a region whose store has the number of the region, times ten.
func stands(region clock.Region, commit, last, term uint64, voters ...uint64) Standing {
	return Standing{ID: VoterID(region, uint64(region)*10), Leaderless: true, Term: term, Commit: commit, Last: last, LastTerm: term, Voters: voters}
}

func placesOf(all ...Standing) (places []Place, said map[uint64]Standing) {
	said = map[uint64]Standing{}
	for _, s := range all {
		region := RegionOf(s.ID)
		places = append(places, Place{Seat: Seat{Region: region, Store: uint64(region) * 10}})
		said[s.ID] = s
	}
	return places, said
}

func TestWhoFoundsTheGroupAnew(t *testing.T) {
	a, b, c, d, e := VoterID(1, 10), VoterID(2, 20), VoterID(3, 30), VoterID(4, 40), VoterID(5, 50)
	b0, c0, d0, e0 := VoterID(2, 2), VoterID(3, 3), VoterID(4, 4), VoterID(5, 5) // stores of before
	blank := func(region clock.Region) Standing { return stands(region, 0, 0, 0) }
	three := []uint64{a, b0, c0}
	joint := stands(1, 5, 5, 2, a, b)
	joint.Outgoing = []uint64{a, b0}
	ahead := stands(2, 5, 5, 2)
	ahead.Held = 7
	newer := blank(3) // its data is a copy of a lost store's
	newer.Version = 9
	busy := blank(3)
	busy.Leaderless = false
	for name, x := range map[string]struct {
		all    []Standing
		who    uint64
		commit uint64
	}{
		"two of three are lost":                  {[]Standing{stands(1, 5, 6, 2, three...), blank(2), blank(3)}, a, 5},
		"a blank one has newer metadata":         {[]Standing{stands(1, 5, 6, 2, three...), blank(2), newer}, a, 5},
		"one of two is lost":                     {[]Standing{stands(1, 5, 6, 2, a, b0), blank(2)}, a, 5},
		"all are lost":                           {[]Standing{blank(2), blank(1), blank(3)}, a, 0},
		"one of three is lost":                   {[]Standing{stands(1, 5, 5, 2, a, b, c0), stands(2, 5, 5, 2, a, b, c0), blank(3)}, 0, 0},
		"none is lost":                           {[]Standing{stands(1, 5, 5, 2, a, b), stands(2, 5, 5, 2, a, b)}, 0, 0},
		"one knew a leader":                      {[]Standing{stands(1, 5, 6, 2, three...), blank(2), busy}, 0, 0},
		"the lowest of equals":                   {[]Standing{stands(1, 5, 5, 2, a, b, c0, d0, e0), stands(2, 5, 5, 2, a, b, c0, d0, e0), blank(3), blank(4), blank(5)}, a, 5},
		"the longer log of a term":               {[]Standing{stands(1, 5, 5, 2, a, b, c0, d0, e0), stands(2, 4, 6, 2, a, b, c0, d0, e0), blank(3), blank(4), blank(5)}, b, 5},
		"a later term does not make up":          {[]Standing{stands(1, 3, 9, 5, a, b, c0, d0, e0), stands(2, 5, 5, 4, a, b, c0, d0, e0), blank(3), blank(4), blank(5)}, b, 5},
		"nor does its absence":                   {[]Standing{stands(1, 5, 9, 4, a, b, c0, d0, e0), stands(2, 5, 5, 5, a, b, c0, d0, e0), blank(3), blank(4), blank(5)}, b, 5},
		"what the others have comes first":       {[]Standing{stands(1, 5, 5, 2, a, c0), ahead}, 0, 0},
		"an old learner knows little":            {[]Standing{stands(1, 5, 5, 2, three...), stands(2, 1, 2, 1, a), blank(3)}, a, 5},
		"two whom it lacks":                      {[]Standing{stands(1, 5, 5, 2, a, b, d, e), stands(2, 5, 5, 2, a, b, d, e)}, 0, 0},
		"one of a joint majority":                {[]Standing{joint, blank(2)}, a, 5},
		"all of a joint one":                     {[]Standing{joint, stands(2, 5, 5, 2, a, b)}, 0, 0},
		"a store that nobody hears may still be": {[]Standing{stands(1, 5, 5, 2, a, b0, c), blank(2)}, 0, 0},
		"nobody":                                 {},
	} {
		t.Run(name, func(t *testing.T) {
			places, said := placesOf(x.all...)
			for id := range said {
				r, act, why := judge(places, said, id)
				require.Equal(t, id == x.who, act, "%x: %s", id, why)
				require.Equal(t, act, why == "")
				if !act {
					continue
				}
				require.Equal(t, x.commit, r.Commit)
				for _, s := range x.all {
					require.GreaterOrEqual(t, r.Index, s.Last+RefoundGap)
					require.GreaterOrEqual(t, r.Term, s.Term+RefoundGap)
					require.GreaterOrEqual(t, r.Version, s.Version+RefoundGap)
				}
			}
		})
	}
	places, said := placesOf(stands(1, 5, 6, 2, three...), blank(2), blank(3))
	r, act, _ := judge(places, said, a)
	require.True(t, act)
	require.Equal(t, []uint64{b0, c0}, r.Lost)
	for name, spoil := range map[string]func(places []Place, said map[uint64]Standing){
		"not connected":  func(places []Place, _ map[uint64]Standing) { places[1].Store = 0 },
		"recovering":     func(places []Place, _ map[uint64]Standing) { places[2].Recovering = true },
		"silent":         func(_ []Place, said map[uint64]Standing) { delete(said, c) },
		"itself unknown": func(_ []Place, said map[uint64]Standing) { delete(said, a) },
	} {
		places, said := slices.Clone(places), maps.Clone(said)
		spoil(places, said)
		_, act, _ := judge(places, said, a)
		require.False(t, act, name)
	}
}

// TestOneFoundsADeadGroupAndNobodyALivingOne: some stores of a group are replaced. What the others hold are ends of one
// log, as far as the leader of the term got with each.
func TestOneFoundsADeadGroupAndNobodyALivingOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(t, "regions")
		lost := rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "lost")
		commit := rapid.Uint64Range(1, 20).Draw(t, "commit")
		var voters []uint64
		for i := range n {
			store := uint64(i+1) * 10
			if lost[i] {
				store++
			}
			voters = append(voters, VoterID(clock.Region(i+1), store))
		}
		var all []Standing
		left, known, longest := 0, uint64(0), uint64(0)
		for i := range n {
			s := stands(clock.Region(i+1), 0, 0, 0)
			if !lost[i] {
				left++
				known1 := rapid.Uint64Range(1, commit).Draw(t, "known")
				s = stands(RegionOf(s.ID), known1, rapid.Uint64Range(known1, commit+5).Draw(t, "last"), 3, voters...)
				known, longest = max(known, known1), max(longest, s.Last)
			}
			all = append(all, s)
		}
		places, said := placesOf(all...)
		var acts []Standing
		for _, s := range all {
			if r, act, _ := judge(places, said, s.ID); act {
				acts = append(acts, s)
				require.Equal(t, known, r.Commit)
			}
		}
		if 2*left > n {
			require.Empty(t, acts)
			return
		}
		require.Len(t, acts, 1)
		require.Equal(t, longest, acts[0].Last, "nobody is left who knows more")
	})
}

func TestStandingsAreWhatWasSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64()
		ids := func(label string) (out []uint64) {
			for range rapid.IntRange(0, 9).Draw(t, label) {
				out = append(out, n.Draw(t, "id"))
			}
			return out
		}
		s := Standing{
			ID: 7, Leaderless: rapid.Bool().Draw(t, "leaderless"), Term: n.Draw(t, "term"), Commit: n.Draw(t, "commit"), Last: n.Draw(t, "last"),
			LastTerm: n.Draw(t, "last term"), Held: clock.Timestamp(n.Draw(t, "held")), Version: n.Draw(t, "version"), Voters: ids("voters"), Outgoing: ids("outgoing"),
		}
		b := s.append(nil)
		got, err := decodeStanding(7, b)
		require.NoError(t, err)
		require.Equal(t, s, *got)
		_, err = decodeStanding(7, b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")])
		require.Error(t, err)
		_, err = decodeStanding(7, append(b, 0))
		require.Error(t, err)
	})
}
