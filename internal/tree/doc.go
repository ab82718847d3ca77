// Package tree holds the source tree to its rules: who may import whom, what a pure package may
// mention, how long a file may be, how packages are named and documented.
//
// It owns imports.txt, the one file that lists every package, what it may import of ours, and which
// packages are the home of which third-party module. It knows nothing of what the packages do, and
// nothing imports it: its test is its purpose.
//
// # Invariants
//
//  1. Every package of the module is listed in imports.txt, and every listed one exists.
//  2. Every import of one of our packages or of a third-party module is written in imports.txt; what
//     a package may import is listed above it, and is imported.
//  3. A pure package mentions no wall clock, timer, random source, network, file, lock or goroutine.
//  4. No file has 800 lines or more, no test outside jepsen/ sleeps (but in testing/synctest, where
//     sleeping moves the clock), no package is named util, common, base, helpers or types, and every
//     package has a doc.go.
//  5. Every exported name is documented.
//  6. Who must call a function by imports.txt calls it.
//
// Generated files are held to rules 1 and 2 only.
package tree
