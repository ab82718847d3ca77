package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Root without the right to mount, as in most containers, gets quotas as any user does.
func TestRootThatMayNotMountGetsQuotas(t *testing.T) {
	require.NoError(t, mayMountIf(MinDisk, 0, func() error { return nil }))
	require.ErrorContains(t, mayMountIf(MinDisk-1, 0, nil), "want at least")
	require.ErrorContains(t, mayMountIf(MinDisk, 1000, nil), "needs root")
	incapable := func(bytes int64) error { return mayMountIf(bytes, 0, func() error { return syscall.EPERM }) }
	require.ErrorIs(t, incapable(MinDisk), syscall.EPERM)
	require.ErrorContains(t, incapable(MinDisk), "though this is root: operation not permitted; leave the size of the disks out")
	var o Options
	require.NoError(t, o.prepare([]string{"disk-full"}, incapable))
	require.Zero(t, o.DiskBytes)
	require.True(t, o.TestFaults)
	o = Options{}
	require.NoError(t, o.prepare([]string{"disk-full"}, func(int64) error { return nil }))
	require.EqualValues(t, DefaultDisk, o.DiskBytes)
	require.True(t, o.TestFaults)
}

func TestTheProbeLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := probeIn(dir); err != nil {
		require.Error(t, probe(), "the same for all")
		t.Logf("NOT TESTED: that a disk is unmounted: %v", err)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	require.True(t, errors.Is(probeIn(filepath.Join(dir, "none")), os.ErrNotExist))
}
