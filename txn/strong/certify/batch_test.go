package certify_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
)

func drawProposal(t *rapid.T) certify.Proposal {
	p := certify.Proposal{
		Proposer: certify.Proposer{Region: clock.Region(rapid.Uint16Min(1).Draw(t, "region")), Incarnation: rapid.Uint64Min(1).Draw(t, "incarnation")},
		Kind:     certify.Kind(rapid.IntRange(1, 4).Draw(t, "kind")),
	}
	if p.Kind == certify.KindBegin {
		p.Ends = p.Incarnation ^ rapid.Uint64Min(1).Draw(t, "ends")
		return p
	}
	p.Number = rapid.Uint64Min(1).Draw(t, "number")
	p.Answered = rapid.Uint64Max(p.Number-1).Draw(t, "answered")
	if p.Kind == certify.KindDenial || p.Kind == certify.KindTransaction && rapid.Bool().Draw(t, "with id") {
		p.ID = kv.OpID(rapid.SliceOfN(rapid.ByteMin(1), 16, 16).Draw(t, "id"))
		p.After = clock.Timestamp(rapid.Uint64().Draw(t, "after"))
	}
	switch p.Kind {
	case certify.KindCommand:
		p.Body = rapid.SliceOf(rapid.Byte()).Draw(t, "command")
	case certify.KindTransaction:
		for range rapid.IntRange(0, 60).Draw(t, "entries") {
			p.Snapshot = p.Snapshot.With(clock.Region(rapid.Uint16().Draw(t, "region")), clock.Timestamp(rapid.Uint64Min(1).Draw(t, "time")))
		}
		for range rapid.IntRange(0, 4).Draw(t, "reads") {
			p.Reads = append(p.Reads, drawAccess(t))
		}
		for range rapid.IntRange(0, 4).Draw(t, "writes") {
			p.Writes = append(p.Writes, certify.Write{Access: drawAccess(t), Covers: rapid.Bool().Draw(t, "covers")})
		}
		p.Body = rapid.SliceOf(rapid.Byte()).Draw(t, "effects")
	}
	return p
}

func drawAccess(t *rapid.T) certify.Access {
	return certify.Access{Key: rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "key"), Prefix: rapid.Bool().Draw(t, "prefix")}
}

// sameProposals compares, an empty slice being no slice.
func sameProposals(t require.TestingT, want, got []certify.Proposal) {
	require.Len(t, got, len(want))
	for i := range want {
		w, g := want[i], got[i]
		require.True(t, w.Snapshot.Equal(g.Snapshot))
		require.True(t, bytes.Equal(w.Body, g.Body))
		require.Len(t, g.Reads, len(w.Reads))
		require.Len(t, g.Writes, len(w.Writes))
		for j := range w.Reads {
			require.Equal(t, w.Reads[j], g.Reads[j])
		}
		for j := range w.Writes {
			require.Equal(t, w.Writes[j], g.Writes[j])
		}
		w.Snapshot, w.Body, w.Reads, w.Writes = nil, nil, nil, nil
		g.Snapshot, g.Body, g.Reads, g.Writes = nil, nil, nil, nil
		require.Equal(t, w, g)
	}
}

func TestEntriesDecodeToWhatWasBuilt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b certify.Builder
		for range 2 { // a builder that was emptied builds as a new one
			var want []certify.Proposal
			for range rapid.IntRange(0, 6).Draw(t, "proposals") {
				p := drawProposal(t)
				added, err := b.Add(&p)
				require.NoError(t, err)
				require.True(t, added)
				want = append(want, p)
			}
			require.Equal(t, len(want), b.Count())
			bound, entry := b.Len(), b.Take()
			require.LessOrEqual(t, len(entry), bound)
			got, err := certify.DecodeBatch(entry)
			require.NoError(t, err)
			sameProposals(t, want, got)
			_, err = certify.DecodeBatch(entry[:rapid.IntRange(0, len(entry)-1).Draw(t, "bytes left")])
			require.ErrorIs(t, err, kv.ErrCorrupt)
			_, err = certify.DecodeBatch(append(entry, 0))
			require.ErrorIs(t, err, kv.ErrCorrupt)
		}
	})
}

