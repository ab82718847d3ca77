package jsonl

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

var anyBytes = rapid.Map(rapid.SliceOfN(rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte("/:%\"\\{}é\n"))), 0, 8),
	func(b []byte) string { return string(b) })

// values draws values as a database returns them: lists in order, fields in order, nothing empty.
func values(t *rapid.T, kind kv.Type, depth int) kv.Value {
	v := kv.Value{Type: kind, Present: true}
	switch kind {
	case crdt.Counter:
		v.Int = rapid.Int64().Draw(t, "counter")
	case crdt.RegisterLWW:
		v.Bytes = []byte(anyBytes.Draw(t, "register"))
	case crdt.FlagEW, crdt.FlagDW:
		v.Flag = true
	case crdt.Map, crdt.MapGO:
		v.Fields = fields(t, depth)
	default:
		for _, s := range rapid.SliceOfNDistinct(anyBytes, 1, 4, rapid.ID).Draw(t, "list") {
			v.List = append(v.List, []byte(s))
		}
		slices.SortFunc(v.List, bytes.Compare)
	}
	return v
}

func fields(t *rapid.T, depth int) []kv.Field {
	var out []kv.Field
	for _, name := range rapid.SliceOfNDistinct(anyBytes, 1, 3, rapid.ID).Draw(t, "names") {
		kinds := crdt.Types()
		if depth == 0 {
			kinds = kinds[:5]
		}
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		out = append(out, kv.Field{Name: name, Value: values(t, kind, depth-1)})
	}
	slices.SortFunc(out, func(a, b kv.Field) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Value.Type, b.Value.Type))
	})
	return out
}

func anyObject(t *rapid.T) kv.Object {
	return kv.Object{Bucket: kv.Bucket(anyBytes.Draw(t, "bucket")), Key: kv.Key(anyBytes.Draw(t, "key")),
		Type: rapid.SampledFrom(crdt.Types()).Draw(t, "type")}
}

// Invariant 1.
func TestLinesReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := anyObject(t)
		v := values(t, o.Type, 3)
		line := Append(nil, o, v)
		if !json.Valid(line) || bytes.Count(line, []byte("\n")) != 1 {
			t.Fatalf("not one line of JSON: %q", line)
		}
		got, value, err := Decode(line, "elsewhere")
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if got != o || fmt.Sprint(value) != fmt.Sprint(v) {
			t.Fatalf("%s read back as %v %v", line, got, value)
		}
	})
}

// Invariant 3: pieces hold together what the whole holds, and are small where they can be cut.
func TestPiecesAddUpToTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := anyObject(t)
		v := values(t, o.Type, 3)
		limit := rapid.IntRange(1, 200).Draw(t, "limit")
		var got []kv.Op
		for _, piece := range Split(v, limit) {
			if single := len(piece.List) <= 1 && len(piece.Fields) <= 1; size(piece) > limit && !single && piece.Type != crdt.RegisterMV {
				t.Fatalf("a piece of %d bytes that could be cut: %v", size(piece), piece)
			}
			for _, round := range Ops(o, piece) {
				got = append(got, round...)
			}
		}
		want := slices.Concat(Ops(o, v)...)
		if a, b := sorted(got), sorted(want); !slices.Equal(a, b) {
			t.Fatalf("pieces write %v, the whole %v", a, b)
		}
	})
}

func sorted(ops []kv.Op) []string {
	var out []string
	for _, op := range ops {
		out = append(out, fmt.Sprintf("%q", fmt.Sprint(op)))
	}
	slices.Sort(out)
	return out
}

func TestDecodeTakesAnyOrderAndSpelling(t *testing.T) {
	o, v, err := Decode([]byte(` {"value":{"%61:counter":-1,"b:set-go":["y","x","y"],"c:flag-ew":false},"type":"map","key":"\u00fc\ud83d\ude00"} `), "b")
	require.NoError(t, err)
	require.Equal(t, kv.Object{Bucket: "b", Key: "ü😀", Type: crdt.Map}, o)
	require.Equal(t, `{"a:counter":-1,"b:set-go":["x","y"],"c:flag-ew":false}`, string(AppendValue(nil, crdt.Map, v)))
	require.True(t, v.Present)
}

