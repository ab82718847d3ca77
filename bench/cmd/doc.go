// Command cmd runs the benchmarks of package bench and prints their table; with -write it puts the
// table into a document. It composes what bench leaves open: how a database is opened embedded, and
// how a region runs in a process of its own (which is this program again).
//
//	go run ./bench/cmd -quick
//	go run ./bench/cmd -run 'adds|reads'
//	go run ./bench/cmd -write docs/benchmarks.md
//
// With THERIAC_BENCH_PROFILES=FOLDER every child leaves a CPU profile there; with THERIAC_BENCH_LOG=1 the
// nodes' logs go to stderr.
//
// It exits with 1 when a benchmark failed; a goal that is missed is no failure.
package main
