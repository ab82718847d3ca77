package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// pages reads README.md, CONTRIBUTING.md and everything in docs/.
func pages(t *testing.T) map[string]string {
	t.Helper()
	root := os.DirFS("../..")
	out := map[string]string{}
	require.NoError(t, fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".md" {
			return err
		}
		if strings.HasPrefix(name, "docs/") || !strings.Contains(name, "/") || strings.HasPrefix(name, "examples/") {
			page, err := fs.ReadFile(root, name)
			out[name] = string(page)
			return err
		}
		return nil
	}))
	require.Contains(t, out, "README.md")
	return out
}

// TestPagesRun executes every marked block, page by page.
func TestPagesRun(t *testing.T) {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	executed := 0
	for file, page := range pages(t) {
		blocks, err := Blocks(file, page)
		require.NoError(t, err)
		t.Run(file, func(t *testing.T) {
			r := &Runner{Root: root, Folder: t.TempDir(), Path: os.Getenv(binFolder)}
			defer r.Close()
			for _, b := range blocks {
				require.NoError(t, r.Run(t.Context(), b))
				if b.Mark == "run" || b.Mark == "serve" {
					executed++
				}
			}
		})
	}
	require.NotZero(t, executed, "no block was executed")
}

// TestPagesNameWhatExists checks links, tests and limits.
func TestPagesNameWhatExists(t *testing.T) {
	names, err := ReadNames(os.DirFS("../.."))
	require.NoError(t, err)
	for file, page := range pages(t) {
		require.Empty(t, names.MissingTests(page), "%s names tests that do not exist", file)
		require.Empty(t, UntestedClaims(page), "%s makes claims that no test checks", file)
		require.Empty(t, BrokenLinks(os.DirFS("../.."), file, page), "%s has links that lead nowhere", file)
		if file == "docs/reference/limits.md" {
			require.Empty(t, names.WrongLimits(page), file)
			require.Empty(t, names.UnlistedLimits(page), file)
		}
	}
}

// md makes a page of blocks; ' stands for a backquote.
func md(s string) string { return strings.ReplaceAll(s, "'", "`") }

func TestBlocksAreRead(t *testing.T) {
	blocks, err := Blocks("p.md", md("text\n'''sh run\na\n\nb\n'''\n'''\nfree\n'''\n'''text output\nx\n'''\n"))
	require.NoError(t, err)
	require.Equal(t, []Block{
		{File: "p.md", Line: 2, Language: "sh", Mark: "run", Text: "a\n\nb\n"},
		{File: "p.md", Line: 7, Text: "free\n"},
		{File: "p.md", Line: 10, Language: "text", Mark: "output", Text: "x\n"},
	}, blocks)
}

func TestUnmarkedBlocksAreRefused(t *testing.T) {
	for _, page := range []string{"'''sh\nls\n'''", "'''sh norun\nls\n'''", "'''go\nx\n'''", "'''bash run\nls\n'''",
		"'''sh run fast\nls\n'''", "'''text\nopen"} {
		_, err := Blocks("p.md", md(page))
		require.ErrorContains(t, err, "p.md:1", page)
	}
}

func TestOutputIsMatchedInOrder(t *testing.T) {
	got := "one\ntwo 22\n  three\nfour\n"
	for _, want := range []string{"one\ntwo...\nthree", "two 22\n...\nfour", "...", "fo..."} {
		_, ok := Matches(want, got)
		require.True(t, ok, want)
	}
	for want, first := range map[string]string{"two": "two", "three\none": "one", "one\none": "one", "five...": "five..."} {
		missing, ok := Matches(want, got)
		require.False(t, ok, want)
		require.Equal(t, first, missing)
	}
}

// runAll runs the blocks of a page in a runner of its own, with the module's real root.
func runAll(t *testing.T, page string) error {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	r := &Runner{Root: root, Folder: t.TempDir(), Path: t.TempDir()}
	defer r.Close()
	blocks, err := Blocks("p.md", md(page))
	require.NoError(t, err)
	for _, b := range blocks {
		if err := r.Run(t.Context(), b); err != nil {
			return err
		}
	}
	return nil
}

func TestBlocksOfAPageShareAFolder(t *testing.T) {
	require.NoError(t, runAll(t, `
'''sh run
echo hello > f
'''
'''sh serve
echo ready; while true; do sleep 1; echo again > f; done
'''
'''text output
ready
'''
'''sh run
cat f | tee g
'''
'''text output
hello
'''
'''go run
package main

import "fmt"

func main() { fmt.Println("from Go") }
'''
'''text output
from...
'''
'''sh ci
make          # the targets
make test
make fuzz FUZZTIME=1s
.ci/run format
'''
`))
}

func TestFailingBlocksAreReported(t *testing.T) {
	for page, want := range map[string]string{
		"'''sh run\nfalse\necho on\n'''":                             "exit status 1",
		"'''sh run\nfalse | true\n'''":                               "exit status 1",
		"'''sh run\necho a\n'''\n'''text output\nb\n'''":             `p.md:4: text output: the output lacks the line "b"`,
		"'''sh serve\necho no room >&2; exit 3\n'''":                 "printed no line; its messages:\nno room",
		"'''sh ci\nmake nothing\n'''":                                "no target nothing in Makefile",
		"'''sh ci\nrm -r x\n'''":                                     "neither make TARGET nor .ci/run",
		"'''go run\npackage main\nfunc main() { var x int }\n'''":    "declared and not used",
		"'''go run\npackage main\nfunc main() { panic(\"x\") }\n'''": "panic: x",
	} {
		require.ErrorContains(t, runAll(t, page), want, page)
	}
}

func TestWrongClaimsAreFound(t *testing.T) {
	root := fstest.MapFS{
		"a/a.go":      {Data: []byte("package a\nconst (\n\tMaxName = \"x\"\n\tMaxBytes = 4 << 10 // bytes\n\tx, y = 1, 2\n\tz\n)\nvar V = 3")},
		"a/a_test.go": {Data: []byte("package a\nfunc TestReal() {}\nfunc Testing() {}")},
		"docs/b.md":   {},
	}
	names, err := ReadNames(root)
	require.NoError(t, err)
	require.Equal(t, []string{"TestGone"}, names.MissingTests("TestReal and TestGone; Testing"))
	require.Equal(t, []string{"c.md"}, BrokenLinks(root, "docs/b.md", "[b](b.md#part) [a](../a/a.go) [c](c.md) [w](https://x.y/z)"))
	require.Empty(t, names.WrongLimits(md("| 'a.MaxBytes' | '4 << 10' | bytes |\n| 'a.y' | '2' |")))
	require.Len(t, names.WrongLimits(md("| 'a.MaxBytes' | '4096' | bytes |\n| 'a.None' | '2' |")), 2)
	require.Empty(t, names.UnlistedLimits(md("| 'a.MaxBytes' | '4 << 10' | bytes |")))
	require.Equal(t, []string{"a.MaxBytes"}, names.UnlistedLimits("nothing"))
	require.Equal(t, []string{"c"}, UntestedClaims("| a | b |\n| x | y |\n\n| a | checked by |\n| --- | --- |\n| b | `TestReal` |\n| c | hope |\n\n| d | e |\n"))
	_, err = ReadNames(fstest.MapFS{"x.go": {Data: []byte("no Go")}})
	require.Error(t, err)
}
