package txn

import "sync/atomic"

// GroupBounds are the upper bounds of the buckets in which Stats counts groups by their number of
// transactions.
var GroupBounds = [...]int{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}

// Stats is what a committer has done since it was made.
type Stats struct {
	Commits    uint64                       // transactions written
	Groups     uint64                       // groups that they were written in
	GroupSizes [len(GroupBounds) + 1]uint64 // groups by size; the last bucket is for larger ones
	Queued     int                          // commits that wait for a group
	Searches   uint64                       // passes through the log in search of operation ids
}

type stats struct {
	commits, groups atomic.Uint64
	searches        atomic.Uint64
	sizes           [len(GroupBounds) + 1]atomic.Uint64
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
	out := Stats{Commits: c.stats.commits.Load(), Groups: c.stats.groups.Load(), Searches: c.stats.searches.Load()}
	for i := range out.GroupSizes {
		out.GroupSizes[i] = c.stats.sizes[i].Load()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out.Queued = len(c.queue)
	return out
}
