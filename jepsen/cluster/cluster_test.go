package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/nemesis"
)

// binary builds the command once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "theriac-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "theriac")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/theriac-db/theriac/cmd/theriac").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

var three = []string{"eu", "us", "ap"}

// start starts a cluster, and sees at the end that nothing of it is left.
func start(t *testing.T, o Options) *Cluster {
	t.Helper()
	path, err := binary()
	require.NoError(t, err)
	o.Binary, o.Dir, o.Log = path, t.TempDir(), t.Logf
	if o.Regions == nil {
		o.Regions = three
	}
	c, err := Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		require.NoError(t, c.Failed())
		require.Empty(t, processesOf(t, o.Dir))
	})
	return c
}

// processesOf lists the processes with a text in their command lines.
func processesOf(t *testing.T, text string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var pids []int
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(line), text) { // it may have ended
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			require.NoError(t, err)
			pids = append(pids, pid)
		}
	}
	return slices.DeleteFunc(pids, func(pid int) bool { return pid == os.Getpid() })
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 60*time.Second, 20*time.Millisecond, what)
}

// add adds to a counter in a region.
func add(t *testing.T, c *Cluster, region, key string, n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, c.DB(region).Counter(key).Add(ctx, n))
}

// value is what a region shows of a counter; -1 while it does not answer.
func value(t *testing.T, c *Cluster, region, key string) int64 {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	n, err := c.DB(region).Counter(key).Get(ctx)
	if err != nil {
		return -1
	}
	return n
}

// sees waits until regions show a value.
func sees(t *testing.T, c *Cluster, key string, want int64, regions ...string) {
	t.Helper()
	for _, r := range regions {
		eventually(t, fmt.Sprintf("%s sees %s = %d", r, key, want), func() bool { return value(t, c, r, key) == want })
	}
}

func both(t *testing.T, do func(context.Context, nemesis.Link) error, a, b string) {
	t.Helper()
	require.NoError(t, do(t.Context(), nemesis.Link{From: a, To: b}))
	require.NoError(t, do(t.Context(), nemesis.Link{From: b, To: a}))
}

// What is written while a region is cut off reaches it when the link is healed, and not before.
func TestACutRegionGoesOnByItself(t *testing.T) {
	c := start(t, Options{})
	add(t, c, "eu", "n", 1)
	sees(t, c, "n", 1, three...)
	both(t, c.Cut, "eu", "ap")
	both(t, c.Cut, "us", "ap")
	add(t, c, "eu", "n", 2)
	add(t, c, "ap", "n", 10)
	sees(t, c, "n", 3, "us")
	require.Equal(t, int64(11), value(t, c, "ap", "n"))
	require.Equal(t, int64(3), value(t, c, "eu", "n"))
	both(t, c.Heal, "eu", "ap")
	both(t, c.Heal, "us", "ap")
	sees(t, c, "n", 13, three...)
}
