package strong

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// Group is this node's member of the raft group. Its methods are safe for concurrent use.
type Group struct {
	c      Config
	node   *raft.RawNode
	log    log
	inbox  inbox
	status atomic.Pointer[Status]
	failed atomic.Pointer[kv.Error]

	stopping chan struct{}
	stop     sync.Once
	killed   atomic.Bool
	ctx      context.Context // ends with the group, and with it waits for the store's queue
	cancel   context.CancelFunc
	done     chan struct{}

	proposals proposals
	reads     reads
	position  struct{ applied, last atomic.Uint64 }

	// All below is the group's goroutine's own.
	role        role
	gathering   gathering
	ticks       uint64
	out         map[uint64][][]byte // messages to send, by member
	appends     []*appendItem       // not answered yet, in order
	syncing     int                 // of them, those that wait for the disk
	noted       hardState           // the newest; of it, the commit index may not be written
	unwritten   bool                // it is not
	applied     uint64
	verdicts    []verdict            // of the entries applied since the last snapshot
	since       progress             // what was applied since the last snapshot
	snapshotted uint64               // the entry of the last snapshot
	save        *saving              // one that is being written; nil: none
	savedBytes  int                  // the size of the last one
	changing    bool                 // a change of members is being applied
	transfers   map[uint64]*transfer // snapshots on their way, by member
	assemblies  map[uint64]*assembly // what came of one, by its sender
	standings   map[uint64]heard     // how nodes said that they stand, by voter
	refounding  string               // what was last told of a group without a leader
	refounded   bool                 // Config.Refound was called
	changedAt   uint64               // the tick of the last proposed change of members; 0: none is under way
}

// role is what is known of the leader and the term.
type role struct {
	term, commit uint64
	lead         uint64
	leading      bool
	from         uint64 // leading: the first entry of the own term
	heard        uint64 // the tick when the leader was heard last
	leaderless   uint64 // ticks without a leader
	waits        uint64 // ticks since it asked for votes
	asked        uint64 // how often it has asked again since there was a leader
}

// progress counts entries.
type progress struct{ entries, bytes int }

// verdict is what the Machine said of an entry.
type verdict struct {
	index uint64
	bytes []byte
}

// New starts this node's member of the group. Once it returns, the Machine has been given what was known
// to be committed.
//
// It refuses a store that belongs to another voter (kv.ErrInvalid): storage.Batch.ResetRaft forgets it.
func New(ctx context.Context, c Config) (*Group, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := claim(ctx, &c); err != nil {
		return nil, err
	}
	g := newGroup(c)
	if err := g.guarded(g.open); err != nil {
		g.cancel()
		return nil, err
	}
	go g.run()
	return g, nil
}

