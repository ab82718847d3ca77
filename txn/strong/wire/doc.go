// Package wire reads the formats of the strong transactions' state machines: log entries, commands,
// outcomes and snapshots.
//
// It is pure, and knows nothing of what it reads.
//
// # Invariants
//
//  1. Reading arbitrary bytes never panics, and what it allocates is bounded by how many there are.
//  2. Once something was malformed, everything read after it is zero, and Failed says so.
package wire
