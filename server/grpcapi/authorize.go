package grpcapi

import (
	"context"

	"github.com/theriac-db/theriac/kv"
)

// Principal is who calls. Empty: nobody in particular.
type Principal string

// VerbRead is the verb of an Access that only reads.
const VerbRead kv.Verb = 0

// Access is one thing that a caller asks to do.
type Access struct {
	Principal Principal
	Bucket    kv.Bucket // empty: all buckets, or none in particular
	Type      kv.Type   // 0: any
	Verb      kv.Verb   // VerbRead: a read
	Level     kv.Level
	Rules     bool // it decides the bucket's rules, and writes no data
	Regions   bool // it decides which regions there are
}

// Authorizer is the one authorization point that every call passes.
type Authorizer interface {
	// Authorize returns nil when the access is allowed, else an error that the caller gets, of
	// KindDenied. It runs on the call's goroutine, for every call, concurrently.
	Authorize(ctx context.Context, a Access) error
}

// AllowAll is the Authorizer until there are users.
type AllowAll struct{}

// Authorize allows.
func (AllowAll) Authorize(context.Context, Access) error { return nil }

// authenticate begins every call: who is it, at which level.
func (d *door) authenticate(ctx context.Context, level kv.Level) (Access, error) {
	a := Access{Level: level}
	if d.cfg.Authenticate == nil {
		return a, nil
	}
	var err error
	a.Principal, err = d.cfg.Authenticate(ctx)
	return a, err
}

// authorizeOne asks for one access to a bucket.
func (d *door) authorizeOne(ctx context.Context, a Access, bucket kv.Bucket) error {
	a.Bucket = bucket
	return d.cfg.Authorizer.Authorize(ctx, a)
}

// authorize asks for all that operations and queries do. Neighbours that ask for the same, as most
// do, are asked about once.
func (d *door) authorize(ctx context.Context, a Access, ops []kv.Op, queries []kv.Query) error {
	asked := a // of no bucket, so the first differs
	ask := func(next Access) error {
		if next == asked {
			return nil
		}
		asked = next
		return d.cfg.Authorizer.Authorize(ctx, next)
	}
	for i := range ops {
		a.Bucket, a.Type, a.Verb = ops[i].Bucket, ops[i].Type, ops[i].Verb
		if err := ask(a); err != nil {
			return err
		}
	}
	for i := range queries {
		a.Bucket, a.Type, a.Verb = queries[i].Bucket, queries[i].Type, VerbRead
		if err := ask(a); err != nil {
			return err
		}
	}
	return nil
}
