package embedded

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/node"
	"github.com/theriac-db/theriac/storage"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "seed of the random tests; 0: a new one")
	roundsFlag = flag.Int("rounds", 3, "rounds of the random tests")
	loudFlag   = flag.Bool("loud", false, "print the nodes' logs")
)

// patience is how long tests wait for what should happen soon. It bounds failures only.
const patience = 40 * time.Second

// seeded returns a random source, and says how to replay it should the test fail.
func seeded(t *testing.T) (seed uint64, random *rand.Rand) {
	seed = *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("replay: go test ./client/embedded -run '^%s$' -rounds %d -seed %d", t.Name(), *roundsFlag, seed)
		}
	})
	t.Logf("seed %d", seed)
	return seed, rand.New(rand.NewPCG(seed, 0))
}

// fatals collects why nodes gave up; a healthy cluster has none.
type fatals struct {
	mu   sync.Mutex
	list []string
}

func (f *fatals) note(region string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, region+": "+err.Error())
}

func (f *fatals) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.list...)
}

// cluster starts a cluster that ends with the test, and fails it when a node gives up.
func cluster(t *testing.T, o ClusterOptions) *Cluster {
	t.Helper()
	f := &fatals{}
	c := clusterWith(t, o, f)
	t.Cleanup(func() { require.Empty(t, f.all(), "nodes gave up") })
	return c
}

// clusterWith is cluster for tests in which nodes may give up.
func clusterWith(t *testing.T, o ClusterOptions, f *fatals) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	o.Log = io.Discard
	if *loudFlag {
		o.Log = os.Stderr
	}
	adjust := o.Adjust
	o.Adjust = func(c *node.Config) {
		name := c.Region
		c.Fatal = func(err error) { f.note(name, err) }
		if adjust != nil {
			adjust(c)
		}
	}
	c, err := StartCluster(ctx, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// within is a context for what should be done soon. It lasts as long as the test, so that what is
// called over and over takes one of its own.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// await waits until a condition holds; what it returns says what is missing, empty: nothing.
func await(t *testing.T, what string, missing func() string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		said := missing()
		if said == "" {
			return
		}
		select {
		case <-again.C:
		case <-deadline.C:
			require.Fail(t, "waited in vain until "+what, said)
		}
	}
}

// restart restarts a region.
func restart(t *testing.T, c *Cluster, name string) {
	t.Helper()
	require.NoError(t, c.Restart(within(t), name))
}

// writable waits until a region takes writes.
func writable(t *testing.T, c *Cluster, name string) {
	t.Helper()
	await(t, name+" takes writes", func() string {
		if s := status(t, c, name); s.State != "serving" {
			return s.State
		}
		return ""
	})
}

func status(t *testing.T, c *Cluster, name string) client.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := c.DB(name).Status(ctx)
	require.NoError(t, err)
	return s
}

// everywhereOnDisk waits until every running region has on its disk what all of them show now.
func everywhereOnDisk(t *testing.T, c *Cluster) {
	t.Helper()
	var all clock.Vector
	for _, name := range c.running() {
		all = all.Join(status(t, c, name).Exposed)
	}
	await(t, "every region has all on its disk", func() string {
		for _, name := range c.running() {
			if s := status(t, c, name); !s.Durable.Includes(all) {
				return fmt.Sprintf("%s has %s of %s", name, s.Durable, all)
			}
		}
		return ""
	})
}

// converge waits until all regions read the same.
func converge(t *testing.T, c *Cluster) client.Digest {
	t.Helper()
	d, err := c.Converge(within(t))
	if err != nil {
		explain(t, c)
	}
	require.NoError(t, err)
	return d
}

// explain prints the objects that regions read differently, with what lies on each disk.
func explain(t *testing.T, c *Cluster) {
	t.Helper()
	for range 3 {
		for _, region := range c.running() {
			d, err := c.DB(region).Digest(within(t), "")
			t.Logf("%s: digest %x of %+v, %v", region, d.Sum, d, err)
		}
	}
	values, objects := map[string]map[client.Object]string{}, map[client.Object]bool{}
	for _, region := range c.running() {
		values[region] = map[client.Object]string{}
		for o, err := range c.DB(region).Keys(within(t), "") {
			require.NoError(t, err)
			v, err := c.DB(region).Object(string(o.Key), o.Type).Value(within(t))
			require.NoError(t, err)
			values[region][o], objects[o] = fmt.Sprintf("%+v", v), true
		}
		s := status(t, c, region)
		t.Logf("%s: exposed %s, stable %s, settled %s, horizon %s", region, s.Exposed, s.Stable, s.Settled, s.Horizon)
	}
	first := c.running()[0]
	for o := range objects {
		for _, region := range c.running() {
			if values[region][o] != values[first][o] {
				t.Logf("%s %d in %s: %s", o.Key, o.Type, first, values[first][o])
				t.Logf("%s %d in %s: %s", o.Key, o.Type, region, values[region][o])
				explainLeaves(t, c, o)
				break
			}
		}
	}
}

func explainLeaves(t *testing.T, c *Cluster, o client.Object) {
	t.Helper()
	for _, region := range c.running() {
		onDisk(t, c, region, func(s *storage.Store) {
			require.NoError(t, s.Scan(t.Context(), o, 0, nil, nil, func(path, items []byte) (bool, error) {
				t.Logf("%s: %q: %x", region, path, items)
				return true, nil
			}))
		})
	}
}

// counter reads a counter as a region shows it to a session with this token.
func counter(t *testing.T, c *Cluster, region, name string, opts ...client.CallOption) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, err := c.DB(region).Counter(name).Get(ctx, opts...)
	require.NoError(t, err)
	return n
}

// onDisk opens a copy of what a region's disk holds, as far as it was written.
func onDisk(t *testing.T, c *Cluster, name string, look func(s *storage.Store)) {
	t.Helper()
	r := c.region(name)
	r.mu.Lock()
	fs := r.mem.CrashClone(crashOptions(100))
	r.mu.Unlock()
	s, err := storage.Open(storage.Config{FS: fs, Dir: name})
	require.NoError(t, err)
	look(s)
	require.NoError(t, s.Close())
}

// leaves counts the leaves of an object that lie on a region's disk.
func leaves(t *testing.T, c *Cluster, region string, o client.Object) (n int) {
	t.Helper()
	onDisk(t, c, region, func(s *storage.Store) {
		err := s.Scan(t.Context(), o, 0, nil, nil, func([]byte, []byte) (bool, error) {
			n++
			return true, nil
		})
		require.NoError(t, err)
	})
	return n
}

// down reports whether a call failed because its region was down or went down.
func down(err error) bool { return errors.Is(err, client.ErrUnavailable) }

// up waits until a region is up.
func up(ctx context.Context, c *Cluster, region string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		if slices.Contains(c.running(), region) {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not come back", region)
		}
	}
}

// crashOptions keep so many percent of what was not synced.
func crashOptions(percent int) vfs.CrashCloneCfg {
	return vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 1))}
}

// boundOf reads the bound below which a store has reserved its timestamps.
func boundOf(bound *clock.Timestamp) func(*storage.Store) {
	return func(s *storage.Store) { *bound = s.Start().Bound }
}

// passes waits until the machine's clock has passed what was reserved, unless it need not.
func passes(t *testing.T, bound clock.Timestamp, reused bool) {
	t.Helper()
	await(t, "the clock has passed what was reserved", func() string {
		if !reused && clock.WallOf(time.Now()) <= bound.Wall() {
			return "not yet"
		}
		return ""
	})
}
