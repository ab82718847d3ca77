// Package semantics checks what data types mean: every value read is the one that its type specifies
// for the writes which the read's snapshot includes. It judges what the database reports of itself,
// stamps, snapshots and tokens, and beside that it bounds values without them.
//
// It shares no code with the database. The specifications are those of the design's section 4, written
// over operations and their causality.
//
// # Specification
//
// A write a is visible to a transaction T exactly if a's stamp is at or below T's snapshot in a's region,
// or a is an earlier operation of T itself. Transactions of one group share a stamp, so they do not see
// each other. Of what is visible to a read, an override counts as well as what it overrides:
//
//   - an override covers the effects on its leaf that are visible to its own transaction: reset (of the
//     leaf, or of any map, set or object around it), assign of a register-mv, remove and disable (of
//     enables), enable and insert of flag-dw and set-rw (of disables);
//   - counter: the sum of all uncovered adds; register-lww: the uncovered assign with the highest (time,
//     region, position), register-mv: all uncovered ones; flag-ew: an uncovered enable; flag-dw: an
//     uncovered enable and no uncovered disable;
//   - a set is a flag for each element (set-aw and set-go: flag-ew, set-rw: flag-dw), a map the fields of
//     which anything is there: a counter with an uncovered add, also at 0, a register with a value, an
//     enabled flag, a set with an element, a map with such a field.
//
// The position within a group is not in a history: of several assigns of one group any may be the last,
// but it is the same one for all readers. A compare-and-set that succeeded is a read of what it expected.
//
// # Invariants
//
// Of reports, of every transaction of outcome ok:
//
//  1. A snapshot includes the token that the transaction came with, but at level eventual; the token of
//     its answer includes that token, the snapshot and the stamp.
//  2. A stamp is above every entry of its transaction's snapshot.
//  3. Stamps of a region ascend in real time; equal ones are only of calls that overlap; those of a
//     session ascend.
//  4. A snapshot is closed: it includes what the snapshots of the transactions in it include.
//  5. A snapshot includes nothing whose call began after the reader's had ended.
//  6. Snapshots of a session include those before them, and its own writes; but those at level eventual, which
//     later ones include all the same.
//
// Of values, by snapshot:
//
//  7. Each is the specified one (above).
//
// Of values, by themselves and the times of calls, which no false stamp can satisfy:
//
//  8. A counter is at least what the read had to see, with all decrements that were tried before it ended,
//     and at most that with all increments. What it has to see is its transaction's own, its session's
//     acknowledged ones, and, of a final read, all that were acknowledged before it began; nothing of it,
//     if anybody tried to reset the counter.
//  9. What was put somewhere, acknowledged to the reader's session or to anybody before a final read began,
//     and what nobody tried to take away, is there.
//  10. A value, element or enabled flag that was found had been tried by somebody before the read ended,
//     in a transaction that did not certainly fail.
//
// Vectors are compared by what they include: after faults an entry may name what a crash took back, and be
// set back to what shows the same, and a dependency is a transaction, not a clock reading that one region
// heard. So 1, 4 and 6 compare entries lowered to certain commits; 1 and 6 compare the numbers themselves
// if the run had no faults.
//
// # Unknown outcomes
//
// A transaction of unknown outcome has no stamp. In its region's order it has one threshold, never
// perhaps: snapshots at or above it see the transaction, on all objects, those below do not. The search
// narrows an interval for each: the region commits nothing at or below what it had been seen at before the
// call began, nor at or below the call's token; a read that only it explains lowers the upper end, one that
// excludes it raises the lower end. This is bounds propagation over a chain (as in constraint solving:
// Mackworth, Consistency in Networks of Relations, Artificial Intelligence 8, 1977; we stop after a few
// rounds). For counters it is that of a sum, with a subset sum where the bounds leave it open, and each
// two reads that follow one another in a region, or of which one's snapshot includes the other's, must
// differ by what can have become visible in between. An override of unknown snapshot
// may cover anything begun before it took effect, and a call of unknown outcome takes effect, if ever, at any
// time after its start: its client may have given up long before.
//
// Acknowledged writes that a fault may have taken back ([checker.Losses]) are treated so too: those of
// durability applied in a region that crashed after they began, and all of a region that the loss of its disk
// hit. Others may have seen them before, so in such a run what one read shows says nothing of others. Writes of
// durability applied elsewhere, and before faults that crash no node, are as certain as any.
//
// # What it proves
//
// Sound: an anomaly is one, whatever the unknown outcomes were, provided that a session passes its token on
// and that T.Region names the region that was asked. Complete with regard to invariants 1 to 6 and 8 to 10
// as stated, and to 7 for every read at whose snapshot no transaction of unknown outcome can be visible to
// that leaf. Beside unknown outcomes it is not complete: reads are explained one by one and in pairs, not
// all together; of a counter beside a reset of unknown outcome, and of one of which more
// sums are possible than a bounded search visits, only the bounds are judged, and counted. Reads without a
// reported snapshot are judged by 8 to 10 only. Counts tell how many values were judged in which way.
//
// The verdict is unknown if nothing is wrong but an object's reads and transactions of unknown outcome were
// too many for Options.Budget, in steps per object and round (default [DefaultBudget]).
//
// Causality between objects that snapshots do not show, and half transactions without snapshots, are the
// business of other checkers.
//
// # Cost
//
// With n operations, r regions: O(n log n · r²) and a read of a collection costs every element that was
// ever in it. Overrides by region are kept in the order of their stamps, each with the join of the
// snapshots of all up to it, so what is covered for a snapshot is one binary search for each region, and
// what is visible and not covered are intervals of stamps, one for each region. A read beside unknown
// outcomes costs O(u) more, u being those on its object, in each of a few rounds: if all calls go to one
// object, and a fixed share of them is of unknown outcome, that is quadratic, with a small constant.
//
// After: Burckhardt, Gotsman, Yang, Zawirski, Replicated Data Types: Specification, Verification,
// Optimality (POPL 2014), whose specifications are functions of operations and their visibility.
// We differ in taking visibility from reported snapshots, which are judged as well, in not searching for
// one, and in resolving the arbitration order from stamps.
package semantics
