// Package fresh checks what calls that wait for other regions promise: that a read misses nothing older than
// its bound, that it sees what a majority had, and that writes survive the loss of disks. It judges values and
// the recorder's own times; what the database reports of itself is not looked at. It shares no code with it.
//
// # What it looks at
//
// Elements of sets, in objects of their own, that nobody tried to take away or to reset: once such an element is
// there, whoever sees its write finds it. Other types are left to the checkers of packages whole and semantics. A write
// of outcome ok was acknowledged at its end; of equal times nobody knows which came first. A write that a fault may have
// taken away ([checker.Losses]) owes nothing.
//
// # Bounded
//
// A read at level bounded with bound d that began at s has every element whose write was acknowledged before s - d with
// any durability but applied: it was on a disk by then, and the snapshot was taken at s or later. Anomaly: older than
// its bound. Refused reads are counted: failing is no anomaly.
//
// # Quorum
//
// A read at level quorum that began at s has every element whose write was acknowledged before s in a majority of the
// regions: with durability majority, all, or so many regions that they are a majority of all that the header names, or at
// level strong. Anomaly: missed what a majority had.
//
// # Durable
//
// Every final read has every element that was acknowledged with durability local or more, unless a fault excuses its
// loss: one that was on n disks survives the loss of fewer ([checker.Lost.Excuses]). Anomaly: lost. It counts what was
// acknowledged in how many regions, what of it came shortly before the loss of its own region's disk, and what was
// acknowledged in one region only and is gone.
//
// # Receipts
//
// What an answer says of itself agrees with what was asked for: the level, and at least as many disks ([checker.Copies]).
// It takes the database at its word, so it finds what was weakened in silence, not what was promised falsely. Anomalies:
// another level, too few disks.
//
// The other three are sound, and complete for the elements that they look at. The cost is that of the reads times the
// elements of the sets that they read.
//
// # Invariants
//
//  1. A check does not change the history, and equal histories have equal results.
//  2. An anomaly names the write and the read.
package fresh
