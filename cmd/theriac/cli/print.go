package cli

import (
	"bufio"
	"fmt"
	"strconv"

	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/cmd/theriac/jsonl"
	"github.com/theriac-db/theriac/cmd/theriac/pathspec"
	"github.com/theriac-db/theriac/cmd/theriac/words"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// printer prints one read value, which may come in several pages.
type printer struct {
	out    *bufio.Writer
	json   bool
	prefix string // words before the value on each line of a table
	query  *kv.Query
	kind   kv.Type // of what the query addresses
	pages  int
	filled bool // something was there
	parts  *jsonl.Parts
}

// newPrinter makes the printer of a statement's query. Its address was checked before.
func (r *run) newPrinter(q *kv.Query, prefix string) *printer {
	t, err := crdt.Address(q.Object, q.Path)
	must(err)
	return &printer{out: r.out, json: r.client.Output == config.OutputJSON, prefix: prefix, query: q, kind: t}
}

// page prints one page; the whole value is one page too. Errors of the writer show when it is flushed.
func (p *printer) page(v kv.Value) error {
	p.filled = p.filled || v.Present
	switch {
	case p.json:
		p.jsonPage(v)
	case p.query.Kind == kv.QueryContains:
		fmt.Fprintf(p.out, "%s%t\n", p.prefix, v.Flag)
	default:
		v.Type = p.kind
		p.lines(p.prefix, v)
	}
	p.pages++
	return nil
}

// lines prints a value in a table: a line a leaf or element, the value last.
func (p *printer) lines(prefix string, v kv.Value) {
	switch v.Type {
	case crdt.Counter:
		fmt.Fprintf(p.out, "%s%d\n", prefix, v.Int)
	case crdt.RegisterLWW:
		if v.Present {
			fmt.Fprintf(p.out, "%s%s\n", prefix, words.Text(string(v.Bytes)))
		}
	case crdt.FlagEW, crdt.FlagDW:
		fmt.Fprintf(p.out, "%s%t\n", prefix, v.Flag)
	case crdt.Map, crdt.MapGO:
		p.fields(prefix, "", v.Fields)
	default:
		for _, e := range v.List {
			fmt.Fprintf(p.out, "%s%s\n", prefix, words.Text(string(e)))
		}
	}
}

// fields prints a map's leaves, each behind its path.
func (p *printer) fields(prefix, above string, fields []kv.Field) {
	for _, f := range fields {
		path := above + pathspec.PrintedField(f.Name, f.Value.Type)
		if crdt.IsCollection(f.Value.Type) && len(f.Value.Fields) > 0 {
			p.fields(prefix, path+"/", f.Value.Fields)
		} else {
			p.lines(prefix+words.Quote(path)+" ", f.Value)
		}
	}
}

// jsonPage prints a page of the one JSON document that a value is.
func (p *printer) jsonPage(v kv.Value) {
	var b []byte
	if p.pages == 0 {
		b = p.head(v)
	}
	switch {
	case p.query.Kind == kv.QueryContains:
		b = strconv.AppendBool(b, v.Flag)
	case p.kind == crdt.RegisterLWW && !v.Present:
		b = append(b, "null"...)
	case !p.many():
		b = jsonl.AppendValue(b, p.kind, v)
	default:
		if p.parts == nil {
			p.parts = jsonl.NewParts(p.kind)
		}
		b = p.parts.Append(b, v)
	}
	// A bufio.Writer remembers its error for Flush.
	_, _ = p.out.Write(b)
}

// many reports whether the value may come in pages.
func (p *printer) many() bool { return p.query.Kind != kv.QueryContains && crdt.IsCollection(p.kind) }

// head is the document up to its value. An element is there, or is not, as a value is.
func (p *printer) head(v kv.Value) []byte {
	present := v.Present
	b := jsonl.AppendHead(nil, p.query.Object)
	if len(p.query.Path) > 0 {
		b = append(b, `,"path":`...)
		b = jsonl.AppendBytes(b, pathspec.Printed(p.query.Path))
	}
	if p.query.Kind == kv.QueryContains {
		b = append(b, `,"element":`...)
		b = jsonl.AppendBytes(b, string(p.query.Data))
		present = v.Flag
	}
	b = append(b, `,"present":`...)
	b = strconv.AppendBool(b, present)
	return append(b, `,"value":`...)
}

// end closes the document.
func (p *printer) end() {
	if !p.json {
		return
	}
	var b []byte
	if p.parts != nil {
		b = p.parts.End(b)
	}
	p.out.Write(append(b, '}', '\n'))
}

// absent is the error of a read that found nothing, where the type has no value for that: a
// counter is 0, a flag false and a set empty, but a register or a map is not there.
func (p *printer) absent() error {
	switch {
	case p.filled, p.query.Kind == kv.QueryContains:
		return nil
	case p.kind == crdt.RegisterLWW, p.kind == crdt.RegisterMV, p.kind == crdt.Map, p.kind == crdt.MapGO:
		return absentError{fmt.Sprintf("no %s at %s in bucket %s", crdt.Name(p.kind), place(p.query), words.Quote(string(p.query.Bucket)))}
	}
	return nil
}

// place is the text of what a query addresses.
func place(q *kv.Query) string {
	s := words.Quote(string(q.Key))
	if len(q.Path) > 0 {
		s += " " + words.Quote(pathspec.Printed(q.Path))
	}
	return s
}
