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
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
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
	if dir := os.Getenv(helperEnv); dir != "" {
		runHelper(dir)
		return
	}
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

// What was acknowledged with durability local is there after kill -9 of all, at once and of one.
func TestKill9LosesNothingAcknowledged(t *testing.T) {
	c := start(t, Options{})
	var acknowledged, attempted int64
	for round := range 3 {
		ctx, stop := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		var mu sync.Mutex
		for _, r := range three {
			writers.Go(func() {
				for ctx.Err() == nil {
					call, done := context.WithTimeout(ctx, time.Second)
					err := c.DB(r).Counter("n").Add(call, 1)
					done()
					mu.Lock()
					if attempted++; err == nil {
						acknowledged++
					}
					mu.Unlock()
				}
			})
		}
		least := acknowledged + 100
		eventually(t, "writes", func() bool { mu.Lock(); defer mu.Unlock(); return acknowledged > least })
		victims := three
		if round == 0 {
			victims = []string{"us"}
		}
		for _, r := range victims {
			require.NoError(t, c.Kill(t.Context(), r))
		}
		stop()
		writers.Wait()
		for _, r := range victims {
			require.NoError(t, c.Restart(t.Context(), r))
			require.NoError(t, c.Restart(t.Context(), r), "one that runs is left alone")
		}
	}
	var last int64
	eventually(t, "all show the same", func() bool {
		last = value(t, c, "eu", "n")
		return last >= acknowledged && value(t, c, "us", "n") == last && value(t, c, "ap", "n") == last
	})
	require.LessOrEqual(t, last, attempted)
}

// A region that is paused answers nobody, and goes on where it was.
func TestAPausedRegionGoesOn(t *testing.T) {
	c := start(t, Options{TestFaults: true})
	add(t, c, "us", "n", 1)
	require.NoError(t, c.Pause(t.Context(), "us"))
	require.NoError(t, c.SetClock(t.Context(), "us", time.Hour), "it is told when it goes on")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.Error(t, c.DB("us").Counter("n").Add(ctx, 1))
	add(t, c, "eu", "n", 10)
	require.NoError(t, c.Restart(t.Context(), "us"), "it runs, though paused")
	require.NoError(t, c.SetClock(t.Context(), "us", 0))
	require.NoError(t, c.Resume(t.Context(), "us"))
	require.NoError(t, c.Resume(t.Context(), "us"))
	eventually(t, "us has eu's", func() bool { return value(t, c, "us", "n") >= 11 })

	require.NoError(t, c.Pause(t.Context(), "us"))
	require.NoError(t, c.Kill(t.Context(), "us"), "a paused node dies, too")
	require.NoError(t, c.Restart(t.Context(), "us"))
	require.NoError(t, c.Pause(t.Context(), "ap")) // and Close ends one
}

// A region that is added copies what there is, also after it was killed on the way.
func TestARegionIsAdded(t *testing.T) {
	c := start(t, Options{Regions: []string{"eu", "us"}, New: []string{"ap", "sa"}})
	add(t, c, "eu", "n", 7)
	require.Equal(t, int64(-1), value(t, c, "ap", "n"), "it is not there yet")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.ErrorIs(t, c.DB("ap").Counter("n").Add(ctx, 1), client.ErrUnavailable)
	require.NoError(t, c.Cut(t.Context(), nemesis.Link{From: "ap", To: "eu"}), "a link of a region to come")
	require.NoError(t, c.Heal(t.Context(), nemesis.Link{From: "ap", To: "eu"}))
	require.NoError(t, c.Add(t.Context(), "ap"))
	require.NoError(t, c.Await(t.Context(), "ap"))
	require.NoError(t, c.Await(t.Context(), "ap"))
	sees(t, c, "n", 7, "ap")
	require.NoError(t, c.Add(t.Context(), "sa"))
	require.NoError(t, c.Kill(t.Context(), "sa"))
	require.NoError(t, c.Await(t.Context(), "sa"))
	did(t, c, nemesis.Fault{Kind: nemesis.RegionAdd, Regions: []string{"sa"}})
	sees(t, c, "n", 7, "sa")
	require.Equal(t, []string{"eu", "us", "ap", "sa"}, c.Regions())
	require.ErrorContains(t, c.Add(t.Context(), "ap"), "added before")
}

