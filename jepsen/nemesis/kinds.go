package nemesis

import (
	"fmt"
	"slices"
	"strings"
)

// Kind names a sort of fault.
type Kind string

// The kinds of faults.
const (
	PartitionHalves   Kind = "partition-halves"
	PartitionIsolate  Kind = "partition-isolate"
	PartitionBridge   Kind = "partition-bridge"
	PartitionOneway   Kind = "partition-oneway"
	PartitionFlapping Kind = "partition-flapping"
	Slow              Kind = "slow"
	Stall             Kind = "stall"
	Reset             Kind = "reset"
	Gossip            Kind = "gossip"
	KillOne           Kind = "kill-one"
	KillSeveral       Kind = "kill-several"
	KillAll           Kind = "kill-all"
	Pause             Kind = "pause"
	RestartLoop       Kind = "restart-loop"
	Clock             Kind = "clock"
	DiskFull          Kind = "disk-full"
	RegionAdd         Kind = "region-add"
	IsolateLeader     Kind = "isolate-leader"
	DestroyRegion     Kind = "destroy-region"
)

// Names that stand for no kind or for several.
const (
	None      = "none"      // no faults at all
	All       = "all"       // every kind
	Partition = "partition" // every kind that begins with it
	Kill      = "kill"      // every kind that begins with it
)

// track is what the kinds that share it act on.
type track string

const (
	network    track = "network"
	process    track = "process"
	clocks     track = "clock"
	disks      track = "disk"
	membership track = "membership"
)

// tracks are in the order in which they draw from the seed.
var tracks = []track{network, process, clocks, disks, membership}

// kindInfo is what is known of a kind.
type kindInfo struct {
	kind    Kind
	track   track
	regions int    // it takes at least so many
	about   string // for lists
}

// kindTable has every kind, in the order of the lists.
var kindTable = []kindInfo{
	{PartitionHalves, network, 2, "cuts the regions into two groups that do not reach each other"},
	{PartitionIsolate, network, 2, "cuts one region off from all others"},
	{PartitionBridge, network, 3, "cuts the regions into two groups that only one region reaches both of"},
	{PartitionOneway, network, 2, "cuts links in one direction only"},
	{PartitionFlapping, network, 2, "cuts and heals, again and again"},
	{Slow, network, 2, "delays what goes over links, loses some of it and lets little through"},
	{Stall, network, 2, "holds back what goes over links, in bursts, with the connections open"},
	{Reset, network, 2, "resets connections, again and again"},
	{Gossip, network, 2, "drops the gossip by which nodes find each other"},
	{IsolateLeader, network, 2, "cuts the region off whose voter leads strong transactions, whichever that is"},
	{KillOne, process, 1, "kills the node of one region (kill -9) and starts it again"},
	{KillSeveral, process, 3, "kills several nodes, not all, at once"},
	{KillAll, process, 1, "kills all nodes at once"},
	{Pause, process, 1, "stops nodes (SIGSTOP) and lets them go on"},
	{RestartLoop, process, 1, "kills a node and starts it, again and again"},
	{Clock, clocks, 1, "sets the clock of a region forward or back"},
	{DiskFull, disks, 1, "fills the disk of a region"},
	{DestroyRegion, disks, 2, "kills a region's node and takes its disk away for good; it comes back empty and joins again"},
	{RegionAdd, membership, 1, "adds a region, which stays"},
}

// Entry is one name that a user may give, and what it means.
type Entry struct{ Name, About string }

// List is every name that Expand takes, in the order for a reader.
func List() []Entry {
	out := []Entry{{None, "no faults"}, {All, "every kind below"},
		{Partition, "every kind of partition"}, {Kill, "every kind of kill"}}
	for _, k := range kindTable {
		out = append(out, Entry{string(k.kind), k.about})
	}
	return out
}

// Expand turns names as a user gives them into kinds, each once, in the order of List. The name none
// stands alone; an unknown name is an error that lists all.
func Expand(names []string) ([]Kind, error) {
	if len(names) == 0 {
		return nil, fmt.Errorf("no nemesis is named; none is one, for no faults")
	}
	wanted := map[Kind]bool{}
	for _, name := range names {
		if name == None {
			if len(names) > 1 {
				return nil, fmt.Errorf("nemesis none goes with no other: take it out, or name it alone")
			}
			return nil, nil
		}
		kinds := named(name)
		if len(kinds) == 0 {
			return nil, fmt.Errorf("no nemesis %q; there are %s", name, listed())
		}
		for _, k := range kinds {
			wanted[k] = true
		}
	}
	var out []Kind
	for _, k := range kindTable {
		if wanted[k.kind] {
			out = append(out, k.kind)
		}
	}
	return out, nil
}

// named is what one name stands for; nothing if it is unknown.
func named(name string) []Kind {
	var out []Kind
	for _, k := range kindTable {
		group := (name == Partition || name == Kill) && strings.HasPrefix(string(k.kind), name+"-")
		if name == All || group || name == string(k.kind) {
			out = append(out, k.kind)
		}
	}
	return out
}

func listed() string {
	var names []string
	for _, e := range List() {
		names = append(names, e.Name)
	}
	return strings.Join(names, ", ")
}

// Crashing are the kinds in which nodes end without warning, or may: what they had not on disk is gone. That in which
// the disk goes as well is not one of them.
func Crashing() []Kind { return []Kind{KillOne, KillSeveral, KillAll, RestartLoop, DiskFull} }

// info is what is known of a kind; false if there is no such kind.
func info(k Kind) (kindInfo, bool) {
	i := slices.IndexFunc(kindTable, func(i kindInfo) bool { return i.kind == k })
	if i < 0 {
		return kindInfo{}, false
	}
	return kindTable[i], true
}
