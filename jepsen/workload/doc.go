// Package workload makes load on a database, records it as a history, and judges that.
//
// A [Workload] says what callers do and which checkers judge it. A [Run] has workers do it against
// any regions that a client can reach, in this process or elsewhere, and keeps what each caller saw.
//
// The package is not responsible for the regions, nor for what goes wrong with them: whoever brings a
// fault about tells the run of it ([Run.Fault]).
//
// # A transaction
//
//	source: next() -> plan -> call: tries, and what became of them -> recorder
//	                            |-- no answer: ask, send again under the operation id, or leave it open
//
// A plan names operations as histories do. How it is made is drawn for each: in one round trip or step
// by step, within the worker's session or apart, here or in another region, with a token that another
// worker handed over, at level causal or eventual, with durability local or, in runs with an even seed,
// applied. Workloads of other levels and durabilities say so ([Workload.Takes], [Workload.Coordinates]); a run waits until
// a region serves them. Names of objects rotate, so that what a checker has to look at for one object stays bounded.
//
// No type is a list, so lists are registers, to which strong transactions assign what they read with one more element. Nor
// is a range of keys: sets whose names begin with "listed/" are registers under one prefix, and reading them
// lists it.
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
