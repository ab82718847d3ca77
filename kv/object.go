package kv

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/theriac-db/theriac/clock"
)

// Limits on what a client may ask for. docs/reference/limits.md lists them.
const (
	MaxBucket  = 255     // bytes in a bucket's name
	MaxKey     = 4 << 10 // bytes in a key, and in a field's name
	MaxElement = 1 << 20 // bytes in a set's element or a register's value
	MaxDepth   = 32      // fields on the path to a leaf
	MaxOps     = 10_000  // operations in one transaction
	MaxQueries = 10_000  // queries in one request
)

// Bucket is a namespace of keys. It exists once it has been written to.
type Bucket string

// DefaultBucket is where operations without a bucket go.
const DefaultBucket Bucket = "default"

// ReservedPrefix begins the names of the database's own buckets. They are left out of digests, of
// exports and of the list of buckets, so data in them would be overlooked: writes to them are refused
// (CheckWritable).
const ReservedPrefix = "theriac."

// ImportBucket is where imports keep how far they have come: docs/formats/jsonl.md. Those who import
// are clients, so it is the one reserved bucket that clients may write to.
const ImportBucket Bucket = ReservedPrefix + "import"

// Reserved reports whether a bucket is one of the database's own.
func (b Bucket) Reserved() bool { return strings.HasPrefix(string(b), ReservedPrefix) }

// CheckWritable refuses a client's write to a reserved bucket. Removing an object of one is allowed, so
// that what another version has left there can be cleared away.
func CheckWritable(op *Op) error {
	if !op.Bucket.Reserved() || op.Bucket == ImportBucket || op.Verb == VerbReset && len(op.Path) == 0 {
		return nil
	}
	return Errorf(KindInvalid, "bucket %q: names that begin with %q are the database's own; use another", string(op.Bucket), ReservedPrefix)
}

// Key addresses an object within a bucket, together with the object's type. Any bytes.
type Key string

// Type is a data type's number, as stored. Package crdt registers types under names.
type Type uint8

// typeNames are the names under which package crdt registers its types; a test holds them to that.
var typeNames = [...]string{"", "counter", "register-lww", "register-mv", "flag-ew", "flag-dw", "set-aw", "set-rw", "set-go",
	"map", "map-go"}

