package jsonl

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/theriac-db/theriac/cmd/theriac/pathspec"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// Append appends an object's line, line break included.
func Append(dst []byte, o kv.Object, v kv.Value) []byte {
	dst = AppendHead(dst, o)
	dst = append(dst, `,"value":`...)
	dst = AppendValue(dst, o.Type, v)
	return append(dst, '}', '\n')
}

// AppendHead appends the start of a line: the brace and what names the object.
func AppendHead(dst []byte, o kv.Object) []byte {
	dst = append(dst, `{"bucket":`...)
	dst = AppendBytes(dst, string(o.Bucket))
	dst = append(dst, `,"key":`...)
	dst = AppendBytes(dst, string(o.Key))
	dst = append(dst, `,"type":`...)
	return appendString(dst, crdt.Name(o.Type))
}

// AppendValue appends a value of a type.
func AppendValue(dst []byte, t kv.Type, v kv.Value) []byte {
	switch t {
	case crdt.Counter:
		return strconv.AppendInt(dst, v.Int, 10)
	case crdt.RegisterLWW:
		return AppendBytes(dst, string(v.Bytes))
	case crdt.FlagEW, crdt.FlagDW:
		return strconv.AppendBool(dst, v.Flag)
	case crdt.Map, crdt.MapGO:
		return appendFields(dst, v.Fields)
	default:
		return appendList(dst, v.List)
	}
}

func appendList(dst []byte, list [][]byte) []byte {
	dst = append(dst, '[')
	for i, e := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendBytes(dst, string(e))
	}
	return append(dst, ']')
}

func appendFields(dst []byte, fields []kv.Field) []byte {
	dst = append(dst, '{')
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendField(dst, f)
	}
	return append(dst, '}')
}

// AppendField appends one member of a map's value: the name with its type, and the value.
func AppendField(dst []byte, f kv.Field) []byte {
	dst = appendString(dst, pathspec.FormatField(f.Name, f.Value.Type))
	dst = append(dst, ':')
	return AppendValue(dst, f.Value.Type, f.Value)
}

// AppendBytes appends any bytes: a string where they are UTF-8, {"b64":"..."} otherwise.
func AppendBytes(dst []byte, s string) []byte {
	if utf8.ValidString(s) {
		return appendString(dst, s)
	}
	dst = append(dst, `{"b64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, []byte(s))
	return append(dst, `"}`...)
}

// appendString appends a JSON string, escaping only what must be: one text for one string, and
// nothing that a reader of HTML would need.
func appendString(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// MaxPiece is how much of a value, in bytes of elements, values and names, Split puts into one line.
// Escaped at its worst it still fits MaxLine; and an element alone is at most a quarter of it.
const MaxPiece = 4 << 20

// Split cuts a value into pieces of at most limit bytes each, as far as it can be cut (invariant 3).
func Split(v kv.Value, limit int) []kv.Value {
	switch {
	case size(v) <= limit:
		return []kv.Value{v}
	case len(v.Fields) > 0:
		return splitFields(v, limit)
	case crdt.IsCollection(v.Type):
		return splitList(v, limit)
	}
	return []kv.Value{v}
}

// perEntry is what an entry counts beside its bytes.
const perEntry = 16

func size(v kv.Value) int {
	n := perEntry + len(v.Bytes)
	for _, e := range v.List {
		n += perEntry + len(e)
	}
	for _, f := range v.Fields {
		n += len(f.Name) + size(f.Value)
	}
	return n
}

func splitList(v kv.Value, limit int) []kv.Value {
	var out []kv.Value
	start, sum := 0, perEntry
	for i, e := range v.List {
		if i > start && sum+perEntry+len(e) > limit {
			out = append(out, kv.Value{Type: v.Type, Present: true, List: v.List[start:i]})
			start, sum = i, perEntry
		}
		sum += perEntry + len(e)
	}
	return append(out, kv.Value{Type: v.Type, Present: true, List: v.List[start:]})
}

func splitFields(v kv.Value, limit int) []kv.Value {
	var out []kv.Value
	var fields []kv.Field
	sum := perEntry
	for _, f := range v.Fields {
		for _, piece := range Split(f.Value, limit) {
			n := len(f.Name) + size(piece)
			if len(fields) > 0 && sum+n > limit {
				out = append(out, kv.Value{Type: v.Type, Present: true, Fields: fields})
				fields, sum = nil, perEntry
			}
			fields = append(fields, kv.Field{Name: f.Name, Value: piece})
			sum += n
		}
	}
	return append(out, kv.Value{Type: v.Type, Present: true, Fields: fields})
}
