package grpcapi_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/api/theriac/v1/convert"
	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/server/grpcapi"
)

var ctx = context.Background()

// wait bounds what must happen soon.
const wait = 30 * time.Second

// start serves until the test ends.
func start(t testing.TB, lis net.Listener, cfg grpcapi.Config) *grpcapi.Server {
	s := grpcapi.New(cfg)
	s.SetServing(true)
	done := make(chan error, 1)
	go func() { done <- s.Serve(lis) }()
	t.Cleanup(func() {
		stopped, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		s.Stop(stopped)
		require.NoError(t, <-done)
	})
	return s
}

// inMemory is a client of a door without a network.
func inMemory(t testing.TB, cfg grpcapi.Config) *client.DB {
	lis := bufconn.Listen(1 << 20)
	start(t, lis, cfg)
	db, err := client.Open(ctx, "localhost", client.Insecure(), client.WithTries(2),
		client.WithDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func listen(t testing.TB) net.Listener {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return lis
}

// raw is a bare gRPC connection.
func raw(t testing.TB, addr string) *grpc.ClientConn {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

func TestEveryMethodPassesTheDoor(t *testing.T) {
	db := inMemory(t, grpcapi.Config{Service: memkv.New().Node(1, "eu")})
	s := db.Session()
	var r client.Receipt
	require.NoError(t, s.Counter("c").Add(ctx, 5, client.WithReceipt(&r)))
	require.Equal(t, "eu", r.Region)
	require.False(t, r.Commit.IsZero())
	require.NoError(t, s.Register("r").Set(ctx, []byte{}))
	value, err := s.Register("r").Get(ctx)
	require.NoError(t, err)
	require.NotNil(t, value)
	require.NoError(t, s.Set("s").AddAll(ctx, []string{"a", "\xff\x00"}))
	require.NoError(t, s.Map("m").Map("n").Flag("f").Enable(ctx))

	require.NoError(t, s.Update(ctx, func(tx *client.Tx) error {
		n, err := tx.Counter("c").Get(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 5, n)
		return tx.Register("r").CompareAndSet(ctx, value, []byte("new"))
	}))
	require.ErrorIs(t, s.Register("r").CompareAndSet(ctx, nil, nil), client.ErrAborted)

	var keys []string
	for o, err := range s.Keys(ctx, "") {
		require.NoError(t, err)
		keys = append(keys, string(o.Key))
	}
	require.Equal(t, []string{"c", "m", "r", "s"}, keys)
	d, err := s.Digest(ctx, "default")
	require.NoError(t, err)
	require.EqualValues(t, 4, d.Objects)
	page, err := db.Service().Buckets(ctx, kv.BucketsRequest{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, []kv.Bucket{"default"}, page.Buckets)
	require.Empty(t, page.Next)
	st, err := db.Status(ctx)
	require.NoError(t, err)
	require.Equal(t, "eu", st.Region)
	require.Zero(t, st.OpenTxns)

	id := client.NewOpID()
	require.NoError(t, db.Counter("c").Add(ctx, 1, client.WithOpID(id)))
	a, err := db.Outcome(ctx, id, client.WithAttempt(client.Attempt{Lane: r.Lane}))
	require.NoError(t, err)
	require.Equal(t, client.OutcomeApplied, a.Outcome)
}

// failing answers every call with one error.
type failing struct {
	kv.Service
	err error
}

func (f failing) Do(context.Context, kv.Request) (kv.Response, error) { return kv.Response{}, f.err }
func (f failing) Begin(context.Context, kv.Begin) (kv.TxnID, kv.Receipt, error) {
	return 0, kv.Receipt{}, f.err
}
func (f failing) Keys(context.Context, kv.KeysRequest) (kv.KeysPage, error) {
	return kv.KeysPage{}, f.err
}
func (f failing) Outcome(context.Context, kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	return kv.OutcomeAnswer{}, f.err
}
func (f failing) Digest(context.Context, kv.DigestRequest) (kv.Digest, error) {
	return kv.Digest{}, f.err
}
func (f failing) Buckets(context.Context, kv.BucketsRequest) (kv.BucketsPage, error) {
	return kv.BucketsPage{}, f.err
}

func TestErrorsPassTheDoorWhole(t *testing.T) {
	want := &kv.Error{Kind: kv.KindBound, Outcome: kv.NotApplied, Message: "stock of \"pears\" would fall below 0", RetryAfter: time.Second}
	db := inMemory(t, grpcapi.Config{Service: failing{memkv.New().Node(1, "eu"), want}})
	for name, call := range map[string]func() error{
		"do": func() error { return db.Counter("c").Add(ctx, 1) },
		"begin": func() error {
			return db.View(ctx, func(tx *client.Tx) error { _, err := tx.Counter("c").Get(ctx); return err })
		},
		"keys":    func() error { _, err := db.Service().Keys(ctx, kv.KeysRequest{Bucket: "b", Limit: 1}); return err },
		"digest":  func() error { _, err := db.Digest(ctx, ""); return err },
		"buckets": func() error { _, err := db.Service().Buckets(ctx, kv.BucketsRequest{Limit: 1}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			var e *client.Error
			require.ErrorAs(t, call(), &e)
			require.Equal(t, want, e)
		})
	}
}

func TestErrorsInTransactionsPassTheDoor(t *testing.T) {
	db := inMemory(t, grpcapi.Config{Service: memkv.New().Node(1, "eu")})
	svc := db.Service()
	id, _, err := svc.Begin(ctx, kv.Begin{})
	require.NoError(t, err)
	bad := kv.Object{Bucket: "b", Key: "k", Type: 99}
	_, err = svc.Execute(ctx, id, []kv.Op{{Object: bad, Verb: kv.VerbReset}}, nil)
	require.ErrorIs(t, err, kv.ErrInvalid)
	_, err = svc.Execute(ctx, id, []kv.Op{{}}, nil)
	require.ErrorIs(t, err, kv.ErrInvalid)
	_, err = svc.Execute(ctx, id, nil, []kv.Query{{}})
	require.ErrorIs(t, err, kv.ErrInvalid)
	_, err = svc.Keys(ctx, kv.KeysRequest{Txn: id})
	require.ErrorIs(t, err, kv.ErrInvalid)
	require.NoError(t, svc.Abort(ctx, id))
}

// who authenticates by a metadata entry.
func who(ctx context.Context) (grpcapi.Principal, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	name := strings.Join(md.Get("who"), "")
	if name == "nobody" {
		return "", kv.Errorf(kv.KindDenied, "nobody may not")
	}
	return grpcapi.Principal(name), nil
}

func as(name string) context.Context { return metadata.AppendToOutgoingContext(ctx, "who", name) }

// recorder remembers accesses and denies those to a bucket.
type recorder struct {
	mu     sync.Mutex
	seen   []grpcapi.Access
	denied kv.Bucket
}

func (r *recorder) Authorize(_ context.Context, a grpcapi.Access) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, a)
	if a.Bucket == r.denied && a.Bucket != "" {
		return kv.Errorf(kv.KindDenied, "%s may not touch %s", a.Principal, a.Bucket)
	}
	return nil
}

func (r *recorder) take() []grpcapi.Access {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

func TestEveryCallPassesTheAuthorizationPoint(t *testing.T) {
	auth := &recorder{denied: "secret"}
	db := inMemory(t, grpcapi.Config{Service: memkv.New().Node(1, "eu"), Authenticate: who, Authorizer: auth})
	auth.take()
	ada := as("ada")
	require.NoError(t, db.Bucket("b").Set("s").AddAll(ada, []string{"x", "y"}, client.Eventual()))
	add := grpcapi.Access{Principal: "ada", Bucket: "b", Type: client.TypeSetAW, Verb: kv.VerbAdd, Level: kv.LevelEventual}
	require.Contains(t, auth.take(), add)

	require.NoError(t, db.Update(ada, func(tx *client.Tx) error {
		require.NoError(t, tx.Bucket("b").Set("s").Add(ada, "z"))
		_, err := tx.Bucket("b").Counter("c").Get(ada)
		return err
	}, client.Eventual()))
	read := grpcapi.Access{Principal: "ada", Bucket: "b", Type: client.TypeCounter, Verb: grpcapi.VerbRead, Level: kv.LevelEventual}
	require.Equal(t, []grpcapi.Access{add, read}, auth.take(), "with the level that Begin named, once each")

	for name, call := range map[string]func(ctx context.Context) error{
		"write": func(ctx context.Context) error { return db.Bucket("secret").Counter("c").Add(ctx, 1) },
		"read":  func(ctx context.Context) error { _, err := db.Bucket("secret").Counter("c").Get(ctx); return err },
		"keys": func(ctx context.Context) error {
			_, err := db.Service().Keys(ctx, kv.KeysRequest{Bucket: "secret", Limit: 1})
			return err
		},
		"digest": func(ctx context.Context) error { _, err := db.Digest(ctx, "secret"); return err },
		"execute": func(ctx context.Context) error {
			return db.View(ctx, func(tx *client.Tx) error { _, err := tx.Bucket("secret").Counter("c").Get(ctx); return err })
		},
	} {
		require.ErrorIs(t, call(ada), client.ErrDenied, name)
	}
	for name, call := range map[string]func(ctx context.Context) error{
		"write": func(ctx context.Context) error { return db.Counter("c").Add(ctx, 1) },
		"keys": func(ctx context.Context) error {
			_, err := db.Service().Keys(ctx, kv.KeysRequest{Bucket: "b", Limit: 1})
			return err
		},
		"digest": func(ctx context.Context) error { _, err := db.Digest(ctx, ""); return err },
		"status": func(ctx context.Context) error { _, err := db.Status(ctx); return err },
		"buckets": func(ctx context.Context) error {
			_, err := db.Service().Buckets(ctx, kv.BucketsRequest{Limit: 1})
			return err
		},
		"begin": func(ctx context.Context) error { _, _, err := db.Service().Begin(ctx, kv.Begin{}); return err },
	} {
		require.ErrorIs(t, call(as("nobody")), client.ErrDenied, name)
	}
}

func TestTransactionsBelongToWhoBeganThem(t *testing.T) {
	lis := listen(t)
	start(t, lis, grpcapi.Config{Service: memkv.New().Node(1, "eu"), Authenticate: who})
	api := pb.NewDatabaseClient(raw(t, lis.Addr().String()))
	begun, err := api.Begin(as("ada"), &pb.BeginRequest{})
	require.NoError(t, err)
	id := begun.Transaction
	_, err = api.Execute(as("bob"), &pb.ExecuteRequest{Transaction: id})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = api.Commit(as("bob"), &pb.CommitRequest{Transaction: id})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = api.Keys(as("bob"), &pb.KeysRequest{Transaction: id, Bucket: "b", Limit: 1})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = api.Abort(as("bob"), &pb.AbortRequest{Transaction: id})
	require.NoError(t, err, "one that is gone is ended")
	_, err = api.Abort(as("nobody"), &pb.AbortRequest{Transaction: id})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = api.Execute(as("ada"), &pb.ExecuteRequest{Transaction: id})
	require.NoError(t, err, "it is still open")
	_, err = api.Commit(as("ada"), &pb.CommitRequest{Transaction: id})
	require.NoError(t, err)
}

func TestACommitMayDiscardWhatIsWritten(t *testing.T) {
	lis := listen(t)
	start(t, lis, grpcapi.Config{Service: memkv.New().Node(1, "eu")})
	api := pb.NewDatabaseClient(raw(t, lis.Addr().String()))
	add := []*pb.Operation{{Bucket: "b", Type: 1, Verb: &pb.Operation_Increment{Increment: 1}}}
	for _, discard := range []bool{true, false} {
		begun, err := api.Begin(ctx, &pb.BeginRequest{})
		require.NoError(t, err)
		_, err = api.Execute(ctx, &pb.ExecuteRequest{Transaction: begun.Transaction, Operations: add})
		require.NoError(t, err)
		done, err := api.Commit(ctx, &pb.CommitRequest{Transaction: begun.Transaction, Discard: discard})
		require.NoError(t, err)
		require.Equal(t, discard, done.Receipt.Commit == nil)
		_, err = api.Commit(ctx, &pb.CommitRequest{Transaction: begun.Transaction})
		require.Equal(t, codes.NotFound, status.Code(err), "it has ended")
	}
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	lis := listen(t)
	start(t, lis, grpcapi.Config{Service: memkv.New().Node(1, "eu")})
	api := pb.NewDatabaseClient(raw(t, lis.Addr().String()))
	junk := &pb.Options{Token: []byte("junk")}
	id := &pb.Attempt{Id: []byte{1}}
	for name, call := range map[string]func() error{
		"do":     func() error { _, err := api.Do(ctx, &pb.DoRequest{Options: junk}); return err },
		"begin":  func() error { _, err := api.Begin(ctx, &pb.BeginRequest{Options: junk}); return err },
		"commit": func() error { _, err := api.Commit(ctx, &pb.CommitRequest{Options: junk}); return err },
		"execute": func() error {
			_, err := api.Execute(ctx, &pb.ExecuteRequest{Operations: []*pb.Operation{{}}})
			return err
		},
		"query":   func() error { _, err := api.Execute(ctx, &pb.ExecuteRequest{Queries: []*pb.Query{{}}}); return err },
		"keys":    func() error { _, err := api.Keys(ctx, &pb.KeysRequest{}); return err },
		"outcome": func() error { _, err := api.Outcome(ctx, &pb.OutcomeRequest{Attempt: id}); return err },
		"digest":  func() error { _, err := api.Digest(ctx, &pb.DigestRequest{Options: junk}); return err },
		"buckets": func() error { _, err := api.Buckets(ctx, &pb.BucketsRequest{Limit: kv.MaxPage + 1}); return err },
	} {
		err := call()
		require.Equal(t, codes.InvalidArgument, status.Code(err), name)
		e, ok := convert.DecodeError(err)
		require.True(t, ok, name)
		require.Equal(t, kv.KindInvalid, e.Kind, name)
	}
}

func TestLargeMessagesAreRefused(t *testing.T) {
	db := inMemory(t, grpcapi.Config{Service: memkv.New().Node(1, "eu")})
	mib := strings.Repeat("x", 1<<20)
	s := db.Set("s")
	t.Run("request, at the client", func(t *testing.T) {
		err := s.AddAll(ctx, []string{mib, mib, mib, mib, mib})
		require.ErrorIs(t, err, client.ErrTooLarge)
		require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))
	})
	t.Run("the same in a transaction goes in parts", func(t *testing.T) {
		require.NoError(t, db.Update(ctx, func(tx *client.Tx) error {
			for i := range 17 {
				if err := tx.Set("s").Add(ctx, mib[i:]); err != nil {
					return err
				}
			}
			return nil
		}))
	})
	t.Run("answer", func(t *testing.T) {
		_, err := s.Members(ctx)
		require.ErrorIs(t, err, client.ErrTooLarge)
		o := []client.Op{{Object: db.Counter("c").Object(), Verb: kv.VerbIncrement, Int: 1}}
		_, err = db.Do(ctx, o, []client.Query{{Object: s.Object()}})
		require.ErrorIs(t, err, client.ErrTooLarge)
		require.Equal(t, client.OutcomeApplied, client.OutcomeOf(err))
		n, err := db.Counter("c").Get(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		err = db.View(ctx, func(tx *client.Tx) error { _, err := tx.Set("s").Members(ctx); return err })
		require.ErrorIs(t, err, client.ErrTooLarge)
	})
	t.Run("a large answer that just fits", func(t *testing.T) {
		require.NoError(t, s.Remove(ctx, mib))
		require.NoError(t, s.Remove(ctx, mib[1:]))
		members, err := s.Members(ctx)
		require.NoError(t, err)
		require.Len(t, members, 15)
	})
	t.Run("request, at the server", func(t *testing.T) {
		lis := listen(t)
		start(t, lis, grpcapi.Config{Service: memkv.New().Node(1, "eu"), MaxRequest: 2 << 20})
		api := pb.NewDatabaseClient(raw(t, lis.Addr().String()))
		_, err := api.Do(ctx, &pb.DoRequest{Options: &pb.Options{Token: make([]byte, 3<<20)}})
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		db, err := client.Open(ctx, lis.Addr().String(), client.Insecure())
		require.NoError(t, err)
		defer db.Close()
		err = db.Set("s").AddAll(ctx, []string{mib, mib, mib})
		require.ErrorIs(t, err, client.ErrTooLarge)
	})
}

func TestHealthAndReflection(t *testing.T) {
	lis := listen(t)
	s := start(t, lis, grpcapi.Config{Service: memkv.New().Node(1, "eu")})
	conn := raw(t, lis.Addr().String())
	for _, name := range []string{"", "theriac.v1.Database"} {
		s.SetServing(true)
		got, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: name})
		require.NoError(t, err)
		require.Equal(t, healthpb.HealthCheckResponse_SERVING, got.Status)
		s.SetServing(false)
		got, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: name})
		require.NoError(t, err)
		require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, got.Status)
	}
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{},
	}))
	answer, err := stream.Recv()
	require.NoError(t, err)
	var names []string
	for _, s := range answer.GetListServicesResponse().GetService() {
		names = append(names, s.Name)
	}
	require.Contains(t, names, "theriac.v1.Database")
	require.NoError(t, stream.CloseSend())
}

