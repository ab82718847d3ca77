package txn

import (
	"bytes"
	"context"
	"hash/crc32"
	"strings"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// page reads up to q.Limit elements or fields. A page that is full within a field ends there: the
// cursor is the path of the last leaf on it, behind a mark of what is paged, so the next one goes on with
// the field's rest.
func (v *view) page(ctx context.Context, q *kv.Query, at place, typ kv.Type) (kv.Value, error) {
	if !crdt.IsCollection(typ) {
		return kv.Value{}, kv.Errorf(kv.KindInvalid, "paging through a %s: only sets and maps have pages", crdt.Name(typ))
	}
	if q.Limit < 1 || q.Limit > kv.MaxPage {
		return kv.Value{}, kv.Errorf(kv.KindInvalid, "page of %d elements: ask for 1 to %d", q.Limit, kv.MaxPage)
	}
	after, err := at.behind(q.After)
	if err != nil {
		return kv.Value{}, err
	}
	p := pager{limit: q.Limit, root: len(at.path)}
	c := crdt.NewCollector(typ)
	err = v.each(ctx, at, after, func(path string, value kv.Value, unreadable error) (bool, error) {
		if p.full(path) {
			return false, nil
		}
		p.took(path, &value)
		return true, v.collect(c, path[p.root:], value, unreadable)
	})
	if err != nil {
		return kv.Value{}, err
	}
	out := c.Value()
	if p.next != "" {
		out.Next = append(at.mark(), p.next...)
	}
	return out, nil
}

// mark begins the cursors of a place: one of another place is told apart by it.
func (p place) mark() []byte {
	sum := crc32.NewIEEE()
	for _, s := range []string{string(p.object.Bucket), string(p.object.Key), p.path} {
		sum.Write(kv.AppendName(nil, s)) // never fails
	}
	sum.Write([]byte{byte(p.object.Type)})
	return sum.Sum(nil)
}

// behind is the path of the leaf that a cursor stands behind; no cursor stands before the first.
func (p place) behind(cursor []byte) (string, error) {
	if len(cursor) == 0 {
		return "", nil
	}
	after, ok := bytes.CutPrefix(cursor, p.mark())
	if !ok || !bytes.HasPrefix(after, []byte(p.path)) {
		return "", kv.Errorf(kv.KindInvalid, "page cursor of another object or path: pass on the Next of the page before")
	}
	return string(after), nil
}

// pager counts what is on a page.
type pager struct {
	limit, root   int
	current       string // encoded first step below the root
	steps         int    // elements or fields, those cut included
	leaves, bytes int
	last          string // path of the last leaf on the page
	next          string // cursor behind it, when there is more
}

// full reports whether the leaf at path no longer fits.
func (p *pager) full(path string) bool {
	within := p.current != "" && strings.HasPrefix(path[p.root:], p.current)
	if p.leaves == kv.MaxPage || p.bytes >= kv.MaxPageBytes || p.steps == p.limit && !within {
		p.next = p.last
		return true
	}
	return false
}

// took counts a leaf.
func (p *pager) took(path string, value *kv.Value) {
	p.last = path
	p.leaves++
	p.bytes += len(path) - p.root + valueSize(value)
	if rel := path[p.root:]; p.current == "" || !strings.HasPrefix(rel, p.current) {
		p.steps++
		p.current = firstStep(rel)
	}
}

// firstStep is the encoding of the first step of an encoded path.
func firstStep(rel string) string {
	_, rest, err := kv.DecodeName([]byte(rel))
	if err != nil || len(rest) == 0 {
		return rel
	}
	return rel[:len(rel)-len(rest)+1]
}

// room is what an answer may still take. It bounds a call's memory: a request of 4 MiB can ask for
// thousands of large values.
type room struct{ left int }

func newRoom() *room { return &room{kv.MaxAnswerBytes} }

// take uses up n bytes. The first leaf always fits, as it can be read in no smaller parts.
func (r *room) take(n int) error {
	if r == nil {
		return nil
	}
	if r.left < kv.MaxAnswerBytes && n > r.left {
		return kv.Errorf(kv.KindTooLarge, "an answer of more than %d bytes: page through large sets and maps, and ask for less at once", kv.MaxAnswerBytes)
	}
	r.left -= n
	return nil
}

// perLeaf is what a leaf counts beside its name and bytes.
const perLeaf = 8

func valueSize(v *kv.Value) int {
	n := perLeaf + len(v.Bytes)
	for _, e := range v.List {
		n += perLeaf + len(e)
	}
	return n
}
