package meta

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/wire"
)

// commandVersion is the first byte of every command.
const commandVersion = 2

// Command is one decision about the metadata that is asked for. Encode and Decode make bytes of it.
type Command interface {
	kind() byte
	append(dst []byte) []byte
	// check refuses what could never be decided; it must not depend on what else this version knows.
	check() error
	apply(s *State, last clock.Timestamp) (Result, error)
}

// Found makes the first region, number 1, which serves at once. It is refused once there is a region.
type Found struct {
	Name  string
	Store uint64 // incarnation of the region's store, never 0
}

// Add lets a region of a new name join. Asked again while that region joins, it answers the same number,
// and the store is the one named last. One region joins at a time.
type Add struct {
	Name  string
	Store uint64
}

// Serve ends a region's joining: it holds what the others do, and serves. Store must be the one that joins.
type Serve struct {
	Region clock.Region
	Store  uint64
}

// Abandon gives up a region that joins. Its number is spent.
type Abandon struct {
	Region clock.Region
}

// Replace says that a serving region goes on with another store, having lost the one it had. Was must be
// the one that is known, so that a delayed command changes nothing.
type Replace struct {
	Region clock.Region
	Was    uint64
	Store  uint64
}

// Fence is the first of the two decisions that remove a region: from here on nobody takes records from it,
// or those of its lanes from others. The region may be unreachable.
type Fence struct {
	Region clock.Region
}

// Held is what a serving region holds, applied and on its disk, of every region that is fenced or removed
// (State.Ended), having applied the metadata of Version. It is asked for (State.Missing) after a fence, and
// after a store was lost, since what was held there alone is gone.
type Held struct {
	Reporter clock.Region
	Version  uint64
	Holds    clock.Vector // entries of other regions do not count
}

// Close is the second decision: once every serving region has reported since the fence, the region is
// removed for good.
type Close struct {
	Region clock.Region
}

// Create decides the rules of a bucket that has none. Generation is not the caller's to say.
type Create struct {
	Rules kv.BucketRules
}

// Alter replaces the rules of a bucket, but for its generation and when it was created.
type Alter struct {
	Rules kv.BucketRules
	Was   uint64 // Bucket.Since of the rules that this was made from; 0: whatever they are now
}

// Drop takes a bucket's rules away, if it has any, and raises its generation, so that its keys are no more.
// Generation is the one whose keys they are: a bucket that somebody else has dropped meanwhile is left alone.
type Drop struct {
	Bucket     kv.Bucket
	Generation uint32
	Ruled      bool // only if it has rules: without rules and data there is no such bucket
}

// Acknowledge says that a region acts by the metadata of a version, in all that it serves from now on.
type Acknowledge struct {
	Region  clock.Region
	Version uint64
}

const (
	kindFound byte = iota + 1
	kindAdd
	kindServe
	kindAbandon
	kindReplace
	kindFence
	kindHeld
	kindClose
	kindCreate
	kindAlter
	kindDrop
	kindAcknowledge
)

func (*Found) kind() byte       { return kindFound }
func (*Add) kind() byte         { return kindAdd }
func (*Serve) kind() byte       { return kindServe }
func (*Abandon) kind() byte     { return kindAbandon }
func (*Replace) kind() byte     { return kindReplace }
func (*Fence) kind() byte       { return kindFence }
func (*Held) kind() byte        { return kindHeld }
func (*Close) kind() byte       { return kindClose }
func (*Create) kind() byte      { return kindCreate }
func (*Alter) kind() byte       { return kindAlter }
func (*Drop) kind() byte        { return kindDrop }
func (*Acknowledge) kind() byte { return kindAcknowledge }

// Encode makes bytes of a command. What nobody could mean is refused here, before it is proposed: rules of
// a bucket by all that this version knows of types and levels, which State must not depend on.
func Encode(c Command) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	var err error
	switch c := c.(type) {
	case *Create:
		err = c.Rules.Check()
	case *Alter:
		err = c.Rules.Check()
	case *Drop:
		err = kv.CheckDrop(c.Bucket)
	}
	if err != nil {
		return nil, err
	}
	return c.append([]byte{commandVersion, c.kind()}), nil
}

