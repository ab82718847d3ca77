package clock_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
)

// drawVector draws a vector of few regions and few timestamps, so that vectors meet often.
func drawVector(t *rapid.T, name string) clock.Vector {
	entries := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) clock.Entry {
		return clock.Entry{
			Region: clock.Region(rapid.SampledFrom([]uint16{0, 1, 2, 3, 0xffff}).Draw(t, "region")),
			Time:   clock.Timestamp(rapid.OneOf(rapid.Uint64Max(5), rapid.Uint64()).Draw(t, "time")),
		}
	}), 0, 6).Draw(t, name)
	return clock.VectorOf(entries...)
}

// regions are those that drawVector draws, and one that it never does.
var regions = []clock.Region{0, 1, 2, 3, 4, 0xffff}

// check holds a vector to invariant 3.
func check(t *rapid.T, v clock.Vector) {
	for i, e := range v {
		require.NotZero(t, e.Time)
		require.True(t, i == 0 || v[i-1].Region < e.Region, "sorted, each region once")
	}
}

func TestVectorOperationsAreThoseOfTheEntries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, w := drawVector(t, "v"), drawVector(t, "w")
		before := slices.Clone(v)
		join, meet, includes := v.Join(w), v.Meet(w), true
		check(t, join)
		check(t, meet)
		for _, r := range regions {
			require.Equal(t, max(v.At(r), w.At(r)), join.At(r))
			require.Equal(t, min(v.At(r), w.At(r)), meet.At(r))
			includes = includes && v.At(r) >= w.At(r)
		}
		require.Equal(t, includes, v.Includes(w))
		require.Equal(t, includes && w.Includes(v), v.Equal(w))
		require.Equal(t, before, v, "vectors never change")
	})
}

// Invariant 4: the laws of a lattice.
func TestVectorsAreALattice(t *testing.T) {
	equal := func(t *rapid.T, a, b clock.Vector) { require.True(t, a.Equal(b), "%s and %s", a, b) }
	rapid.Check(t, func(t *rapid.T) {
		u, v, w := drawVector(t, "u"), drawVector(t, "v"), drawVector(t, "w")
		equal(t, u.Join(v), v.Join(u))
		equal(t, u.Meet(v), v.Meet(u))
		equal(t, u.Join(v.Join(w)), u.Join(v).Join(w))
		equal(t, u.Meet(v.Meet(w)), u.Meet(v).Meet(w))
		equal(t, u.Join(u.Meet(v)), u)
		equal(t, u.Meet(u.Join(v)), u)
		equal(t, u.Meet(v.Join(w)), u.Meet(v).Join(u.Meet(w)))
		equal(t, u.Join(nil), u)
		require.Empty(t, u.Meet(nil))
		require.True(t, u.Includes(u) && u.Includes(nil) && u.Join(v).Includes(u) && u.Includes(u.Meet(v)))
		require.Equal(t, u.Includes(v), u.Join(v).Equal(u))
	})
}

func TestWithSetsOneEntry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawVector(t, "v")
		before := slices.Clone(v)
		r := rapid.SampledFrom(regions).Draw(t, "region")
		time := clock.Timestamp(rapid.Uint64Max(3).Draw(t, "time"))
		got := v.With(r, time)
		check(t, got)
		for _, s := range regions {
			if s == r {
				require.Equal(t, time, got.At(s))
			} else {
				require.Equal(t, v.At(s), got.At(s))
			}
		}
		require.Equal(t, before, v)
	})
}

func TestVectorOfTakesTheHighestOfEachRegion(t *testing.T) {
	v := clock.VectorOf(clock.Entry{Region: 2, Time: 5}, clock.Entry{Region: 1, Time: 9}, clock.Entry{Region: 2, Time: 7},
		clock.Entry{Region: 2, Time: 6}, clock.Entry{Region: 3})
	require.Equal(t, clock.Vector{{Region: 1, Time: 9}, {Region: 2, Time: 7}}, v)
	require.Equal(t, clock.Timestamp(9), v.Max())
	require.Equal(t, clock.Timestamp(0), clock.Vector(nil).Max())
	require.True(t, v.Sees(clock.Dot{Region: 2, Time: 7, Index: 99}))
	require.False(t, v.Sees(clock.Dot{Region: 2, Time: 8}))
	require.False(t, v.Sees(clock.Dot{Region: 4, Time: 1}))
	require.Equal(t, "{1:0.0.9 2:0.0.7}", v.String())
}

func TestVectorDecodesToWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawVector(t, "v")
		ref := clock.Timestamp(rapid.Uint64().Draw(t, "ref"))
		tail := []byte("tail")
		got, rest, err := clock.DecodeVector(append(v.Append([]byte(nil), ref), tail...), ref)
		require.NoError(t, err)
		require.True(t, v.Equal(got))
		require.Equal(t, tail, rest)
		var space [2]clock.Entry
		again, _, err := clock.DecodeVectorInto(space[:], v.Append(nil, ref), ref)
		require.NoError(t, err)
		require.True(t, v.Equal(again))
	})
}

// The bytes are a format: they never change.
func TestVectorEncodingIsFixed(t *testing.T) {
	v := clock.VectorOf(clock.Entry{Region: 1, Time: 1000}, clock.Entry{Region: 3, Time: 1010})
	require.Equal(t, []byte{2, 1, 0, 2, 19}, v.Append(nil, 1000))
	require.Equal(t, []byte{0}, clock.Vector(nil).Append(nil, 1000))
}

