package node

import (
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
	Regions []RegionStats
	Txn     txn.Stats
	Store   storage.Stats

	LogBytes int64
	OpenTxns int

	RecordsSent, RecordsReceived uint64
	BytesSent, BytesReceived     uint64 // before compression
}

// RegionStats is what a node counts of one region.
type RegionStats struct {
	replication.PeerStatus
	Exposed clock.Timestamp
	Lag     time.Duration // of what is exposed behind the wall clock
}

// Stats collects figures.
func (n *Node) Stats() Stats {
	s := Stats{
		Cluster: n.identity.Cluster, Region: n.identity.Name, Ready: len(n.NotReady()) == 0,
		Txn: n.Coordinator.Stats(), Store: n.store.Stats(), OpenTxns: n.OpenTxns(),
	}
	raw, now := n.exposure.Raw(), n.config.Time.Wall()
	for _, p := range n.replicator.Status() {
		t := raw.At(p.Region)
		s.Regions = append(s.Regions, RegionStats{PeerStatus: p, Exposed: t, Lag: lag(now, t)})
	}
	for _, lane := range n.exposure.Members() {
		s.LogBytes += n.store.LogStats(lane, n.config.LogBytes).Bytes
	}
	f := &n.peers
	f.mu.Lock()
	defer f.mu.Unlock()
	s.RecordsSent, s.RecordsReceived, s.BytesSent, s.BytesReceived = f.sent, f.received, f.bytesOut, f.bytesIn
	return s
}
