package grpcapi_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// manyBuckets are more than the client asks for at once.
func manyBuckets(t *testing.T, db *client.DB) (names []string) {
	var ops []client.Op
	for i := range 2500 {
		names = append(names, fmt.Sprintf("bucket-%05d", i))
		o := client.Object{Bucket: kv.Bucket(names[i]), Key: "k", Type: client.TypeCounter}
		ops = append(ops, client.Op{Object: o, Verb: kv.VerbIncrement, Int: 1})
	}
	_, err := db.Do(ctx, ops, nil)
	require.NoError(t, err)
	return names
}

func listed(t *testing.T, db *client.DB) (names []string) {
	for name, err := range db.Buckets(ctx) {
		require.NoError(t, err)
		names = append(names, name)
	}
	return names
}

func TestBucketsComeInPages(t *testing.T) {
	region, err := embedded.Open(ctx, t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, region.Close()) })
	db := inMemory(t, grpcapi.Config{Service: region.Service()})
	names := manyBuckets(t, db)
	require.Equal(t, names, listed(t, db))
	require.Equal(t, names, listed(t, region.DB))
}

func TestBucketsOnTheWire(t *testing.T) {
	lis := listen(t)
	node := memkv.New().Node(1, "eu")
	names := manyBuckets(t, client.New(node))
	start(t, lis, grpcapi.Config{Service: node})
	api := pb.NewDatabaseClient(raw(t, lis.Addr().String()))
	all, err := api.Buckets(ctx, &pb.BucketsRequest{})
	require.NoError(t, err)
	require.Equal(t, names, all.Buckets, "without a limit it is that of a page")
	require.Empty(t, all.Next)
	var got []string
	req := &pb.BucketsRequest{Limit: 1001}
	for pages := 1; ; pages++ {
		page, err := api.Buckets(ctx, req)
		require.NoError(t, err)
		got = append(got, page.Buckets...)
		if len(page.Next) == 0 {
			require.Equal(t, 3, pages)
			break
		}
		req.After = page.Next
	}
	require.Equal(t, names, got)
}

func TestRulesOfBucketsOnTheWire(t *testing.T) {
	node := memkv.New().Node(1, "eu")
	db := inMemory(t, grpcapi.Config{Service: node})
	list, err := db.BucketRules(ctx)
	require.NoError(t, err)
	require.Empty(t, list)
	rules := client.BucketRules{Name: "b", Levels: []client.Level{client.LevelStrong}}
	created, err := db.CreateBucket(ctx, rules)
	require.NoError(t, err)
	require.Equal(t, rules, created.BucketRules)
	_, err = db.CreateBucket(ctx, rules)
	require.ErrorIs(t, err, client.ErrInvalid)
	err = db.Bucket("b").Counter("n").Add(ctx, 1, client.Causal())
	require.ErrorIs(t, err, client.ErrLevelRefused)
	_, err = db.AlterBucket(ctx, client.BucketRules{Name: "b"}, created.Since+1)
	require.ErrorIs(t, err, client.ErrAborted)
	altered, err := db.AlterBucket(ctx, client.BucketRules{Name: "b"}, created.Since)
	require.NoError(t, err)
	require.NoError(t, db.Bucket("b").Counter("n").Add(ctx, 1, client.Causal()))
	list, err = db.BucketRules(ctx)
	require.NoError(t, err)
	require.Equal(t, []client.DecidedRules{altered}, list)

	_, err = db.DropBucket(ctx, client.DropRequest{Bucket: "b"})
	require.ErrorIs(t, err, client.ErrInvalid)
	require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))
	s := db.Session()
	dropped, err := s.DropBucket(ctx, client.DropRequest{Bucket: "b", WithData: true})
	require.NoError(t, err)
	require.EqualValues(t, 1, dropped.Generation)
	require.Equal(t, s.Token(), dropped.Receipt.Token)
	require.NotZero(t, s.Token().Seen.At(0))
	list, err = db.BucketRules(ctx)
	require.NoError(t, err)
	require.Empty(t, list)
	_, err = db.DropBucket(ctx, client.DropRequest{Bucket: "b", WithData: true})
	require.ErrorIs(t, err, client.ErrNotFound)
	_, err = db.DropBucket(ctx, client.DropRequest{Bucket: "b", Token: client.Token{Cluster: kv.ClusterID{7}, Seen: s.Token().Seen}})
	require.ErrorIs(t, err, client.ErrInvalid)
	_, err = s.DropBucket(ctx, client.DropRequest{Bucket: "b", Token: client.Token{Cluster: kv.ClusterID{7}, Seen: s.Token().Seen}})
	require.ErrorIs(t, err, client.ErrInvalid)
}

