package storage

import (
	"bytes"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// Batch is what one Job writes. It is valid only within Build, on the writer goroutine.
type Batch struct {
	s    *Store
	pb   *pebble.Batch
	sync bool
	err  error // a failure that forbids writing any of it

	state   state // as it will be; number and all
	leaves  []leafWrite
	index   map[uint64]int32 // hash of a key to its place in leaves; only once there are many
	scratch []byte           // of keys and values; pb copies
	targets []crdt.Target    // of the record being applied
	budget  int              // leaves that its removals may still look at
	adding  []int32          // places in leaves with an add that is not yet an item

	pending   []*removal // new ones, and changed or finished ones of a chunk
	voids     voids      // of all lanes, with those that it adds; nil: it adds none
	drops     drops      // of all buckets, with those that it adds; nil: it adds none
	logged    []logEntry
	truncated []truncation
	cleared   bool // everything that was there before goes
	kept      []clock.Lane
	raft      RaftState // as it will be
	raftSet   bool      // its key is to be written; of the log's end only the entries tell
}

// leafWrite collects what a batch does to one leaf.
type leafWrite struct {
	key      []byte
	items    []byte // the merge operand, or with replace the whole leaf
	hash     uint64
	place    int32
	add      []byte        // operation of this record that may yet be combined with others
	dot      clock.Dot     // of add
	last     clock.Dot     // latest dot written
	stamps   []clock.Stamp // of the groups that wrote it
	override bool          // an item overrides others
	replace  bool          // a rewrite: items replace what was there; none: the key goes
	loaded   bool          // with replace: another store's leaf, which reads differently
	kept     uint32        // rewrite: items kept
	waits    bool          // rewrite: more will go once more is settled
	horizon  clock.Vector  // rewrite: the one that it went by
}

const (
	linearLeaves  = 8        // up to here a batch's leaves are found by comparing hashes
	maxKeptLeaves = 4096     // leafWrites whose buffers a batch keeps for the next
	maxKeptBuffer = 16 << 10 // bytes of a buffer that it keeps
)

func (b *Batch) init(s *Store) {
	b.s = s
	b.index = make(map[uint64]int32)
}

// begin readies the batch for the next job. The Pebble batch comes from Pebble's pool.
func (b *Batch) begin() {
	b.pb = b.s.db.NewBatch()
	b.state.copyFrom(&b.s.writer.state)
	b.state.number++
	b.raft, b.raftSet = *b.s.raft.Load(), false
	b.reset()
}

func (b *Batch) reset() {
	b.sync, b.err, b.cleared, b.kept = false, nil, false, nil
	b.budget = b.s.cfg.RemovalLeaves
	if len(b.leaves) > maxKeptLeaves {
		b.leaves = nil
	}
	b.leaves = b.leaves[:0]
	if len(b.index) > 0 {
		clear(b.index)
	}
	b.pending, b.voids, b.drops, b.logged = b.pending[:0], nil, nil, b.logged[:0]
	b.adding, b.truncated = b.adding[:0], b.truncated[:0]
}

// drop forgets a batch that is not written.
func (b *Batch) drop() {
	b.pb.Close() // an uncommitted batch has nothing to fail at
	b.pb = nil
}

// leaf finds or adds the entry of a leaf. The pointer is valid until the next call.
func (b *Batch) leaf(key []byte) *leafWrite {
	h := xxhash.Sum64(key)
	if i, found := b.find(key, h); found {
		return &b.leaves[i]
	}
	n := len(b.leaves)
	if n < cap(b.leaves) {
		b.leaves = b.leaves[:n+1]
	} else {
		b.leaves = append(b.leaves, leafWrite{})
	}
	w := &b.leaves[n]
	*w = leafWrite{key: append(recycle(w.key), key...), items: recycle(w.items), stamps: w.stamps[:0], hash: h, place: int32(n)}
	b.enter(n)
	return w
}

func recycle(buf []byte) []byte {
	if cap(buf) > maxKeptBuffer {
		return nil
	}
	return buf[:0]
}

// touch notes who writes the leaf.
func (w *leafWrite) touch(dot clock.Dot, override bool) {
	w.last = dot
	w.override = w.override || override
	if n := len(w.stamps); n == 0 || w.stamps[n-1] != dot.Stamp() {
		w.stamps = append(w.stamps, dot.Stamp())
	}
}

// find returns a leaf's place. Hashes of different keys that collide are told apart by the key; the
// later one is then found by a linear search.
func (b *Batch) find(key []byte, h uint64) (int, bool) {
	if len(b.leaves) > linearLeaves {
		i, found := b.index[h]
		if !found {
			return 0, false
		}
		if bytes.Equal(b.leaves[i].key, key) {
			return int(i), true
		}
	}
	for i := range b.leaves {
		if b.leaves[i].hash == h && bytes.Equal(b.leaves[i].key, key) {
			return i, true
		}
	}
	return 0, false
}

// enter notes the n-th leaf in the index, once there are too many for a linear search.
func (b *Batch) enter(n int) {
	if n < linearLeaves {
		return
	}
	first := n
	if n == linearLeaves {
		first = 0
	}
	for i := first; i <= n; i++ {
		if _, taken := b.index[b.leaves[i].hash]; !taken {
			b.index[b.leaves[i].hash] = int32(i)
		}
	}
}

// Sync asks for this batch's sync now. Otherwise it is synced with a later one, within SyncDelay.
func (b *Batch) Sync() { b.sync = true }

// Reserve raises the durable bound of the own lane's timestamps to t, with this batch. No timestamp
// above the bound may be handed out before the batch is durable. It never falls.
func (b *Batch) Reserve(t clock.Timestamp) { b.state.bound = max(b.state.bound, t) }

// Reserved is the bound as of this batch.
func (b *Batch) Reserved() clock.Timestamp { return b.state.bound }

// Applied is how far a lane is applied as of this batch.
func (b *Batch) Applied(l clock.Lane) clock.Timestamp { return b.state.at(l) }

// SetMeta writes a caller's metadata; it is read with Store.Meta.
func (b *Batch) SetMeta(key string, value []byte) {
	b.keep(checkMetaKey(key))
	b.keep(b.pb.Set(userKey(key), value, nil))
}

// DeleteMeta removes a caller's metadata.
func (b *Batch) DeleteMeta(key string) { b.keep(b.pb.Delete(userKey(key), nil)) }

// Short notes that the store may lack what was acknowledged: another region knows more of this
// region's lane than the store does. It stays noted, over restarts, until Recovered; the next start gives the
// store a new incarnation.
func (b *Batch) Short(reason string) {
	b.keep(b.pb.Set(shortKey, append([]byte{shortNoted}, reason...), nil))
	b.sync = true
}

// Recovered notes that the store holds all that the other regions had of this region's lane.
func (b *Batch) Recovered() {
	b.keep(b.pb.Delete(shortKey, nil))
	b.sync = true
}

// keep remembers the first failure; finish then refuses the batch.
func (b *Batch) keep(err error) {
	if err != nil && b.err == nil {
		b.err = err
	}
}

// finish turns what was collected into Pebble operations.
func (b *Batch) finish() error {
	for i := range b.leaves {
		w := &b.leaves[i]
		switch {
		case !w.replace:
			b.keep(b.pb.Merge(w.key, w.items, nil))
		case len(w.items) == 0:
			b.keep(b.pb.Delete(w.key, nil))
		default:
			b.keep(b.pb.Set(w.key, w.items, nil))
		}
	}
	b.writePending()
	b.writeRaft()
	b.scratch = b.state.append(b.scratch[:0])
	b.keep(b.pb.Set(stateKey, b.scratch, nil))
	return b.err
}

// committed makes the tables in memory say what the store now holds.
func (b *Batch) committed() {
	s := b.s
	if b.cleared {
		s.cleared(b.kept)
	}
	s.writer.state, b.state = b.state, s.writer.state
	if b.raftSet || b.raft.Last != s.raft.Load().Last {
		raft := b.raft
		s.raft.Store(&raft)
	}
	s.pending.commit(b.pending)
	s.voids.commit(b.voids)
	s.drops.commit(b.drops)
	s.logs.add(b.logged)
	s.logs.truncate(b.truncated...)
	if s.writer.triggers.note(b.leaves) {
		s.sweep.want()
	}
	s.counts.batches.Add(1)
}

// invalid is a job's mistake: nothing of the batch is written.
func (b *Batch) invalid(format string, args ...any) error {
	err := kv.Errorf(kv.KindInvalid, format, args...)
	b.keep(err)
	return err
}
