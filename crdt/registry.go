package crdt

import (
	"fmt"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// definition is what a type's file registers. It is a leaf (rules), a set (element) or a map (fields).
type definition struct {
	name     string
	rules    *leafRules // leaves
	element  kv.Type    // sets: type of the flag that says whether an element is present
	fields   bool       // maps
	growOnly bool       // no element or field is removed alone
}

// class says what becomes of an operation once it is spent: applied to all that it covers.
type class uint8

const (
	malformed class = iota // no operation of the type
	add                    // covers nothing
	keep                   // an override whose value or mark stays: assign, a flag-dw's enable and disable
	vanish                 // an override that leaves nothing: reset, a flag-ew's disable
)

func (c class) overrides() bool { return c == keep || c == vanish }

// leafRules is what the machinery for leaves needs to know of a type.
type leafRules struct {
	// encode turns a client's operation into stored bytes.
	encode func(op *kv.Op) ([]byte, error)
	// classify checks an encoded operation other than a reset.
	classify func(op []byte) class
	// fold reads the leaf at a snapshot. The value may alias items.
	fold func(items []byte, at clock.Vector) (kv.Value, error)
	// settle forgets what may be forgotten. It gets the entries at or below the horizon that are
	// uncovered and spent, in the order of dots (the forgotten first), and returns those to keep in
	// that order. A kept entry is forgotten by giving it the zero dot. It may reuse the slice.
	settle func(below []entry) []entry
	// accumulates: a later operation of a transaction does not replace an earlier one, unless it is
	// a reset.
	accumulates bool
	// combine makes one add of two of one group; nil: never.
	combine func(a, b []byte) ([]byte, bool)
	// needsCheck and check guard what depends on the leaf's value; nil: nothing does.
	needsCheck func(op []byte) bool
	check      func(items []byte, at clock.Vector, ops [][]byte, restored bool) error
}

// opReset is the operation code of a reset for every type. Other codes belong to their types.
const opReset = 0

var resetOp = []byte{opReset}

// class classifies an encoded operation, resets included.
func (r *leafRules) class(op []byte) class {
	switch {
	case len(op) == 0:
		return malformed
	case op[0] == opReset:
		if len(op) != 1 {
			return malformed
		}
		return vanish
	}
	return r.classify(op)
}

var (
	definitions [256]*definition
	byName      = map[string]kv.Type{}
)

// register makes a type known. It runs while the package is initialised, and nothing else changes
// the registry.
func register(t kv.Type, d definition) {
	if t == 0 || definitions[t] != nil || byName[d.name] != 0 {
		panic(fmt.Sprintf("crdt: type %d %q registered twice", t, d.name))
	}
	definitions[t] = &d
	byName[d.name] = t
}

// Lookup finds a type by its name.
func Lookup(name string) (kv.Type, bool) {
	t, ok := byName[name]
	return t, ok
}

// Name is a type's name, or "type(n)" for one that is not registered.
func Name(t kv.Type) string {
	if d := definitions[t]; d != nil {
		return d.name
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Types lists the registered types by ascending number.
func Types() []kv.Type {
	var out []kv.Type
	for i, d := range definitions {
		if d != nil {
			out = append(out, kv.Type(i))
		}
	}
	return out
}

// IsCollection reports whether values of a type are made of leaves below them: sets and maps.
func IsCollection(t kv.Type) bool { return definitions[t] != nil && definitions[t].rules == nil }

// rulesOf finds the rules of a leaf type read from storage or a record.
func rulesOf(leaf kv.Type) (*leafRules, error) {
	if d := definitions[leaf]; d != nil && d.rules != nil {
		return d.rules, nil
	}
	return nil, kv.Errorf(kv.KindCorrupt, "%s is no type of a leaf", Name(leaf))
}
