package certify

import (
	"bytes"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
)

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
		_, time := p.dropOldest()
		if !mutant.On(mutant.LowMarkStays) {
			x.low = max(x.low, time) // State.Refound has raised it above what is known
		}
		return
	}
	key, time := q.dropOldest()
	x.count(len(key), -1)
	x.low = max(x.low, time)
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
	if len(x.nested) > 0 && !mutant.On(mutant.PrefixesNotCertified) {
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
