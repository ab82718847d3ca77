package txn

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
	"github.com/theriac-db/theriac/storage"
	"github.com/theriac-db/theriac/txn/strong/certify"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

// order is a consensus of one: it certifies at once, and writes what is committed to the region's store.
type order struct {
	t *testing.T
	r *region

	metadata *meta.State

	mu     sync.Mutex
	state  *certify.State
	index  uint64
	number uint64
	held   []func() // decisions that are held back; nil and hold false: none are
	hold   bool
	came   chan struct{} // has a value for each proposal that was held back, up to its capacity
	fails  error         // what Certify, Position and Deny return
	copies int           // what Copies returns
	opened func()        // run after the next snapshot of a transaction that writes is opened; may be nil
}

// withOrder makes a region serve level strong.
func withOrder(t *testing.T, r *region) *order {
	o := &order{t: t, r: r, metadata: meta.New(), came: make(chan struct{}, 4), copies: 2}
	o.state = certify.New(o.metadata)
	o.decide(&certify.Proposal{Kind: certify.KindBegin})
	r.Coordinator.strong = o
	r.shell.do(func(m *causal.Machine) { require.NoError(t, m.AddRegion(clock.Lane{})) })
	t.Cleanup(func() { o.letGo(); r.leaving.Wait() })
	return o
}

func (o *order) OpenStrong(ctx context.Context, v clock.Vector) (Snapshot, error) {
	if err := o.r.shell.Wait(ctx, v, false); err != nil {
		return nil, err
	}
	s, err := o.r.shell.Open(true, false)
	if then := o.opened; then != nil {
		o.opened = nil
		then()
	}
	return s, err
}

func (o *order) decide(p *certify.Proposal) certify.Decision {
	p.Proposer = certify.Proposer{Region: 1, Incarnation: 1}
	if p.Kind != certify.KindBegin {
		o.number++
		p.Number, p.Answered = o.number, o.number-1
	}
	var b certify.Builder
	ok, err := b.Add(p)
	require.NoError(o.t, err)
	require.True(o.t, ok)
	o.index++
	list, err := o.state.Apply(o.index, b.Take())
	require.NoError(o.t, err)
	if list[0].IsRecord() {
		o.apply(&list[0])
	}
	return list[0]
}

// apply writes a commit as its record, and shows it.
func (o *order) apply(d *certify.Decision) {
	rec := &kv.Record{Header: kv.Header{Time: d.Time, Prev: d.Prev, Deps: d.Proposal.Snapshot}}
	if d.Proposal.Kind == certify.KindCommand {
		rec.Kind, rec.Drop = kv.RecordDrop, o.metadata.Drops(d.Proposal.Body)
	} else {
		x, err := kv.DecodeAlone(d.Proposal.Body)
		require.NoError(o.t, err)
		for _, w := range d.Proposal.Writes {
			if w.Covers {
				x.Snapshot = d.Proposal.Snapshot
			}
		}
		rec.Kind, rec.Txns = kv.RecordGroup, []kv.Txn{x}
	}
	job := &laneJob{build: func(b *storage.Batch) error { b.Sync(); return b.Apply(rec, rec.Append(nil)) }, durable: func() {}, done: make(chan error, 1)}
	require.NoError(o.t, o.r.store.Submit(context.Background(), job))
	require.NoError(o.t, <-job.done)
	o.r.shell.do(func(m *causal.Machine) {
		require.Equal(o.t, causal.Apply, m.Offer(rec.Header, wall()).Action)
		m.RemoteApplied(rec.Header)
		m.Synced(clock.Lane{}, rec.Time)
	})
}

type ticket struct {
	decided chan struct{}
	d       certify.Decision
	err     error
}

func (k *ticket) Decided() <-chan struct{}            { return k.decided }
func (k *ticket) Decision() (certify.Decision, error) { return k.d, k.err }

