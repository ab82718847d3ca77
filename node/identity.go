package node

import (
	"context"
	"encoding/binary"
	"encoding/json"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// Version is the version of the software.
const Version = "0.1.0"

// identityKey is the metadata that says who this node is.
const identityKey = "node/identity"

// identity is who a node is, for good. Stored as JSON.
type identity struct {
	Cluster kv.ClusterID
	Region  string
	Lane    clock.Lane
}

// firstRegion is the founder's number.
const firstRegion clock.Region = 1

// identify finds out who this node is: from its store, or by founding a cluster.
func (n *Node) identify(ctx context.Context) (identity, error) {
	raw, err := n.store.Meta(identityKey)
	if err != nil {
		return identity{}, err
	}
	if raw == nil {
		return n.found(ctx)
	}
	var id identity
	if err := json.Unmarshal(raw, &id); err != nil {
		return id, kv.Errorf(kv.KindCorrupt, "data folder %s: who this node is can't be read: %w", n.config.Dir, err)
	}
	if id.Region != n.config.Region {
		return id, kv.Errorf(kv.KindInvalid, "data folder %s belongs to region %q, not to %q: start it with that name, or with another folder",
			n.config.Dir, id.Region, n.config.Region)
	}
	return id, nil
}

// found makes this node the first of a new cluster.
func (n *Node) found(ctx context.Context) (identity, error) {
	id := identity{Region: n.config.Region, Lane: clock.Lane{Region: firstRegion}}
	binary.BigEndian.PutUint64(id.Cluster[:8], n.config.Random())
	binary.BigEndian.PutUint64(id.Cluster[8:], n.config.Random())
	return id, n.remember(ctx, id)
}

func (n *Node) remember(ctx context.Context, id identity) error {
	raw, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return n.submit(ctx, &metaJob{build: func(b *storage.Batch) { b.SetMeta(identityKey, raw) }})
}
