package load

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
)

// Kind is one of the operations of a workload.
type Kind int

// The operations. A read reads a counter, a register, or whether a set holds an element, in turn.
const (
	CounterAdd Kind = iota
	RegisterSet
	SetAdd
	Read
	kinds
)

var kindNames = [kinds]string{"add", "set", "set-add", "read"}

func (k Kind) String() string {
	if k >= 0 && k < kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", int(k))
}

// Mix is how often each operation is run, relative to the others.
type Mix [kinds]int

// ParseMix reads weights such as "add=1,read=9". The names are add (to a counter), set (a register),
// set-add (an element to a set) and read.
func ParseMix(s string) (Mix, error) {
	var m Mix
	for part := range strings.SplitSeq(s, ",") {
		name, weight, ok := strings.Cut(part, "=")
		k, known := parseKind(strings.TrimSpace(name))
		n, err := strconv.Atoi(strings.TrimSpace(weight))
		if !ok || !known || err != nil || n < 0 {
			return Mix{}, kv.Errorf(kv.KindInvalid, "mix %q: want NAME=WEIGHT,... with the names %s and weights of 0 and more",
				s, strings.Join(kindNames[:], ", "))
		}
		m[k] = n
	}
	return m, nil
}

func parseKind(name string) (Kind, bool) {
	for k, n := range kindNames {
		if n == name {
			return Kind(k), true
		}
	}
	return 0, false
}

func (m Mix) String() string {
	var parts []string
	for k, n := range m {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s=%d", Kind(k), n))
		}
	}
	return strings.Join(parts, ",")
}

// total is the sum of the weights.
func (m Mix) total() int {
	sum := 0
	for _, n := range m {
		sum += n
	}
	return sum
}

// pick turns a number below total into an operation.
func (m Mix) pick(n int) Kind {
	for k, weight := range m {
		if n < weight {
			return Kind(k)
		}
		n -= weight
	}
	panic("load: pick beyond the weights")
}

// Limits of a workload.
const (
	MaxConcurrency = 10_000
	MaxKeys        = 100_000_000
	MaxRate        = 10_000_000 // operations a second
	MaxWeight      = 1_000_000
	MinKeySize     = 9       // digits of the largest key number, so that keys differ
	MaxValues      = 1 << 30 // bytes of values that the callers hold together: Concurrency times ValueSize
)

// Config says what to run. Start from Defaults.
type Config struct {
	Mix         Mix                // weights; Default add=1,read=1
	Concurrency int                // callers at a time, 1 to MaxConcurrency. Default 64
	Duration    time.Duration      // of the measured part. Default 10 s
	Warmup      time.Duration      // before it, not measured. Default 1 s
	Rate        float64            // operations a second, open loop, up to MaxRate; 0: closed loop. Default 0
	Keys        int                // keys of each type, 1 to MaxKeys, drawn uniformly. Default 10,000
	KeySize     int                // bytes in a key, MinKeySize to kv.MaxKey. Default 20
	ValueSize   int                // bytes in a register's value, and at least in an element; up to kv.MaxElement. Default 100
	Elements    int                // different elements of a set, 1 to MaxKeys. Default 1,000
	Bucket      string             // Default "bench"
	Durability  client.Reach       // of writes. Default the buckets': local, on disk before the answer
	Consistency client.Consistency // of reads. Default the buckets': causal
	Timeout     time.Duration      // of one operation. Default 10 s
	Seed        uint64             // of the choice of operations and keys. Default 1
}

// Defaults is the workload that theriac bench runs when it is told nothing.
func Defaults() Config {
	return Config{
		Mix: Mix{CounterAdd: 1, Read: 1}, Concurrency: 64, Duration: 10 * time.Second, Warmup: time.Second,
		Keys: 10_000, KeySize: 20, ValueSize: 100, Elements: 1000, Bucket: "bench", Timeout: 10 * time.Second, Seed: 1,
	}
}

// Validate reports the first setting that makes no sense.
func (c *Config) Validate() error {
	if t := c.Mix.total(); t < 1 || t > MaxWeight {
		return kv.Errorf(kv.KindInvalid, "mix %q: want weights that sum to 1 up to %d", c.Mix, MaxWeight)
	}
	for _, n := range []struct {
		name          string
		v, least, max int
	}{
		{"concurrency", c.Concurrency, 1, MaxConcurrency},
		{"keys", c.Keys, 1, MaxKeys},
		{"key size", c.KeySize, MinKeySize, kv.MaxKey},
		{"value size", c.ValueSize, 0, kv.MaxElement},
		{"elements", c.Elements, 1, MaxKeys},
	} {
		if n.v < n.least || n.v > n.max {
			return kv.Errorf(kv.KindInvalid, "%s %d: want %d to %d", n.name, n.v, n.least, n.max)
		}
	}
	switch {
	case int64(c.Concurrency)*int64(c.ValueSize) > MaxValues:
		return kv.Errorf(kv.KindTooLarge, "concurrency %d with values of %d bytes: at most %d bytes together, which the callers hold in memory",
			c.Concurrency, c.ValueSize, MaxValues)
	case c.Duration <= 0 || c.Warmup < 0 || c.Timeout <= 0:
		return kv.Errorf(kv.KindInvalid, "duration %s, warm-up %s, timeout %s: want positive ones", c.Duration, c.Warmup, c.Timeout)
	case math.IsNaN(c.Rate) || c.Rate < 0 || c.Rate > MaxRate:
		return kv.Errorf(kv.KindInvalid, "rate %v: want 0, for as fast as it goes, to %d operations a second", c.Rate, MaxRate)
	}
	return nil
}
