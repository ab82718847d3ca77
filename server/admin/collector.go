package admin

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metric is one name and how a snapshot fills it.
type metric struct {
	desc    *prometheus.Desc
	collect func(s *Snapshot, desc *prometheus.Desc, out chan<- prometheus.Metric)
}

// collector turns snapshots into metrics.
type collector struct {
	snapshot func() Snapshot
	metrics  []metric
}

// NewCollector exposes what snapshot returns. It is called once a scrape, on the scrape's goroutine,
// perhaps several at a time, and answers from memory. A Snapshot that Validate refuses makes the
// scrape say so and miss these metrics.
func NewCollector(snapshot func() Snapshot) prometheus.Collector {
	return &collector{snapshot: snapshot, metrics: allMetrics()}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		out <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.snapshot()
	if err := s.Validate(); err != nil {
		out <- prometheus.NewInvalidMetric(c.metrics[0].desc, err)
		return
	}
	for _, m := range c.metrics {
		m.collect(&s, m.desc, out)
	}
}

func allMetrics() []metric {
	groups := [][]metric{nodeMetrics(), commitMetrics(), regionMetrics(), stalenessMetrics(), strongMetrics(), callMetrics(), queueMetrics(), cacheMetrics()}
	var all []metric
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

func nodeMetrics() []metric {
	info := metric{desc("node_info", "Always 1; the labels say which node this is.", "region", "cluster", "version"),
		func(s *Snapshot, d *prometheus.Desc, out chan<- prometheus.Metric) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, 1, s.Region, s.Cluster, s.Version)
		}}
	return []metric{
		info,
		gauge("ready", "1 when clients are served in full.", func(s *Snapshot) float64 { return truth(s.Ready) }),
		gauge("warnings", "What is wrong with other regions and needs an operator.",
			func(s *Snapshot) float64 { return float64(s.Warnings) }),
		gauge("writable", "1 when writes are taken.", func(s *Snapshot) float64 { return truth(s.Writable) }),
		gauge("behind", "1 while this node lacks records that are gone from the others' logs.",
			func(s *Snapshot) float64 { return truth(s.Behind) }),
		gauge("renewing", "1 while this node copies all data anew and serves nothing.",
			func(s *Snapshot) float64 { return truth(s.Renewing) }),
		gauge("log_bytes", "Bytes in the logs of all lanes.", func(s *Snapshot) float64 { return float64(s.LogBytes) }),
		gauge("store_bytes", "Bytes of all files of the store.", func(s *Snapshot) float64 { return float64(s.StoreBytes) }),
		gauge("removals_pending", "Removals of collections that are still being carried out.",
			func(s *Snapshot) float64 { return float64(s.PendingRemovals) }),
	}
}

func commitMetrics() []metric {
	return []metric{
		gauge("transactions_open", "Interactive transactions that are open.",
			func(s *Snapshot) float64 { return float64(s.OpenTransactions) }),
		gauge("transaction_age_seconds", "Age of the oldest open interactive transaction; it holds back what can be forgotten.",
			func(s *Snapshot) float64 { return s.TransactionAge }),
		counter("commits_total", "Transactions committed here.", func(s *Snapshot) float64 { return float64(s.Commits) }),
		counter("groups_total", "Groups that transactions were committed in.", func(s *Snapshot) float64 { return float64(s.Groups) }),
		counter("log_searches_total", "Passes through the log in search of operation ids that are retried.", func(s *Snapshot) float64 { return float64(s.Searches) }),
		histogram("group_transactions", "Transactions in a group.", func(s *Snapshot) Histogram { return s.GroupSize }),
		histogram("sync_seconds", "Time from the commit of a batch to the store until it is on disk.", func(s *Snapshot) Histogram { return s.Sync }),
	}
}

