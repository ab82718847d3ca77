package words

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/kv"
)

// Invariants 1 and 2: any bytes survive, on one line of text.
func TestQuotedWordsSplitBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "words")
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = Quote(w)
		}
		line := strings.Join(quoted, " ")
		if !utf8.ValidString(line) || strings.ContainsAny(line, "\n\r") {
			t.Fatalf("no line of text: %q", line)
		}
		got, err := Split(line)
		if err != nil || len(got) != len(words) || strings.Join(got, "\x00|") != strings.Join(words, "\x00|") {
			t.Fatalf("%q split into %q, %v", line, got, err)
		}
	})
}

func TestTextKeepsInnerBlanks(t *testing.T) {
	for in, want := range map[string]string{
		"hello world": "hello world", "": `""`, `"x"`: `"\"x\""`, "(absent)": `"(absent)"`, " x": `" x"`,
		"a\nb": `"a\nb"`, "\x00\xff": `"\x00\xff"`, "ü": "ü", `a\b`: `a\b`, "tab\tr\r": `"tab\tr\r"`,
	} {
		require.Equal(t, want, Text(in), "%q", in)
	}
}

func TestSplit(t *testing.T) {
	for in, want := range map[string][]string{
		"":                            nil,
		"  # a comment":               nil,
		"counter add likes 5":         {"counter", "add", "likes", "5"},
		"a\t \"b c\"  \"\"\r":         {"a", "b c", ""},
		`"\\ \" \n \r \t \x00\xFF#"`:  {"\\ \" \n \r \t \x00\xff#"},
		"set add k #not-a-comment ü/": {"set", "add", "k", "#not-a-comment", "ü/"},
	} {
		got, err := Split(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
}

func TestSplitRefuses(t *testing.T) {
	for in, want := range map[string]string{
		`a "b`: "no closing quote", `"a"b`: "no blank", `a"b`: "put a word", `a\b`: "put a word",
		`"\q"`: "unknown escape", `"\x0g"`: "unknown escape", `"\x1`: "unknown escape", `"\`: "unknown escape",
	} {
		_, err := Split(in)
		require.ErrorContains(t, err, want, in)
		require.True(t, errors.Is(err, kv.ErrInvalid))
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(`counter add "a\x00b" 5`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, line string) {
		words, err := Split(line)
		if err != nil {
			return
		}
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, Quote(w))
		}
		again, err := Split(strings.Join(quoted, " "))
		if err != nil || strings.Join(again, "\x00|") != strings.Join(words, "\x00|") {
			t.Fatalf("%q gave %q, then %q, %v", line, words, again, err)
		}
	})
}
