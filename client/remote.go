package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/api/theriac/v1/convert"
	"github.com/theriac-db/theriac/kv"
)

// Limits on messages.
const (
	maxRequest = 4 << 20  // bytes of one request; larger transactions go in several
	maxAnswer  = 32 << 20 // bytes of one answer; above what a server sends
	maxLarge   = 8 << 20  // bytes of requests above maxPiped under way to one node; more wait. It closes a connection of very many
)

// remote is one node over the network, as a kv.Service. It tries each call once.
type remote struct {
	addr string
	conn *grpc.ClientConn
	api  pb.DatabaseClient
	pipe *pipe

	served atomic.Bool // a node has answered here
	large  *room       // for large requests under way
}

func newRemote(addr string, conn *grpc.ClientConn) *remote {
	r := &remote{addr: addr, conn: conn, api: pb.NewDatabaseClient(conn), large: newRoom(maxLarge)}
	r.pipe = newPipe(r.api)
	return r
}

// close ends the connection and what runs on it.
func (r *remote) close() error {
	err := r.conn.Close()
	r.pipe.close()
	return err
}

// enter waits for room for a request of at most so many bytes. leave makes room again.
func (r *remote) enter(ctx context.Context, bound int) (leave func(), err error) {
	if bound <= maxPiped {
		return func() {}, nil
	}
	before := unsentContext(ctx)
	if leave, ok := r.large.enter(before, bound); ok {
		return leave, nil
	}
	return nil, deadline(before, "waiting for large requests to "+r.addr+" to be answered")
}

// answered notes that there is a database at the address.
func (r *remote) answered() {
	if !r.served.Load() {
		r.served.Store(true)
	}
}

// ready reports whether a call would find a connection. If not it has one made.
func (r *remote) ready() bool {
	switch r.conn.GetState() {
	case connectivity.Ready:
		return true
	case connectivity.Idle:
		r.conn.Connect()
	}
	return false
}

// rpc is one call, for its errors.
type rpc struct {
	remote *remote
	name   string
	writes bool
}

// failed translates the error of a call. A write that may have reached the node, and whose answer is
// not theriac's own, may have happened.
func (c *rpc) failed(ctx context.Context, err error, sent bool) error {
	if e, ok := convert.DecodeError(err); ok {
		c.remote.served.Store(true)
		return ended(ctx, e)
	}
	st := status.Convert(err)
	e := &kv.Error{
		Kind:    kindOfCode(st.Code()),
		Message: fmt.Sprintf("%s at %s: %s", c.name, c.remote.addr, st.Message()),
		Err:     err,
	}
	if c.writes && sent {
		e.Outcome = kv.OutcomeUnknown
	} else if kind, message, ok := unreachable(c.remote.addr, st, c.remote.served.Load()); ok {
		e.Kind, e.Message = kind, message
		if kind == kv.KindInvalid {
			e.Err = unusableError{err}
		}
	}
	switch {
	case ctx.Err() != nil:
		e.Kind, e.Err = kv.KindDeadline, ctx.Err()
	case c.remote.pipe.closed.Load():
		e.Kind, e.Message = kv.KindInvalid, c.name+": the client was closed"
	}
	return e
}

// piped translates the error of a call that went through the pipe.
func (c *rpc) piped(ctx context.Context, err error) error {
	var lost *lostError
	if errors.As(err, &lost) {
		return c.failed(ctx, lost.err, lost.sent)
	}
	return ended(ctx, err)
}

// ended lets errors.Is find why the caller's context ended in a node's answer that it did.
func ended(ctx context.Context, err error) error {
	var e *kv.Error
	if errors.As(err, &e) && e.Kind == kv.KindDeadline && ctx.Err() != nil {
		e.Err = ctx.Err()
	}
	return err
}

// kindOfCode is for statuses that theriac did not make: gRPC's own, or a proxy's.
func kindOfCode(c codes.Code) kv.Kind {
	switch c {
	case codes.DeadlineExceeded:
		return kv.KindDeadline
	case codes.ResourceExhausted:
		return kv.KindTooLarge
	case codes.Unimplemented, codes.InvalidArgument:
		return kv.KindInvalid
	case codes.Unauthenticated, codes.PermissionDenied:
		return kv.KindDenied
	}
	return kv.KindUnavailable
}

