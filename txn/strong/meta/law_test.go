package meta_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

func drawRegion(t *rapid.T) clock.Region { return clock.Region(rapid.IntRange(1, 5).Draw(t, "region")) }

func drawStore(t *rapid.T) uint64 { return uint64(rapid.IntRange(1, 3).Draw(t, "store")) }

func drawName(t *rapid.T) string {
	return rapid.SampledFrom([]string{"eu", "us", "ap"}).Draw(t, "name")
}

func drawBucket(t *rapid.T) kv.Bucket {
	return kv.Bucket(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "bucket"))
}

func drawRules(t *rapid.T) kv.BucketRules {
	r := kv.BucketRules{Name: drawBucket(t), Created: clock.Wall(rapid.Int64().Draw(t, "created"))}
	r.Levels = rapid.SampledFrom([][]kv.Level{nil, {kv.LevelStrong}, {kv.LevelCausal, kv.LevelQuorum}}).Draw(t, "levels")
	r.Types = rapid.SampledFrom([][]kv.Type{nil, {1}, {1, 2, 9}}).Draw(t, "types")
	return r
}

// drawCommand draws a command that may make sense at a version of the metadata.
func drawCommand(t *rapid.T, version uint64) meta.Command {
	at := func() uint64 {
		return uint64(rapid.IntRange(max(0, int(version)-2), int(version)+1).Draw(t, "version"))
	}
	switch rapid.IntRange(1, 16).Draw(t, "command") {
	case 1:
		return &meta.Found{Name: drawName(t), Store: drawStore(t)}
	case 2, 3:
		return &meta.Add{Name: drawName(t), Store: drawStore(t)}
	case 4, 5:
		return &meta.Serve{Region: drawRegion(t), Store: drawStore(t)}
	case 6:
		return &meta.Abandon{Region: drawRegion(t)}
	case 7:
		return &meta.Replace{Region: drawRegion(t), Was: drawStore(t), Store: drawStore(t)}
	case 8:
		return &meta.Fence{Region: drawRegion(t)}
	case 9, 10, 11:
		holds := clock.Vector{}
		for range 3 {
			holds = holds.With(drawRegion(t), clock.Timestamp(rapid.IntRange(0, 9).Draw(t, "held")))
		}
		return &meta.Held{Reporter: drawRegion(t), Version: at(), Holds: holds}
	case 12:
		return &meta.Close{Region: drawRegion(t)}
	case 13:
		return &meta.Create{Rules: drawRules(t)}
	case 14:
		return &meta.Alter{Rules: drawRules(t), Was: at()}
	case 15:
		return &meta.Drop{Bucket: drawBucket(t), Generation: rapid.Uint32Range(0, 3).Draw(t, "generation"), Ruled: rapid.Bool().Draw(t, "ruled")}
	}
	return &meta.Acknowledge{Region: drawRegion(t), Version: at()}
}

// feed has a random history decided, and calls look before and after each command.
func feed(t *rapid.T, look func(c meta.Command, before, after *meta.State, r *meta.Result)) {
	s := meta.New()
	for range rapid.IntRange(1, 60).Draw(t, "commands") {
		c := drawCommand(t, s.Version())
		b, err := meta.Encode(c)
		require.NoError(t, err)
		before, err := meta.Restore(s.AppendSnapshot(nil))
		require.NoError(t, err)
		result, err := s.Apply(b, 7)
		require.NoError(t, err)
		look(c, before, s, &result)
	}
}

// moves are the phases that may follow each; 0 is not being there.
var moves = map[meta.Phase][]meta.Phase{
	0:              {meta.Joining, meta.Serving},
	meta.Joining:   {meta.Serving, meta.Abandoned},
	meta.Serving:   {meta.Fenced},
	meta.Fenced:    {meta.Removed},
	meta.Removed:   nil,
	meta.Abandoned: nil,
}

