package memkv

import (
	"bytes"

	"github.com/theriac-db/theriac/kv"
)

// leaf is an element, or a field that is no collection, with the way to it.
type leaf struct {
	path  kv.Path
	value kv.Value // of an element only the type of its set
}

// leaves takes a collection apart, in order.
func leaves(way kv.Path, v kv.Value) []leaf {
	to := func(name string, t kv.Type) kv.Path {
		return append(way[:len(way):len(way)], kv.Step{Name: name, Type: t})
	}
	var out []leaf
	for _, e := range v.List {
		out = append(out, leaf{to(string(e), v.Type), kv.Value{Type: v.Type}})
	}
	for _, f := range v.Fields {
		path := to(f.Name, f.Value.Type)
		if isMap(f.Value.Type) || isSet(f.Value.Type) {
			out = append(out, leaves(path, f.Value)...)
		} else {
			out = append(out, leaf{path, f.Value})
		}
	}
	return out
}

// put adds the next leaf to a value.
func (l leaf) put(v *kv.Value) {
	v.Present = true
	last := len(l.path) - 1
	for _, s := range l.path[:last] {
		if n := len(v.Fields); n == 0 || v.Fields[n-1].Name != s.Name || v.Fields[n-1].Value.Type != s.Type {
			v.Fields = append(v.Fields, kv.Field{Name: s.Name, Value: kv.Value{Type: s.Type, Present: true}})
		}
		v = &v.Fields[len(v.Fields)-1].Value
	}
	if isSet(l.value.Type) {
		v.List = append(v.List, []byte(l.path[last].Name))
	} else {
		v.Fields = append(v.Fields, kv.Field{Name: l.path[last].Name, Value: l.value})
	}
}

// page cuts a value. The cursor is the encoded path of the last leaf on it.
func page(v kv.Value, q *kv.Query) kv.Value {
	out := kv.Value{Type: v.Type}
	var last []byte
	size, taken := 0, 0
	for _, l := range leaves(nil, v) {
		path := kv.AppendPath(nil, l.path)
		if bytes.Compare(path, q.After) <= 0 {
			continue
		}
		first := kv.AppendPath(nil, l.path[:1])
		starts := !bytes.HasPrefix(last, first)
		if taken == kv.MaxPage || size >= kv.MaxPageBytes || starts && len(out.List)+len(out.Fields) == q.Limit {
			out.Next = last
			break
		}
		l.put(&out)
		last = path
		taken++
		size += len(path) + len(l.value.Bytes)
	}
	return out
}
