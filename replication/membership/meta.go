package membership

import (
	"encoding/binary"
	"fmt"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

const (
	metaVersion = 1
	// maxMeta bounds a node's metadata, in bytes; it is memberlist's own limit.
	maxMeta = 512
)

// Node is what gossip says of one node.
type Node struct {
	Cluster   kv.ClusterID
	Region    clock.Region
	Addresses kv.Addresses
}

// name is what memberlist knows a node by.
func (n Node) name() string { return fmt.Sprintf("%s/%d", n.Cluster, n.Region) }

func (n Node) encode() ([]byte, error) {
	b := append([]byte{metaVersion}, n.Cluster[:]...)
	b = binary.AppendUvarint(b, uint64(n.Region))
	for _, s := range []string{n.Addresses.Client, n.Addresses.Peer, n.Addresses.Gossip, n.Addresses.Admin} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	if len(b) > maxMeta {
		return nil, kv.Errorf(kv.KindTooLarge, "gossip: the node's addresses take %d bytes, more than %d: advertise shorter ones", len(b), maxMeta)
	}
	return b, nil
}

func decode(b []byte) (Node, error) {
	bad := fmt.Errorf("gossip: malformed metadata of %d bytes", len(b))
	if len(b) < 1+16 || len(b) > maxMeta || b[0] != metaVersion {
		return Node{}, bad
	}
	var n Node
	copy(n.Cluster[:], b[1:])
	b = b[17:]
	region, k := binary.Uvarint(b)
	if k <= 0 || region == 0 || region > 0xffff {
		return Node{}, bad
	}
	n.Region, b = clock.Region(region), b[k:]
	for _, s := range []*string{&n.Addresses.Client, &n.Addresses.Peer, &n.Addresses.Gossip, &n.Addresses.Admin} {
		size, k := binary.Uvarint(b)
		if k <= 0 || size > uint64(len(b)-k) {
			return Node{}, bad
		}
		*s, b = string(b[k:k+int(size)]), b[k+int(size):]
	}
	if len(b) > 0 {
		return Node{}, bad
	}
	return n, nil
}
