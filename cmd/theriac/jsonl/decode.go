package jsonl

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/theriac-db/theriac/cmd/theriac/pathspec"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// MaxLine bounds a line, in bytes.
const MaxLine = 64 << 20

// Decode reads one line. Objects without a bucket are in the given one. Values come out in the
// order that a database returns them in, whatever the line's order.
func Decode(line []byte, bucket kv.Bucket) (kv.Object, kv.Value, error) {
	if len(line) > MaxLine {
		return kv.Object{}, kv.Value{}, kv.Errorf(kv.KindTooLarge, "%d bytes, want at most %d", len(line), MaxLine)
	}
	if err := checkText(line); err != nil {
		return kv.Object{}, kv.Value{}, err
	}
	members, err := object(line)
	if err != nil {
		return kv.Object{}, kv.Value{}, err
	}
	return fromMembers(members, bucket)
}

func fromMembers(members []member, bucket kv.Bucket) (o kv.Object, v kv.Value, err error) {
	o.Bucket = bucket
	var value json.RawMessage
	seen := map[string]bool{}
	for _, m := range members {
		var text string
		switch m.name {
		case "bucket":
			text, err = decodeBytes(m.value)
			o.Bucket = kv.Bucket(text)
		case "key":
			text, err = decodeBytes(m.value)
			o.Key = kv.Key(text)
		case "type":
			o.Type, err = decodeType(m.value)
		case "value":
			value = m.value
		default:
			err = kv.Errorf(kv.KindInvalid, "unknown member; a line has bucket, key, type and value")
		}
		if err != nil {
			return o, v, within(m.name, err)
		}
		seen[m.name] = true
	}
	for _, name := range []string{"key", "type", "value"} {
		if !seen[name] {
			return o, v, kv.Errorf(kv.KindInvalid, "no %q in the line", name)
		}
	}
	if v, err = decodeValue(value, o.Type, kv.MaxDepth); err != nil {
		return o, v, within("value", err)
	}
	return o, v, nil
}

// within says where in the line an error is.
func within(name string, err error) error {
	return kv.Errorf(kv.KindInvalid, "%s: %w", strconv.Quote(name), err)
}

// checkText refuses what encoding/json would silently replace: bytes that are not UTF-8, and escapes
// of halves of characters.
func checkText(line []byte) error {
	if !utf8.Valid(line) {
		return kv.Errorf(kv.KindInvalid, `not UTF-8 text; write other bytes as {"b64":"..."}`)
	}
	for rest := line; ; {
		i := bytes.IndexByte(rest, '\\')
		if i < 0 || i+1 >= len(rest) {
			return nil
		}
		rest = rest[i:]
		used := 2
		if rest[1] == 'u' {
			if used = surrogates(rest); used == 0 {
				return kv.Errorf(kv.KindInvalid, `half a character in a \u escape; write other bytes as {"b64":"..."}`)
			}
		}
		rest = rest[min(used, len(rest)):]
	}
}

// surrogates is the length of the \u escape, or pair of them, that text starts with; 0 for half a pair.
func surrogates(text []byte) int {
	high := codeUnit(text)
	switch {
	case 0xd800 <= high && high < 0xdc00:
		if low := codeUnit(text[6:]); 0xdc00 <= low && low < 0xe000 {
			return 12
		}
		return 0
	case 0xdc00 <= high && high < 0xe000:
		return 0
	}
	return 2
}

// codeUnit is the number of a \u escape at the start of text, or -1.
func codeUnit(text []byte) int64 {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseInt(string(text[2:6]), 16, 32)
	if err != nil {
		return -1
	}
	return n
}

// member is one name and value of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// object takes a JSON object apart, in its order; a name that comes twice is refused.
func object(raw []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, kv.Errorf(kv.KindInvalid, "want a JSON object%s", because(err))
	}
	var out []member
	seen := map[string]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, malformed(err)
		}
		m := member{name: name.(string)} // the decoder gives nothing else at a name's place
		if seen[m.name] {
			return nil, kv.Errorf(kv.KindInvalid, "%q comes twice", m.name)
		}
		seen[m.name] = true
		if err := d.Decode(&m.value); err != nil {
			return nil, malformed(err)
		}
		out = append(out, m)
	}
	return out, closed(d)
}

// closed reads the closing brace or bracket and refuses anything behind it.
func closed(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return malformed(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return kv.Errorf(kv.KindInvalid, "something stands behind the end")
	}
	return nil
}

