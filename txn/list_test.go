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
	buckets, err := r.Buckets(t.Context())
	require.NoError(t, err)
	require.Equal(t, []kv.Bucket{"default", "other"}, buckets)
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
