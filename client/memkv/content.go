package memkv

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/kv"
)

// The type numbers, as docs/formats fixes them.
const (
	counter kv.Type = iota + 1
	registerLWW
	registerMV
	flagEW
	flagDW
	setAW
	setRW
	setGO
	mapUW
	mapGO
)

// cell is an object or a field. The parts that its type does not use are empty.
type cell struct {
	present bool // simple types: was written
	number  int64
	data    []byte
	members map[string]struct{}
	fields  map[kv.Step]*cell
}

// content is all objects.
type content map[kv.Object]*cell

func (c content) clone() content {
	out := make(content, len(c))
	for o, cell := range c {
		out[o] = cell.clone()
	}
	return out
}

func (c *cell) clone() *cell {
	out := *c
	out.members = maps.Clone(c.members)
	if c.fields != nil {
		out.fields = make(map[kv.Step]*cell, len(c.fields))
		for s, f := range c.fields {
			out.fields[s] = f.clone()
		}
	}
	return &out
}

// find is what a path leads to, or nil.
func (c content) find(o kv.Object, p kv.Path) *cell {
	at := c[o]
	for _, s := range p {
		if at == nil {
			return nil
		}
		at = at.fields[s]
	}
	return at
}

// make finds what a path leads to, and creates what is missing.
func (c content) make(o kv.Object, p kv.Path) *cell {
	at := c[o]
	if at == nil {
		at = &cell{}
		c[o] = at
	}
	for _, s := range p {
		if at.fields == nil {
			at.fields = map[kv.Step]*cell{}
		}
		next := at.fields[s]
		if next == nil {
			next = &cell{}
			at.fields[s] = next
		}
		at = next
	}
	return at
}

func typeOf(o kv.Object, p kv.Path) kv.Type {
	if len(p) > 0 {
		return p[len(p)-1].Type
	}
	return o.Type
}

func isMap(t kv.Type) bool { return t == mapUW || t == mapGO }
func isSet(t kv.Type) bool { return t >= setAW && t <= setGO }

var verbs = map[kv.Verb]func(kv.Type) bool{
	kv.VerbIncrement: func(t kv.Type) bool { return t == counter },
	kv.VerbAssign:    func(t kv.Type) bool { return t == registerLWW || t == registerMV },
	kv.VerbEnable:    func(t kv.Type) bool { return t == flagEW || t == flagDW },
	kv.VerbDisable:   func(t kv.Type) bool { return t == flagEW || t == flagDW },
	kv.VerbAdd:       isSet,
	kv.VerbRemove:    func(t kv.Type) bool { return t == setAW || t == setRW },
	kv.VerbReset:     func(kv.Type) bool { return true },
}

// address checks an object and a path.
func address(o kv.Object, p kv.Path) error {
	switch {
	case o.Bucket == "" || len(o.Bucket) > kv.MaxBucket:
		return kv.Errorf(kv.KindInvalid, "bucket %.64q: want 1 to %d bytes", string(o.Bucket), kv.MaxBucket)
	case len(o.Key) > kv.MaxKey:
		return kv.Errorf(kv.KindTooLarge, "key of %d bytes: the limit is %d", len(o.Key), kv.MaxKey)
	case len(p) > kv.MaxDepth:
		return kv.Errorf(kv.KindInvalid, "path of %d fields: the limit is %d", len(p), kv.MaxDepth)
	}
	for i := -1; i < len(p); i++ {
		t := typeOf(o, p[:i+1])
		if t < counter || t > mapGO {
			return kv.Errorf(kv.KindInvalid, "unknown type %d", t)
		}
		if i+1 < len(p) && !isMap(t) {
			return kv.Errorf(kv.KindInvalid, "type %d has no fields", t)
		}
	}
	return nil
}

func check(op *kv.Op) error {
	if err := address(op.Object, op.Path); err != nil {
		return err
	}
	if err := kv.CheckWritable(op); err != nil {
		return err
	}
	t := typeOf(op.Object, op.Path)
	fits := verbs[op.Verb]
	switch {
	case fits == nil || !fits(t):
		return kv.Errorf(kv.KindInvalid, "no %s on type %d", op.Verb, t)
	case len(op.Data) > kv.MaxElement:
		return kv.Errorf(kv.KindTooLarge, "value of %d bytes: the limit is %d", len(op.Data), kv.MaxElement)
	case op.Expect != nil && (op.Verb != kv.VerbAssign || t != registerLWW):
		return kv.Errorf(kv.KindInvalid, "an expectation is for assigning a register-lww")
	}
	return nil
}

