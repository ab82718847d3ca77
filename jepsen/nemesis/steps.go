package nemesis

import (
	"context"
	"fmt"
	"time"
)

// verb is what a step does, with the ability that it takes.
type verb string

const (
	cut        verb = "cut"
	heal       verb = "heal"
	slow       verb = "slow"
	stall      verb = "stall"
	flow       verb = "flow"
	reset      verb = "reset"
	dropGossip verb = "drop-gossip"
	passGossip verb = "pass-gossip"
	kill       verb = "kill"
	restart    verb = "restart"
	pause      verb = "pause"
	resume     verb = "resume"
	fillDisk   verb = "fill-disk"
	freeDisk   verb = "free-disk"
	setClock   verb = "set-clock"
	addRegion  verb = "add-region"
	await      verb = "await"
	destroy    verb = "destroy"
)

// step is one thing to do to each of a fault's links or regions, at a time since the fault's start.
type step struct {
	after   time.Duration
	verb    verb
	weather Weather
	offset  time.Duration
}

// steps are what a fault does while it lasts.
func (f Fault) steps() []step {
	switch f.Kind {
	case PartitionFlapping:
		return f.alternate(cut, heal)
	case Stall:
		return f.alternate(stall, flow)
	case Reset:
		return f.alternate(reset, reset) // twice in a period
	case RestartLoop:
		return f.alternate(kill, restart)
	case Slow:
		return []step{{verb: slow, weather: f.Weather}}
	case Gossip:
		return []step{{verb: dropGossip}}
	case KillOne, KillSeveral, KillAll:
		return []step{{verb: kill}}
	case Pause:
		return []step{{verb: pause}}
	case Clock:
		return []step{{verb: setClock, offset: f.Offset}}
	case DiskFull:
		return []step{{verb: fillDisk}}
	case DestroyRegion:
		return []step{{verb: destroy}}
	case RegionAdd:
		return []step{{verb: addRegion}}
	}
	return []step{{verb: cut}}
}

// alternate does one thing and another in turn, each half a period, as long as the fault lasts.
func (f Fault) alternate(on, off verb) []step {
	var out []step
	for at, v := time.Duration(0), on; at < f.For; at += f.Period / 2 {
		out = append(out, step{after: at, verb: v})
		if v == on {
			v = off
		} else {
			v = on
		}
	}
	return out
}

// undo is what ends a fault wherever it is; ok is false for one that leaves nothing behind.
func (f Fault) undo() (s step, ok bool) {
	switch f.Kind {
	case Slow:
		return step{verb: slow}, true
	case Stall:
		return step{verb: flow}, true
	case Reset:
		return step{}, false
	case Gossip:
		return step{verb: passGossip}, true
	case KillOne, KillSeveral, KillAll, RestartLoop, DestroyRegion:
		return step{verb: restart}, true
	case Pause:
		return step{verb: resume}, true
	case Clock:
		return step{verb: setClock}, true
	case DiskFull:
		return step{verb: freeDisk}, true
	case RegionAdd:
		return step{verb: await}, true
	}
	return step{verb: heal}, true
}

// onLink does a step of the network's kinds. The target has the ability: Possible was asked.
func (s step) onLink(ctx context.Context, target any, l Link) error {
	switch s.verb {
	case cut:
		return target.(Cutter).Cut(ctx, l)
	case heal:
		return target.(Cutter).Heal(ctx, l)
	case slow:
		return target.(Slower).Slow(ctx, l, s.weather)
	case stall:
		return target.(Staller).Stall(ctx, l)
	case flow:
		return target.(Staller).Flow(ctx, l)
	case reset:
		return target.(Resetter).Reset(ctx, l)
	case dropGossip:
		return target.(GossipDropper).DropGossip(ctx, l)
	case passGossip:
		return target.(GossipDropper).PassGossip(ctx, l)
	}
	panic(fmt.Sprintf("nemesis: step %s is for no link", s.verb))
}

// onRegion does a step of the other kinds.
func (s step) onRegion(ctx context.Context, target any, region string) error {
	switch s.verb {
	case kill:
		return target.(Killer).Kill(ctx, region)
	case restart:
		return target.(Killer).Restart(ctx, region)
	case pause:
		return target.(Pauser).Pause(ctx, region)
	case resume:
		return target.(Pauser).Resume(ctx, region)
	case fillDisk:
		return target.(DiskFiller).FillDisk(ctx, region)
	case freeDisk:
		return target.(DiskFiller).FreeDisk(ctx, region)
	case setClock:
		return target.(ClockSetter).SetClock(ctx, region, s.offset)
	case destroy:
		return target.(Destroyer).Destroy(ctx, region)
	case addRegion:
		return target.(Grower).Add(ctx, region)
	case await:
		return target.(Grower).Await(ctx, region)
	}
	panic(fmt.Sprintf("nemesis: step %s is for no region", s.verb))
}
