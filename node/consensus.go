package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/storage"
	"github.com/theriac-db/theriac/txn"
	"github.com/theriac-db/theriac/txn/strong"
	"github.com/theriac-db/theriac/txn/strong/certify"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

// proposingKey is the metadata that says, while it has a value, that proposals of this region may be under
// way that no process waits for any more.
const proposingKey = "strong/proposing"

// feedBytes is how much of the certifier's records is handed over at a time.
const feedBytes = 1 << 20

// consensus is this node's part in the raft group: what connects group, certifier, exposure and
// replication. It implements txn.Strong and replication.Consensus.
type consensus struct {
	n         *run
	certifier *strong.Certifier
	group     *strong.Group
	metadata  *metadata
	news      chan struct{}
	behind    chan struct{}          // has a value when the metadata may lack what this node has to put there
	refound   chan strong.Refounding // this node is to found the group anew; of 1
	ended     chan struct{}          // another one has; of 1

	replicator atomic.Pointer[replication.Replicator] // nil: nothing can be sent yet
}

// joinConsensus takes part in the raft group.
func (n *run) joinConsensus(ctx context.Context) (err error) {
	c := &consensus{n: n, news: make(chan struct{}, 1), behind: make(chan struct{}, 1), refound: make(chan strong.Refounding, 1), ended: make(chan struct{}, 1)}
	if c.metadata, err = openMetadata(n.store); err != nil {
		return fmt.Errorf("reading the metadata: %w", err)
	}
	c.certifier = strong.NewCertifier(strong.CertifierConfig{
		Self:      certify.Proposer{Region: n.lane.Region, Incarnation: n.incarnation},
		Time:      n.config.Time,
		Durable:   func() clock.Timestamp { return n.exposure.Durable().At(0) },
		Elsewhere: func() bool { return len(n.exposure.Members()) > 2 }, // the certifier's lane is one
		News:      func() { poke(c.news) },
		Begun:     n.exposure.Decided,
		Refounded: func() { poke(c.ended) },
		Metadata:  c.metadata,
		Last:      n.store.Applied(clock.Lane{}),
	})
	id := n.voter()
	if err := n.forgetOtherVoter(ctx, id); err != nil {
		return err
	}
	c.group, err = strong.New(ctx, strong.Config{
		ID: id, Found: n.identity.Alone, Store: n.store, Machine: c.certifier, Pack: strong.Pack, Check: c.certifier.CheckEntry,
		Send: c.send, Time: n.config.Time, Random: n.config.Random, Wanted: c.wanted, Places: c.places, Held: c.held, Version: c.metadata.version,
		Refound: func(r strong.Refounding) { c.refound <- r }, // once in a group's life
		Logf:    n.config.logf, Fatal: c.failed, SnapshotEntries: n.config.RaftSnapshotEntries,
	})
	if err != nil {
		return fmt.Errorf("taking part in consensus: %w", err)
	}
	c.certifier.Join(c.group)
	n.consensus = c
	return nil
}

// failed is told that the group has ended. A store that lost something of raft's log, as an older copy of it
// has, counts as short: a restart joins the group anew.
func (c *consensus) failed(err error) {
	if errors.Is(err, kv.ErrLost) {
		if e := (peerStore{Store: c.n.store}).Short(context.Background(), err.Error()); e != nil {
			c.n.config.logf("noting that the store is short: %v", e)
		}
	}
	c.n.fatal(err)
}

// wanted says what the leader changes of the group's members: every region that serves has a vote.
func (c *consensus) wanted(v strong.View) []strong.Change {
	return look(c.metadata, func(s *meta.State) []strong.Change { return nextChanges(s, &v) })
}

// nextChanges is the next step towards the members that are decided. The store that follows another one of its
// region is given its vote together with that one's being taken, so that no region ever counts twice and none is
// missing meanwhile.
func nextChanges(s *meta.State, v *strong.View) []strong.Change {
	step, found := s.Next(membersIn(v))
	switch {
	case !found:
		return nil
	case step.Role == meta.None:
		return []strong.Change{{Op: strong.Remove, ID: step.ID}}
	case step.Role == meta.Learner:
		return []strong.Change{{Op: strong.AddLearner, ID: step.ID}}
	}
	changes := []strong.Change{{Op: strong.AddVoter, ID: step.ID}}
	for _, other := range v.Voters {
		if strong.RegionOf(other) == strong.RegionOf(step.ID) {
			changes = append(changes, strong.Change{Op: strong.Remove, ID: other})
		}
	}
	return changes
}

