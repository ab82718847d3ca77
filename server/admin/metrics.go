package admin

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Limits of a Snapshot, so that a scrape stays small.
const (
	MaxRegionSeries = 1024 // regions
	MaxNamedSeries  = 64   // queues, and caches
	MaxBuckets      = 64   // of a histogram
)

// Snapshot is all that the database counts, as plain numbers at one moment. node fills it; what a
// number means is said in docs/reference/metrics.md.
type Snapshot struct {
	Region, Cluster, Version string // labels of theriac_node_info

	Ready    bool
	Warnings int  // about other regions; they stand behind ready in /readyz
	Writable bool // writes are taken: neither recovering nor read-only
	Behind   bool // it lacks records that are gone from the others' logs
	Renewing bool // it is copying all data anew, and serves nothing

	Regions []RegionSnapshot // each known region once, the own one included

	LogBytes         int64   // of the logs of all lanes
	StoreBytes       int64   // of all files of the store
	PendingRemovals  int     // removals of collections that are still being carried out
	OpenTransactions int     // interactive ones
	TransactionAge   float64 // seconds since the oldest of them began; 0: none is open

	Commits   uint64    // transactions committed by this process
	Groups    uint64    // groups that they were committed in
	Searches  uint64    // passes through the log in search of operation ids
	GroupSize Histogram // transactions in a group
	Sync      Histogram // seconds from a batch's commit until it was durable

	Strong StrongSnapshot

	Levels       []CallsSnapshot // calls by level; each name once
	Durabilities []CallsSnapshot // writes by durability; each name once

	Queues []QueueSnapshot // each name once
	Caches []CacheSnapshot // each name once
}

// StrongSnapshot is what a node counts about the raft group and strong transactions.
type StrongSnapshot struct {
	Leader          string // region whose voter leads; empty: none is known
	Term            uint64
	LogEntries      uint64 // held in the log here
	Voters          int
	Undecided       int    // proposals of this process that are not decided
	Commits, Aborts uint64 // of strong transactions that ended here
	StalenessKnown  bool
	Staleness       float64 // seconds: how old what is shown of strong transactions may be
}

// RegionSnapshot is what a node counts about one region. Counters begin at 0 with the process.
type RegionSnapshot struct {
	Name      string
	Connected bool    // a stream to it is up; true for the own region
	Lag       float64 // seconds by which what is exposed of it lies behind the wall clock; 0 for the own one
	Exposed   float64 // what is exposed of it, as seconds since the Unix epoch
	Skew      float64 // seconds by which its clock was ahead at its last heartbeat; negative: behind

	RecordsSent, BytesSent         uint64 // to it, packed and not compressed, whoever's records they are
	RecordsReceived, BytesReceived uint64 // from it
	HeldLogBytes                   int64  // estimate of the log kept because it has not reported the records durable
	LeftBehind                     bool   // it lacks records that are gone from the log here

	StalenessKnown          bool    // something was heard of it since this node started; false too while it joins
	Staleness, StalenessP99 float64 // seconds: how old what is shown of it may be, now and at the 99th percentile
}

// CallsSnapshot counts the calls that asked for one level, or one durability.
type CallsSnapshot struct {
	Name           string
	Served, Failed uint64
	Waited         uint64 // of both, those that did not have at once what they asked for
}

// QueueSnapshot is a bounded queue.
type QueueSnapshot struct {
	Name             string
	Length, Capacity int
}

// CacheSnapshot is a bounded cache.
type CacheSnapshot struct {
	Name         string
	Bytes        int64
	Hits, Misses uint64
}

// Histogram counts observations in buckets. The zero Histogram has seen none.
type Histogram struct {
	Bounds []float64 // upper bounds, inclusive, rising
	Counts []uint64  // of each bucket alone; one more than Bounds, the last for what is above all
	Sum    float64   // of all observations
}

// validate reports what is wrong with a histogram.
func (h Histogram) validate() error {
	if len(h.Bounds) == 0 && len(h.Counts) == 0 {
		return nil
	}
	if len(h.Counts) != len(h.Bounds)+1 || len(h.Bounds) > MaxBuckets {
		return fmt.Errorf("histogram of %d bounds and %d counts: want one count more than bounds, and at most %d bounds",
			len(h.Bounds), len(h.Counts), MaxBuckets)
	}
	for i, b := range h.Bounds {
		if math.IsNaN(b) || i > 0 && b <= h.Bounds[i-1] {
			return fmt.Errorf("histogram bound %d is %v: want rising bounds", i, b)
		}
	}
	return nil
}

// cumulative gives the counts as Prometheus wants them: each bucket with all those below.
func (h Histogram) cumulative() (total uint64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(h.Bounds))
	for i, n := range h.Counts {
		total += n
		if i < len(h.Bounds) {
			buckets[h.Bounds[i]] = total
		}
	}
	return total, buckets
}

// Validate reports the first thing in s that can't be exposed: a repeated or missing name, too many
// of something, a malformed histogram.
func (s *Snapshot) Validate() error {
	if err := s.validateNames(); err != nil {
		return err
	}
	if err := s.GroupSize.validate(); err != nil {
		return fmt.Errorf("admin: group size: %w", err)
	}
	if err := s.Sync.validate(); err != nil {
		return fmt.Errorf("admin: sync: %w", err)
	}
	return nil
}

func (s *Snapshot) validateNames() error {
	for _, label := range []string{s.Region, s.Cluster, s.Version} {
		if !utf8.ValidString(label) {
			return fmt.Errorf("admin: label %q: want UTF-8", label)
		}
	}
	if err := distinct("region", len(s.Regions), MaxRegionSeries, func(i int) string { return s.Regions[i].Name }); err != nil {
		return err
	}
	if err := distinct("level", len(s.Levels), MaxNamedSeries, func(i int) string { return s.Levels[i].Name }); err != nil {
		return err
	}
	if err := distinct("durability", len(s.Durabilities), MaxNamedSeries, func(i int) string { return s.Durabilities[i].Name }); err != nil {
		return err
	}
	if err := distinct("queue", len(s.Queues), MaxNamedSeries, func(i int) string { return s.Queues[i].Name }); err != nil {
		return err
	}
	return distinct("cache", len(s.Caches), MaxNamedSeries, func(i int) string { return s.Caches[i].Name })
}

func distinct(what string, n, most int, name func(int) string) error {
	if n > most {
		return fmt.Errorf("admin: %d of %s: want at most %d", n, what, most)
	}
	seen := make(map[string]bool, n)
	for i := range n {
		if name(i) == "" || seen[name(i)] || !utf8.ValidString(name(i)) {
			return fmt.Errorf("admin: %s %q: want a name in UTF-8, once", what, name(i))
		}
		seen[name(i)] = true
	}
	return nil
}

// NewRegistry returns a registry of its own with the collectors given and those of the Go runtime
// and the process. Nothing of the default registry is in it. It panics when two collectors claim
// one name.
func NewRegistry(cs ...prometheus.Collector) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(cs...)
	return r
}
