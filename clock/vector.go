package clock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/internal/mutant"
)

// Entry is one region's timestamp in a Vector.
type Entry struct {
	Region Region
	Time   Timestamp
}

// Vector is a cut through history: region to timestamp. A region without an entry stands at 0.
// Vectors are immutable once built (invariant 3).
type Vector []Entry

// MaxVectorEntries bounds a decoded vector.
const MaxVectorEntries = 1024

// ErrVector is returned for bytes that are no vector.
var ErrVector = errors.New("clock: malformed vector")

// VectorOf builds a vector from entries in any order; of several for one region the highest counts.
func VectorOf(entries ...Entry) Vector {
	var v Vector
	for _, e := range entries {
		if e.Time > v.At(e.Region) {
			v = v.With(e.Region, e.Time)
		}
	}
	return v
}

// At is the timestamp of a region, 0 where there is none.
func (v Vector) At(r Region) Timestamp {
	for i := range v {
		if v[i].Region >= r {
			if v[i].Region == r {
				return v[i].Time
			}
			return 0
		}
	}
	return 0
}

// Sees reports whether the effect with this dot is visible at v.
func (v Vector) Sees(d Dot) bool {
	if mutant.Built && v.At(d.Region) == d.Time && mutant.On(mutant.SeesOffByOne) {
		return false
	}
	return v.At(d.Region) >= d.Time
}

// With returns a copy in which region r stands at t.
func (v Vector) With(r Region, t Timestamp) Vector {
	i, found := slices.BinarySearchFunc(v, r, func(e Entry, r Region) int { return int(e.Region) - int(r) })
	out := make(Vector, 0, len(v)+1)
	out = append(out, v[:i]...)
	if t != 0 {
		out = append(out, Entry{r, t})
	}
	if found {
		i++
	}
	return append(out, v[i:]...)
}

// Includes reports whether every entry of w is at or below v's.
func (v Vector) Includes(w Vector) bool {
	i := 0
	for _, e := range w {
		for i < len(v) && v[i].Region < e.Region {
			i++
		}
		if i == len(v) || v[i].Region != e.Region || v[i].Time < e.Time {
			return false
		}
	}
	return true
}

// Equal reports whether both are the same cut.
func (v Vector) Equal(w Vector) bool { return slices.Equal(v, w) }

// Join is the least vector that includes both.
func (v Vector) Join(w Vector) Vector {
	switch {
	case v.Includes(w):
		return v
	case w.Includes(v):
		return w
	}
	return merge(v, w, func(a, b Timestamp) Timestamp { return max(a, b) })
}

// Meet is the greatest vector that both include.
func (v Vector) Meet(w Vector) Vector {
	switch {
	case v.Includes(w):
		return w
	case w.Includes(v):
		return v
	}
	return merge(v, w, func(a, b Timestamp) Timestamp { return min(a, b) })
}

// merge combines entry by entry, an absent entry being 0, and drops zeroes.
func merge(v, w Vector, pick func(a, b Timestamp) Timestamp) Vector {
	out := make(Vector, 0, len(v)+len(w))
	add := func(r Region, a, b Timestamp) {
		if t := pick(a, b); t != 0 {
			out = append(out, Entry{r, t})
		}
	}
	for len(v) > 0 || len(w) > 0 {
		switch {
		case len(w) == 0 || len(v) > 0 && v[0].Region < w[0].Region:
			add(v[0].Region, v[0].Time, 0)
			v = v[1:]
		case len(v) == 0 || w[0].Region < v[0].Region:
			add(w[0].Region, 0, w[0].Time)
			w = w[1:]
		default:
			add(v[0].Region, v[0].Time, w[0].Time)
			v, w = v[1:], w[1:]
		}
	}
	return out
}

// Max is the highest timestamp in v.
func (v Vector) Max() Timestamp {
	var t Timestamp
	for _, e := range v {
		t = max(t, e.Time)
	}
	return t
}

func (v Vector) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range v {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%d:%s", e.Region, e.Time)
	}
	b.WriteByte('}')
	return b.String()
}

// Append encodes v behind dst, each timestamp as its distance from ref, so that vectors close to
// ref are short: uvarint count, then per entry uvarint region (its distance from the one before)
// and zigzag varint (ref - time). Wrap-around makes any ref correct.
func (v Vector) Append(dst []byte, ref Timestamp) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	var before Region
	for _, e := range v {
		dst = binary.AppendUvarint(dst, uint64(e.Region-before))
		dst = binary.AppendVarint(dst, int64(ref-e.Time))
		before = e.Region
	}
	return dst
}

// DecodeVector reads what Append wrote with the same ref and returns the bytes behind it.
func DecodeVector(src []byte, ref Timestamp) (Vector, []byte, error) {
	return DecodeVectorInto(nil, src, ref)
}

// DecodeVectorInto is DecodeVector into a buffer of the caller's, whose content it replaces and
// which it grows as needed.
func DecodeVectorInto(buffer []Entry, src []byte, ref Timestamp) (Vector, []byte, error) {
	n, k := binary.Uvarint(src)
	if k <= 0 || n > MaxVectorEntries || n > uint64(len(src)) {
		return nil, nil, ErrVector
	}
	src = src[k:]
	region := uint64(0)
	out := slices.Grow(buffer[:0], int(n))
	for i := range n {
		step, k := binary.Uvarint(src)
		if k <= 0 {
			return nil, nil, ErrVector
		}
		src = src[k:]
		distance, k := binary.Varint(src)
		if k <= 0 {
			return nil, nil, ErrVector
		}
		src = src[k:]
		time := ref - Timestamp(distance)
		region += step
		if step > 0xffff || region > 0xffff || (i > 0 && step == 0) || time == 0 {
			return nil, nil, ErrVector
		}
		out = append(out, Entry{Region(region), time})
	}
	return out, src, nil
}