// blocking holds every Do until its context ends or release is closed.
type blocking struct {
	kv.Service
	entered chan struct{}
	release chan struct{}
}

func (b blocking) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	b.entered <- struct{}{}
	select {
	case <-b.release:
		return b.Service.Do(ctx, req)
	case <-ctx.Done():
		return kv.Response{}, kv.Errorf(kv.KindDeadline, "waiting: %w", ctx.Err()).WithOutcome(kv.OutcomeUnknown)
	}
}

func newBlocking() blocking {
	return blocking{memkv.New().Node(1, "eu"), make(chan struct{}, 16), make(chan struct{})}
}

func TestCancellationReachesTheServiceAndTheCaller(t *testing.T) {
	svc := newBlocking()
	db := inMemory(t, grpcapi.Config{Service: svc})
	t.Run("read", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		go func() { <-svc.entered; cancel() }()
		_, err := db.Counter("c").Get(ctx)
		require.ErrorIs(t, err, client.ErrDeadline)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))
	})
	t.Run("write", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		go func() { <-svc.entered; cancel() }()
		err := db.Counter("c").Add(ctx, 1)
		require.ErrorIs(t, err, client.ErrDeadline)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, client.OutcomeUnknown, client.OutcomeOf(err))
		var e *client.Error
		require.ErrorAs(t, err, &e)
		answer, err := db.Outcome(context.Background(), e.ID)
		require.NoError(t, err)
		require.Equal(t, client.OutcomeNotApplied, answer.Outcome)
	})
}

