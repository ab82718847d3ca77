// Package bench measures the database against limits: what bare Pebble does with the same bytes, or
// bare gRPC with messages of the same size, round trips of the same links, or etcd, in the same run on the
// same machine. A figure is the quotient of both, which says more than either: machines differ, and so do
// a machine's moods.
//
// Both sides of a figure run in turn, several times, each time in the other order, and the median of
// the rounds' quotients counts. The package owns the figures, their goals and the table in
// docs/benchmarks.md. It owns no limit (bench/limits) and no workload for running clusters
// (bench/load).
//
// It measures and never asserts: a test that depends on time would fail on a busy machine and teach
// nobody anything.
//
// # Invariants
//
//  1. Both sides of a figure get the same keys, the same number of goroutines and the same time.
//  2. A benchmark that fails is a line of the table, and the others run.
//  3. Whatever a benchmark starts (stores, goroutines, processes) has ended when it returns, and the
//     folder that it was given is empty again.
package bench
