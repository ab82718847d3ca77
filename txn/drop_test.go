package txn

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

// command has a metadata command decided.
func (o *order) command(c meta.Command) {
	o.t.Helper()
	b, err := meta.Encode(c)
	require.NoError(o.t, err)
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.decide(&certify.Proposal{Kind: certify.KindCommand, Body: b})
	r, err := meta.DecodeAnswer(d.Answer)
	require.NoError(o.t, err)
	require.Nil(o.t, r.Err)
}

// founded is a region of a cluster that decides about buckets.
func founded(t *testing.T) (*region, *order) {
	r := fresh(t)
	o := withOrder(t, r)
	o.command(&meta.Found{Name: "eu", Store: 1})
	return r, o
}

var dropDefault = kv.DropRequest{Bucket: kv.DefaultBucket, WithData: true}

func (r *region) drop(req kv.DropRequest) kv.DroppedBucket {
	r.t.Helper()
	d, _, err := r.DropBucket(r.t.Context(), req)
	require.NoError(r.t, err)
	return d
}

func TestADroppedBucketIsEmpty(t *testing.T) {
	r, o := founded(t)
	other := kv.Op{Object: kv.Object{Bucket: "other", Key: "n", Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: 7}
	r.must(kv.Options{}, assign("a", "1"), increment("n", 2), element(kv.VerbAdd, "s", "x"), other)
	token := r.must(strong, increment("n", 3)).Token
	old, _, err := r.Begin(t.Context(), kv.Begin{ReadOnly: true})
	require.NoError(t, err)

	_, _, err = r.DropBucket(t.Context(), kv.DropRequest{Bucket: kv.DefaultBucket})
	require.ErrorIs(t, err, kv.ErrInvalid)
	require.ErrorContains(t, err, "holds data")
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	require.True(t, kv.TokenOf(err).Seen.Includes(token.Seen), "what it tells of")
	require.EqualValues(t, 5, r.counter("n"))

	d := r.drop(dropDefault)
	require.EqualValues(t, 1, d.Generation)
	require.Zero(t, d.Receipt.Commit.Region)
	require.Equal(t, d.Receipt.Commit.Time, d.Receipt.Token.Seen.At(0))
	require.True(t, d.Receipt.Token.Seen.Includes(token.Seen))
	checkEmpty(t, r)
	require.EqualValues(t, 7, r.read(kv.Query{Object: other.Object}).Int)

	values := r.within(old, []kv.Query{{Object: object("n", crdt.Counter)}, {Object: object("a", crdt.RegisterLWW)}, {Object: object("s", crdt.SetAW)}})
	require.EqualValues(t, 5, values[0].Int)
	require.Equal(t, "1", string(values[1].Bytes), "a snapshot from before sees all as it was")
	require.Equal(t, []string{"x"}, texts(values[2].List))
	page, err := r.Keys(t.Context(), kv.KeysRequest{Txn: old, Bucket: kv.DefaultBucket, Limit: 10})
	require.NoError(t, err)
	require.Len(t, page.Objects, 3)
	require.NoError(t, r.Abort(t.Context(), old))

	// The name may be used again, for other types.
	r.must(kv.Options{}, increment("a", 1), assign("n", "text"))
	r.must(strong, element(kv.VerbAdd, "s", "y"))
	require.Equal(t, []string{"y"}, r.members("s"))
	require.EqualValues(t, 1, r.counter("a"))
	require.EqualValues(t, 2, r.drop(dropDefault).Generation)
	checkEmpty(t, r)
	_, _, err = r.DropBucket(t.Context(), dropDefault)
	require.ErrorIs(t, err, kv.ErrNotFound, "it is no more")
	require.Zero(t, r.shell.openSnapshots())

	o.command(&meta.Create{Rules: kv.BucketRules{Name: kv.DefaultBucket}})
	require.EqualValues(t, 3, r.drop(kv.DropRequest{Bucket: kv.DefaultBucket}).Generation, "it has rules, and no data")
}

// checkEmpty asks for the default bucket in every way.
func checkEmpty(t *testing.T, r *region) {
	t.Helper()
	require.Empty(t, r.text("a"))
	require.Zero(t, r.counter("n"), "read without a snapshot")
	require.Empty(t, r.members("s"))
	got := r.read(kv.Query{Object: object("s", crdt.SetAW), Kind: kv.QueryContains, Data: []byte("x")})
	require.False(t, got.Flag)
	require.Empty(t, r.read(kv.Query{Object: object("s", crdt.SetAW), Kind: kv.QueryPage, Limit: 5}).List)
	for _, level := range []kv.Level{kv.LevelEventual, kv.LevelCausal, kv.LevelStrong} {
		page, err := r.Keys(t.Context(), kv.KeysRequest{Options: kv.Options{Level: level}, Bucket: kv.DefaultBucket, Limit: 10})
		require.NoError(t, err)
		require.Empty(t, page.Objects)
	}
	buckets, err := r.Buckets(t.Context(), kv.BucketsRequest{Limit: 10})
	require.NoError(t, err)
	require.Equal(t, []kv.Bucket{"other"}, buckets.Buckets)
	digest, err := r.Digest(t.Context(), kv.DigestRequest{Bucket: kv.DefaultBucket})
	require.NoError(t, err)
	require.Zero(t, digest.Objects)
	all, err := r.Digest(t.Context(), kv.DigestRequest{})
	require.NoError(t, err)
	require.EqualValues(t, 1, all.Objects)
}

// What a transaction writes whose snapshot is from before a drop would be acknowledged and lost: where the drop is
// known, it is refused, and a new try sees the bucket as it is.
func TestATransactionFromBeforeADropIsRefused(t *testing.T) {
	r, _ := founded(t)
	r.must(kv.Options{}, assign("a", "1"))
	causal, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	apart, _, err := r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	reads, writes, only := r.beginStrong(), r.beginStrong(), r.beginStrong()
	r.within(causal, nil, assign("a", "2"))
	elsewhere := kv.Op{Object: kv.Object{Bucket: "other", Key: "n", Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: 1}
	require.Equal(t, "1", string(r.within(apart, ask(object("a", crdt.RegisterLWW)), elsewhere)[0].Bytes))
	r.within(reads, ask(object("a", crdt.RegisterLWW)), elsewhere)
	r.within(writes, nil, increment("n", 1))
	r.within(only, ask(object("a", crdt.RegisterLWW)))
	d := r.drop(dropDefault)

	for _, id := range []kv.TxnID{causal, reads, writes, only} {
		_, err = r.Commit(t.Context(), id, kv.Options{})
		require.ErrorIs(t, err, kv.ErrAborted)
		require.ErrorContains(t, err, "dropped")
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
		require.GreaterOrEqual(t, kv.TokenOf(err).Seen.At(0), d.Receipt.Commit.Time, "so that the next try sees the drop")
	}
	_, err = r.Commit(t.Context(), apart, kv.Options{})
	require.NoError(t, err, "it wrote to no such bucket")
	checkEmptyOf(t, r, kv.DefaultBucket)
	require.Zero(t, r.shell.openSnapshots())
}

func checkEmptyOf(t *testing.T, r *region, b kv.Bucket) {
	t.Helper()
	page, err := r.Keys(t.Context(), kv.KeysRequest{Bucket: b, Limit: 10})
	require.NoError(t, err)
	require.Empty(t, page.Objects)
}

// Conditions, bounds and own writes are judged by what the bucket holds now.
func TestConditionsAfterADrop(t *testing.T) {
	r, _ := founded(t)
	r.must(kv.Options{}, assign("a", "1"), increment("n", 1<<62))
	r.drop(dropDefault)
	cas := assign("a", "2")
	cas.Expect = &kv.Expectation{Value: []byte("1")}
	for _, o := range []kv.Options{{}, strong} {
		_, err := r.Do(t.Context(), kv.Request{Options: o, Ops: []kv.Op{cas}})
		require.ErrorIs(t, err, kv.ErrAborted)
		r.must(o, increment("n", 1<<62)) // beside that of before it would be too large
		r.drop(dropDefault)
	}
	cas.Expect = &kv.Expectation{Absent: true}
	r.must(kv.Options{}, cas)
	id := r.beginStrong()
	cas.Expect, cas.Data = &kv.Expectation{Value: []byte("2")}, []byte("3")
	require.Equal(t, "3", string(r.within(id, ask(object("a", crdt.RegisterLWW)), cas)[0].Bytes))
	_, err := r.Commit(t.Context(), id, kv.Options{})
	require.NoError(t, err)
	require.Equal(t, "3", r.text("a"))
	r.must(kv.Options{}, kv.Op{Object: object("a", crdt.RegisterLWW), Verb: kv.VerbReset})
	require.Empty(t, r.text("a"))
}

// After a restart nothing of a dropped bucket is there, and its generation goes on.
func TestADropSurvivesARestart(t *testing.T) {
	r, _ := founded(t)
	r.must(kv.Options{}, assign("a", "1"))
	r.drop(dropDefault)
	r.must(kv.Options{}, assign("b", "2"))
	at := r.shell.Exposed()
	require.NoError(t, r.Coordinator.Stop(t.Context()))
	require.NoError(t, r.store.Close())
	r = start(t, r.fs, 8)
	t.Cleanup(func() { require.NoError(t, r.store.Close()) })
	v := r.viewAt(at)
	got, err := v.leaf(place{object: object("a", crdt.RegisterLWW)}, crdt.RegisterLWW)
	require.NoError(t, err)
	require.False(t, got.Present)
	got, err = v.leaf(place{object: object("b", crdt.RegisterLWW)}, crdt.RegisterLWW)
	require.NoError(t, err)
	require.Equal(t, "2", string(got.Bytes))
}

func TestDropsThatFailSayWhatBecameOfThem(t *testing.T) {
	r, o := founded(t)
	r.must(kv.Options{}, assign("a", "1"))
	refused := func(req kv.DropRequest, want error, outcome kv.Outcome) {
		t.Helper()
		_, _, err := r.DropBucket(t.Context(), req)
		require.ErrorIs(t, err, want)
		require.Equal(t, outcome, kv.OutcomeOf(err))
	}
	refused(kv.DropRequest{Bucket: "theriac.import"}, kv.ErrInvalid, kv.NotApplied)
	refused(kv.DropRequest{Bucket: "none"}, kv.ErrNotFound, kv.NotApplied)
	refused(kv.DropRequest{Bucket: "none", WithData: true}, kv.ErrNotFound, kv.NotApplied)
	req := dropDefault
	req.Token = kv.Token{Cluster: kv.ClusterID{9}, Seen: r.shell.Exposed()}
	refused(req, kv.ErrInvalid, kv.NotApplied)

	o.fails = kv.Errorf(kv.KindUnavailable, "no leader")
	refused(dropDefault, kv.ErrUnavailable, kv.NotApplied)
	o.fails = nil
	require.Zero(t, r.shell.openSnapshots())

	ctx, cancel := context.WithCancel(t.Context())
	o.holdBack()
	cancelled := make(chan error)
	go func() {
		_, _, err := r.DropBucket(ctx, dropDefault)
		cancelled <- err
	}()
	o.awaitHeld()
	cancel()
	err := <-cancelled
	require.ErrorIs(t, err, kv.ErrDeadline)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	require.Equal(t, "1", r.text("a"))
	o.letGo()
	r.leaving.Wait()
	require.Empty(t, r.text("a"), "it was decided later")
	require.Zero(t, r.shell.openSnapshots())

	r.Refuse(kv.Errorf(kv.KindReadOnly, "the disk is full"))
	refused(dropDefault, kv.ErrReadOnly, kv.NotApplied)
	r.Refuse(nil)
	r.Coordinator.strong = nil
	refused(dropDefault, kv.ErrLevelRefused, kv.NotApplied)
}

// Two that drop a bucket at the same time drop it once: what is written to it after the first stays.
func TestABucketIsDroppedOnceByTwo(t *testing.T) {
	r, o := founded(t)
	r.must(kv.Options{}, assign("a", "1"))
	o.holdBack()
	errs := make(chan error)
	for range 2 {
		go func() {
			_, _, err := r.DropBucket(t.Context(), dropDefault)
			errs <- err
		}()
	}
	o.awaitHeld()
	o.awaitHeld()
	o.letGo()
	first, second := <-errs, <-errs
	if first != nil {
		first, second = second, first
	}
	require.NoError(t, first)
	require.ErrorIs(t, second, kv.ErrAborted)
	require.EqualValues(t, 1, r.store.Generation(kv.DefaultBucket, r.shell.Exposed()))
}
