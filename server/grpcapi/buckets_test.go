package grpcapi_test

import (
	"fmt"
	"testing"

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
