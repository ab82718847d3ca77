package meta_test

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/meta"
	"github.com/theriac-db/theriac/txn/strong/wire"
)

func TestCommandsDecodeToWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCommand(t, 5)
		b, err := meta.Encode(c)
		require.NoError(t, err)
		got, err := meta.Decode(b)
		require.NoError(t, err)
		again, err := meta.Encode(got)
		require.NoError(t, err)
		require.Equal(t, b, again)
		require.IsType(t, c, got)
		_, err = meta.Decode(b[:rapid.IntRange(0, len(b)-1).Draw(t, "bytes left")])
		require.ErrorIs(t, err, kv.ErrCorrupt)
		_, err = meta.Decode(append(b, 0))
		require.ErrorIs(t, err, kv.ErrCorrupt)
	})
}

var rulesFixture = kv.BucketRules{Name: "b", Created: 5, Types: []kv.Type{1, 9}, Levels: []kv.Level{kv.LevelCausal, kv.LevelBounded},
	Consistency: kv.Consistency{Level: kv.LevelBounded, Bound: 300, BoundFail: true}, Reach: kv.Reach{Durability: kv.DurabilityRegions, Regions: 2}}

const rulesHex = "01" + "62" + "0a" + "02" + "0109" + "02" + "0203" + "03" + "ac02" + "01" + "03" + "02"

// Commands lie in logs: their bytes stay readable as long as their version does.
func TestCommandEncodingsAreFixed(t *testing.T) {
	rules := rulesFixture
	rules.Bound = 300 * time.Microsecond
	const withMicros = "01" + "62" + "0a" + "02" + "0109" + "02" + "0203" + "03" + "e0a712" + "01" + "03" + "02"
	for want, c := range map[string]meta.Command{
		"0201" + "02" + "6575" + "0000000000000011":             &meta.Found{Name: "eu", Store: 0x11},
		"0202" + "02" + "6575" + "0000000000000011":             &meta.Add{Name: "eu", Store: 0x11},
		"0203" + "ac02" + "0000000000000011":                    &meta.Serve{Region: 300, Store: 0x11},
		"0204" + "02":                                           &meta.Abandon{Region: 2},
		"0205" + "02" + "0000000000000011" + "0000000000000012": &meta.Replace{Region: 2, Was: 0x11, Store: 0x12},
		"0206" + "02": &meta.Fence{Region: 2},
		"0207" + "01" + "ac02" + "01" + "02" + "13": &meta.Held{Reporter: 1, Version: 300, Holds: clock.VectorOf(clock.Entry{Region: 2, Time: 10})},
		"0208" + "02":                        &meta.Close{Region: 2},
		"0209" + withMicros:                  &meta.Create{Rules: rules},
		"020a" + withMicros + "07":           &meta.Alter{Rules: rules, Was: 7},
		"020b" + "01" + "62" + "ac02" + "01": &meta.Drop{Bucket: "b", Generation: 300, Ruled: true},
		"020c" + "02" + "ac02":               &meta.Acknowledge{Region: 2, Version: 300},
	} {
		b, err := meta.Encode(c)
		require.NoError(t, err)
		require.Equal(t, want, hex.EncodeToString(b), "%T", c)
		got, err := meta.Decode(b)
		require.NoError(t, err)
		require.Equal(t, c, got)
	}
}

func TestCommandsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, c := range []meta.Command{
		&meta.Found{Name: "EU", Store: 1}, &meta.Found{Name: "eu"}, &meta.Add{Store: 1}, &meta.Add{Name: strings.Repeat("a", 65), Store: 1},
		&meta.Serve{Store: 1}, &meta.Serve{Region: 1}, &meta.Abandon{}, &meta.Replace{Region: 1}, &meta.Fence{}, &meta.Held{}, &meta.Close{},
		&meta.Create{}, &meta.Create{Rules: kv.BucketRules{Name: "theriac.x"}}, &meta.Alter{Rules: kv.BucketRules{Name: "b", Types: []kv.Type{200}}},
		&meta.Alter{Rules: kv.BucketRules{Name: "b", Types: make([]kv.Type, 256)}}, &meta.Drop{Bucket: kv.Bucket(strings.Repeat("b", 256))}, &meta.Drop{}, &meta.Drop{Bucket: "theriac.import"},
		&meta.Acknowledge{},
	} {
		_, err := meta.Encode(c)
		require.ErrorIs(t, err, kv.ErrInvalid, "%T", c)
	}
	for what, src := range map[string]string{
		"nothing":             "",
		"another version":     "0106" + "02",
		"no kind":             "0200" + "02",
		"an unknown kind":     "020d" + "02",
		"region 0":            "0206" + "00",
		"region too high":     "0206" + "808004",
		"a name in capitals":  "0201" + "01" + "45" + "0000000000000011",
		"a flag of 2":         "0209" + strings.Replace(rulesHex, "ac0201", "ac0202", 1),
		"types cut":           "0209" + "01" + "62" + "0a" + "ff" + "01",
		"no bucket":           "020b" + "00" + "00" + "00",
		"generation too high": "020b" + "01" + "62" + "8080808010" + "00",
	} {
		b, err := hex.DecodeString(src)
		require.NoError(t, err, what)
		_, err = meta.Decode(b)
		require.ErrorIs(t, err, kv.ErrCorrupt, what)
		s := meta.New()
		_, err = s.Apply(b, 0)
		require.ErrorIs(t, err, kv.ErrCorrupt, what)
	}
}

