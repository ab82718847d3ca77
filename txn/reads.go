package txn

import (
	"encoding/binary"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
)

// Limits of what a strong transaction that writes may have read. docs/reference/limits.md lists them.
const (
	MaxReads     = 1 << 15 // leaves and ranges
	MaxReadBytes = 2 << 20 // of their addresses
)

// readSet is what a strong transaction has read: leaves, and ranges of them, so that what was not there
// when they were read, and is written meanwhile, is found too. A nil set takes note of nothing.
type readSet struct {
	generations
	seen  map[string]struct{} // keys, those of ranges with a mark behind
	order []certify.Access
	bytes int
}

// query takes note of what a query reads, before it does.
func (r *readSet) query(q *kv.Query, at place, typ kv.Type) error {
	switch {
	case r == nil:
		return nil
	case q.Kind == kv.QueryContains:
		step, _ := crdt.Element(typ, q.Data) // what is no set is refused by who reads it
		at.path += string(kv.AppendPath(nil, kv.Path{step}))
		return r.leaf(at)
	case crdt.IsCollection(typ):
		return r.add(certify.Prefix(r.address(at)))
	}
	return r.leaf(at)
}

// leaf takes note of one leaf.
func (r *readSet) leaf(at place) error {
	if r == nil {
		return nil
	}
	return r.add(certify.Point(r.address(at)))
}

// keys takes note of a listing.
func (r *readSet) keys(b kv.Bucket, prefix kv.Key) error {
	if r == nil {
		return nil
	}
	key := kv.AppendName(r.bucketAddress(b), string(prefix))
	return r.add(certify.Prefix(key[:len(key)-nameEnd]))
}

// nameEnd is how many bytes end a name that kv.AppendName wrote: without them it is a prefix of the names
// that begin like it.
const nameEnd = 2

func (r *readSet) add(a certify.Access) error {
	mark := string(a.Key)
	if a.Prefix {
		mark += "*" // no leaf ends so: its last byte is its type
	}
	if _, known := r.seen[mark]; known {
		return nil
	}
	if r.seen == nil {
		r.seen = map[string]struct{}{}
	}
	r.bytes += len(a.Key)
	if len(r.order) >= MaxReads || r.bytes > MaxReadBytes {
		return kv.Errorf(kv.KindTooLarge, "a strong transaction that may write reads more than %d leaves or %d bytes of addresses: read whole collections, or listings, or split it", MaxReads, MaxReadBytes)
	}
	r.seen[mark] = struct{}{}
	r.order = append(r.order, a)
	return nil
}

// list is what was read; nil for a nil set.
func (r *readSet) list() []certify.Access {
	if r == nil {
		return nil
	}
	return r.order
}

// address is where a leaf, or all below a path, lies for the certifier: name(bucket) | generation 4 BE |
// name(key) | type 1 | path. What begins with the address of a collection or field is in it.
func (g generations) address(p place) []byte {
	out := kv.AppendName(g.bucketAddress(p.object.Bucket), string(p.object.Key))
	return append(append(out, byte(p.object.Type)), p.path...)
}

func (g generations) bucketAddress(b kv.Bucket) []byte {
	return binary.BigEndian.AppendUint32(kv.AppendName(nil, string(b)), g.of(b))
}

// accesses is what a write set writes, as the certifier sees it.
func (s *writeSet) accesses(g generations) []certify.Write {
	out := make([]certify.Write, 0, s.live)
	for i := range s.writes {
		if w := &s.writes[i]; !w.dead {
			a := certify.Point(g.address(w.place))
			a.Prefix = a.Prefix || w.target.Below
			out = append(out, certify.Write{Access: a, Covers: w.target.Override || w.target.Below})
		}
	}
	return out
}
