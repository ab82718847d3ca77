package txn

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// Digest implements kv.Service. docs/formats/digest.md draws what is hashed. One of all buckets, by which regions are
// compared, is a call on none of them, and goes by no rules.
func (c *Coordinator) Digest(ctx context.Context, req kv.DigestRequest) (kv.Digest, error) {
	var rules *kv.Rules
	if req.Bucket != "" {
		rules = c.bucketRules()
	}
	if err := rules.Listing(&req.Options, req.Bucket); err != nil {
		return kv.Digest{}, err
	}
	m := c.meter(&req.Options)
	s, err := c.begin(ctx, &kv.Begin{Options: req.Options, ReadOnly: true}, m)
	if err != nil {
		return kv.Digest{}, err
	}
	defer s.Close()
	v := c.viewAt(nonNil(s.At()))
	d := digester{view: v, hash: sha256.New()}
	one := func(b kv.Bucket) error { return d.bucket(ctx, b) }
	if req.Bucket != "" {
		err = one(req.Bucket)
	} else {
		err = c.eachBucket(ctx, v.at, one)
	}
	if err != nil {
		return kv.Digest{}, err
	}
	out := kv.Digest{Objects: d.objects, Receipt: c.receipt(&req.Options, v.at)}
	copy(out.Sum[:], d.hash.Sum(nil))
	c.complete(m, &out.Receipt)
	return out, nil
}

// digester hashes objects leaf by leaf, so that it holds one leaf of the largest object at a time.
type digester struct {
	view    *view
	hash    hash.Hash
	objects int64
	buf     []byte
	open    kv.Path // the collections that are begun, below the object
}

func (d *digester) bucket(ctx context.Context, b kv.Bucket) error {
	return d.view.objects(ctx, b, "", nil, func(o kv.Object) (bool, error) { return true, d.object(ctx, o) })
}

func (d *digester) object(ctx context.Context, o kv.Object) error {
	d.objects++
	d.buf = appendString(d.buf[:0], string(o.Bucket))
	d.buf = appendString(d.buf, string(o.Key))
	if !crdt.IsCollection(o.Type) {
		value, err := d.view.leaf(place{object: o}, o.Type)
		if err = d.value(place{object: o}, o.Type, &value, err); err == nil {
			d.write()
		}
		return err
	}
	d.buf = appendString(d.buf, crdt.Name(o.Type))
	d.open = d.open[:0]
	err := d.view.each(ctx, place{object: o}, "", func(path string, value kv.Value, unreadable error) (bool, error) {
		return true, d.leaf(place{o, path}, &value, unreadable)
	})
	d.closeTo(nil)
	d.buf = append(d.buf, 0)
	d.write()
	return err
}

func (d *digester) write() {
	d.hash.Write(d.buf) // which never fails
	d.buf = d.buf[:0]
}

// leaf adds the next leaf of a collection, with the collections that it is the first leaf of.
func (d *digester) leaf(at place, value *kv.Value, unreadable error) error {
	p, err := kv.DecodePath([]byte(at.path))
	if err != nil {
		return err
	}
	t := at.object.Type
	around, last := p[:len(p)-1], p[len(p)-1]
	d.closeTo(around)
	for _, s := range around[len(d.open):] {
		d.buf = appendString(append(d.buf, 1), s.Name)
		d.buf = appendString(d.buf, crdt.Name(s.Type))
		d.open = append(d.open, s)
	}
	if len(around) > 0 {
		t = around[len(around)-1].Type
	}
	d.buf = appendString(append(d.buf, 1), last.Name)
	if _, element := crdt.Element(t, nil); !element {
		err = d.value(at, last.Type, value, unreadable)
	}
	d.write()
	return err
}

// wideCounter stands for the type's name where a counter is beyond 64 bits.
const wideCounter = "counter beyond 64 bits"

// value adds a leaf's type and value; unreadable is why the value is not known.
func (d *digester) value(at place, leaf kv.Type, value *kv.Value, unreadable error) error {
	if unreadable == nil {
		d.buf = appendDigest(appendString(d.buf, crdt.Name(leaf)), value)
		return nil
	}
	if kv.KindOf(unreadable) != kv.KindBound {
		return unreadable
	}
	items, err := d.view.items(at)
	if err != nil {
		return err
	}
	sum, err := crdt.CounterSum(items, d.view.at)
	d.buf = append(appendString(d.buf, wideCounter), sum[:]...)
	return err
}

// closeTo ends the collections that are not on the path, innermost first.
func (d *digester) closeTo(path kv.Path) {
	same := 0
	for same < len(path) && same < len(d.open) && d.open[same] == path[same] {
		same++
	}
	for len(d.open) > same {
		d.open = d.open[:len(d.open)-1]
		d.buf = append(d.buf, 0)
	}
}

func appendString[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendDigest writes a leaf's value in its one canonical form.
func appendDigest(dst []byte, v *kv.Value) []byte {
	switch v.Type {
	case crdt.Counter:
		return binary.BigEndian.AppendUint64(dst, uint64(v.Int))
	case crdt.RegisterLWW:
		return appendString(dst, v.Bytes)
	case crdt.RegisterMV:
		for _, e := range v.List {
			dst = appendString(append(dst, 1), e)
		}
		return append(dst, 0)
	}
	return append(dst, 1) // a flag, which is present when it is enabled
}