func newGroup(c Config) *Group {
	g := &Group{
		c: c, stopping: make(chan struct{}), done: make(chan struct{}),
		inbox: inbox{wake: make(chan struct{}, 1)},
		out:   make(map[uint64][][]byte), transfers: make(map[uint64]*transfer), assemblies: make(map[uint64]*assembly),
		standings: make(map[uint64]heard),
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.proposals.table = make(map[uint64]*proposal)
	g.reads.pending = make(map[uint64]*readRequest)
	g.reads.next = c.Random()
	return g
}

// claim makes the raft space this voter's, and founds the group if it is to.
func claim(ctx context.Context, c *Config) error {
	was := c.Store.Raft()
	fresh := was.Term == 0 && was.Last == 0 && was.Snapshot.Index == 0
	if was.Voter == c.ID && !(c.Found && fresh) {
		return nil
	}
	if !(c.Found && fresh) {
		return durably(ctx, c.Store, func(b *storage.Batch) error { return b.StartRaft(c.ID) })
	}
	return found(ctx, c.Store, c.ID, c.Machine.Snapshot(), Refounding{Index: firstIndex, Term: firstTerm})
}

// firstIndex and firstTerm are those of the snapshot that a group is founded with.
const firstIndex, firstTerm = 1, 1

// found takes a state into use as the first snapshot of a group whose only member is a voter.
func found(ctx context.Context, s *storage.Store, voter uint64, state []byte, r Refounding) error {
	if len(state) > MaxSnapshot {
		return kv.Errorf(kv.KindTooLarge, "strong: the snapshot to found the group with has %d bytes; %d are allowed", len(state), MaxSnapshot)
	}
	head, err := snapshotHead(r.Index, r.Term, &raftpb.ConfState{Voters: []uint64{voter}}, state)
	if err != nil {
		return err
	}
	if err := durably(ctx, s, func(b *storage.Batch) error { return b.StartRaft(voter) }); err != nil {
		return err
	}
	for n, piece := range parts(state) {
		if err := durably(ctx, s, func(b *storage.Batch) error { b.AddRaftPart(r.Index, n, piece); return nil }); err != nil {
			return err
		}
	}
	return durably(ctx, s, func(b *storage.Batch) error {
		b.SetHardState(r.Term, 0, r.Index)
		return b.RestoreRaft(head)
	})
}

// durably runs a function as one batch, and waits until it is on disk.
func durably(ctx context.Context, s *storage.Store, build func(b *storage.Batch) error) error {
	j := &syncJob{build: build, durable: make(chan error, 1)}
	if err := s.Submit(ctx, j); err != nil {
		return err
	}
	select {
	case err := <-j.durable:
		return err
	case <-ctx.Done():
		return kv.Errorf(kv.KindDeadline, "strong: write to raft's log: %w", ctx.Err())
	}
}

// syncJob is one batch that somebody waits for.
type syncJob struct {
	build   func(b *storage.Batch) error
	durable chan error
}

func (j *syncJob) Build(b *storage.Batch) error {
	b.Sync()
	return j.build(b)
}

func (j *syncJob) Applied()          {}
func (j *syncJob) Durable(err error) { j.durable <- err }

// open loads what is held, and applies what is known to be committed.
func (g *Group) open() error {
	held := g.c.Store.Raft()
	held.Commit = max(held.Commit, held.Snapshot.Index) // the snapshot may have been written first
	g.log = log{
		store: g.c.Store, first: held.First, last: held.Last, before: held.Before, conf: &raftpb.ConfState{},
		hard:     &raftpb.HardState{Term: new(held.Term), Vote: new(held.Vote), Commit: new(held.Commit)},
		snapshot: g.offerSnapshot,
	}
	g.noted = hardState{held.Term, held.Vote, held.Commit}
	if err := g.restoreHeld(held.Snapshot); err != nil {
		return err
	}
	var err error
	if g.node, err = raft.NewRawNode(g.raftConfig(g.applied)); err != nil {
		return kv.Errorf(kv.KindInvalid, "strong: start voter %x: %w", g.c.ID, err)
	}
	g.role.term, g.role.commit = held.Term, held.Commit
	for g.applied < held.Commit { // raft gives a bounded part at a time
		before := g.applied
		if err := g.ready(); err != nil {
			return err
		}
		if g.applied == before {
			return kv.Errorf(kv.KindCorrupt, "strong: raft's log ends at %d, but %d was committed", g.applied, held.Commit)
		}
	}
	if voters := g.log.conf.GetVoters(); slices.Equal(voters, []uint64{g.c.ID}) {
		if err := g.node.Campaign(); err != nil { // nobody else will
			return kv.Errorf(kv.KindUnavailable, "strong: lead a group of one: %w", err)
		}
	}
	g.publish()
	return nil
}

// restoreHeld gives the Machine the snapshot that the store holds.
func (g *Group) restoreHeld(head storage.RaftSnapshot) error {
	if head.Index == 0 {
		return nil
	}
	data, err := g.c.Store.RaftSnapshotData()
	if err != nil {
		return err
	}
	conf := &raftpb.ConfState{}
	if err := unmarshal(head.Conf, conf); err != nil {
		return kv.Errorf(kv.KindCorrupt, "strong: the configuration of the snapshot of entry %d: %w", head.Index, err)
	}
	return g.restore(head.Index, conf, data)
}

// restore gives the Machine a snapshot.
func (g *Group) restore(index uint64, conf *raftpb.ConfState, data []byte) error {
	if err := g.c.Machine.Restore(index, data); err != nil {
		return kv.Errorf(kv.KindOf(err), "strong: restore the snapshot of entry %d: %w", index, err)
	}
	g.log.conf, g.applied, g.snapshotted = conf, index, index
	g.verdicts, g.since = nil, progress{}
	return nil
}

// guarded calls f, and turns a broken invariant of raft's into an error.
func (g *Group) guarded(f func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case broken:
			err = kv.Errorf(kv.KindLost, "strong: voter %x: raft: %s", g.c.ID, string(p)) // of what it held
		case *kv.Error: // of the log, which raft can't go on without
			err = p
		default:
			panic(p)
		}
	}()
	return f()
}

// run is the group's goroutine.
func (g *Group) run() {
	defer close(g.done)
	defer g.cancel()
	err := g.guarded(g.drive)
	if err != nil {
		failure := kv.Errorf(kv.KindUnavailable, "strong: voter %x has ended: %w", g.c.ID, err)
		g.failed.Store(failure)
		g.c.Fatal(err)
	}
	g.end()
}

