package crdt

import (
	"fmt"
	"unicode/utf8"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Target is where an operation lands.
type Target struct {
	Path     kv.Path // to the leaf, or to the collection that a reset removes; nil from EffectTarget
	Leaf     kv.Type // type of the leaf; 0 when Below
	Below    bool    // lands on every leaf below Path that it touches
	Override bool    // covers others: goes with the transaction's snapshot
	Op       []byte  // encoded operation
}

// Resolve validates a client's operation and says where it lands and as what. Errors match
// kv.ErrInvalid or kv.ErrTooLarge.
//
// A bucket needs a name. Keys, field names, elements and values may be any bytes, none included.
func Resolve(op kv.Op) (Target, error) {
	t, err := Address(op.Object, op.Path)
	if err != nil {
		return Target{}, err
	}
	if len(op.Data) > kv.MaxElement {
		return Target{}, kv.Errorf(kv.KindTooLarge, "%s of %s with %d bytes: a value or an element has at most %d",
			op.Verb, describe(&op), len(op.Data), kv.MaxElement)
	}
	if op.Expect != nil {
		if err := checkExpectation(&op, t); err != nil {
			return Target{}, err
		}
	}
	if op.Int != 0 && op.Verb != kv.VerbIncrement {
		return Target{}, kv.Errorf(kv.KindInvalid, "%s of %s carries an amount: only increments do", op.Verb, describe(&op))
	}
	if op.Verb == kv.VerbReset {
		return resolveReset(&op, t)
	}
	return resolveUpdate(&op, t)
}

// Address validates an object and a path of fields from it, and gives the type of what they address.
// Queries go through it as operations do.
func Address(o kv.Object, p kv.Path) (kv.Type, error) {
	switch {
	case o.Bucket == "":
		return 0, kv.Errorf(kv.KindInvalid, "the bucket has no name: name one, such as %q", kv.DefaultBucket)
	case len(o.Bucket) > kv.MaxBucket:
		return 0, kv.Errorf(kv.KindTooLarge, "a bucket's name of %d bytes: it has at most %d", len(o.Bucket), kv.MaxBucket)
	case !utf8.ValidString(string(o.Bucket)):
		return 0, kv.Errorf(kv.KindInvalid, "bucket name %q: want valid UTF-8", string(o.Bucket))
	case len(o.Key) > kv.MaxKey:
		return 0, kv.Errorf(kv.KindTooLarge, "a key of %d bytes in bucket %q: it has at most %d", len(o.Key), o.Bucket, kv.MaxKey)
	case len(p) > kv.MaxDepth:
		return 0, kv.Errorf(kv.KindTooLarge, "a path of %d fields below key %s: it has at most %d", len(p), short(string(o.Key)), kv.MaxDepth)
	case definitions[o.Type] == nil:
		return 0, unknownType(o.Type, "key "+short(string(o.Key)))
	}
	at := o.Type
	for _, s := range p {
		if err := checkField(at, s); err != nil {
			return 0, err
		}
		at = s.Type
	}
	return at, nil
}

// checkField validates one step of a client's path, from something of type at.
func checkField(at kv.Type, s kv.Step) error {
	switch d := definitions[at]; {
	case len(s.Name) > kv.MaxKey:
		return kv.Errorf(kv.KindTooLarge, "a field's name of %d bytes: it has at most %d", len(s.Name), kv.MaxKey)
	case d.element != 0:
		return kv.Errorf(kv.KindInvalid, "the path steps into a %s at %s: address the set itself, and give the element as the operation's or query's data",
			d.name, short(s.Name))
	case !d.fields:
		return kv.Errorf(kv.KindInvalid, "the path steps into a %s at %s: only a map has fields", d.name, short(s.Name))
	case definitions[s.Type] == nil:
		return unknownType(s.Type, "field "+short(s.Name))
	}
	return nil
}

// Element gives the step from a set of type t to an element; ok is false when t is no set.
func Element(t kv.Type, element []byte) (step kv.Step, ok bool) {
	if d := definitions[t]; d != nil && d.element != 0 {
		return kv.Step{Name: string(element), Type: d.element}, true
	}
	return kv.Step{}, false
}

func checkExpectation(op *kv.Op, t kv.Type) error {
	switch {
	case t != RegisterLWW:
		return kv.Errorf(kv.KindInvalid, "%s of %s expects a value: only a register-lww can be compared", op.Verb, describe(op))
	case len(op.Expect.Value) > kv.MaxElement:
		return kv.Errorf(kv.KindTooLarge, "%s of %s expects %d bytes: a value has at most %d",
			op.Verb, describe(op), len(op.Expect.Value), kv.MaxElement)
	case op.Expect.Absent && len(op.Expect.Value) != 0:
		return kv.Errorf(kv.KindInvalid, "%s of %s expects no value and a value: say one of them", op.Verb, describe(op))
	}
	return nil
}

func resolveReset(op *kv.Op, t kv.Type) (Target, error) {
	if len(op.Data) != 0 {
		return Target{}, kv.Errorf(kv.KindInvalid, "reset of %s carries %d bytes of data: it takes none (remove takes an element out of a set)",
			describe(op), len(op.Data))
	}
	if n := len(op.Path); n > 0 {
		holder := op.Type
		if n > 1 {
			holder = op.Path[n-2].Type
		}
		if definitions[holder].growOnly {
			return Target{}, kv.Errorf(kv.KindInvalid, "reset of a field of a %s, which only grows: reset the whole of it, or use a map", Name(holder))
		}
	}
	target := Target{Path: op.Path, Override: true, Op: resetOp}
	if IsCollection(t) {
		target.Below = true
	} else {
		target.Leaf = t
	}
	return target, nil
}

func resolveUpdate(op *kv.Op, t kv.Type) (Target, error) {
	d := definitions[t]
	switch {
	case d.fields:
		return Target{}, unknownVerb(op, "reset; a path to a field addresses what is in it")
	case d.element != 0:
		return resolveElement(op, t)
	}
	encoded, err := d.rules.encode(op)
	if err != nil {
		return Target{}, err
	}
	return Target{Path: op.Path, Leaf: t, Override: d.rules.class(encoded).overrides(), Op: encoded}, nil
}

// resolveElement turns an operation on a set into one on the flag of its element.
func resolveElement(op *kv.Op, t kv.Type) (Target, error) {
	d := definitions[t]
	code := byte(opEnable)
	switch {
	case op.Verb == kv.VerbAdd:
	case op.Verb == kv.VerbRemove && !d.growOnly:
		code = opDisable
	case d.growOnly:
		return Target{}, unknownVerb(op, "add and reset; it only grows")
	default:
		return Target{}, unknownVerb(op, "add, remove and reset")
	}
	step, _ := Element(t, op.Data)
	path := append(op.Path[:len(op.Path):len(op.Path)], step)
	flag := definitions[d.element].rules
	encoded := []byte{code}
	return Target{Path: path, Leaf: d.element, Override: flag.class(encoded).overrides(), Op: encoded}, nil
}

// EffectTarget is Resolve for an effect out of a record. It checks the path without decoding it
// and leaves Target.Path nil. Errors match kv.ErrCorrupt.
func EffectTarget(e *kv.Effect) (Target, error) {
	t, ok := endOfPath(e.Type, e.Path)
	if !ok {
		return Target{}, kv.Errorf(kv.KindCorrupt, "an effect on a malformed path below a %s", Name(e.Type))
	}
	d := definitions[t]
	if d.rules == nil {
		if len(e.Op) != 1 || e.Op[0] != opReset {
			return Target{}, kv.Errorf(kv.KindCorrupt, "an effect on a %s as a whole that is no reset", d.name)
		}
		return Target{Below: true, Override: true, Op: e.Op}, nil
	}
	class := d.rules.class(e.Op)
	if class == malformed {
		return Target{}, kv.Errorf(kv.KindCorrupt, "an effect that is no operation of a %s", d.name)
	}
	return Target{Leaf: t, Override: class.overrides(), Op: e.Op}, nil
}

// endOfPath walks an encoded path below an object of type t and gives the type at its end.
func endOfPath(t kv.Type, path []byte) (kv.Type, bool) {
	for depth := 0; ; depth++ {
		d := definitions[t]
		if d == nil || depth > kv.MaxDepth+1 {
			return 0, false
		}
		if len(path) == 0 {
			return t, true
		}
		rest, ok := kv.SkipName(path)
		if !ok || len(rest) == 0 {
			return 0, false
		}
		t, path = kv.Type(rest[0]), rest[1:]
		if !d.fields && (d.element == 0 || d.element != t || len(path) != 0) {
			return 0, false
		}
	}
}

// Replaces reports whether an operation replaces the earlier ones of its transaction on the same leaf,
// so that only it is stored. Coverage can't say so: neither has seen the
// other, since both read at the transaction's snapshot.
//
// All but a counter's increments replace what came before them. That holds for a flag-ew's enable
// after a disable too, though it does not cover what the disable did: whoever takes the new enable
// back has seen this transaction, and with it all that the disable had seen.
func Replaces(leaf kv.Type, op []byte) bool {
	r, err := rulesOf(leaf)
	if err != nil || r.class(op) == malformed {
		return false
	}
	return !r.accumulates || op[0] == opReset
}

// Combine makes one add of two that different transactions of one group made on one leaf.
// Overrides are never combined: each keeps its own dot and its own transaction's snapshot.
func Combine(leaf kv.Type, a, b []byte) (op []byte, ok bool) {
	r, err := rulesOf(leaf)
	if err != nil || r.combine == nil || r.class(a) != add || r.class(b) != add {
		return nil, false
	}
	return r.combine(a, b)
}

// NeedsCheck reports whether Check has to pass against the leaf as it is before the operation may
// commit.
func NeedsCheck(leaf kv.Type, op []byte) bool {
	r, err := rulesOf(leaf)
	return err == nil && r.needsCheck != nil && r.class(op) == add && r.needsCheck(op)
}

// Check says whether operations that need it may commit together on top of a leaf's items at a snapshot;
// all else that their transaction does to the leaf is among the items. Errors match kv.ErrBound, or
// kv.ErrCorrupt when the items do not say.
func Check(leaf kv.Type, items []byte, at clock.Vector, ops ...[]byte) error {
	return check(leaf, items, at, ops, false)
}

// CheckRestored is Check for operations that bring back what was read elsewhere. Others could have
// made of the leaf what single operations may not, and they are let through too if it can be read.
func CheckRestored(leaf kv.Type, items []byte, at clock.Vector, ops ...[]byte) error {
	return check(leaf, items, at, ops, true)
}

func check(leaf kv.Type, items []byte, at clock.Vector, ops [][]byte, restored bool) error {
	r, err := rulesOf(leaf)
	if err != nil || r.check == nil {
		return err
	}
	for _, op := range ops {
		if r.class(op) != add {
			return nil
		}
	}
	return r.check(items, at, ops, restored)
}

// AppendStanding appends an item that stands for all that a leaf holds, if Check can do with the leaf's
// value. Nothing that overrides the leaf may join it: what that would cover is no longer told apart.
func AppendStanding(dst []byte, v kv.Value) (items []byte, ok bool) {
	if v.Type != Counter {
		return dst, false
	}
	return AppendItem(dst, clock.Dot{}, nil, appendIncrement(nil, v.Int)), true
}

func unknownType(t kv.Type, where string) error {
	return kv.Errorf(kv.KindInvalid, "unknown type %d of %s: the types are %s", uint8(t), where, typeNames())
}

func typeNames() string {
	var s string
	for i, t := range Types() {
		if i > 0 {
			s += ", "
		}
		s += Name(t)
	}
	return s
}

func unknownVerb(op *kv.Op, has string) error {
	return kv.Errorf(kv.KindInvalid, "%s of %s: it has %s", op.Verb, describe(op), has)
}

// describe names what an operation addresses.
func describe(op *kv.Op) string {
	t, where := op.Type, "key "+short(string(op.Key))
	if n := len(op.Path); n > 0 {
		t = op.Path[n-1].Type
		where += ", field " + short(op.Path[n-1].Name)
	}
	return fmt.Sprintf("%s %s in bucket %s", Name(t), where, short(string(op.Bucket)))
}

// short quotes a name for a message.
func short(s string) string {
	const most = 64
	if len(s) > most {
		return fmt.Sprintf("%q… (%d bytes)", s[:most], len(s))
	}
	return fmt.Sprintf("%q", s)
}
