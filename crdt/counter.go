package crdt

import (
	"encoding/binary"
	"math/big"
	"math/bits"
	"strconv"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Counter is a number that regions add to and subtract from.
//
// Operations: increment by any int64, reset.
//
// Concurrency: all increments count; a reset takes back those that it has seen. A counter is
// present while an increment is uncovered, also when they sum up to 0.
//
// Encoding of operations:
//
//	1 | varint n                       increment
//	2 | high 8, low 8, big endian      a forgotten sum, two's complement; written by Rewrite only
//
// Range: -CounterLimit to CounterLimit. An increment of more than CounterUnchecked either way is
// checked against the value where it commits (Check); smaller ones are not, so that they stay blind
// writes. What is restored (CheckRestored) may be anything in 64 bits. Folds add up in 128 bits: a sum outside of int64 is an error to the reader, never a wrap.
//
// Source: Shapiro et al., A comprehensive study of Convergent and Commutative Replicated Data Types
// (INRIA RR-7506, 2011), specification 5; in the form of Baquero et al., arXiv 1710.04469. We differ
// in summing up below settled.
const Counter kv.Type = 1

const (
	// CounterLimit bounds a counter's value either way.
	CounterLimit = 1 << 62
	// CounterUnchecked is the largest increment, either way, that is not checked against the value.
	CounterUnchecked = 1 << 32
)

const (
	opIncrement = 1
	opSum       = 2
)

func init() {
	register(Counter, definition{name: "counter", rules: &leafRules{
		encode:      encodeIncrement,
		classify:    classifyCounter,
		fold:        foldCounter,
		settle:      settleCounter,
		accumulates: true,
		combine:     combineIncrements,
		needsCheck:  incrementNeedsCheck,
		check:       checkIncrement,
	}})
}

func encodeIncrement(op *kv.Op) ([]byte, error) {
	if op.Verb != kv.VerbIncrement {
		return nil, unknownVerb(op, "increment and reset")
	}
	if len(op.Data) != 0 {
		return nil, kv.Errorf(kv.KindInvalid, "increment of %s carries %d bytes of data: give the amount as an integer only",
			describe(op), len(op.Data))
	}
	return appendIncrement(nil, op.Int), nil
}

func appendIncrement(dst []byte, n int64) []byte {
	return binary.AppendVarint(append(dst, opIncrement), n)
}

func classifyCounter(op []byte) class {
	if _, ok := amount(op); !ok {
		return malformed
	}
	return add
}

// sum is a number of 128 bits, two's complement.
type sum struct {
	high int64
	low  uint64
}

func sumOf(n int64) sum { return sum{n >> 63, uint64(n)} }

func (s sum) plus(t sum) sum {
	low, carry := bits.Add64(s.low, t.low, 0)
	return sum{s.high + t.high + int64(carry), low}
}

func (s sum) less(t sum) bool { return s.high < t.high || s.high == t.high && s.low < t.low }

// abs is without its sign; no sum of increments comes near the one number that has none.
func (s sum) abs() sum {
	if s.high >= 0 {
		return s
	}
	low, borrow := bits.Sub64(0, s.low, 0)
	return sum{-s.high - int64(borrow), low}
}

func (s sum) String() string {
	if n, ok := s.int64(); ok {
		return strconv.FormatInt(n, 10)
	}
	b := big.NewInt(s.high)
	return b.Lsh(b, 64).Add(b, new(big.Int).SetUint64(s.low)).String()
}

// int64 gives the sum if it fits.
func (s sum) int64() (int64, bool) { return int64(s.low), s.high == int64(s.low)>>63 }

// amount decodes what an operation adds.
func amount(op []byte) (sum, bool) {
	switch {
	case len(op) == 2 && op[0] == opIncrement && op[1] < 0x80:
		return sumOf(int64(op[1]>>1) ^ -int64(op[1]&1)), true
	case len(op) > 1 && op[0] == opIncrement:
		n, k := binary.Varint(op[1:])
		return sumOf(n), k == len(op)-1
	case len(op) == 17 && op[0] == opSum:
		return sum{int64(binary.BigEndian.Uint64(op[1:])), binary.BigEndian.Uint64(op[9:])}, true
	}
	return sum{}, false
}

func foldCounter(items []byte, at clock.Vector) (kv.Value, error) {
	total, found, err := sumCounter(items, at)
	if err != nil {
		return kv.Value{}, err
	}
	return counterValue(total, found)
}

// CounterSum is a counter's value at a snapshot, also where Fold says that it is beyond 64 bits: 16 bytes,
// big endian, two's complement.
func CounterSum(items []byte, at clock.Vector) (out [16]byte, err error) {
	total, _, err := sumCounter(items, at)
	binary.BigEndian.PutUint64(out[:8], uint64(total.high))
	binary.BigEndian.PutUint64(out[8:], total.low)
	return out, err
}

// sumCounter adds up in one pass as long as there is no reset and each region's dots ascend, which
// is how they are stored unless something was applied twice.
func sumCounter(items []byte, at clock.Vector) (total sum, found bool, err error) {
	var order ascending
	cur := cursor{src: items}
	for cur.next() {
		n, ok := amount(cur.op)
		if !ok || cur.snapshot != nil || !order.next(cur.dot) {
			return sumCounterSlowly(items, at)
		}
		if visible(at, cur.dot) {
			total, found = total.plus(n), true
		}
	}
	return total, found, cur.err()
}

// ascending notices dots that do not ascend within their region. It has no room for many regions,
// and then says no.
type ascending struct {
	n    int
	last [coverRegions]clock.Dot
}

func (a *ascending) next(d clock.Dot) bool {
	if d.IsZero() {
		return true
	}
	for i := range a.n {
		if l := &a.last[i]; l.Region == d.Region {
			if d.Time < l.Time || d.Time == l.Time && d.Index <= l.Index {
				return false
			}
			*l = d
			return true
		}
	}
	if a.n == len(a.last) {
		return false
	}
	a.last[a.n] = d
	a.n++
	return true
}

// sumCounterSlowly handles resets, and dots in any order, some of them equal.
func sumCounterSlowly(items []byte, at clock.Vector) (total sum, found bool, err error) {
	var space [coverRegions]clock.Entry
	c, err := coverAt(space[:0], definitions[Counter].rules, items, at)
	if err != nil {
		return sum{}, false, err
	}
	var order ascending
	for cur := (cursor{src: items}); cur.next(); {
		if !order.next(cur.dot) {
			total, found = sumCounterSorted(items, at, c)
			return total, found, nil
		}
		if n, ok := amount(cur.op); ok && visible(at, cur.dot) && !c.covers(cur.dot) {
			total, found = total.plus(n), true
		}
	}
	return total, found, nil
}

// sumCounterSorted brings equal dots together first.
func sumCounterSorted(items []byte, at clock.Vector, c cover) (total sum, found bool) {
	for _, e := range sorted(items) {
		if n, ok := amount(e.op); ok && visible(at, e.dot) && !c.covers(e.dot) {
			total, found = total.plus(n), true
		}
	}
	return total, found
}

func counterValue(total sum, found bool) (kv.Value, error) {
	n, ok := total.int64()
	if !ok {
		return kv.Value{}, kv.Errorf(kv.KindBound,
			"the counter's value is beyond 64 bits: concurrent increments went past its limit; correct it by increments the other way, or reset it")
	}
	return kv.Value{Type: Counter, Present: found, Int: n}, nil
}

// settleCounter sums up what is settled into one forgotten item. Increments that are not settled
// stay apart: a later reset may have seen any part of them.
func settleCounter(below []entry) []entry {
	total, found := sum{}, false
	kept := make([]entry, 1, len(below)+1)
	for _, e := range below {
		if !e.settled {
			kept = append(kept, e)
			continue
		}
		n, _ := amount(e.op)
		total, found = total.plus(n), true
	}
	if !found {
		return kept[1:]
	}
	kept[0] = entry{op: encodeSum(total), settled: true}
	return kept
}

func encodeSum(s sum) []byte {
	if n, ok := s.int64(); ok {
		return appendIncrement(nil, n)
	}
	b := binary.BigEndian.AppendUint64([]byte{opSum}, uint64(s.high))
	return binary.BigEndian.AppendUint64(b, s.low)
}

// combineIncrements adds up two increments of one group, unless the sum needs more than 64 bits.
func combineIncrements(a, b []byte) ([]byte, bool) {
	m, okA := amount(a)
	n, okB := amount(b)
	total, fits := m.plus(n).int64()
	if !okA || !okB || !fits {
		return nil, false
	}
	return appendIncrement(nil, total), true
}

func incrementNeedsCheck(op []byte) bool {
	s, _ := amount(op)
	n, fits := s.int64()
	return !fits || n > CounterUnchecked || n < -CounterUnchecked
}

// checkIncrement lets through what ends within the range, and what brings a counter that is out of it
// nearer to 0, however far it is out. Restored values end within 64 bits: small increments, and
// concurrent ones, may have taken the counter that far where they come from.
func checkIncrement(items []byte, at clock.Vector, ops [][]byte, restored bool) error {
	current, _, err := sumCounter(items, at)
	if err != nil {
		return err
	}
	var n sum
	for _, op := range ops {
		by, _ := amount(op)
		n = n.plus(by)
	}
	total := current.plus(n)
	if limit := sumOf(CounterLimit); !limit.less(total.abs()) || total.abs().less(current.abs()) {
		return nil
	}
	if restored {
		if _, fits := total.int64(); fits {
			return nil
		}
		return kv.Errorf(kv.KindBound, "adding %s to the counter's %s takes it beyond 64 bits", n, current)
	}
	return kv.Errorf(kv.KindBound, "an increment by %s takes the counter from %s out of its range of %d to %d: use a smaller one",
		n, current, int64(-CounterLimit), int64(CounterLimit))
}
