package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds a line of the index, in bytes: more is not an index.
const maxLine = 4 << 20

// field is one field of an entry. The value's lines are joined with newlines.
type field struct{ name, value string }

// reader reads an index entry by entry.
type reader struct {
	lines *bufio.Scanner
	line  int // number of the line read last
}

func newReader(r io.Reader) *reader {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	return &reader{lines: lines}
}

// next returns the next entry that has fields, or io.EOF.
func (r *reader) next() ([]field, error) {
	var entry []field
	for r.lines.Scan() {
		r.line++
		text := strings.TrimSuffix(r.lines.Text(), "\r")
		if strings.TrimSpace(text) == "" {
			if len(entry) > 0 {
				return entry, nil
			}
			continue
		}
		var err error
		if entry, err = extend(entry, text); err != nil {
			return nil, fmt.Errorf("line %d: %w", r.line, err)
		}
	}
	if err := r.lines.Err(); err != nil {
		return nil, fmt.Errorf("after line %d: %w", r.line, err)
	}
	if len(entry) == 0 {
		return nil, io.EOF
	}
	return entry, nil
}

// extend adds one line to an entry: a new field, or more of the last one.
func extend(entry []field, line string) ([]field, error) {
	if line[0] == ' ' || line[0] == '\t' {
		if len(entry) == 0 {
			return nil, errors.New("an entry begins with a continuation line")
		}
		entry[len(entry)-1].value += "\n" + line[1:]
		return entry, nil
	}
	name, value, found := strings.Cut(line, ":")
	if !found || name == "" {
		return nil, fmt.Errorf("no field: %.40q", line)
	}
	for _, f := range entry {
		if f.name == name {
			return nil, fmt.Errorf("field %s twice in one entry", name)
		}
	}
	return append(entry, field{name, strings.TrimSpace(value)}), nil
}

// value is the value of a field, "" where the entry lacks it.
func value(entry []field, name string) string {
	for _, f := range entry {
		if f.name == name {
			return f.value
		}
	}
	return ""
}