// drive takes turns until the group is stopped.
func (g *Group) drive() error {
	tick, release := g.c.Time.NewTimer(TickInterval)
	defer func() { release() }()
	defer g.gathering.end()
	stopping, parting := g.stopping, uint64(0)
	for {
		if err := g.turn(); err != nil {
			return err
		}
		select {
		case <-stopping:
			if g.killed.Load() || !g.handOver() {
				return nil
			}
			stopping, parting = nil, g.ticks+ElectionTicks
		case <-g.inbox.wake:
		case <-g.reads.gap:
			g.reads.gap = nil
		case <-g.gathering.gap:
			g.gathering.gap, g.gathering.over = nil, true
		case <-tick:
			release()
			tick, release = g.c.Time.NewTimer(TickInterval)
			g.tick()
		}
		if stopping == nil && (!g.role.leading || g.ticks >= parting) {
			return nil
		}
	}
}

// turn does what there is to do.
func (g *Group) turn() error {
	if err := g.takeInbox(); err != nil {
		return err
	}
	for {
		if err := g.ready(); err != nil {
			return err
		}
		moved := g.propose()
		if moved = g.requestReads() || moved; !moved {
			break
		}
	}
	g.flush()
	g.publishPosition()
	return nil
}

// tick moves raft's clock on, and does what is due every tick.
func (g *Group) tick() {
	g.ticks++
	g.node.Tick()
	switch {
	case g.role.leading:
		g.role.leaderless = 0
	case g.role.lead == raft.None:
		g.role.leaderless++
	case g.ticks-g.role.heard >= 2*ElectionTicks: // a learner, which asks for no election, never lets go of one by itself
		_ = g.node.ForgetLeader() // it knows no error
		g.role.leaderless++
	default:
		g.role.leaderless = 0
	}
	g.askAgain()
	if g.role.leaderless >= uint64(LeaderWait/TickInterval) {
		g.refuseWaiting()
	}
	g.proposeAgain(func(p *proposal) bool { return g.ticks-p.at >= reproposeTicks })
	g.reads.resend = g.reads.resend || g.ticks%rereadTicks == 0
	g.watchTransfers()
	g.reconcile()
	g.watchDeath()
	g.writeHardState()
	g.publish()
}

// askAgain asks for votes once more, where two have asked at the same time and none was elected, or others
// still trusted the leader when they were asked. Raft would wait for another election timeout. Of those that
// ask each waits for another time, and each time for longer: distant votes must have time to arrive.
func (g *Group) askAgain() {
	switch state := g.node.BasicStatus().RaftState; {
	case g.role.lead != raft.None:
		g.role.waits, g.role.asked = 0, 0
		return
	case state != raft.StatePreCandidate && state != raft.StateCandidate:
		g.role.waits = 0
		return
	}
	rank := max(slices.Index(g.view().Voters, g.c.ID), 0)
	if g.role.waits++; g.role.waits >= askTicks*(g.role.asked+1)+2*uint64(rank) {
		g.role.waits = 0
		g.role.asked++
		_ = g.node.Campaign() // what it refuses, the next tick finds
	}
}

// Stop hands leadership over, if there is somebody to take it within a second, and ends the group.
// Calls that wait are answered. It may be called more than once.
func (g *Group) Stop() {
	g.stop.Do(func() { close(g.stopping) })
	<-g.done
}

// Kill ends the group's goroutine as a crash would: leadership is handed to nobody.
func (g *Group) Kill() {
	g.killed.Store(true)
	g.Stop()
}

// Done is closed once the group has ended, by Stop or by itself.
func (g *Group) Done() <-chan struct{} { return g.done }

// handOver asks the member that is furthest to lead, and tells whether there is one.
func (g *Group) handOver() bool {
	if !g.role.leading {
		return false
	}
	var best Progress
	for _, p := range g.view().Progress {
		if p.ID != g.c.ID && !p.Learner && p.Active && p.Match >= best.Match {
			best = p
		}
	}
	if best.ID == 0 {
		return false
	}
	g.node.TransferLeader(best.ID)
	return true
}

// end writes what is not written and answers who waits.
func (g *Group) end() {
	if g.failed.Load() == nil {
		g.writeHardState()
	}
	g.proposals.end(g.ended())
	g.reads.end(g.ended())
}

// ended is why calls are refused once the group has ended.
func (g *Group) ended() *kv.Error {
	if f := g.failed.Load(); f != nil {
		return f
	}
	return kv.Errorf(kv.KindUnavailable, "strong: voter %x has stopped", g.c.ID)
}

var errNoLeader = errors.New("no leader is known: no majority of the voters is connected here, or they vote; try again, or ask a region that reaches a majority; causal calls are served without one")
