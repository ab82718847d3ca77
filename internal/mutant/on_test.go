//go:build mutants

package mutant_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/internal/mutant"
)

func TestOneMutantAtATimeIsOnAndCounted(t *testing.T) {
	before := mutant.Active()
	t.Cleanup(func() { mutant.Set(before) })
	mutant.Set("")
	require.False(t, mutant.On(mutant.DependencyLeftOut))
	require.Zero(t, mutant.Reached())

	mutant.Set(mutant.DependencyLeftOut)
	require.Equal(t, mutant.DependencyLeftOut, mutant.Active())
	require.True(t, mutant.On(mutant.DependencyLeftOut))
	require.False(t, mutant.On(mutant.VoidLeftOut))
	require.EqualValues(t, 1, mutant.Reached(), "asking for another one does not count")

	mutant.Set(mutant.VoidLeftOut)
	require.Zero(t, mutant.Reached(), "each is counted from when it was set")
	require.False(t, mutant.On(mutant.DependencyLeftOut))
}

func TestUnknownMutantPanicsWithTheList(t *testing.T) {
	defer func() {
		text, _ := recover().(string)
		for _, m := range mutant.All() {
			require.Contains(t, text, string(m.Name))
		}
		require.Contains(t, text, "gremlin")
	}()
	mutant.Set("gremlin")
}

// Invariant 3, and that the table says what a reader needs.
func TestEveryMutantIsInTheCodeAndDescribed(t *testing.T) {
	code := sources(t)
	named := map[mutant.Name]bool{}
	for _, m := range mutant.All() {
		require.False(t, named[m.Name], "%s is listed twice", m.Name)
		named[m.Name] = true
		require.True(t, strings.HasSuffix(m.Breaks, ".") && m.Site != "", m.Name)
		require.NotEmpty(t, m.Checks, m.Name)
		require.GreaterOrEqual(t, m.Seeds, 0, m.Name)
		require.Contains(t, []mutant.Kind{mutant.Protocol, mutant.Arithmetic}, m.Kind)
		require.Contains(t, code, "mutant.On(mutant."+identifier(m.Name)+")", "%s has no place in the code", m.Name)
	}
	names, err := os.ReadFile("names.go")
	require.NoError(t, err)
	for name := range named {
		require.Contains(t, string(names), `"`+string(name)+`"`)
	}
	require.Equal(t, strings.Count(string(names), ` = "`), len(named), "names.go and the table list the same")
}

// identifier is the Go name of a mutant: its words with capitals.
func identifier(n mutant.Name) string {
	var b strings.Builder
	for _, word := range strings.Split(string(n), "-") {
		if word == "id" {
			b.WriteString("ID")
			continue
		}
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// sources is the code outside of this package, without tests.
func sources(t *testing.T) string {
	var b strings.Builder
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		base := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && (base == "internal" || base == "testdata" || base == "bin" || strings.HasPrefix(base, ".git")):
			return fs.SkipDir
		case filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		src, err := os.ReadFile(name)
		b.Write(src)
		return err
	})
	require.NoError(t, err)
	return b.String()
}
