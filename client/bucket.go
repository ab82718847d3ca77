package client

import (
	"context"
	"iter"

	"github.com/theriac-db/theriac/kv"
)

// Bucket is a namespace of keys. It exists once it has been written to.
type Bucket struct{ space }

// scope is where handles come from: the default bucket's, and other buckets.
type scope struct{ space }

func newScope(x executor) scope { return scope{newSpace(x, kv.DefaultBucket)} }

// Bucket is the bucket of this name: UTF-8 of at most 255 bytes. Names that start with "theriac."
// are the database's own: writes to them are refused.
func (s scope) Bucket(name string) Bucket { return Bucket{newSpace(s.x, kv.Bucket(name))} }

// space is one bucket's keys.
type space struct{ place }

func newSpace(x executor, name kv.Bucket) space {
	return space{place{x: x, object: kv.Object{Bucket: name}}}
}

// Name is the bucket's name.
func (s space) Name() string { return string(s.object.Bucket) }

// Object is the object of this key and type, for code that learns types as it runs.
func (s space) Object(key string, t Type) Handle { return s.handle(key, t) }

// Keys goes through the bucket's objects whose keys begin with prefix, in the order of (key, type),
// a page at a time, all at one snapshot. An error ends it.
func (s space) Keys(ctx context.Context, prefix string, opts ...CallOption) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		err := s.x.snapshot(ctx, opts, func(tx *Tx) error {
			return tx.keys(ctx, s.object.Bucket, kv.Key(prefix), func(o Object) bool { return yield(o, nil) })
		})
		if err != nil {
			yield(Object{}, err)
		}
	}
}
