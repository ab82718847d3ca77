package nemesis

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Effects are counts of what faults did, by the names below. One that is 0 is left out.
type Effects map[string]int

// Names of effects. Those of links are of what was under way between two regions' nodes; what never went
// there is not counted.
const (
	BytesHeld      = "bytes held"             // of connections, while the link let nothing through
	EndsHeld       = "connections held"       // that were to be made or ended meanwhile
	PacketsDropped = "packets dropped"        // of connections, where a link that is cut loses packets
	PacketsLost    = "packets lost"           // where a link that is slow does
	BytesDelayed   = "bytes delayed"          // of connections
	ConnsReset     = "connections reset"      // that were open
	PacketsReset   = "packets reset"          // of connections, each answered by a reset
	GossipDropped  = "gossip packets dropped" // by a link that is cut, or drops gossip
	GossipDelayed  = "gossip packets delayed" // by one that is slow
	GossipReset    = "gossip streams reset"   // connections that carried gossip, open or about to be
	NodesKilled    = "nodes killed"           // that ran, and ended by it
	NodesPaused    = "nodes paused"           // that ran, and stood still
	ClockMoved     = "ms of clock moved"      // as read from the nodes' own clocks, either way
	NoSpace        = "reports of a full disk" // by nodes
	NodesEnded     = "nodes ended"            // because of a full disk
	RegionsAdded   = "regions added"          // that serve
	DisksDestroyed = "disks destroyed"        // that held data
	LeadersCut     = "leaders cut off"        // as the regions named them when the fault began
	LeadersUnknown = "leaders unknown"        // then another region was cut off in a leader's place
)

// Witness is a target that counts what faults have done. It is asked before each fault, while one lasts that has
// had no effect yet, and when it is over; from several goroutines at once, and it may block until ctx ends.
type Witness interface {
	// Effects are all that faults of f's kind have done so far to what f hits; they never fall.
	Effects(ctx context.Context, f Fault) (Effects, error)
}

// bite is what shows that a fault of a kind had an effect.
type bite struct {
	by     []string // any of these
	none   string   // how it is said that there was none
	beside []string // what it does as well, and does not show it
}

var (
	held   = bite{[]string{BytesHeld, EndsHeld, PacketsDropped}, "nothing was held back", []string{GossipDropped}}
	killed = bite{[]string{NodesKilled}, "no node that ran was killed", nil}
)

// bites are those of all kinds.
var bites = map[Kind]bite{
	PartitionHalves: held, PartitionIsolate: held, PartitionBridge: held, PartitionOneway: held, PartitionFlapping: held, Stall: held,
	Slow:    {[]string{BytesDelayed, PacketsLost}, "nothing was delayed", []string{GossipDelayed, GossipDropped}},
	Reset:   {[]string{ConnsReset, PacketsReset}, "no connection was reset", nil},
	Gossip:  {[]string{GossipDropped, GossipReset}, "no gossip was dropped", nil},
	KillOne: killed, KillSeveral: killed, KillAll: killed, RestartLoop: killed,
	Pause:         {[]string{NodesPaused}, "no node stood still", nil},
	Clock:         {[]string{ClockMoved}, "no node's clock moved", nil},
	DiskFull:      {[]string{NoSpace, NodesEnded}, "no node met a full disk", nil},
	IsolateLeader: {held.by, held.none, []string{GossipDropped, LeadersCut, LeadersUnknown}},
	DestroyRegion: {[]string{DisksDestroyed}, "no disk with data was taken away", []string{NodesKilled}},
	RegionAdd:     {[]string{RegionsAdded}, "no new region served", nil},
}

// Bit reports whether effects show that faults of a kind did what they are for.
func (e Effects) Bit(k Kind) bool {
	return slices.ContainsFunc(bites[k].by, func(name string) bool { return e[name] > 0 })
}

// of are those that faults of a kind have: another fault may have hit the same thing meanwhile.
func (e Effects) of(k Kind) Effects {
	out := Effects{}
	for _, name := range slices.Concat(bites[k].by, bites[k].beside) {
		if e[name] > 0 {
			out[name] = e[name]
		}
	}
	return out
}

// Inert says that faults of a kind, so many of them, did nothing.
func Inert(k Kind, times int) string {
	if times == 1 {
		return fmt.Sprintf("fault %s: %s the one time that it came; a longer run has it come again", k, bites[k].none)
	}
	return fmt.Sprintf("fault %s: %s any of the %d times that it came", k, bites[k].none, times)
}

// since is what came after another count.
func (e Effects) since(before Effects) Effects {
	out := maps.Clone(e)
	for name := range e {
		out[name] -= before[name]
	}
	return out
}

// How a fault that has had no effect yet is prolonged.
const (
	// MaxLinger bounds by how much. Range: it is fixed.
	MaxLinger = 10 * time.Second
	// lingerPause is the time between two looks at what it did.
	lingerPause = 200 * time.Millisecond
)

// effects asks the target what faults have done, if it can tell, also when ctx has ended.
func (p *player) effects(ctx context.Context, f Fault) (Effects, error) {
	w, ok := p.target.(Witness)
	if !ok {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), UndoTimeout)
	defer cancel()
	e, err := w.Effects(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("what it did can't be told: %w", err)
	}
	return e, nil
}

// linger lets a fault last on that has had no effect, until it has one or it is time for the next: it may have
// met a node that was down because of another fault, or a link that nothing went over. How it begins is done
// again meanwhile, as to a node that has come back.
func (p *player) linger(ctx context.Context, f Fault, before Effects, until time.Time) error {
	if _, ok := p.target.(Witness); !ok || f.Kind == RegionAdd { // which is awaited anyway
		return nil
	}
	for {
		e, err := p.effects(ctx, f)
		if err != nil || e.since(before).Bit(f.Kind) {
			return err
		}
		if time.Now().Add(lingerPause).After(until) || !sleep(ctx, lingerPause) {
			return nil
		}
		if err := p.do(ctx, f, f.steps()[0]); err != nil {
			return err
		}
	}
}
