package storage

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Drop says that a bucket's keys have a generation at snapshots that include a record of the certifier's lane.
type Drop struct {
	Time       clock.Timestamp // of the record
	Generation uint32
}

// drops are those of all buckets. A bucket's rise in time and generation; of those that every snapshot sees
// which may still be opened, the last one is enough.
//
// Which generation a transaction reads and writes is a matter of its snapshot alone, so it has one for all that it
// does, and whoever has seen a drop, or what came after it, in any region, never finds again what was there before.
type drops map[kv.Bucket][]Drop

// at is the generation of a bucket's keys at snapshots with this entry 0.
func (d drops) at(b kv.Bucket, seen clock.Timestamp) uint32 {
	list := d[b]
	if n := sort.Search(len(list), func(n int) bool { return list[n].Time > seen }); n > 0 {
		return list[n-1].Generation
	}
	return 0
}

// dead reports whether no snapshot with this entry 0, or a later one, reads the leaf with this key.
func (d drops) dead(key []byte, seen clock.Timestamp) bool {
	if len(d) == 0 {
		return false
	}
	l, err := parseLeaf(key)
	return err == nil && l.Generation < d.at(l.Bucket, seen)
}

// add puts a drop into its place, unless it is there, or says nothing new. What every snapshot from horizon on
// sees superseded goes.
func (d drops) add(b kv.Bucket, drop Drop, horizon clock.Timestamp) {
	list := d[b]
	n := sort.Search(len(list), func(n int) bool { return list[n].Time >= drop.Time })
	if n > 0 && list[n-1].Generation >= drop.Generation || n < len(list) && list[n].Generation <= drop.Generation {
		return
	}
	list = slices.Insert(slices.Clone(list), n, drop)
	for len(list) > 1 && list[1].Time <= horizon {
		list = list[1:]
	}
	d[b] = list
}

// dropTable holds the drops for good. Readers take them as they are; the writer replaces them.
type dropTable struct{ current atomic.Pointer[drops] }

func (t *dropTable) load() drops {
	if d := t.current.Load(); d != nil {
		return *d
	}
	return nil
}

// commit takes over what a batch has made of them; nil: nothing.
func (t *dropTable) commit(d drops) {
	if len(d) > 0 {
		t.current.Store(&d)
	}
}

// Generation is that of a bucket's keys at a snapshot, which must be open.
func (s *Store) Generation(b kv.Bucket, at clock.Vector) uint32 {
	if all := s.drops.load(); len(all) > 0 {
		return all.at(b, at.At(0))
	}
	return 0
}

// SameGenerations reports whether all buckets have the same generations at two snapshots, as far as is known
// without looking at each.
func (s *Store) SameGenerations(a, b clock.Vector) bool {
	return len(s.drops.load()) == 0 || a.At(0) == b.At(0)
}

// Drops are the drops of all buckets, those of a bucket in order.
func (s *Store) Drops() map[kv.Bucket][]Drop {
	out := make(map[kv.Bucket][]Drop)
	for b, list := range s.drops.load() {
		out[b] = slices.Clone(list)
	}
	return out
}

// gone reports whether a generation of a bucket was dropped before all that may still be read.
func (s *Store) gone(b kv.Bucket, generation uint32) bool {
	all := s.drops.load()
	return len(all) > 0 && generation < all.at(b, s.cuts.Load().horizon.At(0))
}

// LoadDrops adds drops that another store knows.
func (b *Batch) LoadDrops(all map[kv.Bucket][]Drop) {
	for bucket, list := range all {
		for _, d := range list {
			b.addDrop(bucket, d)
		}
	}
}

// addDrop adds a drop, and has the disk hold what it leaves of the bucket's.
func (b *Batch) addDrop(bucket kv.Bucket, d Drop) {
	if b.drops == nil {
		b.drops = maps.Clone(b.s.drops.load())
	}
	if b.drops == nil {
		b.drops = make(drops)
	}
	b.drops.add(bucket, d, b.s.cuts.Load().horizon.At(0))
	b.scratch = b.scratch[:0]
	for _, d := range b.drops[bucket] {
		b.scratch = binary.BigEndian.AppendUint64(b.scratch, uint64(d.Time))
		b.scratch = binary.BigEndian.AppendUint32(b.scratch, d.Generation)
	}
	b.keep(b.pb.Set(dropKey(bucket), b.scratch, nil))
}

func dropKey(b kv.Bucket) []byte { return append([]byte{spaceMeta, metaDrop}, b...) }

func (s *Store) loadDrops() error {
	all := make(drops)
	err := s.scanMeta([]byte{spaceMeta, metaDrop}, func(key, value []byte) error {
		b, list, err := decodeDrops(key, value)
		all[b] = list
		return err
	})
	s.drops.commit(all)
	return err
}

// dropBytes is what each of a bucket's drops takes.
const dropBytes = 8 + 4

func decodeDrops(key, value []byte) (kv.Bucket, []Drop, error) {
	bad := kv.Errorf(kv.KindCorrupt, "storage: malformed drops of a bucket %x: %x", key, value)
	if len(key) <= 2 || len(value) == 0 || len(value)%dropBytes != 0 {
		return "", nil, bad
	}
	var list []Drop
	var before Drop
	for rest := value; len(rest) > 0; rest = rest[dropBytes:] {
		d := Drop{Time: clock.Timestamp(binary.BigEndian.Uint64(rest)), Generation: binary.BigEndian.Uint32(rest[8:])}
		if d.Time <= before.Time || d.Generation <= before.Generation {
			return "", nil, bad
		}
		list, before = append(list, d), d
	}
	return kv.Bucket(key[2:]), list, nil
}

// dropSweep reclaims what was dropped, bucket by bucket and shard by shard. The keeper's own. A start knows nothing
// of what the process before has done, and looks again. What a region that was away still brings is not even written
// (Batch.applyEffect), but for what comes before a start knows a horizon: that is left to the slow sweep.
type dropSweep struct {
	done   map[kv.Bucket]uint32 // up to which generation a bucket's shards were gone through
	bucket kv.Bucket            // the one that is being gone through; empty: none
	upTo   uint32               // generation
	shard  uint8
	cursor []byte // in the shard; nil: at its beginning
}

// next finds the first bucket in which there may be something to reclaim.
func (w *dropSweep) next(all drops, horizon clock.Timestamp) bool {
	for b := range all {
		if g := all.at(b, horizon); g > w.done[b] && (w.bucket == "" || b < w.bucket) {
			w.bucket, w.upTo, w.shard, w.cursor = b, g, 0, nil
		}
	}
	return w.bucket != ""
}

// sweepDropped looks at the keys of dropped buckets: at one chunk of them, and at as many shards that hold less.
func (s *Store) sweepDropped(ctx context.Context) {
	w := &s.sweep.dropped
	horizon := s.pending.lower(s.cuts.Load()).horizon.At(0)
	for range Shards {
		if w.bucket == "" && !w.next(s.drops.load(), horizon) {
			return
		}
		from := w.cursor
		if from == nil {
			from = appendBucketKey(nil, w.shard, w.bucket, 0)
		}
		next, err := s.sweepChunk(ctx, from, appendBucketKey(nil, w.shard, w.bucket, w.upTo), SweepLeaves)
		if err != nil {
			return // it is tried again
		}
		if w.cursor = next; next != nil {
			return
		}
		if w.shard++; w.shard == Shards {
			if w.done == nil {
				w.done = make(map[kv.Bucket]uint32)
			}
			w.done[w.bucket] = w.upTo
			w.bucket = ""
		}
	}
}