// Decode reads what Encode made. The result aliases nothing of it.
func Decode(command []byte) (Command, error) {
	r := wire.NewReader(command)
	if r.Byte() != commandVersion {
		r.Fail()
	}
	c := read(&r, r.Byte())
	if !r.Finished() || c.check() != nil {
		return nil, kv.Errorf(kv.KindCorrupt, "malformed metadata command (%d bytes)", len(command))
	}
	return c, nil
}

func read(r *wire.Reader, kind byte) Command {
	switch kind {
	case kindFound:
		return &Found{Name: readName(r), Store: r.Uint64()}
	case kindAdd:
		return &Add{Name: readName(r), Store: r.Uint64()}
	case kindServe:
		return &Serve{Region: r.Region(), Store: r.Uint64()}
	case kindAbandon:
		return &Abandon{Region: r.Region()}
	case kindReplace:
		return &Replace{Region: r.Region(), Was: r.Uint64(), Store: r.Uint64()}
	case kindFence:
		return &Fence{Region: r.Region()}
	case kindHeld:
		return &Held{Reporter: r.Region(), Version: r.Uvarint(), Holds: r.Vector(nil, 0)}
	case kindClose:
		return &Close{Region: r.Region()}
	case kindCreate:
		return &Create{Rules: readRules(r)}
	case kindAlter:
		return &Alter{Rules: readRules(r), Was: r.Uvarint()}
	case kindDrop:
		return &Drop{Bucket: kv.Bucket(r.Bytes(kv.MaxBucket)), Generation: uint32(r.AtMost(math.MaxUint32)), Ruled: r.Bool()}
	case kindAcknowledge:
		return &Acknowledge{Region: r.Region(), Version: r.Uvarint()}
	}
	r.Fail()
	return nil
}

func readName(r *wire.Reader) string { return string(r.Bytes(MaxName)) }

func (c *Found) append(dst []byte) []byte   { return appendStore(wire.AppendBytes(dst, c.Name), c.Store) }
func (c *Add) append(dst []byte) []byte     { return appendStore(wire.AppendBytes(dst, c.Name), c.Store) }
func (c *Serve) append(dst []byte) []byte   { return appendStore(appendRegion(dst, c.Region), c.Store) }
func (c *Abandon) append(dst []byte) []byte { return appendRegion(dst, c.Region) }
func (c *Replace) append(dst []byte) []byte {
	return appendStore(appendStore(appendRegion(dst, c.Region), c.Was), c.Store)
}
func (c *Fence) append(dst []byte) []byte { return appendRegion(dst, c.Region) }
func (c *Held) append(dst []byte) []byte {
	return c.Holds.Append(binary.AppendUvarint(appendRegion(dst, c.Reporter), c.Version), 0)
}
func (c *Close) append(dst []byte) []byte  { return appendRegion(dst, c.Region) }
func (c *Create) append(dst []byte) []byte { return appendRules(dst, &c.Rules) }
func (c *Alter) append(dst []byte) []byte {
	return binary.AppendUvarint(appendRules(dst, &c.Rules), c.Was)
}
func (c *Drop) append(dst []byte) []byte {
	return wire.AppendBool(binary.AppendUvarint(wire.AppendBytes(dst, string(c.Bucket)), uint64(c.Generation)), c.Ruled)
}
func (c *Acknowledge) append(dst []byte) []byte {
	return binary.AppendUvarint(appendRegion(dst, c.Region), c.Version)
}

func appendRegion(dst []byte, r clock.Region) []byte { return binary.AppendUvarint(dst, uint64(r)) }

func appendStore(dst []byte, store uint64) []byte { return binary.BigEndian.AppendUint64(dst, store) }