// A clock that is ahead is noticed by the others, and set right.
func TestAClockIsSet(t *testing.T) {
	c := start(t, Options{TestFaults: true})
	ahead := func() time.Duration {
		s, err := c.DB("us").Status(t.Context())
		require.NoError(t, err)
		return time.Until(s.Exposed.Max().Wall().Time())
	}
	require.NoError(t, c.SetClock(t.Context(), "us", 3*time.Second))
	eventually(t, "its writes are of the future", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = c.DB("us").Counter("n").Add(ctx, 1) // refused once the others have noticed
		return ahead() > 2*time.Second
	})
	require.NoError(t, c.Kill(t.Context(), "us"))
	require.NoError(t, c.Restart(t.Context(), "us"), "the clock is still wrong")
	require.NoError(t, c.SetClock(t.Context(), "us", 0))
	eventually(t, "all have it, once that time has come", func() bool {
		n := value(t, c, "us", "n")
		return n > 0 && value(t, c, "eu", "n") == n && value(t, c, "ap", "n") == n
	})
	add(t, c, "us", "m", 1)
	sees(t, c, "m", 1, three...)
}

// A node whose disk is full refuses writes and ends; with room again it has all that it acknowledged.
func TestAFullDisk(t *testing.T) {
	disks := map[string]Options{"by quota": {TestFaults: true}, "in memory": {DiskBytes: MinDisk}}
	if mayMount(MinDisk) != nil {
		delete(disks, "in memory")
		t.Log("NOT TESTED: disks in memory, which take root on Linux")
	}
	for name, o := range disks {
		t.Run(name, func(t *testing.T) { fullDisk(t, start(t, o)) })
	}
}

func fullDisk(t *testing.T, c *Cluster) {
	add(t, c, "us", "n", 1)
	require.NoError(t, c.FillDisk(t.Context(), "us"))
	eventually(t, "it refuses a write", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return c.DB("us").Register("r").Set(ctx, make([]byte, 512<<10)) != nil
	})
	eventually(t, "it says why", func() bool {
		said, err := os.ReadFile(c.Log("us"))
		require.NoError(t, err)
		return strings.Contains(string(said), "no space left on device")
	})
	add(t, c, "eu", "n", 10)
	sees(t, c, "n", 11, "eu", "ap")
	did(t, c, nemesis.Fault{Kind: nemesis.DiskFull, Regions: []string{"us"}})
	require.False(t, counts(t, c, nemesis.Fault{Kind: nemesis.DiskFull, Regions: []string{"eu"}}).Bit(nemesis.DiskFull))
	require.NoError(t, c.Restart(t.Context(), "us"), "it may not start now, which is no error")
	require.NoError(t, c.FreeDisk(t.Context(), "us"))
	require.NoError(t, c.FreeDisk(t.Context(), "us"))
	sees(t, c, "n", 11, three...)
	add(t, c, "us", "n", 100)
	sees(t, c, "n", 111, three...)
	require.NoError(t, c.FillDisk(t.Context(), "ap"))
	require.NoError(t, c.FreeDisk(t.Context(), "ap"), "before it met it")
	require.NoError(t, c.FillDisk(t.Context(), "eu")) // and Close ends one
}

// A node that ends though nobody asked it to is a failure.
// A full disk excuses a node that ends, but none that panics.
func TestANodeThatPanicsIsNotExcused(t *testing.T) {
	path, err := binary()
	require.NoError(t, err)
	c, err := Start(t.Context(), Options{Binary: path, Dir: t.TempDir(), Regions: []string{"eu"}})
	require.NoError(t, err)
	defer c.Close()
	n := c.nodes["eu"]
	n.process.excused.Store(true)
	require.NoError(t, n.process.signal(syscall.SIGABRT)) // the runtime then says what it does of a panic
	<-n.process.ended
	require.ErrorContains(t, c.Failed(), "region eu ended by itself: exit status 2")
	require.ErrorContains(t, c.Failed(), "SIGABRT: abort")
	require.False(t, panicked(n.process.err, "panic: write: no space left on device"))
	require.False(t, panicked(n.process.err, "Error: unknown flag"), "the exit code alone says little")
	require.False(t, panicked(nil, "panic: x"))
}

func TestANodeThatEndsByItselfIsAFailure(t *testing.T) {
	path, err := binary()
	require.NoError(t, err)
	c, err := Start(t.Context(), Options{Binary: path, Dir: t.TempDir(), Regions: []string{"eu"}})
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Failed())
	require.NoError(t, c.nodes["eu"].process.cmd.Process.Signal(syscall.SIGABRT))
	<-c.Broken()
	require.ErrorContains(t, c.Failed(), "region eu ended by itself")
	require.ErrorContains(t, c.Failed(), "SIGABRT", "the end of the log says why")
	require.NoError(t, c.Restart(t.Context(), "eu"))
	require.NoError(t, c.Close())
	require.NoError(t, c.Close(), "only the first call does something")
}
