package storage

import (
	"bytes"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// Apply adds a record to the batch: its log entry, its effects on the leaves, its removals, and the
// applied time of its lane. encoded is r as in the log (r.Append); it is copied. The caller has made
// sure that the record's dependencies are exposed.
//
// It refuses a record that does not continue its lane (ErrGap, ErrFork), one that is malformed
// (kv.ErrCorrupt), and one with removals while MaxPendingRemovals are pending (kv.ErrOverloaded: try
// again later); the batch is then as before and may go on without it. A record that is held
// already, with the same content, changes nothing and is no error.
func (b *Batch) Apply(r *kv.Record, encoded []byte) error {
	held, err := b.checkLane(&r.Header, encoded)
	if err != nil || held {
		return err
	}
	if err := b.resolve(r); err != nil {
		return err
	}
	if err := b.admit(&r.Header); err != nil {
		return err
	}
	b.scratch = appendLogKey(b.scratch[:0], r.Lane, r.Time)
	b.keep(b.pb.Set(b.scratch, encoded, nil))
	b.logged = append(b.logged, logEntry{r.Lane, r.Time, len(encoded) + logKeyLen})
	switch r.Kind {
	case kv.RecordVoid:
		b.applyVoid(r)
	case kv.RecordDrop:
		b.addDrop(r.Drop.Bucket, Drop{r.Time, r.Drop.Generation})
	default:
		b.applyTxns(r)
	}
	b.state.set(r.Lane, r.Time)
	return b.err
}

// checkLane compares a record with what its lane holds.
func (b *Batch) checkLane(h *kv.Header, encoded []byte) (held bool, err error) {
	applied := b.state.at(h.Lane)
	switch {
	case h.Prev == applied && h.Time > applied:
		return false, nil
	case h.Prev > applied:
		return false, laneError(ErrGap, h, applied)
	case h.Time > applied:
		return false, laneError(ErrFork, h, applied)
	}
	return b.isHeld(h, encoded, applied)
}

// isHeld looks a record up that the lane should hold. What has been truncated can't be compared.
func (b *Batch) isHeld(h *kv.Header, encoded []byte, applied clock.Timestamp) (bool, error) {
	if h.Time <= b.truncatedTo(h.Lane) {
		return true, nil
	}
	for _, e := range b.logged {
		if e.lane == h.Lane && e.time == h.Time { // in this very batch, which Pebble does not read yet
			return false, b.invalid("storage: record %s twice in one batch", h.Stamp())
		}
	}
	value, found, err := b.s.read(appendLogKey(nil, h.Lane, h.Time))
	if err != nil {
		b.keep(err)
		return false, err
	}
	if !found || !bytes.Equal(value, encoded) {
		return false, laneError(ErrFork, h, applied)
	}
	return true, nil
}

// resolve decodes all effects of a record before anything is written.
func (b *Batch) resolve(r *kv.Record) error {
	b.targets = b.targets[:0]
	for i := range r.Txns {
		effects := r.Txns[i].Effects
		for j := range effects {
			t, err := crdt.EffectTarget(&effects[j])
			if err != nil {
				return err
			}
			if len(effects[j].Bucket) > kv.MaxBucket || len(effects[j].Key) > kv.MaxKey {
				return kv.Errorf(kv.KindCorrupt, "storage: effect %d of record %s names a key that is too long", j, r.Stamp())
			}
			b.targets = append(b.targets, t)
		}
	}
	return nil
}

// RoomForRemovals reports whether Apply takes a record that removes collections: not while too many
// removals are pending.
func (b *Batch) RoomForRemovals() bool { return b.s.pending.len()+len(b.pending) < MaxPendingRemovals }

// admit refuses a record with removals of collections, resolved before, while too many are pending.
func (b *Batch) admit(h *kv.Header) error {
	if b.RoomForRemovals() || !slices.ContainsFunc(b.targets, func(t crdt.Target) bool { return t.Below }) {
		return nil
	}
	return kv.Errorf(kv.KindOverloaded, "storage: %d removals of collections are still being carried out, so record %s with more of them has to wait", MaxPendingRemovals, h.Stamp())
}

func (b *Batch) applyTxns(r *kv.Record) {
	n := 0
	dot := clock.Dot{Region: r.Lane.Region, Time: r.Time}
	for i := range r.Txns {
		txn := &r.Txns[i]
		for j := range txn.Effects {
			e := &txn.Effects[j]
			dot.Index = uint32(n)
			if j > 0 && mutant.On(mutant.HalfGroupVisible) {
				dot.Time = r.Time + 1
			}
			b.applyEffect(e, &b.targets[n], dot, txn.Snapshot)
			n++
		}
	}
	b.flushAdds()
}

// applyEffect writes one effect to its leaf, or, for a removal of a collection, to the leaves below
// its path. What nobody will read, since the bucket was dropped, is in the log only.
func (b *Batch) applyEffect(e *kv.Effect, t *crdt.Target, dot clock.Dot, snapshot clock.Vector) {
	if b.s.gone(e.Bucket, e.Generation) {
		return
	}
	b.scratch = append(appendObjectKey(b.scratch[:0], &e.Object, e.Generation), e.Path...)
	if t.Below {
		prefix := append([]byte(nil), b.scratch...)
		r := &removal{prefix: prefix, cursor: prefix, dot: dot, snapshot: snapshot, op: bytes.Clone(t.Op)}
		r.under = b.s.pending.lower(b.s.cuts.Load())
		b.remove(r)
		return
	}
	w := b.leaf(b.scratch)
	if t.Override {
		w.touch(dot, true)
		w.items = crdt.AppendItem(w.items, dot, snapshot, t.Op)
		return
	}
	b.add(w, t, dot)
}

// add notes an effect that overrides nothing; several of one record on one leaf become one item under
// the dot of the first. Every region combines alike, so equal dots still mean equal items.
func (b *Batch) add(w *leafWrite, t *crdt.Target, dot clock.Dot) {
	if w.add != nil {
		if op, ok := crdt.Combine(t.Leaf, w.add, t.Op); ok {
			w.add = op
			if mutant.On(mutant.AddAppliedTwice) {
				w.add, _ = crdt.Combine(t.Leaf, op, t.Op)
			}
			return
		}
		w.items = crdt.AppendItem(w.items, w.dot, nil, w.add)
	} else {
		b.adding = append(b.adding, w.place)
	}
	w.add, w.dot = t.Op, dot
	w.touch(dot, false)
}

// flushAdds ends a record: what could be combined has been.
func (b *Batch) flushAdds() {
	for _, i := range b.adding {
		w := &b.leaves[i]
		w.items = crdt.AppendItem(w.items, w.dot, nil, w.add)
		w.add = nil
	}
	b.adding = b.adding[:0]
}

// remove lands a removal on the leaves below its path, from its cursor on, as far as the batch's
// budget of leaves to look at goes. What is left becomes, or stays, pending.
func (b *Batch) remove(r *removal) {
	b.flushAdds()
	next, err := b.land(r)
	if err != nil {
		b.keep(err)
		return
	}
	r.cursor, r.done = next, next == nil || mutant.On(mutant.RemovalStopsShort)
	if !r.done || r.noted {
		b.pending = append(b.pending, r)
	}
	b.s.sweep.note(r)
}

// land adds the override to the leaves that hold something which it covers. It returns where to go
// on, or nil when it has seen all.
func (b *Batch) land(r *removal) (next []byte, err error) {
	if b.budget <= 0 {
		return r.cursor, nil // readers are told by its being pending
	}
	iter, err := b.s.iterate(r.cursor, successor(r.prefix))
	if err != nil {
		return nil, b.s.readFailed("leaves", err)
	}
	defer func() {
		if e := iter.Close(); e != nil && err == nil {
			err = b.s.readFailed("leaves", e)
		}
	}()
	if !r.noted { // leaves that only this batch has written
		b.landOnOwn(r)
	}
	ok := iter.First()
	if !ok {
		b.budget-- // finding out that there are none costs something too
	}
	for ; ok; ok = iter.Next() {
		if b.budget <= 0 {
			return append([]byte(nil), iter.Key()...), nil
		}
		b.budget--
		items, err := iter.ValueAndErr()
		if err == nil {
			err = b.landOn(r, iter.Key(), items)
		}
		if err != nil {
			return nil, b.s.readFailed("leaves", err)
		}
	}
	if err := iter.Error(); err != nil {
		return nil, b.s.readFailed("leaves", err)
	}
	return nil, nil
}

// landOn adds the override to one leaf, if it covers something there.
func (b *Batch) landOn(r *removal, key, items []byte) error {
	touches, err := crdt.Touches(leafType(key), items, r.snapshot)
	if err != nil || !touches {
		return err
	}
	b.override(b.leaf(key), r)
	return nil
}

func (b *Batch) override(w *leafWrite, r *removal) {
	if w.override && w.last == r.dot {
		return // landOnOwn has been here
	}
	w.touch(r.dot, true)
	w.items = crdt.AppendItem(w.items, r.dot, r.snapshot, r.op)
}

// landOnOwn adds the override to the leaves that earlier records of this batch have written: an
// iterator does not show them yet.
func (b *Batch) landOnOwn(r *removal) {
	for i := range b.leaves {
		w := &b.leaves[i]
		if !bytes.HasPrefix(w.key, r.prefix) {
			continue
		}
		touches, err := crdt.Touches(leafType(w.key), w.items, r.snapshot)
		b.keep(err)
		if touches {
			b.override(w, r)
		}
	}
}
