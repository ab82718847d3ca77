// Package node is the composition root: it starts the parts of one node, hands them to each other,
// runs their timers, and stops them in order.
//
// It holds lifecycles and adapters only. What may be exposed is decided by replication/causal, what
// commits by txn, what is forgotten by crdt and storage; an "if" about any of these does not belong
// here. It takes the clock, timers, randomness, file system and transport as arguments, so that
// tests and simulations run the same code as a server.
//
// Node stands for all of that to the outside; run is one opening of the store with the parts over it.
// A node whose region fell behind ends its run and begins another (renew.go). Listener (door.go),
// membership and who calls stay.
//
// # Invariants
//
//  1. Every goroutine that Start began has ended when Close or Kill returns.
//  2. A node serves reads only once its exposed vector is what its store holds, and takes writes only
//     once its lane is complete: a store that is new for its region, or short, recovers first.
//  3. No call is under way while the store's data is replaced: see Node.gate, and renew.
//  4. After a failure of the disk no write is answered as done.
//  5. Calls are judged by rules of buckets that are on disk here, and never by older ones than before, in this
//     process or another of the same store.
package node
