// Package whole holds checkers of whole runs: what every run must keep, whatever its workload, and the
// invariants of workloads that were made to show one promise. They use values, sessions and the times
// of calls alone: what the database reports of itself (stamps, snapshots, tokens) is not looked at, so
// no false stamp can satisfy them.
//
// The package does not prove that a value is right (checker/semantics), nor that one causal order
// explains all reads (checker/causal), nor anything about stronger levels but what LongFork says
// (checker/strong).
//
// All checkers are sound for the levels that they speak of: a history that a correct database can
// produce is never invalid, because each anomaly follows from facts that no order of the concurrent
// transactions changes. None is complete: each accepts what some order could explain. What each one
// accepts wrongly is told with it. All take one or a few passes; the cost is linear in operations and
// in the sizes of the values read, but for sorting and what is said below.
//
// # What is certain
//
// These facts carry every anomaly:
//
//   - A transaction of outcome ok has taken effect between its start and its end; one of outcome
//     unknown perhaps, at any time after its start; one of outcome fail never. So only what has not
//     ended when t starts may have seen t ("may cover").
//   - Two equal times leave open what came first.
//   - In a session, a transaction of a level other than eventual has in its snapshot what the earlier
//     ok transactions of the session have seen and written. Nothing else orders transactions of
//     different processes: time does not, at causal level.
//   - What a transaction has read is in its snapshot.
//   - Of a last-writer-wins register the writes have one order that respects causality, the same for
//     all keys of a transaction; of all other types an effect is overridden only by one that saw it
//     (but removals of set-rw and disables of flag-dw also override what is concurrent).
//   - Who wrote a value that two transactions may have written is not known; such values are left out.
//
// # Lost writes
//
// [LostWrites]. A write is required if it was acknowledged before the first final read began, and no fault
// of the header excuses its loss ([checker.Losses]): the loss of its region's disk since does, and, if it was
// acknowledged in memory (durability "applied"), a crash there since. Where no node crashed, such a write stays.
// Every final read must have it unless something may have covered it: a counter lies between the sum
// of the required adds, with every add below zero that is only possible, and the same with those above
// zero; an element with a required insert is there unless a removal may cover it (for set-rw: unless
// one is not certainly before it), and is not there if a required removal certainly saw all inserts;
// the value of a register was written by somebody who did not fail, and not certainly overwritten (its
// overwriter had read or written it, or its session had); flags are sets of one element. A reset
// excuses all that it may cover, at its place and below. A final read of a map is one of each field
// within it that any transaction named. Anomalies: lost write, lost removal, aborted write, value out
// of nothing. The verdict is unknown if a place with required writes was not read in the end in every
// region.
//
// Not found: a lost register write that no session or reader of its predecessor shows, a lost write
// beside a possible removal, lost increments that unknown ones make up for, lost resets.
//
// # Half transactions
//
// [HalfTransactions]. A mark is a register's value or a set's element that exactly one transaction may
// have written. Whoever sees a mark must see, in every register and set that it read in the same
// transaction, the other marks of that writer, or what may have replaced them: a value whose writer
// did not write the place of the seen mark as well (then it was not the one that won there) and is not
// certainly before the mark's writer; a removal that did not take both away; a reset. This is read
// atomicity as Bailis et al. define it (Scalable Atomic Visibility with RAMP Transactions, SIGMOD
// 2014), told by marks of one writer and without an order of versions, so that it holds at
// causal and eventual level. Anomaly: half transaction; one for each reader. The cost is that of the
// values read times the marks of their writers.
//
// # Convergence
//
// [Convergence]. All final reads of the same thing are equal, in all regions; each region was asked
// for each. Sound and complete for what was read. Anomalies: divergence (between regions), not
// converged (within one), not exercised.
//
// # Bank
//
// [Bank]. The header's notes "accounts" (keys with commas between them) and "total" say what is
// constant. A transaction that reads all accounts finds the total, or 0 if the one transaction that
// deposits it is of the history and neither the reader nor its session had met it; with the note "empty" also if
// there is no such transaction, as when a run was interrupted before it. Its own moves are
// taken out. A history in which something else changes the total is unknown. Anomalies: total changed,
// non-repeatable read. Not found: halves that cancel out.
//
// # Prescription and pointer
//
// [CausalPair]. The notes "prescription" and "pointer" are patterns of keys, "pointer-ids" may be
// "value"; an asterisk is the id, without one ids are in the value. A pair is judged if all who wrote
// its pointer knew its prescription: wrote or read it in the same transaction, or earlier in the
// session. Whoever sees the pointer finds the prescription in the same transaction, and later in the
// session. Anomaly: pointer without prescription. Pairs with a prescription that may have been removed
// are not judged.
//
// # Long fork
//
// [LongFork]. Of things that one transaction wrote and none took back, no two readers see two in
// opposite orders, if readers and writers are of a level that forbids it (Sovran et al., Transactional
// storage for geo-replicated systems, SOSP 2011, name it; causal level allows it, and
// there it is counted). Sound; complete for such things, but for readers of more than 64 of them,
// which make the verdict unknown where a level forbids forks. The cost is the square of what a
// transaction reads, at most 64, and at most 16 where forks are only counted.
//
// # Session
//
// [Session]. Read your writes and monotonic reads (Terry et al., Session guarantees for weakly
// consistent replicated data, PDIS 1994), by values: a counter that only rises is at least what was
// read at last with all that the session has added since, and the mirror of it; an element that was
// met and that nothing may have taken out is there, one that the session took out and that had one
// writer is not; a register's replaced value does not come back, nor does the register go back to
// nothing. Anomalies: non-monotonic read, own write not read. Reads at level eventual are not judged.
// Not found: what counters that go both ways, flags, and maps that are read whole would show.
//
// # Compare-and-set
//
// [Swaps]. A compare-and-set is atomic among the transactions of one region, and what it replaced does not come
// back. So of those that a region acknowledged no two replaced the same value, which one transaction wrote, or nothing, where
// nobody tried a reset. Those at level strong are judged together, wherever they were made. Anomaly: lost update. Not judged: those whose effect a fault excuses.
//
// # Exercised
//
// [Exercised]. The names of its counts, in which words in capitals stand for names of the history:
//
//	transactions, transactions that read, transactions that write, unknown writes
//	outcome OUTCOME, level LEVEL, durability DURABILITY
//	DO TYPE                         operations of acknowledged transactions: "add counter"
//	acknowledged in REGION          transactions; acknowledged in every region: the least of these
//	final reads in REGION           transactions; final reads in every region: the least of these
//	sessions, hops, sessions that hopped
//	faults, fault KIND              those during which a transaction was under way
//	transactions during KIND        summed over the faults
//	reads of others' writes         of objects that another region had written to, by the reported snapshot; final reads left out
//
// # Invariants
//
//  1. A check changes neither the history nor anything that another check sees.
//  2. Equal histories have equal results, to the letter.
//  3. An anomaly names a transaction that saw what must not be, unless it is that nobody looked.
package whole
