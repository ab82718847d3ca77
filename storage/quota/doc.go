// Package quota is a file system with a bound on what may yet be written to it, for tests of a full disk.
// It passes everything else through.
//
// # Invariants
//
//  1. What does not fit is refused as a full disk refuses it: with ENOSPC, after what fitted was written.
//  2. Overwriting in place (WriteAt) takes no room; removing gives none back.
package quota