// membersIn are the group's members as its leader sees them.
func membersIn(v *strong.View) (out []meta.Member) {
	for _, p := range v.Progress {
		m := meta.Member{ID: p.ID, Role: meta.Voter, Active: p.Active, Caught: p.Match+strong.CatchUp >= v.Commit}
		if p.Learner {
			m.Role = meta.Learner
		}
		out = append(out, m)
	}
	return out
}

// voter is this node's id in the raft group.
func (n *run) voter() uint64 { return strong.VoterID(n.lane.Region, n.store.Start().Incarnation) }

// places says where to ask how the group stands while it has no leader.
func (c *consensus) places() (out []strong.Place) {
	if r := c.replicator.Load(); r != nil {
		for _, s := range r.RegionStores() {
			out = append(out, strong.Place{Seat: strong.Seat{Region: s.Region, Store: s.Incarnation}, Recovering: s.Recovering})
		}
	}
	return out
}

// held is the last record of the certifier's lane that came here.
func (c *consensus) held() clock.Timestamp {
	r := c.replicator.Load()
	if r == nil {
		return 0
	}
	last, _ := r.Feed() // it refuses records only, and there are none
	return last
}

// forgetOtherVoter drops what the store holds of the raft group where that was another voter's: a store that
// is short, or a copy, may have forgotten votes and entries, so it joins anew under the id of its incarnation.
func (n *run) forgetOtherVoter(ctx context.Context, id uint64) error {
	if was := n.store.Raft().Voter; was == 0 || was == id {
		return nil
	}
	n.config.logf("this store was another voter of the raft group, and joins it anew")
	return write(ctx, n.store, func(b *storage.Batch) error { b.ResetRaft(); return nil })
}

// run has this process's life begin, and feeds the certifier's records to replication until ctx ends.
func (c *consensus) run(ctx context.Context) error {
	if err := (peerStore{Store: c.n.store}).SetMeta(ctx, proposingKey, []byte{1}); err != nil {
		return err
	}
	c.certifier.Begin()
	last, err := c.n.replicator.Feed()
	for err == nil && ctx.Err() == nil {
		records := c.certifier.Pending(last, feedBytes)
		if len(records) == 0 {
			select {
			case <-c.news:
			case <-ctx.Done():
			}
			continue
		}
		var batch []replication.Incoming
		if batch, err = incoming(records); err != nil {
			break
		}
		if last, err = c.n.replicator.Feed(batch...); err != nil || last >= records[len(records)-1].Time {
			continue
		}
		select {
		case <-c.n.replicator.Room():
		case <-ctx.Done():
		}
	}
	return err
}

func incoming(records []strong.Record) ([]replication.Incoming, error) {
	out := make([]replication.Incoming, len(records))
	for i, r := range records {
		decoded, err := kv.DecodeRecord(r.Encoded)
		if err != nil {
			return nil, err
		}
		out[i] = replication.Incoming{Record: decoded, Encoded: r.Encoded}
	}
	return out, nil
}

// stop ends the part in the group in order. Where all that was proposed is decided, nothing is under way.
func (c *consensus) stop(ctx context.Context) error {
	idle := c.certifier.Idle()
	c.certifier.Stop()
	c.group.Stop()
	if !idle {
		return nil
	}
	return peerStore{Store: c.n.store}.SetMeta(ctx, proposingKey, nil)
}

// kill ends it as a crash would.
func (c *consensus) kill() {
	c.group.Kill()
	c.certifier.Stop()
}

// mayHaveProposed tells whether strong transactions of an earlier process of the region may be under way.
func (n *run) mayHaveProposed() (bool, error) {
	v, err := n.store.Meta(proposingKey)
	return len(v) > 0 || n.recovering(), err
}

