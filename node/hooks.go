package node

import (
	"fmt"
	"sync"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// Traffic counts log records and the bytes that they take packed, before compression.
type Traffic struct{ Records, Bytes uint64 }

// count adds to a region's traffic.
func (f *peerFacts) count(to map[clock.Region]Traffic, region clock.Region, records, bytes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := to[region]
	to[region] = Traffic{t.Records + uint64(records), t.Bytes + uint64(bytes)}
}

// peerFacts is what replication has told of peers and traffic.
type peerFacts struct {
	mu             sync.Mutex
	faults         map[clock.Region]fault
	up             map[clock.Region]time.Duration // monotonic, since when the stream is up
	stuck          map[clock.Region]string        // records that the store refuses
	skew           map[clock.Region]time.Duration
	sent, received map[clock.Region]Traffic
	much           map[clock.Region]bool // it was told that much of the log is held for the region
	left           map[clock.Region]bool // it was told that the region lacks records that are gone
	clockAhead     bool
}

func (n *run) hooks() replication.Hooks {
	f := &n.peers
	f.faults, f.up, f.skew = map[clock.Region]fault{}, map[clock.Region]time.Duration{}, map[clock.Region]time.Duration{}
	f.stuck = map[clock.Region]string{}
	f.sent, f.received, f.much = map[clock.Region]Traffic{}, map[clock.Region]Traffic{}, map[clock.Region]bool{}
	f.left = map[clock.Region]bool{}
	return replication.Hooks{
		Connected:  n.connected,
		Skew:       n.skewed,
		ClockAhead: n.clockAhead,
		Stuck:      n.stuck,
		Fault:      n.faulty,
		Sent:       func(region clock.Region, records, bytes int) { f.count(f.sent, region, records, bytes) },
		Received:   func(region clock.Region, records, bytes int) { f.count(f.received, region, records, bytes) },
		Behind:     n.leftBehind,
		Forked:     n.forkFound,
		Fenced:     n.regionIsRemoved,
		Logf:       n.config.logf,
	}
}

func (n *run) skewed(region clock.Region, name string, ahead time.Duration) {
	n.peers.mu.Lock()
	n.peers.skew[region] = ahead
	n.peers.mu.Unlock()
	if ahead > 0 {
		n.config.logf("region %d (%s): its clock is %v ahead, more than %v: its records wait; correct the clocks", region, name, ahead, n.config.Skew)
	} else {
		n.config.logf("region %d (%s): its clock is back within the bound", region, name)
	}
}

// clockAhead refuses writes while most peers find this node's clock too far ahead.
func (n *run) clockAhead(ahead bool) {
	n.peers.mu.Lock()
	defer n.peers.mu.Unlock()
	n.peers.clockAhead = ahead
	if !ahead {
		n.refuseFor(clockIsOff, nil)
		return
	}
	n.config.logf("most regions find this node's clock more than %v ahead: no writes until it is corrected", n.config.Skew)
	n.refuseFor(clockIsOff, kv.Errorf(kv.KindReadOnly, "most regions find this node's clock more than %v ahead: correct it, or write elsewhere", n.config.Skew))
}

// forkFound ends all service: what is here may contradict what every other region shows. Whoever runs
// the node hears of it when the replicator ends, which is once the folder says so too.
func (n *run) forkFound(err error) { n.forked.Store(&failure{err}) }

// errForked answers once a fork was found.
func (n *run) errForked() *kv.Error {
	return kv.Errorf(kv.KindUnavailable, "this node serves nothing, ask another region: %w", n.forked.Load().err)
}

// Alive is nil while the process can work.
func (n *run) Alive() error {
	if f := n.failed.Load(); f != nil {
		return f.err
	}
	return nil
}

// NotReady lists why the node does not serve clients in full. Empty: it does.
func (n *run) NotReady() []string {
	var out []string
	if refused := n.Refused(); refused != nil {
		out = append(out, refused.Message)
	} else if f := n.forked.Load(); f != nil {
		out = append(out, f.err.Error())
	}
	return out
}

// Warnings lists what is wrong with other regions and needs an operator. This node serves meanwhile.
func (n *run) Warnings() []string {
	var out []string
	others, now := n.others(), n.config.Time.Monotonic() // replication calls hooks with its lock held
	n.peers.mu.Lock()
	defer n.peers.mu.Unlock()
	for region, ahead := range n.peers.skew {
		if ahead > 0 {
			out = append(out, fmt.Sprintf("region %d: its clock is %v ahead, so its records wait", region, ahead))
		}
	}
	out = append(out, n.peers.standing(now, others)...)
	for region, fault := range n.peers.stuck {
		out = append(out, fmt.Sprintf("region %d: %s", region, fault))
	}
	return out
}
