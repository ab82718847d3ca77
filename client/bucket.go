package client

import (
	"context"
	"iter"
	"slices"

	"github.com/theriac-db/theriac/kv"
)

// Bucket is a namespace of keys. It exists once it has been written to.
//
//	stock := db.Bucket("stock", client.Strong())
//	err := stock.Register("pump").CompareAndSet(ctx, []byte("3"), []byte("2"))
type Bucket struct{ space }

// scope is where handles come from: the default bucket's, and other buckets.
type scope struct{ space }

func newScope(x executor) scope { return scope{newSpace(x, kv.DefaultBucket)} }

// Bucket is the bucket of this name: UTF-8 of at most 255 bytes. Names that start with "theriac."
// are the database's own: writes to them are refused. Options are those of every call through the
// handle and what comes from it, after the client's defaults and before the call's own. A transaction has
// one level for all its buckets, so there they are refused: give them to Update or View.
func (s scope) Bucket(name string, opts ...CallOption) Bucket {
	x := s.x
	if len(opts) > 0 {
		x = optioned{x, slices.Clone(opts)}
	}
	return Bucket{newSpace(x, kv.Bucket(name))}
}

// optioned is an executor whose calls have options beside their own.
type optioned struct {
	executor
	opts []CallOption
}

func (o optioned) do(ctx context.Context, ops []kv.Op, queries []kv.Query, room []kv.Value, opts []CallOption) ([]kv.Value, error) {
	return o.executor.do(ctx, ops, queries, room, o.with(opts))
}

func (o optioned) snapshot(ctx context.Context, opts []CallOption, fn func(tx *Tx) error) error {
	return o.executor.snapshot(ctx, o.with(opts), fn)
}

func (o optioned) with(opts []CallOption) []CallOption {
	if len(opts) == 0 {
		return o.opts
	}
	return slices.Concat(o.opts, opts)
}

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
