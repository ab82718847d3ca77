package pathspec

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// Invariants 1 and 2.
func TestPathsReadBack(t *testing.T) {
	name := rapid.Map(rapid.SliceOfN(rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte("/:%é"))), 0, 10),
		func(b []byte) string { return string(b) })
	rapid.Check(t, func(t *rapid.T) {
		var p kv.Path
		for range rapid.IntRange(1, kv.MaxDepth).Draw(t, "depth") {
			p = append(p, kv.Step{Name: name.Draw(t, "name"), Type: rapid.SampledFrom(crdt.Types()).Draw(t, "type")})
		}
		for _, text := range []string{Format(p), Printed(p)} {
			got, err := Parse(text)
			if err != nil || !slices.Equal(got, p) || !utf8.ValidString(text) || strings.Contains(text, "\x00") {
				t.Fatalf("%v as %q read back as %v, %v", p, text, got, err)
			}
		}
		if text := Printed(p); strings.ContainsFunc(text, hidden) {
			t.Fatalf("%q can't be printed", text)
		}
	})
}

func TestEscapes(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "plain ü": "plain ü", "a/b:c%": "a%2Fb%3Ac%25", "\x00\xff\t\x7f": "%00%FF%09%7F", "\xc3é\ufffd": "%C3é\ufffd",
	} {
		require.Equal(t, want, Escape(name))
		got, err := Unescape(want)
		require.NoError(t, err)
		require.Equal(t, name, got)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                 "NAME:TYPE",
		"a":                "NAME:TYPE",
		"a:counter/":       "NAME:TYPE",
		"a:":               "no type",
		"a:Counter":        "no type",
		"a:counter:b":      "no type",
		"a%2:counter":      "two hexadecimal digits",
		"a%zz:counter":     "two hexadecimal digits",
		"a%:counter":       "two hexadecimal digits",
		"x%2\xff0:counter": "two hexadecimal digits",
		strings.Repeat("a:map/", kv.MaxDepth) + "b:counter": "more than 32",
		strings.Repeat("n", kv.MaxKey+1) + ":counter":       "field name of 4097",
	} {
		_, err := Parse(text)
		require.ErrorContains(t, err, want, "%.50q", text)
		require.Contains(t, []kv.Kind{kv.KindInvalid, kv.KindTooLarge}, kv.KindOf(err))
	}
	_, err := ParseField("a/b:counter")
	require.ErrorContains(t, err, "%2F")
}

func FuzzParse(f *testing.F) {
	f.Add("address:map/city:register-lww")
	f.Add("a%2Fb:counter")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(Format(p))
		if err != nil || !slices.Equal(again, p) {
			t.Fatalf("%q is %v, and then %v, %v", text, p, again, err)
		}
	})
}
