// Package memkv is a kv.Service in memory, for tests of the client, of doors and of applications
// that must not start a database.
//
// It runs one transaction after the other, so nothing is ever concurrent, nothing merges and every
// type is its plain self. It is not a model of replication: several nodes of one Store serve the
// same content, as regions that are never behind each other. So every level is served at once, and every
// durability that there are regions for. It keeps everything in memory for good.
//
// # Invariants
//
//  1. A transaction reads the content as it was when it began, with its own operations on top, and
//     its operations are written together or not at all.
//  2. An operation id takes effect once. A first try for another incarnation is refused; Outcome
//     "not applied" makes a later try of the id fail. A retry is for the lane of its first try, but for one
//     at level strong, which any node answers.
//  3. An interactive transaction at level strong that writes is aborted as a conflict if anything that it read, or
//     of a bucket that it listed, was written after it began.
package memkv