// damaged is the error of an answer that can't be read. The node did what was asked.
func (c *rpc) damaged(err error) error {
	e := kv.Errorf(kv.KindCorrupt, "%s at %s: unreadable answer: %w", c.name, c.remote.addr, err)
	if c.writes {
		return e.WithOutcome(kv.OutcomeUnknown)
	}
	return e
}

// maxSize is an upper bound of a request's bytes, cheap to compute.
func maxSize(ops []kv.Op, queries []kv.Query) int {
	const plain = 1024 // more than a message's fixed parts and one step's
	bound := plain
	for i := range ops {
		op := &ops[i]
		bound += plain*(1+len(op.Path)) + len(op.Key) + len(op.Data)
		for _, s := range op.Path {
			bound += len(s.Name)
		}
		if op.Expect != nil {
			bound += len(op.Expect.Value)
		}
	}
	for i := range queries {
		q := &queries[i]
		bound += plain*(1+len(q.Path)) + len(q.Key) + len(q.Data) + len(q.After)
		for _, s := range q.Path {
			bound += len(s.Name)
		}
	}
	return bound
}

// checkSize refuses a request that no server takes, before it is sent. The exact size costs a walk,
// so it is asked only when the upper bound is beyond the limit.
func checkSize(m proto.Message, bound int) error {
	if bound <= maxRequest {
		return nil
	}
	if size := proto.Size(m); size > maxRequest {
		return kv.Errorf(kv.KindTooLarge, "request of %d bytes: the limit is %d; write it in Update, which sends parts", size, maxRequest)
	}
	return nil
}

func (r *remote) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	m, err := convert.EncodeRequest(req)
	if err != nil {
		return kv.Response{}, err
	}
	bound := maxSize(req.Ops, req.Queries)
	if err := checkSize(m, bound); err != nil {
		return kv.Response{}, err
	}
	c := rpc{remote: r, name: "Do", writes: len(req.Ops) > 0}
	answer, err := r.do(ctx, &c, &req, m, bound)
	if err != nil {
		return kv.Response{}, err
	}
	resp, err := convert.DecodeResponse(answer)
	if err != nil {
		return kv.Response{}, c.damaged(err)
	}
	r.answered()
	return resp, nil
}

// do sends a request through the pipe if it is fit for it, else in a call of its own.
func (r *remote) do(ctx context.Context, c *rpc, req *kv.Request, m *pb.DoRequest, bound int) (*pb.DoResponse, error) {
	if bound <= maxPiped && small(req.Queries) && r.pipe.usable(ctx) {
		answer, err := r.pipe.do(ctx, m, bound)
		if err == nil {
			return answer, nil
		}
		if !errors.Is(err, errNoPipe) {
			return nil, c.piped(ctx, err)
		}
	}
	leave, err := r.enter(ctx, bound)
	if err != nil {
		return nil, err
	}
	defer leave()
	var p peer.Peer // gRPC sets Addr once the call has a stream: before, nothing was sent
	answer, err := r.api.Do(ctx, m, grpc.Peer(&p))
	if err != nil {
		return nil, c.failed(ctx, err, p.Addr != nil)
	}
	return answer, nil
}

// small reports whether the answers to queries are: a large one would hold up others in the pipe.
func small(queries []kv.Query) bool {
	for i := range queries {
		q := &queries[i]
		t := q.Type
		if len(q.Path) > 0 {
			t = q.Path[len(q.Path)-1].Type
		}
		if q.Kind != kv.QueryContains && t >= TypeSetAW {
			return false
		}
	}
	return true
}