// Regions live as the package comment draws it (invariants 3, 4 and 5).
func TestRegionsLiveAsDrawn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		feed(t, func(c meta.Command, before, after *meta.State, r *meta.Result) {
			old, now := before.Regions(), after.Regions()
			require.GreaterOrEqual(t, len(now), len(old))
			for i := range now {
				was := meta.Region{}
				if i < len(old) {
					was = old[i]
				}
				require.EqualValues(t, i+1, now[i].Number)
				if was.Phase != now[i].Phase {
					require.Contains(t, moves[was.Phase], now[i].Phase, "%d after %T", i+1, c)
				}
				if was.Phase == meta.Serving && now[i].Phase == meta.Fenced || now[i].Phase == meta.Abandoned && was.Phase != now[i].Phase {
					require.Equal(t, []clock.Region{now[i].Number}, r.Ends)
				}
				if was.Phase == meta.Removed {
					require.LessOrEqual(t, now[i].Last, was.Last)
				}
			}
			checkRegions(t, now, after)
		})
	})
}

func checkRegions(t *rapid.T, regions []meta.Region, s *meta.State) {
	count := map[meta.Phase]int{}
	names := map[string]bool{}
	for _, r := range regions {
		count[r.Phase]++
		if r.Phase == meta.Joining || r.Phase == meta.Serving || r.Phase == meta.Fenced {
			require.False(t, names[r.Name], "two regions %q", r.Name)
			names[r.Name] = true
		}
		if r.Phase == meta.Removed {
			require.NotZero(t, r.Heir)
			require.NotEqual(t, r.Number, r.Heir)
			require.EqualValues(t, 7, r.Closed)
		}
		require.LessOrEqual(t, r.Acknowledged, s.Version())
	}
	require.LessOrEqual(t, count[meta.Joining], 1)
	require.Equal(t, count[meta.Serving], len(s.Serving()))
	if len(regions) > 0 {
		require.NotZero(t, count[meta.Serving])
	}
}

// model remembers every report, and asks for new ones by the same events.
type model struct {
	reports []*meta.Held // since the last fence or lost store
	since   uint64
}

func (m *model) note(c meta.Command, before, after *meta.State, r *meta.Result) {
	switch c := c.(type) {
	case *meta.Fence, *meta.Replace:
		if after.Version() > before.Version() {
			m.reports, m.since = nil, after.Version()
		}
	case *meta.Held:
		if r.Err == nil {
			m.reports = append(m.reports, c)
		}
	}
}

// A region is closed only once every region that serves has said, after the last fence and the last lost
// store, what it holds; its last entry is the highest of that (DESIGN's two decisions).
func TestARegionEndsWithTheHighestThatIsHeld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{}
		feed(t, func(c meta.Command, before, after *meta.State, r *meta.Result) {
			m.note(c, before, after, r)
			for _, h := range m.reports {
				require.GreaterOrEqual(t, h.Version, m.since)
			}
			for _, region := range after.Regions() {
				was, _ := before.Region(region.Number)
				if region.Phase != meta.Removed || was.Phase == meta.Removed && was.Last == region.Last {
					continue
				}
				for _, n := range after.Serving() {
					require.True(t, slices.ContainsFunc(m.reports, func(h *meta.Held) bool { return h.Reporter == n }), "%d has not reported", n)
				}
				highest := clock.Timestamp(0)
				for _, h := range m.reports {
					highest = max(highest, h.Holds.At(region.Number))
				}
				require.Equal(t, highest, region.Last)
				require.Contains(t, after.Serving(), region.Heir, "at %T", c)
			}
		})
	})
}

// A bucket's generation rises with each drop, which names one that is not below it, and no access exists in one below.
func TestGenerationsNeverComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drops := map[kv.Bucket]uint32{}
		feed(t, func(c meta.Command, before, after *meta.State, r *meta.Result) {
			if d, is := c.(*meta.Drop); is && r.Err == nil {
				require.GreaterOrEqual(t, d.Generation, drops[d.Bucket])
				drops[d.Bucket] = d.Generation + 1
			}
			for _, b := range []kv.Bucket{"a", "b"} {
				if of := after.Rules().Of(b); of != nil {
					require.Equal(t, drops[b], of.Generation)
				}
				for g := range drops[b] + 2 {
					key := binary.BigEndian.AppendUint32(kv.AppendName(nil, string(b)), g)
					require.Equal(t, g >= drops[b], after.Exists(certify.Point(append(key, "key"...))))
				}
			}
		})
	})
}

