package sim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/kv"
)

// certified is the certifier's lane as all nodes together have derived it from raft's log, and what they have
// said of the raft group.
type certified struct {
	mu      sync.Mutex
	records map[clock.Timestamp]derived
	leaders map[uint64]string // voter by term
	leader  string            // region of the last one
	term    uint64            // its
	entry   uint64            // of the newest configuration
	voters  []string          // in that
	gone    map[string]bool   // voters whose disk is lost
}

// derived is a record of the certifier's lane.
type derived struct {
	prev clock.Timestamp
	deps clock.Vector
}

func newCertified() *certified {
	return &certified{records: map[clock.Timestamp]derived{}, leaders: map[uint64]string{}, gone: map[string]bool{}}
}

// derive takes a record that a node has from its own log, or from another node: all nodes derive the same.
func (c *certified) derive(h kv.Header) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := derived{h.Prev, h.Deps}
	before, known := c.records[h.Time]
	if known && (before.prev != d.prev || !before.deps.Equal(d.deps)) {
		return fmt.Sprintf("record %s comes behind %s and depends on %s, but elsewhere behind %s and on %s", h.Stamp(), d.prev, d.deps, before.prev, before.deps)
	}
	if !known {
		d.deps = slices.Clone(d.deps)
		c.records[h.Time] = d
	}
	return ""
}

// lasting: what was decided once is there in the end, in one row, and nothing beside it.
func (c *certified) lasting(exposed clock.Timestamp) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := clock.Timestamp(0)
	for _, t := range slices.Sorted(maps.Keys(c.records)) {
		if prev := c.records[t].prev; prev != last {
			return fmt.Sprintf("record %s comes behind %s, but %s was decided, too", clock.Stamp{Time: t}, prev, last)
		}
		last = t
	}
	if last != exposed {
		return fmt.Sprintf("strong commits up to %s are exposed in the end, and up to %s were decided", exposed, last)
	}
	return ""
}

// acknowledged: what callers were told is among what was decided.
func (c *certified) acknowledged(h *history.History) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range h.Txns {
		t := &h.Txns[i]
		if t.Commit == nil || t.Commit.Region != 0 || t.Outcome != history.OK {
			continue
		}
		if _, known := c.records[clock.Timestamp(t.Commit.Time)]; !known {
			return fmt.Sprintf("T%d was told that it is strong commit %d, which nobody has", t.ID, t.Commit.Time)
		}
	}
	return ""
}

// heed takes what a node's log says of the raft group: of each term there is one leader.
func (c *certified) heed(region, line string) string {
	var voter, leader string
	var term, entry uint64
	_, said, ok := strings.Cut(line, "strong: ")
	if !ok {
		return ""
	}
	if n, _ := fmt.Sscanf(said, "voter %s is led by %s in term %d", &voter, &leader, &term); n == 3 {
		return c.leads(region, voter, leader, term)
	}
	if n, _ := fmt.Sscanf(said, "entry %d: the voters are", &entry); n == 1 {
		_, list, _ := strings.Cut(said, "[")
		list, _, _ = strings.Cut(list, "]")
		c.configured(entry, strings.Fields(list))
	}
	return ""
}

func (c *certified) leads(region, voter, leader string, term uint64) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before := c.leaders[term]; before != "" && before != leader {
		return fmt.Sprintf("voter %s leads in term %d, of which %s was the leader", leader, term, before)
	}
	c.leaders[term] = leader
	if voter == leader && term >= c.term {
		c.leader, c.term = region, term
	}
	return ""
}

// leading is the region that has become the leader in the highest term; empty: none has.
func (c *certified) leading() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leader
}

func (c *certified) configured(entry uint64, voters []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if entry >= c.entry {
		c.entry, c.voters = entry, voters
	}
}

// regionBits is where in a voter's id the number of its region begins.
const regionBits = 48

// voterOf finds the voter of a region; empty: it has none.
func (c *certified) voterOf(region clock.Region) string {
	for _, v := range c.voters {
		if id, err := strconv.ParseUint(v, 16, 64); err == nil && clock.Region(id>>regionBits) == region {
			return v
		}
	}
	return ""
}

// spares reports whether a majority of the voters keeps its disk when a region loses its own.
func (c *certified) spares(region clock.Region) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	lost, own := 0, c.voterOf(region)
	for _, v := range c.voters {
		if v == own || c.gone[v] {
			lost++
		}
	}
	return 2*lost < len(c.voters)
}

// lose notes that a region's disk is lost.
func (c *certified) lose(region clock.Region) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.voterOf(region); v != "" {
		c.gone[v] = true
	}
}

// refounded forgets what the raft group has lost: what was decided behind all that some disk has of its lane.
func (c *certified) refounded(upTo clock.Timestamp) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.records, func(t clock.Timestamp, _ derived) bool { return t > upTo })
}

// onMajority: strong snapshots show what so many regions have had on a disk.
func onMajority(cut clock.Vector, need int, had func(clock.Lane) []clock.Timestamp) string {
	for _, e := range cut {
		if e.Region == 0 { // is with a majority by raft's log
			continue
		}
		if n := countOf(had(clock.Lane{Region: e.Region}), e.Time); n < need {
			return fmt.Sprintf("the strong cut is %s, but %s is on the disks of %d regions only, of which %d are a majority", cut, clock.Stamp(e), n, need)
		}
	}
	return ""
}

// countOf is how many of the times are at or above one.
func countOf(times []clock.Timestamp, t clock.Timestamp) (n int) {
	for _, has := range times {
		if has >= t {
			n++
		}
	}
	return n
}

// spreadEarly: a write that was acknowledged as on the disks of several regions is there. Raft's log has what a
// majority of the voters holds of strong commits.
func spreadEarly(r kv.Receipt, need, serving int, had []clock.Timestamp) string {
	if r.Commit.Time == 0 || need < 2 || r.Commit.Region == 0 && need <= serving/2+1 {
		return ""
	}
	if n := countOf(had, r.Commit.Time); n < need {
		return fmt.Sprintf("write %s was acknowledged as on the disks of %d regions, but is on those of %d", r.Commit, need, n)
	}
	return ""
}
