package crdt

import (
	"github.com/theriac-db/theriac/kv"
)

// Collector builds a collection's value from its leaves. Leaves come in the order of their encoded
// paths, each at most once; that is the order in which storage holds them.
type Collector struct {
	open []frame // the collection itself, then those on the path of the leaf added last
}

// frame is a collection under construction.
type frame struct {
	step  kv.Step // from the collection around it; of the outermost only the type counts
	value kv.Value
}

// NewCollector starts the value of a collection of type t. It panics when t is no collection.
func NewCollector(t kv.Type) *Collector {
	if !IsCollection(t) {
		panic("crdt: collector for " + Name(t) + ", which is no collection")
	}
	return &Collector{open: []frame{{step: kv.Step{Type: t}, value: kv.Value{Type: t}}}}
}

// Add takes the next leaf: its path from the collection, and its value, which is kept. An absent
// leaf adds nothing. Errors match kv.ErrCorrupt.
func (c *Collector) Add(rel kv.Path, v kv.Value) error {
	if !v.Present {
		return nil
	}
	if len(rel) == 0 {
		return errPlace(c.open[0].step.Type)
	}
	around, last := rel[:len(rel)-1], rel[len(rel)-1]
	c.closeTo(around)
	for _, s := range around[len(c.open)-1:] {
		if top := c.open[len(c.open)-1].step.Type; !definitions[top].fields || !IsCollection(s.Type) {
			return errPlace(top)
		}
		c.open = append(c.open, frame{step: s, value: kv.Value{Type: s.Type}})
	}
	top := &c.open[len(c.open)-1]
	switch d := definitions[top.step.Type]; {
	case d.element != 0 && d.element == last.Type:
		top.value.List = append(top.value.List, []byte(last.Name))
	case d.fields && !IsCollection(last.Type) && definitions[last.Type] != nil:
		top.value.Fields = append(top.value.Fields, kv.Field{Name: last.Name, Value: v})
	default:
		return errPlace(top.step.Type)
	}
	top.value.Present = true
	return nil
}

func errPlace(t kv.Type) error {
	return kv.Errorf(kv.KindCorrupt, "a leaf in a place where a %s has none", Name(t))
}

// closeTo closes the frames that are not on the path, innermost first.
func (c *Collector) closeTo(path kv.Path) {
	same := 0
	for same < len(path) && same+1 < len(c.open) && c.open[same+1].step == path[same] {
		same++
	}
	for len(c.open)-1 > same {
		c.closeLast()
	}
}

// closeLast hands the innermost open collection to the one around it, unless nothing came of it.
func (c *Collector) closeLast() {
	done := c.open[len(c.open)-1]
	c.open = c.open[:len(c.open)-1]
	if !done.value.Present {
		return
	}
	around := &c.open[len(c.open)-1].value
	around.Present = true
	around.Fields = append(around.Fields, kv.Field{Name: done.step.Name, Value: done.value})
}

// Value is the collection's value. The collector is done after that.
func (c *Collector) Value() kv.Value {
	c.closeTo(nil)
	return c.open[0].value
}
