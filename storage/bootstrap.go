package storage

import (
	"bytes"
	"context"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// RawLeaf is a leaf as it travels in a bootstrap: its key and its items, as bytes that only storage
// and crdt read.
type RawLeaf struct{ Key, Items []byte }

// ShardRange returns leaves of a shard with what of them is visible at a cut and still read at it or
// later, in the order of keys, behind after (nil: from the first), as many as fit maxBytes and at least
// one. next is the key to go on behind; nil: these were the last. The cut must be held open.
//
// The cut is the horizon of who loads it, so the overrides that it sees are spent, as a rewrite would:
// they cover nothing that comes later, since whatever they have seen is in the cut. Nothing is
// forgotten: what is settled is not known here to both.
func (s *Store) ShardRange(ctx context.Context, shard uint8, after []byte, at clock.Vector, maxBytes int) (leaves []RawLeaf, next []byte, err error) {
	prefix := []byte{spaceLeaf, shard}
	from := prefix
	if after != nil {
		from = append(bytes.Clone(after), 0)
	}
	size := 0
	var visible []byte
	all := s.drops.load()
	err = s.scan(ctx, from, successor(prefix), func(key, items []byte) (bool, error) {
		if all.dead(key, at.At(0)) {
			return true, nil
		}
		var kept []byte
		var err error
		if visible, err = crdt.Filter(visible[:0], items, at); err == nil {
			kept, _, err = crdt.Rewrite(leafType(key), nil, visible, at, nil)
		}
		if err != nil {
			return false, s.readFailed("leaf", err)
		}
		if len(kept) == 0 {
			return true, nil
		}
		leaves = append(leaves, RawLeaf{bytes.Clone(key), kept})
		if size += len(key) + len(kept); size >= maxBytes {
			next = bytes.Clone(key)
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return nil, nil, err
	}
	return leaves, next, nil
}

// LoadLeaf writes a leaf of another store's cut, in place of what was there. It refuses what is no
// leaf (kv.ErrCorrupt).
func (b *Batch) LoadLeaf(l RawLeaf) error {
	if _, err := parseLeaf(l.Key); err != nil {
		return err
	}
	if n, err := crdt.CountItems(l.Items); err != nil || n == 0 {
		return kv.Errorf(kv.KindCorrupt, "storage: leaf %x of a bootstrap has malformed items", l.Key)
	}
	w := b.leaf(l.Key)
	w.items, w.replace, w.loaded = append(w.items[:0], l.Items...), true, true
	return b.err
}

// LoadApplied says that all that lanes hold up to these times is in the leaves loaded. Their logs
// begin behind it, but for a lane whose log Clear kept and which reaches so far. One that was kept and
// does not reach so far goes.
func (b *Batch) LoadApplied(lanes map[clock.Lane]clock.Timestamp, kept ...clock.Lane) {
	for l, t := range lanes {
		b.state.set(l, t)
		b.logged = append(b.logged, logEntry{lane: l, time: t})
		if slices.Contains(kept, l) {
			last, err := b.s.lastRecord(l)
			b.keep(err)
			if last >= t {
				b.keep(b.s.countKept(l, last))
				continue
			}
			b.dropLog(l, last)
		}
		b.setTruncated(truncation{lane: l, mark: t, upTo: t})
	}
}

// LoadVoids adds void intervals that another store knows.
func (b *Batch) LoadVoids(voids map[clock.Lane][]kv.Interval) {
	for l, list := range voids {
		for _, i := range list {
			b.addVoid(l, i)
		}
	}
}

// Clear drops all leaves, pending removals and logs but those of the lanes to keep, so that a bootstrap
// can begin anew. What a kept log holds is not applied any more. Void intervals, drops of buckets, the callers'
// metadata and the reserved bound stay. It must come first in its batch.
func (b *Batch) Clear(keep ...clock.Lane) {
	slices.SortFunc(keep, clock.Lane.Compare)
	b.clearSpace([]byte{spaceLeaf}, nil)
	b.clearSpace([]byte{spaceMeta, metaPending}, nil)
	b.clearSpace([]byte{spaceLog}, keep)
	b.clearSpace([]byte{spaceMeta, metaTruncated}, keep)
	b.state.applied = b.state.applied[:0]
	b.cleared, b.kept = true, keep
}

// clearSpace drops the keys of a space but for those of some lanes.
func (b *Batch) clearSpace(space []byte, keep []clock.Lane) {
	from := space
	for _, l := range keep {
		lane := appendLane(bytes.Clone(space), l)
		b.keep(b.pb.DeleteRange(from, lane, nil))
		from = successor(lane)
	}
	b.keep(b.pb.DeleteRange(from, successor(space), nil))
}

// cleared forgets what was in memory of what Clear dropped.
func (s *Store) cleared(kept []clock.Lane) {
	s.cache.clear()
	s.pending.list.Store(nil)
	s.logs.clear(kept)
	s.writer.triggers = newTriggers()
}

func (t *logTable) clear(kept []clock.Lane) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for l, g := range t.lanes {
		if g.applied = 0; !slices.Contains(kept, l) {
			delete(t.lanes, l)
		}
	}
}
