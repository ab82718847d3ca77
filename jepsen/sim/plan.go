package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/jepsen/workload"
)

// plan is everything that a seed decides before the run begins.
type plan struct {
	Seed     uint64
	Workload string
	Duration time.Duration // of the load
	Txns     int           // that are asked for
	Least    int           // that are made
	Workers  int
	Beat     time.Duration // transactions begin at multiples of it; 0: at any time

	Regions  []string // those that run from the start, the founder first
	Late     []string // those that join during the run
	Machines map[string]machinePlan
	Links    map[link][2]time.Duration // delay and jitter
	Unruly   unruly
	BadCalls float64 // share of the writes that lose their way

	LogAge             time.Duration
	LogBytes, LogLimit int64
	LeafCache          int64
	MemTable           int64
	RemovalLeaves      int // that one step of a removal looks at; 0: many
	RaftEntries        int // between two snapshots of raft's log

	Faults []nemesis.Fault // of the kinds that package nemesis knows
	More   []fault         // of the kinds that only a simulation can do
}

// machinePlan is what a machine is like.
type machinePlan struct {
	Seed   uint64
	Offset time.Duration // of its wall clock
	Drift  float64
	Sync   time.Duration // what a sync of its disk takes, about, when the disk is not slow
}

// fault is one of the kinds that only a simulation can do.
type fault struct {
	At, For time.Duration
	Kind    string
	Region  string
	Amount  float64 // of drift, and the share of bad calls
	Delay   time.Duration
}

// Kinds of faults beside those of package nemesis.
const (
	diskLost   = workload.DiskLost // a disk is empty; what only it held is gone
	diskCopied = workload.DiskCopied
	slowDisk   = "slow-disk"
	diskError  = workload.DiskError
	killLeader = "kill-leader" // whoever leads the raft group crashes
	restart    = "restart"     // a process ends in order, and another begins
	badCalls   = "bad-calls"   // requests and answers get lost, or are held up
	drift      = "clock-drift"
)

// drawing of a plan.
type drawing struct{ *rand.Rand }

func (d drawing) chance(p float64) bool { return d.Float64() < p }

// between draws a duration.
func (d drawing) between(least, most time.Duration) time.Duration {
	return (least + time.Duration(d.Int64N(int64(most-least)+1))).Truncate(time.Millisecond)
}

// regionNames are what regions are called, in the order of their beginning.
var regionNames = []string{"eu", "us", "ap", "sa", "af", "me", "au", "ca", "in"}

// sizes are how many regions a cluster has; more of them cost more.
var sizes = []int{3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 6, 7, 9}

// newPlan draws a plan.
func newPlan(o Options) (*plan, error) {
	d := drawing{rand.New(rand.NewPCG(o.Seed, 0))}
	p := &plan{Seed: o.Seed, Duration: time.Duration(o.Minutes) * time.Minute, Machines: map[string]machinePlan{}, Links: map[link][2]time.Duration{}}
	n := sizes[d.IntN(len(sizes))]
	late := 0
	if d.chance(0.4) {
		late = 1 + d.IntN(min(2, n-2))
	}
	p.Regions, p.Late = regionNames[:n-late], regionNames[n-late:n]
	p.drawMachines(d)
	p.drawLoad(d, o)
	p.drawNetwork(d)
	p.drawStores(d)
	if err := p.drawFaults(d); err != nil {
		return nil, fmt.Errorf("sim: planning seed %d: %w", o.Seed, err)
	}
	return p, nil
}

func (p *plan) all() []string { return append(append([]string(nil), p.Regions...), p.Late...) }

// drawMachines draws clocks. Where all are right, regions commit in the same microsecond.
func (p *plan) drawMachines(d drawing) {
	right := d.chance(0.3)
	for _, name := range p.all() {
		m := machinePlan{Seed: d.Uint64(), Offset: d.between(-100*time.Millisecond, 100*time.Millisecond), Drift: (d.Float64() - 0.5) * 2e-4}
		if right {
			m.Offset, m.Drift = 0, 0
		}
		p.Machines[name] = m
	}
}

