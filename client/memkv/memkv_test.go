package memkv_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

var ctx = context.Background()

func increment(t kv.Type, p ...kv.Step) kv.Op {
	return kv.Op{Object: kv.Object{Bucket: "b", Key: "k", Type: t}, Path: p, Verb: kv.VerbIncrement, Int: 1}
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	node := memkv.New().Node(1, "eu")
	long := increment(1)
	long.Key = kv.Key(make([]byte, kv.MaxKey+1))
	large := kv.Op{Object: kv.Object{Bucket: "b", Type: 2}, Verb: kv.VerbAssign, Data: make([]byte, kv.MaxElement+1)}
	expecting := increment(1)
	expecting.Expect = &kv.Expectation{Absent: true}
	for name, c := range map[string]struct {
		op   kv.Op
		kind kv.Kind
	}{
		"no bucket":          {kv.Op{Verb: kv.VerbReset}, kv.KindInvalid},
		"reserved bucket":    {kv.Op{Object: kv.Object{Bucket: "theriac.x", Type: 1}, Verb: kv.VerbIncrement}, kv.KindInvalid},
		"long key":           {long, kv.KindTooLarge},
		"large value":        {large, kv.KindTooLarge},
		"unknown type":       {increment(11), kv.KindInvalid},
		"unfit verb":         {increment(2), kv.KindInvalid},
		"field of a counter": {increment(1, kv.Step{Type: 1}), kv.KindInvalid},
		"unknown field type": {increment(9, kv.Step{Type: 99}), kv.KindInvalid},
		"deep path":          {increment(9, make([]kv.Step, kv.MaxDepth+1)...), kv.KindInvalid},
		"expectation":        {expecting, kv.KindInvalid},
	} {
		_, err := node.Do(ctx, kv.Request{Ops: []kv.Op{c.op}})
		require.Equal(t, c.kind, kv.KindOf(err), name)
		_, err = node.Do(ctx, kv.Request{Queries: []kv.Query{{Object: c.op.Object, Path: c.op.Path, Kind: 9}}})
		require.Error(t, err, name)
	}
	_, err := node.Do(ctx, kv.Request{Ops: make([]kv.Op, kv.MaxOps+1)})
	require.ErrorIs(t, err, kv.ErrTooLarge)
	_, err = node.Keys(ctx, kv.KeysRequest{Bucket: "b"})
	require.ErrorIs(t, err, kv.ErrInvalid)
}

func TestEndedContextsAndForeignTokensAreRefused(t *testing.T) {
	node := memkv.New().Node(1, "eu")
	gone, cancel := context.WithCancel(ctx)
	cancel()
	foreign := kv.Options{Token: kv.Token{Cluster: kv.ClusterID{1}}}
	for name, call := range map[string]func(ctx context.Context, o kv.Options) error{
		"do": func(ctx context.Context, o kv.Options) error {
			_, err := node.Do(ctx, kv.Request{Options: o})
			return err
		},
		"begin": func(ctx context.Context, o kv.Options) error {
			_, _, err := node.Begin(ctx, kv.Begin{Options: o})
			return err
		},
		"keys": func(ctx context.Context, o kv.Options) error {
			_, err := node.Keys(ctx, kv.KeysRequest{Options: o, Bucket: "b", Limit: 1})
			return err
		},
		"digest": func(ctx context.Context, o kv.Options) error {
			_, err := node.Digest(ctx, kv.DigestRequest{Options: o})
			return err
		},
	} {
		require.ErrorIs(t, call(gone, kv.Options{}), kv.ErrDeadline, name)
		require.ErrorIs(t, call(ctx, foreign), kv.ErrInvalid, name)
		require.NoError(t, call(ctx, kv.Options{}), name)
	}
	_, err := node.Status(gone)
	require.ErrorIs(t, err, kv.ErrDeadline)
}

func TestAnOperationIDTakesEffectOnce(t *testing.T) {
	store := memkv.New()
	node := store.Node(1, "eu")
	try := func(a kv.Attempt) (kv.Response, error) {
		return node.Do(ctx, kv.Request{Options: kv.Options{Attempt: a}, Ops: []kv.Op{increment(1)}})
	}
	id := kv.OpID{1}
	_, err := try(kv.Attempt{ID: id, Incarnation: 2})
	require.ErrorIs(t, err, kv.ErrUnavailable, "meant for another process")
	first, err := try(kv.Attempt{ID: id, Incarnation: 1})
	require.NoError(t, err)
	again, err := try(kv.Attempt{ID: id, Retry: true, Lane: clock.Lane{Region: 1}})
	require.NoError(t, err)
	require.Equal(t, first.Receipt, again.Receipt)
	_, err = try(kv.Attempt{ID: id, Retry: true, Lane: clock.Lane{Region: 2}})
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err), "another lane can't tell")
	_, err = node.Outcome(ctx, kv.OutcomeRequest{Attempt: kv.Attempt{ID: id, Lane: clock.Lane{Region: 2}}})
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))

	denied := kv.Attempt{ID: kv.OpID{2}, Retry: true, Lane: clock.Lane{Region: 1}}
	for range 2 {
		answer, err := node.Outcome(ctx, kv.OutcomeRequest{Attempt: denied})
		require.NoError(t, err)
		require.Equal(t, kv.NotApplied, answer.Outcome)
	}
	_, err = try(denied)
	require.ErrorIs(t, err, kv.ErrAborted, "it was promised not to happen")
}

