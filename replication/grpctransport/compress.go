package grpctransport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc/encoding"
)

// compressorName is what the streams announce in the grpc-encoding header. Zstandard at its fastest
// level beats s2 on packed records; BenchmarkCompression has the figures.
const compressorName = "zstd"

// compressorWindow is how far back a match may lie, in bytes. Each message stands alone and the
// batches of records are smaller, so more would only cost memory.
const compressorWindow = 256 << 10

func init() { encoding.RegisterCompressor(new(compressor)) }

// maxStored bounds the messages that are not compressed, in bytes: most of them are acknowledgements of a few
// dozen, which compression makes no smaller and several times as dear. It is what one byte of a frame's
// head can say.
const maxStored = 255

const storedHeadLen = 9

// storedHead is the head of a Zstandard frame (RFC 8878) that holds such a message as it is: magic number,
// a descriptor (single segment, so that a size of one byte follows), the size, and the head of its only block,
// which is raw: the size in the upper 21 bits of 3 bytes, little endian, and the bit that says that it is the last.
func storedHead(size int) [storedHeadLen]byte {
	block := size<<3 | 1
	return [storedHeadLen]byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, byte(size), byte(block), byte(block >> 8), byte(block >> 16)}
}

// compressor compresses each message by itself. It is safe for concurrent use.
type compressor struct {
	encoders, decoders sync.Pool
}

func (*compressor) Name() string { return compressorName }

// Compress returns a writer that compresses what is written to it once it is closed.
func (c *compressor) Compress(w io.Writer) (io.WriteCloser, error) {
	e, ok := c.encoders.Get().(*encoder)
	if !ok {
		z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(compressorWindow), zstd.WithEncoderCRC(false))
		if err != nil {
			return nil, err
		}
		e = &encoder{pool: &c.encoders, zstd: z}
	}
	e.to = w
	return e, nil
}

// encoder collects one message and compresses it as a whole, which is quicker than streaming.
type encoder struct {
	pool     *sync.Pool
	zstd     *zstd.Encoder
	to       io.Writer
	raw, out []byte
}

func (e *encoder) Write(p []byte) (int, error) {
	e.raw = append(e.raw, p...)
	return len(p), nil
}

func (e *encoder) Close() error {
	if n := len(e.raw); n <= maxStored {
		head := storedHead(n)
		e.out = append(append(e.out[:0], head[:]...), e.raw...)
	} else {
		e.out = e.zstd.EncodeAll(e.raw, e.out[:0])
	}
	_, err := e.to.Write(e.out)
	e.raw, e.to = e.raw[:0], nil
	e.pool.Put(e)
	return err
}

// Decompress returns a reader of the message; gRPC stops reading beyond MaxMessage.
func (c *compressor) Decompress(r io.Reader) (io.Reader, error) {
	var head [storedHeadLen]byte
	n, err := io.ReadFull(r, head[:])
	if err == nil && head == storedHead(int(head[5])) {
		return stored(r, int(head[5]))
	}
	return c.decode(io.MultiReader(bytes.NewReader(head[:n]), r))
}

// stored reads a message that is not compressed, behind its head.
func stored(r io.Reader, size int) (io.Reader, error) {
	message := make([]byte, size+1) // one more, to find out that there is none
	if n, err := io.ReadFull(r, message); n != size {
		return nil, fmt.Errorf("%d or more bytes behind the head of a message of %d (%w)", n, size, err)
	}
	return bytes.NewReader(message[:size]), nil
}

// decode reads any frame.
func (c *compressor) decode(r io.Reader) (io.Reader, error) {
	d, ok := c.decoders.Get().(*decoder)
	if !ok {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(MaxMessage), zstd.WithDecoderMaxMemory(2*MaxMessage))
		if err != nil {
			return nil, err
		}
		d = &decoder{pool: &c.decoders, zstd: z}
	}
	if err := d.zstd.Reset(r); err != nil {
		c.decoders.Put(d)
		return nil, err
	}
	return d, nil
}

// decoder goes back to its pool at the end of the message; one that is abandoned before, because
// the message is too large or damaged, is left to the garbage collector.
type decoder struct {
	pool *sync.Pool
	zstd *zstd.Decoder
}

func (d *decoder) Read(p []byte) (int, error) {
	if d.zstd == nil {
		return 0, io.EOF
	}
	n, err := d.zstd.Read(p)
	if errors.Is(err, io.EOF) {
		d.pool.Put(&decoder{pool: d.pool, zstd: d.zstd})
		d.zstd = nil
	}
	return n, err
}
