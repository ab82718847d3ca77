package txn

import (
	"sync/atomic"

	"github.com/theriac-db/theriac/kv"
)

// GroupBounds are the upper bounds of the buckets in which Stats counts groups by their number of
// transactions.
var GroupBounds = [...]int{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}

// Stats is what a committer has done since it was made.
type Stats struct {
	// StrongCommits were decided here; StrongAborts met another strong transaction, or were too old.
	StrongCommits, StrongAborts uint64

	Commits    uint64                       // transactions written
	Groups     uint64                       // groups that they were written in
	GroupSizes [len(GroupBounds) + 1]uint64 // groups by size; the last bucket is for larger ones
	Queued     int                          // commits that wait for a group
	Searches   uint64                       // passes through the log in search of operation ids

	Levels       [kv.LevelStrong + 1]Calls   // by the level that was asked for
	Durabilities [kv.DurabilityAll + 1]Calls // writes, by the durability that was asked for
}

// Calls counts those of one level, or of one durability.
type Calls struct {
	Served uint64
	Waited uint64 // of all, those that did not have at once what they asked for
	Failed uint64 // that never had it
}

type stats struct {
	commits, groups             atomic.Uint64
	searches                    atomic.Uint64
	strongCommits, strongAborts atomic.Uint64
	sizes                       [len(GroupBounds) + 1]atomic.Uint64
	levels                      [kv.LevelStrong + 1]calls
	durabilities                [kv.DurabilityAll + 1]calls
}

type calls struct{ served, waited, failed atomic.Uint64 }

func (c *calls) count(waited bool, err error) {
	if err != nil {
		c.failed.Add(1)
	} else {
		c.served.Add(1)
	}
	if waited {
		c.waited.Add(1)
	}
}

func (c *calls) load() Calls {
	return Calls{Served: c.served.Load(), Waited: c.waited.Load(), Failed: c.failed.Load()}
}

// served counts a call at a level.
func (s *stats) served(l kv.Level, waited bool, err error) { s.levels[l].count(waited, err) }

// reached counts a write.
func (s *stats) reached(d kv.Durability, waited bool, err error) {
	s.durabilities[d].count(waited, err)
}

func (s *stats) count(transactions int) {
	if transactions == 0 {
		return
	}
	s.groups.Add(1)
	s.commits.Add(uint64(transactions))
	i := 0
	for i < len(GroupBounds) && GroupBounds[i] < transactions {
		i++
	}
	s.sizes[i].Add(1)
}

// Stats collects figures.
func (c *Committer) Stats() Stats {
	out := Stats{Commits: c.stats.commits.Load(), Groups: c.stats.groups.Load(), Searches: c.stats.searches.Load(),
		StrongCommits: c.stats.strongCommits.Load(), StrongAborts: c.stats.strongAborts.Load()}
	for i := range out.GroupSizes {
		out.GroupSizes[i] = c.stats.sizes[i].Load()
	}
	for i := range out.Levels {
		out.Levels[i] = c.stats.levels[i].load()
	}
	for i := range out.Durabilities {
		out.Durabilities[i] = c.stats.durabilities[i].load()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out.Queued = len(c.queue)
	return out
}
