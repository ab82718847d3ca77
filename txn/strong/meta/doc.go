// Package meta decides the cluster's metadata: which regions there are, and what rules buckets have. It
// is a deterministic state machine that is fed the commands of the raft log, each once, by package certify.
//
// It owns the layout of commands, answers and the snapshot of the state, and the rules by which regions
// come and go. It is pure: it knows no raft, no disk and no clock. It does not carry out what it decides:
// nodes read the state, and act. kv.Rules judges calls by the rules of buckets.
//
// # The life of a region
//
//	Add -> joining --Serve--> serving --Fence--> fenced --Close--> removed
//	          +----Abandon--> abandoned
//
// Numbers rise and are never given again. One region joins at a time, and none while another is removed.
// A fence is decided whether or not the region can be reached. From then on nobody takes records of its
// lanes, neither from it nor from others, and each serving region reports what it holds of it (Held).
// Once all have, Close ends it: its last entry is the highest that is held, the others fetch up to it,
// and anything later is void. A survivor that is cut off delays the close, or is fenced too: then all
// report again, and what it alone held is gone, of regions removed before as well, so that their last entries
// fall. The same holds when a store is lost (Replace).
//
// # Dropping a bucket
//
// A drop commits: the certifier gives it a place among the strong commits, and every node makes a record of it
// (kv.RecordDrop) in that lane. So whether it is seen is decided by a snapshot, as of anything that is written, and not by
// when a node hears of this state. The rules of the bucket go by version, as all rules do.
//
// # How restrictions come into force
//
// Every change raises the version. A region that acts by a version acknowledges it. Rules hold everywhere
// once every serving region has acknowledged the version that they are of (Bucket.Pending).
//
// # Invariants
//
//  1. The state is a function of the commands: replicas that were fed the same have the same snapshot
//     bytes. It does not depend on which types and levels a version of the database knows.
//  2. A command that is refused changes nothing. One that was carried out changes nothing when it is asked
//     for again, but for Create and Alter, which certify decides once.
//  3. A region's number, and a bucket's generation, never come back: numbers are given in order, and a
//     generation is kept when its bucket is dropped, however often it is created again.
//  4. Once founded, a cluster has a region that serves. At most one joins.
//  5. A removed region's last entry is at most what some region that served when it was last asked for
//     says it holds, and never rises.
//  6. What Encode made Decode reads to the same; arbitrary bytes give kv.ErrCorrupt.
//  7. Everything is bounded by the constants of this package. A snapshot has at most 32 MiB.
package meta
