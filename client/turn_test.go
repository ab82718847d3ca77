package client

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

// hanging is a node that is stopped while stop is open: calls wait for it, or for their caller.
type hanging struct {
	*faulty
	lock    sync.Mutex
	stopped chan struct{} // closed when it goes on; nil: it runs
	slow    time.Duration // that a digest takes
}

func (h *hanging) stop() {
	h.lock.Lock()
	defer h.lock.Unlock()
	h.stopped = make(chan struct{})
}

func (h *hanging) goOn() {
	h.lock.Lock()
	defer h.lock.Unlock()
	close(h.stopped)
	h.stopped = nil
}

func (h *hanging) hang(ctx context.Context) error {
	h.lock.Lock()
	stopped := h.stopped
	h.lock.Unlock()
	if stopped == nil {
		return nil
	}
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return deadline(ctx, "call")
	}
}

func (h *hanging) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	if err := h.hang(ctx); err != nil {
		if len(req.Ops) > 0 {
			err = kv.Errorf(kv.KindDeadline, "call").WithOutcome(kv.OutcomeUnknown)
		}
		return kv.Response{}, err
	}
	return h.faulty.Do(ctx, req)
}

func (h *hanging) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	if err := h.hang(ctx); err != nil {
		return nil, err
	}
	return h.faulty.Execute(ctx, id, ops, queries)
}

func (h *hanging) Status(ctx context.Context) (kv.Status, error) {
	if err := h.hang(ctx); err != nil {
		return kv.Status{}, err
	}
	return h.faulty.Status(ctx)
}

func (h *hanging) Digest(ctx context.Context, req kv.DigestRequest) (kv.Digest, error) {
	select {
	case <-time.After(h.slow):
		return h.faulty.Digest(ctx, req)
	case <-ctx.Done():
		return kv.Digest{}, deadline(ctx, "digest")
	}
}

func inBubbleWithHanging(t *testing.T, test func(t *testing.T, r *regions, h *hanging)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegions()
		h := &hanging{faulty: r.eu}
		r.router.endpoints[0].svc = h
		test(t, r, h)
	})
}

func TestReadsLeaveASilentNode(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 10 * time.Second, time.Hour} {
		inBubbleWithHanging(t, func(t *testing.T, r *regions, h *hanging) {
			h.stop()
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			began := time.Now()
			var got Receipt
			_, err := r.db.Counter("c").Get(ctx, WithReceipt(&got))
			require.NoError(t, err)
			require.Equal(t, "us", got.Region)
			require.LessOrEqual(t, time.Since(began), min(timeout/2, silentTry))
			for range 10 {
				time.Sleep(penalty)
				began = time.Now()
				_, err = r.db.Counter("c").Get(ctx, WithReceipt(&got))
				if ctx.Err() != nil {
					break
				}
				require.NoError(t, err)
				require.Zero(t, time.Since(began), "it is passed over until it answers")
			}
			h.goOn()
			time.Sleep(2 * penalty)
			_, err = r.db.Counter("c").Get(context.Background(), WithReceipt(&got))
			require.NoError(t, err)
			time.Sleep(2 * penalty)
			_, err = r.db.Counter("c").Get(context.Background(), WithReceipt(&got))
			require.NoError(t, err)
			require.Equal(t, "eu", got.Region)
		})
	}
}

// Calls that are too short to find out have it found out for those after them.
func TestShortCallsFindASilentNode(t *testing.T) {
	inBubbleWithHanging(t, func(t *testing.T, r *regions, h *hanging) {
		h.stop()
		failed := 0
		for range 100 {
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			if _, err := r.db.Counter("c").Get(short); err != nil {
				require.ErrorIs(t, err, ErrDeadline)
				failed++
			}
			cancel()
		}
		require.LessOrEqual(t, failed, int(probeTimeout/(100*time.Millisecond))+2, "the one that had it asked, and the one under way at the end")
		h.goOn()
		synctest.Wait()
	})
}

func TestSlowIsNotSilent(t *testing.T) {
	inBubbleWithHanging(t, func(t *testing.T, r *regions, h *hanging) {
		h.slow = time.Minute
		var got Receipt
		_, err := r.db.Digest(ctx, "", WithReceipt(&got))
		require.NoError(t, err)
		require.Equal(t, "eu", got.Region)
		require.Equal(t, 1, r.eu.count("Digest"))
	})
}

// A write that may have reached the node stays with its lane; what was not sent, and what comes later,
// goes elsewhere.
func TestWritesAndASilentNode(t *testing.T) {
	inBubbleWithHanging(t, func(t *testing.T, r *regions, h *hanging) {
		h.stop()
		var got Receipt
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, WithReceipt(&got)), "it asks who serves first")
		require.Equal(t, "us", got.Region)
		h.goOn()
		time.Sleep(10 * penalty)
		_, err := r.db.Counter("c").Get(ctx) // has it probed
		require.NoError(t, err)
		time.Sleep(penalty)
		require.NoError(t, r.db.Counter("c").Add(ctx, 1, WithReceipt(&got)))
		require.Equal(t, "eu", got.Region)

		h.stop()
		bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		sent := make(chan error, 1)
		go func() { sent <- r.db.Counter("c").Add(bounded, 1) }()
		time.Sleep(silentTry + time.Millisecond)
		require.NoError(t, r.db.Counter("c").Add(bounded, 1, WithReceipt(&got)))
		require.Equal(t, "us", got.Region)
		err = <-sent
		require.ErrorIs(t, err, ErrDeadline)
		require.Equal(t, OutcomeUnknown, OutcomeOf(err))
		h.goOn()
		require.EqualValues(t, 3, counter(t, r.db, "c"))
	})
}