// Invariant 2.
func TestDecodeRefuses(t *testing.T) {
	deep := strings.Repeat(`{"m:map":`, kv.MaxDepth+1) + `{}` + strings.Repeat("}", kv.MaxDepth+1)
	for line, want := range map[string]string{
		``:                                      "want a JSON object",
		`[]`:                                    "want a JSON object",
		`{"a"`:                                  "malformed",
		`{"key":"k","type":"counter","value":1`: "malformed",
		`{"key":"k","type":"counter","value":1} x`:                                         "behind the end",
		`{"key":"k","type":"counter","value":1,"expires":5}`:                               "unknown member",
		`{"key":"k","key":"k","type":"counter","value":1}`:                                 "comes twice",
		`{"type":"counter","value":1}`:                                                     `no "key"`,
		`{"key":"k","value":1}`:                                                            `no "type"`,
		`{"key":"k","type":"counter"}`:                                                     `no "value"`,
		`{"key":7,"type":"counter","value":1}`:                                             "want a string",
		`{"key":{"b64":"a"},"type":"counter","value":1}`:                                   "base64",
		`{"key":{"b64":"YQ==\n"},"type":"counter","value":1}`:                              "base64",
		`{"key":{"hex":"00"},"type":"counter","value":1}`:                                  "want a string",
		`{"bucket":null,"key":"k","type":"counter","value":1}`:                             "want a string",
		`{"key":"k","type":7,"value":1}`:                                                   "type's name",
		`{"key":"k","type":"number","value":1}`:                                            "no type",
		`{"key":"k","type":"counter","value":1.5}`:                                         "whole number",
		`{"key":"k","type":"counter","value":1e3}`:                                         "whole number",
		`{"key":"k","type":"counter","value":9223372036854775808}`:                         "whole number",
		`{"key":"k","type":"counter","value":null}`:                                        "whole number",
		`{"key":"k","type":"register-lww","value":null}`:                                   "want a string",
		`{"key":"k","type":"register-mv","value":"x"}`:                                     "want an array",
		`{"key":"k","type":"set-aw","value":["x",1]}`:                                      "element 1",
		`{"key":"k","type":"set-aw","value":null}`:                                         "want an array",
		`{"key":"k","type":"flag-ew","value":1}`:                                           "true or false",
		`{"key":"k","type":"map","value":[]}`:                                              "want a JSON object",
		`{"key":"k","type":"map","value":{"a":1}}`:                                         "NAME:TYPE",
		`{"key":"k","type":"map","value":{"a:counter":"1"}}`:                               "whole number",
		`{"key":"k","type":"map","value":{"a:counter":1,"%61:counter":2}}`:                 "comes twice",
		`{"key":"k","type":"map","value":` + deep + `}`:                                    "deeper",
		"{\"key\":\"\xff\",\"type\":\"counter\",\"value\":1}":                              "not UTF-8",
		`{"key":"\ud800","type":"counter","value":1}`:                                      "half a character",
		`{"key":"\udc00","type":"counter","value":1}`:                                      "half a character",
		`{"key":"\ud800\u0041","type":"counter","value":1}`:                                "half a character",
		`{"key":"k","type":"map","value":{"` + strings.Repeat("x", 5000) + `:counter":1}}`: "field name of 5000",
	} {
		_, _, err := Decode([]byte(line), "b")
		require.ErrorContains(t, err, want, "%.100s", line)
		require.NotZero(t, kv.KindOf(err), "%.100s", line)
	}
	_, _, err := Decode(make([]byte, MaxLine+1), "b")
	require.ErrorIs(t, err, kv.ErrTooLarge)
}

func TestConcurrentValuesTakeRounds(t *testing.T) {
	o, v, err := Decode([]byte(`{"key":"k","type":"map","value":{"a:register-mv":["1","2","3"],"b:counter":1,"c:register-mv":["4","5"]}}`), "b")
	require.NoError(t, err)
	var got []string
	for _, round := range Ops(o, v) {
		var data []string
		for _, op := range round {
			data = append(data, string(op.Data))
		}
		got = append(got, strings.Join(data, ","))
	}
	require.Equal(t, []string{"1,,4", "2,5", "3"}, got)
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"bucket":"b","key":"bash","type":"map","value":{"Version:register-lww":"5.2","Depends:set-aw":["libc6",{"b64":"/w=="}]}}`))
	f.Add([]byte(`{"key":"k","type":"counter","value":-1}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		o, v, err := Decode(line, "b")
		if err != nil {
			return
		}
		once := Append(nil, o, v)
		o2, v2, err := Decode(once, "b")
		if err != nil || o2 != o || !bytes.Equal(Append(nil, o2, v2), once) {
			t.Fatalf("%q became %q, then %v %v %v", line, once, o2, v2, err)
		}
		Ops(o, v)
	})
}

// However a database cuts a value into pages, the document is that of the whole.
func TestPartsGiveTheDocumentOfTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]kv.Type{crdt.SetAW, crdt.SetGO, crdt.Map, crdt.MapGO}).Draw(t, "kind")
		v := values(t, kind, 3)
		limit := rapid.IntRange(1, 200).Draw(t, "limit")
		p := NewParts(kind)
		var got []byte
		for _, piece := range Split(v, limit) {
			got = p.Append(got, piece)
		}
		if got, want := string(p.End(got)), string(AppendValue(nil, kind, v)); got != want {
			t.Fatalf("pieces of %d bytes give %s, the whole %s", limit, got, want)
		}
	})
	require.Equal(t, "[]", string(NewParts(crdt.SetRW).End(nil)))
	require.Equal(t, "{}", string(NewParts(crdt.Map).End(nil)))
}
