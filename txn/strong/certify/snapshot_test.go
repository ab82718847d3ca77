package certify_test

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
	"github.com/theriac-db/theriac/txn/strong/wire"
)

// fed is a state with something of everything in it, and its last entry with what was decided.
func fed(t testing.TB) (f *feed, entry []byte, decisions []certify.Decision) {
	f = newFeed(t)
	f.verdict(certify.Committed, certify.Proposal{ID: kv.OpID{1}, Writes: adds("a", "b")})
	f.decide(certify.Proposal{Proposer: certify.Proposer{Region: 1, Incarnation: 3}, Kind: certify.KindBegin})
	p := func(number uint64, p certify.Proposal) certify.Proposal {
		p.Proposer, p.Number = life, number
		return p
	}
	proposals := []certify.Proposal{
		p(2, certify.Proposal{Kind: certify.KindTransaction, Reads: reads("a")}),
		p(3, certify.Proposal{Kind: certify.KindTransaction, ID: kv.OpID{1}}),
		p(4, certify.Proposal{Kind: certify.KindDenial, ID: kv.OpID{2}}),
		p(5, certify.Proposal{Kind: certify.KindCommand, Body: []byte{'e', 'n', 'd', 9}}),
		p(6, certify.Proposal{Kind: certify.KindTransaction, Snapshot: clock.VectorOf(clock.Entry{Region: 2, Time: 0x100}),
			Writes: []certify.Write{{Access: certify.Prefix([]byte("p")), Covers: true}, {Access: certify.Point([]byte("a"))}}}),
		p(2, certify.Proposal{Kind: certify.KindTransaction, Reads: reads("a")}),
		p(7, certify.Proposal{Kind: certify.KindCommand, Snapshot: clock.VectorOf(clock.Entry{Region: 2, Time: 0x180}), Body: []byte("drop")}),
		{Proposer: certify.Proposer{Region: 9, Incarnation: 1}, Kind: certify.KindBegin},
	}
	var b certify.Builder
	for i := range proposals {
		_, err := b.Add(&proposals[i])
		require.NoError(t, err)
	}
	entry = b.Take()
	decisions, err := f.Apply(10, entry)
	require.NoError(t, err)
	return f, entry, decisions
}

const (
	snapshotHex = "02" + "000000000000000a" + "0000000000000181" + "0000000000000000" +
		"01" + "09" + // ended
		"02" + "01" + "0000000000000003" + "00" + "00" +
		"02" + "1122334455667788" + "00" +
		"01" + "01" + "02" + "01" + "02" + "02" + "00" + "00" + "03" + "01" + "00" + "01" +
		"04" + "03" + "05" + "0b" + "05" + "00656e6409" + "00" + "06" + "01" + "8004" + "8002" +
		"07" + "0b" + "05" + "0164726f70" + "01" + "8002" + "8001" + "00" +
		"0000000000000000" + "02" + // ids
		"01000000000000000000000000000000" + "00" + "01" + "02000000000000000000000000000000" + "01" + "01" +
		"0000000000000000" + "02" + "01" + "01" + "62" + "8002" + "01" + "61" +
		"01" + "8102" + "01" + "70" + "01" + "02"
	outcomesHex = "02" + "02" + "02" + "00" + "81" + "00" + "01" + "03" + "0b" + "05" + "00656e6409" + "00" +
		"01" + "8004" + "8002" + "82" + "ff03" + "00" + "0b" + "05" + "0164726f70" + "01" + "8006" + "8001" + "07" + "0000000000000000"
)

// Snapshots and outcomes stay readable as long as their versions do.
func TestSnapshotAndOutcomeEncodingsAreFixed(t *testing.T) {
	f, entry, decisions := fed(t)
	snapshot := f.AppendSnapshot(nil)
	require.Equal(t, snapshotHex, hex.EncodeToString(snapshot[:len(snapshot)-4]))
	outcomes := certify.AppendOutcomes(nil, decisions)
	require.Equal(t, outcomesHex, hex.EncodeToString(outcomes))
	replayed, err := certify.Replay(outcomes, entry)
	require.NoError(t, err)
	require.Equal(t, decisions, replayed)
}