func (o *order) Certify(_ context.Context, p *certify.Proposal) (Ticket, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fails != nil {
		return nil, o.fails
	}
	k := &ticket{decided: make(chan struct{})}
	do := func() { k.d = o.decide(p); close(k.decided) }
	if o.hold {
		o.held = append(o.held, do)
		select {
		case o.came <- struct{}{}:
		default:
		}
	} else {
		do()
	}
	return k, nil
}

// holdBack has later proposals wait for letGo.
func (o *order) holdBack() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hold = true
}

// awaitHeld waits for one more proposal that is held back.
func (o *order) awaitHeld() { <-o.came }

func (o *order) letGo() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, do := range o.held {
		do()
	}
	o.held, o.hold = nil, false
}

func (o *order) Copies() int { return o.copies }

func (o *order) Position(context.Context) (clock.Timestamp, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state.Last(), o.fails
}

func (o *order) Check(reads []certify.Access, at clock.Timestamp) (certify.Verdict, certify.Conflict) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state.Check(reads, at)
}

func (o *order) Deny(_ context.Context, id kv.OpID, after clock.Timestamp) (certify.Decision, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fails != nil {
		return certify.Decision{}, o.fails
	}
	return o.decide(&certify.Proposal{Kind: certify.KindDenial, ID: id, After: after}), nil
}

var strong = kv.Options{Level: kv.LevelStrong}

// beginStrong begins an interactive transaction.
func (r *region) beginStrong() kv.TxnID {
	r.t.Helper()
	id, receipt, err := r.Begin(r.t.Context(), kv.Begin{Options: strong})
	require.NoError(r.t, err)
	require.Equal(r.t, kv.LevelStrong, receipt.Level)
	return id
}

// within does operations and queries in a transaction.
func (r *region) within(id kv.TxnID, qs []kv.Query, ops ...kv.Op) []kv.Value {
	r.t.Helper()
	values, err := r.Execute(r.t.Context(), id, ops, qs)
	require.NoError(r.t, err)
	return values
}

func ask(o kv.Object) []kv.Query { return []kv.Query{{Object: o}} }

func TestStrongTransactionsCommitInTheCertifiersLane(t *testing.T) {
	r := fresh(t)
	withOrder(t, r)
	first := r.must(strong, assign("a", "1"), increment("n", 2), element(kv.VerbAdd, "s", "x"))
	require.Zero(t, first.Commit.Region)
	require.NotZero(t, first.Commit.Time)
	require.Equal(t, first.Commit.Time, first.Token.Seen.At(0))
	require.Equal(t, kv.LevelStrong, first.Level)
	r.must(kv.Options{}, increment("n", 3))
	second := r.must(strong, assign("a", "2"), increment("n", 5))
	require.Greater(t, second.Commit.Time, first.Commit.Time)
	require.Greater(t, second.Commit.Time, second.Snapshot.Max(), "above all that it has seen")
	resp, err := r.Do(t.Context(), kv.Request{Options: strong, Queries: []kv.Query{
		{Object: object("a", crdt.RegisterLWW)}, {Object: object("n", crdt.Counter)}, {Object: object("s", crdt.SetAW)}}})
	require.NoError(t, err)
	require.Equal(t, "2", string(resp.Values[0].Bytes))
	require.EqualValues(t, 10, resp.Values[1].Int)
	require.Equal(t, []string{"x"}, texts(resp.Values[2].List))
	require.Equal(t, second.Commit.Time, resp.Receipt.Snapshot.At(0))
	require.Zero(t, r.shell.openSnapshots())
}

