package serve

import (
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/node"
	"github.com/theriac-db/theriac/server/admin"
	"github.com/theriac-db/theriac/storage"
	"github.com/theriac-db/theriac/txn"
)

// snapshot translates what the node counts into what the admin port shows.
func snapshot(s node.Stats, writable bool) admin.Snapshot {
	out := admin.Snapshot{
		Region: s.Region, Cluster: s.Cluster.String(), Version: node.Version, Ready: s.Ready, Warnings: s.Warnings, Writable: writable, Behind: s.Behind, Renewing: s.Renewing,
		LogBytes: s.LogBytes, StoreBytes: int64(s.Store.DiskBytes), PendingRemovals: s.Store.PendingRemoval,
		OpenTransactions: s.OpenTxns, TransactionAge: s.OldestTxn.Seconds(),
		Commits: s.Txn.Commits, Groups: s.Txn.Groups, Searches: s.Txn.Searches, GroupSize: groupSizes(s.Txn), Sync: syncs(s.Store),
		Queues: []admin.QueueSnapshot{
			{Name: "commit", Length: s.Txn.Queued, Capacity: txn.MaxQueued},
			{Name: "store", Length: s.Store.Queued, Capacity: storage.QueuedJobs},
		},
		Caches: []admin.CacheSnapshot{{Name: "leaf", Bytes: s.Store.CacheBytes, Hits: s.Store.CacheHits, Misses: s.Store.CacheMisses}},
	}
	out.Strong = admin.StrongSnapshot{
		Leader: s.Strong.Leader, Term: s.Strong.Term, LogEntries: s.Strong.LogEntries, Voters: s.Strong.Voters, Undecided: s.Strong.Undecided,
		Commits: s.Txn.StrongCommits, Aborts: s.Txn.StrongAborts, StalenessKnown: s.Strong.Staleness.Known, Staleness: s.Strong.Staleness.Age.Seconds(),
	}
	for _, r := range s.Regions {
		out.Regions = append(out.Regions, admin.RegionSnapshot{
			Name: r.Name, Connected: r.Connected, Lag: r.Lag.Seconds(),
			Exposed: float64(r.Exposed.Wall()) / 1e6, Skew: r.Skew.Seconds(),
			RecordsSent: r.Sent.Records, BytesSent: r.Sent.Bytes, RecordsReceived: r.Received.Records, BytesReceived: r.Received.Bytes,
			HeldLogBytes: r.HeldLog, LeftBehind: r.LeftBehind,
			StalenessKnown: r.Staleness.Known, Staleness: r.Staleness.Age.Seconds(), StalenessP99: r.Staleness.P99.Seconds(),
		})
	}
	for l := kv.LevelEventual; l <= kv.LevelStrong; l++ {
		out.Levels = append(out.Levels, calls(l.String(), s.Txn.Levels[l]))
	}
	for d := kv.DurabilityApplied; d <= kv.DurabilityAll; d++ {
		out.Durabilities = append(out.Durabilities, calls(d.String(), s.Txn.Durabilities[d]))
	}
	return out
}

func calls(name string, c txn.Calls) admin.CallsSnapshot {
	return admin.CallsSnapshot{Name: name, Served: c.Served, Waited: c.Waited, Failed: c.Failed}
}

func syncs(s storage.Stats) admin.Histogram {
	h := admin.Histogram{Counts: s.Syncs[:], Sum: s.SyncTime.Seconds()}
	for _, bound := range storage.SyncBounds {
		h.Bounds = append(h.Bounds, bound.Seconds())
	}
	return h
}

func groupSizes(s txn.Stats) admin.Histogram {
	h := admin.Histogram{Counts: s.GroupSizes[:], Sum: float64(s.Commits)}
	for _, bound := range txn.GroupBounds {
		h.Bounds = append(h.Bounds, float64(bound))
	}
	return h
}
