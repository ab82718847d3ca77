package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/*.jsonl anew")

const index = "../testdata/index"

func convert(t *testing.T, args ...string) string {
	t.Helper()
	var out, messages bytes.Buffer
	require.NoError(t, run(append(args, index), &out, &messages))
	return out.String()
}

// The sample's awkward entries are described in their own Description fields.
func TestSampleConvertsAsCommitted(t *testing.T) {
	for name, args := range map[string][]string{
		"whole": nil,
		"half1": {"--part", "1/2"},
		"half2": {"--part", "2/2"},
		"three": {"--limit", "3", "--bucket", "b"},
	} {
		got, file := convert(t, args...), filepath.Join("testdata", name+".jsonl")
		if *rewrite {
			require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(want), got, name)
	}
}

func TestPartsTogetherHoldEveryPackageOnce(t *testing.T) {
	packages := func(lines string) (out []string) {
		for line := range strings.Lines(lines) {
			if strings.Contains(line, `"type":"map"`) {
				out = append(out, line)
			}
		}
		return out
	}
	var parts []string
	for _, p := range []string{"1/3", "2/3", "3/3"} {
		parts = append(parts, packages(convert(t, "--part", p))...)
	}
	require.ElementsMatch(t, packages(convert(t)), parts)
}

func TestMalformedIndexIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "no package",
		"\n \n":                        "no package",
		" x\n":                         "line 1: an entry begins with a continuation line",
		"Package: a\nnonsense\n":       `line 2: no field: "nonsense"`,
		"Package: a\n: b\n":            "line 2: no field",
		"Package: a\nA: 1\nA: 2\n":     "line 3: field A twice",
		"Version: 1\n\nPackage: a\n":   "entry that ends at line 2: no field Package",
		strings.Repeat("x", 2*maxLine): "after line 0: bufio.Scanner: token too long",
	} {
		var out bytes.Buffer
		err := newConverter("b", part{1, 1}, 0, &out).convert(strings.NewReader(text))
		require.ErrorContains(t, err, want)
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	for _, p := range []string{"0/2", "3/2", "1", "a/2", "1/b", "-1/2", ""} {
		require.ErrorContains(t, run([]string{"--part", p}, nil, &bytes.Buffer{}), "want N/M", p)
	}
	require.ErrorContains(t, run([]string{"a", "b"}, nil, nil), "one FILE at most")
	require.ErrorIs(t, run([]string{"testdata/no such file"}, nil, nil), os.ErrNotExist)
	require.Error(t, run([]string{"--no-such-flag"}, nil, &bytes.Buffer{}))
}

func TestOutputThatFailsIsAnError(t *testing.T) {
	broken, err := os.Open(index) // not open for writing
	require.NoError(t, err)
	defer broken.Close()
	require.Error(t, run([]string{index}, broken, &bytes.Buffer{}))
}
