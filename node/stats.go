package node

import (
	"context"
	"fmt"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/storage"
	"github.com/theriac-db/theriac/txn"
)

// Stats is what a node counts, for metrics.
type Stats struct {
	Cluster kv.ClusterID
	Region  string
	Ready   bool
	// Warnings is how many stand; see Node.Warnings.
	Warnings int
	// Behind says that this node lacks records that are gone from the others' logs, and takes no writes;
	// Renewing, that it is copying all data anew, and serves nothing.
	Behind, Renewing bool

	Regions []RegionStats
	Txn     txn.Stats
	Store   storage.Stats

	Strong StrongStats

	LogBytes  int64
	OpenTxns  int
	OldestTxn time.Duration // since the oldest open interactive transaction began; 0: none is open
}

// StrongStats is what a node counts of the raft group.
type StrongStats struct {
	Leader     string // name of the region whose voter leads; empty: none is known
	Term       uint64
	LogEntries uint64 // held in the log
	Voters     int
	Undecided  int                   // proposals of this process
	Staleness  replication.Staleness // of strong transactions
}

// strongStats collects them.
func (n *run) strongStats(of replication.Staleness) StrongStats {
	s := n.consensus.group.Status()
	held := uint64(0)
	if s.Last >= s.First {
		held = s.Last - s.First + 1
	}
	return StrongStats{Leader: n.consensus.leader(&s), Term: s.Term, LogEntries: held, Voters: len(s.Voters), Undecided: s.Proposals, Staleness: of}
}

// RegionStats is what a node counts of one region.
type RegionStats struct {
	replication.PeerStatus
	Exposed clock.Timestamp
	Lag     time.Duration // of what is exposed behind the wall clock; 0 for the own region
	// Staleness is how old what is exposed may be; not known of a region that does not serve.
	Staleness replication.Staleness

	Sent, Received Traffic // on the stream to the region, whoever wrote the records
	HeldLog        int64   // bytes of log that wait for the region; see held
	LeftBehind     bool    // it lacks records that are gone from the log here; see watchLeft
}

// Stats collects figures.
func (n *run) Stats() Stats {
	s := Stats{
		Cluster: n.identity.Cluster, Region: n.identity.Name, Ready: len(n.NotReady()) == 0, Warnings: len(n.Warnings()), Behind: n.refusesFor(fellBehind),
		Txn: n.Coordinator.Stats(), Store: n.store.Stats(), OpenTxns: n.OpenTxns(), OldestTxn: n.OldestTxn(),
	}
	raw, now, stale := n.exposure.Raw(), n.config.Time.Wall(), n.staleness()
	s.Strong = n.strongStats(stale[0])
	for _, p := range n.replicator.Status() {
		t := raw.At(p.Region)
		r := RegionStats{PeerStatus: p, Exposed: t, Lag: n.behind(p.Region, now, t), Staleness: stale[p.Region], HeldLog: n.held(p.Region)}
		n.peers.mu.Lock()
		r.Sent, r.Received, r.LeftBehind = n.peers.sent[p.Region], n.peers.received[p.Region], n.peers.left[p.Region]
		n.peers.mu.Unlock()
		s.Regions = append(s.Regions, r)
	}
	for _, lane := range n.exposure.Members() {
		s.LogBytes += n.store.LogStats(lane, n.config.LogBytes).Bytes
	}
	return s
}

// held estimates how much of this node's log waits for a region, which has not reported that it has
// the records on its disk: all of it before its first report since this node's start. The store
// counts in stretches of about 1 MiB, so a region that keeps up may show as much a lane.
func (n *run) held(region clock.Region) int64 {
	if region == n.lane.Region {
		return 0
	}
	report, _ := n.exposure.Reported(region)
	bytes := int64(0)
	for _, lane := range n.exposure.Members() {
		bytes += n.store.LogBytesAfter(lane, report.Durable.At(lane.Region))
	}
	return bytes
}

// growth tells how far the log grows for a region that is away.
func (n *run) growth() string {
	if n.config.LogLimit == 0 {
		return ""
	}
	return fmt.Sprintf("; beyond %d MiB the oldest records go, and the region will have to copy all data anew", n.config.LogLimit>>20)
}

// watchLeft logs when a region lacks records that are gone from the log here, and when it no longer
// does. It may still find them in another's log.
func (n *run) watchLeft(context.Context) {
	for _, p := range n.replicator.Status() {
		if p.Region == n.lane.Region || !p.Serving {
			continue
		}
		report, _ := n.exposure.Reported(p.Region)
		left := false
		for _, lane := range n.exposure.Members() {
			left = left || n.store.LogStats(lane, 0).Truncated > report.Durable.At(lane.Region)
		}
		n.peers.mu.Lock()
		told := n.peers.left[p.Region]
		n.peers.left[p.Region] = left
		n.peers.mu.Unlock()
		switch {
		case left && !told:
			n.config.logf("region %d (%s) has not reported records that the log no longer holds: unless another region's does, it will copy all data anew when it is back", p.Region, p.Name)
		case told && !left:
			n.config.logf("region %d (%s) has all again that the log no longer holds", p.Region, p.Name)
		}
	}
}

// watchHeld logs when what is held for a region passes half of what the log should take, and when
// it has fallen below a quarter.
func (n *run) watchHeld(context.Context) {
	for _, p := range n.replicator.Status() {
		held := n.held(p.Region)
		n.peers.mu.Lock()
		told := n.peers.much[p.Region]
		n.peers.much[p.Region] = held > n.config.LogBytes/2 || told && held > n.config.LogBytes/4
		now := n.peers.much[p.Region]
		n.peers.mu.Unlock()
		switch {
		case now && !told:
			n.config.logf("region %d (%s): %d MiB of log are held until it reports them on its disk, more than half of the %d MiB that the log should take; "+
				"bring the region back, or the log grows on%s", p.Region, p.Name, held>>20, n.config.LogBytes>>20, n.growth())
		case told && !now:
			n.config.logf("region %d (%s): %d MiB of log are held for it, the log shrinks again", p.Region, p.Name, held>>20)
		}
	}
}