// Each has two transactions begin, do what it says and commit, one after the other.
func TestCertification(t *testing.T) {
	register, other := object("a", crdt.RegisterLWW), object("b", crdt.RegisterLWW)
	set := object("s", crdt.SetAW)
	type part struct {
		reads []kv.Query
		keys  string // prefix of a listing; "" none
		ops   []kv.Op
	}
	for name, c := range map[string]struct {
		first, second part
		conflict      string // "": both commit
	}{
		"lost update":               {part{ask(register), "", []kv.Op{assign("a", "1")}}, part{ask(register), "", []kv.Op{assign("a", "2")}}, `key "a"`},
		"write skew":                {part{ask(register), "", []kv.Op{assign("b", "1")}}, part{ask(other), "", []kv.Op{assign("a", "2")}}, `key "b"`},
		"blind assignments":         {part{ops: []kv.Op{assign("a", "1")}}, part{ops: []kv.Op{assign("a", "2")}}, `key "a"`},
		"blind increments":          {part{ops: []kv.Op{increment("n", 1)}}, part{ops: []kv.Op{increment("n", 1)}}, ""},
		"increment that was read":   {part{ops: []kv.Op{increment("n", 1)}}, part{ask(object("n", crdt.Counter)), "", []kv.Op{assign("a", "2")}}, `key "n"`},
		"different keys":            {part{ask(register), "", []kv.Op{assign("a", "1")}}, part{ask(other), "", []kv.Op{assign("b", "2")}}, ""},
		"element that was asked":    {part{ops: []kv.Op{element(kv.VerbAdd, "s", "x")}}, part{[]kv.Query{{Object: set, Kind: kv.QueryContains, Data: []byte("x")}}, "", []kv.Op{assign("a", "2")}}, `key "s"`},
		"another element":           {part{ops: []kv.Op{element(kv.VerbAdd, "s", "y")}}, part{[]kv.Query{{Object: set, Kind: kv.QueryContains, Data: []byte("x")}}, "", []kv.Op{assign("a", "2")}}, ""},
		"element of a set read":     {part{ops: []kv.Op{element(kv.VerbAdd, "s", "y")}}, part{ask(set), "", []kv.Op{assign("a", "2")}}, `key "s"`},
		"key below a prefix listed": {part{ops: []kv.Op{assign("user/new", "1")}}, part{keys: "user/", ops: []kv.Op{assign("a", "2")}}, "bucket"},
		"key elsewhere":             {part{ops: []kv.Op{assign("uses", "1")}}, part{keys: "user/", ops: []kv.Op{assign("a", "2")}}, ""},
		"removal of what was read":  {part{ops: []kv.Op{{Object: set, Verb: kv.VerbReset}}}, part{ask(set), "", []kv.Op{assign("a", "2")}}, `key "s"`},
		"addition to what goes":     {part{ops: []kv.Op{element(kv.VerbAdd, "s", "y")}}, part{ops: []kv.Op{{Object: set, Verb: kv.VerbReset}}}, `key "s"`},
		"only reads":                {part{ops: []kv.Op{assign("a", "1")}}, part{reads: ask(register)}, `key "a"`},
		"only reads, elsewhere":     {part{ops: []kv.Op{assign("a", "1")}}, part{reads: ask(other)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := fresh(t)
			withOrder(t, r)
			ids := [2]kv.TxnID{r.beginStrong(), r.beginStrong()}
			for i, p := range []part{c.first, c.second} {
				r.within(ids[i], p.reads, p.ops...)
				if p.keys != "" {
					_, err := r.Keys(t.Context(), kv.KeysRequest{Txn: ids[i], Bucket: register.Bucket, Prefix: kv.Key(p.keys), Limit: 10})
					require.NoError(t, err)
				}
			}
			first, err := r.Commit(t.Context(), ids[0], kv.Options{})
			require.NoError(t, err)
			_, err = r.Commit(t.Context(), ids[1], kv.Options{})
			require.Zero(t, r.shell.openSnapshots())
			if c.conflict == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, kv.ErrAborted)
			require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
			require.ErrorContains(t, err, c.conflict)
			require.Equal(t, first.Commit.Time, kv.TokenOf(err).Seen.At(0), "a retry waits for what it met")
		})
	}
}

