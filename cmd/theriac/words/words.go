package words

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/theriac-db/theriac/kv"
)

// MaxLine bounds a line that Split reads, in bytes: an element of kv.MaxElement with every byte
// escaped, and room for the rest of the line.
const MaxLine = 4*kv.MaxElement + 64<<10

const hexDigits = "0123456789abcdef"

// Quote gives a word that Split reads back: bare where it can be.
func Quote(s string) string {
	if s != "" && s[0] != '#' && !strings.ContainsFunc(s, special) && utf8.ValidString(s) {
		return s
	}
	return quote(s)
}

// Text gives the last thing on a line, which may hold blanks: as it is, unless it is empty, holds
// what is not printable, has blanks around it, or could be taken for a quoted word or a remark in
// parentheses.
func Text(s string) string {
	plain := s != "" && s[0] != '"' && s[0] != '(' && strings.TrimSpace(s) == s && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
	if plain {
		return s
	}
	return quote(s)
}

func special(r rune) bool { return r == '"' || r == '\\' || r == ' ' || !unicode.IsPrint(r) }

func quote(s string) string {
	b := append(make([]byte, 0, len(s)+2), '"')
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', s[i])
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == utf8.RuneError && size == 1 || !unicode.IsPrint(r):
			for _, c := range []byte(s[i : i+size]) {
				b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
			}
		default:
			b = append(b, s[i:i+size]...)
		}
		i += size
	}
	return string(append(b, '"'))
}

// Split splits a line into words. A line that is blank or starts with # has none.
func Split(line string) ([]string, error) {
	var out []string
	rest := strings.TrimLeft(line, " \t\r")
	if strings.HasPrefix(rest, "#") {
		return nil, nil
	}
	for rest != "" {
		word, behind, err := next(rest)
		if err != nil {
			return nil, err
		}
		out = append(out, word)
		rest = strings.TrimLeft(behind, " \t\r")
	}
	return out, nil
}

// next takes one word off a text that starts with one.
func next(text string) (word, behind string, err error) {
	if text[0] == '"' {
		return unquote(text)
	}
	end := strings.IndexAny(text, " \t\r\"\\")
	if end < 0 {
		return text, "", nil
	}
	if text[end] == '"' || text[end] == '\\' {
		return "", "", kv.Errorf(kv.KindInvalid, "%q: put a word with quotes or backslashes into double quotes", text)
	}
	return text[:end], text[end:], nil
}

// unquote takes a word in double quotes off a text that starts with one.
func unquote(text string) (word, behind string, err error) {
	var b []byte
	for i := 1; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			behind = text[i+1:]
			if behind != "" && !strings.ContainsRune(" \t\r", rune(behind[0])) {
				return "", "", kv.Errorf(kv.KindInvalid, "%q: no blank behind a closing quote", text)
			}
			return string(b), behind, nil
		case '\\':
			c, used := unescape(text[i+1:])
			if used == 0 {
				return "", "", kv.Errorf(kv.KindInvalid, `%q: unknown escape; the escapes are \\ \" \n \r \t \xHH`, text)
			}
			b = append(b, c)
			i += used
		default:
			b = append(b, c)
		}
	}
	return "", "", kv.Errorf(kv.KindInvalid, "%q: no closing quote", text)
}

// unescape reads what stands behind a backslash; used is 0 when that is no escape.
func unescape(text string) (c byte, used int) {
	if text == "" {
		return 0, 0
	}
	switch text[0] {
	case '\\', '"':
		return text[0], 1
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 't':
		return '\t', 1
	case 'x':
		if len(text) < 3 {
			return 0, 0
		}
		high := strings.IndexByte(hexDigits, lower(text[1]))
		low := strings.IndexByte(hexDigits, lower(text[2]))
		if high >= 0 && low >= 0 {
			return byte(high<<4 | low), 3
		}
	}
	return 0, 0
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'F' {
		return c + 'a' - 'A'
	}
	return c
}
