//go:build !mutants

package mutant_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/internal/mutant"
)

// Invariant 1.
func TestWithoutTheTagNothingIsOn(t *testing.T) {
	t.Setenv("THERIAC_MUTANT", string(mutant.DependencyLeftOut))
	require.False(t, mutant.On(mutant.DependencyLeftOut))
}

// What is not in the binary can't be switched on. A build with the tag shows that the test would see it.
func TestReleaseHasNoMutants(t *testing.T) {
	for _, b := range []struct {
		tags string
		want bool
	}{{"", false}, {"mutants", true}} {
		binary := filepath.Join(t.TempDir(), "theriac")
		build := exec.Command("go", "build", "-tags", b.tags, "-o", binary, "github.com/theriac-db/theriac/cmd/theriac")
		out, err := build.CombinedOutput()
		require.NoError(t, err, "%s", out)
		code, err := os.ReadFile(binary)
		require.NoError(t, err)
		symbols, err := exec.Command("go", "tool", "nm", binary).Output()
		require.NoError(t, err)
		for what, where := range map[string][]byte{
			"theriac/internal/mutant.": symbols, "THERIAC_MUTANT": code,
			string(mutant.DependencyLeftOut): code, string(mutant.AnsweredBeforeSync): code, string(mutant.SessionForgets): code,
		} {
			require.Equal(t, b.want, bytes.Contains(where, []byte(what)), "%q with tags %q", what, b.tags)
		}
	}
}