// appendRules encodes what a client says of a bucket: all but the generation.
func appendRules(dst []byte, r *kv.BucketRules) []byte {
	dst = wire.AppendBytes(dst, string(r.Name))
	dst = binary.AppendVarint(dst, int64(r.Created))
	dst = append(dst, byte(len(r.Types)))
	for _, t := range r.Types {
		dst = append(dst, byte(t))
	}
	dst = append(dst, byte(len(r.Levels)))
	for _, l := range r.Levels {
		dst = append(dst, byte(l))
	}
	dst = append(dst, byte(r.Level))
	dst = binary.AppendUvarint(dst, uint64(r.Bound))
	dst = wire.AppendBool(dst, r.BoundFail)
	dst = append(dst, byte(r.Durability))
	return binary.AppendUvarint(dst, uint64(r.Regions))
}

func readRules(r *wire.Reader) kv.BucketRules {
	b := kv.BucketRules{Name: kv.Bucket(r.Bytes(kv.MaxBucket)), Created: clock.Wall(r.Varint())}
	for _, t := range r.Take(uint64(r.Byte())) {
		b.Types = append(b.Types, kv.Type(t))
	}
	for _, l := range r.Take(uint64(r.Byte())) {
		b.Levels = append(b.Levels, kv.Level(l))
	}
	b.Level = kv.Level(r.Byte())
	b.Bound = time.Duration(r.AtMost(1<<63 - 1))
	b.BoundFail = r.Bool()
	b.Durability = kv.Durability(r.Byte())
	b.Regions = int(r.AtMost(1 << 16))
	return b
}

func (c *Found) check() error       { return checkNew(c.Name, c.Store) }
func (c *Add) check() error         { return checkNew(c.Name, c.Store) }
func (c *Serve) check() error       { return checkStore(c.Region, c.Store) }
func (c *Abandon) check() error     { return checkRegion(c.Region) }
func (c *Replace) check() error     { return checkStore(c.Region, c.Store) }
func (c *Fence) check() error       { return checkRegion(c.Region) }
func (c *Close) check() error       { return checkRegion(c.Region) }
func (c *Held) check() error        { return checkRegion(c.Reporter) }
func (c *Create) check() error      { return checkRules(&c.Rules) }
func (c *Alter) check() error       { return checkRules(&c.Rules) }
func (c *Drop) check() error        { return checkBucket(c.Bucket) }
func (c *Acknowledge) check() error { return checkRegion(c.Region) }

// CheckName refuses what can't be a region's name.
func CheckName(name string) error {
	bad := len(name) == 0 || len(name) > MaxName
	for _, r := range name {
		bad = bad || r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}
	if bad {
		return kv.Errorf(kv.KindInvalid, "region name %.70q: want 1 to %d of a-z, 0-9 and \"-\"", name, MaxName)
	}
	return nil
}

func checkNew(name string, store uint64) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return checkStore(1, store)
}

func checkRegion(r clock.Region) error {
	if r == 0 {
		return kv.Errorf(kv.KindInvalid, "region 0 is no region that can be added or removed")
	}
	return nil
}

func checkStore(r clock.Region, store uint64) error {
	if store == 0 {
		return kv.Errorf(kv.KindInvalid, "a store without an incarnation")
	}
	return checkRegion(r)
}

func checkBucket(b kv.Bucket) error {
	if b == "" || len(b) > kv.MaxBucket {
		return kv.Errorf(kv.KindInvalid, "bucket %.64q: want 1 to %d bytes", string(b), kv.MaxBucket)
	}
	return nil
}

// checkRules refuses what the encoding has no room for. kv.BucketRules.Check knows more, and may know
// other things in another version.
func checkRules(r *kv.BucketRules) error {
	if len(r.Types) > 255 || len(r.Levels) > 255 || r.Bound < 0 || r.Regions < 0 || r.Regions > 1<<16 {
		return kv.Errorf(kv.KindInvalid, "bucket %.64q: rules with %d types, %d levels, a bound of %s, %d regions",
			string(r.Name), len(r.Types), len(r.Levels), r.Bound, r.Regions)
	}
	return checkBucket(r.Name)
}
