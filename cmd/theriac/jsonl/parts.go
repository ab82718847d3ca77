package jsonl

import (
	"github.com/theriac-db/theriac/cmd/theriac/pathspec"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// Parts writes one collection's value from the pages that a database gives of it, which may cut a
// field: it holds the way to the field written last, and nothing of what is in it.
type Parts struct {
	open  []part // the collection, and those within it that the next page may go on with
	begun bool
}

// part is a collection that is written in part.
type part struct {
	name   string // of the field, in the collection around it
	kind   kv.Type
	filled bool
}

// NewParts begins a value of a collection's type.
func NewParts(t kv.Type) *Parts { return &Parts{open: []part{{kind: t}}} }

// Append appends the next page.
func (p *Parts) Append(dst []byte, v kv.Value) []byte {
	return p.merge(p.begin(dst), 0, v)
}

func (p *Parts) begin(dst []byte) []byte {
	if p.begun {
		return dst
	}
	p.begun = true
	return append(dst, opening(p.open[0].kind))
}

// End closes what is open. Nothing may follow.
func (p *Parts) End(dst []byte) []byte {
	dst = p.closeTo(p.begin(dst), 0)
	return append(dst, closing(p.open[0].kind))
}

// merge appends what a page holds of the collection at a depth of those that are open.
func (p *Parts) merge(dst []byte, depth int, v kv.Value) []byte {
	for _, e := range v.List {
		dst = AppendBytes(p.entry(dst, depth), string(e))
	}
	for _, f := range v.Fields {
		if !crdt.IsCollection(f.Value.Type) {
			dst = AppendField(p.entry(p.closeTo(dst, depth), depth), f)
			continue
		}
		if len(p.open) == depth+1 || p.open[depth+1].name != f.Name || p.open[depth+1].kind != f.Value.Type {
			dst = p.entry(p.closeTo(dst, depth), depth)
			dst = appendString(dst, pathspec.FormatField(f.Name, f.Value.Type))
			dst = append(dst, ':', opening(f.Value.Type))
			p.open = append(p.open, part{name: f.Name, kind: f.Value.Type})
		}
		dst = p.merge(dst, depth+1, f.Value)
	}
	return dst
}

// entry appends the comma before all but the first entry.
func (p *Parts) entry(dst []byte, depth int) []byte {
	if p.open[depth].filled {
		dst = append(dst, ',')
	}
	p.open[depth].filled = true
	return dst
}

// closeTo closes the collections below a depth, innermost first.
func (p *Parts) closeTo(dst []byte, depth int) []byte {
	for len(p.open) > depth+1 {
		last := p.open[len(p.open)-1]
		p.open = p.open[:len(p.open)-1]
		dst = append(dst, closing(last.kind))
	}
	return dst
}

func opening(t kv.Type) byte {
	if t == crdt.Map || t == crdt.MapGO {
		return '{'
	}
	return '['
}

func closing(t kv.Type) byte { return opening(t) + 2 } // in ASCII
