// Package procs sets how many threads of a server process run Go code at a time.
//
// Go's scheduler lets a goroutine compute for 10 ms before another one gets its thread; the operating
// system's wakes a thread within a fraction of that. A server whose threads are as few as its cores
// makes the goroutine that just received a record wait behind a compaction or a garbage collection.
// With a few threads more the operating system shares the core between them. On one core, at half
// the load that saturates it, that lowered the 99th percentile of the replication delay by a factor
// of seven (docs/benchmarks.md).
//
// It is for main packages: a library does not change its process's settings.
package procs

import (
	"os"
	"runtime"
)

// Least is the number of threads that Server raises GOMAXPROCS to, where it is lower.
const Least = 4

// Server raises GOMAXPROCS to Least. It changes nothing where the environment sets GOMAXPROCS, or
// where there are as many cores already.
func Server() {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < Least {
		runtime.GOMAXPROCS(Least)
	}
}