// Rules are pending where a serving region has not acknowledged their version, and are what was last
// decided.
func TestRulesArePendingUntilAcknowledged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules, since := map[kv.Bucket]kv.BucketRules{}, map[kv.Bucket]uint64{}
		known := map[clock.Region]uint64{}
		feed(t, func(c meta.Command, before, after *meta.State, r *meta.Result) {
			if r.Err == nil {
				decide(c, rules, since, after)
			}
			acknowledge(c, known, before, r)
			require.Len(t, after.Buckets(), len(rules))
			for _, b := range after.Buckets() {
				want := rules[b.Name]
				want.Generation = b.Generation
				require.Equal(t, want, b.BucketRules)
				require.Equal(t, since[b.Name], b.Since)
				for _, n := range after.Serving() {
					require.Equal(t, known[n] < b.Since, slices.Contains(b.Pending, n))
				}
			}
		})
	})
}

// decide carries out a command that was not refused.
func decide(c meta.Command, rules map[kv.Bucket]kv.BucketRules, since map[kv.Bucket]uint64, after *meta.State) {
	switch c := c.(type) {
	case *meta.Create:
		rules[c.Rules.Name], since[c.Rules.Name] = c.Rules, after.Version()
	case *meta.Alter:
		r := c.Rules
		r.Created = rules[r.Name].Created
		rules[r.Name], since[r.Name] = r, after.Version()
	case *meta.Drop:
		delete(rules, c.Bucket)
	}
}

// acknowledge notes what a region is known to act by: what it said, unless its store was lost since.
func acknowledge(c meta.Command, known map[clock.Region]uint64, before *meta.State, r *meta.Result) {
	switch c := c.(type) {
	case *meta.Found:
		if before.Version() == 0 {
			known[1] = r.Version
		}
	case *meta.Replace:
		if was, _ := before.Region(c.Region); r.Err == nil && was.Store != c.Store {
			known[c.Region] = 0
		}
	case *meta.Acknowledge:
		if r.Err == nil {
			known[c.Region] = max(known[c.Region], c.Version)
		}
	}
}

// A command that is refused changes nothing, and one that is asked for again, of those that say so, neither
// (invariant 2). The version tells whether regions have to know.
func TestRefusedAndRepeatedCommandsChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		feed(t, func(c meta.Command, before, after *meta.State, r *meta.Result) {
			require.Equal(t, r.Version, after.Version())
			snapshot := after.AppendSnapshot(nil)
			if r.Err != nil {
				require.Equal(t, before.AppendSnapshot(nil), snapshot)
				require.Empty(t, r.Ends)
			}
			if before.Version() == after.Version() && r.Err == nil {
				require.Equal(t, before.Buckets() == nil, after.Buckets() == nil)
				require.Len(t, after.Regions(), len(before.Regions()))
			}
			switch c.(type) {
			case *meta.Create, *meta.Alter, *meta.Drop:
				return
			}
			again, err := meta.Restore(snapshot)
			require.NoError(t, err)
			b, err := meta.Encode(c)
			require.NoError(t, err)
			_, err = again.Apply(b, 7)
			require.NoError(t, err)
			require.Equal(t, snapshot, again.AppendSnapshot(nil), "%T twice", c)
		})
	})
}

// From any group with an active majority, single steps lead to the voters that are wanted, and on the way
// there always is an active majority.
func TestVotersBecomeWhatIsWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s *meta.State
		feed(t, func(_ meta.Command, _, after *meta.State, _ *meta.Result) { s = after })
		if s.Version() == 0 {
			t.Skip()
		}
		var members []meta.Member
		for n := range clock.Region(6) {
			for store := range uint64(4) {
				if role := meta.Role(rapid.IntRange(0, 2).Draw(t, "role")); role != meta.None {
					members = append(members, meta.Member{ID: meta.VoterID(n, store), Role: role, Caught: true,
						Active: s.Wanted(meta.VoterID(n, store)) != meta.None || rapid.Bool().Draw(t, "active")})
				}
			}
		}
		if !majority(members) {
			t.Skip()
		}
		for {
			step, found := s.Next(members)
			if !found {
				break
			}
			members = take(members, step)
			require.True(t, majority(members), "after %v", step)
		}
		voters := 0
		for _, m := range members {
			require.Equal(t, s.Wanted(m.ID), m.Role, "member %x", m.ID)
			voters += int(m.Role) / int(meta.Voter)
		}
		require.Len(t, s.Serving(), voters)
	})
}

func majority(members []meta.Member) bool {
	voters, active := 0, 0
	for _, m := range members {
		if m.Role == meta.Voter {
			voters++
			if m.Active {
				active++
			}
		}
	}
	return active > voters/2
}
