package meta_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

// log feeds a certifier that has real metadata.
type log struct {
	testing.TB
	state  *certify.State
	number map[certify.Proposer]uint64
}

func (l *log) decide(p certify.Proposal) certify.Decision {
	l.Helper()
	if p.Kind != certify.KindBegin {
		l.number[p.Proposer]++
		p.Number = l.number[p.Proposer]
	}
	var b certify.Builder
	added, err := b.Add(&p)
	require.NoError(l, err)
	require.True(l, added)
	decisions, err := l.state.Apply(l.state.Position()+1, b.Take())
	require.NoError(l, err)
	return decisions[0]
}

func (l *log) command(p certify.Proposer, c meta.Command) meta.Result {
	l.Helper()
	b, err := meta.Encode(c)
	require.NoError(l, err)
	d := l.decide(certify.Proposal{Proposer: p, Kind: certify.KindCommand, Body: b})
	require.Equal(l, certify.Done, d.Verdict)
	result, err := meta.DecodeAnswer(d.Answer)
	require.NoError(l, err)
	return result
}

// The certifier decides the metadata's commands in their place among transactions, and its snapshot holds
// both: a fence ends the region's lives, and nothing commits to what was dropped.
func TestTheCertifierActsByTheMetadata(t *testing.T) {
	metadata := meta.New()
	l := &log{TB: t, state: certify.New(metadata), number: map[certify.Proposer]uint64{}}
	eu, us := certify.Proposer{Region: 1, Incarnation: 1}, certify.Proposer{Region: 2, Incarnation: 1}
	write := func(p certify.Proposer, generation byte) certify.Verdict {
		key := append(kv.AppendName(nil, "b"), 0, 0, 0, generation, 'k')
		return l.decide(certify.Proposal{Proposer: p, Kind: certify.KindTransaction, Writes: []certify.Write{{Access: certify.Point(key)}}}).Verdict
	}
	l.decide(certify.Proposal{Proposer: eu, Kind: certify.KindBegin})
	l.command(eu, &meta.Found{Name: "eu", Store: 1})
	require.Equal(t, clock.Region(2), l.command(eu, &meta.Add{Name: "us", Store: 1}).Region)
	l.command(eu, &meta.Serve{Region: 2, Store: 1})
	l.decide(certify.Proposal{Proposer: us, Kind: certify.KindBegin})
	l.command(us, &meta.Create{Rules: kv.BucketRules{Name: "b"}})
	require.Equal(t, certify.Committed, write(us, 0))
	dropped := l.state.Last() + 1
	l.command(us, &meta.Drop{Bucket: "b"})
	require.Equal(t, dropped, l.state.Last(), "a drop has its place among the commits")
	require.ErrorIs(t, l.command(us, &meta.Drop{Bucket: "b"}).Err, kv.ErrAborted)
	require.Equal(t, dropped, l.state.Last(), "what is refused has none")
	require.Equal(t, certify.Dropped, write(us, 0))
	require.Equal(t, certify.Committed, write(us, 1))
	require.Equal(t, certify.Committed, write(us, 2), "what a drop has allowed that the group forgot")
	l.command(eu, &meta.Fence{Region: 2})
	require.Equal(t, certify.Ended, write(us, 1))
	l.command(eu, &meta.Held{Reporter: 1, Version: metadata.Version()})
	l.command(eu, &meta.Close{Region: 2})
	closed, _ := metadata.Region(2)
	require.Equal(t, l.state.Last(), closed.Closed)
	require.ErrorIs(t, l.command(eu, &meta.Fence{Region: 1}).Err, kv.ErrInvalid)

	other := meta.New()
	snapshot := l.state.AppendSnapshot(nil)
	restored, err := certify.Restore(snapshot, other)
	require.NoError(t, err)
	require.Equal(t, metadata, other)
	require.Equal(t, snapshot, restored.AppendSnapshot(nil))

	require.ErrorIs(t, metadata.Restore([]byte("no snapshot")), kv.ErrCorrupt)
	require.Equal(t, other, metadata, "what it had stays")
	require.ErrorIs(t, metadata.Check(nil), kv.ErrCorrupt)
	require.Panics(t, func() { metadata.Decide(nil, 0) })
	b, err := meta.Encode(&meta.Drop{Bucket: "b", Generation: 4})
	require.NoError(t, err)
	require.Equal(t, kv.BucketDrop{Bucket: "b", Generation: 5}, metadata.Drops(b))
	b, err = meta.Encode(&meta.Fence{Region: 1})
	require.NoError(t, err)
	require.Panics(t, func() { metadata.Drops(b) })
}
