package client

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/kv"
)

// conn answers every call with one error, or with an answer that can't be read.
type conn struct {
	grpc.ClientConnInterface
	err  error
	sent bool // the call got as far as a stream
}

func (c conn) Invoke(_ context.Context, _ string, _, answer any, opts ...grpc.CallOption) error {
	for _, o := range opts {
		if p, ok := o.(grpc.PeerCallOption); ok && c.sent {
			*p.PeerAddr = peer.Peer{Addr: anywhere{}}
		}
	}
	if c.err != nil {
		return c.err
	}
	bad := &pb.Receipt{Level: -1}
	switch m := answer.(type) {
	case *pb.DoResponse:
		m.Receipt = bad
	case *pb.BeginResponse:
		m.Receipt = bad
	case *pb.ExecuteResponse:
		m.Values = []*pb.Value{{Type: -1}}
	case *pb.CommitResponse:
		m.Receipt = bad
	case *pb.KeysResponse:
		m.Receipt = bad
	case *pb.OutcomeResponse:
		m.Outcome = pb.WriteOutcome_WRITE_OUTCOME_UNKNOWN
	}
	return nil // digests and status are too short as they are
}

type anywhere struct{}

func (anywhere) Network() string { return "test" }
func (anywhere) String() string  { return "anywhere" }

// alone makes calls go without the pipe.
var alone = metadata.AppendToOutgoingContext(context.Background(), "a", "b")

// everyCall runs each method once on a remote, by name.
func everyCall(c conn) map[string]error {
	r := &remote{addr: "node:1", api: pb.NewDatabaseClient(c)}
	r.pipe = newPipe(r.api)
	o := kv.Object{Bucket: "b", Key: "k", Type: TypeCounter}
	errs := map[string]error{}
	_, errs["read"] = r.Do(alone, kv.Request{Queries: []kv.Query{{Object: o}}})
	_, errs["write"] = r.Do(alone, kv.Request{Ops: []kv.Op{{Object: o, Verb: kv.VerbIncrement}}})
	_, _, errs["begin"] = r.Begin(alone, kv.Begin{})
	_, errs["execute"] = r.Execute(alone, 1, nil, nil)
	_, errs["commit"] = r.Commit(alone, 1, kv.Options{})
	_, errs["keys"] = r.Keys(alone, kv.KeysRequest{Bucket: "b", Limit: 1})
	_, errs["outcome"] = r.Outcome(alone, kv.OutcomeRequest{})
	_, errs["digest"] = r.Digest(alone, kv.DigestRequest{})
	_, errs["status"] = r.Status(alone)
	if c.err != nil {
		_, errs["buckets"] = r.Buckets(alone, kv.BucketsRequest{Limit: 1})
		errs["abort"] = r.Abort(alone, 1)
	}
	return errs
}

func writes(name string) bool { return name == "write" || name == "commit" }

func TestUnreadableAnswersAreErrors(t *testing.T) {
	for name, err := range everyCall(conn{}) {
		require.ErrorIs(t, err, ErrCorrupt, name)
		require.Equal(t, writes(name), OutcomeOf(err) == OutcomeUnknown, name)
	}
}

func TestErrorsOfTheNetworkSayWhatBecameOfTheWrite(t *testing.T) {
	for code, kind := range map[codes.Code]Kind{
		codes.Unavailable:       kv.KindUnavailable,
		codes.Internal:          kv.KindUnavailable,
		codes.Unknown:           kv.KindUnavailable,
		codes.Canceled:          kv.KindUnavailable,
		codes.DeadlineExceeded:  kv.KindDeadline,
		codes.ResourceExhausted: kv.KindTooLarge,
		codes.Unimplemented:     kv.KindInvalid,
		codes.InvalidArgument:   kv.KindInvalid,
		codes.PermissionDenied:  kv.KindDenied,
		codes.Unauthenticated:   kv.KindDenied,
	} {
		for _, sent := range []bool{false, true} {
			for name, err := range everyCall(conn{err: status.Error(code, "why"), sent: sent}) {
				require.Equal(t, kind, KindOf(err), "%s %s", code, name)
				require.Equal(t, sent && writes(name), OutcomeOf(err) == OutcomeUnknown, "%s %s", code, name)
				require.ErrorContains(t, err, "node:1")
				require.ErrorContains(t, err, "why")
				require.Equal(t, code, status.Code(err), "the cause is kept")
			}
		}
	}
}

func TestCallsOnAClosedClient(t *testing.T) {
	db, err := Open(context.Background(), "127.0.0.1:1", Insecure(), WithTries(1))
	require.ErrorIs(t, err, ErrUnavailable)
	require.Nil(t, db)

	cfg := newConfig([]Option{Insecure()})
	cc, err := cfg.dial("127.0.0.1:1")
	require.NoError(t, err)
	r := newRemote("127.0.0.1:1", cc)
	require.NoError(t, r.close())
	_, err = write(context.Background(), r, "x")
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "closed")
	_, err = r.Status(context.Background())
	require.ErrorIs(t, err, ErrInvalid)
}