func (p *plan) drawLoad(d drawing, o Options) {
	p.Least = o.Txns
	p.Txns = o.Txns + o.Txns/2 + d.IntN(o.Txns/2+1) // some calls are left out while others take long
	p.Workers = len(p.all()) * (2 + d.IntN(3))
	if d.chance(0.5) {
		p.Beat = d.between(time.Millisecond, 3*time.Second)
	}
	all := workload.All()
	other := all[d.IntN(len(all))].Name
	if p.Workload = o.Workload; p.Workload == "" {
		p.Workload = defaultWorkload
		if d.chance(0.5) {
			p.Workload = other
		}
	}
	if d.chance(0.5) {
		p.BadCalls = d.Float64() * 0.02
	}
}

// drawNetwork draws how far the regions are from each other: the same there and back.
func (p *plan) drawNetwork(d drawing) {
	names := p.all()
	far := d.between(2*time.Millisecond, 150*time.Millisecond)
	for i, a := range names {
		for _, b := range names[:i] {
			delay := d.between(time.Millisecond, far)
			jitter := time.Duration(d.Float64() * d.Float64() * float64(delay))
			p.Links[link{a, b}], p.Links[link{b, a}] = [2]time.Duration{delay, jitter}, [2]time.Duration{delay, jitter}
		}
	}
	if d.chance(0.3) {
		p.Unruly = unruly{duplicate: d.Float64() * 0.01, reorder: d.Float64() * 0.01, lose: d.Float64() * 0.02}
	}
}

// drawStores draws sizes: small ones, since a run is short.
func (p *plan) drawStores(d drawing) {
	p.LeafCache = 1 << (10 + d.IntN(12))
	p.MemTable = 64 << 10 << d.IntN(3)
	p.LogAge = d.between(10*time.Second, 10*time.Minute)
	p.LogBytes = 1 << 20
	if d.chance(0.4) {
		p.LogBytes, p.LogLimit, p.LogAge = 1, 1, d.between(time.Second, 20*time.Second)
	}
	if d.chance(0.7) {
		p.drawSyncs(d)
	}
	if d.chance(0.5) {
		p.RemovalLeaves = 1 + d.IntN(8)
	}
	p.RaftEntries = 10 << d.IntN(8)
}

// drawSyncs draws how fast disks are.
func (p *plan) drawSyncs(d drawing) {
	for _, name := range p.all() {
		m := p.Machines[name]
		m.Sync = d.between(time.Millisecond, 40*time.Millisecond)
		p.Machines[name] = m
	}
}

// The kinds of package nemesis that a simulation can do: all but to stop the goroutines of one node.
var nemeses = map[string][]nemesis.Kind{
	"network": {nemesis.PartitionHalves, nemesis.PartitionIsolate, nemesis.PartitionBridge, nemesis.PartitionOneway,
		nemesis.PartitionFlapping, nemesis.Slow, nemesis.Stall, nemesis.Reset, nemesis.IsolateLeader},
	"process": {nemesis.KillOne, nemesis.KillSeveral, nemesis.KillAll, nemesis.RestartLoop},
	"clock":   {nemesis.Clock},
}

// drawFaults draws which kinds there are, how often they come, and when.
func (p *plan) drawFaults(d drawing) error {
	slot := d.between(15*time.Second, 90*time.Second)
	for _, track := range []string{"network", "process", "clock"} {
		kinds := some(d, nemeses[track])
		if track == "clock" && d.chance(0.6) {
			kinds = nil
		}
		if len(kinds) == 0 {
			continue
		}
		if track == "process" {
			slot = d.between(30*time.Second, 2*time.Minute)
		}
		if err := p.schedule(d.Uint64(), kinds, slot); err != nil {
			return err
		}
	}
	if len(p.Late) > 0 {
		if err := p.schedule(d.Uint64(), []string{string(nemesis.RegionAdd)}, p.Duration/time.Duration(len(p.Late)+1)); err != nil {
			return err
		}
	}
	p.drawMore(d)
	return nil
}

