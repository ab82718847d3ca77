package txn

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

func (r *region) keys(req kv.KeysRequest) []string {
	r.t.Helper()
	out := []string{}
	for {
		page, err := r.Keys(r.t.Context(), req)
		require.NoError(r.t, err)
		for _, o := range page.Objects {
			out = append(out, fmt.Sprintf("%s:%s", o.Key, crdt.Name(o.Type)))
		}
		if len(page.Next) == 0 {
			return out
		}
		req.After = page.Next
	}
}

// buckets lists all buckets, with so many on a page.
func (r *region) buckets(limit int) (all []kv.Bucket) {
	r.t.Helper()
	req := kv.BucketsRequest{Limit: limit}
	for {
		page, err := r.Buckets(r.t.Context(), req)
		require.NoError(r.t, err)
		require.LessOrEqual(r.t, len(page.Buckets), limit)
		if all = append(all, page.Buckets...); len(page.Next) == 0 {
			return all
		}
		require.NotEmpty(r.t, page.Buckets)
		req.After = page.Next
	}
}

func TestBucketsComeInPages(t *testing.T) {
	r := fresh(t)
	require.Empty(t, r.buckets(1))
	in := func(b kv.Bucket) kv.Op {
		return kv.Op{Object: kv.Object{Bucket: b, Key: "k", Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: 1}
	}
	// The reserved ones lie between others, and would end pages.
	var ops []kv.Op
	want := []kv.Bucket{"a", "b\x00", "b\x00c", "theria", "theriac", "theriac/x", "u"}
	for _, b := range want {
		ops = append(ops, in(b))
	}
	r.must(kv.Options{}, append(ops, in(kv.ImportBucket))...)
	for limit := range len(want) + 2 {
		require.Equal(t, want, r.buckets(limit+1))
	}
	d, err := r.Digest(t.Context(), kv.DigestRequest{})
	require.NoError(t, err)
	require.EqualValues(t, len(want), d.Objects)

	page, err := r.Buckets(t.Context(), kv.BucketsRequest{After: []byte("theriac"), Limit: 1})
	require.NoError(t, err)
	require.Equal(t, []kv.Bucket{"theriac/x"}, page.Buckets)
	for _, bad := range []kv.BucketsRequest{{}, {Limit: -1}, {Limit: kv.MaxPage + 1}, {Limit: 1, After: make([]byte, kv.MaxBucket+1)}} {
		_, err := r.Buckets(t.Context(), bad)
		require.ErrorIs(t, err, kv.ErrInvalid)
	}
}

// Names of full length make more than a page may hold.
func TestPagesOfBucketsAreBoundedInBytes(t *testing.T) {
	r := fresh(t)
	const count = kv.MaxPageBytes/kv.MaxBucket + 500
	var ops []kv.Op
	for i := range count {
		name := kv.Bucket(fmt.Sprintf("%0*d", kv.MaxBucket, i))
		ops = append(ops, kv.Op{Object: kv.Object{Bucket: name, Key: "k", Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: 1})
	}
	r.must(kv.Options{}, ops...)
	page, err := r.Buckets(t.Context(), kv.BucketsRequest{Limit: kv.MaxPage})
	require.NoError(t, err)
	require.NotEmpty(t, page.Next)
	size := 0
	for _, b := range page.Buckets {
		size += len(b)
	}
	require.LessOrEqual(t, size, kv.MaxPageBytes)
	require.Len(t, r.buckets(kv.MaxPage), count)
	d, err := r.Digest(t.Context(), kv.DigestRequest{})
	require.NoError(t, err)
	require.EqualValues(t, count, d.Objects, "a digest of all is of all pages")
}

func TestKeysListsPresentObjectsInOrder(t *testing.T) {
	r := fresh(t)
	r.must(kv.Options{}, increment("b", 1), assign("b", "x"), increment("a", 1), element(kv.VerbAdd, "ab", "e"),
		increment("c\x00", 1), element(kv.VerbAdd, "gone", "e"), kv.Op{Object: kv.Object{Bucket: "other", Key: "z", Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: 1})
	r.must(kv.Options{}, element(kv.VerbRemove, "gone", "e"))
	all := []string{"a:counter", "ab:set-aw", "b:counter", "b:register-lww", "c\x00:counter"}
	for _, limit := range []int{1, 2, 100} {
		require.Equal(t, all, r.keys(kv.KeysRequest{Bucket: kv.DefaultBucket, Limit: limit}))
	}
	require.Equal(t, []string{"a:counter", "ab:set-aw"}, r.keys(kv.KeysRequest{Bucket: kv.DefaultBucket, Prefix: "a", Limit: 1}))
	require.Empty(t, r.keys(kv.KeysRequest{Bucket: "nothing", Limit: 1}))
	require.Equal(t, []kv.Bucket{"default", "other"}, r.buckets(1))
}

func TestKeysInATransactionSeesOwnWrites(t *testing.T) {
	r := fresh(t)
	r.must(kv.Options{}, increment("b", 1), element(kv.VerbAdd, "d", "e"))
	id, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	r.must(kv.Options{}, increment("later", 1))
	_, err = r.Execute(t.Context(), id, []kv.Op{increment("a", 1), element(kv.VerbRemove, "d", "e"), increment("e", 1),
		element(kv.VerbAdd, "never", "x"), element(kv.VerbRemove, "never", "x"), increment("b", 1)}, nil)
	require.NoError(t, err)
	for _, limit := range []int{1, 2, 100} {
		got := r.keys(kv.KeysRequest{Txn: id, Bucket: kv.DefaultBucket, Limit: limit})
		require.Equal(t, []string{"a:counter", "b:counter", "e:counter"}, got)
	}
}

func TestKeysRefusesBadRequests(t *testing.T) {
	r := fresh(t)
	for name, req := range map[string]kv.KeysRequest{
		"no bucket":  {Limit: 1},
		"no limit":   {Bucket: "b"},
		"long page":  {Bucket: "b", Limit: kv.MaxPage + 1},
		"bad cursor": {Bucket: "b", Limit: 1, After: []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Keys(t.Context(), req)
			require.ErrorIs(t, err, kv.ErrInvalid)
		})
	}
	_, err := r.Keys(t.Context(), kv.KeysRequest{Bucket: "b", Limit: 1, Txn: 99})
	require.ErrorIs(t, err, kv.ErrNotFound)
	_, err = r.Keys(t.Context(), kv.KeysRequest{Bucket: "b", Limit: 1, Prefix: kv.Key(make([]byte, kv.MaxKey+1))})
	require.ErrorIs(t, err, kv.ErrTooLarge)
}

func TestPagesOfSetsAndMaps(t *testing.T) {
	r := fresh(t)
	set, m := object("s", crdt.SetAW), object("m", crdt.Map)
	var ops []kv.Op
	for i := range 10 {
		ops = append(ops, element(kv.VerbAdd, "s", fmt.Sprintf("e%02d", i)))
		p := kv.Path{{Name: fmt.Sprintf("f%02d", i), Type: crdt.SetAW}}
		for j := range 3 {
			ops = append(ops, kv.Op{Object: m, Path: p, Verb: kv.VerbAdd, Data: []byte{byte('a' + j)}})
		}
	}
	r.must(kv.Options{}, ops...)
	for _, limit := range []int{1, 3, 10, 11} {
		var elements, fields []string
		q := kv.Query{Object: set, Kind: kv.QueryPage, Limit: limit}
		for pages := 0; ; pages++ {
			require.Less(t, pages, 11)
			v := r.read(q)
			require.LessOrEqual(t, len(v.List), limit)
			elements = append(elements, texts(v.List)...)
			if q.After = v.Next; len(v.Next) == 0 {
				break
			}
		}
		q = kv.Query{Object: m, Kind: kv.QueryPage, Limit: limit}
		for {
			v := r.read(q)
			for _, f := range v.Fields {
				require.Len(t, f.Value.List, 3, "a field comes whole")
				fields = append(fields, f.Name)
			}
			if q.After = v.Next; len(v.Next) == 0 {
				break
			}
		}
		require.Len(t, elements, 10)
		require.Len(t, fields, 10)
		require.Equal(t, "e09", elements[9])
		require.Equal(t, "f09", fields[9])
	}
}

func TestPagesRefuseBadRequests(t *testing.T) {
	r := fresh(t)
	for name, q := range map[string]kv.Query{
		"leaf":         {Object: object("n", crdt.Counter), Kind: kv.QueryPage, Limit: 1},
		"no limit":     {Object: object("s", crdt.SetAW), Kind: kv.QueryPage},
		"kind":         {Object: object("s", crdt.SetAW), Kind: 77},
		"wrong cursor": {Object: object("m", crdt.Map), Path: kv.Path{{Name: "f", Type: crdt.SetAW}}, Kind: kv.QueryPage, Limit: 1, After: []byte("zzz")},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Do(t.Context(), kv.Request{Queries: []kv.Query{q}})
			require.ErrorIs(t, err, kv.ErrInvalid)
		})
	}
}

