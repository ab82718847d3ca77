package grpcapi

import (
	"context"

	"google.golang.org/protobuf/proto"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/api/theriac/v1/convert"
	"github.com/theriac-db/theriac/kv"
)

// door implements the API's methods. There are no interceptors: each method calls what it needs,
// which costs nothing where nothing is configured.
type door struct {
	pb.UnimplementedDatabaseServer
	cfg      Config
	open     *openTable
	held     held
	stopping chan struct{} // closed when the server stops
}

func (d *door) Do(ctx context.Context, m *pb.DoRequest) (*pb.DoResponse, error) {
	resp, err := d.do(ctx, m)
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	trail(ctx, m.GetOptions(), resp.Receipt)
	return resp, nil
}

// do is Do for both ways that it is called: alone, and in a pipe.
func (d *door) do(ctx context.Context, m *pb.DoRequest) (*pb.DoResponse, error) {
	n := weight(m.GetOperations(), m.GetQueries())
	if err := d.held.take(n, m.GetOptions().GetAttempt().GetRetry()); err != nil {
		return nil, err
	}
	defer d.held.give(n)
	req, err := convert.DecodeRequest(m)
	if err != nil {
		return nil, err
	}
	leaveTime(ctx, &req.Options)
	access, err := d.authenticate(ctx, req.Options.Level)
	if err != nil {
		return nil, err
	}
	if err := d.authorize(ctx, access, req.Ops, req.Queries); err != nil {
		return nil, err
	}
	resp, err := d.cfg.Service.Do(ctx, req)
	if err != nil {
		return nil, err
	}
	answer := convert.EncodeResponse(resp)
	return answer, kv.WithToken(checkSize(answer, resp.Values, len(req.Ops) > 0), resp.Receipt.Token)
}

// checkSize refuses an answer that no client takes. The exact size costs a walk over the answer, so
// it is asked only when the cheap upper bound is beyond the limit.
func checkSize(m proto.Message, values []kv.Value, wrote bool) error {
	if convert.MaxValuesSize(values)+answerOverhead <= MaxAnswer {
		return nil
	}
	size := proto.Size(m)
	if size <= MaxAnswer {
		return nil
	}
	err := kv.Errorf(kv.KindTooLarge, "answer of %d bytes: the limit is %d; page through large values", size, MaxAnswer)
	if wrote {
		err = err.WithOutcome(kv.Applied)
	}
	return err
}

// answerOverhead is more than a receipt takes.
const answerOverhead = 64 << 10

func (d *door) Begin(ctx context.Context, m *pb.BeginRequest) (*pb.BeginResponse, error) {
	options, err := convert.DecodeOptions(m.GetOptions())
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	access, err := d.authenticate(ctx, options.Level)
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	leaveTime(ctx, &options)
	id, receipt, err := d.cfg.Service.Begin(ctx, kv.Begin{Options: options, ReadOnly: m.GetReadOnly(), ByDefault: m.GetByDefault()})
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	d.open.add(id, access)
	answer := &pb.BeginResponse{Transaction: uint64(id), Receipt: convert.EncodeReceipt(receipt)}
	trail(ctx, m.GetOptions(), answer.Receipt)
	return answer, nil
}

// resume begins a call of an open transaction.
func (d *door) resume(ctx context.Context, id kv.TxnID) (Access, error) {
	caller, err := d.authenticate(ctx, 0)
	if err != nil {
		return Access{}, err
	}
	return d.open.use(id, caller.Principal)
}

func (d *door) Execute(ctx context.Context, m *pb.ExecuteRequest) (*pb.ExecuteResponse, error) {
	id := kv.TxnID(m.GetTransaction())
	n := weight(m.GetOperations(), m.GetQueries())
	if err := d.held.take(n, false); err != nil {
		return nil, convert.EncodeError(err)
	}
	defer d.held.give(n)
	ops, err := convert.DecodeOps(m.GetOperations())
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	queries, err := convert.DecodeQueries(m.GetQueries())
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	access, err := d.resume(ctx, id)
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	if err := d.authorize(ctx, access, ops, queries); err != nil {
		return nil, convert.EncodeError(err)
	}
	values, err := d.cfg.Service.Execute(ctx, id, ops, queries)
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	answer := &pb.ExecuteResponse{Values: convert.EncodeValues(values)}
	if err := checkSize(answer, values, false); err != nil {
		return nil, convert.EncodeError(err)
	}
	return answer, nil
}

func (d *door) Commit(ctx context.Context, m *pb.CommitRequest) (*pb.CommitResponse, error) {
	id := kv.TxnID(m.GetTransaction())
	options, err := convert.DecodeOptions(m.GetOptions())
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	// What it writes passed the authorization point in Execute.
	if _, err := d.resume(ctx, id); err != nil {
		return nil, convert.EncodeError(err)
	}
	leaveTime(ctx, &options)
	options.Discard = m.GetDiscard()
	receipt, err := d.cfg.Service.Commit(ctx, id, options)
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	d.open.remove(id)
	answer := &pb.CommitResponse{Receipt: convert.EncodeReceipt(receipt)}
	trail(ctx, m.GetOptions(), answer.Receipt)
	return answer, nil
}

func (d *door) Abort(ctx context.Context, m *pb.AbortRequest) (*pb.AbortResponse, error) {
	id := kv.TxnID(m.GetTransaction())
	if _, err := d.resume(ctx, id); err != nil {
		if kv.KindOf(err) == kv.KindNotFound {
			return &pb.AbortResponse{}, nil
		}
		return nil, convert.EncodeError(err)
	}
	if err := d.cfg.Service.Abort(ctx, id); err != nil {
		return nil, convert.EncodeError(err)
	}
	d.open.remove(id)
	return &pb.AbortResponse{}, nil
}

