package grpcapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// A receipt that was asked for also comes as a trailer, which says what the answer does.
func TestReceiptsComeAsTrailersOnRequest(t *testing.T) {
	lis := listen(t)
	start(t, lis, grpcapi.Config{Service: memkv.New().Node(1, "eu")})
	api := pb.NewDatabaseClient(raw(t, lis.Addr().String()))
	add := []*pb.Operation{{Bucket: "b", Type: 1, Verb: &pb.Operation_Increment{Increment: 1}}}
	for _, asked := range []bool{true, false} {
		o := &pb.Options{Receipt: asked, Level: pb.Level_LEVEL_QUORUM, Durability: pb.Durability_DURABILITY_ALL}
		begin := func() uint64 {
			b, err := api.Begin(ctx, &pb.BeginRequest{Options: o})
			require.NoError(t, err)
			return b.Transaction
		}
		for name, call := range map[string]func(grpc.CallOption) (interface{ GetReceipt() *pb.Receipt }, error){
			"do": func(c grpc.CallOption) (interface{ GetReceipt() *pb.Receipt }, error) {
				return api.Do(ctx, &pb.DoRequest{Options: o, Operations: add}, c)
			},
			"begin": func(c grpc.CallOption) (interface{ GetReceipt() *pb.Receipt }, error) {
				return api.Begin(ctx, &pb.BeginRequest{Options: o}, c)
			},
			"commit": func(c grpc.CallOption) (interface{ GetReceipt() *pb.Receipt }, error) {
				return api.Commit(ctx, &pb.CommitRequest{Transaction: begin(), Options: o}, c)
			},
			"keys": func(c grpc.CallOption) (interface{ GetReceipt() *pb.Receipt }, error) {
				return api.Keys(ctx, &pb.KeysRequest{Options: o, Bucket: "b", Limit: 1}, c)
			},
			"digest": func(c grpc.CallOption) (interface{ GetReceipt() *pb.Receipt }, error) {
				return api.Digest(ctx, &pb.DigestRequest{Options: o}, c)
			},
		} {
			var trailer metadata.MD
			answer, err := call(grpc.Trailer(&trailer))
			require.NoError(t, err, name)
			require.Equal(t, pb.Level_LEVEL_QUORUM, answer.GetReceipt().GetLevel(), name)
			got := trailer.Get(grpcapi.ReceiptTrailer)
			if !asked {
				require.Empty(t, got, name)
				continue
			}
			require.Len(t, got, 1, name)
			var r pb.Receipt
			require.NoError(t, proto.Unmarshal([]byte(got[0]), &r), name)
			require.True(t, proto.Equal(answer.GetReceipt(), &r), name)
		}
	}
}
