package certify_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
)

// benchmark applies entries of 64 proposals, of which one is made by each call, and reports the time of
// one proposal. Entries are built outside of what is measured.
func benchmark(b *testing.B, make func(p *certify.Proposal, n uint64, last clock.Timestamp)) {
	const batch, ahead = 64, 64
	s := certify.New(&metadata{})
	begin(b, s, life)
	position, number := uint64(1), uint64(0)
	var builder certify.Builder
	b.ReportAllocs()
	for left := b.N; left > 0; {
		b.StopTimer()
		entries := [ahead][]byte{}
		for i := range entries {
			for range batch {
				number++
				p := certify.Proposal{Proposer: life, Kind: certify.KindTransaction, Number: number, Answered: number - number%batch}
				p.Answered = min(p.Answered, number-1)
				make(&p, number, s.Last())
				_, err := builder.Add(&p)
				require.NoError(b, err)
			}
			entries[i] = builder.Take()
		}
		b.StartTimer()
		for _, entry := range entries {
			position++
			if decisions, err := s.Apply(position, entry); err != nil || decisions[0].Verdict != certify.Committed {
				b.Fatal(err, decisions[0].Verdict)
			}
		}
		left -= batch * ahead
	}
}

func begin(t testing.TB, s *certify.State, p certify.Proposer) {
	var b certify.Builder
	_, err := b.Add(&certify.Proposal{Proposer: p, Kind: certify.KindBegin, Ends: s.Current(p.Region)})
	require.NoError(t, err)
	decisions, err := s.Apply(s.Position()+1, b.Take())
	require.NoError(t, err)
	require.Equal(t, certify.Begun, decisions[0].Verdict)
}

// key is a key as the access of a leaf has, one of 10,000.
func key(n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte("default\x00\x01\x00\x00\x00\x00user-"), n%10_000)
}

func snapshot(last clock.Timestamp) clock.Vector {
	base := last + 1<<40
	return clock.Vector{{Region: 0, Time: max(1, last)}, {Region: 1, Time: base}, {Region: 2, Time: base - 5000}, {Region: 3, Time: base - 70_000}}
}

func id(n uint64) (id kv.OpID) {
	binary.BigEndian.PutUint64(id[:], n*0x9e3779b97f4a7c15)
	id[15] = 1
	return id
}

func BenchmarkPut(b *testing.B) {
	benchmark(b, func(p *certify.Proposal, n uint64, last clock.Timestamp) {
		if p.Snapshot = snapshot(last); last == 0 {
			p.Snapshot = nil
		}
		p.Writes = []certify.Write{{Access: certify.Point(key(n * 7))}}
		p.Body = make([]byte, 60)
	})
}

func BenchmarkPutWithID(b *testing.B) {
	benchmark(b, func(p *certify.Proposal, n uint64, last clock.Timestamp) {
		if p.Snapshot = snapshot(last); last == 0 {
			p.Snapshot = nil
		}
		p.ID, p.After = id(n), last
		p.Writes = []certify.Write{{Access: certify.Point(key(n * 7))}}
		p.Body = make([]byte, 60)
	})
}

// Transactions that read ten keys and write one that no other of the 4,096 built ahead reads.
func BenchmarkTenReads(b *testing.B) {
	benchmark(b, func(p *certify.Proposal, n uint64, last clock.Timestamp) {
		if p.Snapshot = snapshot(last); last == 0 {
			p.Snapshot = nil
		}
		for i := range uint64(10) {
			p.Reads = append(p.Reads, certify.Point(key(5000+(n*13+i)%5000)))
		}
		p.Writes = []certify.Write{{Access: certify.Point(key(n % 4096))}}
		p.Body = make([]byte, 60)
	})
}

// A listing is one walk over what is newer than its snapshot: here up to 4,096 places.
func BenchmarkListing(b *testing.B) {
	benchmark(b, func(p *certify.Proposal, n uint64, last clock.Timestamp) {
		if p.Snapshot = snapshot(last); last == 0 {
			p.Snapshot = nil
		}
		p.Reads = []certify.Access{certify.Prefix([]byte("other\x00\x01"))}
		p.Writes = []certify.Write{{Access: certify.Point(key(n % 4096))}}
	})
}

func BenchmarkSnapshot(b *testing.B) {
	s := certify.New(&metadata{})
	begin(b, s, life)
	var builder certify.Builder
	for n := range uint64(certify.MaxIndexEntries) {
		p := certify.Proposal{Proposer: life, Kind: certify.KindTransaction, Number: n + 1, Answered: n, ID: id(n + 1), After: s.Last()}
		p.Writes = []certify.Write{{Access: certify.Point(binary.BigEndian.AppendUint64(key(n), n))}}
		_, err := builder.Add(&p)
		require.NoError(b, err)
		if builder.Count() == certify.MaxBatch {
			_, err = s.Apply(s.Position()+1, builder.Take())
			require.NoError(b, err)
		}
	}
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			b.SetBytes(int64(len(s.AppendSnapshot(nil))))
		}
	})
	snapshot := s.AppendSnapshot(nil)
	b.Run("restore", func(b *testing.B) {
		b.SetBytes(int64(len(snapshot)))
		for b.Loop() {
			_, err := certify.Restore(snapshot, &metadata{})
			require.NoError(b, err)
		}
	})
}
