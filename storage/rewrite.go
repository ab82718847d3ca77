package storage

import (
	"errors"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
)

// triggers counts, for the leaves written lately, the operands since their last rewrite, and
// remembers those that a rewrite would shorten once the cuts have passed them. It grows up to
// TriggerSlots: what it forgets then the sweep finds. The writer's own.
type triggers struct {
	slots   []slot
	due     [][]byte // keys of leaves with many operands
	looking bool     // going over the slots for leaves that the cuts have passed
	cursor  int
}

// slot is what is known of one leaf.
type slot struct {
	hash     uint64
	last     clock.Dot
	operands uint32
	kept     uint32 // items that the last rewrite kept
	override bool   // an override waits for the horizon
	waits    bool   // something waits for settled
	queued   bool   // in due
	fresh    bool   // written since the last round over the slots
	key      []byte // only once there is something to rewrite
}

const (
	slotWays = 4    // places where a leaf may be
	slotsNew = 1024 // slots of a new table
	slotGrow = 4    // how many times larger a table is than the one that it replaces
	slotLook = 4096 // slots looked at in one go
	maxDue   = 1024 // leaves queued
)

func newTriggers() *triggers { return &triggers{slots: make([]slot, slotsNew)} }

// worth orders slots by how much is lost when they are forgotten.
func (s *slot) worth() uint32 {
	if s.override || s.waits {
		return s.operands + 2
	}
	return s.operands
}

// setOf is the slots where a leaf may be.
func setOf(slots []slot, hash uint64) []slot {
	first := int(hash%uint64(len(slots)/slotWays)) * slotWays
	return slots[first : first+slotWays]
}

// grow makes room while the table is below its bound, and tells whether it did. Each larger set takes
// leaves of one smaller set only, so all find a place.
func (t *triggers) grow() bool {
	if len(t.slots) >= TriggerSlots {
		return false
	}
	larger := make([]slot, min(slotGrow*len(t.slots), TriggerSlots))
	for _, s := range t.slots {
		if s.hash != 0 {
			set := setOf(larger, s.hash)
			i := slices.IndexFunc(set, func(s slot) bool { return s.hash == 0 })
			set[i] = s
		}
	}
	t.slots, t.cursor = larger, 0
	return true
}

// find returns the slot of a leaf, or the least valuable of those where it may be.
func (t *triggers) find(hash uint64) (s *slot, found bool) {
	set := setOf(t.slots, hash)
	s = &set[0]
	for i := range set {
		if set[i].hash == hash {
			return &set[i], true
		}
		if set[i].worth() < s.worth() {
			s = &set[i]
		}
	}
	return s, false
}

// note takes in what a batch has written. It reports whether it had to forget a leaf that should be
// rewritten some time.
func (t *triggers) note(leaves []leafWrite) (forgot bool) {
	for i := range leaves {
		w := &leaves[i]
		s, found := t.find(w.hash)
		if w.replace {
			t.noteRewrite(s, found, w)
			continue
		}
		for !found && s.worth() > 1 && t.grow() {
			s, _ = t.find(w.hash)
		}
		if !found {
			forgot = forgot || s.worth() > 1
			*s = slot{hash: w.hash, key: s.key[:0]}
		}
		t.noteOperand(s, w)
	}
	return forgot
}

func (t *triggers) noteRewrite(s *slot, found bool, w *leafWrite) {
	switch {
	case found && !w.waits:
		*s = slot{key: s.key[:0]}
	case found:
		s.override = s.override && !w.horizon.Sees(s.last) // else it is spent
		s.operands, s.kept, s.waits, s.queued = 0, w.kept, true, false
		s.key = append(s.key[:0], w.key...)
	}
}

func (t *triggers) noteOperand(s *slot, w *leafWrite) {
	s.operands++
	s.override = s.override || w.override
	s.last, s.fresh = w.last, true
	if s.worth() > 1 && len(s.key) == 0 {
		s.key = append(recycle(s.key), w.key...)
	}
	t.queue(s)
}

// queue has a leaf rewritten if it has many operands. Without room the next write or round tries again.
func (t *triggers) queue(s *slot) {
	if s.operands >= max(MinOperands, s.kept) && !s.queued && len(t.due) < maxDue {
		s.queued = true
		t.due = append(t.due, append([]byte(nil), s.key...))
	}
}

