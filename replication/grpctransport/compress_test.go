package grpctransport

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

func compressed(t *testing.T, c *compressor, message []byte) []byte {
	var wire bytes.Buffer
	w, err := c.Compress(&wire)
	require.NoError(t, err)
	_, err = w.Write(message)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return wire.Bytes()
}

// Every message is one Zstandard frame, whichever way it was made: any decoder reads it, and ours any frame.
func TestMessagesAreZstandardFrames(t *testing.T) {
	c := &compressor{}
	decoder, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer decoder.Close()
	foreign, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	defer foreign.Close()
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{0, 1, 9, maxStored - 1, maxStored, maxStored + 1, 5000} {
		message := make([]byte, size)
		_, _ = random.Read(message)
		wire := compressed(t, c, message)
		plain, err := decoder.DecodeAll(wire, nil)
		require.NoError(t, err, "%d bytes", size)
		require.True(t, bytes.Equal(message, plain), "%d bytes", size)
		if size <= maxStored {
			require.Len(t, wire, storedHeadLen+size)
		}
		for _, frame := range [][]byte{wire, foreign.EncodeAll(message, nil)} {
			r, err := c.Decompress(bytes.NewReader(frame))
			require.NoError(t, err, "%d bytes", size)
			got, err := io.ReadAll(r)
			require.NoError(t, err, "%d bytes", size)
			require.True(t, bytes.Equal(message, got), "%d bytes", size)
		}
	}
}

func TestDamagedFramesAreRefused(t *testing.T) {
	c := &compressor{}
	whole := compressed(t, c, []byte("a message that is short"))
	for n := 1; n < len(whole); n++ {
		r, err := c.Decompress(bytes.NewReader(whole[:n]))
		if err == nil {
			_, err = io.ReadAll(r)
		}
		require.Error(t, err, "the first %d bytes of it", n)
	}
	_, err := c.Decompress(bytes.NewReader(append(whole, 0)))
	require.Error(t, err, "a byte too many")
}
