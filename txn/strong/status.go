package strong

import "slices"

// Status describes this member. What it says of others is at most a tick old.
type Status struct {
	View
	Leader        uint64 // 0: none is known
	Leading       bool   // this member leads
	Term          uint64
	First, Last   uint64   // entries of the log that are held, and durable
	Snapshot      uint64   // the entry of the last snapshot
	Joint         bool     // the members are between two configurations
	Outgoing      []uint64 // the voters of the earlier one then, sorted
	Voter         bool     // this member has a vote
	LeaderlessFor uint64   // ticks
	Proposals     int      // of this process that are not decided
	Readers       int      // that wait
}

// Status describes this member.
func (g *Group) Status() Status {
	s := *g.status.Load()
	s.Applied, s.Last = g.position.applied.Load(), g.position.last.Load()
	g.proposals.mu.Lock()
	s.Proposals = len(g.proposals.table)
	g.proposals.mu.Unlock()
	g.reads.mu.Lock()
	s.Readers = g.reads.count
	g.reads.mu.Unlock()
	return s
}

// Majority tells whether those that have is true of are a majority of the voters; between two configurations,
// of both.
func (g *Group) Majority(have func(id uint64) bool) bool {
	s := g.status.Load()
	return majority(s.Voters, have) && (!s.Joint || majority(s.Outgoing, have))
}

func majority(voters []uint64, have func(id uint64) bool) bool {
	n := 0
	for _, id := range voters {
		if have(id) {
			n++
		}
	}
	return 2*n > len(voters)
}

// Applied is the last entry that this member has applied.
func (g *Group) Applied() uint64 { return g.position.applied.Load() }

// Last is the last entry that this member holds, durably: nothing was committed beyond the highest of a
// majority.
func (g *Group) Last() uint64 { return g.position.last.Load() }

// publish makes the status say what is now.
func (g *Group) publish() {
	s := &Status{
		View: g.view(), Leader: g.role.lead, Leading: g.role.leading, Term: g.role.term, First: g.log.first,
		Snapshot: g.snapshotted, Joint: g.joint(), Outgoing: slices.Sorted(slices.Values(g.log.conf.GetVotersOutgoing())), LeaderlessFor: g.role.leaderless,
	}
	for _, id := range s.Voters {
		s.Voter = s.Voter || id == g.c.ID
	}
	g.status.Store(s)
	g.publishPosition()
}

// publishPosition makes it say how far the log is held and applied.
func (g *Group) publishPosition() {
	g.position.applied.Store(g.applied)
	g.position.last.Store(g.log.last)
}
