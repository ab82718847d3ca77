package procs

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServerRaisesAndNeverLowers(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	t.Setenv("GOMAXPROCS", "")
	for _, c := range []struct{ now, want int }{{1, Least}, {Least - 1, Least}, {Least + 3, Least + 3}} {
		runtime.GOMAXPROCS(c.now)
		Server()
		require.Equal(t, c.want, runtime.GOMAXPROCS(0))
	}
}

func TestTheEnvironmentDecides(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	t.Setenv("GOMAXPROCS", "1")
	runtime.GOMAXPROCS(1)
	Server()
	require.Equal(t, 1, runtime.GOMAXPROCS(0))
}