func TestStrongConditionsHoldInTheWholeCluster(t *testing.T) {
	r := fresh(t)
	withOrder(t, r)
	set := func(expect *kv.Expectation, value string) (kv.Response, error) {
		op := assign("a", value)
		op.Expect = expect
		return r.Do(t.Context(), kv.Request{Options: strong, Ops: []kv.Op{op}})
	}
	_, err := set(&kv.Expectation{Absent: true}, "1")
	require.NoError(t, err)
	_, err = set(&kv.Expectation{Absent: true}, "2")
	require.ErrorIs(t, err, kv.ErrAborted)
	require.NotEmpty(t, kv.TokenOf(err).Seen)
	_, err = set(&kv.Expectation{Value: []byte("1")}, "2")
	require.NoError(t, err)
	id := r.beginStrong()
	op := assign("b", "1")
	op.Expect = &kv.Expectation{Absent: true}
	r.within(id, nil, op)
	r.must(strong, assign("b", "0"))
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.ErrorIs(t, err, kv.ErrAborted, "what a condition was judged by counts as read")
	_, err = r.Do(t.Context(), kv.Request{Options: strong, Ops: []kv.Op{increment("n", 1<<62), increment("n", 1<<62)}})
	require.ErrorIs(t, err, kv.ErrBound)
	require.Zero(t, r.shell.openSnapshots())
}

// A condition that does not hold is an answer like a value that was read: the newest.
func TestABrokenStrongConditionIsJudged(t *testing.T) {
	r := fresh(t)
	o := withOrder(t, r)
	r.must(strong, assign("a", "1"))
	swap := assign("a", "3")
	swap.Expect = &kv.Expectation{Value: []byte("2")}
	var met kv.Receipt
	o.opened = func() { met = r.must(strong, assign("a", "2")) }
	_, err := r.Do(t.Context(), kv.Request{Options: strong, Ops: []kv.Op{swap}})
	require.True(t, kv.IsConflict(err), "the snapshot was older than the value that was expected: %v", err)
	require.Equal(t, met.Commit.Time, kv.TokenOf(err).Seen.At(0))
	r.must(strong, swap)
	_, err = r.Do(t.Context(), kv.Request{Options: strong, Ops: []kv.Op{swap}})
	require.ErrorIs(t, err, kv.ErrAborted)
	require.False(t, kv.IsConflict(err), "it does not hold: %v", err)
	o.opened = func() { o.fails = kv.Errorf(kv.KindUnavailable, "no majority") }
	_, err = r.Do(t.Context(), kv.Request{Options: strong, Ops: []kv.Op{swap}})
	require.ErrorIs(t, err, kv.ErrUnavailable, "nobody can tell whether it holds")
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	require.Zero(t, r.shell.openSnapshots())
}

// What a retry finds may be what its first try has written, or the first try may still be on its way.
func TestAStrongRetryThatFailsAsksForTheFirstTry(t *testing.T) {
	r := fresh(t)
	o := withOrder(t, r)
	do := func(id byte, retry bool, ops ...kv.Op) (kv.Receipt, error) {
		options := kv.Options{Level: kv.LevelStrong, Attempt: kv.Attempt{ID: kv.OpID{id}, Retry: retry}}
		resp, err := r.Do(t.Context(), kv.Request{Options: options, Ops: ops})
		require.Zero(t, r.shell.openSnapshots())
		return resp.Receipt, err
	}
	create := assign("a", "1")
	create.Expect = &kv.Expectation{Absent: true}
	first, err := do(1, false, create)
	require.NoError(t, err)
	again, err := do(1, true, create)
	require.NoError(t, err, "its own first try broke the condition")
	require.Equal(t, first.Commit, again.Commit)
	require.Equal(t, first.Commit.Time, again.Token.Seen.At(0))

	_, err = do(2, true, create)
	require.ErrorIs(t, err, kv.ErrAborted)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	_, err = do(2, false, assign("b", "late"))
	require.ErrorIs(t, err, kv.ErrAborted, "the first try comes too late")
	require.Empty(t, r.text("b"))

	o.opened = func() { r.must(strong, assign("a", "2")) }
	_, err = do(3, true, assign("a", "3"))
	require.True(t, kv.IsConflict(err), "%v", err)
	_, err = do(3, false, assign("a", "late"))
	require.ErrorIs(t, err, kv.ErrAborted, "the first try would meet no conflict")
	require.Equal(t, "2", r.text("a"))

	o.opened = func() { o.fails = kv.Errorf(kv.KindUnavailable, "no majority") }
	_, err = do(4, true, assign("a", "4"))
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err), "of the first try")
	o.fails = nil
	r.Refuse(kv.Errorf(kv.KindReadOnly, "its disk is broken"))
	_, err = do(4, true, assign("a", "4"))
	require.ErrorIs(t, err, kv.ErrReadOnly)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
}

