package certify

import (
	"bytes"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/clock"
)

// none is no slot.
const none = -1

// recency knows the time of the last write of each of its keys, and the keys in the order of these
// times. Only the last write matters: whoever's snapshot lacks an older one lacks that one too.
type recency struct {
	at             map[string]int32 // key to slot
	slots          []slot
	free           int32 // first unused slot, chained by newer
	oldest, newest int32
	bytes          int // of keys
}

type slot struct {
	key          string
	time         clock.Timestamp
	older, newer int32
}

func newRecency() recency {
	return recency{at: map[string]int32{}, free: none, oldest: none, newest: none}
}

// len is the number of keys.
func (r *recency) len() int { return len(r.at) }

// last is the time of the last write of a key, 0 for none known.
func (r *recency) last(key []byte) clock.Timestamp {
	if i, found := r.at[string(key)]; found {
		return r.slots[i].time
	}
	return 0
}

// write notes a write at a time that no write before it is above. It reports whether the key is new.
func (r *recency) write(key []byte, time clock.Timestamp) bool {
	i, found := r.at[string(key)]
	if found {
		r.unlink(i)
	} else {
		i = r.take(string(key))
	}
	s := &r.slots[i]
	s.time, s.older, s.newer = time, r.newest, none
	if r.newest == none {
		r.oldest = i
	} else {
		r.slots[r.newest].newer = i
	}
	r.newest = i
	return !found
}

// take finds a slot for a new key.
func (r *recency) take(key string) int32 {
	i := r.free
	if i == none {
		i = int32(len(r.slots))
		r.slots = append(r.slots, slot{})
	} else {
		r.free = r.slots[i].newer
	}
	r.slots[i].key = key
	r.at[key] = i
	r.bytes += len(key)
	return i
}

func (r *recency) unlink(i int32) {
	s := &r.slots[i]
	if s.older == none {
		r.oldest = s.newer
	} else {
		r.slots[s.older].newer = s.newer
	}
	if s.newer == none {
		r.newest = s.older
	} else {
		r.slots[s.newer].older = s.older
	}
}

// dropOldest forgets the key whose last write is the oldest, and returns it with the time.
func (r *recency) dropOldest() (string, clock.Timestamp) {
	i := r.oldest
	key, time := r.slots[i].key, r.slots[i].time
	r.unlink(i)
	delete(r.at, key)
	r.bytes -= len(key)
	r.slots[i] = slot{newer: r.free}
	r.free = i
	return key, time
}

// index knows the last commits of places: points, and prefixes that were written as a whole.
type index struct {
	points   recency
	prefixes recency
	lengths  []length // of prefixes, rising
	// low: every place last written above it is known, so a snapshot whose entry 0 is at or above it can be
	// judged.
	low    clock.Timestamp
	nested []prefixRead // space for check
}

// length counts the prefixes of one length. There are few lengths, so looking for the prefixes of a key
// is one look-up for each.
type length struct{ bytes, count int }

// prefixRead is a prefix that is being checked, and its position among the accesses.
type prefixRead struct {
	key    []byte
	access int
}

func newIndex() index { return index{points: newRecency(), prefixes: newRecency()} }

// write notes a commit's write, and forgets what the limits have no room for.
func (x *index) write(a Access, time clock.Timestamp, l *limits) {
	if !a.Prefix {
		x.points.write(a.Key, time)
	} else if x.prefixes.write(a.Key, time) {
		x.count(len(a.Key), 1)
	}
	for x.points.len()+x.prefixes.len() > l.entries || x.points.bytes+x.prefixes.bytes > l.bytes {
		x.dropOldest()
	}
}

func (x *index) dropOldest() {
	p, q := &x.points, &x.prefixes
	if q.oldest == none || p.oldest != none && p.slots[p.oldest].time <= q.slots[q.oldest].time {
		_, x.low = p.dropOldest()
		return
	}
	key, time := q.dropOldest()
	x.count(len(key), -1)
	x.low = time
}

// count adds to the number of prefixes of a length.
func (x *index) count(bytes, by int) {
	i, found := slices.BinarySearchFunc(x.lengths, bytes, func(l length, bytes int) int { return l.bytes - bytes })
	if !found {
		x.lengths = slices.Insert(x.lengths, i, length{bytes: bytes})
	}
	if x.lengths[i].count += by; x.lengths[i].count == 0 {
		x.lengths = slices.Delete(x.lengths, i, i+1)
	}
}

// newest finds the newest commit above a snapshot's entry 0 that wrote where one of n accesses is.
// Prefixes are looked up in one walk over what is newer than the snapshot, however many they are.
func (x *index) newest(above clock.Timestamp, n int, access func(int) (Access, bool)) Conflict {
	found := Conflict{Time: above}
	raise := func(access int, time clock.Timestamp) {
		if time > found.Time {
			found = Conflict{Access: access, Time: time}
		}
	}
	x.nested = x.nested[:0]
	for i := range n {
		a, checked := access(i)
		if !checked {
			continue
		}
		raise(i, x.covering(a.Key))
		if a.Prefix {
			x.nested = append(x.nested, prefixRead{a.Key, i})
		} else {
			raise(i, x.points.last(a.Key))
		}
	}
	if len(x.nested) > 0 {
		x.nested = outermost(x.nested)
		raise(below(&x.points, x.nested, above))
		raise(below(&x.prefixes, x.nested, above))
	}
	if found.Time == above {
		return Conflict{}
	}
	return found
}

// covering is the newest time at which a prefix of key, key itself among them, was written as a whole.
func (x *index) covering(key []byte) clock.Timestamp {
	var newest clock.Timestamp
	for _, l := range x.lengths {
		if l.bytes > len(key) {
			break
		}
		newest = max(newest, x.prefixes.last(key[:l.bytes]))
	}
	return newest
}

// outermost sorts prefixes and drops those within another one, so that a key has at most one of them:
// the greatest that is not above it.
func outermost(prefixes []prefixRead) []prefixRead {
	slices.SortStableFunc(prefixes, func(a, b prefixRead) int { return bytes.Compare(a.key, b.key) })
	kept := prefixes[:1]
	for _, p := range prefixes[1:] {
		if !bytes.HasPrefix(p.key, kept[len(kept)-1].key) {
			kept = append(kept, p)
		}
	}
	return kept
}

// below finds the newest write above a time whose key begins with one of the prefixes, which outermost
// made.
func below(r *recency, prefixes []prefixRead, above clock.Timestamp) (access int, time clock.Timestamp) {
	for i := r.newest; i != none && r.slots[i].time > above; i = r.slots[i].older {
		key := r.slots[i].key
		at, _ := slices.BinarySearchFunc(prefixes, key, func(p prefixRead, key string) int {
			if string(p.key) <= key {
				return -1
			}
			return 1
		})
		if at > 0 && strings.HasPrefix(key, string(prefixes[at-1].key)) {
			return prefixes[at-1].access, r.slots[i].time
		}
	}
	return 0, 0
}