func (t Type) String() string {
	if int(t) < len(typeNames) && t > 0 {
		return typeNames[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Object is what a client addresses. The type is part of the identity, so no two regions can
// create one object under two types.
type Object struct {
	Bucket Bucket
	Key    Key
	Type   Type
}

// Step is one step down from an object: a map's field (its name and type), or a set's element (the
// element and the type of the flag that says whether it is present).
type Step struct {
	Name string
	Type Type
}

// Path leads from an object to a leaf or to a collection within it. Empty for the object itself.
type Path []Step

const (
	escape     = 0x00
	escaped    = 0xff // escape, escaped stands for one zero byte
	terminator = 0x01 // escape, terminator ends a name
)

// AppendName encodes s so that encodings sort as the strings do and none is a prefix of another.
func AppendName(dst []byte, s string) []byte {
	for i := range len(s) {
		if s[i] == escape {
			dst = append(dst, escape, escaped)
		} else {
			dst = append(dst, s[i])
		}
	}
	return append(dst, escape, terminator)
}

// DecodeName reads what AppendName wrote and returns the bytes behind it.
func DecodeName(src []byte) (string, []byte, error) {
	end := bytes.IndexByte(src, escape)
	if end >= 0 && end+1 < len(src) && src[end+1] == terminator {
		return string(src[:end]), src[end+2:], nil
	}
	var out []byte
	for {
		end := bytes.IndexByte(src, escape)
		if end < 0 || end+1 >= len(src) {
			return "", nil, Errorf(KindCorrupt, "name without an end")
		}
		out = append(out, src[:end]...)
		switch src[end+1] {
		case terminator:
			return string(out), src[end+2:], nil
		case escaped:
			out = append(out, escape)
		default:
			return "", nil, Errorf(KindCorrupt, "name with an unknown escape 0x%02x", src[end+1])
		}
		src = src[end+2:]
	}
}

// SkipName returns the bytes behind an encoded name without decoding it, and whether there was one.
func SkipName(src []byte) (rest []byte, ok bool) {
	for {
		end := bytes.IndexByte(src, escape)
		if end < 0 || end+1 >= len(src) {
			return nil, false
		}
		mark := src[end+1]
		src = src[end+2:]
		if mark != escaped {
			return src, mark == terminator
		}
	}
}

// AppendPath encodes a path (invariant 1): for each step its name, then its type.
func AppendPath(dst []byte, p Path) []byte {
	for _, s := range p {
		dst = append(AppendName(dst, s.Name), byte(s.Type))
	}
	return dst
}

// DecodePath reads a whole encoded path.
func DecodePath(src []byte) (Path, error) {
	var p Path
	for len(src) > 0 {
		name, rest, err := DecodeName(src)
		if err != nil {
			return nil, err
		}
		if len(rest) == 0 {
			return nil, Errorf(KindCorrupt, "path step without a type")
		}
		if len(p) > MaxDepth {
			return nil, Errorf(KindCorrupt, "path deeper than %d", MaxDepth+1)
		}
		p = append(p, Step{Name: name, Type: Type(rest[0])})
		src = rest[1:]
	}
	return p, nil
}

// Verb says what an operation does to what it addresses. Package crdt knows which verbs a type has.
type Verb uint8

// The verbs. Int and Data name the fields of Op that they use.
const (
	VerbIncrement Verb = iota + 1 // counter: Int, may be negative
	VerbAssign                    // registers: Data
	VerbEnable                    // flags
	VerbDisable                   // flags
	VerbAdd                       // sets: Data is the element
	VerbRemove                    // sets: Data is the element
	VerbReset                     // any type, any path: removes what is there and below
)

var verbNames = [...]string{"", "increment", "assign", "enable", "disable", "add", "remove", "reset"}

func (v Verb) String() string {
	if int(v) < len(verbNames) && v > 0 {
		return verbNames[v]
	}
	return fmt.Sprintf("verb(%d)", uint8(v))
}

// Op is one update as the client says it. Every update is a blind write.
type Op struct {
	Object
	Path Path // fields from the object down to what is addressed; empty for the object itself
	Verb Verb
	Int  int64
	Data []byte
	// Expect, where it is not nil, makes the whole transaction conditional: this register's value
	// must be the given one in the region that commits, or nothing is written (ErrAborted).
	Expect *Expectation
}

// Expectation is the condition of a compare-and-set on a register-lww.
type Expectation struct {
	Absent bool   // the register must have no value
	Value  []byte // else it must have this one
}

// QueryKind says what a query asks.
type QueryKind uint8

const (
	QueryValue    QueryKind = iota // the whole value of what is addressed
	QueryContains                  // whether a set holds Data
	QueryPage                      // up to Limit elements or fields, from behind the cursor After; see MaxPage
)

// Query is one read.
type Query struct {
	Object
	Path  Path
	Kind  QueryKind
	Data  []byte // QueryContains: the element
	After []byte // QueryPage: the Next of the page before; empty for the first
	Limit int    // QueryPage: elements at most, 1 to MaxPage
}

// MaxPage bounds a page of elements, fields, keys or buckets. A page also ends once it holds MaxPageBytes, or
// MaxPage leaves: then a field that is itself a set or a map may be cut, and the next page begins
// with its rest. No two fields of a map have one name and type, so a first field with those of the
// last one before is always such a rest.
const (
	MaxPage      = 10_000
	MaxPageBytes = 1 << 20
)

// MaxAnswerBytes bounds the names, elements and values in the answer to one call, but for a single
// leaf that is larger alone. Pages are for more.
const MaxAnswerBytes = 16 << 20

// Value is what a query returns. The fields that a type does not use are zero.
type Value struct {
	Type    Type
	Present bool     // whether anything is there
	Int     int64    // counter
	Flag    bool     // flags; QueryContains
	Bytes   []byte   // register-lww
	List    [][]byte // register-mv: its values; sets: their elements; both in byte order
	Fields  []Field  // maps, in the order of (name, type)
	Next    []byte   // QueryPage: cursor of the next page; empty when this was the last
}

// Field finds a map's field.
func (v Value) Field(name string, t Type) (Value, bool) {
	for i := range v.Fields {
		if v.Fields[i].Name == name && v.Fields[i].Value.Type == t {
			return v.Fields[i].Value, true
		}
	}
	return Value{}, false
}

// Field is a map's field with its value.
type Field struct {
	Name  string
	Value Value // Value.Type is the field's type
}

// Effect is one operation as stored and shipped, on a leaf or, for a reset of a collection, on
// everything below a path.
type Effect struct {
	Object
	Generation uint32 // of the bucket
	Path       []byte // encoded with AppendPath
	Op         []byte // encoded by crdt
	Index      uint32 // within the group; derived from the position, not encoded
}

// Txn is one transaction of a group.
type Txn struct {
	ID       OpID         // zero: none
	Snapshot clock.Vector // nil when no effect of it overrides others
	Effects  []Effect
}
