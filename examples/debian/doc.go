// Package debian is an example with real input: the Debian package index becomes one map per package
// and counters per section.
//
// It owns two commands, converter and indexdigest, and the test that imports half of an index in one
// region and half in another and compares the regions' digests with what indexdigest computes. It
// exports nothing.
package debian
