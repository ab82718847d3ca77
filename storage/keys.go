package storage

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Shards is the number of slices that objects are spread over.
const Shards = 64

// Key spaces, by first byte.
const (
	spaceLeaf      byte = 0x10
	spaceLog       byte = 0x20
	spaceCertified byte = 0x30
	spaceRaft      byte = 0x40
	spaceMeta      byte = 0x50
)

// Kinds of metadata, by second byte.
const (
	metaState     byte = 0x00
	metaUser      byte = 0x01
	metaPending   byte = 0x02
	metaVoid      byte = 0x03
	metaTruncated byte = 0x04
	metaShort     byte = 0x05
	metaDrop      byte = 0x06
)

var (
	stateKey = []byte{spaceMeta, metaState}
	shortKey = []byte{spaceMeta, metaShort}
)

// Shard is the slice that an object lies in, whatever its type.
func Shard(bucket kv.Bucket, key kv.Key) uint8 {
	return shardOf(append(append(append(make([]byte, 0, 128), bucket...), 0), key...))
}

func shardOf(bucketZeroKey []byte) uint8 { return uint8(xxhash.Sum64(bucketZeroKey) % Shards) }

// Leaf names one leaf: an object of a simple type, or one element or field of a collection.
type Leaf struct {
	kv.Object
	Generation uint32 // of the bucket
	Path       []byte // encoded with kv.AppendPath; empty for the object itself
}

// Type is the type of the leaf: that of the last step, or the object's.
func (l *Leaf) Type() kv.Type {
	if n := len(l.Path); n > 0 {
		return kv.Type(l.Path[n-1])
	}
	return l.Object.Type
}

// appendKey encodes the leaf's key.
func (l *Leaf) appendKey(dst []byte) []byte {
	return append(appendObjectKey(dst, &l.Object, l.Generation), l.Path...)
}

// appendObjectKey encodes what all leaves of an object begin with.
func appendObjectKey(dst []byte, o *kv.Object, generation uint32) []byte {
	start := len(dst)
	dst = append(append(append(dst, o.Bucket...), 0), o.Key...)
	shard := shardOf(dst[start:])
	dst = appendBucketKey(dst[:start], shard, o.Bucket, generation)
	return append(kv.AppendName(dst, string(o.Key)), byte(o.Type))
}

// appendBucketKey encodes what all leaves of a bucket in one shard begin with.
func appendBucketKey(dst []byte, shard uint8, bucket kv.Bucket, generation uint32) []byte {
	dst = kv.AppendName(append(dst, spaceLeaf, shard), string(bucket))
	return binary.BigEndian.AppendUint32(dst, generation)
}

// appendNamePrefix encodes what the encodings of all names that begin with s begin with.
func appendNamePrefix(dst []byte, s string) []byte {
	dst = kv.AppendName(dst, s)
	return dst[:len(dst)-2]
}

// leafType is the type of the leaf with this key: a key ends with its last step's type.
func leafType(key []byte) kv.Type { return kv.Type(key[len(key)-1]) }

// parseLeaf reads what appendKey wrote. The path aliases key.
func parseLeaf(key []byte) (Leaf, error) {
	bad := kv.Errorf(kv.KindCorrupt, "storage: malformed leaf key %x", key)
	if len(key) < 2 || key[0] != spaceLeaf || key[1] >= Shards {
		return Leaf{}, bad
	}
	bucket, rest, err := kv.DecodeName(key[2:])
	if err != nil || len(rest) < 4 {
		return Leaf{}, bad
	}
	generation := binary.BigEndian.Uint32(rest)
	name, rest, err := kv.DecodeName(rest[4:])
	if err != nil || len(rest) == 0 {
		return Leaf{}, bad
	}
	object := kv.Object{Bucket: kv.Bucket(bucket), Key: kv.Key(name), Type: kv.Type(rest[0])}
	return Leaf{Object: object, Generation: generation, Path: rest[1:]}, nil
}

// successor is the least key above every key that begins with prefix; nil: there is none.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			next := append([]byte(nil), prefix[:i+1]...)
			next[i]++
			return next
		}
	}
	return nil
}

func appendLane(dst []byte, l clock.Lane) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(l.Region)), byte(l.Slot))
}

func decodeLane(src []byte) clock.Lane {
	return clock.Lane{Region: clock.Region(binary.BigEndian.Uint16(src)), Slot: clock.Slot(src[2])}
}

func appendLogKey(dst []byte, l clock.Lane, t clock.Timestamp) []byte {
	return binary.BigEndian.AppendUint64(appendLane(append(dst, spaceLog), l), uint64(t))
}

// logKeyLen is the length of every log key.
const logKeyLen = 1 + 3 + 8

// decodeLogKey reads what appendLogKey wrote.
func decodeLogKey(key []byte) (clock.Lane, clock.Timestamp, error) {
	if len(key) != logKeyLen || key[0] != spaceLog {
		return clock.Lane{}, 0, kv.Errorf(kv.KindCorrupt, "storage: malformed log key %x", key)
	}
	return decodeLane(key[1:]), clock.Timestamp(binary.BigEndian.Uint64(key[4:])), nil
}

func userKey(name string) []byte { return append([]byte{spaceMeta, metaUser}, name...) }

func pendingKey(d clock.Dot) []byte {
	k := binary.BigEndian.AppendUint16([]byte{spaceMeta, metaPending}, uint16(d.Region))
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(k, uint64(d.Time)), d.Index)
}

func decodePendingKey(key []byte) (clock.Dot, bool) {
	if len(key) != 2+2+8+4 || key[0] != spaceMeta || key[1] != metaPending {
		return clock.Dot{}, false
	}
	return clock.Dot{
		Region: clock.Region(binary.BigEndian.Uint16(key[2:])),
		Time:   clock.Timestamp(binary.BigEndian.Uint64(key[4:])),
		Index:  binary.BigEndian.Uint32(key[12:]),
	}, true
}

// voidKeyLen is the length of every key of a void interval.
const voidKeyLen = 2 + 3 + 8

func voidKey(l clock.Lane, from clock.Timestamp) []byte {
	k := appendLane([]byte{spaceMeta, metaVoid}, l)
	return binary.BigEndian.AppendUint64(k, uint64(from))
}

func truncatedKey(l clock.Lane) []byte { return appendLane([]byte{spaceMeta, metaTruncated}, l) }

// decodeTruncated reads up to where a lane's log was truncated.
func decodeTruncated(key, value []byte) (clock.Lane, clock.Timestamp, error) {
	if len(key) != 2+3 || key[0] != spaceMeta || key[1] != metaTruncated || len(value) != 8 {
		return clock.Lane{}, 0, kv.Errorf(kv.KindCorrupt, "storage: malformed log mark %x: %x", key, value)
	}
	return decodeLane(key[2:]), clock.Timestamp(binary.BigEndian.Uint64(value)), nil
}