// Who goes by what was read without a commit has it judged, and nothing of the transaction is written.
func TestADiscardedStrongTransactionIsJudged(t *testing.T) {
	r := fresh(t)
	o := withOrder(t, r)
	discard := func(id kv.TxnID) error {
		t.Helper()
		receipt, err := r.Commit(t.Context(), id, kv.Options{Discard: true})
		require.Zero(t, receipt.Commit)
		require.Zero(t, r.shell.openSnapshots())
		return err
	}
	begin := func() kv.TxnID {
		id := r.beginStrong()
		r.within(id, ask(object("a", crdt.RegisterLWW)), assign("b", "lost"))
		return id
	}
	require.NoError(t, discard(begin()))
	id := begin()
	met := r.must(strong, assign("a", "1"))
	err := discard(id)
	require.True(t, kv.IsConflict(err))
	require.Equal(t, met.Commit.Time, kv.TokenOf(err).Seen.At(0))
	id = begin()
	r.must(strong, assign("b", "1"))
	require.NoError(t, discard(id), "what it would have replaced does not count")
	id = begin()
	o.fails = kv.Errorf(kv.KindUnavailable, "no majority")
	require.ErrorIs(t, discard(id), kv.ErrUnavailable)
	o.fails = nil
	id, _, err = r.Begin(t.Context(), kv.Begin{})
	require.NoError(t, err)
	r.within(id, nil, assign("b", "lost"))
	require.NoError(t, discard(id), "there is nothing to judge at other levels")
	require.Equal(t, "1", r.text("b"))
}

func TestAStrongCommitOfUnknownOutcomeKeepsItsSnapshot(t *testing.T) {
	r := fresh(t)
	o := withOrder(t, r)
	o.holdBack()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	attempt := kv.Attempt{ID: kv.OpID{7}}
	req := kv.Request{Options: kv.Options{Level: kv.LevelStrong, Attempt: attempt}, Ops: []kv.Op{assign("a", "1")}}
	_, err := r.Do(ctx, req)
	require.ErrorIs(t, err, kv.ErrDeadline)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	require.Equal(t, 1, r.shell.openSnapshots(), "it may still be written")
	o.letGo()
	r.leaving.Wait()
	require.Zero(t, r.shell.openSnapshots())
	again, err := r.Do(t.Context(), req)
	require.NoError(t, err, "a retry gets the first one's outcome")
	answer, err := r.Outcome(t.Context(), kv.OutcomeRequest{Attempt: attempt})
	require.NoError(t, err)
	require.Equal(t, kv.Applied, answer.Outcome)
	require.Equal(t, again.Receipt.Commit, answer.Commit)
	require.Equal(t, answer.Commit.Time, answer.Token.Seen.At(0))
}

func TestAStrongOperationThatIsAskedForIsNotWrittenLater(t *testing.T) {
	r := fresh(t)
	withOrder(t, r)
	attempt := kv.Attempt{ID: kv.OpID{8}}
	answer, err := r.Outcome(t.Context(), kv.OutcomeRequest{Attempt: attempt})
	require.NoError(t, err)
	require.Equal(t, kv.NotApplied, answer.Outcome)
	_, err = r.Do(t.Context(), kv.Request{Options: kv.Options{Level: kv.LevelStrong, Attempt: attempt}, Ops: []kv.Op{assign("a", "1")}})
	require.ErrorIs(t, err, kv.ErrAborted)
	require.Empty(t, r.text("a"))
	require.Zero(t, r.shell.openSnapshots())
}