func TestDamagedSnapshotsAreRefused(t *testing.T) {
	f, _, _ := fed(t)
	snapshot := f.AppendSnapshot(nil)
	_, err := certify.Restore(snapshot, &metadata{})
	require.NoError(t, err)
	for i := range snapshot {
		_, err := certify.Restore(snapshot[:i], &metadata{})
		require.ErrorIs(t, err, kv.ErrCorrupt)
		snapshot[i] ^= 1
		_, err = certify.Restore(snapshot, &metadata{})
		require.ErrorIs(t, err, kv.ErrCorrupt)
		snapshot[i] ^= 1
	}
}

// sealed are the bytes in hex with their checksum.
func sealed(t *testing.T, parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		part, err := hex.DecodeString(p)
		require.NoError(t, err)
		b = append(b, part...)
	}
	return wire.Seal(b, 0)
}

func TestForgedSnapshotsAreRefused(t *testing.T) {
	const head = "02" + "0000000000000009" + "0000000000000005" + "0000000000000000"
	const nobody, noIDs, noPlaces = "0000", "000000000000000000", "0000000000000000" + "0000"
	const id = "01000000000000000000000000000000"
	valid := func(parts ...string) error {
		_, err := certify.Restore(sealed(t, append(parts, "0100")...), &metadata{})
		return err
	}
	require.NoError(t, valid(head, nobody, noIDs, noPlaces))
	_, err := certify.Restore(sealed(t, head, nobody, noIDs, noPlaces, "00"), &metadata{})
	require.ErrorIs(t, err, kv.ErrCorrupt, "the metadata refuses its part")
	require.ErrorContains(t, valid("01", head[2:], nobody, noIDs, noPlaces), "in format 1: this version reads format 2 alone")
	for what, parts := range map[string][]string{
		"another version":           {"01", head[2:], nobody, noIDs, noPlaces},
		"bytes too many":            {head, nobody, noIDs, noPlaces, "00"},
		"last commit too late":      {"02" + "0000000000000009" + "ffffffffffffffff" + "0000000000000000", nobody, noIDs, noPlaces},
		"commits come too late":     {"02" + "0000000000000009" + "0000000000000005" + "ffffffffffffff00", nobody, noIDs, noPlaces},
		"ended regions fall":        {head, "02" + "02" + "01" + "00", noIDs, noPlaces},
		"region 0 ended":            {head, "01" + "00" + "00", noIDs, noPlaces},
		"lives fall":                {head, "00" + "02" + "02" + "0000000000000001" + "00" + "00" + "01" + "0000000000000001" + "00" + "00", noIDs, noPlaces},
		"too many lives":            {head, "00" + "8102" + hex.EncodeToString(make([]byte, 257*11)), noIDs, noPlaces},
		"incarnation 0":             {head, "00" + "01" + "02" + "0000000000000000" + "00" + "00", noIDs, noPlaces},
		"numbers fall":              {head, "00" + "01" + "02" + "0000000000000001" + "00" + "02" + "03" + "01" + "03" + "00", noIDs, noPlaces},
		"no verdict":                {head, "00" + "01" + "02" + "0000000000000001" + "00" + "01" + "00" + "00", noIDs, noPlaces},
		"an unknown verdict":        {head, "00" + "01" + "02" + "0000000000000001" + "00" + "01" + "0d" + "00", noIDs, noPlaces},
		"a repeated verdict":        {head, "00" + "01" + "02" + "0000000000000001" + "00" + "01" + "83" + "00", noIDs, noPlaces},
		"a commit after the last":   {head, "00" + "01" + "02" + "0000000000000001" + "00" + "01" + "01" + "0c" + "01" + "00", noIDs, noPlaces},
		"a command at time 0":       {head, "00" + "01" + "02" + "0000000000000001" + "00" + "01" + "0b" + "00" + "01" + "00" + "00" + "00", noIDs, noPlaces},
		"a command after the last":  {head, "00" + "01" + "02" + "0000000000000001" + "00" + "01" + "0b" + "00" + "01" + "0c" + "01" + "00", noIDs, noPlaces},
		"an id twice":               {head, nobody, "0000000000000000" + "02" + id + "00" + "01" + id + "00" + "00", noPlaces},
		"id 0":                      {head, nobody, "0000000000000000" + "01" + "00000000000000000000000000000000" + "00" + "01", noPlaces},
		"an id after the last":      {head, nobody, "0000000000000000" + "01" + id + "00" + "07", noPlaces},
		"a denial that is 2":        {head, nobody, "0000000000000000" + "01" + id + "02" + "01", noPlaces},
		"more ids than bytes":       {head, nobody, "0000000000000000" + "7f" + id, noPlaces},
		"a place twice":             {head, nobody, noIDs, "0000000000000000" + "02" + "01" + "01" + "61" + "00" + "01" + "61" + "00"},
		"a place without key":       {head, nobody, noIDs, "0000000000000000" + "01" + "01" + "00" + "61" + "00"},
		"a place after the last":    {head, nobody, noIDs, "0000000000000000" + "01" + "06" + "01" + "61" + "00"},
		"a place at time 0":         {head, nobody, noIDs, "0000000000000000" + "01" + "00" + "01" + "61" + "00"},
		"a low mark beyond commits": {head, nobody, noIDs, "0000000000000006" + "0000"},
	} {
		require.ErrorIs(t, valid(parts...), kv.ErrCorrupt, what)
	}
}