// holds reports whether an operation's condition does.
func (c content) holds(op *kv.Op) error {
	if op.Expect == nil {
		return nil
	}
	at := c.find(op.Object, op.Path)
	present := at != nil && at.present
	if present == op.Expect.Absent || present && !bytes.Equal(at.data, op.Expect.Value) {
		return kv.Errorf(kv.KindAborted, "register %q does not hold what was expected", op.Key)
	}
	return nil
}

// apply runs a checked operation.
func (c content) apply(op *kv.Op) {
	if op.Verb == kv.VerbReset {
		c.reset(op.Object, op.Path)
		return
	}
	at := c.make(op.Object, op.Path)
	switch op.Verb {
	case kv.VerbIncrement:
		at.present, at.number = true, at.number+op.Int
	case kv.VerbAssign:
		at.present, at.data = true, bytes.Clone(op.Data)
	case kv.VerbEnable, kv.VerbDisable:
		at.present = op.Verb == kv.VerbEnable
	case kv.VerbAdd:
		if at.members == nil {
			at.members = map[string]struct{}{}
		}
		at.members[string(op.Data)] = struct{}{}
	case kv.VerbRemove:
		delete(at.members, string(op.Data))
	}
}

func (c content) reset(o kv.Object, p kv.Path) {
	if len(p) == 0 {
		delete(c, o)
		return
	}
	if holder := c.find(o, p[:len(p)-1]); holder != nil {
		delete(holder.fields, p[len(p)-1])
	}
}

// there reports whether anything readable is in the cell.
func (c *cell) there() bool {
	if c == nil {
		return false
	}
	if c.present || len(c.members) > 0 {
		return true
	}
	for _, f := range c.fields {
		if f.there() {
			return true
		}
	}
	return false
}

// value reads a cell of a type.
func (c *cell) value(t kv.Type) kv.Value {
	v := kv.Value{Type: t, Present: c.there()}
	if !v.Present {
		return v
	}
	switch {
	case t == counter:
		v.Int = c.number
	case t == registerLWW:
		v.Bytes = bytes.Clone(c.data)
	case t == registerMV:
		v.List = [][]byte{bytes.Clone(c.data)}
	case t == flagEW || t == flagDW:
		v.Flag = true
	case isSet(t):
		for _, m := range slices.Sorted(maps.Keys(c.members)) {
			v.List = append(v.List, []byte(m))
		}
	default:
		v.Fields = c.sortedFields()
	}
	return v
}

func (c *cell) sortedFields() []kv.Field {
	var fields []kv.Field
	for s, f := range c.fields {
		if f.there() {
			fields = append(fields, kv.Field{Name: s.Name, Value: f.value(s.Type)})
		}
	}
	slices.SortFunc(fields, func(a, b kv.Field) int {
		if a.Name != b.Name {
			return strings.Compare(a.Name, b.Name)
		}
		return int(a.Value.Type) - int(b.Value.Type)
	})
	return fields
}

// ask answers a query.
func (c content) ask(q *kv.Query) (kv.Value, error) {
	if err := address(q.Object, q.Path); err != nil {
		return kv.Value{}, err
	}
	t := typeOf(q.Object, q.Path)
	at := c.find(q.Object, q.Path)
	switch {
	case q.Kind == kv.QueryValue:
		return at.value(t), nil
	case q.Kind == kv.QueryContains && isSet(t):
		v := kv.Value{Type: t, Present: at.there()}
		if at != nil {
			_, v.Flag = at.members[string(q.Data)]
		}
		return v, nil
	case q.Kind == kv.QueryPage && (isSet(t) || isMap(t)):
		return page(at.value(t), q), nil
	}
	return kv.Value{}, kv.Errorf(kv.KindInvalid, "no query of kind %d on type %d", q.Kind, t)
}
