package sim

import (
	"flag"
	"runtime"
	"testing"
	"time"
)

var (
	seedFlag     = flag.Uint64("seed", 0, "first seed; 0: a new one")
	seedsFlag    = flag.Int("seeds", 1, "how many seeds")
	workloadFlag = flag.String("workload", "", "workload; empty: drawn by each seed")
	loudFlag     = flag.Bool("loud", false, "print plan and log")
)

func TestSeeds(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	base := *seedFlag
	if base == 0 {
		base = uint64(time.Now().UnixNano())
	}
	for i := range uint64(*seedsFlag) {
		r := Run(t, Options{Seed: base + i, Workload: *workloadFlag})
		t.Logf("seed %d: %s, %d regions, %d txns, %d records, faults %v; %v simulated in %v (judging %v), %.0f times", r.Seed, r.Workload, r.Regions, r.Txns, r.Records, r.Faults, r.Simulated, r.Real, r.Judging, r.Ratio())
		if *loudFlag {
			t.Logf("%s\n%s", r.Plan, r.Log)
			t.Log(r.Reached)
		}
		for _, f := range r.Failures {
			t.Error(f)
		}
	}
}