func (r *remote) Begin(ctx context.Context, b kv.Begin) (kv.TxnID, kv.Receipt, error) {
	c := rpc{remote: r, name: "Begin"}
	m := &pb.BeginRequest{Options: convert.EncodeOptions(b.Options), ReadOnly: b.ReadOnly, ByDefault: b.ByDefault}
	answer, err := r.api.Begin(ctx, m)
	if err != nil {
		return 0, kv.Receipt{}, c.failed(ctx, err, true)
	}
	receipt, err := convert.DecodeReceipt(answer.GetReceipt())
	if err != nil {
		return 0, kv.Receipt{}, c.damaged(err)
	}
	return kv.TxnID(answer.GetTransaction()), receipt, nil
}

func (r *remote) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	operations, err := convert.EncodeOps(ops)
	if err != nil {
		return nil, err
	}
	asked, err := convert.EncodeQueries(queries)
	if err != nil {
		return nil, err
	}
	m := &pb.ExecuteRequest{Transaction: uint64(id), Operations: operations, Queries: asked}
	bound := maxSize(ops, queries)
	if err := checkSize(m, bound); err != nil {
		return nil, err
	}
	leave, err := r.enter(ctx, bound)
	if err != nil {
		return nil, err
	}
	defer leave()
	c := rpc{remote: r, name: "Execute"}
	answer, err := r.api.Execute(ctx, m)
	if err != nil {
		return nil, c.failed(ctx, err, true)
	}
	values, err := convert.DecodeValues(answer.GetValues())
	if err != nil {
		return nil, c.damaged(err)
	}
	return values, nil
}

func (r *remote) Commit(ctx context.Context, id kv.TxnID, o kv.Options) (kv.Receipt, error) {
	c := rpc{remote: r, name: "Commit", writes: !o.Discard}
	m := &pb.CommitRequest{Transaction: uint64(id), Options: convert.EncodeOptions(o), Discard: o.Discard}
	var p peer.Peer // gRPC sets Addr once the call has a stream: before, nothing was sent
	answer, err := r.api.Commit(ctx, m, grpc.Peer(&p))
	if err != nil {
		return kv.Receipt{}, c.failed(ctx, err, p.Addr != nil)
	}
	receipt, err := convert.DecodeReceipt(answer.GetReceipt())
	if err != nil {
		return kv.Receipt{}, c.damaged(err)
	}
	return receipt, nil
}

func (r *remote) Abort(ctx context.Context, id kv.TxnID) error {
	c := rpc{remote: r, name: "Abort"}
	if _, err := r.api.Abort(ctx, &pb.AbortRequest{Transaction: uint64(id)}); err != nil {
		return c.failed(ctx, err, true)
	}
	return nil
}

func (r *remote) Keys(ctx context.Context, req kv.KeysRequest) (kv.KeysPage, error) {
	m, err := convert.EncodeKeysRequest(req)
	if err != nil {
		return kv.KeysPage{}, err
	}
	c := rpc{remote: r, name: "Keys"}
	answer, err := r.api.Keys(ctx, m)
	if err != nil {
		return kv.KeysPage{}, c.failed(ctx, err, true)
	}
	page, err := convert.DecodeKeysPage(answer, req.Bucket)
	if err != nil {
		return kv.KeysPage{}, c.damaged(err)
	}
	return page, nil
}

func (r *remote) Outcome(ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	c := rpc{remote: r, name: "Outcome"}
	answer, err := r.api.Outcome(ctx, &pb.OutcomeRequest{Attempt: convert.EncodeAttempt(req.Attempt)})
	if err != nil {
		return kv.OutcomeAnswer{}, c.failed(ctx, err, true)
	}
	outcome, err := convert.DecodeOutcome(answer)
	if err != nil {
		return kv.OutcomeAnswer{}, c.damaged(err)
	}
	return outcome, nil
}

func (r *remote) Digest(ctx context.Context, req kv.DigestRequest) (kv.Digest, error) {
	c := rpc{remote: r, name: "Digest"}
	m := &pb.DigestRequest{Options: convert.EncodeOptions(req.Options), Bucket: string(req.Bucket)}
	answer, err := r.api.Digest(ctx, m)
	if err != nil {
		return kv.Digest{}, c.failed(ctx, err, true)
	}
	digest, err := convert.DecodeDigest(answer)
	if err != nil {
		return kv.Digest{}, c.damaged(err)
	}
	return digest, nil
}

