// Package workload makes load on a database, records it as a history, and judges that.
//
// A [Workload] says what callers do and which checkers judge it. A [Run] has workers do it against
// any regions that a client can reach, in this process or elsewhere, and keeps what each caller saw.
//
// The package is not responsible for the regions, nor for what goes wrong with them: whoever brings a
// fault about tells the run of it ([Run.Fault]).
//
// # Invariants
//
//  1. A history follows the rules of package history. A worker that does not know what became of its
//     transaction goes on as another process, and one that is told of lost data in another session.
//  2. All tries of a transaction, by the client or by a closure that is run again, are one transaction.
//  3. Whatever was tried to be written is read in the end in every region.
//  4. No two transactions write the same value to a register.
//  5. Time is that of Config.Now, of contexts, and of timers of package time, so that a run may live in
//     a bubble of testing/synctest.
package workload
