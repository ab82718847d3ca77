// Package membership finds the addresses of the cluster's nodes by gossip, over hashicorp's
// memberlist, and tells them to whoever asks. It is the only package that knows memberlist.
//
// It decides nothing: which regions belong is replication's list, handed out by the founder; who is
// alive is what the streams say. What gossip says is a hint where to dial, checked there by the
// handshake.
//
// # Invariants
//
//  1. What is gossiped of a node is bounded: maxMeta bytes; so are the nodes that are kept, and what
//     connections and packets may make memberlist take (transport.go, head.go). What comes in and is
//     malformed, or of another cluster, is dropped.
//  2. Everything keeps working without gossip: addresses once known are kept on disk by replication.
//  3. A node that ends waits leaveTimeout for the others, and no longer: the connections that it has made or is
//     making end with Run's context.
//
// # Layout of a node's metadata
//
//	version 1 | cluster 16 | region uvarint | client, peer, gossip, admin: uvarint length, bytes
package membership