func TestDecodeVectorRefusesWhatIsNone(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":               {},
		"count without end":   {0x80},
		"more than bytes":     {5, 1, 2},
		"too many":            append([]byte{0x81, 0x08}, make([]byte, 3000)...),
		"cut in a region":     {1, 0x80},
		"cut before the time": {2, 1, 2, 1},
		"region twice":        {2, 1, 2, 0, 2},
		"region too high":     {1, 0x80, 0x80, 0x04, 2},
		"regions too high":    {2, 0xff, 0xff, 0x03, 2, 1, 2},
		"region wraps round":  {2, 5, 2, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 2}, // 5 - 3
		"zero timestamp":      {1, 1, 200, 1},                                                           // 100 before 100
	} {
		_, _, err := clock.DecodeVector(b, 100)
		require.ErrorIs(t, err, clock.ErrVector, name)
	}
}

func FuzzDecodeVector(f *testing.F) {
	f.Add([]byte{2, 1, 0, 2, 19}, uint64(1000))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, ref uint64) {
		v, rest, err := clock.DecodeVector(b, clock.Timestamp(ref))
		if err != nil {
			require.ErrorIs(t, err, clock.ErrVector)
			return
		}
		require.LessOrEqual(t, len(v), clock.MaxVectorEntries)
		require.LessOrEqual(t, 1+2*len(v)+len(rest), len(b))
		again, _, err := clock.DecodeVector(v.Append(nil, clock.Timestamp(ref)), clock.Timestamp(ref))
		require.NoError(t, err)
		require.True(t, v.Equal(again))
		require.True(t, v.Equal(clock.VectorOf(v...)), "sorted, each region once, no zero")
	})
}

// Invariants 1 and 2, for any wall clock, set back ones among them.
func TestHybridClockNeverRepeatsAndNeverFallsBehind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slot := clock.Slot(rapid.Uint8Max(uint8(clock.MaxSlot)).Draw(t, "slot"))
		floor := clock.Timestamp(rapid.Uint64Max(1<<40).Draw(t, "start"))
		h := clock.NewHybrid(slot, floor)
		last := floor
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			wall := clock.Wall(rapid.Int64Range(-5, 1<<28).Draw(t, "wall"))
			if rapid.Bool().Draw(t, "promise") {
				limit := clock.Timestamp(rapid.Uint64Max(1<<41).Draw(t, "limit"))
				promised := h.Promise(wall, limit)
				require.GreaterOrEqual(t, promised, last, "what was issued is safe")
				require.LessOrEqual(t, promised, max(last, limit))
				last = promised
			} else {
				floor := clock.Timestamp(rapid.Uint64Max(1<<41).Draw(t, "floor"))
				peeked := h.Peek(wall, floor)
				next := h.Next(wall, floor)
				require.Equal(t, peeked, next)
				require.Greater(t, next, last)
				require.Greater(t, next, floor)
				require.GreaterOrEqual(t, next, clock.At(wall))
				require.Equal(t, slot, next.Slot())
				last = next
			}
			require.Equal(t, last, h.Last())
		}
	})
}

func TestNewHybridPanicsOnASlotThatDoesNotFit(t *testing.T) {
	require.Panics(t, func() { clock.NewHybrid(clock.MaxSlot+1, 0) })
}

func TestDotsCompareByTimeThenRegionThenIndex(t *testing.T) {
	dots := []clock.Dot{{}, {Region: 2, Time: 1}, {Region: 1, Time: 2}, {Region: 1, Time: 2, Index: 1}, {Region: 2, Time: 2}, {Region: 1, Time: 3}}
	for i, d := range dots {
		for j, e := range dots {
			require.Equal(t, i < j, d.Compare(e) < 0)
			require.Equal(t, i == j, d.Compare(e) == 0)
		}
		require.Equal(t, i == 0, d.IsZero())
		require.Equal(t, i == 0, d.Stamp().IsZero())
	}
	require.Equal(t, "2@0.0.2#3", clock.Dot{Region: 2, Time: 2, Index: 3}.String())
}

func TestLanesCompareByRegionThenSlot(t *testing.T) {
	lanes := []clock.Lane{{}, {Slot: 1}, {Region: 1}, {Region: 1, Slot: 63}, {Region: 2}}
	for i, l := range lanes {
		for j, m := range lanes {
			require.Equal(t, i < j, l.Compare(m) < 0)
			require.Equal(t, i == j, l.Compare(m) == 0)
		}
	}
	require.Equal(t, "1.63", lanes[3].String())
}

func TestAGroupIsOfALane(t *testing.T) {
	require.Equal(t, clock.Lane{Region: 3, Slot: 5}, clock.Stamp{Region: 3, Time: clock.At(7) | 5}.Lane())
	require.Equal(t, clock.Lane{}, clock.Stamp{Time: clock.At(7) | 5}.Lane(), "the certifier's numbers have no slot in them")
}

func TestWallsAndTimestampsConvert(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	w := clock.WallOf(at)
	require.Equal(t, at, w.Time())
	require.Equal(t, w, clock.At(w).Wall())
	require.Equal(t, time.Second, w.Add(time.Second).Sub(w))
	require.Zero(t, clock.At(-1))
	require.Equal(t, "5.0.63", (clock.At(5) | 63).String())
}
