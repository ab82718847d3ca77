package certify

import "github.com/theriac-db/theriac/clock"

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
