// Package checker says what a checker of histories is: what it proves, its verdict, and how an anomaly
// is told. The checkers themselves are the packages below it.
//
// A checker imports the history and nothing of the database, so that no mistake is made twice.
//
// # Verdicts
//
// Valid means that the checker looked at everything it claims to and found no anomaly. Invalid means
// that it found at least one, each of which stands by itself: whoever reads its text can look it up
// in the history. Unknown means that it gave up, on a budget that Options name, and says on what.
//
// A run that exercised nothing proves nothing: a checker counts what it looked at in Result.Counts,
// and Exercised turns counts below their minimum into an anomaly.
package checker
