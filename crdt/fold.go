package crdt

import (
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// Fold is the value of a leaf at a snapshot. The items may come in any order; those with equal dots
// count once. Items with time clock.MaxTimestamp are the own writes of the transaction that reads,
// and are visible always.
//
// Value.Bytes and Value.List alias items: copy them, or items first, before those bytes change.
func Fold(leaf kv.Type, items []byte, at clock.Vector) (kv.Value, error) {
	r, err := rulesOf(leaf)
	if err != nil {
		return kv.Value{}, err
	}
	return r.fold(items, at)
}

// Present reports whether a leaf is present at a snapshot. Unlike Fold it answers for a counter whose
// sum is beyond 64 bits too, so that one such counter does not make a listing fail.
func Present(leaf kv.Type, items []byte, at clock.Vector) (bool, error) {
	v, err := Fold(leaf, items, at)
	if kv.KindOf(err) == kv.KindBound {
		return true, nil
	}
	return v.Present, err
}

// Unseen reports whether a leaf holds an effect, an override included, that is readable at one snapshot
// and not at another. What has been forgotten is seen by every snapshot that is open.
func Unseen(items []byte, at, snapshot clock.Vector) (bool, error) {
	cur := cursor{src: items}
	for cur.next() {
		if visible(at, cur.dot) && !visible(snapshot, cur.dot) {
			return true, nil
		}
	}
	return false, cur.err()
}

// coverRegions is how many regions fit without allocating.
const coverRegions = 8

// cover is what the overrides visible at one snapshot cover together. An override covers entry by
// entry of its snapshot, so many cover exactly what the join of their snapshots does; one pass
// over the items finds it and another applies it, where comparing each with each would be quadratic.
type cover struct {
	any  bool         // there is an override that is not spent
	join clock.Vector // of the snapshots
}

// covers reports whether an effect is covered. What has been forgotten is covered by every override
// that is not spent: it was settled when it was forgotten, so whatever came later had seen it.
func (c cover) covers(dot clock.Dot) bool {
	if dot.IsZero() {
		return c.any
	}
	return c.any && c.join.At(dot.Region) >= dot.Time
}

// coverAt joins the snapshots of the overrides visible at a snapshot, into space as far as that
// reaches. It checks every item on the way.
func coverAt(space []clock.Entry, r *leafRules, items []byte, at clock.Vector) (cover, error) {
	var buffer [coverRegions]clock.Entry
	join, seen := clock.Vector(space), false
	cur := cursor{src: items}
	for cur.next() {
		class := r.class(cur.op)
		if class == malformed || cur.snapshot != nil && class == add {
			return cover{}, errItems()
		}
		if cur.snapshot == nil || !visible(at, cur.dot) {
			continue
		}
		snapshot, rest, err := clock.DecodeVectorInto(buffer[:0], cur.snapshot, cur.dot.Time)
		if err != nil || len(rest) != 0 {
			return cover{}, errItems()
		}
		seen = true
		for _, e := range snapshot {
			if mutant.On(mutant.OverrideCoversConcurrent) {
				e.Time = max(e.Time, cur.dot.Time)
			}
			join = raise(join, e)
		}
	}
	return cover{seen, join}, cur.err()
}

// raise lifts one entry of a vector that is still being built, in place.
func raise(v clock.Vector, e clock.Entry) clock.Vector {
	i := 0
	for i < len(v) && v[i].Region < e.Region {
		i++
	}
	if i < len(v) && v[i].Region == e.Region {
		v[i].Time = max(v[i].Time, e.Time)
		return v
	}
	v = append(v, clock.Entry{})
	copy(v[i+1:], v[i:])
	v[i] = e
	return v
}

// Touches reports whether a leaf holds something that a reset with this snapshot covers and that
// is not covered yet. Only such a leaf needs the reset written to it.
//
// "Covered yet" counts only overrides that the reset has seen. Another one, concurrent with it, may
// be missing from a snapshot that includes the reset.
func Touches(leaf kv.Type, items []byte, snapshot clock.Vector) (bool, error) {
	r, err := rulesOf(leaf)
	if err != nil {
		return false, err
	}
	var space [coverRegions]clock.Entry
	c, err := coverAt(space[:0], r, items, snapshot)
	if err != nil {
		return false, err
	}
	for cur := (cursor{src: items}); cur.next(); {
		seen := cur.dot.IsZero() || snapshot.Sees(cur.dot)
		if seen && r.class(cur.op) != vanish && !c.covers(cur.dot) {
			return true, nil
		}
	}
	return false, nil
}
