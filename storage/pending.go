package storage

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// removal is the removal of a collection, a map's field or a whole object: one effect that lands on
// all leaves below a path. Once it is in the table it is not changed any more; a chunk replaces it.
type removal struct {
	prefix   []byte // of the keys of the leaves below the path
	cursor   []byte // the first key that it has not looked at
	dot      clock.Dot
	snapshot clock.Vector
	op       []byte
	under    *cuts // in force when it came; those of before a start are not known: none
	noted    bool  // it is in the table and on disk
	done     bool
}

// removals are some that are pending.
type removals []*removal

// pendingTable holds the removals that are not carried out yet. Readers take the list as it is;
// the writer replaces it.
type pendingTable struct {
	list atomic.Pointer[[]*removal]
}

func (t *pendingTable) all() []*removal {
	if p := t.list.Load(); p != nil {
		return *p
	}
	return nil
}

func (t *pendingTable) len() int { return len(t.all()) }

// commit takes over what a batch has written of removals.
func (t *pendingTable) commit(changed []*removal) {
	if len(changed) == 0 {
		return
	}
	replaced := make(map[clock.Dot]*removal, len(changed))
	for _, r := range changed {
		if r.noted {
			replaced[r.dot] = r
		}
	}
	list := make([]*removal, 0, t.len()+len(changed))
	for _, old := range t.all() {
		if r, found := replaced[old.dot]; !found {
			list = append(list, old)
		} else if !r.done {
			list = append(list, r)
		}
	}
	for _, r := range changed {
		if !r.noted {
			r.noted = true
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		t.list.Store(nil)
		return
	}
	t.list.Store(&list)
}

// chunk is the next piece of the oldest removals; nil: none is pending.
func (t *pendingTable) chunk() Job {
	if t.len() == 0 {
		return nil
	}
	return removalChunk{}
}

// overlay appends to a leaf's items the overrides of the removals that are pending above it. For a
// leaf that holds the override already it counts once, having the same dot.
func (l removals) overlay(key, items []byte) []byte {
	for _, r := range l {
		if bytes.HasPrefix(key, r.prefix) {
			items = crdt.AppendItem(items[:len(items):len(items)], r.dot, r.snapshot, r.op)
		}
	}
	return items
}

// during runs a read of Pebble and returns the removals that were pending at the moment that it saw:
// had one been carried out in between, neither the list nor what was read might hold its override.
func (t *pendingTable) during(read func() error) (removals, error) {
	for {
		before := t.list.Load()
		if err := read(); err != nil || t.list.Load() == before {
			if before == nil {
				return nil, err
			}
			return *before, err
		}
	}
}

// covers reports whether a removal is pending above a leaf.
func (t *pendingTable) covers(key []byte) bool {
	for _, r := range t.all() {
		if bytes.HasPrefix(key, r.prefix) {
			return true
		}
	}
	return false
}

// lower returns the cuts to rewrite by: while removals are pending, those in force when the oldest of
// them came, which had not passed it. The horizon alone must stay below a removal, so that nothing
// is taken for uncovered that it has yet to cover. But settled has to stay as well: that every effect
// above the horizon has seen it holds for the horizon it came with, not for a lowered one, above
// which the removal itself stands. (Lowering both entry by entry was tried; it forgot the dot of an
// add that a pending removal had not seen, and the removal then took the add away.)
func (t *pendingTable) lower(c *cuts) *cuts {
	if list := t.all(); len(list) > 0 {
		return list[0].under
	}
	return c
}

// removalChunk carries the oldest pending removals on, as many as the batch's budget is for. It holds
// nothing but their overrides, so a crash before it, after it or a repetition change no answer.
type removalChunk struct{}

// Build implements Job. Leaves that can't be read now are tried again after the next tidy interval:
// at once would keep the writer at nothing else.
func (removalChunk) Build(b *Batch) error {
	for _, old := range b.s.pending.all() {
		if b.budget <= 0 || b.err != nil {
			break
		}
		r := *old
		b.remove(&r)
	}
	if b.err != nil {
		b.s.writer.paused = true
		b.s.cfg.Logf("storage: a removal is not carried on for now: %v", b.err)
	}
	return b.err
}

// Applied implements Job.
func (removalChunk) Applied() {}

// Durable implements Job.
func (removalChunk) Durable(error) {}

// writePending puts new, advanced and finished removals into the batch.
func (b *Batch) writePending() {
	for _, r := range b.pending {
		if r.done {
			b.keep(b.pb.Delete(pendingKey(r.dot), nil))
		} else {
			b.keep(b.pb.Set(pendingKey(r.dot), r.append(nil), nil))
		}
	}
}

const pendingVersion = 1

func (r *removal) append(dst []byte) []byte {
	dst = append(dst, pendingVersion)
	for _, field := range [][]byte{r.prefix, r.cursor, r.op} {
		dst = append(binary.AppendUvarint(dst, uint64(len(field))), field...)
	}
	return r.snapshot.Append(dst, 0)
}

// decodeRemoval reads a noted removal. Its slices alias value.
func decodeRemoval(key, value []byte) (*removal, error) {
	bad := kv.Errorf(kv.KindCorrupt, "storage: malformed pending removal %x", key)
	dot, ok := decodePendingKey(key)
	if !ok || len(value) == 0 || value[0] != pendingVersion {
		return nil, bad
	}
	r := &removal{dot: dot, noted: true, under: &cuts{}}
	rest := value[1:]
	for _, field := range []*[]byte{&r.prefix, &r.cursor, &r.op} {
		n, k := binary.Uvarint(rest)
		if k <= 0 || n > uint64(len(rest)-k) {
			return nil, bad
		}
		*field, rest = rest[k:k+int(n)], rest[k+int(n):]
	}
	snapshot, rest, err := clock.DecodeVector(rest, 0)
	if err != nil || len(rest) != 0 || !bytes.HasPrefix(r.cursor, r.prefix) || len(r.prefix) < 2 || r.prefix[0] != spaceLeaf {
		return nil, bad
	}
	r.snapshot = snapshot
	return r, nil
}

// loadPending fills the table at start.
func (s *Store) loadPending() error {
	var list []*removal
	err := s.scanMeta([]byte{spaceMeta, metaPending}, func(key, value []byte) error {
		r, err := decodeRemoval(key, append([]byte(nil), value...))
		if err == nil {
			list = append(list, r)
		}
		return err
	})
	if err == nil && len(list) > 0 {
		s.pending.list.Store(&list)
	}
	return err
}

// scanMeta calls fn for every key with a prefix; the slices are valid during the call.
func (s *Store) scanMeta(prefix []byte, fn func(key, value []byte) error) (err error) {
	iter, err := s.iterate(prefix, successor(prefix))
	if err != nil {
		return s.readFailed("metadata", err)
	}
	defer func() {
		if e := iter.Close(); e != nil && err == nil {
			err = s.readFailed("metadata", e)
		}
	}()
	for ok := iter.First(); ok; ok = iter.Next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			return s.readFailed("metadata", err)
		}
		if err := fn(iter.Key(), value); err != nil {
			return err
		}
	}
	if err := iter.Error(); err != nil {
		return s.readFailed("metadata", err)
	}
	return nil
}