func malformed(err error) error { return kv.Errorf(kv.KindInvalid, "malformed JSON: %w", err) }

func because(err error) string {
	if err == nil || err == io.EOF {
		return ""
	}
	return ": " + err.Error()
}

func decodeType(raw json.RawMessage) (kv.Type, error) {
	var name string
	if err := json.Unmarshal(raw, &name); err != nil {
		return 0, kv.Errorf(kv.KindInvalid, "want a type's name")
	}
	return pathspec.ParseType(name)
}

// decodeBytes reads a string or {"b64":"..."}.
func decodeBytes(raw json.RawMessage) (string, error) {
	var text string
	if isString(raw) {
		if err := json.Unmarshal(raw, &text); err != nil {
			return "", malformed(err)
		}
		return text, nil
	}
	members, err := object(raw)
	if err != nil || len(members) != 1 || members[0].name != "b64" || !isString(members[0].value) {
		return "", kv.Errorf(kv.KindInvalid, `want a string or {"b64":"..."}`)
	}
	if err := json.Unmarshal(members[0].value, &text); err != nil {
		return "", malformed(err)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return "", kv.Errorf(kv.KindInvalid, "b64: want standard base64 with padding")
	}
	return string(b), nil
}

func isString(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '"' }

// decodeValue reads a value of a type that may hold depth levels of fields.
func decodeValue(raw json.RawMessage, t kv.Type, depth int) (kv.Value, error) {
	switch t {
	case crdt.Counter:
		n, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil || strings.HasPrefix(string(raw), "+") {
			return kv.Value{}, kv.Errorf(kv.KindInvalid, "want a whole number of 64 bits")
		}
		return kv.Value{Type: t, Present: true, Int: n}, nil
	case crdt.RegisterLWW:
		s, err := decodeBytes(raw)
		return kv.Value{Type: t, Present: true, Bytes: []byte(s)}, err
	case crdt.FlagEW, crdt.FlagDW:
		on := string(raw) == "true"
		if !on && string(raw) != "false" {
			return kv.Value{}, kv.Errorf(kv.KindInvalid, "want true or false")
		}
		return kv.Value{Type: t, Present: on, Flag: on}, nil
	case crdt.Map, crdt.MapGO:
		return decodeFields(raw, t, depth)
	}
	return decodeList(raw, t)
}

func decodeList(raw json.RawMessage, t kv.Type) (kv.Value, error) {
	var parts []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &parts) != nil {
		return kv.Value{}, kv.Errorf(kv.KindInvalid, "want an array")
	}
	v := kv.Value{Type: t, Present: len(parts) > 0}
	for i, p := range parts {
		s, err := decodeBytes(p)
		if err != nil {
			return kv.Value{}, kv.Errorf(kv.KindInvalid, "element %d: %w", i, err)
		}
		v.List = append(v.List, []byte(s))
	}
	slices.SortFunc(v.List, bytes.Compare)
	v.List = slices.CompactFunc(v.List, bytes.Equal)
	return v, nil
}

func decodeFields(raw json.RawMessage, t kv.Type, depth int) (kv.Value, error) {
	if depth == 0 {
		return kv.Value{}, kv.Errorf(kv.KindTooLarge, "maps deeper than %d", kv.MaxDepth)
	}
	members, err := object(raw)
	if err != nil {
		return kv.Value{}, err
	}
	v := kv.Value{Type: t}
	for _, m := range members {
		step, err := pathspec.ParseField(m.name)
		if err != nil {
			return kv.Value{}, err
		}
		f := kv.Field{Name: step.Name}
		if f.Value, err = decodeValue(m.value, step.Type, depth-1); err != nil {
			return kv.Value{}, within(m.name, err)
		}
		v.Present = v.Present || f.Value.Present
		v.Fields = append(v.Fields, f)
	}
	return v, sortFields(v.Fields)
}

// sortFields brings fields into the order of (name, type). Two spellings of one name are one name.
func sortFields(fields []kv.Field) error {
	order := func(a, b kv.Field) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Value.Type, b.Value.Type))
	}
	slices.SortFunc(fields, order)
	for i := 1; i < len(fields); i++ {
		if order(fields[i-1], fields[i]) == 0 {
			return kv.Errorf(kv.KindInvalid, "%q comes twice", pathspec.FormatField(fields[i].Name, fields[i].Value.Type))
		}
	}
	return nil
}