// What a version of the database refuses because it knows no such type, a log entry of a later one may hold.
func TestRulesOfLaterVersionsAreKept(t *testing.T) {
	s := meta.New()
	apply(t, s, &meta.Found{Name: "eu", Store: 1})
	command, err := hex.DecodeString("0209" + "01" + "62" + "00" + "01" + "c8" + "01" + "09" + "09" + "00" + "00" + "09" + "00")
	require.NoError(t, err)
	result, err := s.Apply(command, 0)
	require.NoError(t, err)
	require.Nil(t, result.Err)
	require.Equal(t, []kv.Type{200}, s.Buckets()[0].Types)
}

func apply(t testing.TB, s *meta.State, commands ...meta.Command) {
	for _, c := range commands {
		b, err := meta.Encode(c)
		require.NoError(t, err)
		result, err := s.Apply(b, 0x77)
		require.NoError(t, err)
		require.Nil(t, result.Err, "%T", c)
	}
}

// fed is a state with something of everything in it.
func fed(t testing.TB) *meta.State {
	s := meta.New()
	rules := rulesFixture
	rules.Bound = time.Millisecond
	apply(t, s, &meta.Found{Name: "eu", Store: 0x11}, &meta.Add{Name: "us", Store: 0x21}, &meta.Serve{Region: 2, Store: 0x21}, &meta.Fence{Region: 2},
		&meta.Held{Reporter: 1, Version: 4, Holds: clock.VectorOf(clock.Entry{Region: 2, Time: 10})}, &meta.Close{Region: 2},
		&meta.Create{Rules: rules}, &meta.Create{Rules: kv.BucketRules{Name: "c"}}, &meta.Drop{Bucket: "c"},
		&meta.Add{Name: "us", Store: 0x22}, &meta.Acknowledge{Region: 1, Version: 8})
	return s
}

const snapshotHex = "01" + "09" + "03" +
	"02" + "6575" + "02" + "0000000000000011" + "08" +
	"02" + "7573" + "04" + "0000000000000021" + "00" + "000000000000000a" + "0000000000000077" + "01" +
	"02" + "7573" + "01" + "0000000000000022" + "00" +
	"04" + "01" + "01" + "01" + "02" + "13" +
	"02" +
	"01" + "62" + "0a" + "02" + "0109" + "02" + "0203" + "03" + "c0843d" + "01" + "03" + "02" + "00" + "06" + "00" +
	"01" + "63" + "00" + "00" + "00" + "00" + "00" + "00" + "00" + "00" + "01" + "00" + "08"

func TestSnapshotEncodingIsFixed(t *testing.T) {
	snapshot := fed(t).AppendSnapshot([]byte("x"))[1:]
	require.Equal(t, snapshotHex, hex.EncodeToString(snapshot[:len(snapshot)-4]))
	s, err := meta.Restore(snapshot)
	require.NoError(t, err)
	require.Equal(t, fed(t), s)
	generation, pending, found := s.Dropped("c")
	require.True(t, found)
	require.EqualValues(t, 1, generation)
	require.Empty(t, pending)
	_, _, found = s.Dropped("b")
	require.False(t, found)
	for i := range snapshot {
		_, err := meta.Restore(snapshot[:i])
		require.ErrorIs(t, err, kv.ErrCorrupt)
		snapshot[i] ^= 0x10
		_, err = meta.Restore(snapshot)
		require.ErrorIs(t, err, kv.ErrCorrupt)
		snapshot[i] ^= 0x10
	}
}