func TestStopLetsCallsFinish(t *testing.T) {
	for name, patient := range map[string]bool{"gracefully": true, "or cancels them": false} {
		t.Run(name, func(t *testing.T) {
			svc := newBlocking()
			lis := listen(t)
			s := grpcapi.New(grpcapi.Config{Service: svc})
			served := make(chan error, 1)
			go func() { served <- s.Serve(lis) }()
			db, err := client.Open(ctx, lis.Addr().String(), client.Insecure(), client.WithTries(1))
			require.NoError(t, err)
			defer db.Close()
			answered := make(chan error, 1)
			go func() { _, err := db.Counter("c").Get(ctx); answered <- err }()
			<-svc.entered
			stopCtx, cancel := context.WithTimeout(ctx, wait)
			if patient {
				close(svc.release)
			} else {
				cancel()
			}
			s.Stop(stopCtx)
			cancel()
			require.NoError(t, <-served)
			err = <-answered
			if patient {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, client.ErrUnavailable)
			}
			_, err = db.Counter("c").Get(ctx)
			require.ErrorIs(t, err, client.ErrUnavailable)
		})
	}
}

// A door that restarts on its address is found again, and a write that was cut off in between takes
// effect once.
func TestClientSurvivesARestartOverARealNetwork(t *testing.T) {
	store := memkv.New()
	node := store.Node(1, "eu")
	svc := blocking{node, make(chan struct{}, 16), make(chan struct{})}
	lis := listen(t)
	addr := lis.Addr().String()
	first := grpcapi.New(grpcapi.Config{Service: svc})
	served := make(chan error, 1)
	go func() { served <- first.Serve(lis) }()
	db, err := client.Open(ctx, addr, client.Insecure())
	require.NoError(t, err)
	defer db.Close()

	added := make(chan error, 1)
	go func() { added <- db.Counter("c").Add(ctx, 1) }()
	<-svc.entered // it is under way when the server ends
	gone, cancel := context.WithCancel(ctx)
	cancel()
	first.Stop(gone)
	require.NoError(t, <-served)
	node.Restart()

	lis, err = net.Listen("tcp", addr)
	require.NoError(t, err)
	start(t, lis, grpcapi.Config{Service: node})
	require.NoError(t, <-added)
	n, err := db.Counter("c").Get(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

func TestClientMovesToTheNextRegionOverARealNetwork(t *testing.T) {
	store := memkv.New()
	eu := grpcapi.New(grpcapi.Config{Service: store.Node(1, "eu")})
	lis, lis2 := listen(t), listen(t)
	served := make(chan error, 1)
	go func() { served <- eu.Serve(lis) }()
	start(t, lis2, grpcapi.Config{Service: store.Node(2, "us")})

	db, err := client.Open(ctx, lis.Addr().String()+","+lis2.Addr().String(), client.Insecure())
	require.NoError(t, err)
	defer db.Close()
	s := db.Session()
	var r client.Receipt
	require.NoError(t, s.Counter("c").Add(ctx, 1, client.WithReceipt(&r)))
	require.Equal(t, "eu", r.Region)
	eu.Stop(ctx)
	require.NoError(t, <-served)

	n, err := s.Counter("c").Get(ctx, client.WithReceipt(&r))
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	require.Equal(t, "us", r.Region)
	require.NoError(t, s.Counter("c").Add(ctx, 1, client.WithReceipt(&r)), "a write too: nothing was sent to the other")
	require.Equal(t, "us", r.Region)
}

func TestOpenSaysWhenNobodyAnswers(t *testing.T) {
	lis := listen(t)
	require.NoError(t, lis.Close())
	_, err := client.Open(ctx, lis.Addr().String(), client.Insecure(), client.WithTries(2))
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorContains(t, err, lis.Addr().String())
	_, err = client.Open(ctx, "localhost:bad port", client.Insecure(), client.WithTries(1))
	require.Error(t, err)
}

// A server that speaks another protocol gives an error, not a hang.
func TestOpenOfAForeignServer(t *testing.T) {
	lis := listen(t)
	s := grpc.NewServer()
	done := make(chan error, 1)
	go func() { done <- s.Serve(lis) }()
	defer func() { s.Stop(); <-done }()
	_, err := client.Open(ctx, lis.Addr().String(), client.Insecure())
	require.ErrorIs(t, err, client.ErrInvalid)
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	cert, pool := certificate(t)
	lis := listen(t)
	start(t, lis, grpcapi.Config{Service: memkv.New().Node(1, "eu"), TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	db, err := client.Open(ctx, lis.Addr().String(), client.WithTLS(&tls.Config{RootCAs: pool}))
	require.NoError(t, err)
	require.NoError(t, db.Counter("c").Add(ctx, 1))
	require.NoError(t, db.Close())
	_, err = client.Open(ctx, lis.Addr().String())
	require.ErrorIs(t, err, client.ErrInvalid, "no try changes whom it trusts")
	require.ErrorContains(t, err, "not to be trusted (x509: certificate signed by unknown authority): --tls-ca (client.WithTLS)")
	_, err = client.Open(ctx, lis.Addr().String(), client.Insecure(), client.WithTries(1))
	require.ErrorIs(t, err, client.ErrUnavailable)
}

// frame is an HTTP/2 frame.
func frame(kind, flags byte, stream uint32, length int, payload []byte) []byte {
	out := []byte{byte(length >> 16), byte(length >> 8), byte(length), kind, flags}
	return append(binary.BigEndian.AppendUint32(out, stream), payload...)
}

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

func TestMalformedFramesCloseTheConnection(t *testing.T) {
	lis := listen(t)
	start(t, lis, grpcapi.Config{Service: memkv.New().Node(1, "eu")})
	settings := frame(4, 0, 0, 0, nil)
	for name, sent := range map[string][]byte{
		"noise":            []byte(strings.Repeat("\xff\x00 noise", 100)),
		"another protocol": []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"huge frame":       append([]byte(preface), append(settings, frame(0, 0, 1, 1<<24-1, []byte("x"))...)...),
		"headers on 0":     append([]byte(preface), append(settings, frame(1, 4, 0, 1, []byte{0xff})...)...),
		"bad compression":  append([]byte(preface), append(settings, frame(1, 5, 1, 3, []byte{0xff, 0xff, 0xff})...)...),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", lis.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			_, err = conn.Write(sent)
			require.NoError(t, err)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(wait)))
			_, err = io.Copy(io.Discard, conn)
			var timeout net.Error
			require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the server must close the connection")
		})
	}
}

