package grpcapi

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
)

// ReceiptTrailer is the key of the gRPC trailer that holds a receipt which was asked for, as the bytes of its
// message: the same one that the answer holds, for proxies and interceptors, which need not know every answer.
const ReceiptTrailer = "theriac-receipt-bin"

// trail adds the trailer to a call of its own. Nobody is told of what went wrong with it: that is no fault of the
// call, and the answer has the receipt.
func trail(ctx context.Context, o *pb.Options, r *pb.Receipt) {
	if !o.GetReceipt() || r == nil {
		return
	}
	if b, err := proto.Marshal(r); err == nil {
		_ = grpc.SetTrailer(ctx, metadata.Pairs(ReceiptTrailer, string(b)))
	}
}
