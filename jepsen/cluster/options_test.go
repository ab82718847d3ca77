package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBadOptions(t *testing.T) {
	path, err := binary()
	require.NoError(t, err)
	many := make([]string, MaxRegions+1)
	for i := range many {
		many[i] = fmt.Sprintf("r%d", i)
	}
	taken := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(taken, "eu"), 0o755))
	good := Options{Binary: path, Regions: []string{"eu"}}
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"no binary":        {func(o *Options) { o.Binary = "/nowhere/theriac" }, "no theriac command"},
		"a folder":         {func(o *Options) { o.Binary = "/" }, "it is a folder"},
		"another command":  {func(o *Options) { o.Binary = "/bin/true" }, "region eu: it ended before it served: with exit code 0"},
		"one that fails":   {func(o *Options) { o.Binary = "/bin/false" }, "region eu: it ended before it served: exit status 1"},
		"no command":       {func(o *Options) { o.Binary = filepath.Join(o.Dir, "text") }, "permission denied"},
		"no folder":        {func(o *Options) { o.Dir = "" }, "no folder"},
		"no regions":       {func(o *Options) { o.Regions = nil }, "0 regions"},
		"too many":         {func(o *Options) { o.Regions = many }, "want 1 to 64"},
		"a bad name":       {func(o *Options) { o.Regions = []string{"../x"} }, `region name "../x"`},
		"twice":            {func(o *Options) { o.New = []string{"eu"} }, "region eu is named twice"},
		"a folder in use":  {func(o *Options) { o.Dir = taken }, "is there already"},
		"a disk too small": {func(o *Options) { o.DiskBytes = 1 }, "want at least"},
		"a bad flag":       {func(o *Options) { o.Serve = []string{"--no-such"} }, "unknown flag"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			o.Dir = t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(o.Dir, "text"), nil, 0o644))
			c.change(&o)
			cluster, err := Start(t.Context(), o)
			require.ErrorContains(t, err, c.want)
			require.Nil(t, cluster)
		})
	}
}

func TestNodesArePreparedForWhatIsDoneToThem(t *testing.T) {
	for names, want := range map[string]struct{ faults, disks bool }{
		"none": {}, "partition": {}, "clock": {faults: true}, "disk-full": {true, true}, "all": {true, true},
	} {
		var o Options
		require.NoError(t, o.Prepare(strings.Split(names, ",")))
		if mayMount(DefaultDisk) == nil {
			require.Equal(t, want.disks, o.DiskBytes > 0, names)
			require.Equal(t, want.faults, o.TestFaults, names)
		} else {
			require.Zero(t, o.DiskBytes)
			require.Equal(t, want.faults, o.TestFaults, names)
		}
	}
	require.ErrorContains(t, new(Options).Prepare([]string{"flood"}), "there are none, all")
}

func TestUnknownRegions(t *testing.T) {
	c := start(t, Options{Regions: []string{"eu"}, New: []string{"us"}})
	ctx := t.Context()
	for _, err := range []error{c.Kill(ctx, "xx"), c.Restart(ctx, "xx"), c.Pause(ctx, "xx"), c.Resume(ctx, "xx"), c.Stop(ctx, "xx"),
		c.Add(ctx, "xx"), c.Await(ctx, "xx"), c.SetClock(ctx, "xx", 1), c.FillDisk(ctx, "xx"), c.FreeDisk(ctx, "xx")} {
		require.ErrorContains(t, err, `no region "xx"`)
	}
	require.ErrorContains(t, c.Kill(ctx, "us"), "region us was not added yet")
	require.ErrorContains(t, c.SetClock(ctx, "eu", 1), "Options.TestFaults")
	require.ErrorContains(t, c.FillDisk(ctx, "eu"), "Options.TestFaults")
	require.Panics(t, func() { c.DB("xx") })
	require.NoError(t, c.Stop(ctx, "eu"))
	require.NoError(t, c.Restart(ctx, "eu"))
	add(t, c, "eu", "n", 1)
}

func TestNamespacesSayWhatTheyNeed(t *testing.T) {
	all := func(string) (string, error) { return "", nil }
	without := func(missing string) func(string) (string, error) {
		return func(name string) (string, error) {
			if name == missing {
				return "", os.ErrNotExist
			}
			return "", nil
		}
	}
	require.NoError(t, mayNamespaceOn("linux", 0, all))
	require.ErrorContains(t, mayNamespaceOn("darwin", 0, all), "need Linux: leave out --namespaces")
	require.ErrorContains(t, mayNamespaceOn("linux", 1000, all), "need root: run as root, or leave out --namespaces")
	require.ErrorContains(t, mayNamespaceOn("linux", 0, without("nft")), "the command nft, which is missing: install it (on Debian: apt install nftables)")
	require.ErrorContains(t, mayNamespaceOn("linux", 0, without("ip")), "apt install iproute2")
	require.ErrorContains(t, run("false"), "cluster: false: exit status 1")
}

// What is left of a cluster whose program was killed goes when the next one begins.
func TestNamespacesOfTheDeadAreRemoved(t *testing.T) {
	if err := mayNamespace(); err != nil {
		t.Logf("NOT TESTED: %v", err)
		return
	}
	const dead, other = "theriac-2147483647-1", "theriac-of-somebody-else"
	for _, name := range []string{dead, other} {
		require.NoError(t, run("ip", "netns", "add", name))
	}
	t.Cleanup(func() { require.NoError(t, run("ip", "netns", "del", other)) })
	removeLeft()
	require.NoFileExists(t, "/run/netns/"+dead)
	require.FileExists(t, "/run/netns/"+other)
}
