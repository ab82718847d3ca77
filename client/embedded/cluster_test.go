package embedded

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
)

func threeRegions(t *testing.T) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := StartCluster(ctx, ClusterOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func converged(t *testing.T, c *Cluster) client.Digest {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	d, err := c.Converge(ctx)
	require.NoError(t, err)
	return d
}

func TestWritesReachEveryRegion(t *testing.T) {
	c := threeRegions(t)
	for i, r := range c.Regions() {
		require.NoError(t, c.DB(r).Counter("n").Add(t.Context(), int64(i+1)))
		require.NoError(t, c.DB(r).Set("s").Add(t.Context(), r))
	}
	converged(t, c)
	for _, r := range c.Regions() {
		n, err := c.DB(r).Counter("n").Get(t.Context())
		require.NoError(t, err)
		require.Equal(t, int64(6), n)
	}
}

func TestNamesOfRegionsThatAreNotThereArePanics(t *testing.T) {
	c, err := StartCluster(t.Context(), ClusterOptions{Regions: []string{"eu", "us"}})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	for name, call := range map[string]func(){
		"cut":     func() { c.Cut("eu", "su") },
		"heal":    func() { c.Heal("ue", "us") },
		"itself":  func() { c.Cut("eu", "eu") },
		"isolate": func() { c.Isolate("su") },
		"rejoin":  func() { c.Rejoin("su") },
		"crash":   func() { c.Crash("su") },
		"restart": func() { _ = c.Restart(t.Context(), "su") },
		"db":      func() { c.DB("su") },
	} {
		require.Panics(t, call, name)
	}
}
