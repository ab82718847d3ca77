package client

import (
	"context"

	"github.com/theriac-db/theriac/kv"
)

// Counter is a number that concurrent additions sum up in. It starts at 0. A large increment
// that would take it out of [-2^62, 2^62] is refused with ErrBound; small ones, and concurrent ones in
// several regions, may still take it beyond. A sum that does not fit 64 bits is ErrBound to whoever reads it.
type Counter struct{ Handle }

// Add adds n, which may be negative.
func (c Counter) Add(ctx context.Context, n int64, opts ...CallOption) error {
	return c.update(ctx, kv.Op{Verb: kv.VerbIncrement, Int: n}, opts)
}

// Get reads the counter; 0 when it was never written.
func (c Counter) Get(ctx context.Context, opts ...CallOption) (int64, error) {
	v, err := c.Value(ctx, opts...)
	return v.Int, err
}

// Register holds one value of at most 1 MiB; of concurrent writes the last one wins.
type Register struct{ Handle }

// Set assigns a value.
func (r Register) Set(ctx context.Context, value []byte, opts ...CallOption) error {
	return r.update(ctx, kv.Op{Verb: kv.VerbAssign, Data: value}, opts)
}

// SetString assigns a text.
func (r Register) SetString(ctx context.Context, value string, opts ...CallOption) error {
	return r.Set(ctx, []byte(value), opts...)
}

// Get reads the value; nil when there is none. A value of no bytes is not nil.
func (r Register) Get(ctx context.Context, opts ...CallOption) ([]byte, error) {
	v, err := r.Value(ctx, opts...)
	if err != nil || !v.Present {
		return nil, err
	}
	if v.Bytes == nil {
		return []byte{}, nil
	}
	return v.Bytes, nil
}

// GetString reads the value as text; empty when there is none.
func (r Register) GetString(ctx context.Context, opts ...CallOption) (string, error) {
	v, err := r.Value(ctx, opts...)
	return string(v.Bytes), err
}

// CompareAndSet assigns value if the register holds old, as Get returned it: nil means that there
// must be no value. Otherwise nothing is written and the error matches ErrAborted. Within Update
// the condition is part of the transaction: it is checked when that commits.
//
// At causal level the comparison is with the value in the region that commits: of two calls in one
// region with the same old one fails, in two regions both can succeed, and the last write wins.
func (r Register) CompareAndSet(ctx context.Context, old, value []byte, opts ...CallOption) error {
	expect := &kv.Expectation{Absent: old == nil, Value: old}
	return r.update(ctx, kv.Op{Verb: kv.VerbAssign, Data: value, Expect: expect}, opts)
}

// MVRegister holds a value of at most 1 MiB; of concurrent writes it keeps all, until the next
// write, which replaces those that it has seen.
type MVRegister struct{ Handle }

// Set assigns a value in place of all that the transaction's snapshot holds.
func (r MVRegister) Set(ctx context.Context, value []byte, opts ...CallOption) error {
	return r.update(ctx, kv.Op{Verb: kv.VerbAssign, Data: value}, opts)
}

// SetString assigns a text.
func (r MVRegister) SetString(ctx context.Context, value string, opts ...CallOption) error {
	return r.Set(ctx, []byte(value), opts...)
}

// Get reads the values, in byte order: none, one, or several that were written concurrently.
func (r MVRegister) Get(ctx context.Context, opts ...CallOption) ([][]byte, error) {
	v, err := r.Value(ctx, opts...)
	return v.List, err
}

// Flag is on or off. It starts off.
type Flag struct{ Handle }

// Enable turns the flag on.
func (f Flag) Enable(ctx context.Context, opts ...CallOption) error {
	return f.update(ctx, kv.Op{Verb: kv.VerbEnable}, opts)
}

// Disable turns the flag off.
func (f Flag) Disable(ctx context.Context, opts ...CallOption) error {
	return f.update(ctx, kv.Op{Verb: kv.VerbDisable}, opts)
}

// Get reads the flag.
func (f Flag) Get(ctx context.Context, opts ...CallOption) (bool, error) {
	v, err := f.Value(ctx, opts...)
	return v.Flag, err
}
