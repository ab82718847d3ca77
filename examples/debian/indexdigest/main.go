package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

func main() {
	bucket := flag.String("bucket", "debian", "bucket that the index was imported into")
	limit := flag.Int("limit", 0, "packages to read at most; 0: all")
	flag.Parse()
	index, err := load(flag.Arg(0))
	if err != nil {
		fail(err)
	}
	sum, objects, err := digest(index, *bucket, *limit)
	if err != nil {
		fail(err)
	}
	fmt.Printf("%s %d\n", sum, objects)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "indexdigest:", err)
	os.Exit(1)
}

// load reads the whole index from a file, from standard input (-), or from apt or dpkg ("").
func load(name string) ([]byte, error) {
	switch name {
	case "-":
		return io.ReadAll(os.Stdin)
	case "":
		if b, err := exec.Command("apt-cache", "dumpavail").Output(); err == nil && len(bytes.TrimSpace(b)) > 0 {
			return b, nil
		}
		name = "/var/lib/dpkg/status"
	}
	return os.ReadFile(name)
}

// object is what the digest runs over: a key, a type's number and name, and the encoded value.
type object struct {
	key    string
	number byte
	kind   string
	value  []byte
}

// digest is the SHA-256 over all objects in the order of key and type, cut to 16 bytes.
func digest(index []byte, bucket string, limit int) (sum string, objects int, err error) {
	all, err := objectsOf(index, limit)
	if err != nil {
		return "", 0, err
	}
	sort.Slice(all, func(i, j int) bool {
		if all[i].key != all[j].key {
			return all[i].key < all[j].key
		}
		return all[i].number < all[j].number
	})
	h := sha256.New()
	for _, o := range all {
		h.Write(str(bucket))
		h.Write(str(o.key))
		h.Write(str(o.kind))
		h.Write(o.value)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), len(all), nil
}

var blankLines = regexp.MustCompile(`\n([ \t\r]*\n)+`)

// objectsOf reads the packages and sums up their sections.
func objectsOf(index []byte, limit int) ([]object, error) {
	var all []object
	seen := map[string]bool{}
	totals := map[string]uint64{}
	for _, paragraph := range blankLines.Split("\n"+string(index)+"\n\n", -1) {
		if strings.TrimSpace(paragraph) == "" {
			continue
		}
		if limit > 0 && len(seen) == limit {
			break
		}
		p, err := parse(paragraph)
		if err != nil {
			return nil, err
		}
		key := p["Package"] + "_" + p["Version"] + "_" + p["Architecture"]
		if seen[key] {
			continue
		}
		seen[key] = true
		all = append(all, object{key, 9, "map", mapValue(p)})
		addUp(totals, p)
	}
	for key, n := range totals {
		all = append(all, object{key, 1, "counter", binary.BigEndian.AppendUint64(nil, n)})
	}
	return all, nil
}

func addUp(totals map[string]uint64, p map[string]string) {
	section := p["Section"]
	if section == "" {
		section = "unknown"
	}
	totals["packages/"+section]++
	if n, err := strconv.ParseUint(p["Installed-Size"], 10, 32); err == nil && n > 0 {
		totals["installed-size/"+section] += n
	}
}

var fieldStart = regexp.MustCompile(`(?m)^([^ \t\n:][^\n:]*):`)

// parse cuts a paragraph where its fields begin.
func parse(paragraph string) (map[string]string, error) {
	paragraph = strings.ReplaceAll(strings.Trim(paragraph, "\n"), "\r\n", "\n")
	paragraph = strings.TrimSuffix(paragraph, "\r")
	p := map[string]string{}
	starts := fieldStart.FindAllStringSubmatchIndex(paragraph, -1)
	for i, at := range starts {
		end := len(paragraph)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		name := paragraph[at[2]:at[3]]
		if _, twice := p[name]; twice {
			return nil, fmt.Errorf("field %s twice in one paragraph", name)
		}
		value, err := fieldValue(strings.TrimSuffix(paragraph[at[1]:end], "\n"))
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", name, err)
		}
		p[name] = value
	}
	if p["Package"] == "" || starts[0][0] != 0 {
		return nil, fmt.Errorf("not a package: %.60q", paragraph)
	}
	return p, nil
}

// fieldValue is the first line without its surrounding white space, and the others without their
// first blank.
func fieldValue(text string) (string, error) {
	lines := strings.Split(text, "\n")
	lines[0] = strings.TrimSpace(lines[0])
	for i, line := range lines[1:] {
		if line[0] != ' ' && line[0] != '\t' {
			return "", fmt.Errorf("%.40q neither begins a field nor continues one", line)
		}
		lines[i+1] = line[1:]
	}
	return strings.Join(lines, "\n"), nil
}

// relation is true of the fields that become sets.
var relation = map[string]bool{
	"Depends": true, "Pre-Depends": true, "Recommends": true, "Suggests": true, "Enhances": true, "Breaks": true,
	"Conflicts": true, "Replaces": true, "Provides": true, "Built-Using": true, "Static-Built-Using": true,
}

// mapValue encodes a package: its fields in byte order, registers and sets.
func mapValue(p map[string]string) []byte {
	names := make([]string, 0, len(p))
	for name := range p {
		names = append(names, name)
	}
	sort.Strings(names)
	var b []byte
	for _, name := range names {
		if !relation[name] {
			b = append(b, 1)
			b = append(append(append(b, str(name)...), str("register-lww")...), str(p[name])...)
		} else if set := setValue(p[name]); len(set) > 1 {
			b = append(b, 1)
			b = append(append(append(b, str(name)...), str("set-aw")...), set...)
		}
	}
	return append(b, 0)
}

// setValue encodes a relation's alternatives; of an empty set only the end mark remains.
func setValue(list string) []byte {
	distinct := map[string]bool{}
	for _, item := range strings.Split(list, ",") {
		distinct[strings.Join(strings.Fields(item), " ")] = true
	}
	delete(distinct, "")
	items := make([]string, 0, len(distinct))
	for item := range distinct {
		items = append(items, item)
	}
	sort.Strings(items)
	var b []byte
	for _, item := range items {
		b = append(append(b, 1), str(item)...)
	}
	return append(b, 0)
}

// str encodes a string: its length as a varint, then its bytes.
func str(s string) []byte {
	return append(binary.AppendUvarint(nil, uint64(len(s))), s...)
}
