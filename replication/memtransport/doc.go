// Package memtransport is a network in memory: replication's transport for tests, for the embedded
// test cluster and for the demo. Links can be cut, healed and given a delay, each direction apart.
//
// It keeps messages in order and passes them on without encoding them. It knows nothing of what
// they say.
//
// # Invariants
//
//  1. What is sent on one connection arrives in order, each message at most once, and no earlier
//     than the link's delay after it was sent.
//  2. While a link from a to b is cut nothing from a reaches b: what was sent on an open connection
//     waits for the heal, as in TCP, until the connection is closed; a dial fails.
//  3. A connection holds at most Window messages on the way; Send blocks beyond that.
package memtransport
