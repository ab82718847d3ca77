package replication_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/causal"
	"github.com/theriac-db/theriac/replication/grpctransport"
)

// countingListener counts the bytes of what it accepts, both ways.
type countingListener struct {
	net.Listener
	bytes atomic.Int64
}

type countingConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countingConn{c, &l.bytes}, err
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.bytes.Add(int64(n))
	return n, err
}

// realNode runs a region over gRPC on loopback, with a store in memory.
func realNode(b *testing.B, name string, store *fakeStore, l net.Listener, ask ...string) *node {
	b.Helper()
	transport, err := grpctransport.New(grpctransport.Config{Listener: l})
	require.NoError(b, err)
	n := &node{name: name, store: store, ended: make(chan struct{}), skewed: map[string]time.Duration{}}
	ctx, cancel := context.WithCancel(b.Context())
	system := replication.SystemTime()
	addresses := kv.Addresses{Peer: l.Addr().String()}
	n.id, err = replication.Identify(ctx, replication.JoinConfig{Name: name, Incarnation: store.incarnation, Addresses: addresses,
		Ask: ask, Store: store, Transport: transport, Time: system, Random: rand.Uint64, Logf: b.Logf})
	require.NoError(b, err)
	self := clock.Lane{Region: n.id.Region}
	start := causal.Start{Self: self, Lanes: []causal.Position{{Lane: self, Held: store.applied[self], Durable: store.applied[self]}}}
	n.x, err = replication.NewExposure(start)
	require.NoError(b, err)
	n.r, err = replication.New(replication.Config{Identity: n.id, Incarnation: store.incarnation, Addresses: addresses, Store: store,
		Exposure: n.x, Transport: transport, Time: system, Random: rand.Uint64, Applied: store.applied})
	require.NoError(b, err)
	go store.write(ctx)
	go func() { n.err = n.r.Run(ctx); close(n.ended) }()
	b.Cleanup(func() { cancel(); <-n.ended })
	return n
}

// fillLog writes counter adds with keys of 20 bytes into a log, a group each.
func fillLog(b *testing.B, s *fakeStore, groups int) clock.Timestamp {
	b.Helper()
	target, err := crdt.Resolve(kv.Op{Object: kv.Object{Bucket: "default", Key: "k", Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: 1})
	require.NoError(b, err)
	lane, prev := clock.Lane{Region: 1}, s.applied[clock.Lane{Region: 1}]
	hybrid := clock.NewHybrid(0, prev)
	wall := clock.WallOf(time.Now().Add(-time.Hour))
	for i := range groups {
		t := hybrid.Next(wall.Add(time.Duration(i)*20*time.Microsecond), 0)
		key := kv.Key(fmt.Sprintf("counter:%012d", rand.IntN(10_000)))
		r := kv.Record{Header: kv.Header{Lane: lane, Prev: prev, Time: t, Kind: kv.RecordGroup, Deps: clock.VectorOf(clock.Entry{Region: 1, Time: prev})},
			Txns: []kv.Txn{{Effects: []kv.Effect{{Object: kv.Object{Bucket: "default", Key: key, Type: crdt.Counter}, Op: target.Op}}}}}
		s.put(lane, prev, t, r.Append(nil))
		prev = t
	}
	return prev
}

// BenchmarkCatchUp reports how fast a second region takes a log of groups of one add each over a
// TCP connection, the stores being maps in memory, and what an add costs at the socket.
func BenchmarkCatchUp(b *testing.B) {
	const groups = 100_000
	for range b.N {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		counting := &countingListener{Listener: l}
		eu := newFakeStore(1)
		first := realNode(b, "eu", eu, counting)
		second, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		us := newFakeStore(2)
		usListener := &countingListener{Listener: second}
		other := realNode(b, "us", us, usListener, counting.Addr().String())
		_, err = other.r.WaitWritable(b.Context())
		require.NoError(b, err)
		last := fillLog(b, eu, groups)
		begin, bytes := time.Now(), usListener.bytes.Load()
		first.x.LocalApplied(last, nil)
		first.x.LocalDurable(last)
		require.NoError(b, other.x.Wait(b.Context(), clock.Vector{{Region: 1, Time: last}}, false))
		b.ReportMetric(groups/time.Since(begin).Seconds(), "records/s")
		b.ReportMetric(float64(usListener.bytes.Load()-bytes)/groups, "bytes/add")
	}
}