func TestForgedSnapshotsAreRefused(t *testing.T) {
	eu := "02" + "6575" + "02" + "0000000000000011" + "01"
	joins := func(name string) string { return "02" + name + "01" + "0000000000000011" + "00" }
	const none = "00" + "00" + "00"
	c := "01" + "63" + strings.Repeat("00", 8)
	valid := func(src string) error {
		b, err := hex.DecodeString(src)
		require.NoError(t, err)
		_, err = meta.Restore(wire.Seal(b, 0))
		return err
	}
	require.NoError(t, valid("01"+"05"+"01"+eu+none))
	for what, src := range map[string]string{
		"another version":           "02" + "05" + "01" + eu + none,
		"bytes too many":            "01" + "05" + "01" + eu + none + "00",
		"more regions than bytes":   "01" + "05" + "09" + eu + none,
		"nobody serves":             "01" + "05" + "01" + joins("6575") + none,
		"two of one name":           "01" + "05" + "02" + eu + eu + none,
		"two join":                  "01" + "05" + "03" + eu + joins("7573") + joins("6170") + none,
		"a phase too many":          "01" + "05" + "02" + eu + "02" + "7573" + "06" + "0000000000000011" + "00" + none,
		"a store of 0":              "01" + "05" + "02" + eu + "02" + "7573" + "02" + "0000000000000000" + "00" + none,
		"acknowledged to come":      "01" + "05" + "01" + strings.TrimSuffix(eu, "01") + "06" + none,
		"its own heir":              "01" + "05" + "02" + eu + "02" + "7573" + "04" + "0000000000000011" + "00" + strings.Repeat("00", 16) + "02" + none,
		"asked in a time to come":   "01" + "05" + "01" + eu + "06" + "00" + "00",
		"a report of nobody":        "01" + "05" + "01" + eu + "01" + "01" + "02" + "00" + "00",
		"reports fall":              "01" + "05" + "01" + eu + "01" + "02" + "01" + "00" + "01" + "00" + "00",
		"a bucket twice":            "01" + "05" + "01" + eu + "00" + "00" + "02" + c + "00" + "01" + "00" + c + "00" + "01" + "00",
		"dropped, at generation 0":  "01" + "05" + "01" + eu + "00" + "00" + "01" + c + "00" + "01" + "01",
		"generation 1, not dropped": "01" + "05" + "01" + eu + "00" + "00" + "01" + c + "01" + "01" + "00",
		"neither there nor dropped": "01" + "05" + "01" + eu + "00" + "00" + "01" + c + "00" + "00" + "00",
		"rules of a time to come":   "01" + "05" + "01" + eu + "00" + "00" + "01" + c + "00" + "06" + "00",
	} {
		require.ErrorIs(t, valid(src), kv.ErrCorrupt, what)
	}
}

func TestAnswersDecodeToWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := meta.Result{Version: rapid.Uint64().Draw(t, "version"), Region: clock.Region(rapid.Uint16().Draw(t, "region"))}
		if rapid.Bool().Draw(t, "refused") {
			want.Err = &kv.Error{Kind: kv.Kind(rapid.IntRange(1, 16).Draw(t, "kind")), Message: rapid.StringN(0, 100, 400).Draw(t, "message")}
		}
		b := want.AppendAnswer(nil)
		got, err := meta.DecodeAnswer(b)
		require.NoError(t, err)
		require.Equal(t, want, got)
		_, err = meta.DecodeAnswer(b[:rapid.IntRange(0, len(b)-1).Draw(t, "bytes left")])
		require.ErrorIs(t, err, kv.ErrCorrupt)
	})
	long := meta.Result{Err: &kv.Error{Kind: kv.KindInvalid, Message: strings.Repeat("a", meta.MaxMessage-1) + "é"}}
	got, err := meta.DecodeAnswer(long.AppendAnswer(nil))
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("a", meta.MaxMessage-1), got.Err.Message)
	require.Equal(t, "0105020b0161", hex.EncodeToString((&meta.Result{Version: 5, Region: 2, Err: kv.Errorf(kv.KindTooOld, "a")}).AppendAnswer(nil)))
}