func (d *door) Keys(ctx context.Context, m *pb.KeysRequest) (*pb.KeysResponse, error) {
	req, err := convert.DecodeKeysRequest(m)
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	var access Access
	if req.Txn != 0 {
		access, err = d.resume(ctx, req.Txn)
	} else {
		access, err = d.authenticate(ctx, req.Options.Level)
	}
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	if err := d.authorizeOne(ctx, access, req.Bucket); err != nil {
		return nil, convert.EncodeError(err)
	}
	leaveTime(ctx, &req.Options)
	page, err := d.cfg.Service.Keys(ctx, req)
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	answer := convert.EncodeKeysPage(page)
	trail(ctx, m.GetOptions(), answer.Receipt)
	return answer, nil
}

func (d *door) Outcome(ctx context.Context, m *pb.OutcomeRequest) (*pb.OutcomeResponse, error) {
	attempt, err := convert.DecodeAttempt(m.GetAttempt())
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	if err := d.admit(ctx, 0, ""); err != nil {
		return nil, convert.EncodeError(err)
	}
	answer, err := d.cfg.Service.Outcome(ctx, kv.OutcomeRequest{Attempt: attempt})
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	return convert.EncodeOutcome(answer), nil
}

// admit authenticates the caller and asks for one read.
func (d *door) admit(ctx context.Context, level kv.Level, bucket kv.Bucket) error {
	access, err := d.authenticate(ctx, level)
	if err != nil {
		return err
	}
	return d.authorizeOne(ctx, access, bucket)
}

func (d *door) Digest(ctx context.Context, m *pb.DigestRequest) (*pb.DigestResponse, error) {
	options, err := convert.DecodeOptions(m.GetOptions())
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	bucket := kv.Bucket(m.GetBucket())
	if err := d.admit(ctx, options.Level, bucket); err != nil {
		return nil, convert.EncodeError(err)
	}
	leaveTime(ctx, &options)
	digest, err := d.cfg.Service.Digest(ctx, kv.DigestRequest{Options: options, Bucket: bucket})
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	answer := convert.EncodeDigest(digest)
	trail(ctx, m.GetOptions(), answer.Receipt)
	return answer, nil
}

func (d *door) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	if err := d.admit(ctx, 0, ""); err != nil {
		return nil, convert.EncodeError(err)
	}
	status, err := d.cfg.Service.Status(ctx)
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	return convert.EncodeStatus(status), nil
}

func (d *door) Buckets(ctx context.Context, m *pb.BucketsRequest) (*pb.BucketsResponse, error) {
	req, err := convert.DecodeBucketsRequest(m)
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	if err := d.admit(ctx, 0, ""); err != nil {
		return nil, convert.EncodeError(err)
	}
	page, err := d.cfg.Service.Buckets(ctx, req)
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	return convert.EncodeBucketsPage(page), nil
}

// decide admits a call that decides the rules of a bucket, and reads them.
func (d *door) decide(ctx context.Context, m *pb.BucketRules) (kv.BucketRules, error) {
	rules, err := convert.DecodeRules(m)
	if err != nil {
		return rules, err
	}
	return rules, d.admitDecision(ctx, rules.Name)
}

// admitDecision admits a call that decides about a bucket.
func (d *door) admitDecision(ctx context.Context, b kv.Bucket) error {
	access, err := d.authenticate(ctx, kv.LevelStrong)
	if err != nil {
		return err
	}
	access.Rules = true
	return d.authorizeOne(ctx, access, b)
}

func (d *door) CreateBucket(ctx context.Context, m *pb.CreateBucketRequest) (*pb.CreateBucketResponse, error) {
	rules, err := d.decide(ctx, m.GetRules())
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	decided, err := d.cfg.Service.CreateBucket(ctx, rules)
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	return &pb.CreateBucketResponse{Decided: convert.EncodeDecided(decided)}, nil
}

func (d *door) AlterBucket(ctx context.Context, m *pb.AlterBucketRequest) (*pb.AlterBucketResponse, error) {
	rules, err := d.decide(ctx, m.GetRules())
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	decided, err := d.cfg.Service.AlterBucket(ctx, rules, m.GetSince())
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	return &pb.AlterBucketResponse{Decided: convert.EncodeDecided(decided)}, nil
}

func (d *door) DropBucket(ctx context.Context, m *pb.DropBucketRequest) (*pb.DropBucketResponse, error) {
	req, err := convert.DecodeDrop(m)
	if err == nil {
		err = d.admitDecision(ctx, req.Bucket)
	}
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	o := kv.Options{Level: kv.LevelStrong}
	leaveTime(ctx, &o)
	req.Wait = o.Wait
	dropped, err := d.cfg.Service.DropBucket(ctx, req)
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	return convert.EncodeDropped(dropped), nil
}

func (d *door) RemoveRegion(ctx context.Context, m *pb.RemoveRegionRequest) (*pb.RemoveRegionResponse, error) {
	access, err := d.authenticate(ctx, kv.LevelStrong)
	if err == nil {
		access.Regions = true
		err = d.authorizeOne(ctx, access, "")
	}
	if err == nil {
		err = d.cfg.Service.RemoveRegion(ctx, m.GetRegion())
	}
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	return &pb.RemoveRegionResponse{}, nil
}

func (d *door) BucketRules(ctx context.Context, _ *pb.BucketRulesRequest) (*pb.BucketRulesResponse, error) {
	if err := d.admit(ctx, 0, ""); err != nil {
		return nil, convert.EncodeError(err)
	}
	list, err := d.cfg.Service.BucketRules(ctx)
	if err != nil {
		return nil, convert.EncodeError(err)
	}
	return convert.EncodeDecidedList(list), nil
}
