// Package kv owns the nouns that every other package speaks: buckets, keys, types, paths, operations,
// queries, values, options, receipts, tokens, log records and errors; and what the rules of buckets make of
// the level and durability that a call asks for.
//
// It is pure, imports only clock, and knows nothing of what a type means: an effect's operation is
// bytes that only crdt understands.
//
// # Invariants
//
//  1. AppendPath keeps order: paths compare as their encodings do, and the encoding of a path is a
//     prefix of the encodings of exactly the paths below it.
//  2. Decoding what was encoded gives the same noun; decoding arbitrary bytes gives an error that
//     matches ErrInvalid or ErrCorrupt, and never panics.
//  3. Every error that leaves the database is an *Error with a Kind and an Outcome.
//
// # Layout of a record (one group in a lane's log, and on the wire between regions)
//
//	version 1 | kind 1 | region uvarint | slot 1 | time 8, big endian | time-prev uvarint
//	| deps: Vector relative to time
//	| kind group: buckets uvarint n, n * (len, name, generation uvarint)
//	|             txns uvarint n, n * (flags 1 [id 16] [snapshot: Vector relative to time]
//	|                                  effects uvarint n, n * (bucket uvarint, type 1,
//	|                                  key len+bytes, path len+bytes, op len+bytes))
//	| kind void:  from, to: 8 each, big endian: no timestamp in (from, to] was ever exposed
//	| kind drop:  bucket len+bytes, its new generation uvarint
//
// An effect's index within the group is its position in the record.
package kv
