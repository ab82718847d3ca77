package torture

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "seed of what is drawn; 0: a new one")
	killsFlag = flag.Int("kills", 15, "kills of a real node")
	cutsFlag  = flag.Int("cuts", 300, "simulated power cuts")
	slowFlag  = flag.Int("slow", 0, "of them, at moments that take 10 s to come")
)

func seed(t *testing.T) uint64 {
	s := *seedFlag
	if s == 0 {
		s = uint64(time.Now().UnixNano()) % 1e9
	}
	t.Logf("seed %d", s)
	return s
}

func TestKills(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "theriac")
	out, err := exec.Command("go", "build", "-o", binary, "../../cmd/theriac").CombinedOutput()
	require.NoError(t, err, "%s", out)
	dir, err := os.MkdirTemp("", "theriac-torture-")
	require.NoError(t, err)
	k := &Kills{Binary: binary, Dir: dir, Seed: seed(t), Count: *killsFlag, Slow: *slowFlag, Tally: NewTally(), Progress: func() {}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = k.Run(ctx)
	t.Logf("%.1f kills/s\n%s", k.Tally.Rate("kills"), k.Tally.Table())
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
}

func TestCuts(t *testing.T) {
	dir, err := os.MkdirTemp("", "theriac-torture-")
	require.NoError(t, err)
	c := &Cuts{Dir: dir, Tally: NewTally()}
	seed := seed(t)
	for done := 0; done < *cutsFlag && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) {
			n, err := c.World(t.Context(), seed)
			done += n
			require.NoError(t, err)
		})
	}
	t.Logf("%.1f cuts/s\n%s", c.Tally.Rate("cuts"), c.Tally.Table())
}