func TestWhatIsNotHandedToTheCertifierIsNotApplied(t *testing.T) {
	r := fresh(t)
	o := withOrder(t, r)
	o.fails = kv.Errorf(kv.KindUnavailable, "no majority")
	_, err := r.Do(t.Context(), kv.Request{Options: strong, Ops: []kv.Op{assign("a", "1")}})
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	_, err = r.Do(t.Context(), kv.Request{Options: strong, Queries: ask(object("a", crdt.RegisterLWW))})
	require.ErrorIs(t, err, kv.ErrUnavailable)
	_, err = r.Outcome(t.Context(), kv.OutcomeRequest{Attempt: kv.Attempt{ID: kv.OpID{1}}})
	require.ErrorIs(t, err, kv.ErrUnavailable)
	id := r.beginStrong()
	r.within(id, ask(object("a", crdt.RegisterLWW)))
	_, err = r.Commit(t.Context(), id, kv.Options{})
	require.ErrorIs(t, err, kv.ErrUnavailable, "what was read can't be judged")
	require.Zero(t, r.shell.openSnapshots())
	r.must(kv.Options{}, assign("a", "causal calls go on"))
}

func TestLevelStrongIsRefusedWithoutConsensus(t *testing.T) {
	r := fresh(t)
	_, err := r.Do(t.Context(), kv.Request{Options: strong, Ops: []kv.Op{assign("a", "1")}})
	require.ErrorIs(t, err, kv.ErrLevelRefused)
	_, _, err = r.Begin(t.Context(), kv.Begin{Options: strong, ReadOnly: true})
	require.ErrorIs(t, err, kv.ErrLevelRefused)
	_, err = r.Outcome(t.Context(), kv.OutcomeRequest{Attempt: kv.Attempt{ID: kv.OpID{1}}})
	require.ErrorIs(t, err, kv.ErrInvalid)
}

func TestStrongTokensAreChecked(t *testing.T) {
	r := fresh(t)
	withOrder(t, r)
	o := strong
	o.Token = kv.Token{Cluster: kv.ClusterID{9}, Seen: clock.VectorOf(clock.Entry{Time: 1})}
	for _, readOnly := range []bool{true, false} {
		_, _, err := r.Begin(t.Context(), kv.Begin{Options: o, ReadOnly: readOnly})
		require.ErrorIs(t, err, kv.ErrInvalid)
	}
	o.Token = kv.Token{Cluster: testCluster, Seen: clock.VectorOf(clock.Entry{Time: clock.At(wall())})}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, readOnly := range []bool{true, false} {
		_, _, err := r.Begin(ctx, kv.Begin{Options: o, ReadOnly: readOnly})
		require.ErrorIs(t, err, kv.ErrStale, "a strong commit that is not here yet is waited for")
	}
	require.Zero(t, r.shell.openSnapshots())
}

func TestAStrongTransactionReadsNoMoreThanIsRemembered(t *testing.T) {
	reads := &readSet{}
	var err error
	n := 0
	for ; err == nil; n++ {
		err = reads.leaf(place{object: object(fmt.Sprint("key", n), crdt.Counter)})
	}
	require.ErrorIs(t, err, kv.ErrTooLarge)
	require.LessOrEqual(t, n, MaxReads+1)
	reads = &readSet{}
	for n, err = 0, nil; err == nil; n++ {
		err = reads.leaf(place{object: object(strings.Repeat("k", 1000)+fmt.Sprint(n), crdt.Counter)})
	}
	require.ErrorIs(t, err, kv.ErrTooLarge)
	require.LessOrEqual(t, n, MaxReadBytes/1000+1)
	require.NoError(t, reads.leaf(place{object: object(strings.Repeat("k", 1000)+"0", crdt.Counter)}), "what is known costs nothing")
}