func regionMetrics() []metric {
	type region = RegionSnapshot
	series := func(name, help string, t prometheus.ValueType, value func(*region) float64) metric {
		return labelled(name, help, "region", t, func(s *Snapshot, emit func(float64, string)) {
			for i := range s.Regions {
				emit(value(&s.Regions[i]), s.Regions[i].Name)
			}
		})
	}
	const g, c = prometheus.GaugeValue, prometheus.CounterValue
	return []metric{
		series("region_connected", "1 while a stream to the region is up.", g, func(r *region) float64 { return truth(r.Connected) }),
		series("region_lag_seconds", "How far what is exposed of the region lies behind the wall clock; 0 for the own region.", g,
			func(r *region) float64 { return r.Lag }),
		series("region_exposed_timestamp_seconds", "What is exposed of the region, as a Unix time.", g,
			func(r *region) float64 { return r.Exposed }),
		series("region_skew_seconds", "How far the region's clock was ahead at its last heartbeat.", g, func(r *region) float64 { return r.Skew }),
		series("replication_sent_records_total", "Log records sent to the region.", c,
			func(r *region) float64 { return float64(r.RecordsSent) }),
		series("replication_sent_bytes_total", "Bytes of log records sent to the region, before compression.", c, func(r *region) float64 { return float64(r.BytesSent) }),
		series("replication_received_records_total", "Log records received from the region.", c,
			func(r *region) float64 { return float64(r.RecordsReceived) }),
		series("replication_received_bytes_total", "Bytes of log records received from the region, before compression.", c,
			func(r *region) float64 { return float64(r.BytesReceived) }),
		series("log_held_bytes", "Estimate of the log kept because the region has not reported the records durable.", g,
			func(r *region) float64 { return float64(r.HeldLogBytes) }),
		series("region_left_behind", "1 while the region lacks records that are gone from the log here.", g,
			func(r *region) float64 { return truth(r.LeftBehind) }),
	}
}

func stalenessMetrics() []metric {
	series := func(name, help string, value func(*RegionSnapshot) float64) metric {
		return labelled(name, help, "region", prometheus.GaugeValue, func(s *Snapshot, emit func(float64, string)) {
			for i := range s.Regions {
				if s.Regions[i].StalenessKnown {
					emit(value(&s.Regions[i]), s.Regions[i].Name)
				}
			}
		})
	}
	return []metric{
		series("region_staleness_seconds", "How old what is shown of the region may be, by this node's own clock; missing while it is not known.",
			func(r *RegionSnapshot) float64 { return r.Staleness }),
		series("region_staleness_p99_seconds", "99th percentile of the staleness over the last minute.",
			func(r *RegionSnapshot) float64 { return r.StalenessP99 }),
	}
}

// strongMetrics are those of the raft group.
func strongMetrics() []metric {
	return []metric{
		gauge("strong_leader_known", "1 while a leader of the raft group is known here.", func(s *Snapshot) float64 { return truth(s.Strong.Leader != "") }),
		labelled("strong_leader", "1 for the region whose voter leads the raft group, as far as is known here.", "region", prometheus.GaugeValue,
			func(s *Snapshot, emit func(float64, string)) {
				for i := range s.Regions {
					emit(truth(s.Regions[i].Name == s.Strong.Leader), s.Regions[i].Name)
				}
			}),
		gauge("strong_term", "Term of the raft group.", func(s *Snapshot) float64 { return float64(s.Strong.Term) }),
		gauge("strong_log_entries", "Entries of the raft group's log that are held here.", func(s *Snapshot) float64 { return float64(s.Strong.LogEntries) }),
		gauge("strong_voters", "Voters of the raft group.", func(s *Snapshot) float64 { return float64(s.Strong.Voters) }),
		gauge("strong_undecided", "Proposals of this process that are not decided.", func(s *Snapshot) float64 { return float64(s.Strong.Undecided) }),
		counter("strong_commits_total", "Strong transactions that committed here.", func(s *Snapshot) float64 { return float64(s.Strong.Commits) }),
		counter("strong_aborts_total", "Strong transactions that were aborted here since they met another one, or were too old.",
			func(s *Snapshot) float64 { return float64(s.Strong.Aborts) }),
		{desc("strong_staleness_seconds", "How old what is shown of strong transactions may be; missing while it is not known."),
			func(s *Snapshot, d *prometheus.Desc, out chan<- prometheus.Metric) {
				if s.Strong.StalenessKnown {
					out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, s.Strong.Staleness)
				}
			}},
	}
}

