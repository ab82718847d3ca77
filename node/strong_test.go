package node

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/memtransport"
)

// decided is the certifier's lane on paper.
type decided []replication.Incoming

// add decides a commit that adds to the counter of increment, at a snapshot.
func (d *decided) add(t *testing.T, at clock.Vector, n int64) clock.Stamp {
	t.Helper()
	op := kv.Op{Object: kv.Object{Bucket: "b", Key: "n", Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: n}
	target, err := crdt.Resolve(op)
	require.NoError(t, err)
	var prev clock.Timestamp
	if k := len(*d); k > 0 {
		prev = (*d)[k-1].Record.Time
	}
	r := &kv.Record{Header: kv.Header{Time: max(prev, at.Max()) + 1, Prev: prev, Kind: kv.RecordGroup, Deps: at},
		Txns: []kv.Txn{{Effects: []kv.Effect{{Object: op.Object, Path: kv.AppendPath(nil, target.Path), Op: target.Op}}}}}
	*d = append(*d, replication.Incoming{Record: r, Encoded: r.Append(nil)})
	return r.Stamp()
}

func (d *decided) feed(t *testing.T, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		_, err := n.current.Load().replicator.Feed(*d...)
		require.NoError(t, err)
	}
}

// reads waits until a node shows a stamp, and returns the counter of increment.
func reads(t *testing.T, n *Node, s clock.Stamp) int64 {
	t.Helper()
	token := kv.Token{Cluster: n.current.Load().identity.Cluster, Seen: clock.Vector{clock.Entry(s)}}
	resp, err := n.Do(t.Context(), kv.Request{
		Queries: []kv.Query{{Object: kv.Object{Bucket: "b", Key: "n", Type: crdt.Counter}}},
		Options: kv.Options{Token: token, Wait: patience},
	})
	require.NoError(t, err)
	return resp.Values[0].Int
}

// TestStrongCommitsInRealStores goes through writes that have seen strong commits and the other way round, a
// node that is not fed, one that joins, one that is closed in order and one that is not.
func TestStrongCommitsInRealStores(t *testing.T) {
	net := memtransport.New(replication.SystemTime())
	config := func(fs vfs.FS, name string, join ...string) Config {
		c := config(fs, name)
		c.Transport, c.Join = net.Node(name), join
		return c
	}
	start := func(c Config) *Node {
		n, err := Start(t.Context(), c)
		require.NoError(t, err)
		t.Cleanup(n.Kill)
		require.Eventually(t, func() bool { return n.Refused() == nil }, patience, tick)
		return n
	}
	disk := vfs.NewCrashableMem()
	eu, us := start(config(disk, "eu")), start(config(vfs.NewMem(), "us", "eu"))
	var lane decided
	increment(t, eu)
	first := lane.add(t, eu.current.Load().exposure.Exposed(), 10)
	lane.feed(t, eu)
	require.EqualValues(t, 11, reads(t, eu, first))
	require.EqualValues(t, 11, reads(t, us, first), "from a peer: it is not fed")
	after := increment(t, us)
	require.Greater(t, after.Time, first.Time)
	require.EqualValues(t, 12, reads(t, eu, after))

	ap := start(config(vfs.NewMem(), "ap", "eu"))
	require.EqualValues(t, 12, reads(t, ap, first), "in its cut")
	second := lane.add(t, ap.current.Load().exposure.Exposed(), 100)
	lane.feed(t, eu, us, ap)
	for _, n := range []*Node{eu, us, ap} {
		require.EqualValues(t, 112, reads(t, n, second))
	}
	require.Eventually(t, func() bool {
		x := eu.current.Load().exposure
		_, settled := x.Cuts()
		return settled.At(0) == second.Time && x.StrongCut().Equal(x.Exposed())
	}, patience, tick)

	crash := disk.CrashClone(vfs.CrashCloneCfg{})
	eu.Kill()
	eu = start(config(crash, "eu"))
	require.EqualValues(t, 112, reads(t, eu, second))
	third := lane.add(t, eu.current.Load().exposure.Exposed(), 1000)
	lane.feed(t, us, eu)
	require.NoError(t, eu.Close(t.Context()))
	eu = start(config(crash, "eu"))
	lane.feed(t, eu, ap)
	for _, n := range []*Node{eu, us, ap} {
		require.EqualValues(t, 1112, reads(t, n, third))
	}
}

// hasty is a clock by which the grace for strong snapshots passes at once.
type hasty struct{ replication.Time }

func (h hasty) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	if d == ageInterval {
		d = tick
	}
	return h.Time.NewTimer(d)
}

// TestTheHorizonOfANodeThatIsAloneGoesOn: nobody tells it what a majority has, and it folds all the same.
func TestTheHorizonOfANodeThatIsAloneGoesOn(t *testing.T) {
	net := memtransport.New(replication.SystemTime())
	c := config(vfs.NewMem(), "eu")
	c.Transport, c.Time = net.Node("eu"), hasty{replication.SystemTime()}
	eu, err := Start(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(eu.Kill)
	c = config(vfs.NewMem(), "us")
	c.Transport, c.Join = net.Node("us"), []string{"eu"}
	us, err := Start(t.Context(), c)
	require.NoError(t, err)
	has(t, us, eu, increment(t, eu))
	require.Eventually(t, func() bool { return us.Refused() == nil }, patience, tick)
	us.Kill()
	last := increment(t, eu)
	x := eu.current.Load().exposure
	require.Eventually(t, func() bool {
		horizon, _ := x.Cuts()
		return horizon.At(1) == last.Time
	}, patience, tick)
	require.Less(t, x.StrongCut().At(1), last.Time)
}