func TestDigestDependsOnContentOnly(t *testing.T) {
	a, b := fresh(t), fresh(t)
	ops := []kv.Op{increment("n", 3), assign("r", "x"), element(kv.VerbAdd, "s", "1"), element(kv.VerbAdd, "s", "2")}
	a.must(kv.Options{}, ops...)
	for i := len(ops) - 1; i >= 0; i-- {
		b.must(kv.Options{}, ops[i])
	}
	digest := func(r *region) kv.Digest {
		d, err := r.Digest(t.Context(), kv.DigestRequest{})
		require.NoError(t, err)
		return d
	}
	require.Equal(t, digest(a).Sum, digest(b).Sum)
	require.Equal(t, int64(3), digest(a).Objects)
	b.must(kv.Options{}, kv.Op{Object: kv.Object{Bucket: kv.ImportBucket, Key: "k", Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: 1})
	require.Equal(t, digest(a).Sum, digest(b).Sum, "reserved buckets do not count")
	b.must(kv.Options{}, element(kv.VerbAdd, "s", "3"))
	require.NotEqual(t, digest(a).Sum, digest(b).Sum)
	b.must(kv.Options{}, element(kv.VerbRemove, "s", "3"))
	require.Equal(t, digest(a).Sum, digest(b).Sum)
}
