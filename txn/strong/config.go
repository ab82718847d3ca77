package strong

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"go.etcd.io/raft/v3"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// Limits of this package; docs/reference/limits.md lists them.
const (
	// TickInterval is raft's unit of time.
	TickInterval = 100 * time.Millisecond
	// ElectionTicks is after how many ticks without its leader a voter asks for an election; at random up
	// to twice as many. With a round of votes before and one for the election, a group that lost its
	// leader has another within 2 to 3 s, mostly.
	ElectionTicks = 10
	// HeartbeatTicks is how many ticks lie between two heartbeats of a leader; several may be lost.
	HeartbeatTicks = 2
	// LeaderWait is how long calls wait for a leader to be known before they are refused.
	LeaderWait = 5 * time.Second
	// RefoundAfter is for how long no node may have known a leader before the group can be found dead.
	RefoundAfter = 10 * time.Second
	// RefoundGap is how far the log, the term and the metadata's version of a group that is founded anew begin above
	// those of the dead one, so that whoever has more of that than is known takes the snapshot nevertheless.
	RefoundGap = 1 << 20

	// MaxProposal bounds the bytes of a proposal; it holds the largest transaction with what it read.
	MaxProposal = 40 << 20
	// MaxProposals is how many proposals may be undecided at a time; MaxProposalBytes is their size. One
	// more gets `overloaded`.
	MaxProposals     = 1 << 14
	MaxProposalBytes = 128 << 20
	// MaxEntryBytes is the size from which an entry takes no further proposal. At most MaxPacked are in one.
	MaxEntryBytes = 256 << 10
	MaxPacked     = 4096
	// EntryGap is the longest time that a leader keeps proposals back until the entry before theirs is
	// committed. Where the voters are near, more come together so, and each costs less. Where that was in
	// vain, because they are far from each other, it is tried again after 2 entries, then 4, up to 256.
	EntryGap = 4 * time.Millisecond
	// MaxReaders is how many callers may wait for a read index, or for an entry to be applied.
	MaxReaders = 1 << 16
	// ReadGap is the least time between two requests for a read index while one is under way. Readers
	// that come in between share the next one.
	ReadGap = time.Millisecond

	// MaxMessageBytes is the size from which a message takes no further entry.
	MaxMessageBytes = 1 << 20
	// MaxInflightBytes is how much may be on its way to a member unanswered: bandwidth times delay, 55
	// MB/s at a round trip of 150 ms. MaxInflightMessages is in how many messages; 256 of one packed entry
	// each bound the rate of entries at 150 ms to 1,700 a second.
	MaxInflightBytes    = 8 << 20
	MaxInflightMessages = 256
	// MaxUncommittedBytes is how much a leader's log may hold that is not committed; proposals wait.
	MaxUncommittedBytes = 32 << 20
	// MaxApplyBytes is how much is handed to the Machine between two looks at the inbox.
	MaxApplyBytes = 4 << 20
	// MaxInboxBytes is how much of messages from other members may wait; beyond it they are dropped.
	MaxInboxBytes = 64 << 20
	// MaxCacheBytes is how much of the log's end is kept in memory.
	MaxCacheBytes = 16 << 20

	// MaxSnapshot bounds a Machine's snapshot.
	MaxSnapshot = 192 << 20
	// SnapshotPart is in pieces of what size it travels to a member, SnapshotWindow how many of them are on
	// their way unanswered: 13 MB/s at a round trip of 150 ms, and half of what a peer connection queues, so
	// that heartbeats find room.
	SnapshotPart   = 256 << 10
	SnapshotWindow = 8
	// DefaultSnapshotBytes and DefaultSnapshotEntries are after how much log a snapshot is written.
	DefaultSnapshotBytes   = 16 << 20
	DefaultSnapshotEntries = 20_000
	// MaxKeptEntries is how many entries are kept for members that are active but behind.
	MaxKeptEntries = 200_000

	// reproposeTicks is after how many ticks an undecided proposal is proposed again, rereadTicks a request
	// for a read index; both are above two round trips of the widest area.
	reproposeTicks = 20
	rereadTicks    = 10
	// askTicks is how long a voter waits for votes before it asks for them again.
	askTicks = 3
	// snapshotTicks is how long a snapshot on its way may make no progress before it is given up and another is
	// sent; after resendTicks what is not answered is sent again.
	snapshotTicks = 100
	resendTicks   = 10
	// savingJobs is how many pieces of a snapshot may wait for the store's writer, which commits share.
	savingJobs = 4
	// standingTicks is how often nodes are asked how they stand while there is no leader; an answer counts for two.
	standingTicks = 10
	// changeTicks is how long a proposed change of members may take before it is proposed again.
	changeTicks = 20
)

// Time is where the group takes its ticks from.
type Time interface {
	// NewTimer returns a channel that receives once d has passed, and a function that releases the
	// timer early.
	NewTimer(d time.Duration) (<-chan time.Time, func())
}

// Machine is what the group decides: a deterministic state machine. Its methods are called on the
// group's goroutine, or within New, one at a time, and must not block.
type Machine interface {
	// Apply takes the entry at index, which is one above the last. One of raft's own is empty. The bytes
	// must not be changed; they may be kept. An error ends the group.
	Apply(index uint64, entry []byte) (Applied, error)
	// Snapshot encodes the state, as of the last entry applied: at most MaxSnapshot bytes. The bytes are
	// the callee's.
	Snapshot() []byte
	// Restore takes the state of a snapshot as of the entry at index, in place of what there was.
	Restore(index uint64, snapshot []byte) error
	// Floor is the last entry that the Machine needs neither the proposals nor the verdict of, should
	// this process end: entries up to it may be truncated once a snapshot holds their effect.
	Floor() uint64
}

