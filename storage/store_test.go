package storage

import (
	"context"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// work is a Job made of functions, with a way to wait for it.
type work struct {
	build   func(*Batch) error
	applied func()
	durable chan error
}

func (w *work) Build(b *Batch) error { return w.build(b) }
func (w *work) Applied() {
	if w.applied != nil {
		w.applied()
	}
}
func (w *work) Durable(err error) { w.durable <- err }

// do runs a job that asks for its sync, and waits until it is durable.
func do(t testing.TB, s *Store, build func(*Batch) error) {
	t.Helper()
	require.NoError(t, try(s, func(b *Batch) error { b.Sync(); return build(b) }))
}

func try(s *Store, build func(*Batch) error) error {
	w := &work{build: build, durable: make(chan error, 1)}
	if err := s.Submit(context.Background(), w); err != nil {
		return err
	}
	return <-w.durable
}

// author writes records of one lane.
type author struct {
	lane clock.Lane
	last clock.Timestamp
}

// group makes a record of one transaction a list of operations.
func (a *author) group(t require.TestingT, at clock.Vector, ops ...kv.Op) (*kv.Record, []byte) {
	return a.txns(t, at, ops)
}

func (a *author) txns(t require.TestingT, at clock.Vector, txns ...[]kv.Op) (*kv.Record, []byte) {
	r := &kv.Record{Header: kv.Header{Lane: a.lane, Prev: a.last, Kind: kv.RecordGroup, Deps: at}}
	a.last += 1 << 12
	r.Time = max(a.last, at.Max()+1<<12)
	a.last = r.Time
	index := uint32(0)
	for _, ops := range txns {
		txn := kv.Txn{}
		for _, op := range ops {
			target, err := crdt.Resolve(op)
			require.NoError(t, err)
			if target.Override {
				txn.Snapshot = append(clock.Vector{}, at...)
			}
			txn.Effects = append(txn.Effects, kv.Effect{Object: op.Object, Path: kv.AppendPath(nil, target.Path), Op: target.Op, Index: index})
			index++
		}
		r.Txns = append(r.Txns, txn)
	}
	return r, r.Append(nil)
}

func lane(r clock.Region) clock.Lane { return clock.Lane{Region: r} }

func counterOp(key string, n int64) kv.Op {
	return kv.Op{Object: counterObject(key), Verb: kv.VerbIncrement, Int: n}
}

func counterObject(key string) kv.Object {
	return kv.Object{Bucket: kv.DefaultBucket, Key: kv.Key(key), Type: crdt.Counter}
}

func openMem(t testing.TB, fs FS) *Store {
	t.Helper()
	s, err := Open(Config{FS: fs, Dir: "store", Logf: t.Logf})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func readCounter(t testing.TB, s *Store, key string, at clock.Vector) int64 {
	t.Helper()
	v, err := s.Value(Leaf{Object: counterObject(key)}, at)
	require.NoError(t, err)
	return v.Int
}

func TestAddsAreReadAtTheirSnapshots(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	require.True(t, s.Start().Fresh)
	a := &author{lane: lane(1)}
	var cuts []clock.Vector
	at := clock.Vector(nil)
	for i := range 200 {
		r, enc := a.group(t, at, counterOp("likes", 1), counterOp("likes", 2), counterOp(fmt.Sprint(i), 1))
		do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
		at = clock.VectorOf(clock.Entry{Region: 1, Time: r.Time})
		cuts = append(cuts, at)
		require.EqualValues(t, 3*(i+1), readCounter(t, s, "likes", at))
	}
	for i, at := range cuts {
		require.EqualValues(t, 3*(i+1), readCounter(t, s, "likes", at))
	}
}
