// Package clock owns the words for time: regions, lanes, timestamps, dots, vectors and the hybrid
// logical clock that issues timestamps.
//
// It is pure: it reads no wall clock, starts no goroutine and does no I/O. Whoever issues a
// timestamp passes the wall clock's reading in.
//
// # Layout of a timestamp
//
//	63                                   12 11        6 5         0
//	+--------------------------------------+-----------+-----------+
//	| microseconds since the Unix epoch    | logical   | node slot |
//	| 52 bits                              | 6 bits    | 6 bits    |
//	+--------------------------------------+-----------+-----------+
//
// The slot makes a timestamp unique within its region; (region, timestamp) is unique everywhere.
// Region 0's timestamps (the certifier's) are plain numbers without logical or slot bits.
//
// # Invariants
//
//  1. Hybrid.Next is strictly increasing, greater than the floor it is given, and never below the
//     wall clock.
//  2. After Hybrid.Promise has returned t, Next never returns t or less.
//  3. A Vector is sorted by region, holds each region once, holds no zero timestamp, and is never
//     changed after it was built: methods return new vectors or one of their arguments.
//  4. Join, Meet and Includes make vectors a lattice (checked by property tests).
//
// Source: Kulkarni et al., Logical Physical Clocks (OPODIS 2014). We differ in packing the logical
// part into the low bits of microseconds: when 64 events fall into one microsecond the clock
// borrows from the next one.
package clock
