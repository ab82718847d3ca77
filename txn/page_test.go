package txn

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// big writes a map whose field is a map that holds a set of n elements, with small fields around it.
func big(r *region, n, size int) (m kv.Object, set kv.Path) {
	m = object("m", crdt.Map)
	set = kv.Path{{Name: "deep", Type: crdt.Map}, {Name: "set", Type: crdt.SetAW}}
	for from := 0; from < n; {
		var ops []kv.Op
		for ; from < n && len(ops) < 1000 && len(ops)*size < 8<<20; from++ {
			e := append(fmt.Appendf(nil, "%08d", from), bytes.Repeat([]byte("x"), size-8)...)
			ops = append(ops, kv.Op{Object: m, Path: set, Verb: kv.VerbAdd, Data: e})
		}
		r.must(kv.Options{}, ops...)
	}
	count := func(p ...kv.Step) kv.Op {
		return kv.Op{Object: m, Path: append(p, kv.Step{Name: "n", Type: crdt.Counter}), Verb: kv.VerbIncrement, Int: 1}
	}
	r.must(kv.Options{}, count(), count(kv.Step{Name: "a", Type: crdt.Map}), count(kv.Step{Name: "deep", Type: crdt.Map}))
	return m, set
}

func TestPagesCutLargeFields(t *testing.T) {
	const n, size = 300, 30_000
	r := fresh(t)
	m, set := big(r, n, size)
	q := kv.Query{Object: m, Kind: kv.QueryPage, Limit: 10}
	var elements, fields []string
	pages := 0
	for {
		v := r.read(q)
		pages++
		held := 0
		for _, f := range v.Fields {
			if len(fields) == 0 || fields[len(fields)-1] != f.Name {
				fields = append(fields, f.Name)
			}
			for _, inner := range f.Value.Fields {
				elements = append(elements, texts(inner.Value.List)...)
				for _, e := range inner.Value.List {
					held += len(e)
				}
			}
		}
		require.LessOrEqual(t, held, kv.MaxPageBytes+size)
		if q.After = v.Next; len(v.Next) == 0 {
			break
		}
	}
	require.Equal(t, []string{"a", "deep", "n"}, fields)
	require.Len(t, elements, n)
	for i, e := range elements {
		require.Equal(t, fmt.Sprintf("%08d", i), e[:8])
	}
	require.Greater(t, pages, n*size/(kv.MaxPageBytes+size))

	q = kv.Query{Object: m, Path: set, Kind: kv.QueryPage, Limit: n}
	v := r.read(q)
	require.NotEmpty(t, v.Next, "a nested collection has pages of its own")
	q.After = v.Next
	require.Equal(t, fmt.Sprintf("%08d", len(v.List)), string(r.read(q).List[0][:8]))
}

// A page holds at most so many leaves, however few fields they are in.
func TestPagesBoundLeaves(t *testing.T) {
	r := fresh(t)
	m, set := big(r, kv.MaxPage+10, 8)
	q := kv.Query{Object: m, Path: set[:1], Kind: kv.QueryPage, Limit: 1}
	v := r.read(q)
	require.Len(t, v.Fields, 1)
	require.Equal(t, int64(1), v.Fields[0].Value.Int)
	q.After = v.Next
	v = r.read(q)
	require.Len(t, v.Fields[0].Value.List, kv.MaxPage)
	q.After = v.Next
	v = r.read(q)
	require.Len(t, v.Fields[0].Value.List, 10)
	require.Empty(t, v.Next)
}

