// Package mutant holds deliberate faults of the database, to test the checkers with: a mutant that
// simulation and checkers do not notice shows a gap in them.
//
// Each fault has a name and a place in the code where
//
//	if mutant.On(mutant.DependencyLeftOut) { ... }
//
// makes it. Without the build tag "mutants" On is constant false, so the compiler removes the branch
// and a release has neither the fault nor a way to ask for it; a test looks for both in the binary.
// With the tag one mutant at a time is on: the one that the environment variable THERIAC_MUTANT names
// when the process starts, or that Set named. Each place asks only once all else says that the fault
// would make a difference there, so that Reached counts differences.
//
// The table (All, with the tag only) says of each what it breaks and which checks must notice. The
// package does not run anything: jepsen/sim does, with the table in hand.
//
// # Invariants
//
//  1. Without the tag On is false, whatever the environment says.
//  2. At most one mutant is on, and only one that the table lists.
//  3. Every name is asked for in the code outside of this package, and listed in the table.
package mutant
