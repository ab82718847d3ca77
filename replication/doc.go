// Package replication carries what one region commits to all others: streams of log records
// between nodes, catching up, subscriptions to the lanes of silent regions, joining and recovery.
//
// It decides nothing about causality: package replication/causal does, behind the Exposure of this
// package. It knows nothing of effects, which travel as bytes; nothing of sockets, which a
// Transport hides; and nothing of disks, which a Store hides. docs/reference/protocol.md describes
// the protocol; api/theriac/peer/v1 holds its messages; packed records are drawn in pack.go.
//
// # The way of a record
//
//	committer -> Publish -> outLane (durable end, newest records) -> stream.write -> Conn
//	                           ^                                                      |
//	                           | Durable                                              v
//	Exposure <- Applied <- Store.Apply <- applyRecords <- inLane.queue <- receive <- stream.read
//
// Records of strong transactions, lane 0, enter at inLane.queue: this node's own certifier feeds them (feed.go).
//
// A node that starts calls Identify (who am I, and a cut of the data), then builds an Exposure, then
// a Replicator, and runs it. It writes nothing before WaitWritable returns.
//
// # Freshness and majorities
//
// Level bounded asks how recent each lane is here (freshness.go), level quorum what a majority has
// (quorum.go), and a durability in several regions who has a write on disk (spread.go). All three are
// answered by what heartbeats tell anyway, and sooner by questions on the streams (asking.go).
//
// # Goroutines
//
// Run starts one that plans (whom to dial, which lanes to ask of whom: plan.go), one that hands
// records to the store (inbound.go), one that writes down what streams bring of the set of regions
// (news.go), one that asks whose those are that the node is told to join (greet.go), one a region that
// dials or announces (connect.go), and two a stream, of which one always reads and one writes
// (stream.go). It returns when all have ended. Who reads a stream never waits for the disk, but to say
// at the end of a forked or short node why it ends.
//
// Locks, each taken only while those to its left are held or none: Replicator.joining,
// registry.change, Replicator.attaching[region], recovery.mu, Replicator.mu, registry.mu, holds.mu,
// stream.mu, outLane.mu, and Exposure's own. The Store is never called under Replicator.mu or those to
// its right, so that a slow disk does not keep streams from being read. The first three, which are held
// while the disk or another node is waited for, are turns (turn.go).
//
// # Invariants
//
//  1. One stream a pair of regions: a new one begins only when the old one's goroutines have ended.
//  2. A record leaves this node only once it is durable here, and a promise (safe time) or report
//     never says more than is durable here.
//  3. A subscription's records are a chain: each names the one before it. What breaks the chain, or
//     contradicts what is held, closes the stream and is reported; nothing of it is applied. A record
//     that comes again is compared with the one that is here as far as that is in memory. Where a lane
//     ends or resumes is compared with the log (invariant 12).
//  4. What waits of a lane is bounded by LaneWindow a subscription, and for what is fed: credit is given
//     back only for what is applied or dropped. A stream is read whether or not its lanes wait.
//  5. One goroutine offers records to the Exposure and hands them to the store, in the same order.
//  6. A node says what it holds of a lane in a handshake only after it has let go of whatever an
//     earlier incarnation of that region had sent and that waits here, and so it does when the region
//     recovers with the store that it had; so a region that lost its disk, or some of it, learns of
//     every record of its own that will ever be applied anywhere.
//  7. A region's number is decided before it is granted, and every region counts the
//     newcomer's reports before its cut is taken. A number is never used again, a name only
//     when its region was abandoned or removed.
//  8. A cut replaces a node's data only if it includes all that the node had, but for own records that
//     its own log, which stays, still holds; that is on disk before anything is dropped (behind.go).
//  9. An inLane keeps applied <= taken <= tail.
//  10. A region writes nothing before it is decided that it serves, and it is decided once
//     between that and abandoning it: an abandoned region's lane is empty everywhere, for good.
//  11. Of two nodes that claim one region with different stores, regions in reach of each other hear one
//     and the same, and never one that recovers instead of one that serves (rivals.go). A store that is
//     new to its region writes nothing before every other region that its operator doesn't name as gone
//     has met it, and none of them refused it for another one since. What this leaves, two that write
//     while nobody in reach of one is in reach of the other, is for the next invariant.
//  12. No two histories of one lane meet unnoticed: where a lane ends or resumes is said with the sum of
//     that record, and who holds another one there says so. A node whose own lane is forked never
//     serves again (fork.go).
//  13. What a heartbeat says of freshness was true after the heartbeat that it answers was sent: the reading
//     to answer is taken before the lanes are looked at, and the version of the list of regions after both.
//     Nothing is taken from who counts by a newer list than this node, as a region in it may write by now of
//     which nothing is known here.
//  14. A call that asks a majority is answered by what regions had after it began: it joins no round that
//     was asked before. A region that takes its own writes from others is no part of a majority.
//  15. From when a node acts by a region's fence on it takes no record, promise or report of the region, and what it
//     says it holds of it (Held) does not grow before the close, nor beyond the last entry after it.
package replication