// Answers are bounded however many queries a request holds, and a digest is not an answer.
func TestAnswersAreBounded(t *testing.T) {
	r := fresh(t)
	m, set := big(r, 20, kv.MaxElement)
	for name, q := range map[string]kv.Query{
		"map": {Object: m}, "set within it": {Object: m, Path: set},
	} {
		_, err := r.Do(t.Context(), kv.Request{Queries: []kv.Query{q}})
		require.ErrorIs(t, err, kv.ErrTooLarge, name)
		require.ErrorContains(t, err, "page through")
	}
	_, err := r.Digest(t.Context(), kv.DigestRequest{})
	require.NoError(t, err)

	large := kv.Op{Object: object("r", crdt.RegisterLWW), Verb: kv.VerbAssign, Data: bytes.Repeat([]byte("x"), kv.MaxElement)}
	r.must(kv.Options{}, large)
	many := make([]kv.Query, 17)
	for i := range many {
		many[i].Object = large.Object
	}
	for _, n := range []int{15, 17} {
		_, err := r.Do(t.Context(), kv.Request{Queries: many[:n]})
		id, _, begun := r.Begin(t.Context(), kv.Begin{ReadOnly: true})
		require.NoError(t, begun)
		_, inside := r.Execute(t.Context(), id, nil, many[:n])
		if n == 15 {
			require.NoError(t, err)
			require.NoError(t, inside)
		} else {
			require.ErrorIs(t, err, kv.ErrTooLarge)
			require.ErrorIs(t, inside, kv.ErrTooLarge)
		}
		require.NoError(t, r.Abort(t.Context(), id))
	}
}

// A page of keys is bounded in bytes as one of elements is.
func TestPagesOfLongKeysEndEarly(t *testing.T) {
	const n = 2*kv.MaxPageBytes/kv.MaxKey + 10
	r := fresh(t)
	var ops []kv.Op
	for i := range n {
		ops = append(ops, increment(fmt.Sprintf("%04d", i)+string(bytes.Repeat([]byte("k"), kv.MaxKey-4)), 1))
	}
	r.must(kv.Options{}, ops...)
	req := kv.KeysRequest{Bucket: kv.DefaultBucket, Limit: kv.MaxPage}
	var pages []int
	for listed := 0; ; {
		page, err := r.Keys(t.Context(), req)
		require.NoError(t, err)
		for _, o := range page.Objects {
			require.Equal(t, fmt.Sprintf("%04d", listed), string(o.Key[:4]))
			listed++
		}
		pages = append(pages, len(page.Objects))
		if req.After = page.Next; len(page.Next) == 0 {
			require.Equal(t, n, listed)
			break
		}
	}
	require.Len(t, pages, 3)
	require.LessOrEqual(t, pages[0], kv.MaxPageBytes/kv.MaxKey+1)
}

// What can't be read in parts is read whole, however large it is.
func TestRoomTakesOneLargeLeaf(t *testing.T) {
	r := newRoom()
	require.NoError(t, (*room)(nil).take(kv.MaxAnswerBytes+1), "what is not an answer has no bound")
	require.NoError(t, r.take(2*kv.MaxAnswerBytes))
	require.ErrorIs(t, r.take(1), kv.ErrTooLarge)
}

// pages collects a set or map page by page within a transaction, and counts the pages.
func (r *region) pages(id kv.TxnID, q kv.Query) (all kv.Value, n int) {
	r.t.Helper()
	for {
		v, err := r.Execute(r.t.Context(), id, nil, []kv.Query{q})
		require.NoError(r.t, err)
		n++
		all.List, all.Fields = append(all.List, v[0].List...), append(all.Fields, v[0].Fields...)
		if q.After = v[0].Next; len(q.After) == 0 {
			return all, n
		}
	}
}

