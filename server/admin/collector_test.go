package admin

import (
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func sampleSnapshot() Snapshot {
	return Snapshot{
		Strong: StrongSnapshot{Leader: "us", Term: 4, LogEntries: 70, Voters: 3, Undecided: 2, Commits: 11, Aborts: 1, StalenessKnown: true, Staleness: 0.75},
		Region: "eu", Cluster: "ab", Version: "0.1", Ready: true, Writable: true, Behind: true, Renewing: true,
		Regions: []RegionSnapshot{
			{Name: "eu", Connected: true, Lag: 0.25, Exposed: 1.7e9, StalenessKnown: true, StalenessP99: 0.5},
			{Name: "us", Skew: -0.5, RecordsSent: 3, BytesSent: 300, RecordsReceived: 4, BytesReceived: 400, HeldLogBytes: 5000, LeftBehind: true},
		},
		LogBytes: 6000, StoreBytes: 7000, PendingRemovals: 1, OpenTransactions: 2, TransactionAge: 3,
		Commits: 10, Groups: 4, Searches: 5,
		GroupSize:    Histogram{Bounds: []float64{1, 4}, Counts: []uint64{2, 1, 1}, Sum: 10},
		Sync:         Histogram{Bounds: []float64{0.001}, Counts: []uint64{4, 0}, Sum: 0.002},
		Levels:       []CallsSnapshot{{Name: "quorum", Served: 3, Waited: 4, Failed: 1}},
		Durabilities: []CallsSnapshot{{Name: "majority", Served: 6, Waited: 6, Failed: 2}},
		Queues:       []QueueSnapshot{{Name: "commits", Length: 5, Capacity: 65536}},
		Caches:       []CacheSnapshot{{Name: "leaves", Bytes: 9, Hits: 8, Misses: 7}},
	}
}

// scrape returns the body of /metrics.
func scrape(t *testing.T, g prometheus.Gatherer) (int, string, *journal) {
	t.Helper()
	n, j := &fakeNode{}, &journal{}
	w := get(t, New(Config{Health: n, Status: n, Metrics: g, Logf: j.logf}).Handler(), "/metrics")
	return w.Code, w.Body.String(), j
}

func TestSnapshotBecomesMetrics(t *testing.T) {
	code, text, _ := scrape(t, NewRegistry(NewCollector(sampleSnapshot)))
	require.Equal(t, 200, code)
	for _, line := range []string{
		`theriac_node_info{cluster="ab",region="eu",version="0.1"} 1`,
		`theriac_ready 1`, `theriac_writable 1`, `theriac_behind 1`, `theriac_renewing 1`, `theriac_log_bytes 6000`, `theriac_store_bytes 7000`,
		`theriac_removals_pending 1`, `theriac_transactions_open 2`, `theriac_transaction_age_seconds 3`,
		`theriac_commits_total 10`, `theriac_groups_total 4`, `theriac_log_searches_total 5`,
		`theriac_group_transactions_bucket{le="1"} 2`, `theriac_group_transactions_bucket{le="4"} 3`,
		`theriac_group_transactions_bucket{le="+Inf"} 4`, `theriac_group_transactions_sum 10`, `theriac_group_transactions_count 4`,
		`theriac_sync_seconds_bucket{le="0.001"} 4`,
		`theriac_region_connected{region="eu"} 1`, `theriac_region_connected{region="us"} 0`,
		`theriac_region_lag_seconds{region="eu"} 0.25`, `theriac_region_exposed_timestamp_seconds{region="eu"} 1.7e+09`,
		`theriac_region_skew_seconds{region="us"} -0.5`,
		`theriac_region_staleness_seconds{region="eu"} 0`, `theriac_region_staleness_p99_seconds{region="eu"} 0.5`,
		`theriac_level_served_total{level="quorum"} 3`, `theriac_level_waited_total{level="quorum"} 4`, `theriac_level_failed_total{level="quorum"} 1`,
		`theriac_durability_served_total{durability="majority"} 6`, `theriac_durability_failed_total{durability="majority"} 2`,
		`theriac_replication_sent_records_total{region="us"} 3`, `theriac_replication_sent_bytes_total{region="us"} 300`,
		`theriac_replication_received_records_total{region="us"} 4`, `theriac_replication_received_bytes_total{region="us"} 400`,
		`theriac_log_held_bytes{region="us"} 5000`, `theriac_region_left_behind{region="eu"} 0`, `theriac_region_left_behind{region="us"} 1`,
		`theriac_strong_leader_known 1`, `theriac_strong_leader{region="eu"} 0`, `theriac_strong_leader{region="us"} 1`, `theriac_strong_term 4`,
		`theriac_strong_log_entries 70`, `theriac_strong_voters 3`, `theriac_strong_undecided 2`, `theriac_strong_commits_total 11`,
		`theriac_strong_aborts_total 1`, `theriac_strong_staleness_seconds 0.75`,
		`theriac_queue_length{queue="commits"} 5`, `theriac_queue_capacity{queue="commits"} 65536`,
		`theriac_cache_bytes{cache="leaves"} 9`, `theriac_cache_hits_total{cache="leaves"} 8`, `theriac_cache_misses_total{cache="leaves"} 7`,
		`# TYPE theriac_commits_total counter`, `# TYPE theriac_ready gauge`, `# TYPE theriac_sync_seconds histogram`,
	} {
		require.Contains(t, text, line+"\n")
	}
	require.NotContains(t, text, `theriac_region_staleness_seconds{region="us"}`, "it is not known")
	require.Contains(t, text, "go_goroutines")
	require.Contains(t, text, "process_open_fds")
}

func TestEmptySnapshotIsFine(t *testing.T) {
	code, text, j := scrape(t, NewRegistry(NewCollector(func() Snapshot { return Snapshot{} })))
	require.Equal(t, 200, code)
	require.Contains(t, text, "theriac_ready 0\n")
	require.Contains(t, text, "theriac_sync_seconds_count 0\n")
	require.Contains(t, text, "theriac_strong_leader_known 0\n")
	require.NotContains(t, text, "theriac_strong_staleness_seconds ", "it is not known")
	require.Empty(t, j.lines)
}

func TestMalformedSnapshotsAreReportedAndTheRestIsServed(t *testing.T) {
	many := make([]QueueSnapshot, MaxNamedSeries+1)
	for name, c := range map[string]struct {
		change func(*Snapshot)
		want   string
	}{
		"twice":        {func(s *Snapshot) { s.Regions[1].Name = "eu" }, `region "eu": want a name in UTF-8, once`},
		"no name":      {func(s *Snapshot) { s.Caches[0].Name = "" }, `cache ""`},
		"level twice":  {func(s *Snapshot) { s.Levels = append(s.Levels, s.Levels[0]) }, `level "quorum"`},
		"durability":   {func(s *Snapshot) { s.Durabilities[0].Name = "" }, `durability ""`},
		"no text":      {func(s *Snapshot) { s.Queues[0].Name = "\xff" }, `queue "\xff"`},
		"no label":     {func(s *Snapshot) { s.Version = "\xff" }, `label "\xff"`},
		"too many":     {func(s *Snapshot) { s.Queues = many }, "65 of queue: want at most 64"},
		"short counts": {func(s *Snapshot) { s.Sync.Counts = nil }, "sync: histogram of 1 bounds and 0 counts"},
		"falling":      {func(s *Snapshot) { s.GroupSize.Bounds = []float64{2, 2} }, "group size: histogram bound 1 is 2"},
		"no number":    {func(s *Snapshot) { s.Sync.Bounds = []float64{math.NaN()} }, "want rising bounds"},
	} {
		t.Run(name, func(t *testing.T) {
			s := sampleSnapshot()
			c.change(&s)
			require.ErrorContains(t, s.Validate(), c.want)
			code, text, j := scrape(t, NewRegistry(NewCollector(func() Snapshot { return s })))
			require.Equal(t, 200, code)
			require.NotContains(t, text, "theriac_")
			require.Contains(t, text, "go_goroutines")
			require.Len(t, j.lines, 1)
			require.Contains(t, j.lines[0], c.want)
		})
	}
	s := sampleSnapshot()
	require.NoError(t, s.Validate())
}

func TestOneNameTwiceIsRefused(t *testing.T) {
	c := NewCollector(sampleSnapshot)
	require.Panics(t, func() { NewRegistry(c, c) })
}

// TestReferenceListsEveryMetric is invariant 4.
func TestReferenceListsEveryMetric(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/metrics.md")
	require.NoError(t, err)
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(theriac_[a-z0-9_]+)`").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, row[1])
	}
	families, err := NewRegistry(NewCollector(sampleSnapshot)).Gather()
	require.NoError(t, err)
	var exposed []string
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "theriac_") {
			exposed = append(exposed, f.GetName())
		}
	}
	slices.Sort(documented)
	require.Equal(t, exposed, documented)
}
