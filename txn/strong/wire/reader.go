package wire

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/theriac-db/theriac/clock"
)

// Reader reads forward and remembers the first failure, so that callers check once.
type Reader struct {
	src []byte
	bad bool
}

// NewReader reads src. What Bytes returns aliases it.
func NewReader(src []byte) Reader { return Reader{src: src} }

// Fail notes that something is malformed (invariant 2).
func (r *Reader) Fail() { r.bad, r.src = true, nil }

// Failed reports whether something was malformed.
func (r *Reader) Failed() bool { return r.bad }

// Finished reports whether everything was read and nothing was malformed.
func (r *Reader) Finished() bool { return !r.bad && len(r.src) == 0 }

// Left is how many bytes have not been read.
func (r *Reader) Left() int { return len(r.src) }

// Take reads n bytes, which alias the source.
func (r *Reader) Take(n uint64) []byte {
	if n > uint64(len(r.src)) {
		r.Fail()
		return nil
	}
	out := r.src[:n:n]
	r.src = r.src[n:]
	return out
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.src) == 0 {
		r.Fail()
		return 0
	}
	b := r.src[0]
	r.src = r.src[1:]
	return b
}

// Bool reads a byte that is 0 or 1.
func (r *Reader) Bool() bool {
	b := r.Byte()
	if b > 1 {
		r.Fail()
	}
	return b == 1
}

// Uint64 reads 8 bytes, big endian.
func (r *Reader) Uint64() uint64 {
	if b := r.Take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Time reads a timestamp of 8 bytes, big endian.
func (r *Reader) Time() clock.Timestamp { return clock.Timestamp(r.Uint64()) }

// Uvarint reads an unsigned number of up to 64 bits.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.src)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.src = r.src[n:]
	return v
}

// Varint reads a signed number, zigzag coded.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.src)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.src = r.src[n:]
	return v
}

// AtMost reads an unsigned number that must not be above limit.
func (r *Reader) AtMost(limit uint64) uint64 {
	v := r.Uvarint()
	if v > limit {
		r.Fail()
		return 0
	}
	return v
}

// Region reads a region's number.
func (r *Reader) Region() clock.Region { return clock.Region(r.AtMost(0xffff)) }

// Count reads a number of things that take at least so many bytes each, which bounds what a forged
// number can make a caller allocate.
func (r *Reader) Count(least int) int {
	return int(r.AtMost(uint64(len(r.src) / least)))
}

// Bytes reads a length and so many bytes, at most limit; they alias the source.
func (r *Reader) Bytes(limit uint64) []byte { return r.Take(r.AtMost(limit)) }

// Vector reads what clock.Vector.Append wrote with the same ref, into the spare capacity of buffer.
func (r *Reader) Vector(buffer []clock.Entry, ref clock.Timestamp) clock.Vector {
	v, rest, err := clock.DecodeVectorInto(buffer, r.src, ref)
	if err != nil {
		r.Fail()
		return nil
	}
	r.src = rest
	return v
}

// AppendBytes writes what Reader.Bytes reads.
func AppendBytes[T string | []byte](dst []byte, b T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// AppendBool writes what Reader.Bool reads.
func AppendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Seal appends the CRC-32C of what dst holds from begin on, 4 bytes, big endian.
func Seal(dst []byte, begin int) []byte {
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[begin:], castagnoli))
}

// Unseal checks and removes what Seal appended.
func Unseal(src []byte) ([]byte, bool) {
	n := len(src) - 4
	if n < 0 || binary.BigEndian.Uint32(src[n:]) != crc32.Checksum(src[:n], castagnoli) {
		return nil, false
	}
	return src[:n], true
}