func (r *remote) Status(ctx context.Context) (kv.Status, error) {
	c := rpc{remote: r, name: "Status"}
	answer, err := r.api.Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return kv.Status{}, c.failed(ctx, err, true)
	}
	s, err := convert.DecodeStatus(answer)
	if err != nil {
		return kv.Status{}, c.damaged(err)
	}
	r.answered()
	return s, nil
}

func (r *remote) Buckets(ctx context.Context, req kv.BucketsRequest) (kv.BucketsPage, error) {
	m, err := convert.EncodeBucketsRequest(req)
	if err != nil {
		return kv.BucketsPage{}, err
	}
	c := rpc{remote: r, name: "Buckets"}
	answer, err := r.api.Buckets(ctx, m)
	if err != nil {
		return kv.BucketsPage{}, c.failed(ctx, err, true)
	}
	return convert.DecodeBucketsPage(answer), nil
}

func (r *remote) CreateBucket(ctx context.Context, rules kv.BucketRules) (kv.DecidedRules, error) {
	m, err := convert.EncodeRules(rules)
	if err != nil {
		return kv.DecidedRules{}, err
	}
	c := rpc{remote: r, name: "CreateBucket", writes: true}
	var p peer.Peer // gRPC sets Addr once the call has a stream: before, nothing was sent
	answer, err := r.api.CreateBucket(ctx, &pb.CreateBucketRequest{Rules: m}, grpc.Peer(&p))
	if err != nil {
		return kv.DecidedRules{}, c.failed(ctx, err, p.Addr != nil)
	}
	return c.decided(answer.GetDecided())
}

func (r *remote) AlterBucket(ctx context.Context, rules kv.BucketRules, since uint64) (kv.DecidedRules, error) {
	m, err := convert.EncodeRules(rules)
	if err != nil {
		return kv.DecidedRules{}, err
	}
	c := rpc{remote: r, name: "AlterBucket", writes: true}
	var p peer.Peer
	answer, err := r.api.AlterBucket(ctx, &pb.AlterBucketRequest{Rules: m, Since: since}, grpc.Peer(&p))
	if err != nil {
		return kv.DecidedRules{}, c.failed(ctx, err, p.Addr != nil)
	}
	return c.decided(answer.GetDecided())
}

// decided reads the answer to a change of rules.
func (c *rpc) decided(m *pb.DecidedRules) (kv.DecidedRules, error) {
	d, err := convert.DecodeDecided(m)
	if err != nil {
		return kv.DecidedRules{}, c.damaged(err)
	}
	return d, nil
}

func (r *remote) DropBucket(ctx context.Context, req kv.DropRequest) (kv.DroppedBucket, error) {
	m, err := convert.EncodeDrop(req)
	if err != nil {
		return kv.DroppedBucket{}, err
	}
	c := rpc{remote: r, name: "DropBucket", writes: true}
	var p peer.Peer
	answer, err := r.api.DropBucket(ctx, m, grpc.Peer(&p))
	if err != nil {
		return kv.DroppedBucket{}, c.failed(ctx, err, p.Addr != nil)
	}
	d, err := convert.DecodeDropped(answer)
	if err != nil {
		return kv.DroppedBucket{}, c.damaged(err)
	}
	return d, nil
}

func (r *remote) RemoveRegion(ctx context.Context, name string) error {
	c := rpc{remote: r, name: "RemoveRegion", writes: true}
	var p peer.Peer
	if _, err := r.api.RemoveRegion(ctx, &pb.RemoveRegionRequest{Region: name}, grpc.Peer(&p)); err != nil {
		return c.failed(ctx, err, p.Addr != nil)
	}
	return nil
}

func (r *remote) BucketRules(ctx context.Context) ([]kv.DecidedRules, error) {
	c := rpc{remote: r, name: "BucketRules"}
	answer, err := r.api.BucketRules(ctx, &pb.BucketRulesRequest{})
	if err != nil {
		return nil, c.failed(ctx, err, true)
	}
	list, err := convert.DecodeDecidedList(answer)
	if err != nil {
		return nil, c.damaged(err)
	}
	return list, nil
}