// A message that claims 4 GiB is refused on its first five bytes.
func TestHugeLengthIsRefusedUnread(t *testing.T) {
	lis := listen(t)
	start(t, lis, grpcapi.Config{Service: memkv.New().Node(1, "eu")})
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	defer transport.CloseIdleConnections()
	body, writer := io.Pipe() // never ends: the server must not wait for the rest
	go func() { _, _ = writer.Write([]byte{0, 0xff, 0xff, 0xff, 0xff, 'x'}) }()
	defer body.Close()
	timed, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	req, err := http.NewRequestWithContext(timed, http.MethodPost, "http://"+lis.Addr().String()+"/theriac.v1.Database/Do", body)
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/grpc")
	resp, err := transport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, "8", resp.Header.Get("Grpc-Status"), "RESOURCE_EXHAUSTED")
}

func TestConnectionsAreBounded(t *testing.T) {
	lis := listen(t)
	start(t, lis, grpcapi.Config{Service: memkv.New().Node(1, "eu"), MaxConnections: 1})
	first, err := client.Open(ctx, lis.Addr().String(), client.Insecure())
	require.NoError(t, err)
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, err = client.Open(short, lis.Addr().String(), client.Insecure())
	require.Error(t, err, "the second waits")
	require.NoError(t, first.Close())
	second, err := client.Open(ctx, lis.Addr().String(), client.Insecure())
	require.NoError(t, err, "its turn has come")
	require.NoError(t, second.Close())
}
