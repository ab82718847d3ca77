package txn

import (
	"context"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// Keys implements kv.Service.
func (c *Coordinator) Keys(ctx context.Context, req kv.KeysRequest) (kv.KeysPage, error) {
	if err := checkKeys(&req); err != nil {
		return kv.KeysPage{}, err
	}
	after, err := decodeKeysCursor(&req)
	if err != nil {
		return kv.KeysPage{}, err
	}
	if req.Txn != 0 {
		t, err := c.locked(ctx, req.Txn)
		if err != nil {
			return kv.KeysPage{}, err
		}
		defer t.unlock()
		if err := c.bucketRules().ListingWithin(&t.asked, req.Bucket); err != nil {
			return kv.KeysPage{}, err
		}
		if err := t.reads.keys(req.Bucket, req.Prefix); err != nil {
			return kv.KeysPage{}, err
		}
		v := c.viewAt(nonNil(t.snapshot.At()))
		v.mine = t.writes.ifAny()
		m := c.meter(&t.options)
		if m != nil {
			m.staleness = aged(t.staleness, c.mono()-t.began)
		}
		page, err := c.keysPage(ctx, v, &req, after, &t.options)
		c.complete(m, &page.Receipt)
		return page, err
	}
	if err := c.bucketRules().Listing(&req.Options, req.Bucket); err != nil {
		return kv.KeysPage{}, err
	}
	m := c.meter(&req.Options)
	s, err := c.begin(ctx, &kv.Begin{Options: req.Options, ReadOnly: true}, m)
	if err != nil {
		return kv.KeysPage{}, err
	}
	defer s.Close()
	page, err := c.keysPage(ctx, c.viewAt(nonNil(s.At())), &req, after, &req.Options)
	c.complete(m, &page.Receipt)
	return page, err
}

func checkKeys(req *kv.KeysRequest) error {
	switch {
	case req.Bucket == "" || len(req.Bucket) > kv.MaxBucket:
		return kv.Errorf(kv.KindInvalid, "bucket name of %d bytes: want 1 to %d", len(req.Bucket), kv.MaxBucket)
	case len(req.Prefix) > kv.MaxKey:
		return kv.Errorf(kv.KindTooLarge, "key prefix of %d bytes: at most %d", len(req.Prefix), kv.MaxKey)
	case req.Limit < 1 || req.Limit > kv.MaxPage:
		return kv.Errorf(kv.KindInvalid, "page of %d keys: ask for 1 to %d", req.Limit, kv.MaxPage)
	}
	return nil
}

// A cursor of a listing is the last object's key, encoded as a name, and its type.
func encodeKeysCursor(o kv.Object) []byte {
	return append(kv.AppendName(nil, string(o.Key)), byte(o.Type))
}

func decodeKeysCursor(req *kv.KeysRequest) (*kv.Object, error) {
	if len(req.After) == 0 {
		return nil, nil
	}
	key, rest, err := kv.DecodeName(req.After)
	if err != nil || len(rest) != 1 {
		return nil, kv.Errorf(kv.KindInvalid, "malformed page cursor: pass on the Next of the page before")
	}
	return &kv.Object{Bucket: req.Bucket, Key: kv.Key(key), Type: kv.Type(rest[0])}, nil
}

func (c *Coordinator) keysPage(ctx context.Context, v *view, req *kv.KeysRequest, after *kv.Object, o *kv.Options) (kv.KeysPage, error) {
	page := kv.KeysPage{Receipt: c.receipt(o, v.at)}
	size := 0
	err := v.objects(ctx, req.Bucket, req.Prefix, after, func(o kv.Object) (bool, error) {
		if n := len(page.Objects); n == req.Limit || size >= kv.MaxPageBytes {
			page.Next = encodeKeysCursor(page.Objects[n-1])
			return false, nil
		}
		size += len(o.Key) + perLeaf
		page.Objects = append(page.Objects, o)
		return true, nil
	})
	return page, err
}

// objects calls fn for every present object of a bucket with a prefix, behind after, in the order
// of (key, type).
func (v *view) objects(ctx context.Context, b kv.Bucket, prefix kv.Key, after *kv.Object, fn func(kv.Object) (bool, error)) error {
	mine := v.mine.objects(b, prefix)
	for after != nil && len(mine) > 0 && compareObjects(mine[0], *after) <= 0 {
		mine = mine[1:]
	}
	stopped := false
	// own calls fn for the first object that the transaction wrote to, if it is present.
	own := func() error {
		o := mine[0]
		mine = mine[1:]
		present, err := v.present(ctx, o)
		if err == nil && present {
			var more bool
			more, err = fn(o)
			stopped = !more
		}
		return err
	}
	r := storage.KeyRange{Bucket: b, Generation: v.generations().of(b), Prefix: prefix}
	if after != nil {
		r.After, r.HasAfter = *after, true
	}
	err := v.store.ScanKeys(ctx, r, v.at, func(o kv.Object) (bool, error) {
		for !stopped && len(mine) > 0 && compareObjects(mine[0], o) < 0 {
			if err := own(); err != nil {
				return false, err
			}
		}
		if stopped {
			return false, nil
		}
		if len(mine) > 0 && mine[0] == o {
			err := own()
			return !stopped, err
		}
		more, err := fn(o)
		stopped = !more
		return more, err
	})
	for err == nil && !stopped && len(mine) > 0 {
		err = own()
	}
	return err
}

// present reports whether an object has anything in it.
func (v *view) present(ctx context.Context, o kv.Object) (bool, error) {
	at := place{object: o}
	if !crdt.IsCollection(o.Type) {
		value, err := v.leaf(at, o.Type)
		if kv.KindOf(err) == kv.KindBound {
			return true, nil // a counter beyond 64 bits
		}
		return value.Present, err
	}
	found := false
	err := v.each(ctx, at, "", func(string, kv.Value, error) (bool, error) {
		found = true
		return false, nil
	})
	return found, err
}

// Buckets implements kv.Service. It leaves out reserved buckets, and so do digests of all.
func (c *Coordinator) Buckets(ctx context.Context, req kv.BucketsRequest) (page kv.BucketsPage, err error) {
	return c.buckets(ctx, c.snapshots.Exposed(), req)
}

func (c *Coordinator) buckets(ctx context.Context, at clock.Vector, req kv.BucketsRequest) (page kv.BucketsPage, err error) {
	switch {
	case req.Limit < 1 || req.Limit > kv.MaxPage:
		return page, kv.Errorf(kv.KindInvalid, "page of %d buckets: ask for 1 to %d", req.Limit, kv.MaxPage)
	case len(req.After) > kv.MaxBucket:
		return page, kv.Errorf(kv.KindInvalid, "malformed page cursor: pass on the Next of the page before")
	}
	after, size := kv.Bucket(req.After), 0
	for {
		wanted := req.Limit - len(page.Buckets) + 1 // one more tells whether there is a next page
		names, err := c.store.Buckets(ctx, at, after, wanted)
		if err != nil {
			return kv.BucketsPage{}, err
		}
		for _, b := range names {
			if after = b; b.Reserved() {
				continue
			}
			if n := len(page.Buckets); n == req.Limit || size >= kv.MaxPageBytes {
				page.Next = []byte(page.Buckets[n-1])
				return page, nil
			}
			size += len(b) + perLeaf
			page.Buckets = append(page.Buckets, b)
		}
		if len(names) < wanted {
			return page, nil
		}
	}
}

// eachBucket calls fn with every bucket that there is at a snapshot.
func (c *Coordinator) eachBucket(ctx context.Context, at clock.Vector, fn func(kv.Bucket) error) error {
	req := kv.BucketsRequest{Limit: kv.MaxPage}
	for {
		page, err := c.buckets(ctx, at, req)
		if err != nil {
			return err
		}
		for _, b := range page.Buckets {
			if err := fn(b); err != nil {
				return err
			}
		}
		if len(page.Next) == 0 {
			return nil
		}
		req.After = page.Next
	}
}
