// Package strong checks histories for what coordination buys: linearizability of single places,
// isolation of transactions, and bounds of counters. Like all checkers it shares no code with the
// database.
//
// # Linearizable
//
// Proves that every register, counter, set and flag, taken by itself, can be explained by one order
// of its calls that respects real time (Herlihy and Wing, TOPLAS 1990). Linearizability is local
// (section 3.1, theorem 1 there), hence places are searched one by one, by porcupine's version (after Horn and
// Kroening, FORTE 2015) of the search of Wing and Gong (1993) as Lowe improved it (2017).
// Differences: a transaction counts as one call on each place that it touches, so that histories of
// transactions are judged too, for what strict serializability means for each place; a budget counts
// steps of the model, so that verdicts do not depend on the machine's speed; sets are compared by 128
// bits of hashes; counters that are never reset are searched from answer to answer instead, with
// equal adds taken for one another (counter.go).
//
// A call of unknown outcome may take effect at any time after its start, if all that it was told
// holds then. That it never does needs no case of its own: it then takes effect after all others,
// where nobody looks. Otherwise, and where its condition does not hold, it has no effect. Sound, and
// complete within the budget; the problem is NP-complete, and the search doubles with each call that
// overlaps, so that a place with dozens of unknown writes that were read is best avoided. That goes for
// counters only if their adds differ widely: with adds of 1 to 5 a thousand calls, 5% of them unknown, are
// decided, and a value below or above all that any unknown outcome could make is always found. Places of
// other types with more than 20,000 calls are answered unknown, since the search's memory grows with
// their square; workloads use many places. A conflict-free type is judged as if its operations
// followed one another. A place that was also written at another level, or reset as a part of a map, is left out,
// and so are maps as a whole.
//
// # Transactions
//
// Searches the dependencies of transactions for cycles (Adya, PhD thesis 1999; Kingsbury and Alvaro,
// Elle, VLDB 2020). Objects are registers (register-lww) whose values are unique, so that a value
// says who wrote it. Dependencies: ww (its write replaced the other's), wr (it read from it), rw (it
// replaced what the other had read), so (it came later in its session), rt (it began after the other
// had ended). ww and rw need the order of writes, which a register does not show by itself. It is
// inferred, as Elle does for registers, from
//
//   - nothing was there before the first write;
//   - a transaction read a value and wrote another, compare-and-set included (Elle: writes follow reads);
//   - from level Causal on, a session saw a value before it wrote another;
//   - at level StrictSerializable, a value had been seen before a write of another began.
//
// The latter two hold because those levels promise session order or real time. Nothing else is
// inferred: two blind writes whose order shows nowhere are in no order, and the number of writes
// without any is told ("writes of unknown order"). Registers with a value written twice, or that are
// reset, are left out and make the verdict unknown.
//
// What a level forbids, and how it is found:
//
//   - all: reads of values that nobody wrote, aborted reads (G1a), intermediate reads (G1b), internal
//     inconsistency, cycles of ww (G0) and of ww and wr (G1c);
//   - ReadAtomic: a reader of a transaction that also read what that one replaced (fractured read);
//   - Causal: cycles of wr and so, and such with one rw besides: causality violations, non-monotonic
//     reads, a session that does not read its writes. Long forks and lost updates are allowed;
//   - SnapshotIsolation: two transactions that read and replaced the same value (lost update), and
//     cycles without two rw in a row (Cerone and Gotsman, Analysing Snapshot Isolation, JACM 2018), so long forks. That
//     is snapshot isolation with session guarantees, without real time. Write skew is allowed;
//   - Serializable: any cycle of ww, wr, rw, so: write skew (G2-item);
//   - StrictSerializable: any cycle at all: stale reads.
//
// Cycles are found as strongly connected components (Tarjan 1972), and told as the shortest through
// one of the component's first 32 transactions, each edge with its reason. Snapshot isolation's are
// components of a graph in which each transaction is two nodes, reached by rw or otherwise. Cycles
// with exactly one rw, at level Causal, are found by carrying 64 sets of replaced values at a time
// along the dependencies, from the writer to the last reader that could be wrong. Real-time
// edges are only those that do not follow from others, found with a frontier of what has ended. The
// anti-dependencies of a version that many read and many replaced go through a hub node.
//
// Sound: what is invalid contradicts the level. Complete from SnapshotIsolation on where whoever writes
// a register has read it in its transaction, since all orders of writes show then. Else not: orders of writes
// that the history does not show may hide a cycle; orders are not inferred from what is read later
// (Linearizable finds what that hides on a single register), nor through writes of other levels; in each component one
// cycle is told, and a transaction is in one of them only; of a value that more than 8 transactions
// both read and replaced, at levels that allow it, the first 8 are looked at (told in Result.Note).
// Predicates are not looked at. Cost: near linear in transactions, operations and
// real-time edges (transactions times how many overlap); Causal's search is quadratic by 1/64 for
// histories in which far too old values are read.
//
// # Bounds
//
// The header's note "bounds" (see [BoundsNote] and [Bound]) names bounds of counters. No read may be
// outside them; at each answer the sum of what is acknowledged, with any part of what is under way
// or of unknown outcome, must be able to be inside. Final reads of a counter must be equal, and be
// the sum of what was acknowledged and any of what is unknown. Of counters that are reset only the
// reads are judged. Sound; complete for what it claims; linear.
//
// # Write skew, phantoms and lists
//
// [WriteSkew] and [Phantoms] look for one shape each that cycles may have, so that it can be counted where a level
// allows it: two transactions that each replaced a register which the other had read and not written, and two that
// each read a whole set without what the other put into it. Of registers whose values are unique and of sets that nobody
// takes anything out of, each such pair contradicts serializability, whatever else happened. They take whom they name by
// level; a pair of two levels is counted only. Complete for pairs, not for longer cycles, which [Transactions] finds. Linear but for
// those who replaced one value, and quadratic in the transactions that put something into one set.
//
// [Lists] judges registers that hold lists (Kingsbury and Alvaro, Elle, VLDB 2020, section 4: list append): each answer must be a
// beginning of every longer one, and have what had been acknowledged before it was asked for. Sound. It needs no order of
// transactions, so it shares nothing with the search for cycles, and finds nothing that takes two lists to see. The cost
// is the answers times their lengths.
//
// # Invariants
//
//  1. A transaction of unknown outcome is part of the graph exactly if one that took effect read
//     from it; it never ends, so nothing comes after it in real time, nor in its session, which
//     nobody promised to see it.
//  2. An order between two versions is never assumed: each [follower] names its reason.
//  3. No edge leads from a node to itself, and no path through a hub leads from a reader to itself
//     without another transaction between.
//  4. Verdicts and texts are the same at every run, on every machine.
package strong