func TestNodesShareTheirStore(t *testing.T) {
	store := memkv.New()
	eu, us := store.Node(1, "eu"), store.Node(2, "us")
	_, err := eu.Do(ctx, kv.Request{Ops: []kv.Op{increment(9, kv.Step{Name: "b", Type: 1}), increment(9, kv.Step{Name: "a", Type: 1})}})
	require.NoError(t, err)
	resp, err := us.Do(ctx, kv.Request{Queries: []kv.Query{{Object: kv.Object{Bucket: "b", Key: "k", Type: 9}}}})
	require.NoError(t, err)
	require.Equal(t, "a", resp.Values[0].Fields[0].Name)
	one, err := eu.Digest(ctx, kv.DigestRequest{})
	require.NoError(t, err)
	other, err := us.Digest(ctx, kv.DigestRequest{})
	require.NoError(t, err)
	require.Equal(t, one.Sum, other.Sum)

	id, _, err := eu.Begin(ctx, kv.Begin{ReadOnly: true})
	require.NoError(t, err)
	_, err = eu.Execute(ctx, id, []kv.Op{increment(1)}, nil)
	require.ErrorIs(t, err, kv.ErrInvalid)
	_, err = eu.Commit(ctx, id, kv.Options{})
	require.NoError(t, err, "nothing was written, so nothing fails")
	_, err = eu.Commit(ctx, id, kv.Options{})
	require.ErrorIs(t, err, kv.ErrNotFound)
}

// TestStrongTransactionsAreCertified: what another one wrote of what was read, or listed, aborts; at causal level nothing does.
func TestStrongTransactionsAreCertified(t *testing.T) {
	for level, want := range map[kv.Level]kv.Kind{kv.LevelStrong: kv.KindAborted, kv.LevelCausal: 0} {
		for _, listed := range []bool{false, true} {
			s := memkv.New()
			a, b := s.Node(1, "eu"), s.Node(2, "us")
			o := kv.Options{Level: level}
			id, _, err := a.Begin(t.Context(), kv.Begin{Options: o})
			require.NoError(t, err)
			op := increment(1)
			if listed {
				_, err = a.Keys(t.Context(), kv.KeysRequest{Txn: id, Bucket: op.Bucket, Limit: 1})
			} else {
				_, err = a.Execute(t.Context(), id, nil, []kv.Query{{Kind: kv.QueryValue, Object: op.Object}})
			}
			require.NoError(t, err)
			_, err = a.Execute(t.Context(), id, []kv.Op{op}, nil)
			require.NoError(t, err)
			other, err := b.Do(t.Context(), kv.Request{Options: o, Ops: []kv.Op{op}})
			require.NoError(t, err)
			require.Equal(t, level == kv.LevelStrong, other.Receipt.Commit.Region == 0)
			_, err = a.Commit(t.Context(), id, o)
			require.Equal(t, want, kv.KindOf(err), "%v", err)
			if err != nil {
				require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
			}
		}
	}
}

func TestStrongRetriesAreAnsweredByAnyNode(t *testing.T) {
	store := memkv.New()
	eu, us := store.Node(1, "eu"), store.Node(2, "us")
	strong := kv.Options{Level: kv.LevelStrong, Attempt: kv.Attempt{ID: kv.OpID{1}, Incarnation: 1}}
	first, err := eu.Do(ctx, kv.Request{Options: strong, Ops: []kv.Op{increment(1)}})
	require.NoError(t, err)
	require.Zero(t, first.Receipt.Commit.Region)
	strong.Attempt = kv.Attempt{ID: kv.OpID{1}, Retry: true, After: 1}
	again, err := us.Do(ctx, kv.Request{Options: strong, Ops: []kv.Op{increment(1)}})
	require.NoError(t, err)
	require.Equal(t, first.Receipt.Commit, again.Receipt.Commit)
	a, err := us.Outcome(ctx, kv.OutcomeRequest{Attempt: strong.Attempt})
	require.NoError(t, err)
	require.Equal(t, kv.Applied, a.Outcome)
	strong.Level, strong.Attempt.ID = kv.LevelCausal, kv.OpID{2}
	_, err = us.Do(ctx, kv.Request{Options: strong, Ops: []kv.Op{increment(1)}})
	require.ErrorIs(t, err, kv.ErrTooOld, "at causal a retry is for its lane")
}

func TestImpossibleOptionsAreRefused(t *testing.T) {
	node := memkv.New().Node(1, "eu")
	for want, o := range map[error]kv.Options{
		kv.ErrInvalid:      {Level: kv.LevelBounded},
		kv.ErrLevelRefused: {Durability: kv.DurabilityRegions, Regions: 2},
	} {
		_, err := node.Do(ctx, kv.Request{Options: o, Ops: []kv.Op{increment(1)}})
		require.ErrorIs(t, err, want)
	}
	id, _, err := node.Begin(ctx, kv.Begin{})
	require.NoError(t, err)
	_, err = node.Commit(ctx, id, kv.Options{Durability: kv.DurabilityRegions})
	require.ErrorIs(t, err, kv.ErrInvalid)
}
