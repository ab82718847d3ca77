package embedded

import (
	"context"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/node"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/memtransport"
)

// DB is a region in this process. Its methods are those of client.DB.
type DB struct {
	*client.DB
	node *node.Node
}

// Open opens, or creates, a one-region database in a folder.
func Open(ctx context.Context, dir string) (*DB, error) {
	clock := replication.SystemTime()
	n, err := node.Start(ctx, node.Config{
		Region:    "local",
		Dir:       dir,
		Time:      clock,
		Transport: memtransport.New(clock).Node("local"),
		Addresses: node.Addresses{Peer: "local"},
	})
	if err != nil {
		return nil, err
	}
	return &DB{DB: client.New(n), node: n}, nil
}

// closeTimeout bounds an orderly stop; what is then not done is left to recovery.
const closeTimeout = 30 * time.Second

// Close stops the region in order and releases the folder.
func (d *DB) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return d.node.Close(ctx)
}
