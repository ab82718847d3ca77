package txn

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// What a region without others holds is what a map of plain values would: transactions one after the
// other, each seeing its own writes, and snapshots that stay. The model knows nothing of dots, overrides or
// encodings, and what it is compared with is read in every way there is.

// model is what is present, by the leaf's name; see leafName. A value is as %v prints it.
type model map[string]string

func leafName(o kv.Object, p kv.Path) string {
	s := fmt.Sprintf("%s|%d", o.Key, o.Type)
	for _, step := range p {
		s += stepName(step)
	}
	return s
}

func stepName(s kv.Step) string { return fmt.Sprintf("|%q:%d", s.Name, s.Type) }

// elementName is how the model calls a set's element.
func elementName(set kv.Type, e []byte) string {
	mark := crdt.FlagEW
	if set == crdt.SetRW {
		mark = crdt.FlagDW
	}
	return stepName(kv.Step{Name: string(e), Type: mark})
}

func typeAt(o kv.Object, p kv.Path) kv.Type {
	if len(p) > 0 {
		return p[len(p)-1].Type
	}
	return o.Type
}

func (m model) below(name string) model {
	out := model{}
	for k, v := range m {
		if k == name || strings.HasPrefix(k, name+"|") {
			out[k] = v
		}
	}
	return out
}

func (m model) apply(op kv.Op) {
	name, typ := leafName(op.Object, op.Path), typeAt(op.Object, op.Path)
	switch op.Verb {
	case kv.VerbReset:
		for k := range m.below(name) {
			delete(m, k)
		}
	case kv.VerbIncrement:
		var n int64
		_, _ = fmt.Sscan(m[name], &n) // 0 if there is none
		m[name] = fmt.Sprint(n + op.Int)
	case kv.VerbAssign:
		m[name] = string(op.Data)
	case kv.VerbEnable:
		m[name] = "on"
	case kv.VerbDisable:
		delete(m, name)
	case kv.VerbAdd:
		m[name+elementName(typ, op.Data)] = "on"
	case kv.VerbRemove:
		delete(m, name+elementName(typ, op.Data))
	}
}

// put enters a value as it was read.
func (m model) put(name string, v kv.Value) {
	switch {
	case crdt.IsCollection(v.Type):
		for _, e := range v.List {
			m[name+elementName(v.Type, e)] = "on"
		}
		for _, f := range v.Fields {
			m.put(name+stepName(kv.Step{Name: f.Name, Type: f.Value.Type}), f.Value)
		}
	case !v.Present:
	case v.Type == crdt.Counter:
		m[name] = fmt.Sprint(v.Int)
	case v.Type == crdt.RegisterLWW:
		m[name] = string(v.Bytes)
	case v.Type == crdt.RegisterMV:
		m[name] = strings.Join(texts(v.List), " and ")
	default:
		m[name] = "on"
	}
}

var (
	modelKeys  = []string{"k", "k2", "l"}
	modelTypes = rapid.SampledFrom(crdt.Types())
	modelNames = rapid.SampledFrom([]string{"a", "b", "", "a\x00", "a\x01", "a\x00\xff"})
	modelMaps  = rapid.SampledFrom([]kv.Type{crdt.Map, crdt.Map, crdt.MapGO})
	modelPaths = rapid.Custom(func(t *rapid.T) (p kv.Path) {
		depth := rapid.IntRange(0, 3).Draw(t, "fields")
		for i := range depth {
			types := modelMaps
			if i == depth-1 {
				types = modelTypes
			}
			p = append(p, kv.Step{Name: modelNames.Draw(t, "field"), Type: types.Draw(t, "type")})
		}
		return p
	})
	modelOps = rapid.Custom(func(t *rapid.T) kv.Op {
		op := kv.Op{Object: object(rapid.SampledFrom(modelKeys).Draw(t, "key"), modelTypes.Draw(t, "type"))}
		if op.Type == crdt.Map || op.Type == crdt.MapGO {
			op.Path = modelPaths.Draw(t, "path")
		}
		if op.Verb = rapid.SampledFrom(modelVerbs[typeAt(op.Object, op.Path)]).Draw(t, "verb"); rapid.IntRange(0, 7).Draw(t, "reset") == 0 {
			op.Verb = kv.VerbReset
		}
		switch op.Verb {
		case kv.VerbIncrement:
			op.Int = rapid.Int64Range(-2, 2).Draw(t, "amount")
		case kv.VerbAssign, kv.VerbAdd, kv.VerbRemove:
			op.Data = []byte(modelNames.Draw(t, "data"))
		}
		return op
	}).Filter(func(op kv.Op) bool { _, err := crdt.Resolve(op); return err == nil })
	modelVerbs = map[kv.Type][]kv.Verb{
		crdt.Counter: {kv.VerbIncrement}, crdt.RegisterLWW: {kv.VerbAssign}, crdt.RegisterMV: {kv.VerbAssign},
		crdt.FlagEW: {kv.VerbEnable, kv.VerbDisable}, crdt.FlagDW: {kv.VerbEnable, kv.VerbDisable},
		crdt.SetAW: {kv.VerbAdd, kv.VerbRemove}, crdt.SetRW: {kv.VerbAdd, kv.VerbRemove}, crdt.SetGO: {kv.VerbAdd},
		crdt.Map: {kv.VerbReset}, crdt.MapGO: {kv.VerbReset},
	}
)

