package txn

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

func reset(key string) kv.Op {
	return kv.Op{Object: object(key, crdt.Counter), Verb: kv.VerbReset}
}

// A reset takes back what its transaction has seen. The check of an increment beside it counts on no more.
func TestOverflowCountsWhatTheTransactionsResetHasNotSeen(t *testing.T) {
	r := fresh(t)
	id, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	r.must(kv.Options{}, increment("n", 1<<62))
	_, err = r.Execute(t.Context(), id, []kv.Op{reset("n"), increment("n", 1<<62)}, nil)
	require.NoError(t, err)
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.ErrorIs(t, err, kv.ErrBound)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	require.Equal(t, int64(1<<62), r.counter("n"))
}

// In one round trip, what is checked and what the reset covers are the same, also if it is not durable yet.
func TestResetAndLargeIncrementInOneRequest(t *testing.T) {
	r := fresh(t)
	for range 50 {
		r.must(kv.Options{Durability: kv.DurabilityApplied}, reset("n"), increment("n", 1<<62))
		r.must(kv.Options{}, reset("n"), increment("n", 1<<62))
		require.Equal(t, int64(1<<62), r.counter("n"))
	}
}

// counterField is the operation on field c of a map.
func counterField(key string, n int64) kv.Op {
	return kv.Op{Object: object(key, crdt.Map), Path: kv.Path{{Name: "c", Type: crdt.Counter}}, Verb: kv.VerbIncrement, Int: n}
}

// overflown has a counter "n", and another one as a field of "m", that two regions took to 2^63, each
// within the range where it committed.
func overflown(t *testing.T) *region {
	r := fresh(t)
	field := func(name string) kv.Op {
		return kv.Op{Object: object("m", crdt.Map), Path: kv.Path{{Name: name, Type: crdt.RegisterLWW}}, Verb: kv.VerbAssign, Data: []byte(name)}
	}
	r.must(kv.Options{}, assign("a", "x"), increment("n", 1<<62), counterField("m", 1<<62), field("a"), field("z"), assign("z", "y"))
	r.receive(increment("n", 1<<62), counterField("m", 1<<62))
	return r
}

func TestListingPassesACounterBeyond64Bits(t *testing.T) {
	r := overflown(t)
	id, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	_, err = r.Execute(t.Context(), id, []kv.Op{increment("n", 1), counterField("m", 1)}, nil)
	require.NoError(t, err)
	for _, txn := range []kv.TxnID{0, id} {
		var keys []string
		for after := []byte(nil); ; {
			p, err := r.Keys(t.Context(), kv.KeysRequest{Txn: txn, Bucket: kv.DefaultBucket, Limit: 1, After: after})
			require.NoError(t, err)
			for _, o := range p.Objects {
				keys = append(keys, string(o.Key))
			}
			if after = p.Next; len(after) == 0 {
				break
			}
		}
		require.Equal(t, []string{"a", "m", "n", "z"}, keys)
	}
}

func TestReadOfAMapNamesTheCounterBeyond64Bits(t *testing.T) {
	r := overflown(t)
	read := func(q kv.Query) (kv.Value, error) {
		resp, err := r.Do(t.Context(), kv.Request{Queries: []kv.Query{q}})
		if err != nil {
			return kv.Value{}, err
		}
		return resp.Values[0], nil
	}
	m := object("m", crdt.Map)
	_, err := read(kv.Query{Object: m})
	require.ErrorIs(t, err, kv.ErrBound)
	require.ErrorContains(t, err, `field "c": the counter's value is beyond 64 bits`)
	_, err = read(kv.Query{Object: m, Kind: kv.QueryPage, Limit: 3})
	require.ErrorIs(t, err, kv.ErrBound)
	// A page that ends before it does not look at it.
	page, err := read(kv.Query{Object: m, Kind: kv.QueryPage, Limit: 1})
	require.NoError(t, err)
	require.Len(t, page.Fields, 1)
	require.NotEmpty(t, page.Next)
	_, err = read(kv.Query{Object: m, Kind: kv.QueryPage, Limit: 1, After: page.Next})
	require.ErrorContains(t, err, `field "c"`)
	v, err := read(kv.Query{Object: m, Path: kv.Path{{Name: "z", Type: crdt.RegisterLWW}}})
	require.NoError(t, err)
	require.Equal(t, "z", string(v.Bytes))
}

func TestDigestOfACounterBeyond64BitsIsItsSum(t *testing.T) {
	r := overflown(t)
	str := func(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	sum := append(make([]byte, 8), 0x80, 0, 0, 0, 0, 0, 0, 0)
	head := func(b []byte, key, typ string) []byte { return str(str(str(b, string(kv.DefaultBucket)), key), typ) }
	field := func(b []byte, name, typ string) []byte { return str(str(append(b, 1), name), typ) }
	want := str(head(nil, "a", "register-lww"), "x")
	want = str(field(head(want, "m", "map"), "a", "register-lww"), "a")
	want = append(field(want, "c", "counter beyond 64 bits"), sum...)
	want = append(str(field(want, "z", "register-lww"), "z"), 0)
	want = append(head(want, "n", "counter beyond 64 bits"), sum...)
	want = str(head(want, "z", "register-lww"), "y")
	d, err := r.Digest(t.Context(), kv.DigestRequest{Bucket: kv.DefaultBucket})
	require.NoError(t, err)
	require.EqualValues(t, 4, d.Objects)
	full := sha256.Sum256(want)
	require.Equal(t, full[:len(d.Sum)], d.Sum[:])
}

// The error of the read says: correct it by increments the other way.
func TestACounterBeyond64BitsCanBeCorrected(t *testing.T) {
	r := overflown(t)
	_, err := r.Do(t.Context(), kv.Request{Ops: []kv.Op{increment("n", 1<<40)}})
	require.ErrorIs(t, err, kv.ErrBound)
	require.ErrorContains(t, err, `takes the counter from 9223372036854775808 out of its range`)
	r.must(kv.Options{}, increment("n", -1<<40), counterField("m", -1<<62))
	require.Equal(t, int64(1<<62-1<<40+1<<62), r.counter("n"))
	require.Equal(t, int64(1<<62), r.read(kv.Query{Object: object("m", crdt.Map)}).Fields[1].Value.Int)
	r.must(kv.Options{}, increment("n", -1<<63))
	require.Equal(t, int64(-1<<40), r.counter("n"))
}

// What an import restores may be past the range of a counter, within 64 bits: where it comes from others
// made it so.
func TestImportsRestoreCountersPastTheirRange(t *testing.T) {
	r := fresh(t)
	progress := kv.Op{Object: kv.Object{Bucket: kv.ImportBucket, Key: "id", Type: crdt.RegisterLWW}, Verb: kv.VerbAssign, Data: []byte("1+0")}
	_, err := r.Do(t.Context(), kv.Request{Ops: []kv.Op{increment("n", 1<<62+1)}})
	require.ErrorIs(t, err, kv.ErrBound)
	r.must(kv.Options{}, increment("n", 1<<63-1), counterField("m", -1<<63), progress)
	require.Equal(t, int64(1<<63-1), r.counter("n"))
	_, err = r.Do(t.Context(), kv.Request{Ops: []kv.Op{progress, increment("other", 1<<40), increment("n", 1<<40)}})
	require.ErrorIs(t, err, kv.ErrBound)
	require.ErrorContains(t, err, `key "n"`)
	require.Zero(t, r.counter("other"))
}
