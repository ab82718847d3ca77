package workload_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/jepsen/workload"
)

// setting is what a workload runs in.
type setting struct {
	workload.Config
	regions   []string // default: three
	sure      bool     // no answer gets lost
	meanwhile func(t *testing.T, random *rand.Rand, c *embedded.Cluster, run *workload.Run, loaded <-chan struct{})
}

// inBubble runs a workload against three regions on synthetic time, and returns what was recorded.
func inBubble(t *testing.T, name string, c setting) (h *history.History) {
	t.Helper()
	w, err := workload.Find(name)
	require.NoError(t, err)
	replay := fmt.Sprintf("replay: go test ./jepsen/workload -run '^%s$' -seed %d", t.Name(), c.Seed)
	synctest.Test(t, func(t *testing.T) {
		cluster, err := embedded.StartCluster(t.Context(), embedded.ClusterOptions{Regions: c.regions, Seed: c.Seed, RoundTrip: func(a, b string) time.Duration { return 20 * time.Millisecond }})
		require.NoError(t, err)
		defer func() { require.NoError(t, cluster.Close()) }()
		var late sync.WaitGroup
		c.Regions, c.DB = cluster.Regions(), ways(cluster, c.Seed, &late)
		if c.sure {
			c.DB = cluster.DB
		}
		var meanwhile func(*workload.Run, <-chan struct{})
		if c.meanwhile != nil {
			meanwhile = func(run *workload.Run, loaded <-chan struct{}) {
				c.meanwhile(t, rand.New(rand.NewPCG(c.Seed, 1)), cluster, run, loaded)
			}
		}
		h = recorded(t, w, c.Config, &late, meanwhile, replay)
	})
	return h
}

// recorded runs a workload to its end.
func recorded(t *testing.T, w workload.Workload, c workload.Config, late *sync.WaitGroup, meanwhile func(*workload.Run, <-chan struct{}), replay string) *history.History {
	t.Helper()
	run, err := workload.Start(w, c)
	require.NoError(t, err)
	var failed error
	loaded := make(chan struct{})
	go func() { defer close(loaded); failed = run.Load(t.Context()) }()
	if meanwhile != nil {
		meanwhile(run, loaded)
	}
	<-loaded
	late.Wait()
	require.NoError(t, failed, replay)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, run.Finish(ctx), replay)
	h, err := run.History()
	require.NoError(t, err, replay)
	return h
}

// ways are lossy ways to all regions.
func ways(c *embedded.Cluster, seed uint64, late *sync.WaitGroup) func(string) *client.DB {
	to := map[string]*client.DB{}
	for i, region := range c.Regions() {
		to[region] = client.New(&lossy{Service: c.Service(region), late: late, random: rand.New(rand.NewPCG(seed, uint64(i)<<32))})
	}
	return func(region string) *client.DB { return to[region] }
}

// requireValid fails the test with all that is wrong.
func requireValid(t *testing.T, h *history.History) {
	t.Helper()
	results, err := workload.Judge(h, checker.Options{})
	require.NoError(t, err)
	if *keepFlag != "" && checker.Worst(results) != checker.Valid {
		keep(t, h)
	}
	counts := results[len(results)-1].Counts
	t.Logf("seed %d: %d ok, %d fail, %d unknown, %d faults", h.Header.Seed, counts["outcome ok"], counts["outcome fail"], counts["outcome unknown"], counts["faults"])
	for _, r := range results {
		if r.Verdict != checker.Valid {
			t.Errorf("%s: %s: %s; replay: go test ./jepsen/workload -run '^%s$' -seed %d", r.Checker, r.Verdict, r.Note, t.Name(), h.Header.Seed)
			for _, a := range r.Anomalies {
				t.Error(a.String())
			}
		}
	}
}

func keep(t *testing.T, h *history.History) {
	t.Helper()
	f, err := os.Create(filepath.Join(*keepFlag, fmt.Sprintf("%s-%d.jsonl", h.Header.Workload, h.Header.Seed)))
	require.NoError(t, err)
	require.NoError(t, h.Write(f))
	require.NoError(t, f.Close())
	t.Log("kept in", f.Name())
}

var (
	seedFlag   = flag.Uint64("seed", 0, "seed of the random tests; 0: a new one")
	roundsFlag = flag.Int("rounds", 1, "rounds of the random tests, each with a seed one higher")
	onlyFlag   = flag.String("workload", "", "the one workload to test")
	keepFlag   = flag.String("keep", "", "folder to keep histories in that are not valid")
)

