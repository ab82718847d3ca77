package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/theriac-db/theriac/kv"
)

// Output is how answers are printed.
type Output string

const (
	OutputTable Output = "table" // words in columns, for people and shell pipelines
	OutputJSON  Output = "json"  // one JSON document a line
)

// String is the output's name.
func (o *Output) String() string { return string(*o) }

// Set reads a name; it makes Output a flag's value.
func (o *Output) Set(s string) error {
	switch Output(s) {
	case OutputTable, OutputJSON:
		*o = Output(s)
		return nil
	}
	return fmt.Errorf("want table or json")
}

// Type is the word for the value in help texts.
func (o *Output) Type() string { return "table|json" }

// level makes kv.Consistency a flag's value.
type level struct{ to *kv.Consistency }

func (l level) String() string {
	if l.to == nil {
		return ""
	}
	return l.to.String()
}

func (l level) Set(s string) (err error) {
	parsed, err := kv.ParseConsistency(s)
	if err != nil {
		return err
	}
	*l.to = parsed
	return nil
}

func (l level) Type() string { return "level" }

// durability makes kv.Reach a flag's value.
type durability struct{ to *kv.Reach }

func (d durability) String() string {
	if d.to == nil {
		return ""
	}
	return d.to.String()
}

func (d durability) Set(s string) error {
	parsed, err := kv.ParseReach(s)
	if err != nil {
		return err
	}
	*d.to = parsed
	return nil
}

func (d durability) Type() string { return "durability" }

// Bytes is a size; as text a whole number with an optional KiB, MiB, GiB or TiB behind it.
type Bytes int64

var units = []struct {
	suffix string
	size   int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// String is the shortest form that Set reads back.
func (b *Bytes) String() string {
	for _, u := range units {
		if *b != 0 && int64(*b)%u.size == 0 {
			return strconv.FormatInt(int64(*b)/u.size, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Set reads a size; it makes Bytes a flag's value.
func (b *Bytes) Set(s string) error {
	number, size := s, int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			number, size = n, u.size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/size {
		return fmt.Errorf("want a number of bytes such as 1048576, 64MiB or 4GiB")
	}
	*b = Bytes(n * size)
	return nil
}

// Type is the word for the value in help texts.
func (b *Bytes) Type() string { return "size" }