var (
	life    = certify.Proposer{Region: 2, Incarnation: 0x1122334455667788}
	fixture = []certify.Proposal{
		{Proposer: life, Kind: certify.KindBegin, Ends: 0x99},
		{Proposer: life, Kind: certify.KindTransaction, Number: 300, Answered: 298, ID: kv.OpID{1, 15: 2}, After: 0x0fff,
			Snapshot: clock.VectorOf(clock.Entry{Region: 0, Time: 0x1000}, clock.Entry{Region: 2, Time: 0x1002}),
			Reads:    []certify.Access{certify.Point([]byte("r")), certify.Prefix([]byte("pp"))},
			Writes:   []certify.Write{{Access: certify.Point([]byte("a"))}, {Access: certify.Point([]byte("c")), Covers: true}, {Access: certify.Prefix([]byte("p")), Covers: true}},
			Body:     []byte("effects")},
		{Proposer: life, Kind: certify.KindDenial, Number: 301, Answered: 0, ID: kv.OpID{3}, After: 0x1001},
		{Proposer: certify.Proposer{Region: 1, Incarnation: 1}, Kind: certify.KindCommand, Number: 1, Body: []byte("do")},
	}
	fixtureHex = "02" + "0000000000001002" + "04" +
		"13" + "02" + "1122334455667788" + "0000000000000099" +
		"21" + "d804" + "02" + "01000000000000000000000000000002" + "06" +
		"02" + "00" + "04" + "02" + "00" +
		"02" + "02" + "72" + "05" + "7070" +
		"03" + "04" + "61" + "06" + "63" + "07" + "70" + "07" + "65666665637473" +
		"22" + "02" + "ad02" + "03000000000000000000000000000000" + "02" +
		"14" + "01" + "0000000000000001" + "d704" + "01" + "00" + "02" + "646f"
)

// Log entries stay readable as long as their version does.
func TestEntryEncodingIsFixed(t *testing.T) {
	var b certify.Builder
	for i := range fixture {
		added, err := b.Add(&fixture[i])
		require.NoError(t, err)
		require.True(t, added)
	}
	entry := b.Take()
	require.Equal(t, fixtureHex, hex.EncodeToString(entry))
	got, err := certify.DecodeBatch(entry)
	require.NoError(t, err)
	sameProposals(t, fixture, got)
}

func TestMalformedEntriesAreRefused(t *testing.T) {
	const head = "02" + "0000000000000000" + "01"
	const first = "01" + "0000000000000001"
	id := strings.Repeat("00", 16)
	for what, src := range map[string]string{
		"nothing":                 "",
		"another version":         "01" + "0000000000000000" + "00",
		"a count without end":     "02" + "0000000000000000" + "ffffffffffffffffff01",
		"no proposer":             head + "04" + "02" + "01" + "00" + "00",
		"region 0":                head + "14" + "00" + "0000000000000001" + "02" + "01" + "00" + "00",
		"region too high":         head + "14" + "808004" + "0000000000000001" + "02" + "01" + "00" + "00",
		"incarnation 0":           head + "14" + "01" + "0000000000000000" + "02" + "01" + "00" + "00",
		"kind 0":                  head + "10" + first + "02" + "01" + "00",
		"kind 5":                  head + "15" + first + "02" + "01" + "00" + "00",
		"a flag too many":         head + "54" + first + "02" + "01" + "00" + "00",
		"number 0":                head + "14" + first + "00" + "00" + "00" + "00",
		"answered itself":         head + "14" + first + "02" + "00" + "00" + "00",
		"answered below 0":        head + "14" + first + "02" + "02" + "00" + "00",
		"a command with an id":    head + "34" + first + "02" + "01" + "01" + id[2:] + "00" + "00" + "00",
		"a denial without id":     head + "12" + first + "02" + "01",
		"a denial of id 0":        head + "32" + first + "02" + "01" + id + "00",
		"a begin that ends it":    head + "13" + first + "0000000000000001",
		"a begin with an id":      head + "33" + first + "0000000000000000" + "01" + id[2:] + "00",
		"a snapshot cut":          head + "11" + first + "02" + "01" + "02" + "00" + "01",
		"an empty key":            head + "11" + first + "02" + "01" + "00" + "01" + "00" + "00" + "00",
		"a key too long":          head + "11" + first + "02" + "01" + "00" + "01" + "8210" + strings.Repeat("61", 1025) + "00" + "00",
		"more reads than bytes":   head + "11" + first + "02" + "01" + "00" + "7f" + "02" + "61" + "00" + "00",
		"a body beyond the entry": head + "14" + first + "02" + "01" + "00" + "05" + "00",
	} {
		b, err := hex.DecodeString(src)
		require.NoError(t, err, what)
		_, err = certify.DecodeBatch(b)
		require.ErrorIs(t, err, kv.ErrCorrupt, what)
	}
}