func TestTransactionsLeaveASilentNode(t *testing.T) {
	inBubbleWithHanging(t, func(t *testing.T, r *regions, h *hanging) {
		runs := 0
		bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		require.NoError(t, r.db.Update(bounded, func(tx *Tx) error {
			if runs++; runs == 1 {
				h.stop()
			}
			_, err := tx.Counter("c").Get(bounded)
			return err
		}))
		require.Equal(t, 2, runs)
		h.goOn()
		synctest.Wait()
	})
}

// What a commit would like to know before it is sent does not take the time that it has.
func TestCommitsDoNotWaitForASilentNodesStatus(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, time.Minute} {
		inBubbleWithHanging(t, func(t *testing.T, r *regions, h *hanging) {
			id, _, err := r.router.Begin(ctx, kv.Begin{})
			require.NoError(t, err)
			time.Sleep(2 * maxReadingAge)
			h.stop() // commits it still makes
			short, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			began := time.Now()
			_, err = r.router.Commit(short, id, kv.Options{})
			require.NoError(t, err)
			require.Equal(t, min(timeout/2, probeTimeout), time.Since(began))
			require.Equal(t, 1, r.eu.count("Commit"))
			h.goOn()
		})
	}
}

// A write that ran out of time on its way would be of unknown outcome, so none is sent at the last moment.
func TestStaleIsNotTriedAgainAtTheLastMoment(t *testing.T) {
	inBubble(t, "short", func(t *testing.T, r *regions) {
		stale := always(func() error { return kv.Errorf(kv.KindStale, "behind") })
		r.eu.before, r.us.before = stale, stale
		short, cancel := context.WithTimeout(ctx, shortestTry-time.Millisecond)
		defer cancel()
		_, err := r.db.Counter("c").Get(short)
		require.ErrorIs(t, err, ErrStale)
		require.Equal(t, 1, r.eu.count("Do"))
		require.Equal(t, 1, r.us.count("Do"), "each is asked once")
	})
	inBubble(t, "long", func(t *testing.T, r *regions) {
		stale := always(func() error { return kv.Errorf(kv.KindStale, "behind") })
		r.eu.before, r.us.before = stale, stale
		long, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, err := r.db.Counter("c").Get(long)
		require.ErrorIs(t, err, ErrStale)
		require.Equal(t, 3, r.eu.count("Do")+r.us.count("Do"), "one of them with all the time that is left")
		for i, want := range []time.Duration{tokenWait, tokenWait, 0} {
			require.Equal(t, want, append(r.eu.requests()[:1:1], append(r.us.requests()[:1:1], r.eu.requests()[1:]...)...)[i].Options.Wait)
		}
	})
}

func TestLargeRequestsWaitTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &remote{addr: "eu", large: newRoom(4 * maxPiped)}
		leave, err := r.enter(ctx, 3*maxPiped)
		require.NoError(t, err)
		_, err = r.enter(ctx, maxPiped)
		require.NoError(t, err, "small ones pass")
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = r.enter(short, maxPiped+1)
		require.ErrorIs(t, err, ErrDeadline)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, OutcomeNotApplied, OutcomeOf(err))
		node, silent := context.WithCancelCause(ctx)
		time.AfterFunc(time.Second, func() { silent(errSilent) })
		_, err = r.enter(context.WithValue(ctx, silentKey{}, node), maxPiped+1)
		require.ErrorIs(t, err, context.Canceled, "it goes elsewhere")
		leave()
		leave, err = r.enter(ctx, 100*maxPiped)
		require.NoError(t, err, "one that is larger than what its bytes are bounded by goes alone")
		entered := make(chan int, 2)
		enter := func(n int) {
			leave, err := r.enter(ctx, n*maxPiped)
			require.NoError(t, err)
			entered <- n
			time.Sleep(time.Second)
			leave()
		}
		go enter(4)
		synctest.Wait()
		go enter(2)
		synctest.Wait()
		require.Empty(t, entered)
		leave()
		require.Equal(t, 4, <-entered, "who came first")
		require.Equal(t, 2, <-entered)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Empty(t, r.large.units)
	})
}

// What is not sent yet waits for no silent node, whatever it waits for.
func TestOpeningALineEndsWithSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote, api := piping(newFakeStream())
		api.open = func(ctx context.Context) (*fakeStream, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		node, silent := context.WithCancelCause(ctx)
		opens := startWrite(context.WithValue(ctx, silentKey{}, node), remote)
		synctest.Wait()
		waits := startWrite(context.WithValue(ctx, silentKey{}, node), remote)
		synctest.Wait()
		silent(errSilent)
		for _, write := range []chan result{opens, waits} {
			err := (<-write).error
			require.Error(t, err)
			require.Equal(t, OutcomeNotApplied, OutcomeOf(err))
		}
		remote.pipe.close()
	})
}

// A call that waits to be sent when the node is found silent goes elsewhere; one that was sent does not.
func TestUnsentCallsLeaveASilentNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStream()
		s.hold = make(chan struct{})
		remote, _ := piping(s)
		node, silent := context.WithCancelCause(ctx)
		first := startWrite(context.WithValue(ctx, silentKey{}, node), remote)
		synctest.Wait() // it blocks the sender
		second := startWrite(context.WithValue(ctx, silentKey{}, node), remote)
		synctest.Wait()
		silent(errSilent)
		err := (<-second).error
		require.ErrorIs(t, err, ErrUnavailable)
		require.Equal(t, OutcomeNotApplied, OutcomeOf(err))
		synctest.Wait()
		require.Empty(t, first)
		close(s.hold)
		s.answer((<-s.got).Calls[0])
		require.NoError(t, (<-first).error)
		remote.pipe.close()
	})
}
