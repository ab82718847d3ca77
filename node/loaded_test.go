package node

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/memtransport"
	"github.com/theriac-db/theriac/storage"
)

// dying is a store whose process ends once a cut is loaded, before the identity says so; early: before
// what the kept log holds beyond the cut is applied.
type dying struct {
	peerStore
	early, loaded bool
}

var errDied = errors.New("the process has ended")

func (s *dying) LoadEnd(ctx context.Context, state []byte, applied map[clock.Lane]clock.Timestamp, keep ...clock.Lane) error {
	if s.early {
		s.loaded = true
		voids, err := decodeVoids(state)
		err = errors.Join(err, write(ctx, s.Store, func(b *storage.Batch) error {
			b.LoadVoids(voids)
			b.LoadApplied(applied, keep...)
			return nil
		}))
		return errors.Join(errDied, err)
	}
	err := s.peerStore.LoadEnd(ctx, state, applied, keep...)
	s.loaded = err == nil
	return err
}

func (s *dying) SetMeta(ctx context.Context, key string, value []byte) error {
	if s.loaded {
		return errDied
	}
	return s.peerStore.SetMeta(ctx, key, value)
}

// dieLoaded has a node take a cut and end before it has noted that. It returns what a power cut leaves.
func dieLoaded(t *testing.T, c Config, early bool) *vfs.MemFS {
	t.Helper()
	c, err := c.withDefaults()
	require.NoError(t, err)
	s, err := storage.Open((&run{config: c}).storageConfig())
	require.NoError(t, err)
	d := &dying{peerStore: peerStore{Store: s}, early: early}
	_, err = replication.Identify(t.Context(), replication.JoinConfig{
		Name: c.Region, Incarnation: s.Start().Incarnation, Addresses: c.Addresses, Ask: c.Join,
		Store: d, Transport: c.Transport, Time: c.Time, Random: c.Random,
	})
	require.ErrorIs(t, err, errDied)
	require.True(t, d.loaded)
	left := c.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, s.Close())
	return left
}

// alike waits until nodes show the same data, and returns how many objects they have.
func alike(t *testing.T, nodes ...*Node) int64 {
	t.Helper()
	var first kv.Digest
	require.Eventually(t, func() bool {
		for i, n := range nodes {
			d, err := n.Digest(t.Context(), kv.DigestRequest{})
			require.NoError(t, err)
			if i == 0 {
				first = d
			}
			if d.Sum != first.Sum || d.Objects != first.Objects {
				return false
			}
		}
		return true
	}, patience, tick)
	return first.Objects
}

// TestACrashBetweenTheDataAndItsNoteLosesNothing: the data is taken again.
func TestACrashBetweenTheDataAndItsNoteLosesNothing(t *testing.T) {
	net := memtransport.New(replication.SystemTime())
	all := regions(t, net, &lines{}, "eu", "us")
	eu, us := all["eu"], all["us"]
	c := config(vfs.NewCrashableMem(), "ap")
	c.Transport, c.Join = net.Node("ap"), []string{"eu"}
	start := func() *Node {
		n, err := Start(t.Context(), c)
		require.NoError(t, err)
		t.Cleanup(n.Kill)
		require.Eventually(t, func() bool { return n.Refused() == nil }, patience, tick)
		return n
	}

	has(t, eu, us, increment(t, us))
	c.FS = dieLoaded(t, c, false) // a first join
	increment(t, eu)
	ap := start()
	require.Equal(t, clock.Region(3), ap.current.Load().lane.Region)
	require.EqualValues(t, 1, alike(t, eu, us, ap))
	last := increment(t, ap)
	has(t, eu, us, last)
	before := ap.current.Load()
	require.False(t, before.recovering())

	for i, early := range []bool{false, true} {
		net.CutBoth("ap", "eu")
		net.CutBoth("ap", "us")
		var alone clock.Stamp
		for range 3 {
			alone = increment(t, ap)
		}
		has(t, eu, us, increment(t, eu))
		ap.stopRunning()
		require.NoError(t, ap.current.Load().retire(t.Context(), behindOthers(replication.Behind{}))) // a renewal begins
		net.HealBoth("ap", "eu")
		net.HealBoth("ap", "us")
		c.FS = dieLoaded(t, c, early)
		increment(t, us)
		ap = start()
		require.Equal(t, before.lane, ap.current.Load().lane)
		require.False(t, ap.current.Load().recovering())
		has(t, eu, ap, alone)
		has(t, ap, us, increment(t, ap))
		alike(t, eu, us, ap)
		require.Equal(t, int64(3+6*(i+1)), total(t, ap))
		require.Equal(t, int64(3+6*(i+1)), total(t, us))
	}
}

// total reads the counter that increment raises.
func total(t *testing.T, n *Node) int64 {
	t.Helper()
	resp, err := n.Do(t.Context(), kv.Request{Queries: []kv.Query{{Object: kv.Object{Bucket: "b", Key: "n", Type: crdt.Counter}}}})
	require.NoError(t, err)
	return resp.Values[0].Int
}

// TestAKeptLogWithManyRemovalsIsReplayed: its records bring more of them than may be pending at once.
func TestAKeptLogWithManyRemovalsIsReplayed(t *testing.T) {
	store, err := storage.Open(storage.Config{FS: vfs.NewMem(), Dir: "data"})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	s, lane := peerStore{Store: store}, clock.Lane{Region: 1}
	const sets = storage.MaxPendingRemovals + 2*storage.RemovalLeaves
	count := kv.Op{Object: kv.Object{Bucket: "b", Key: "n", Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: 1}
	var prev clock.Timestamp
	for i := range 3 {
		ops := []kv.Op{count}
		for k := range sets {
			o := kv.Object{Bucket: "b", Key: kv.Key(fmt.Sprint(k)), Type: crdt.SetAW}
			ops = append(ops, kv.Op{Object: o, Verb: kv.VerbReset})
		}
		r := &kv.Record{Header: kv.Header{Lane: lane, Kind: kv.RecordGroup, Time: clock.Timestamp(i+1) << 20, Prev: prev}}
		prev = r.Time
		r.Txns = []kv.Txn{{Snapshot: clock.Vector{}, Effects: effectsOf(t, ops)}}
		for err = kv.ErrOverloaded; errors.Is(err, kv.ErrOverloaded); {
			err = write(t.Context(), store, func(b *storage.Batch) error { return b.Apply(r, r.Append(nil)) })
		}
		require.NoError(t, err)
	}
	require.NoError(t, s.LoadBegin(t.Context(), lane))
	require.NoError(t, s.LoadEnd(t.Context(), []byte{0, 0}, nil, lane))
	require.Equal(t, prev, store.Applied(lane))
	v, err := store.Value(storage.Leaf{Object: count.Object}, clock.VectorOf(clock.Entry{Region: 1, Time: prev}))
	require.NoError(t, err)
	require.EqualValues(t, 3, v.Int)
}

func effectsOf(t *testing.T, ops []kv.Op) (out []kv.Effect) {
	t.Helper()
	for _, op := range ops {
		target, err := crdt.Resolve(op)
		require.NoError(t, err)
		out = append(out, kv.Effect{Object: op.Object, Op: target.Op})
	}
	return out
}