// Applied is what became of an entry.
type Applied struct {
	// Verdict is kept in the store (Store.Certified) until the entry is truncated, from the batch of the
	// next snapshot on, unless Floor has passed the entry by then: with the entry it says again what was
	// decided, when the state no longer does. Of later entries it is not in the store; a start applies them
	// again. Nil: there is nothing to keep.
	Verdict []byte
	// Decided are the numbers of the proposals of this process that are now decided.
	Decided []uint64
}

// Proposal is what the group is to decide.
type Proposal struct {
	Number uint64 // names it among those of this process that are not decided
	Size   int    // bytes that it takes in memory, about
	Body   any    // for Config.Pack
}

// Config says what a Group runs on. ID, Store, Machine, Pack, Check, Send and Time are required.
type Config struct {
	// ID is the voter's, which no other store ever had or will have: a voter must not forget its votes.
	ID uint64
	// Found has this voter found a group of which it is the only member, where the store has never been in
	// one. Without it an empty store waits until a leader finds it.
	Found bool
	// Store holds the log. The group uses its raft and certification spaces alone.
	Store *storage.Store
	// Machine is what the group decides.
	Machine Machine
	// Pack encodes the first bodies of a list into one entry, as many as fit about limit bytes and one in any
	// case, and tells how many. An error is what becomes of the body behind those: it is not applied. It is
	// called on the group's goroutine.
	Pack func(bodies []any, limit int) (entry []byte, n int, err error)
	// Check refuses an entry from another member that no Pack makes. It is called on any goroutine.
	Check func(entry []byte) error
	// Send hands messages for a member over, in order. It must not block; what can't be sent may be
	// dropped. The bytes are the callee's. It is called on the group's goroutine.
	Send func(to uint64, messages [][]byte)
	// Time ticks.
	Time Time
	// Random draws numbers that no process had before. Default: crypto/rand.
	Random func() uint64
	// Wanted says which changes of members are to be made, all in one step; nil: none. A leader asks it at
	// every tick while no change is under way, on the group's goroutine. Default: none ever.
	Wanted func(View) []Change
	// Places lists the regions that serve, with the stores that their nodes have; nil: none. The group asks the
	// nodes there how they stand while it has no leader for RefoundAfter. It is called on the group's goroutine.
	// Default: none ever, so that no group is founded anew.
	Places func() []Place
	// Held is the last record of the certifier's lane that came here. Default: none ever.
	Held func() clock.Timestamp
	// Version is that of the metadata by which this node acts. Default: 0 always.
	Version func() uint64
	// Refound is told, once, that the group is dead and that this node is who founds it anew: by Refound, once
	// the group has stopped. It is called on the group's goroutine and must not call Stop. Default: nothing is called.
	Refound func(Refounding)
	// Logf takes one line of text for the operator. Default: dropped.
	Logf func(format string, args ...any)
	// Fatal is told, once, why the group has ended by itself. It is called on the group's goroutine and
	// must not call Stop. Default: nothing is called.
	Fatal func(error)
	// SnapshotBytes and SnapshotEntries are after how much log a snapshot is written; bytes also not before
	// there is as much as the last snapshot was large. A start replays up to twice that. Default: the
	// constants.
	SnapshotBytes, SnapshotEntries int
}

func (c Config) withDefaults() (Config, error) {
	if c.ID == raft.None || c.ID == raft.LocalAppendThread || c.ID == raft.LocalApplyThread {
		return c, kv.Errorf(kv.KindInvalid, "strong: %x can't be a voter's id", c.ID)
	}
	if c.Store == nil || c.Machine == nil || c.Pack == nil || c.Check == nil || c.Send == nil || c.Time == nil {
		return c, kv.Errorf(kv.KindInvalid, "strong: a group needs a store, a machine, ways to pack, check and send, and a time")
	}
	if c.Random == nil {
		c.Random = random
	}
	if c.Wanted == nil {
		c.Wanted = func(View) []Change { return nil }
	}
	if c.Places == nil {
		c.Places = func() []Place { return nil }
	}
	if c.Held == nil {
		c.Held = func() clock.Timestamp { return 0 }
	}
	if c.Version == nil {
		c.Version = func() uint64 { return 0 }
	}
	if c.Refound == nil {
		c.Refound = func(Refounding) {}
	}
	if c.Logf == nil {
		c.Logf = func(string, ...any) {}
	}
	if c.Fatal == nil {
		c.Fatal = func(error) {}
	}
	if c.SnapshotBytes == 0 {
		c.SnapshotBytes = DefaultSnapshotBytes
	}
	if c.SnapshotEntries == 0 {
		c.SnapshotEntries = DefaultSnapshotEntries
	}
	return c, nil
}

func random() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return binary.BigEndian.Uint64(b[:])
}

// raftConfig is raft's part.
func (g *Group) raftConfig(applied uint64) *raft.Config {
	return &raft.Config{
		ID:                        g.c.ID,
		ElectionTick:              ElectionTicks,
		HeartbeatTick:             HeartbeatTicks,
		Storage:                   &g.log,
		Applied:                   applied,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             MaxMessageBytes,
		MaxCommittedSizePerReady:  MaxApplyBytes,
		MaxUncommittedEntriesSize: MaxUncommittedBytes,
		MaxInflightMsgs:           MaxInflightMessages,
		MaxInflightBytes:          MaxInflightBytes,
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		StepDownOnRemoval:         true,
		Logger:                    logger{g.c.Logf},
	}
}
