package grpcapi

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/api/theriac/v1/convert"
	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/kv"
)

// A client that takes no answers fills the memory only so far.
func TestAnswersThatNobodyTakesAreBounded(t *testing.T) {
	p := &pipe{door: &door{cfg: Config{Service: memkv.New().Node(1, "eu"), Authorizer: AllowAll{}}}, calls: map[uint64]context.CancelFunc{}}
	object := kv.Object{Bucket: "b", Key: "k", Type: client.TypeRegisterLWW}
	read := kv.Request{Queries: []kv.Query{{Object: object}}}
	write := kv.Request{Queries: read.Queries, Ops: []kv.Op{{Object: object, Verb: kv.VerbAssign, Data: []byte("x")}}}
	run := func(req kv.Request) *pb.PipeAnswer {
		m, err := convert.EncodeRequest(req)
		require.NoError(t, err)
		p.calls[1] = func() {}
		return p.run(piped{&pb.PipeCall{Id: 1, Request: m}, context.Background()}).PipeAnswer
	}
	require.NotNil(t, run(read).Response)
	require.NotZero(t, p.untaken.Load())
	p.untaken.Store(maxUntaken)
	for outcome, req := range map[kv.Outcome]kv.Request{kv.NotApplied: read, kv.Applied: write} {
		a := run(req)
		require.Nil(t, a.Response)
		e := convert.DecodeFailure(a.Message, a.Error)
		require.ErrorIs(t, e, kv.ErrOverloaded)
		require.Equal(t, outcome, e.Outcome)
		require.False(t, e.Token.IsZero(), "what it would have shown")
	}
	p.untaken.Store(maxUntaken)
	onlyWrite := kv.Request{Ops: write.Ops}
	require.NotNil(t, run(onlyWrite).Response, "a receipt is small")
}
