// Package load drives a database with a mix of operations and measures throughput and latency.
//
// It works over a *client.DB, so it runs the same against an embedded node, one server or a cluster.
// It owns the workload, its pace and the histogram of latencies. It does not know what a good figure
// is (package bench compares with limits), and checks no consistency.
//
// # Closed and open loop
//
// Without a rate every caller starts its next operation when the one before has ended: that finds the
// highest throughput, and its latencies say how long callers wait who all wait. With a rate,
// operations are due at fixed times whether or not earlier ones have ended, and a latency counts from
// when the operation was due. A database that stalls for a second then shows a second of latency for
// everything that was due meanwhile, as its users would see it (G. Tene calls the other way of
// counting "coordinated omission").
//
// # Memory
//
// A run takes 8 MiB for counting, whatever its concurrency (64 tallies of four histograms), and for
// each caller its value and its goroutine, some 20 KiB with the call that it has under way. MaxValues
// bounds the values.
//
// # Invariants
//
//  1. Every operation that was started is counted once, as done or as failed.
//  2. A quantile is never below the true one, and above it by less than 1/64.
//  3. Run has stopped everything that it started when it returns.
package load