func TestMalformedOutcomesAreRefused(t *testing.T) {
	_, entry, decisions := fed(t)
	outcomes := certify.AppendOutcomes(nil, decisions)
	for i := range outcomes {
		_, err := certify.Replay(outcomes[:i], entry)
		require.ErrorIs(t, err, kv.ErrCorrupt)
	}
	_, err := certify.Replay(append(outcomes, 0), entry)
	require.ErrorIs(t, err, kv.ErrCorrupt)
	_, err = certify.Replay(outcomes, entry[:5])
	require.ErrorIs(t, err, kv.ErrCorrupt)
	decisions, err = certify.Replay([]byte{2})
	require.NoError(t, err)
	require.Empty(t, decisions)
}

// An arbitrary entry is refused, or decided; then it is encoded and replayed to the same.
func FuzzEntry(f *testing.F) {
	entry, err := hex.DecodeString(fixtureHex)
	require.NoError(f, err)
	_, another, _ := fed(f)
	f.Add(entry)
	f.Add(another)
	f.Fuzz(func(t *testing.T, entry []byte) {
		feed, _, _ := fed(t)
		decisions, err := feed.Apply(feed.Position()+1, entry)
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		replayed, err := certify.Replay(certify.AppendOutcomes(nil, decisions), entry)
		require.NoError(t, err)
		require.Equal(t, decisions, replayed)
		_, err = certify.Restore(feed.AppendSnapshot(nil), &metadata{})
		require.NoError(t, err)
		batch, _ := certify.DecodeBatch(entry)
		var b certify.Builder
		for i := range batch {
			added, err := b.Add(&batch[i])
			require.NoError(t, err)
			require.True(t, added)
		}
		again, err := certify.DecodeBatch(b.Take())
		require.NoError(t, err)
		sameProposals(t, batch, again)
	})
}

// Arbitrary bytes under a right checksum are refused, or are a state that goes on.
func FuzzSnapshot(f *testing.F) {
	state, entry, _ := fed(f)
	snapshot := state.AppendSnapshot(nil)
	f.Add(snapshot[:len(snapshot)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := certify.Restore(wire.Seal(b, 0), &metadata{})
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		once := s.AppendSnapshot(nil)
		again, err := certify.Restore(once, &metadata{})
		require.NoError(t, err)
		require.Equal(t, once, again.AppendSnapshot(nil))
		if s.Position() < 1<<63 {
			_, err = s.Apply(s.Position()+1, entry)
			require.NoError(t, err)
		}
	})
}

// Arbitrary outcomes of an entry are refused, or give a decision for each of its proposals.
func FuzzOutcomes(f *testing.F) {
	_, entry, decisions := fed(f)
	f.Add(certify.AppendOutcomes(nil, decisions))
	f.Fuzz(func(t *testing.T, outcomes []byte) {
		got, err := certify.Replay(outcomes, entry)
		if err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
			return
		}
		require.Len(t, got, len(decisions))
	})
}
