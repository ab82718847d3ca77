// Package txn owns transactions: their snapshots, their own writes, the levels they are served at,
// and the group commit that gives them a timestamp and writes them.
//
// It knows what a transaction sees and when its write answers. It does not know how a type folds
// (crdt), where bytes lie (storage), what may be exposed (replication/causal), or how requests
// arrive (server). It owns no timer (node calls Tick and Expire) and starts a
// goroutine only to submit a group while the store's queue is full; Stop waits for it.
//
// # The life of a commit
//
//	caller ──enqueue──▶ queue ──Build──▶ group ──Applied──▶ answers of durability "applied"
//	                                        └───Durable──▶ exposed; answers of durability "local"
//
// # Invariants
//
//  1. A group's timestamp is above every entry of the snapshots of its transactions, above every
//     timestamp that this lane used or promised before, and at or below a bound that is durable
//     before anyone but this lane's disk learns of the timestamp.
//  2. What a transaction's later operations override of its own earlier ones is settled before
//     anything is stored: the effects of one transaction never depend on each other's order.
//  3. A transaction's snapshot stays open until its group is durable, or until it ends unwritten.
//  4. A caller is answered once: at its own durability, or with an error whose outcome is stated.
//  5. Of all tries that carry one operation id, in one lane, at most one is written, and all of
//     them that are answered get its outcome.
//  6. A token names groups only, never a void record: the stretch between two groups with a crash in
//     between is void as a whole, and a session that saw nothing of it must not be told that it did.
//
// Transactions of one group are concurrent with each other.
//
// Source: group commit as in Gawlick and Kinkade, Varieties of Concurrency Control in IMS/VS Fast
// Path (1985); transactional causal consistency as in Akkoorath et al., Cure (ICDCS 2016). We
// differ from Cure in stamping a whole group and in resolving operation ids from the log.
package txn
