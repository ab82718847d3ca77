package crdt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

func TestCollectorNestsFieldsAndDropsWhatIsAbsent(t *testing.T) {
	c := crdt.NewCollector(crdt.Map)
	one := kv.Value{Type: crdt.Counter, Present: true, Int: 1}
	on := kv.Value{Type: crdt.FlagEW, Present: true, Flag: true}
	m := kv.Step{Name: "m", Type: crdt.Map}
	n := kv.Step{Name: "n", Type: crdt.MapGO}
	s := kv.Step{Name: "s", Type: crdt.SetAW}
	for _, l := range []struct {
		path kv.Path
		v    kv.Value
	}{
		{kv.Path{{Name: "a", Type: crdt.Counter}}, one},
		{kv.Path{m, {Name: "c", Type: crdt.Counter}}, one},
		{kv.Path{m, n, {Name: "c", Type: crdt.Counter}}, one},
		{kv.Path{m, n, {Name: "d", Type: crdt.Counter}}, kv.Value{Type: crdt.Counter}},
		{kv.Path{m, s, {Name: "x", Type: crdt.FlagEW}}, on},
		{kv.Path{m, s, {Name: "y", Type: crdt.FlagEW}}, on},
		{kv.Path{{Name: "z", Type: crdt.Map}, s, {Name: "x", Type: crdt.FlagEW}}, kv.Value{Type: crdt.FlagEW}},
	} {
		require.NoError(t, c.Add(l.path, l.v))
	}
	require.Equal(t, kv.Value{Type: crdt.Map, Present: true, Fields: []kv.Field{
		{Name: "a", Value: one},
		{Name: "m", Value: kv.Value{Type: crdt.Map, Present: true, Fields: []kv.Field{
			{Name: "c", Value: one},
			{Name: "n", Value: kv.Value{Type: crdt.MapGO, Present: true, Fields: []kv.Field{{Name: "c", Value: one}}}},
			{Name: "s", Value: kv.Value{Type: crdt.SetAW, Present: true, List: [][]byte{[]byte("x"), []byte("y")}}},
		}}},
	}}, c.Value())
}

func TestCollectorOfNothingIsAbsent(t *testing.T) {
	require.Equal(t, kv.Value{Type: crdt.SetRW}, crdt.NewCollector(crdt.SetRW).Value())
	require.Panics(t, func() { crdt.NewCollector(crdt.Counter) })
}

func TestCollectorRefusesLeavesOutOfPlace(t *testing.T) {
	v := kv.Value{Type: crdt.FlagEW, Present: true, Flag: true}
	step := func(t kv.Type) kv.Step { return kv.Step{Name: "s", Type: t} }
	for name, c := range map[string]struct {
		t    kv.Type
		path kv.Path
	}{
		"no path":            {crdt.SetAW, nil},
		"wrong flag":         {crdt.SetRW, kv.Path{step(crdt.FlagEW)}},
		"below an element":   {crdt.SetAW, kv.Path{step(crdt.FlagEW), step(crdt.FlagEW)}},
		"below a leaf":       {crdt.Map, kv.Path{step(crdt.FlagEW), step(crdt.FlagEW)}},
		"collection as leaf": {crdt.Map, kv.Path{step(crdt.SetAW)}},
		"unknown type":       {crdt.Map, kv.Path{step(99)}},
	} {
		require.ErrorIs(t, crdt.NewCollector(c.t).Add(c.path, v), kv.ErrCorrupt, name)
	}
}
