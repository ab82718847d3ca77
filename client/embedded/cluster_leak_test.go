package embedded

import (
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ours returns the stacks of goroutines that run this module's code, but for the caller's.
func ours() (stacks []string) {
	buf := make([]byte, 16<<20)
	for i, s := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if i > 0 && strings.Contains(s, "theriac-db/theriac/") && !strings.Contains(s, "testing.tRunner") {
			stacks = append(stacks, s)
		}
	}
	return stacks
}

// TestCloseLeavesNoGoroutine starts, disturbs and closes clusters: what they started has ended
// (invariant 1). It runs alone, so every goroutine of this module's is theirs.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 3 {
		c, err := StartCluster(within(t), ClusterOptions{})
		require.NoError(t, err)
		write(t, c, "eu", "n", 200)
		c.Cut("eu", "us")
		c.Crash("ap")
		write(t, c, "us", "n", 200)
		restart(t, c, "ap")
		c.Isolate("us")
		c.Crash("us")
		require.NoError(t, c.LoseDisk("ap"))
		require.NoError(t, c.Close())
	}
	await(t, "all goroutines have ended", func() string {
		if left := ours(); len(left) > 0 {
			return strings.Join(left, "\n\n")
		}
		if n := runtime.NumGoroutine(); n > before+2 { // the deadlines of within
			var b strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
			return fmt.Sprintf("%d goroutines, %d before: %s", n, before, b.String())
		}
		return ""
	})
}
