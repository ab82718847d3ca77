// Package model makes correct histories, large and small, to test and to measure checkers with.
//
// It runs a small database that is causally consistent by construction: regions that take over each other's
// whole view at random times, and registers whose last write by (time, region) wins. It shares no code with
// the database, nor with the checkers.
//
// # Invariants of a history that it makes
//
//  1. Whatever is read is what a causally consistent database could have answered.
//  2. No value is written twice.
//  3. Outcomes are as in a run under faults: one in 20 is unknown, half of which took effect; one in 50 fails. After
//     an unknown outcome its caller goes on as a new process, in a new session or in its old one. Unless the
//     history is plain, one call in 20 is at level eventual, and one caller in 8 has no session.
//  4. The same choices make the same history.
package model
