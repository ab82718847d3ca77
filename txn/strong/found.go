package strong

import (
	"bytes"
	"context"
	"math"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
	"github.com/theriac-db/theriac/txn/strong/certify"
)

// RefoundConfig says what a group is founded anew with. All fields are required.
type RefoundConfig struct {
	// ID is this node's voter.
	ID uint64
	// Store holds its log. No group runs on it.
	Store *storage.Store
	// Metadata returns what a machine begins with that has a log yet to see, another one with every call.
	Metadata func() (Metadata, error)
	// Wall is the time here: what the dead group committed, long ago, is below it.
	Wall clock.Wall
	// Durable is up to where the certifier's lane is exposed and on disk here.
	Durable clock.Timestamp
	// Lane returns what the store has of the certifier's lane behind a time, in order: the first records, none
	// at its end.
	Lane func(after clock.Timestamp) (encoded [][]byte, err error)
}

// Metadata is what of the metadata a group is founded anew with.
type Metadata interface {
	certify.Metadata
	// Refound has it go on behind version known, up to which some region may act by what is lost.
	Refound(known uint64)
}

// Refound makes the store's part in a dead group that of the founder and only member of a new one, which begins
// with what the log held. It is one durable step: a crash leaves the one or the other. Group.New goes on.
//
// What the log holds behind the last entry that is known to have been committed may have been acknowledged, so it is kept,
// unless the certifier's lane shows that something else was committed there, or does not reach back to tell.
func Refound(ctx context.Context, c RefoundConfig, r Refounding) error {
	held := c.Store.Raft()
	state, err := c.load(held, max(held.Commit, held.Snapshot.Index, min(r.Commit, held.Last)), r.Held)
	if err != nil {
		return err
	}
	if all, err := c.load(held, held.Last, r.Held); err == nil && c.continues(state, all, r.Held) {
		state = all
	}
	state.state.Refound(r.Held, clock.At(c.Wall))
	state.metadata.Refound(r.Version)
	state.c.Durable = func() clock.Timestamp { return c.Durable } // what is in the lane need not be kept here, too
	return found(ctx, c.Store, c.ID, state.Snapshot(), r)
}

// loaded is a state that was derived from a log.
type loaded struct {
	*Certifier
	metadata Metadata // its
}

// load derives the state as of an entry of the log. Where the store holds nothing of a group it goes on behind
// the certifier's lane.
func (c *RefoundConfig) load(held storage.RaftState, upTo uint64, last clock.Timestamp) (*loaded, error) {
	metadata, err := c.Metadata()
	if err != nil {
		return nil, err
	}
	m := &loaded{metadata: metadata, Certifier: NewCertifier(CertifierConfig{
		Durable: func() clock.Timestamp { return 0 }, Elsewhere: func() bool { return false },
		News: func() {}, Begun: func(clock.Timestamp) {}, Refounded: func() {}, Metadata: metadata,
	})}
	if held.Last == 0 {
		m.state = certify.Resume(m.c.Metadata, last)
		return m, nil
	}
	if held.Snapshot.Index > 0 {
		data, err := c.Store.RaftSnapshotData()
		if err == nil {
			err = m.Restore(held.Snapshot.Index, data)
		}
		if err != nil {
			return nil, err
		}
	}
	for at := held.Snapshot.Index; at < upTo; {
		entries, err := c.Store.RaftEntries(at+1, upTo+1, MaxApplyBytes)
		if err == nil && len(entries) == 0 {
			err = kv.Errorf(kv.KindCorrupt, "strong: entry %d of raft's log is missing", at+1)
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if raftpb.EntryType(e.Kind) != raftpb.EntryNormal {
				e.Data = nil
			}
			if _, err := m.Apply(e.Index, e.Data); err != nil {
				return nil, err
			}
			at = e.Index
		}
	}
	return m, nil
}

// continues tells whether what a state derives behind another one is what the certifier's lane says, as far as
// that goes on.
func (c *RefoundConfig) continues(base, all *loaded, last clock.Timestamp) bool {
	derived := all.Pending(base.state.Last(), math.MaxInt)
	for at := base.state.Last(); at < last && len(derived) > 0; {
		lane, err := c.Lane(at)
		if err != nil || len(lane) == 0 {
			return false
		}
		for _, encoded := range lane {
			if len(derived) == 0 {
				break
			}
			if !bytes.Equal(encoded, derived[0].Encoded) {
				return false
			}
			at, derived = derived[0].Time, derived[1:]
		}
	}
	return true
}
