package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/theriac-db/theriac/bench"
	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/node"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/grpctransport"
	"github.com/theriac-db/theriac/replication/memtransport"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// stopTimeout bounds an orderly stop.
const stopTimeout = 30 * time.Second

// openEmbedded opens a database of one region as client/embedded does.
func openEmbedded(ctx context.Context, dir string, o bench.Options) (*client.DB, func() error, error) {
	clock := replication.SystemTime()
	config := node.Config{
		Region: "local", Dir: dir, Time: clock,
		Transport: memtransport.New(clock).Node("local"), Addresses: node.Addresses{Peer: "local"},
	}
	if o.NoLeafCache {
		config.LeafCacheBytes = -1
	}
	n, err := node.Start(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	return client.New(n), func() error { return stopNode(n) }, nil
}

func stopNode(n *node.Node) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return n.Close(ctx)
}

// openRegion starts a region that reaches its peers over gRPC on loopback, as a server does.
func openRegion(ctx context.Context, c bench.RegionConfig) (*bench.Region, error) {
	listen := c.Listen
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	transport, err := grpctransport.New(grpctransport.Config{Listener: listener, LocalHost: host})
	if err != nil {
		return nil, err
	}
	region := &bench.Region{Peer: listener.Addr().String()}
	addresses := node.Addresses{Peer: region.Peer}
	if c.Advertise != "" {
		addresses.Peer = c.Advertise
	}
	n, err := node.Start(ctx, node.Config{
		Region: c.Name, Dir: c.Dir, Join: c.Join, Transport: transport, Addresses: addresses, Log: logTo(),
	})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	region.DB = client.New(n)
	region.Written = func() int64 { return int64(n.Stats().Store.Batches) }
	region.Stop = func() error { return stopNode(n) }
	if !c.Serve {
		return region, nil
	}
	if err := serveClients(region, n); err != nil {
		return nil, errors.Join(err, region.Stop())
	}
	return region, nil
}

// logTo is where a child's node logs: stderr with THERIAC_BENCH_LOG set, else nowhere.
func logTo() io.Writer {
	if os.Getenv("THERIAC_BENCH_LOG") == "" {
		return io.Discard
	}
	return os.Stderr
}

// serveClients opens the region's client port.
func serveClients(region *bench.Region, n *node.Node) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	door := grpcapi.New(grpcapi.Config{Service: n})
	door.SetServing(true)
	done := make(chan error, 1)
	go func() { done <- door.Serve(listener) }()
	region.Client = listener.Addr().String()
	stop := region.Stop
	region.Stop = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		door.Stop(ctx)
		return errors.Join(<-done, stop())
	}
	return nil
}
