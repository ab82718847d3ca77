// Package txn owns transactions: their snapshots, their own writes, the levels they are served at,
// and the group commit that gives them a timestamp and writes them.
//
// It knows what a transaction sees and when its write answers. It does not know how a type folds
// (crdt), where bytes lie (storage), what may be exposed (replication/causal), or how requests
// arrive (server). It owns no timer (node calls Tick and Expire). It starts a goroutine only to
// submit a group while the store's queue is full, and to search the log for operation ids; Stop
// waits for both.
//
// # The life of a commit
//
//	caller ──enqueue──▶ queue ──Build──▶ group ──Applied──▶ shown; answers of durability "applied"
//	                                        └───Durable──▶ exposed; answers of durability "local"
//
// # Invariants
//
//  1. A group's timestamp is above every entry of the snapshots of its transactions, above every
//     timestamp that this lane used or promised before, and at or below a bound that is durable
//     before anyone but this lane's disk learns of the timestamp.
//
//  2. What a transaction's later operations override of its own earlier ones is settled before
//     anything is stored: the effects of one transaction never depend on each other's order.
//
//  3. A transaction's snapshot stays open until its group is shown, or until it ends unwritten. When a
//     group is shown (LocalApplied) the exposure is given the meet of its snapshots, and holds back with
//     that until the group is durable. A transaction of one round trip that reads nothing has no snapshot
//     before its group forms: it then takes what is exposed at that moment, or, if a condition of it is
//     judged or its durability is applied, what is applied.
//
//  4. A caller is answered once: at its own durability, or with an error whose outcome is stated.
//
//  5. Of all tries that carry one operation id, in one lane, at most one is written, and all of
//     them that are answered get its outcome. (A retry is taken to be read within retrySlack of the
//     age that it states, not counting the time in which the process stood still. How far back in the
//     log that is, trail tells by the monotonic clock, over restarts; the wall clock may be set at will.)
//
//  6. The log is the memory of operation ids. Who retries an operation, or asks for its outcome, is
//     told "not applied" only once a record says so: a transaction without effects denies its id for
//     good. Later retries find it as they would find a commit, also after a crash, or are told that
//     the log does not reach back that far. One search of the log runs at a time, for all who asked
//     before it began; it holds no more ids than the table does.
//
//  7. A first try is not looked up. There is one copy of it, and when that comes after a retry of the
//     same operation was written or denied by this process, the id is among those spent, or the try
//     is refused: it was sent before the retry, so it names the incarnation of the turn in which the
//     id was spent, or an earlier one; ids are freed when the second turn after theirs begins, and
//     from then on neither incarnation that is taken is as old as that. Since a turn also ends when
//     the ids are too many, no answer has to wait for room, and none is wrong.
//
//  8. A caller hears that a condition does not hold only with a token of what it was judged by, and once
//     its next snapshot here includes that.
//
//  9. The snapshot of a strong transaction that may write stays open until it is sure that it is never
//     written, or its commit is exposed here; whether or not its caller still waits.
//
// Transactions of one group are concurrent with each other. Strong transactions (strong.go) are in no group:
// the certifier behind the interface Strong orders them, and what is committed comes as the records of its lane.
//
// Source: group commit as in Gawlick and Kinkade, Varieties of Concurrency Control in IMS/VS Fast
// Path (1985); transactional causal consistency as in Akkoorath et al., Cure (ICDCS 2016). We
// differ from Cure in stamping a whole group and in resolving operation ids from the log.
package txn