// The default of one bucket is not taken for the caller's choice on the wire either.
func TestTransactionsAtTheDefaultsOfBucketsOnTheWire(t *testing.T) {
	db := inMemory(t, grpcapi.Config{Service: memkv.New().Node(1, "eu")})
	for name, level := range map[kv.Bucket]client.Level{"quorum": client.LevelQuorum, "strong": client.LevelStrong} {
		_, err := db.CreateBucket(ctx, client.BucketRules{Name: name, Consistency: client.Consistency{Level: level}})
		require.NoError(t, err)
	}
	var got client.Receipt
	require.NoError(t, db.View(ctx, func(tx *client.Tx) error {
		for _, b := range []string{"quorum", "strong"} {
			if _, err := tx.Bucket(b).Counter("n").Get(ctx); err != nil {
				return err
			}
		}
		return nil
	}, client.WithReceipt(&got)))
	require.Equal(t, client.LevelStrong, got.Level)
}

// lacking refuses to decide rules.
type lacking struct{ kv.Service }

func (lacking) CreateBucket(context.Context, kv.BucketRules) (kv.DecidedRules, error) {
	return kv.DecidedRules{}, kv.Errorf(kv.KindDeadline, "not seen decided").WithOutcome(kv.OutcomeUnknown)
}

func (lacking) AlterBucket(context.Context, kv.BucketRules, uint64) (kv.DecidedRules, error) {
	return kv.DecidedRules{}, kv.Errorf(kv.KindAborted, "altered meanwhile")
}

func (lacking) DropBucket(_ context.Context, req kv.DropRequest) (kv.DroppedBucket, error) {
	if req.Wait <= 0 {
		return kv.DroppedBucket{}, kv.Errorf(kv.KindInvalid, "no time is left to answer in")
	}
	return kv.DroppedBucket{}, kv.Errorf(kv.KindUnavailable, "no majority")
}

func (lacking) BucketRules(context.Context) ([]kv.DecidedRules, error) {
	return nil, kv.Errorf(kv.KindLost, "a crash took it back")
}

// reader may read, and decide nothing.
type reader struct{}

func (reader) Authorize(_ context.Context, a grpcapi.Access) error {
	if a.Rules {
		return kv.Errorf(kv.KindDenied, "bucket %q is not yours to decide on", string(a.Bucket))
	}
	return nil
}

func TestRefusedDecisionsOnBucketsSayWhatBecameOfThem(t *testing.T) {
	db := inMemory(t, grpcapi.Config{Service: lacking{memkv.New().Node(1, "eu")}})
	rules := client.BucketRules{Name: "b"}
	_, err := db.CreateBucket(ctx, rules)
	require.ErrorIs(t, err, client.ErrDeadline)
	require.Equal(t, client.OutcomeUnknown, client.OutcomeOf(err))
	_, err = db.AlterBucket(ctx, rules, 0)
	require.ErrorIs(t, err, client.ErrAborted)
	require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err = db.DropBucket(limited, client.DropRequest{Bucket: "b"})
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))
	_, err = db.DropBucket(limited, client.DropRequest{Bucket: "theriac.import"})
	require.ErrorIs(t, err, client.ErrInvalid)
	_, err = db.BucketRules(ctx)
	require.ErrorIs(t, err, client.ErrLost)
	_, err = db.CreateBucket(ctx, client.BucketRules{})
	require.ErrorIs(t, err, client.ErrInvalid)
	_, err = db.AlterBucket(ctx, client.BucketRules{}, 0)
	require.ErrorIs(t, err, client.ErrInvalid)

	db = inMemory(t, grpcapi.Config{Service: memkv.New().Node(1, "eu"), Authorizer: reader{}})
	_, err = db.CreateBucket(ctx, rules)
	require.ErrorIs(t, err, client.ErrDenied)
	_, err = db.AlterBucket(ctx, rules, 0)
	require.ErrorIs(t, err, client.ErrDenied)
	_, err = db.DropBucket(ctx, client.DropRequest{Bucket: "b"})
	require.ErrorIs(t, err, client.ErrDenied)
	_, err = db.BucketRules(ctx)
	require.NoError(t, err)
}
