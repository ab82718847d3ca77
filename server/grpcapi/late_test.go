package grpcapi_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/test/bufconn"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// held is a region behind its port. Reads of "wait" and listings stay under way until they are let go,
// as those that wait for a region which is cut off; answers of writes may get lost.
type held struct {
	kv.Service
	entered atomic.Int64
	release chan struct{} // closed by letGo
	letGo   func()
	lose    func()      // nil, or ends the call of a write that was made
	drop    atomic.Bool // the connection breaks under the next call, before the node has read it
	retries atomic.Int64
	age     atomic.Int64 // that the last retry stated, or the last question
}

func (h *held) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	if len(req.Ops) == 0 {
		if req.Queries[0].Key == "wait" {
			h.entered.Add(1)
			<-h.release
		}
		return h.Service.Do(ctx, req)
	}
	if h.drop.CompareAndSwap(true, false) {
		return kv.Response{}, kv.Errorf(kv.KindUnavailable, "connection reset").WithOutcome(kv.OutcomeUnknown)
	}
	if req.Options.Attempt.Retry {
		h.retries.Add(1)
		h.age.Store(int64(req.Options.Attempt.Age))
	}
	resp, err := h.Service.Do(ctx, req)
	if lose := h.lose; err == nil && lose != nil {
		h.lose = nil
		lose()
		return resp, kv.Errorf(kv.KindUnavailable, "the answer got lost").WithOutcome(kv.OutcomeUnknown)
	}
	return resp, err
}

func (h *held) Keys(ctx context.Context, req kv.KeysRequest) (kv.KeysPage, error) {
	h.entered.Add(1)
	<-h.release
	return h.Service.Keys(ctx, req)
}

func (h *held) Outcome(ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	h.age.Store(int64(req.Attempt.Age))
	return h.Service.Outcome(ctx, req)
}

// upTheWay is how long a retry waits on its way to the node: longer than what a node adds to the age
// that a retry states, for ways and for stalls.
const upTheWay = time.Minute

// inBubbleWithRegion runs a test on synthetic time, with a region that has run for a while, its port,
// and a client there that has written once.
func inBubbleWithRegion(t *testing.T, streams uint32, test func(t *testing.T, h *held, db *client.DB)) {
	synctest.Test(t, func(t *testing.T) {
		c, err := embedded.StartCluster(t.Context(), embedded.ClusterOptions{Regions: []string{"eu"}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		release := make(chan struct{})
		h := &held{Service: c.Service("eu"), release: release, letGo: sync.OnceFunc(func() { close(release) })}
		lis := bufconn.Listen(1 << 20)
		s, served := grpcapi.New(grpcapi.Config{Service: h, MaxStreams: streams}), make(chan error, 1)
		go func() { served <- s.Serve(lis) }()
		t.Cleanup(func() { s.Stop(context.Background()); require.NoError(t, <-served) })
		dial := func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }
		db, err := client.Open(t.Context(), "localhost", client.Insecure(), client.WithDialer(dial))
		require.NoError(t, err)
		t.Cleanup(func() { h.letGo(); require.NoError(t, db.Close()) })
		time.Sleep(upTheWay) // the region has left marks of how far its log went
		require.NoError(t, db.Counter("n").Add(t.Context(), 1))
		time.Sleep(upTheWay)
		test(t, h, db)
	})
}

// A retry may wait for room in the pipe behind calls that wait themselves; its age is of before that.
func TestARetryThatWaitedForRoomInThePipeWritesNothingTwice(t *testing.T) {
	const underWay = 768 // calls of a pipe, as docs/reference/limits.md says
	inBubbleWithRegion(t, 0, func(t *testing.T, h *held, db *client.DB) {
		read := func(n int) {
			for range n {
				go func() { _, _ = db.Counter("wait").Get(t.Context()) }()
			}
			synctest.Wait()
		}
		read(underWay - 1)
		h.lose = func() { time.Sleep(time.Millisecond) } // others come meanwhile
		done := make(chan error, 1)
		go func() { done <- db.Counter("c").Add(t.Context(), 1) }()
		synctest.Wait()
		read(2)
		require.EqualValues(t, underWay-1, h.entered.Load(), "the pipe is full")
		time.Sleep(upTheWay)
		require.EqualValues(t, underWay, h.entered.Load(), "a read took the write's place")
		require.Zero(t, h.retries.Load(), "the retry waits")
		h.letGo()
		require.NoError(t, <-done)
		require.EqualValues(t, 1, h.retries.Load())
		require.Less(t, time.Duration(h.age.Load()), upTheWay/4, "its age is of before it waited")
		n, err := db.Counter("c").Get(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
	})
}

// A question waits for a stream of the connection; its age is of before that.
func TestAQuestionThatWaitedForAStreamIsAnsweredRightly(t *testing.T) {
	const streams = 8
	inBubbleWithRegion(t, streams, func(t *testing.T, h *held, db *client.DB) {
		short, cancel := context.WithCancel(t.Context())
		h.lose = func() { cancel(); time.Sleep(time.Millisecond) }
		err := db.Counter("c").Add(short, 1)
		var e *client.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, client.OutcomeUnknown, e.Outcome)
		for range streams - 1 { // one is the pipe's
			go func() { _, _ = db.Service().Keys(t.Context(), kv.KeysRequest{Bucket: "b", Limit: 1}) }()
		}
		synctest.Wait()
		require.EqualValues(t, streams-1, h.entered.Load())
		go func() { time.Sleep(upTheWay); h.letGo() }()
		begun := time.Now()
		answer, err := db.Outcome(t.Context(), e.ID)
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(begun), upTheWay, "it waited")
		require.Less(t, time.Duration(h.age.Load()), upTheWay/4, "its age is of before it waited")
		require.Equal(t, client.OutcomeApplied, answer.Outcome)
		n, err := db.Counter("c").Get(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
	})
}

// A client that was silent for hours loses its connection under its next write, before the node has read
// that. What it last heard of the lane is long gone from the log, which must not leave the outcome open.
func TestAWriteOfASilentClientThatLostItsConnectionIsMade(t *testing.T) {
	inBubbleWithRegion(t, 0, func(t *testing.T, h *held, db *client.DB) {
		others := kv.Op{
			Object: kv.Object{Bucket: kv.DefaultBucket, Key: "others", Type: client.TypeCounter},
			Verb:   kv.VerbIncrement, Int: 1,
		}
		for range 3 * 60 { // hours of minutes: longer than the log is kept for retries
			_, err := h.Service.Do(t.Context(), kv.Request{Ops: []kv.Op{others}})
			require.NoError(t, err)
			time.Sleep(time.Minute)
		}
		h.drop.Store(true)
		require.NoError(t, db.Counter("c").Add(t.Context(), 1))
		require.EqualValues(t, 1, h.retries.Load())
		n, err := db.Counter("c").Get(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
	})
}
