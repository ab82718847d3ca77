package quota

import (
	"io"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func TestWhatDoesNotFitIsRefusedAsByAFullDisk(t *testing.T) {
	fs := New(vfs.NewMem())
	require.Equal(t, int64(Unlimited), fs.Room())
	f, err := fs.Create("a", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 100))
	require.NoError(t, err)

	fs.SetRoom(10)
	n, err := f.Write(make([]byte, 7))
	require.NoError(t, err)
	require.Equal(t, 7, n)
	n, err = f.Write(make([]byte, 7))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "write a: no space left on device")
	require.Equal(t, 3, n, "what fits is written")
	require.Zero(t, fs.Room())
	require.NoError(t, f.Sync())
	_, err = f.Write(nil)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	f, err = fs.OpenReadWrite("b", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte{1})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
	f, err = fs.ReuseForWrite("b", "c", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte{1})
	require.ErrorIs(t, err, syscall.ENOSPC)
	fs.SetRoom(Unlimited)
	_, err = f.Write(make([]byte, 1000))
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestEverythingElsePasses(t *testing.T) {
	inner := vfs.NewMem()
	fs := New(inner)
	require.Same(t, inner, fs.Unwrap())
	fs.SetRoom(0)
	f, err := fs.OpenReadWrite("a", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("x"), 0)
	require.NoError(t, err, "in place")
	require.NoError(t, f.Close())
	r, err := fs.Open("a")
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "x", string(b))
	require.NoError(t, r.Close())
	_, err = fs.Create("b/c", vfs.WriteCategoryUnspecified)
	require.Error(t, err)
	_, err = fs.ReuseForWrite("none", "some", vfs.WriteCategoryUnspecified)
	require.Error(t, err)
}
