package crdt

import (
	"encoding/binary"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Bits of an item's tag; see the package comment for the layout.
const (
	tagDot      = 1 << 0
	tagIndex    = 1 << 1
	tagSnapshot = 1 << 2
	tagKnown    = tagDot | tagIndex | tagSnapshot
)

// AppendItem encodes one effect on a leaf behind dst. snapshot is that of the effect's transaction
// when the effect is an override (Target.Override), and nil for all others: an add with a snapshot
// is refused as corrupt when it is read. An override of an empty snapshot covers nothing.
func AppendItem(dst []byte, dot clock.Dot, snapshot clock.Vector, op []byte) []byte {
	if len(snapshot) == 0 {
		return appendEntry(dst, dot, nil, op)
	}
	var space [128]byte
	return appendEntry(dst, dot, snapshot.Append(space[:0], dot.Time), op)
}

// appendEntry encodes an item whose snapshot is encoded already; empty: none.
func appendEntry(dst []byte, dot clock.Dot, snapshot, op []byte) []byte {
	var tag byte
	if !dot.IsZero() {
		tag |= tagDot
	}
	if dot.Index != 0 {
		tag |= tagIndex
	}
	if len(snapshot) != 0 {
		tag |= tagSnapshot
	}
	dst = append(dst, tag)
	if tag&tagDot != 0 {
		dst = binary.AppendUvarint(dst, uint64(dot.Region))
		dst = binary.BigEndian.AppendUint64(dst, uint64(dot.Time))
	}
	if tag&tagIndex != 0 {
		dst = binary.AppendUvarint(dst, uint64(dot.Index))
	}
	dst = append(dst, snapshot...)
	dst = binary.AppendUvarint(dst, uint64(len(op)))
	return append(dst, op...)
}

// cursor walks a leaf's items without allocating. The slices alias the source.
type cursor struct {
	src      []byte    // what is still to be read
	dot      clock.Dot // zero: forgotten
	snapshot []byte    // encoded; nil unless the item is an override that is not spent
	op       []byte    // never empty
	bad      bool
}

// next moves to the next item; false at the end or at the first malformed byte.
func (c *cursor) next() bool {
	if len(c.src) == 0 {
		return false
	}
	if c.nextPlain() {
		return true
	}
	tag := c.src[0]
	c.src = c.src[1:]
	c.dot, c.snapshot = clock.Dot{}, nil
	if tag&^tagKnown != 0 || tag&tagDot == 0 && tag != 0 {
		return c.fail()
	}
	if tag&tagDot != 0 && !c.readDot(tag) || tag&tagSnapshot != 0 && !c.readSnapshot() {
		return c.fail()
	}
	n, ok := c.uvarint()
	if !ok || n == 0 || n > uint64(len(c.src)) {
		return c.fail()
	}
	c.op, c.src = c.src[:n:n], c.src[n:]
	return true
}

// nextPlain is next for the most common item, which it reads in half the time: an add with index 0
// and less than 128 bytes, of a region below 128. It leaves all others, malformed ones included.
func (c *cursor) nextPlain() bool {
	const head = 11 // tag, region, time, length
	src := c.src
	if len(src) <= head || src[0] != tagDot || src[1] >= 0x80 || src[head-1]-1 >= 0x7f {
		return false
	}
	time, end := binary.BigEndian.Uint64(src[2:]), head+int(src[head-1])
	if time == 0 || end > len(src) {
		return false
	}
	c.dot = clock.Dot{Region: clock.Region(src[1]), Time: clock.Timestamp(time)}
	c.snapshot, c.op, c.src = nil, src[head:end:end], src[end:]
	return true
}

func (c *cursor) fail() bool {
	c.src, c.bad = nil, true
	return false
}

// err is the error of a walk that has ended.
func (c *cursor) err() error {
	if c.bad {
		return errItems()
	}
	return nil
}

func errItems() error { return kv.Errorf(kv.KindCorrupt, "malformed bytes in a leaf") }

func (c *cursor) readDot(tag byte) bool {
	region, ok := c.uvarint()
	if !ok || region > 0xffff || len(c.src) < 8 {
		return false
	}
	c.dot.Region = clock.Region(region)
	c.dot.Time = clock.Timestamp(binary.BigEndian.Uint64(c.src))
	c.src = c.src[8:]
	if tag&tagIndex != 0 {
		index, ok := c.uvarint()
		if !ok || index == 0 || index > 1<<32-1 {
			return false
		}
		c.dot.Index = uint32(index)
	}
	return c.dot.Time != 0
}

// readSnapshot finds the vector's end by counting varints: a count, then two for each entry. Whoever
// uses the vector decodes it, and so finds out whether it is one.
func (c *cursor) readSnapshot() bool {
	start := c.src
	n, ok := c.uvarint()
	if !ok || n > clock.MaxVectorEntries {
		return false
	}
	i, left := 0, 2*int(n)
	for ; left > 0 && i < len(c.src); i++ {
		if c.src[i] < 0x80 {
			left--
		}
	}
	c.src = c.src[i:]
	c.snapshot = start[:len(start)-len(c.src)]
	return left == 0
}

func (c *cursor) uvarint() (uint64, bool) {
	if len(c.src) > 0 && c.src[0] < 0x80 {
		v := uint64(c.src[0])
		c.src = c.src[1:]
		return v, true
	}
	v, n := binary.Uvarint(c.src)
	if n <= 0 {
		return 0, false
	}
	c.src = c.src[n:]
	return v, true
}

// visible reports whether an item with this dot is readable at a snapshot: what has been forgotten
// always is, and so are the writes of the transaction that reads.
func visible(at clock.Vector, dot clock.Dot) bool {
	return dot.IsZero() || dot.Time == clock.MaxTimestamp || at.Sees(dot)
}

// CountItems counts a leaf's items.
func CountItems(items []byte) (int, error) {
	n := 0
	c := cursor{src: items}
	for c.next() {
		n++
	}
	return n, c.err()
}

// Filter appends to dst the items that are readable at a snapshot. A region that joins at that cut
// gets these, and all later effects from the log.
func Filter(dst, items []byte, at clock.Vector) ([]byte, error) {
	c := cursor{src: items}
	for before := items; c.next(); before = c.src {
		if visible(at, c.dot) {
			dst = append(dst, before[:len(before)-len(c.src)]...)
		}
	}
	return dst, c.err()
}
