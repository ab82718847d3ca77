package storage

import (
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// mergerName is stored by Pebble; a store with another one is refused.
const mergerName = "theriac.concat.1"

// merger concatenates operands from oldest to newest. It never folds, forgets or deletes, so it
// needs no knowledge of cuts and can't be wrong about them. Pebble v2.1.7's DeletableValueMerger is
// no alternative: it panics in compaction after a Set.
var merger = &pebble.Merger{Name: mergerName, Merge: startMerge}

// concat collects operands and puts them in order once, at Finish: copying at each call would be
// quadratic in the number of operands.
type concat struct {
	buf   []byte
	ends  []int  // end of each operand in buf, in the order of arrival
	older bool   // operands arrived from newest to oldest
	out   []byte // operands in order, when they arrived in the other one
}

// maxPooledMerge bounds the bytes that a recycled concat keeps.
const maxPooledMerge = 64 << 10

var concats = sync.Pool{New: func() any { return new(concat) }}

func startMerge(_, value []byte) (pebble.ValueMerger, error) {
	c := concats.Get().(*concat)
	c.buf, c.ends, c.older = c.buf[:0], c.ends[:0], false
	return c, c.add(value)
}

func (c *concat) add(value []byte) error {
	c.buf = append(c.buf, value...)
	c.ends = append(c.ends, len(c.buf))
	return nil
}

// MergeNewer implements pebble.ValueMerger.
func (c *concat) MergeNewer(value []byte) error { return c.add(value) }

// MergeOlder implements pebble.ValueMerger.
func (c *concat) MergeOlder(value []byte) error {
	c.older = true
	return c.add(value)
}

// Finish implements pebble.ValueMerger. The result is valid until the closer is closed.
func (c *concat) Finish(bool) ([]byte, io.Closer, error) {
	if !c.older {
		return c.buf, c, nil
	}
	c.out = c.out[:0]
	for i := len(c.ends) - 1; i >= 0; i-- {
		start := 0
		if i > 0 {
			start = c.ends[i-1]
		}
		c.out = append(c.out, c.buf[start:c.ends[i]]...)
	}
	return c.out, c, nil
}

// Close gives the buffers back.
func (c *concat) Close() error {
	if cap(c.buf)+cap(c.out) <= maxPooledMerge {
		concats.Put(c)
	}
	return nil
}