// send hands messages to the region of a voter.
func (c *consensus) send(to uint64, messages [][]byte) {
	if r := c.replicator.Load(); r != nil {
		r.SendConsensus(strong.RegionOf(to), messages...)
	}
}

// Deliver implements replication.Consensus.
func (c *consensus) Deliver(from clock.Region, store uint64, messages [][]byte) {
	if err := c.group.Step(strong.VoterID(from, store), messages); err != nil {
		c.n.config.logf("consensus: from region %d: %v", from, err)
	}
}

// Unreachable implements replication.Consensus.
func (c *consensus) Unreachable(region clock.Region) {
	s := c.group.Status()
	for _, id := range slices.Concat(s.Voters, s.Learners) {
		if strong.RegionOf(id) == region {
			c.group.ReportUnreachable(id)
		}
	}
}

// OpenStrong implements txn.Strong.
func (c *consensus) OpenStrong(ctx context.Context, v clock.Vector) (txn.Snapshot, error) {
	return c.n.exposure.OpenStrong(ctx, v, true)
}

// Certify implements txn.Strong.
func (c *consensus) Certify(ctx context.Context, p *certify.Proposal) (txn.Ticket, error) {
	t, err := c.certifier.Certify(ctx, p)
	if err != nil {
		return nil, err // not a nil *Ticket in an interface
	}
	return t, nil
}

// Position implements txn.Strong.
func (c *consensus) Position(ctx context.Context) (clock.Timestamp, error) {
	return c.certifier.Position(ctx)
}

// Check implements txn.Strong.
func (c *consensus) Check(reads []certify.Access, at clock.Timestamp) (certify.Verdict, certify.Conflict) {
	return c.certifier.Check(reads, at)
}

// Copies implements txn.Strong.
func (c *consensus) Copies() int {
	s := c.group.Status()
	n := len(s.Voters)/2 + 1
	if s.Joint {
		n = max(n, len(s.Outgoing)/2+1)
	}
	return n
}

// Deny implements txn.Strong.
func (c *consensus) Deny(ctx context.Context, id kv.OpID, after clock.Timestamp) (certify.Decision, error) {
	return c.certifier.Deny(ctx, id, after)
}

// positions implements replication.Strong.
type positions struct{ *consensus }

// ReadIndex implements replication.Strong.
func (p positions) ReadIndex(ctx context.Context) (clock.Timestamp, error) {
	return p.certifier.Position(ctx)
}

// Position implements replication.Strong.
func (p positions) Position() uint64 { return p.group.Last() }

// Reach implements replication.Strong.
func (p positions) Reach(ctx context.Context, index uint64) error {
	return p.group.WaitApplied(ctx, index)
}

// Applied implements replication.Strong. The group tells later than the certifier: with the voters of then.
func (p positions) Applied() (uint64, clock.Timestamp) { return p.group.Applied(), p.certifier.Last() }

// Majority implements replication.Strong.
func (p positions) Majority(stores []replication.RegionStore) bool {
	return p.group.Majority(func(id uint64) bool {
		return slices.ContainsFunc(stores, func(s replication.RegionStore) bool { return strong.VoterID(s.Region, s.Incarnation) == id })
	})
}

// leader is the name of the region whose voter leads; empty: none is known.
func (c *consensus) leader(s *strong.Status) string {
	for _, p := range c.n.replicator.Status() {
		if s.Leader != 0 && p.Region == strong.RegionOf(s.Leader) {
			return p.Name
		}
	}
	return ""
}

// part is this node's part in the group, and why it can't serve level strong; "": it can.
func (c *consensus) part(s *strong.Status) (part, whyNot string) {
	switch {
	case s.Leader == 0 && s.Term == 0:
		return "none yet", "this node has not been taken into the raft group yet"
	case s.Leader == 0:
		return "without a leader", "no leader of the raft group is known here: no majority of the regions is connected with this one, or it votes"
	case !c.certifier.HasBegun():
		return "begins", "the raft group has not yet decided that this node's process has begun"
	case s.Leading:
		return "leader", ""
	case s.Voter:
		return "follower", ""
	}
	return "learner", ""
}

var (
	_ txn.Strong            = (*consensus)(nil)
	_ replication.Consensus = (*consensus)(nil)
	_ replication.Strong    = positions{}
)

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
