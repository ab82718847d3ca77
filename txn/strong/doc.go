// Package strong runs this node's member of the raft group that decides strong transactions and the
// cluster's metadata: a shell around go.etcd.io/raft/v3, whose log lives in package storage.
//
// It does not know what a proposal means. A Machine does: it is given the entries in the order of the
// log, the same at every member, and keeps what follows from them.
//
// # Goroutines
//
//	Propose, ReadIndex, Step -> inbox -> group --(raft)--> Send, storage.Job, Machine
//	                                       ^---(durable)--- syncer of the store
//
// One goroutine, the group's, drives raft and the Machine; it blocks only while the store's queue is
// full. Everybody else leaves what they have in the inbox.
//
// # A proposal's way
//
// What arrives while this member's disk is at an append is packed into one entry, so that throughput
// grows with batching; several entries are under way at a time. A follower hands its entries to the
// leader. Raft drops entries when leaders change, and networks lose them: a proposal that is not
// decided is proposed again after a change of leader and every so often, until its caller gives up. So a
// Machine sees some more than once, and has to decide each once.
//
// # Invariants
//
//  1. Nothing that says that an entry, a vote or a term is held is sent before it is durable.
//  2. The Machine is given every entry from the last snapshot on, once each, in order, before New
//     returns those that were known to be committed.
//  3. A member answers a read index only with an index that it has applied.
//  4. A leader answers no read before an entry of its own term is committed. (Raft skips this where
//     there is one voter: after a crash that took an unsynced commit index back, it would answer from
//     the past.)
//  5. The log is truncated only below a snapshot that is held, and what the Machine still needs.
//  6. A proposal that was never handed to raft is reported as not applied; one that was, and was not
//     seen decided, as unknown.
//  7. A voter's id is used with one store only; a store that belongs to another is refused.
//  8. A group is founded anew only if no election in it can be won any more, whoever is connected, and by one
//     node only (judge says why that is so). The new one begins behind all that any node that is left has applied.
//
// # What members send each other
//
//	message:  kind 0 | raftpb.Message
//	part:     kind 1 | transfer 8 | part 4 | parts 4 | bytes      (big endian)
//	received: kind 2 | transfer 8 | parts 4
//	ask:      kind 3
//	standing: kind 4 | flags 1 | term 8 | commit 8 | last 8 | last term 8 | held 8 | version 8 |
//	          voters 2 | id 8 each | outgoing voters 2 | id 8 each
//
// A raft message with a snapshot goes in parts, of which a bounded number is on its way; received says
// how many came, in order. Other messages go whole. What an entry holds is Config.Pack's and the
// Machine's; those that change members hold a raftpb.ConfChangeV2.
package strong