// unqueue lets leaves be queued again that could not be rewritten.
func (t *triggers) unqueue(keys [][]byte) {
	for _, key := range keys {
		if s, found := t.find(xxhash.Sum64(key)); found {
			s.queued = false
		}
	}
}

// look starts a round over all slots.
func (t *triggers) look() { t.looking, t.cursor = true, 0 }

// job is the next rewrites to do; nil: none. The cuts are those that the rewrites will go by: lowered
// below pending removals.
func (t *triggers) job(c *cuts) Job {
	if n := min(len(t.due), RewriteLeaves); n > 0 {
		keys := append([][]byte(nil), t.due[:n]...)
		t.due = t.due[:copy(t.due, t.due[n:])]
		return &rewriteJob{keys: keys, force: true}
	}
	if !t.looking {
		return nil
	}
	if keys := t.ripe(c); len(keys) > 0 {
		return &rewriteJob{keys: keys}
	}
	return nil
}

// ripe goes on with the round and returns leaves that the cuts have passed. One that was written
// since the round before is left alone: it will be written again, and its operands be counted.
func (t *triggers) ripe(c *cuts) (keys [][]byte) {
	end := min(t.cursor+slotLook, len(t.slots))
	for ; t.cursor < end && len(keys) < RewriteLeaves; t.cursor++ {
		s := &t.slots[t.cursor]
		fresh := s.fresh
		s.fresh = false
		if s.worth() < 2 || s.queued {
			continue
		}
		if t.queue(s); s.queued || fresh {
			continue
		}
		if s.override && c.horizon.Sees(s.last) || c.settled.Sees(s.last) {
			keys = append(keys, append([]byte(nil), s.key...))
		}
	}
	t.looking = t.cursor < len(t.slots)
	return keys
}

// rewriteJob rewrites whole leaves. It runs on the writer like every job, so nobody writes a leaf
// between its read and its write.
type rewriteJob struct {
	keys  [][]byte
	force bool // also where only operands become one
}

// errNothing drops a batch that would write nothing.
var errNothing = errors.New("storage: nothing to rewrite")

// Build implements Job.
func (j *rewriteJob) Build(b *Batch) error {
	for _, key := range j.keys {
		if err := b.rewrite(key, j.force); err != nil {
			b.s.writer.triggers.unqueue(j.keys)
			return err
		}
	}
	if len(b.leaves) == 0 {
		return errNothing
	}
	return nil
}

// Applied implements Job.
func (j *rewriteJob) Applied() {}

// Durable implements Job. A rewrite that failed is no loss: the operands are still there.
func (j *rewriteJob) Durable(error) {}

// rewrite folds a leaf's items below the cuts into the fewest that read the same: none where the bucket was
// dropped.
func (b *Batch) rewrite(key []byte, force bool) error {
	s := b.s
	items, found, err := s.read(key)
	if err != nil {
		return err
	}
	c := s.pending.lower(s.cuts.Load())
	w := b.leaf(key)
	if w.replace {
		return nil // the job names it twice: it was queued, forgotten and queued again
	}
	out, kept := w.items[:0], 0
	if !s.drops.load().dead(key, c.horizon.At(0)) {
		if out, kept, err = crdt.Rewrite(leafType(key), out, items, c.horizon, c.settled); err != nil {
			return s.readFailed("leaf", err)
		}
	}
	w.items, w.kept, w.replace, w.horizon = out, uint32(kept), true, c.horizon
	if w.waits, err = b.shrinksLater(key, out, kept); err != nil {
		return s.readFailed("leaf", err)
	}
	if !found || len(out) == len(items) && !force {
		s.writer.triggers.note(b.leaves[len(b.leaves)-1:])
		b.unleaf()
		return nil
	}
	s.counts.rewrites.Add(1)
	return nil
}

// shrinksLater reports whether more of a leaf would go if all that is applied were settled.
func (b *Batch) shrinksLater(key, items []byte, kept int) (bool, error) {
	if kept == 0 {
		return false, nil
	}
	all := b.state.vector()
	var err error
	var least int
	b.scratch, least, err = crdt.Rewrite(leafType(key), b.scratch[:0], items, all, all)
	return least < kept, err
}

// unleaf takes back the leaf that was added last.
func (b *Batch) unleaf() {
	n := len(b.leaves) - 1
	if b.index[b.leaves[n].hash] == int32(n) {
		delete(b.index, b.leaves[n].hash)
	}
	b.leaves = b.leaves[:n]
}
