// Package crdt owns the data types: which operations each has, how they are encoded, what concurrent
// ones mean, and what may be forgotten of them when.
//
// It is pure. It does not know where items are stored, which snapshots are open, how horizon and
// settled are found, or who removes what from many leaves: storage and replication/causal tell it.
// A type is one file plus its registration there; no other package lists types.
//
// Source: Baquero, Almeida, Shoker: Pure Operation-Based Replicated Data Types (arXiv 1710.04469). We
// keep its form: a type's state is a set of timestamped operations less those made redundant by
// others. We differ in four points: collections are decomposed into leaves at paths; redundancy
// (cover) compares with the snapshot of the later operation's transaction, not with its own vector
// clock, so a transaction's operations and those of one group are concurrent; removal (reset) is
// part of every type; and forgetting timestamps needs not only causal stability but also that no
// snapshot can fall between (settled).
//
// # Words
//
// An effect f is visible at a snapshot S if S[region(f)] >= time(f). An override e covers f if
// time(f) <= S(e)[region(f)], S(e) being the snapshot of e's transaction. A fold at S reads what is
// visible at S and not covered by an override visible at S.
//
// # Invariants
//
//  1. Fold does not depend on the order of items, nor on how often an item with a dot is repeated.
//  2. For every snapshot S that includes the horizon, Fold(Rewrite(items), S) = Fold(items, S), and
//     the same holds after appending to both any effects that may still arrive.
//  3. An override at or below the horizon is spent by Rewrite: it has been applied to all that it
//     covers, forgotten items included, and keeps no snapshot. So no spent override covers what is
//     forgotten later.
//  4. What is forgotten (zero dot) is covered by every override that is not spent.
//  5. The winner of a register-lww keeps its dot; a flag-dw's disable stays while an enable stands
//     beside it that is not settled.
//  6. Decoding arbitrary bytes gives an error that matches kv.ErrCorrupt, or a value; it never
//     panics, and takes memory in proportion to the bytes.
//
// # Layout of a leaf: items, one behind the other
//
//	tag 1 | [region uvarint | time 8, big endian] | [index uvarint] | [snapshot] | op: uvarint length, bytes
//
//	tag bit 0  has a dot; without, the item is forgotten, and the tag is 0
//	tag bit 1  the dot's index is not 0 and follows
//	tag bit 2  has a snapshot: clock.Vector relative to time; the item is an override not yet spent
//	others     0
//
// The first byte of an operation is its code: 0 is reset for every type and stands alone; the files of
// the types draw the others.
package crdt
