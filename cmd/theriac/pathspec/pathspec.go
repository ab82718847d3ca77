package pathspec

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

const hexDigits = "0123456789ABCDEF"

// Escape writes a name: slashes, colons, percent signs, control characters of ASCII and bytes that are not
// UTF-8 as %XX.
func Escape(name string) string {
	if !strings.ContainsFunc(name, escaped) && utf8.ValidString(name) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(name[i:])
		if r == utf8.RuneError && size == 1 || escaped(r) {
			b.Write([]byte{'%', hexDigits[name[i]>>4], hexDigits[name[i]&15]})
		} else {
			b.WriteString(name[i : i+size])
		}
		i += size
	}
	return b.String()
}

// escaped are characters of one byte.
func escaped(r rune) bool { return r == '/' || r == ':' || r == '%' || r < ' ' || r == 0x7f }

// Unescape reads a name in which any byte may be written %XX. Slashes and colons are left to the
// caller: it reads keys and values too.
func Unescape(text string) (string, error) {
	if !strings.Contains(text, "%") {
		return text, nil
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			out = append(out, text[i])
			continue
		}
		if i+2 >= len(text) {
			return "", escapeError(text, i)
		}
		high, low := unhex(text[i+1]), unhex(text[i+2])
		if high < 0 || low < 0 {
			return "", escapeError(text, i)
		}
		out = append(out, byte(high<<4|low))
		i += 2
	}
	return string(out), nil
}

func escapeError(text string, at int) error {
	return kv.Errorf(kv.KindInvalid, "%q: the %% at byte %d is not followed by two hexadecimal digits; write %%25 for a percent sign", text, at)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// FormatField is one field's text: NAME:TYPE.
func FormatField(name string, t kv.Type) string { return Escape(name) + ":" + crdt.Name(t) }

// ParseField reads one NAME:TYPE.
func ParseField(text string) (kv.Step, error) {
	escaped, typeName, found := strings.Cut(text, ":")
	if !found {
		return kv.Step{}, kv.Errorf(kv.KindInvalid, "field %q: want NAME:TYPE, as in city:register-lww", text)
	}
	if strings.Contains(escaped, "/") {
		return kv.Step{}, kv.Errorf(kv.KindInvalid, "field %q: write %%2F for a slash in a name", text)
	}
	t, err := ParseType(typeName)
	if err != nil {
		return kv.Step{}, kv.Errorf(kv.KindInvalid, "field %q: %w", text, err)
	}
	name, err := Unescape(escaped)
	if err != nil {
		return kv.Step{}, kv.Errorf(kv.KindInvalid, "field %w", err)
	}
	if len(name) > kv.MaxKey {
		return kv.Step{}, kv.Errorf(kv.KindTooLarge, "field name of %d bytes, want at most %d", len(name), kv.MaxKey)
	}
	return kv.Step{Name: name, Type: t}, nil
}

// ParseType reads a type's name.
func ParseType(name string) (kv.Type, error) {
	if t, ok := crdt.Lookup(name); ok {
		return t, nil
	}
	return 0, kv.Errorf(kv.KindInvalid, "no type %q: the types are %s", name, strings.Join(TypeNames(crdt.Types()), ", "))
}

// TypeNames are the names of types.
func TypeNames(types []kv.Type) []string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = crdt.Name(t)
	}
	return names
}

// Format is a path's text.
func Format(p kv.Path) string {
	parts := make([]string, len(p))
	for i, s := range p {
		parts[i] = FormatField(s.Name, s.Type)
	}
	return strings.Join(parts, "/")
}

// Printed is a path's text with nothing in it that is not printable, or that an argument can't hold: %XX
// for each such byte too. Parse reads it back.
func Printed(p kv.Path) string { return printed(Format(p)) }

// PrintedField is that of one field.
func PrintedField(name string, t kv.Type) string { return printed(FormatField(name, t)) }

// printed takes a text of Format, in which all escapes are %XX.
func printed(text string) string {
	if !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b []byte
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		for _, c := range []byte(text[i : i+size]) {
			if hidden(r) {
				b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
			} else {
				b = append(b, c)
			}
		}
		i += size
	}
	return string(b)
}

func hidden(r rune) bool { return !unicode.IsPrint(r) }

// Parse reads a path of one field or more.
func Parse(text string) (kv.Path, error) {
	if strings.Count(text, "/") >= kv.MaxDepth {
		return nil, kv.Errorf(kv.KindTooLarge, "path with more than %d fields", kv.MaxDepth)
	}
	var p kv.Path
	for part := range strings.SplitSeq(text, "/") {
		step, err := ParseField(part)
		if err != nil {
			return nil, err
		}
		p = append(p, step)
	}
	return p, nil
}