// some of the kinds, in their order; at least two where there are two.
func some(d drawing, kinds []nemesis.Kind) (out []string) {
	least := min(2, len(kinds))
	for i, k := range kinds {
		if d.chance(0.6) || len(kinds)-i <= least-len(out) {
			out = append(out, string(k))
		}
	}
	return out
}

func (p *plan) schedule(seed uint64, kinds []string, slot time.Duration) error {
	faults, err := nemesis.Plan{Seed: seed, Regions: p.Regions, New: p.Late, Kinds: p.possible(kinds), Duration: p.Duration, Slot: slot}.Schedule()
	p.Faults = append(p.Faults, faults...)
	return err
}

// possible leaves out what takes more regions than there are.
func (p *plan) possible(kinds []string) (out []string) {
	for _, k := range kinds {
		few := nemesis.Kind(k) == nemesis.PartitionBridge || nemesis.Kind(k) == nemesis.KillSeveral
		if !few || len(p.Regions) >= 3 {
			out = append(out, k)
		}
	}
	return out
}

// drawMore draws the faults of this package's own kinds.
func (p *plan) drawMore(d drawing) {
	for _, k := range []struct {
		kind   string
		chance float64
		most   int
	}{{diskLost, 0.3, 2}, {slowDisk, 0.4, 4}, {diskError, 0.15, 1}, {badCalls, 0.5, 4}, {drift, 0.3, 3}, {killLeader, 0.4, 3}, {restart, 0.3, 3}} {
		if !d.chance(k.chance) {
			continue
		}
		for range 1 + d.IntN(k.most) {
			f := fault{Kind: k.kind, At: d.between(0, p.Duration*8/10), For: d.between(2*time.Second, time.Minute), Region: p.Regions[d.IntN(len(p.Regions))]}
			switch k.kind {
			case slowDisk:
				f.Delay = d.between(time.Millisecond, 300*time.Millisecond)
			case badCalls:
				f.Amount = d.Float64() * 0.5
			case drift:
				f.Amount = (d.Float64() - 0.5) * 0.02
			}
			p.More = append(p.More, f)
		}
	}
}

// String tells the plan.
func (p *plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: workload %s, %d transactions by %d workers in %v, at multiples of %v\n", p.Seed, p.Workload, p.Txns, p.Workers, p.Duration, p.Beat)
	fmt.Fprintf(&b, "regions %v, later %v\n", p.Regions, p.Late)
	for _, name := range p.all() {
		fmt.Fprintf(&b, "%s: clock off by %v, drift %.0f ppm; syncs take %v\n", name, p.Machines[name].Offset, p.Machines[name].Drift*1e6, p.Machines[name].Sync)
	}
	for i, a := range p.all() {
		for _, b2 := range p.all()[:i] {
			l := p.Links[link{a, b2}]
			fmt.Fprintf(&b, "%s-%s: %v + up to %v\n", b2, a, l[0], l[1])
		}
	}
	fmt.Fprintf(&b, "messages duplicated %.2f%%, reordered %.2f%%, of raft's lost %.2f%%; bad calls %.1f%%\n",
		p.Unruly.duplicate*100, p.Unruly.reorder*100, p.Unruly.lose*100, p.BadCalls*100)
	fmt.Fprintf(&b, "log age %v, bytes %d, limit %d; leaf cache %d, memtable %d, removal step %d; a snapshot of raft's log after %d entries\n",
		p.LogAge, p.LogBytes, p.LogLimit, p.LeafCache, p.MemTable, p.RemovalLeaves, p.RaftEntries)
	for _, f := range p.Faults {
		fmt.Fprintln(&b, f)
	}
	for _, f := range p.More {
		fmt.Fprintf(&b, "%8.3fs for %7.3fs  %-18s %s %v %v\n", f.At.Seconds(), f.For.Seconds(), f.Kind, f.Region, f.Amount, f.Delay)
	}
	return b.String()
}