func TestBucketsAndRegionsAreBounded(t *testing.T) {
	s := meta.New()
	apply(t, s, &meta.Found{Name: "eu", Store: 1})
	refused := func(c meta.Command) {
		b, err := meta.Encode(c)
		require.NoError(t, err)
		result, err := s.Apply(b, 0)
		require.NoError(t, err)
		require.ErrorIs(t, result.Err, kv.ErrTooLarge)
		require.Equal(t, kv.NotApplied, result.Err.Outcome)
	}
	name := func(i int) string { return "r" + hex.EncodeToString([]byte{byte(i >> 8), byte(i)}) }
	for i := range meta.MaxBuckets {
		apply(t, s, &meta.Create{Rules: kv.BucketRules{Name: kv.Bucket(name(i))}})
	}
	apply(t, s, &meta.Drop{Bucket: "r0000"})
	refused(&meta.Create{Rules: kv.BucketRules{Name: "one more"}})
	apply(t, s, &meta.Create{Rules: kv.BucketRules{Name: "r0000"}})
	for i := 2; i <= meta.MaxMembers; i++ {
		apply(t, s, &meta.Add{Name: name(i), Store: 1}, &meta.Serve{Region: clock.Region(i), Store: 1})
	}
	refused(&meta.Add{Name: "one-more", Store: 1})
	_, err := meta.Restore(s.AppendSnapshot(nil))
	require.NoError(t, err)

	s = meta.New()
	apply(t, s, &meta.Found{Name: "eu", Store: 1})
	for i := 2; i <= meta.MaxRegions; i++ {
		apply(t, s, &meta.Add{Name: "us", Store: 1}, &meta.Abandon{Region: clock.Region(i)})
	}
	refused(&meta.Add{Name: "us", Store: 1})
	_, err = meta.Restore(s.AppendSnapshot(nil))
	require.NoError(t, err)
}

func TestPhasesAndRolesHaveNames(t *testing.T) {
	require.Equal(t, "joining", meta.Joining.String())
	require.Equal(t, "phase(9)", meta.Phase(9).String())
	require.Equal(t, "voter", meta.Voter.String())
	require.Equal(t, "role(9)", meta.Role(9).String())
}

func TestVoterIDsTellTheRegion(t *testing.T) {
	id := meta.VoterID(0xfedc, 0x1234_5678_9abc_def1)
	require.Equal(t, uint64(0xfedc_5678_9abc_def1), id)
	require.EqualValues(t, 0xfedc, meta.VoterRegion(id))
}

// Arbitrary bytes are no command, or one that is encoded to what means the same, and decided.
func FuzzCommand(f *testing.F) {
	rapidSeeds := []string{"01010265750000000000000011", "010602", "0207" + "01" + "04" + "01" + "02" + "13", "0209" + rulesHex, "020a" + rulesHex + "07", "010b0162"}
	for _, s := range rapidSeeds {
		b, err := hex.DecodeString(s)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := meta.Decode(b)
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		s := fed(t)
		result, err := s.Apply(b, 9)
		require.NoError(t, err)
		_, err = meta.DecodeAnswer(result.AppendAnswer(nil))
		require.NoError(t, err)
		_, err = meta.Restore(s.AppendSnapshot(nil))
		require.NoError(t, err)
		if again, err := meta.Encode(c); err == nil {
			same, err := meta.Decode(again)
			require.NoError(t, err)
			require.Equal(t, c, same)
		}
	})
}

// Arbitrary bytes under a right checksum are no snapshot, or one of a state that goes on.
func FuzzSnapshot(f *testing.F) {
	snapshot := fed(f).AppendSnapshot(nil)
	f.Add(snapshot[:len(snapshot)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := meta.Restore(wire.Seal(b, 0))
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		again, err := meta.Restore(s.AppendSnapshot(nil))
		require.NoError(t, err)
		require.Equal(t, s, again)
		for n := range clock.Region(5) {
			c, err := meta.Encode(&meta.Fence{Region: n + 1})
			require.NoError(t, err)
			_, err = s.Apply(c, 1)
			require.NoError(t, err)
		}
		s.Next([]meta.Member{{ID: 1, Role: meta.Voter, Active: true}})
		s.Rules()
	})
}

// Arbitrary bytes are no answer, or one that is encoded to itself.
func FuzzAnswer(f *testing.F) {
	f.Add((&meta.Result{Version: 5, Region: 2, Err: kv.Errorf(kv.KindTooOld, "a")}).AppendAnswer(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := meta.DecodeAnswer(b)
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		again, err := meta.DecodeAnswer(r.AppendAnswer(nil))
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}
