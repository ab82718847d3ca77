package storage

import (
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

const (
	cacheShards = 64
	// cacheOverhead is what an entry takes beyond its key and items, about: the entry, its place in
	// the map, the value.
	cacheOverhead = 224
	// maxCachedLeaf is the largest leaf that is cached, as a part of its shard's share.
	maxCachedLeaf = 8
)

// leafCache holds leaves as they are in the store, each with its value at some cut. The writer keeps
// the entries current (invariant 7): it appends the items that it commits, and replaces those that it
// rewrites.
//
// A reader that misses gets the leaf from Pebble and enters it only if the writer has not touched
// the leaf's cache shard meanwhile. Otherwise it could enter items from before a commit after that
// commit has looked for the entry in vain, and they would be read for ever.
type leafCache struct {
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	mu       sync.Mutex
	entries  map[uint64]*cached // by the hash of the key; of two leaves with one hash, one is cached
	hand     *cached            // ring of entries for the clock algorithm
	bytes    int64
	limit    int64
	version  uint64 // counts the writer's visits
	inflight int    // leaves of the batch that is being committed
	_        [64]byte
}

// cached is one leaf. All fields are under the shard's lock; items beyond their length may be
// appended to, never changed, so a reader may fold a prefix of them without the lock.
type cached struct {
	key        string
	hash       uint64
	items      []byte
	value      kv.Value     // at the cut known
	known      clock.Vector // nil with ok false
	ok         bool         // value is valid at snapshots that include known and see none of later
	later      []clock.Stamp
	size       int64
	used       bool
	prev, next *cached
}

// maxLater is how many groups may have written a leaf since its value was folded; beyond it the
// value is dropped and folded anew by the next reader.
const maxLater = 16

func newLeafCache(limit int64) *leafCache {
	c := new(leafCache)
	for i := range c.shards {
		c.shards[i].limit = max(limit, 0) / cacheShards
		c.shards[i].entries = make(map[uint64]*cached)
	}
	return c
}

// shard returns the shard of a key, and the key's hash.
func (c *leafCache) shard(key []byte) (*cacheShard, uint64) {
	hash := xxhash.Sum64(key)
	return &c.shards[hash%cacheShards], hash
}

// find returns the entry of a key; nil: there is none. The caller holds mu.
func (s *cacheShard) find(key []byte, hash uint64) *cached {
	if e := s.entries[hash]; e != nil && e.key == string(key) {
		return e
	}
	return nil
}

// lookup is what a reader finds.
type lookup struct {
	hit     bool   // the value is the answer
	items   []byte // otherwise, if present: the leaf's items; not to be changed
	present bool
	version uint64 // otherwise: to enter the leaf with
	quiet   bool   // it may be entered at all
}

// off reports whether nothing is ever cached.
func (c *leafCache) off() bool { return c.shards[0].limit == 0 }

// get looks a leaf up at a snapshot. A value that it finds shares its slices with the cache.
func (c *leafCache) get(key []byte, at clock.Vector, v *kv.Value) lookup {
	s, hash := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(key, hash)
	if e == nil {
		return lookup{version: s.version, quiet: s.inflight == 0 && s.limit > 0}
	}
	e.used = true
	if e.ok && at.Includes(e.known) && e.unchanged(at) {
		*v = e.value
		return lookup{hit: true}
	}
	return lookup{items: e.items, present: true}
}

// unchanged reports whether a snapshot sees nothing that came after the value was folded.
func (e *cached) unchanged(at clock.Vector) bool {
	for _, s := range e.later {
		if at.At(s.Region) >= s.Time && !mutant.On(mutant.CacheKeepsValue) {
			return false
		}
	}
	return true
}

// enter adds a leaf that a reader got from Pebble. all: the snapshot saw all of the items, so that
// the value stays valid until more come.
func (c *leafCache) enter(key []byte, l lookup, items []byte, v kv.Value, at clock.Vector, all bool) {
	s, hash := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	size := int64(len(key)+cap(items)) + cacheOverhead
	if !l.quiet || s.version != l.version || s.inflight > 0 || size > s.limit/maxCachedLeaf || s.entries[hash] != nil {
		return
	}
	e := &cached{key: string(key), hash: hash, items: items, value: v, known: at, ok: all, size: size}
	s.entries[hash] = e
	s.link(e)
	s.bytes += size
	s.evict()
}

// improve gives an entry the value that a reader has folded from its items. The value is right at
// its snapshot even if the entry has changed meanwhile; what has to be known is which groups the
// snapshot did not see: those of later that it does not see or, with all, none of these items.
func (c *leafCache) improve(key, items []byte, v kv.Value, at clock.Vector, all func() bool) {
	s, hash := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(key, hash)
	switch {
	case e == nil:
	case e.ok && at.Includes(e.known):
		e.value, e.known = v, at
		e.later = slices.DeleteFunc(e.later, func(s clock.Stamp) bool { return at.At(s.Region) >= s.Time })
	case !e.ok && same(e.items, items) && all():
		e.value, e.known, e.ok, e.later = v, at, true, e.later[:0]
	}
}

// same reports whether two slices are one.
func same(a, b []byte) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// begin tells the cache which leaves are about to change in the store.
func (c *leafCache) begin(leaves []leafWrite) {
	for i := range leaves {
		s := &c.shards[leaves[i].hash%cacheShards]
		s.mu.Lock()
		s.version++
		s.inflight++
		s.mu.Unlock()
	}
}

// end makes the entries of changed leaves current. When the commit failed they are dropped: nobody
// knows what the store holds. Those of loaded leaves are too: no folded value stays valid.
func (c *leafCache) end(leaves []leafWrite, written bool) {
	for i := range leaves {
		w := &leaves[i]
		s := &c.shards[w.hash%cacheShards]
		s.mu.Lock()
		s.inflight--
		if e := s.find(w.key, w.hash); e != nil {
			s.change(e, w, written)
		}
		s.mu.Unlock()
	}
}

func (s *cacheShard) change(e *cached, w *leafWrite, written bool) {
	switch {
	case !written, w.loaded:
		s.remove(e)
		return
	case w.replace:
		// It reads the same, so a folded value stays valid; only snapshots below the horizon would
		// tell, and there are none.
		e.items = append([]byte(nil), w.items...)
	default:
		e.items = append(e.items, w.items...)
		e.note(w.stamps)
	}
	size := int64(len(e.key)+cap(e.items)) + cacheOverhead
	s.bytes += size - e.size
	e.size = size
	if size > s.limit/maxCachedLeaf {
		s.remove(e)
		return
	}
	s.evict()
}

// note remembers the groups that have written the leaf since its value was folded.
func (e *cached) note(stamps []clock.Stamp) {
	if !e.ok {
		return
	}
	if len(e.later)+len(stamps) > maxLater {
		e.ok, e.later = false, e.later[:0]
		return
	}
	e.later = append(e.later, stamps...)
}

// clear forgets everything.
func (c *leafCache) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.version++
		s.entries, s.hand, s.bytes = make(map[uint64]*cached), nil, 0
		s.mu.Unlock()
	}
}

func (c *leafCache) size() (bytes int64, leaves int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		bytes += s.bytes
		leaves += len(s.entries)
		s.mu.Unlock()
	}
	return bytes, leaves
}

// link puts an entry behind the hand, where it is looked at last.
func (s *cacheShard) link(e *cached) {
	if s.hand == nil {
		e.prev, e.next = e, e
		s.hand = e
		return
	}
	e.prev, e.next = s.hand.prev, s.hand
	e.prev.next, e.next.prev = e, e
}

func (s *cacheShard) remove(e *cached) {
	delete(s.entries, e.hash)
	s.bytes -= e.size
	if e.next == e {
		s.hand = nil
		return
	}
	e.prev.next, e.next.prev = e.next, e.prev
	if s.hand == e {
		s.hand = e.next
	}
}

// evict drops entries that were not used since the hand came by last, until the rest fits.
func (s *cacheShard) evict() {
	for s.bytes > s.limit && s.hand != nil {
		if s.hand.used {
			s.hand.used = false
			s.hand = s.hand.next
			continue
		}
		s.remove(s.hand)
	}
}
