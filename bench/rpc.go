package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/theriac-db/theriac/api/theriac/v1/convert"
	"github.com/theriac-db/theriac/bench/limits"
	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
)

// rpcCallers is how many callers share the one connection.
const rpcCallers = 64

// rpc: one-shot durable transactions over gRPC on loopback, the server in a process of its own; the
// limit's server too.
func rpc(ctx context.Context, e *Env) (figures []Figure, err error) {
	region, err := startRegion(ctx, e, RegionConfig{Name: "eu", Dir: e.Dir + "/ours", Serve: true}, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, region.quit()) }()
	db, err := client.Open(ctx, region.ready.Client, client.Insecure())
	if err != nil {
		return nil, err
	}
	defer db.Close()
	request, answer, err := messageSizes(ctx, db)
	if err != nil {
		return nil, err
	}
	echo, err := startChild(ctx, e, "", "echo", strconv.Itoa(answer))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, echo.quit()) }()
	bare, err := limits.DialEcho(echo.ready.Client)
	if err != nil {
		return nil, err
	}
	defer bare.Close()
	f, err := compare(ctx, e.Rounds, rpcAdds(e, db), rpcEchoes(e, bare, make([]byte, request)))
	f.What, f.Unit, f.Goal = fmt.Sprintf("one-shot durable transaction over gRPC, %d callers", rpcCallers), "calls/s", atLeast(0.7)
	f.Note = fmt.Sprintf("bare gRPC echo of the same messages (%d and %d bytes), server in a process of its own", request, answer)
	return one(f, err)
}

// messageSizes gives the sizes of the messages of one add.
func messageSizes(ctx context.Context, db *client.DB) (request, answer int, err error) {
	var receipt client.Receipt
	if err := db.Counter(counterKey(0)).Add(ctx, 1, client.WithReceipt(&receipt)); err != nil {
		return 0, 0, err
	}
	message, err := convert.EncodeRequest(kv.Request{
		Options: kv.Options{Attempt: kv.Attempt{ID: client.NewOpID(), Incarnation: receipt.Incarnation}},
		Ops: []kv.Op{{
			Object: kv.Object{Bucket: kv.DefaultBucket, Key: kv.Key(counterKey(0)), Type: client.TypeCounter},
			Verb:   kv.VerbIncrement, Int: 1,
		}},
	})
	return proto.Size(message), proto.Size(convert.EncodeResponse(kv.Response{Receipt: receipt})), err
}

func rpcAdds(e *Env, db *client.DB) side {
	keys := counterKeys(e.Keys)
	return func(ctx context.Context) (float64, error) {
		return perSecond(ctx, rpcCallers, e.Slice, func(ctx context.Context, random *rand.Rand) error {
			return db.Counter(keys[random.IntN(len(keys))]).Add(ctx, 1)
		})
	}
}

func rpcEchoes(e *Env, c *limits.EchoClient, request []byte) side {
	return func(ctx context.Context) (float64, error) {
		return perSecond(ctx, rpcCallers, e.Slice, func(ctx context.Context, _ *rand.Rand) error {
			_, err := c.Call(ctx, request)
			return err
		})
	}
}