// modelRun is one region beside its model.
type modelRun struct {
	*rapid.T
	r         *region
	committed model
	kept      map[kv.TxnID]model // read-only transactions, and what they must go on seeing
}

func (m *modelRun) ask(id kv.TxnID, q kv.Query) kv.Value {
	v, err := m.r.Execute(m.r.t.Context(), id, nil, []kv.Query{q})
	require.NoError(m, err)
	return v[0]
}

// requireSees compares all that a transaction sees with what it should.
func (m *modelRun) requireSees(id kv.TxnID, want model) {
	var present []string
	for _, key := range modelKeys {
		for _, typ := range crdt.Types() {
			o := object(key, typ)
			name := leafName(o, nil)
			whole, got := m.ask(id, kv.Query{Object: o}), model{}
			got.put(name, whole)
			require.Equal(m, want.below(name), got, name)
			require.Equal(m, len(got) > 0, whole.Present, name)
			if whole.Present {
				present = append(present, fmt.Sprintf("%s:%s", key, crdt.Name(typ)))
			}
			if crdt.IsCollection(typ) {
				m.requirePages(id, o, got)
			}
			if step, ok := crdt.Element(typ, []byte(modelNames.Draw(m.T, "element"))); ok {
				_, in := want[name+stepName(step)]
				require.Equal(m, in, m.ask(id, kv.Query{Object: o, Kind: kv.QueryContains, Data: []byte(step.Name)}).Flag)
			}
		}
	}
	keys := m.r.keys(kv.KeysRequest{Txn: id, Bucket: kv.DefaultBucket, Limit: rapid.IntRange(1, 5).Draw(m.T, "keys on a page")})
	require.ElementsMatch(m, present, keys)
}

// requirePages reads a collection in pages, and one of its parts alone.
func (m *modelRun) requirePages(id kv.TxnID, o kv.Object, want model) {
	got := model{}
	q := kv.Query{Object: o, Kind: kv.QueryPage, Limit: rapid.IntRange(1, 4).Draw(m.T, "limit")}
	for {
		v := m.ask(id, q)
		require.LessOrEqual(m, len(v.List)+len(v.Fields), q.Limit)
		page := model{}
		page.put(leafName(o, nil), v)
		for name := range page {
			require.NotContains(m, got, name, "on one page only")
		}
		maps.Copy(got, page)
		if q.After = v.Next; len(q.After) == 0 {
			break
		}
	}
	require.Equal(m, want, got)
	path := modelPaths.Draw(m.T, "part")
	if _, err := crdt.Address(o, path); err == nil {
		part := model{}
		part.put(leafName(o, path), m.ask(id, kv.Query{Object: o, Path: path}))
		require.Equal(m, want.below(leafName(o, path)), part)
	}
}

// transact runs one transaction, and keeps its writes if it commits.
func (m *modelRun) transact() {
	ctx := m.r.t.Context()
	id, _, err := m.r.Begin(ctx, kv.Begin{})
	require.NoError(m, err)
	now := maps.Clone(m.committed)
	for range rapid.IntRange(1, 3).Draw(m.T, "calls") {
		ops := rapid.SliceOfN(modelOps, 1, 12).Draw(m.T, "operations")
		for i := range ops {
			if op := &ops[i]; op.Verb == kv.VerbAssign && typeAt(op.Object, op.Path) == crdt.RegisterLWW && rapid.Bool().Draw(m.T, "compare") {
				old, has := now[leafName(op.Object, op.Path)]
				op.Expect = &kv.Expectation{Absent: !has, Value: []byte(old)}
			}
			now.apply(ops[i])
		}
		_, err = m.r.Execute(ctx, id, ops, nil)
		require.NoError(m, err)
		if rapid.IntRange(0, 2).Draw(m.T, "look") == 0 {
			m.requireSees(id, now)
		}
	}
	if rapid.IntRange(0, 4).Draw(m.T, "abort") == 0 {
		require.NoError(m, m.r.Abort(ctx, id))
		return
	}
	_, err = m.r.Commit(ctx, id, kv.Options{})
	require.NoError(m, err)
	m.committed = now
}

// snapshot begins a transaction that reads, to be looked at later.
func (m *modelRun) snapshot() {
	id, _, err := m.r.Begin(m.r.t.Context(), kv.Begin{ReadOnly: true})
	require.NoError(m, err)
	m.kept[id] = m.committed
}

func TestTransactionsDoWhatAModelDoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := start(t, vfs.NewCrashableMem(), 7)
		defer func() { require.NoError(rt, r.store.Close()) }()
		m := &modelRun{T: rt, r: r, committed: model{}, kept: map[kv.TxnID]model{}}
		for range rapid.IntRange(1, 6).Draw(rt, "transactions") {
			m.transact()
			if rapid.IntRange(0, 2).Draw(rt, "keep") == 0 {
				m.snapshot()
			}
		}
		m.snapshot()
		for _, id := range slices.Sorted(maps.Keys(m.kept)) {
			m.requireSees(id, m.kept[id])
		}
	})
}
