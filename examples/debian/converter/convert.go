package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// relations are the fields that list packages, separated by commas.
var relations = []string{"Depends", "Pre-Depends", "Recommends", "Suggests", "Enhances", "Breaks", "Conflicts",
	"Replaces", "Provides", "Built-Using", "Static-Built-Using"}

// part is one part of an index that is split: the packages whose number leaves this remainder.
type part struct{ number, of int }

// parsePart reads N/M, 1 <= N <= M.
func parsePart(s string) (part, error) {
	var p part
	n, m, found := strings.Cut(s, "/")
	var errN, errM error
	p.number, errN = strconv.Atoi(n)
	p.of, errM = strconv.Atoi(m)
	if !found || errN != nil || errM != nil || p.number < 1 || p.number > p.of {
		return part{}, fmt.Errorf("--part %q: want N/M with 1 <= N <= M, such as 1/2", s)
	}
	return p, nil
}

func (p part) holds(i int) bool { return i%p.of == p.number-1 }

// line is one line of the output: an object with its value.
type line struct {
	Bucket string `json:"bucket"`
	Key    any    `json:"key"`
	Type   string `json:"type"`
	Value  any    `json:"value"`
}

// converter holds what outlives an entry. seen holds the keys of all packages so far.
type converter struct {
	bucket   string
	part     part
	limit    int // packages at most; 0: all
	out      *json.Encoder
	seen     map[string]bool
	repeated int
	counters map[string]int64
}

func newConverter(bucket string, p part, limit int, out io.Writer) *converter {
	c := &converter{bucket: bucket, part: p, limit: limit, out: json.NewEncoder(out),
		seen: map[string]bool{}, counters: map[string]int64{}}
	c.out.SetEscapeHTML(false)
	return c
}

// convert writes the packages of an index as they come, then the counters.
func (c *converter) convert(index io.Reader) error {
	entries := newReader(index)
	for c.limit == 0 || len(c.seen) < c.limit {
		entry, err := entries.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := c.add(entry); err != nil {
			return fmt.Errorf("entry that ends at line %d: %w", entries.line, err)
		}
	}
	if len(c.seen) == 0 {
		return errors.New("the index holds no package")
	}
	return c.writeCounters()
}

// add writes one package, unless its key came before or it belongs to another part.
func (c *converter) add(entry []field) error {
	if value(entry, "Package") == "" {
		return errors.New("no field Package")
	}
	key := value(entry, "Package") + "_" + value(entry, "Version") + "_" + value(entry, "Architecture")
	if c.seen[key] {
		c.repeated++
		return nil
	}
	number := len(c.seen)
	c.seen[key] = true
	if !c.part.holds(number) {
		return nil
	}
	c.count(entry)
	return c.out.Encode(line{c.bucket, text(key), "map", fields(entry)})
}

func (c *converter) count(entry []field) {
	section := value(entry, "Section")
	if section == "" {
		section = "unknown"
	}
	c.counters["packages/"+section]++
	if size, err := strconv.ParseUint(value(entry, "Installed-Size"), 10, 32); err == nil {
		c.counters["installed-size/"+section] += int64(size)
	}
}

func (c *converter) writeCounters() error {
	for _, key := range slices.Sorted(maps.Keys(c.counters)) {
		if c.counters[key] == 0 {
			continue
		}
		if err := c.out.Encode(line{c.bucket, text(key), "counter", c.counters[key]}); err != nil {
			return err
		}
	}
	return nil
}

// fields gives the value of a package's map.
func fields(entry []field) map[string]any {
	out := map[string]any{}
	for _, f := range entry {
		if !slices.Contains(relations, f.name) {
			out[escape(f.name)+":register-lww"] = text(f.value)
		} else if set := alternatives(f.value); len(set) > 0 {
			out[escape(f.name)+":set-aw"] = set
		}
	}
	return out
}

// alternatives splits a relation at its commas: each once, in byte order, empty ones left out.
func alternatives(list string) []any {
	var all []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.Join(strings.Fields(item), " "); item != "" {
			all = append(all, item)
		}
	}
	slices.Sort(all)
	var out []any
	for _, item := range slices.Compact(all) {
		out = append(out, text(item))
	}
	return out
}

// text is how a string of any bytes is written: as itself, or in base64 where it is not UTF-8.
func text(s string) any {
	if utf8.ValidString(s) {
		return s
	}
	return map[string][]byte{"b64": []byte(s)}
}

// escape writes a field's name: what is special in a path, or not UTF-8, as %XX.
func escape(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(name[i:])
		if strings.ContainsRune("/:%", r) || r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&b, "%%%02X", name[i])
		} else {
			b.WriteString(name[i : i+size])
		}
		i += size
	}
	return b.String()
}