func TestBuildersKeepToTheBounds(t *testing.T) {
	var b certify.Builder
	p := certify.Proposal{Proposer: life, Kind: certify.KindCommand, Number: 1}
	for range certify.MaxBatch {
		added, err := b.Add(&p)
		require.NoError(t, err)
		require.True(t, added)
	}
	added, err := b.Add(&p)
	require.NoError(t, err)
	require.False(t, added, "more than MaxBatch proposals")
	_, err = certify.DecodeBatch(b.Take())
	require.NoError(t, err)

	large := certify.Proposal{Proposer: life, Kind: certify.KindTransaction, Number: 1, Body: make([]byte, certify.MaxBatchBytes/2+1)}
	for _, fits := range []bool{true, false} {
		added, err = b.Add(&large)
		require.NoError(t, err)
		require.Equal(t, fits, added, "a half and a bit")
	}
	_, err = certify.DecodeBatch(b.Take())
	require.NoError(t, err)

	large.Body = make([]byte, certify.MaxBatchBytes)
	_, err = b.Add(&large)
	require.ErrorIs(t, err, kv.ErrTooLarge)

	wide := certify.Proposal{Proposer: life, Kind: certify.KindTransaction, Number: 1}
	for range certify.MaxBatchAccesses {
		wide.Reads = append(wide.Reads, certify.Point([]byte("k")))
	}
	for _, fits := range []bool{true, false} {
		added, err = b.Add(&wide)
		require.NoError(t, err)
		require.Equal(t, fits, added)
	}
	_, err = certify.DecodeBatch(b.Take())
	require.NoError(t, err)
	wide.Writes = append(wide.Writes, certify.Write{Access: certify.Point([]byte("k"))})
	_, err = b.Add(&wide)
	require.ErrorIs(t, err, kv.ErrTooLarge)

	for what, p := range map[string]certify.Proposal{
		"nobody":      {Kind: certify.KindCommand, Number: 1},
		"no kind":     {Proposer: life, Number: 1},
		"no number":   {Proposer: life, Kind: certify.KindCommand},
		"no id":       {Proposer: life, Kind: certify.KindDenial, Number: 1},
		"ends itself": {Proposer: life, Kind: certify.KindBegin, Ends: life.Incarnation},
		"no key":      {Proposer: life, Kind: certify.KindTransaction, Number: 1, Reads: []certify.Access{{}}},
	} {
		_, err := b.Add(&p)
		require.ErrorIs(t, err, kv.ErrInvalid, what)
	}
}

// A key longer than what counts is accessed as the prefix that counts.
func TestLongKeysAreAccessedByTheirBeginning(t *testing.T) {
	long := bytes.Repeat([]byte("k"), certify.MaxAccess+1)
	require.Equal(t, certify.Access{Key: long[:certify.MaxAccess], Prefix: true}, certify.Point(long))
	require.Equal(t, certify.Access{Key: long[:certify.MaxAccess], Prefix: true}, certify.Prefix(long))
	require.Equal(t, certify.Access{Key: long[:certify.MaxAccess]}, certify.Point(long[:certify.MaxAccess]))
}
