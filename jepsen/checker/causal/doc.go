// Package causal checks transactional causal consistency from what clients read and wrote, and from nothing
// else: no stamp, snapshot or token of the database is looked at, so that no false one can hide anything.
//
// # What it looks at
//
// Registers whose last write wins (register-lww), also as fields of maps, and assign and get on them. A
// value that is read must say who wrote it: a register to which two transactions wrote the same value is
// left out (a failed write does not count, so that a caller may try again with its value). A register that was
// reset, or whose object was, is left out too: a reset takes away only what its transaction has seen, so
// that an older write may rightly show again. A compare-and-set counts as a write only: what it compares
// with is newer than its snapshot. All that is left out or ignored is counted and told in the note.
//
// # The condition
//
// Committed are the transactions of outcome ok, and those of unknown outcome whose write a committed one
// has read. T happened before U if U follows T in a session, if U read what T wrote, or through others. A
// read of nothing reads from before all writes. The history is correct if happened-before is contained in
// one order of all transactions in which, whenever U reads T's value of a register, every other
// transaction that wrote the register and happened before U comes before T. (Biswas, Enea: On the
// Complexity of Checking Transactional Consistency, OOPSLA 2019, axiom "causal".) The last write
// wins by an order that all regions agree on, so this, and no weaker form of causal consistency, is what the
// database promises.
//
// Besides, each read by itself is of a value that a committed transaction left behind, and had begun to
// write when the reader ended; a transaction reads its own last write, and without one the same value each time.
//
// Sessions are those that the history names, in the order of their starts. Transactions without a session owe
// each other nothing, not even those of one process: a process that should have guarantees has a
// session. After an unknown outcome a session goes on without it: its client never got the token. It may have
// seen all that the session did before, but what comes later need not have seen it.
//
// Transactions at level eventual take part as writers, whole, and their session goes on from them; of their own
// reads only the values are judged (thin-air, dirty, intermediate, future, own), one by one, and nothing follows
// from them: read again, a register may have another value.
// Every other level is at least causal.
//
// What failed transactions read, and unknown ones that nobody saw, is not judged.
//
// # Anomalies
//
//   - thin-air read: a value that nobody wrote
//   - dirty read: a value of a transaction that failed (Adya's G1a, aborted read)
//   - intermediate read: a value that its writer replaced before it committed (G1b)
//   - future read: a value that the reader itself writes later, or whose writer had not yet begun
//   - own write not read; non-repeatable read: within one transaction
//   - fractured read: the reader had read from the transaction whose other write it misses
//   - read your writes, monotonic reads, monotonic writes, writes follow reads violated: it had seen the
//     write that it misses in the way that this guarantee is about
//   - causality violation: in any other way, or several readers contradict each other
//
// Allowed, and not told: stale reads, long forks, lost updates, write skew.
//
// # What a verdict proves
//
// Sound: each anomaly contradicts the condition, whatever else happened. Complete: valid means that
// there is such an order, for the registers and reads that were looked at; there is no verdict "unknown".
// If what happened before what is itself a cycle, that is told, and in its surroundings other anomalies may be
// missed. An explanation is the shortest that the search finds: shortest paths are shortest; of a knot
// of more than 500 transactions the shortest cycle through one of the first 500. Of each name 100, and of
// reads that can't be 200 in all, are explained; the others are counted.
//
// # Algorithm
//
// After AWDIT (Møldrup, Pavlogiannis: AWDIT: An Optimal Weak Database Isolation Tester, PLDI 2025), causal
// consistency: walk along happened-before with vector clocks, and infer for each read, from the last
// writer of the register in each session that the reader has seen, an edge to the transaction it read from;
// an order exists exactly if there is no cycle. We differ:
//
//   - Sessions come and go with unknown outcomes, so clocks count chains instead: a transaction goes on
//     with the chain of an ended session if it has seen all of it that anybody may still see. Only writers that
//     somebody follows need a chain.
//   - No cover by chains is small: sessions that begin blind and writers at level eventual follow nothing, so each begins a
//     chain. Theirs are numbered one after the other, and clocks are shared page by page between transactions that
//     have seen the same: once all have seen the transactions of a page it is one page for all, and costs two
//     clocks a comparison of pointers. The chains of sessions that last have pages of their own, few of them.
//   - The writers of a register are numbered in the order of the walk. Whoever has read or written the register knows
//     below which number it has seen them all, and whoever follows it looks only at chains that have written since. AWDIT
//     moves a pointer for each session. What an earlier reader of the register had seen has its place already.
//   - An inferred edge against happened-before is a violation by itself and is told as one, not put into the graph.
//
// Cost: O(n k) for n operations and k chains at worst, since the clocks of two transactions may differ in
// every chain, and a read may have to look at every chain that wrote its register (one that has seen nothing of what its
// likes have read, or while a partition keeps writes from being seen by all). Where writes are soon seen by all, what is
// looked at for a transaction does not grow with the history, and the time it takes hardly does (docs/benchmarks.md).
// BenchmarkCheck measures it.
//
// # Invariants
//
//  1. Each transaction of a chain has seen all that stand before it in the chain and that anybody may still see.
//  2. A clock is changed by its own transaction only, before anybody else has seen it.
//  3. An inferred order is never between transactions of which one happened before the other (unless these are
//     in a cycle of what happened before what).
//  4. Every transaction on a path that is told lies between its ends in happened-before.
package causal