// callMetrics count by what calls asked for.
func callMetrics() []metric {
	var out []metric
	for _, of := range []struct {
		name, what string
		list       func(*Snapshot) []CallsSnapshot
	}{
		{"level", "Calls by the level that they asked for", func(s *Snapshot) []CallsSnapshot { return s.Levels }},
		{"durability", "Writes by the durability that they asked for", func(s *Snapshot) []CallsSnapshot { return s.Durabilities }},
	} {
		series := func(name, help string, value func(*CallsSnapshot) uint64) metric {
			return labelled(of.name+"_"+name+"_total", of.what+help, of.name, prometheus.CounterValue, func(s *Snapshot, emit func(float64, string)) {
				for i, list := 0, of.list(s); i < len(list); i++ {
					emit(float64(value(&list[i])), list[i].Name)
				}
			})
		}
		out = append(out,
			series("served", ": those that had it.", func(c *CallsSnapshot) uint64 { return c.Served }),
			series("waited", ": those that did not have it at once.", func(c *CallsSnapshot) uint64 { return c.Waited }),
			series("failed", ": those that never had it.", func(c *CallsSnapshot) uint64 { return c.Failed }))
	}
	return out
}

func queueMetrics() []metric {
	series := func(name, help string, value func(QueueSnapshot) int) metric {
		return labelled(name, help, "queue", prometheus.GaugeValue, func(s *Snapshot, emit func(float64, string)) {
			for _, q := range s.Queues {
				emit(float64(value(q)), q.Name)
			}
		})
	}
	return []metric{
		series("queue_length", "Entries in a bounded queue.", func(q QueueSnapshot) int { return q.Length }),
		series("queue_capacity", "Entries that the queue has room for.", func(q QueueSnapshot) int { return q.Capacity }),
	}
}

func cacheMetrics() []metric {
	series := func(name, help string, t prometheus.ValueType, value func(CacheSnapshot) float64) metric {
		return labelled(name, help, "cache", t, func(s *Snapshot, emit func(float64, string)) {
			for _, c := range s.Caches {
				emit(value(c), c.Name)
			}
		})
	}
	return []metric{
		series("cache_bytes", "Memory that the cache takes.", prometheus.GaugeValue, func(c CacheSnapshot) float64 { return float64(c.Bytes) }),
		series("cache_hits_total", "Reads that the cache answered.", prometheus.CounterValue,
			func(c CacheSnapshot) float64 { return float64(c.Hits) }),
		series("cache_misses_total", "Reads that the cache did not answer.", prometheus.CounterValue,
			func(c CacheSnapshot) float64 { return float64(c.Misses) }),
	}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("theriac_"+name, help, labels, nil)
}

func gauge(name, help string, value func(*Snapshot) float64) metric {
	return single(name, help, prometheus.GaugeValue, value)
}

func counter(name, help string, value func(*Snapshot) float64) metric {
	return single(name, help, prometheus.CounterValue, value)
}

func single(name, help string, t prometheus.ValueType, value func(*Snapshot) float64) metric {
	return metric{desc(name, help), func(s *Snapshot, d *prometheus.Desc, out chan<- prometheus.Metric) {
		out <- prometheus.MustNewConstMetric(d, t, value(s))
	}}
}

func histogram(name, help string, value func(*Snapshot) Histogram) metric {
	return metric{desc(name, help), func(s *Snapshot, d *prometheus.Desc, out chan<- prometheus.Metric) {
		h := value(s)
		total, buckets := h.cumulative()
		out <- prometheus.MustNewConstHistogram(d, total, h.Sum, buckets)
	}}
}

// labelled is a metric with one series for each value of a label.
func labelled(name, help, label string, t prometheus.ValueType, each func(s *Snapshot, emit func(float64, string))) metric {
	return metric{desc(name, help, label), func(s *Snapshot, d *prometheus.Desc, out chan<- prometheus.Metric) {
		each(s, func(v float64, value string) { out <- prometheus.MustNewConstMetric(d, t, v, value) })
	}}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
