package limits

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
)

func TestStoreCommitsAndReads(t *testing.T) {
	s, err := OpenStore(t.TempDir(), Sizes{})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			a := &Add{LogKey: fmt.Appendf(nil, "log%d", i), Record: []byte("record"), Leaf: []byte("leaf"), Operand: []byte("12")}
			require.NoError(t, s.Commit(a, i%2 == 0))
		})
	}
	wg.Wait()
	n, err := s.Get([]byte("leaf"))
	require.NoError(t, err)
	require.Equal(t, 16, n, "operands are concatenated")
	require.NoError(t, s.Set([]byte("plain"), make([]byte, 10)))
	require.NoError(t, s.Flush())
	n, err = s.Get([]byte("plain"))
	require.NoError(t, err)
	require.Equal(t, 10, n)
	_, err = s.Get([]byte("missing"))
	require.ErrorIs(t, err, pebble.ErrNotFound)
	require.NoError(t, s.Close())
}

func TestOpenFailsWithTheFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err := OpenStore(file, Sizes{})
	require.ErrorContains(t, err, file)
	_, err = CompactedBytes(t.Context(), file, "x", nil, nil)
	require.ErrorContains(t, err, file)
}

func TestCompactedBytesCountsWhatIsLeft(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir, Sizes{})
	require.NoError(t, err)
	key := func(i int) []byte { return fmt.Appendf(nil, "a%06d", i) }
	for i := range 10_000 {
		require.NoError(t, s.Set(key(i), bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 50)))
	}
	require.NoError(t, s.Close())
	name := pebble.DefaultMerger.Name
	full, err := CompactedBytes(t.Context(), dir, name, []byte("a"), []byte("b"))
	require.NoError(t, err)
	require.Greater(t, full, uint64(10_000))

	s, err = OpenStore(dir, Sizes{})
	require.NoError(t, err)
	for i := range 10_000 {
		require.NoError(t, s.db.Delete(key(i), pebble.NoSync))
	}
	require.NoError(t, s.Close())
	empty, err := CompactedBytes(t.Context(), dir, name, []byte("a"), []byte("b"))
	require.NoError(t, err)
	require.Less(t, empty, uint64(1000))

	s, err = OpenStore(dir, Sizes{})
	require.NoError(t, err)
	require.NoError(t, s.Set(key(1), make([]byte, 1000)))
	require.NoError(t, s.Close())
	other, err := CompactedBytes(t.Context(), dir, name, []byte("b"), []byte("c"))
	require.NoError(t, err)
	require.Zero(t, other, "only what lies in the range counts")
}

func TestEchoAnswersWithItsSize(t *testing.T) {
	s := NewEchoServer(77)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	c, err := DialEcho(l.Addr().String())
	require.NoError(t, err)
	n, err := c.Call(t.Context(), []byte("request"))
	require.NoError(t, err)
	require.Equal(t, 77, n)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Call(ctx, nil)
	require.Error(t, err)
	s.Stop()
	require.NoError(t, <-done)
	require.NoError(t, c.Close())
	_, err = DialEcho("\x00")
	require.Error(t, err)
}
