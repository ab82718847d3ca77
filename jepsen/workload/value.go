package workload

import (
	"fmt"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/kv"
)

// types are the names that histories call the data types by.
var types = map[string]client.Type{
	"counter": client.TypeCounter, "register-lww": client.TypeRegisterLWW, "register-mv": client.TypeRegisterMV,
	"flag-ew": client.TypeFlagEW, "flag-dw": client.TypeFlagDW, "set-aw": client.TypeSetAW, "set-rw": client.TypeSetRW,
	"set-go": client.TypeSetGO, "map": client.TypeMap, "map-go": client.TypeMapGO,
}

// typeNames is types the other way round.
var typeNames = func() map[client.Type]string {
	names := map[client.Type]string{}
	for name, t := range types {
		names[t] = name
	}
	return names
}()

// verbs of the writes.
var verbs = map[history.Do]kv.Verb{
	history.Add: kv.VerbIncrement, history.Assign: kv.VerbAssign, history.Insert: kv.VerbAdd, history.Remove: kv.VerbRemove,
	history.Enable: kv.VerbEnable, history.Disable: kv.VerbDisable, history.Reset: kv.VerbReset,
}

// place is where an operation of a history is, as the client names it.
func place(o *history.Op) (client.Object, client.Path) {
	object := client.Object{Bucket: kv.Bucket(o.Bucket), Key: kv.Key(o.Key), Type: types[o.Type]}
	if o.Bucket == "" {
		object.Bucket = kv.DefaultBucket
	}
	var path client.Path
	for _, s := range o.Path {
		path = append(path, client.Step{Name: s.Name, Type: types[s.Type]})
	}
	return object, path
}

// write is a write as the client takes it.
func write(o *history.Op) client.Op {
	if isListed(o) {
		return writeListed(o)
	}
	op := client.Op{Verb: verbs[o.Do]}
	op.Object, op.Path = place(o)
	switch o.Do {
	case history.Add:
		op.Int = o.Arg.Int
	case history.Assign:
		op.Data = []byte(o.Arg.Text)
	case history.Insert, history.Remove:
		op.Data = []byte(o.Element)
	}
	if o.Expect != nil {
		op.Expect = &kv.Expectation{Absent: o.Expect.Absent, Value: []byte(o.Expect.Text)}
	}
	return op
}

// query is a read as the client takes it.
func query(o *history.Op) client.Query {
	q := client.Query{Kind: kv.QueryValue}
	q.Object, q.Path = place(o)
	if o.Do == history.Contains {
		q.Kind, q.Data = kv.QueryContains, []byte(o.Element)
	}
	return q
}

// answer puts what the database answered to a read into it.
func answer(o *history.Op, v client.Value) {
	if o.Do == history.Contains {
		o.Got = &history.Value{Flag: v.Flag}
		return
	}
	got := value(v)
	o.Got = &got
}

// value is an answer as histories hold it. What a type does not use is nothing in both.
func value(v client.Value) history.Value {
	out := history.Value{Absent: !v.Present, Int: v.Int, Flag: v.Flag, Text: string(v.Bytes)}
	for _, e := range v.List {
		out.List = append(out.List, string(e))
	}
	for _, f := range v.Fields {
		name := typeNames[f.Value.Type]
		if name == "" {
			name = fmt.Sprintf("type %d", f.Value.Type)
		}
		out.Fields = append(out.Fields, history.Field{Name: f.Name, Type: name, Value: value(f.Value)})
	}
	return out
}

// vector is a vector with the numbers that the database gives its regions. One that includes nothing
// is not the same as none.
func vector(v clock.Vector) history.Vector {
	out := make(history.Vector, len(v))
	for _, e := range v {
		out[int(e.Region)] = uint64(e.Time)
	}
	return out
}

// tokenVector is what a token includes; nil for no token.
func tokenVector(t client.Token) history.Vector {
	if t.IsZero() {
		return nil
	}
	return vector(t.Seen)
}
