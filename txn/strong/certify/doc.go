// Package certify decides which strong transactions commit: a deterministic state machine that is fed
// the entries of the raft log, and of which every region runs a replica.
//
// It owns the layout of a log entry (Builder, DecodeBatch), the index of recent strong commits, the
// memory of operation ids, the decisions that were given to proposers, and the snapshot of all of these.
// It is pure: it knows no raft, no disk, no clock and no peer. It does not look into what a transaction
// writes (Body) nor into the metadata's commands: Metadata decides those, once each and in their place.
//
// # How the shell uses it
//
// A Builder makes entries of the proposals that wait. Entries that come from a peer, and the commands in
// them, are decoded once before they go into the log. Apply decides each entry as raft commits it. For every Decision that
// IsRecord, the shell makes the record of region 0's lane: Time and Prev of the decision, the
// proposal's Snapshot as dependencies, its ID and its Body. AppendOutcomes says what was decided in a
// few bytes; they are written in the batch of the position, so that Replay can make the records again
// from the log. After a crash the state itself is that of the last snapshot, fed the entries since.
//
// A process proposes nothing before its begin is decided, and numbers its proposals itself; one that
// is not sure whether a proposal is in the log proposes it again, unchanged. It has at most MaxUnderWay
// numbers above Answered, and at most MaxCommands commands among them.
//
// # What is certified
//
// A transaction reads at a snapshot. It commits if no strong commit above entry 0 of the snapshot wrote
// where it read, or where one of its writes covers what it finds. Accesses are points and prefixes, so
// nothing new appears in a range that was listed. Writes that cover nothing (blind adds) are never
// checked, and never abort; those that read there conflict with them. What accesses a bucket that was
// dropped before, in the order of the log, does not commit: it would be acknowledged and lost.
//
// # Invariants
//
//  1. Decisions are a function of the entries: replicas that were fed the same, restored from a snapshot
//     on the way or not, decide the same and have the same snapshot bytes.
//  2. Of two committed transactions of which one read or covered what the other wrote, the later one in
//     the log has the earlier one in its snapshot: its entry 0 is at or above the earlier one's time.
//     What was forgotten only ever refuses a transaction.
//  3. Commit times rise, each is above every entry of its snapshot, and Prev is the time of the commit
//     before. Entry 0 of a committed snapshot is at or below Prev, so that it will be exposed.
//  4. A number of a proposer is decided once; a repeat gets the first decision. An operation id commits at
//     most once, is never both committed and denied, and an id that may have been forgotten does neither.
//  5. Only a region's current life commits, denies or has commands decided. A begin names the life that it
//     follows, so one that was delayed ends no later life.
//  6. What Builder encodes DecodeBatch decodes to the same; arbitrary bytes give kv.ErrCorrupt.
//  7. An entry that can't be decoded changes nothing and is an error that stops the node. To skip it would
//     be right only if every replica skipped it, and a replica of a newer version, to which it makes
//     sense, does not. So entries are checked before they go into the log, where an error harms nobody.
//  8. Everything is bounded by the constants of this package. A snapshot has at most 160 MiB.
//
// # Source
//
// Bravo, Gotsman, de Régil, Wei: UniStore, a fault-tolerant marriage of causal and strong consistency
// (USENIX ATC 2021), section 6 and appendix. We differ: there a certification service of several shards
// runs Paxos with a two-phase commit among them, and the application declares which operations conflict;
// here one raft group decides all, accesses are points and prefixes, whether a write conflicts follows
// from its data type, and one number orders all commits.
package certify
