package strong

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
)

// line is a group of which every member applies at once what is proposed, if it is taken at all.
type line struct {
	mu      sync.Mutex
	members []*Certifier
	index   uint64
	fails   error // what Propose and ReadIndex return
	loses   bool  // proposals wait until their context ends
	log     [][]byte
}

func (l *line) Propose(ctx context.Context, p Proposal) error {
	entry, _, err := Pack([]any{p.Body}, 1<<20)
	if err != nil {
		return err
	}
	l.mu.Lock()
	fails, loses := l.fails, l.loses
	if fails == nil && !loses {
		l.applyLocked(entry)
	}
	l.mu.Unlock()
	if loses {
		<-ctx.Done()
		return kv.Errorf(kv.KindDeadline, "lost").WithOutcome(kv.OutcomeUnknown)
	}
	return fails
}

func (l *line) applyLocked(entry []byte) {
	l.index++
	l.log = append(l.log, entry)
	for _, m := range l.members {
		if _, err := m.Apply(l.index, entry); err != nil {
			panic(err)
		}
	}
}

func (l *line) ReadIndex(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.index, l.fails
}

func (l *line) set(fails error, loses bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails, l.loses = fails, loses
}

type clockwork struct{}

func (clockwork) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

type noneToObey struct{}

func (noneToObey) AppendSnapshot(dst []byte) []byte { return dst }
func (noneToObey) Restore([]byte) error             { return nil }
func (noneToObey) Check([]byte) error               { return nil }
func (noneToObey) Exists(certify.Access) bool       { return true }
func (noneToObey) Decide(body []byte, _ clock.Timestamp) certify.Decided {
	decided := certify.Decided{Answer: append([]byte("did "), body...), Commits: string(body) == "drop"}
	if string(body) == "fence" {
		decided.Ends = []clock.Region{2}
	}
	return decided
}
func (noneToObey) Drops(body []byte) kv.BucketDrop {
	return kv.BucketDrop{Bucket: kv.Bucket(body), Generation: 7}
}

func (noneToObey) Refound(uint64) {}

// seat is one member's Certifier and what it told.
type seat struct {
	*Certifier
	durable, begunUpTo clock.Timestamp
	begins, refounded  int
	alone              bool
}

func (l *line) seat(t *testing.T, region clock.Region, incarnation uint64) *seat {
	s := &seat{}
	s.Certifier = NewCertifier(CertifierConfig{
		Self: certify.Proposer{Region: region, Incarnation: incarnation}, Time: clockwork{},
		Durable: func() clock.Timestamp { return s.durable }, Elsewhere: func() bool { return !s.alone }, News: func() {},
		Begun:     func(upTo clock.Timestamp) { s.begins++; s.begunUpTo = upTo },
		Refounded: func() { s.refounded++ },
		Metadata:  noneToObey{},
	})
	l.mu.Lock()
	for i, entry := range l.log {
		_, err := s.Apply(uint64(i+1), entry)
		require.NoError(t, err)
	}
	l.members = append(l.members, s.Certifier)
	l.mu.Unlock()
	s.Join(l)
	s.Begin()
	t.Cleanup(s.Stop)
	return s
}

// put is a proposal that assigns a register.
func put(key string, at clock.Vector) *certify.Proposal {
	x := kv.Txn{Effects: []kv.Effect{{Object: kv.Object{Bucket: "b", Key: kv.Key(key), Type: 2}, Path: []byte{}, Op: []byte{1, 'x'}}}}
	return &certify.Proposal{
		Kind: certify.KindTransaction, Snapshot: at, Body: x.AppendAlone(nil),
		Writes: []certify.Write{{Access: certify.Point([]byte(key)), Covers: true}},
	}
}

func (s *seat) certify(t *testing.T, p *certify.Proposal) certify.Decision {
	t.Helper()
	ticket, err := s.Certify(t.Context(), p)
	require.NoError(t, err)
	<-ticket.Decided()
	d, err := ticket.Decision()
	require.NoError(t, err)
	return d
}

func TestEveryMemberDerivesTheSameRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{}
		a, b := l.seat(t, 1, 11), l.seat(t, 2, 22)
		first := a.certify(t, put("k", nil))
		require.Equal(t, certify.Committed, first.Verdict)
		require.Equal(t, certify.Aborted, b.certify(t, put("k", nil)).Verdict)
		seen := clock.VectorOf(clock.Entry{Time: first.Time}, clock.Entry{Region: 2, Time: 700})
		second := b.certify(t, put("k", seen))
		require.EqualValues(t, 701, second.Time, "above all that it has seen")
		require.Equal(t, a.Pending(0, 1<<20), b.Pending(0, 1<<20))
		records := a.Pending(0, 1<<20)
		require.Len(t, records, 2)
		last, err := kv.DecodeRecord(records[1].Encoded)
		require.NoError(t, err)
		require.Equal(t, clock.Lane{}, last.Lane)
		require.Equal(t, first.Time, last.Prev)
		require.Equal(t, seen, last.Deps)
		require.Equal(t, seen, last.Txns[0].Snapshot, "an assignment covers what its transaction has seen")
		require.Len(t, a.Pending(first.Time, 1<<20), 1)
		require.Len(t, a.Pending(0, 1), 1, "bounded, one at least")
		a.durable = first.Time
		require.Len(t, a.Pending(0, 1<<20), 1, "what is on disk is let go of")
		at, err := b.Position(t.Context())
		require.NoError(t, err)
		require.Equal(t, second.Time, at)
		v, _ := b.Check([]certify.Access{certify.Point([]byte("k"))}, first.Time)
		require.Equal(t, certify.Aborted, v)
	})
}

func TestALaterLifeEndsTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{}
		old := l.seat(t, 1, 11)
		first := old.certify(t, put("k", nil))
		young := l.seat(t, 1, 12)
		<-young.Begun()
		require.Equal(t, first.Time, young.begunUpTo)
		require.Equal(t, 1, young.begins)
		require.Equal(t, certify.Ended, old.certify(t, put("other", nil)).Verdict)
		require.Equal(t, certify.Committed, young.certify(t, put("other", nil)).Verdict)
	})
}

// TestARemovedRegionAsksNowAndThenForALife that it never gets: the log grows by little for it.
func TestARemovedRegionAsksNowAndThenForALife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{}
		us := l.seat(t, 1, 11)
		_, err := us.Command(t.Context(), []byte("fence"))
		require.NoError(t, err)
		before, removed := len(l.log), l.seat(t, 2, 22)
		<-time.After(10 * followPause)
		synctest.Wait()
		require.False(t, removed.HasBegun())
		l.mu.Lock()
		defer l.mu.Unlock()
		require.LessOrEqual(t, len(l.log)-before, 11)
		require.Greater(t, len(l.log), before)
	})
}

func TestAProposalGoesOnWhenItsCallerHasGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{}
		a := l.seat(t, 1, 11)
		<-a.Begun()
		l.set(nil, true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ticket, err := a.Certify(ctx, put("k", nil))
		require.NoError(t, err)
		require.False(t, a.Idle())
		select {
		case <-ticket.Decided():
			t.Fatal("nobody decided it")
		default:
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = a.ask(ctx, put("k", nil))
		require.ErrorIs(t, err, kv.ErrDeadline)
		require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
		a.cancel()
		a.wait.Wait()
		a.Stop()
		<-ticket.Decided()
		_, err = ticket.Decision()
		require.ErrorIs(t, err, kv.ErrUnavailable)
	})
}

// What the group does not take at first is made again until it does.
func TestAFollowedProposalIsDecidedInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{}
		a := l.seat(t, 1, 11)
		<-a.Begun()
		p := put("k", nil)
		ticket := a.register(p)
		l.set(kv.Errorf(kv.KindUnavailable, "no leader"), false)
		a.follow(ticket, Proposal{Number: ticket.number, Body: p})
		time.Sleep(3 * followPause)
		l.set(nil, false)
		<-ticket.Decided()
		d, err := ticket.Decision()
		require.NoError(t, err)
		require.Equal(t, certify.Committed, d.Verdict)
		require.True(t, a.Idle())
	})
}

func TestWhatIsNotHandedOverIsNotApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{fails: kv.Errorf(kv.KindUnavailable, "no leader")}
		a := l.seat(t, 1, 11)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := a.Certify(ctx, put("k", nil))
		require.ErrorIs(t, err, kv.ErrUnavailable, "this life has not begun")
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
		l.set(nil, false)
		<-a.Begun()
		l.set(kv.Errorf(kv.KindOverloaded, "too many"), false)
		_, err = a.Certify(t.Context(), put("k", nil))
		require.ErrorIs(t, err, kv.ErrOverloaded)
		_, err = a.Position(t.Context())
		require.ErrorIs(t, err, kv.ErrOverloaded)
		_, err = a.Deny(t.Context(), kv.OpID{1}, 0)
		require.ErrorIs(t, err, kv.ErrOverloaded)
		large := put("k", nil)
		large.Body = make([]byte, certify.MaxBatchBytes)
		_, err = a.Certify(t.Context(), large)
		require.ErrorIs(t, err, kv.ErrTooLarge)
		require.True(t, a.Idle())
		l.set(nil, false)
		require.Equal(t, certify.Committed, a.certify(t, put("k", nil)).Verdict)
		require.EqualValues(t, 4, a.next)
		require.EqualValues(t, 4, a.done, "what was refused is answered, too")
		a.Stop()
		_, err = a.Certify(t.Context(), put("k", nil))
		require.Error(t, err)
	})
}

func TestOutcomesAndCommandsAreDecidedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{}
		a, b := l.seat(t, 1, 11), l.seat(t, 2, 22)
		p := put("k", nil)
		p.ID = kv.OpID{1}
		first := a.certify(t, p)
		d, err := b.Deny(t.Context(), kv.OpID{1}, 0)
		require.NoError(t, err)
		require.Equal(t, certify.Committed, d.Verdict)
		require.Equal(t, first.Time, d.Time)
		d, err = b.Deny(t.Context(), kv.OpID{2}, 0)
		require.NoError(t, err)
		require.Equal(t, certify.Denied, d.Verdict)
		p = put("other", nil)
		p.ID = kv.OpID{2}
		require.Equal(t, certify.Denied, a.certify(t, p).Verdict)
		answer, err := a.Command(t.Context(), []byte("this"))
		require.NoError(t, err)
		require.Equal(t, "did this", string(answer))
	})
}

func TestACertifierIsRestoredFromItsSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{}
		a := l.seat(t, 1, 11)
		for _, key := range []string{"a", "b", "c"} {
			a.certify(t, put(key, nil))
		}
		a.durable = a.Pending(0, 1)[0].Time
		snapshot, index := a.Snapshot(), l.index
		require.Equal(t, index, a.Floor())
		l.mu.Lock()
		l.log = nil
		l.mu.Unlock()
		b := l.seat(t, 2, 22)
		require.NoError(t, b.Restore(index, snapshot))
		require.Equal(t, a.Pending(0, 1<<20), b.Pending(0, 1<<20))
		require.NoError(t, b.Restore(index, snapshot))
		require.Len(t, b.Pending(0, 1<<20), 2, "the same records again are the same")
		require.Equal(t, a.certify(t, put("d", nil)).Time, b.Pending(0, 1<<20)[2].Time)
		again := &seat{}
		again.Certifier = NewCertifier(a.c)
		require.NoError(t, again.Restore(index, snapshot))
		<-again.Begun()
		again.Stop()
		for n := range len(snapshot) {
			require.Error(t, b.Restore(index, snapshot[:n]))
		}
		require.Error(t, b.Restore(index, append([]byte{9}, snapshot[1:]...)))
	})
}

func TestRecordsThatWaitAreBoundedWhereOthersHaveThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{}
		a := l.seat(t, 1, 11)
		a.certify(t, put("k", nil))
		a.alone, a.bytes = true, MaxPendingBytes+1
		require.Len(t, a.Pending(0, 1<<20), 1, "nobody else has it")
		a.alone = false
		require.Empty(t, a.Pending(0, 1<<20))
	})
}

func TestAnEntryOfALaterVersionStopsTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{}
		a := l.seat(t, 1, 11)
		<-a.Begun()
		_, err := a.Apply(l.index+1, []byte{99})
		require.ErrorIs(t, err, kv.ErrCorrupt)
		require.ErrorIs(t, a.CheckEntry([]byte{99}), kv.ErrCorrupt)
		bad := put("k", nil)
		bad.Body, bad.Proposer, bad.Number = []byte{99}, a.c.Self, 1
		entry, n, err := Pack([]any{bad}, 1)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.NoError(t, a.CheckEntry(entry))
		_, err = a.Apply(l.index+1, entry)
		require.ErrorIs(t, err, kv.ErrCorrupt)
	})
}

func TestProposalsArePackedUpToALimit(t *testing.T) {
	var bodies []any
	for i := range 10 {
		p := put("k", nil)
		p.Proposer, p.Number, p.Answered = certify.Proposer{Region: 1, Incarnation: 1}, uint64(i+1), 0
		bodies = append(bodies, p)
	}
	_, n, err := Pack(bodies, 1<<20)
	require.NoError(t, err)
	require.Equal(t, 10, n)
	_, n, err = Pack(bodies, 1)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	bodies[3].(*certify.Proposal).Body = make([]byte, certify.MaxBatchBytes)
	entry, n, err := Pack(bodies, 1<<20)
	require.ErrorIs(t, err, kv.ErrTooLarge)
	require.Equal(t, 3, n)
	list, err := certify.DecodeBatch(entry)
	require.NoError(t, err)
	require.Len(t, list, 3)
}