// each runs a test for each workload and round, with a seed.
func each(t *testing.T, test func(t *testing.T, name string, seed uint64)) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	for _, w := range workload.All() {
		if *onlyFlag != "" && *onlyFlag != w.Name {
			continue
		}
		t.Run(w.Name, func(t *testing.T) {
			for round := range *roundsFlag {
				test(t, w.Name, seed+uint64(round))
				if t.Failed() {
					return
				}
			}
		})
	}
}

func TestABeatHasTransactionsMeet(t *testing.T) {
	const beat = 2 * time.Second
	c := workload.Config{Seed: 11, Rate: 3, Workers: 12, Txns: 300, Beat: beat}
	h := inBubble(t, "counter", setting{Config: c, sure: true})
	requireValid(t, h)
	stamps := map[history.Stamp]int{}
	met := 0
	for i := range h.Txns {
		if commit := h.Txns[i].Commit; commit != nil {
			if stamps[*commit]++; stamps[*commit] == 2 {
				met++
			}
		}
	}
	require.Greater(t, met, 20, "groups of several transactions")
}

func TestWorkloadsAreValidOnHealthyRegions(t *testing.T) {
	each(t, func(t *testing.T, name string, seed uint64) {
		requireValid(t, inBubble(t, name, setting{Config: workload.Config{Rate: 100, Txns: 600, Seed: seed}}))
	})
}

func TestWorkloadsAreValidUnderFaults(t *testing.T) {
	each(t, func(t *testing.T, name string, seed uint64) {
		s := setting{Config: workload.Config{Rate: 40, Txns: 800, Seed: seed}, meanwhile: disturb}
		if w, err := workload.Find(name); err == nil && slices.Contains(w.Takes(), client.LevelStrong) {
			s.meanwhile = disturbKeeping
		}
		if random := rand.New(rand.NewPCG(seed, 2)); random.IntN(2) == 0 {
			s.regions, s.Workers = []string{"eu", "us", "ap", "sa", "af"}, 15
			s.Beat = time.Duration(random.IntN(500)) * time.Millisecond
		}
		requireValid(t, inBubble(t, name, s))
	})
}

// disturb brings one fault about after the other until the load has ended.
func disturb(t *testing.T, random *rand.Rand, c *embedded.Cluster, run *workload.Run, loaded <-chan struct{}) {
	d := disturber{t: t, c: c, run: run, random: random, kinds: 5 + random.IntN(3)}
	d.goOn(loaded)
}

// disturbKeeping leaves disks alone: with those of most regions the raft group loses what it has decided.
func disturbKeeping(t *testing.T, random *rand.Rand, c *embedded.Cluster, run *workload.Run, loaded <-chan struct{}) {
	d := disturber{t: t, c: c, run: run, random: random, kinds: withoutLosses}
	d.goOn(loaded)
}

// withoutLosses are the kinds in which no disk is lost.
const withoutLosses = 6

func (d *disturber) goOn(loaded <-chan struct{}) {
	for {
		select {
		case <-loaded:
			return
		case <-time.After(time.Duration(d.random.IntN(1500)) * time.Millisecond):
			d.disturb()
		}
	}
}

// disturber brings faults about, one at a time, and tells the run of them.
type disturber struct {
	t      *testing.T
	c      *embedded.Cluster
	run    *workload.Run
	random *rand.Rand
	kinds  int // of faults: 5 or 6 without losses of disks, of which checkers can say less
}

func (d *disturber) disturb() {
	names := d.c.Regions()
	at := d.random.Perm(len(names))
	a, b := names[at[0]], names[at[1]]
	hold := time.Duration(d.random.IntN(3000)) * time.Millisecond
	switch d.random.IntN(d.kinds) {
	case 0, 1:
		end := d.run.Fault(history.Fault{Kind: "cut", Targets: []string{a + "-" + b}})
		d.c.Cut(a, b)
		time.Sleep(hold)
		d.c.Heal(a, b)
		end(nil)
	case 2, 3:
		end := d.run.Fault(history.Fault{Kind: "isolate", Targets: []string{a}})
		d.c.Isolate(a)
		time.Sleep(hold)
		d.c.Rejoin(a)
		end(nil)
	case 4, 5:
		end := d.run.Fault(history.Fault{Kind: string(nemesis.KillOne), Targets: []string{a}})
		d.c.Crash(a)
		time.Sleep(hold)
		d.restart(a)
		end(nil)
	default:
		end := d.run.Fault(history.Fault{Kind: workload.DiskLost, Targets: []string{a}})
		require.NoError(d.t, d.c.LoseDisk(a))
		time.Sleep(hold)
		d.restart(a)
		end(nil)
	}
}

func (d *disturber) restart(region string) {
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	require.NoError(d.t, d.c.Restart(ctx, region))
}