// The pages of a transaction are those of its snapshot with its own writes on top, each element once,
// whatever is written meanwhile, also between two pages.
func TestPagesOfATransactionAreThoseOfItsSnapshot(t *testing.T) {
	r := fresh(t)
	nested := kv.Path{{Name: "s", Type: crdt.SetAW}}
	within := func(verb kv.Verb, e string) kv.Op {
		return kv.Op{Object: object("m", crdt.Map), Path: nested, Verb: verb, Data: []byte(e)}
	}
	r.must(kv.Options{}, element(kv.VerbAdd, "s", "b"), element(kv.VerbAdd, "s", "d"), element(kv.VerbAdd, "s", "f"),
		fieldAssign("m", "b", "old"), fieldAssign("m", "d", "old"), within(kv.VerbAdd, "b"), within(kv.VerbAdd, "d"))
	id := r.begin()
	r.must(kv.Options{}, element(kv.VerbAdd, "s", "e"), element(kv.VerbRemove, "s", "b"),
		fieldAssign("m", "b", "new"), fieldAssign("m", "c", "new"), within(kv.VerbAdd, "e"), within(kv.VerbRemove, "b"))
	require.NoError(t, r.execute(id, element(kv.VerbAdd, "s", "a"), element(kv.VerbAdd, "s", "c"), element(kv.VerbRemove, "s", "f"),
		element(kv.VerbAdd, "s", "g"), fieldAssign("m", "a", "own"), fieldAssign("m", "d", "own"), within(kv.VerbAdd, "a"), within(kv.VerbRemove, "d")))
	set := kv.Query{Object: object("s", crdt.SetAW), Kind: kv.QueryPage}
	fields := kv.Query{Object: object("m", crdt.Map), Kind: kv.QueryPage}
	inner := kv.Query{Object: object("m", crdt.Map), Path: nested, Kind: kv.QueryPage}
	for _, limit := range []int{1, 2, 3, 4, 100} {
		set.Limit, fields.Limit, inner.Limit = limit, limit, limit
		v, n := r.pages(id, set)
		require.Equal(t, []string{"a", "b", "c", "d", "g"}, texts(v.List), "limit %d", limit)
		require.Equal(t, (5+limit-1)/limit, n, "limit %d", limit)
		v, _ = r.pages(id, inner)
		require.Equal(t, []string{"a", "b"}, texts(v.List), "limit %d", limit)
		v, _ = r.pages(id, fields)
		var got []string
		for _, f := range v.Fields {
			got = append(got, fmt.Sprintf("%s=%s%s", f.Name, f.Value.Bytes, bytes.Join(f.Value.List, nil)))
		}
		require.Equal(t, []string{"a=own", "b=old", "d=own", "s=ab"}, got, "limit %d", limit)
	}

	set.Limit = 2
	v, err := r.Execute(t.Context(), id, nil, []kv.Query{set})
	require.NoError(t, err)
	r.must(kv.Options{}, element(kv.VerbRemove, "s", "d"), element(kv.VerbAdd, "s", "cc"))
	require.NoError(t, r.execute(id, element(kv.VerbAdd, "s", "dd")))
	set.After = v[0].Next
	rest, _ := r.pages(id, set)
	require.Equal(t, []string{"c", "d", "dd", "g"}, texts(rest.List))
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "c", "cc", "dd", "e", "g"}, r.members("s"))
}

// A cursor belongs to what was paged.
func TestCursorsOfAnotherPlaceAreRefused(t *testing.T) {
	r := fresh(t)
	nested := func(name string) kv.Path { return kv.Path{{Name: name, Type: crdt.SetAW}} }
	var ops []kv.Op
	for _, e := range []string{"a", "b"} {
		ops = append(ops, element(kv.VerbAdd, "s", e), element(kv.VerbAdd, "t", e))
		for _, n := range []string{"s", "t"} {
			ops = append(ops, kv.Op{Object: object("m", crdt.Map), Path: nested(n), Verb: kv.VerbAdd, Data: []byte(e)})
		}
	}
	r.must(kv.Options{}, ops...)
	queries := []kv.Query{
		{Object: object("s", crdt.SetAW)}, {Object: object("t", crdt.SetAW)}, {Object: object("s", crdt.SetRW)},
		{Object: object("m", crdt.Map)}, {Object: object("m", crdt.Map), Path: nested("s")}, {Object: object("m", crdt.Map), Path: nested("t")},
	}
	for i, from := range queries {
		from.Kind, from.Limit = kv.QueryPage, 1
		cursor := r.read(from).Next
		require.Equal(t, from.Type == crdt.SetRW, len(cursor) == 0)
		for j, to := range queries {
			to.Kind, to.Limit, to.After = kv.QueryPage, 1, cursor
			_, err := r.Do(t.Context(), kv.Request{Queries: []kv.Query{to}})
			if i == j || len(cursor) == 0 {
				require.NoError(t, err)
				continue
			}
			require.ErrorIs(t, err, kv.ErrInvalid, "%d for %d", i, j)
			require.ErrorContains(t, err, "another object or path")
		}
	}
	for _, cursor := range [][]byte{{0}, []byte("zzzz"), bytes.Repeat([]byte{0xff}, 100)} {
		_, err := r.Do(t.Context(), kv.Request{Queries: []kv.Query{{Object: object("s", crdt.SetAW), Kind: kv.QueryPage, Limit: 1, After: cursor}}})
		require.ErrorIs(t, err, kv.ErrInvalid)
	}
}
