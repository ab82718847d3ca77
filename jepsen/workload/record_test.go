package workload

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/kv"
)

// scripted is a region that answers what a test says. Its commits are stamped one after the other.
type scripted struct {
	kv.Service
	do      func(req kv.Request) error // what becomes of a one-shot transaction
	commit  func(o kv.Options) error   // of an interactive one
	outcome func() (kv.OutcomeAnswer, error)
	time    clock.Timestamp
	begun   int
}

func (s *scripted) receipt(writes bool) kv.Receipt {
	r := kv.Receipt{Lane: clock.Lane{Region: 1}, Snapshot: clock.VectorOf(clock.Entry{Region: 1, Time: s.time})}
	seen := r.Snapshot
	if writes {
		s.time++
		r.Commit = clock.Stamp{Region: 1, Time: s.time}
		seen = seen.With(1, s.time)
	}
	r.Token = kv.Token{Cluster: kv.ClusterID{1}, Seen: seen}
	return r
}

func (s *scripted) Do(_ context.Context, req kv.Request) (kv.Response, error) {
	if s.do != nil {
		if err := s.do(req); err != nil {
			return kv.Response{}, err
		}
	}
	return kv.Response{Values: make([]kv.Value, len(req.Queries)), Receipt: s.receipt(len(req.Ops) > 0)}, nil
}

func (s *scripted) Begin(context.Context, kv.Begin) (kv.TxnID, kv.Receipt, error) {
	s.begun++
	return kv.TxnID(s.begun), s.receipt(false), nil
}

func (s *scripted) Execute(_ context.Context, _ kv.TxnID, _ []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	values := make([]kv.Value, len(queries))
	for i := range values {
		values[i].Present, values[i].Int = true, int64(s.begun)
	}
	return values, nil
}

func (s *scripted) Commit(_ context.Context, _ kv.TxnID, o kv.Options) (kv.Receipt, error) {
	if s.commit != nil {
		if err := s.commit(o); err != nil {
			return kv.Receipt{}, err
		}
	}
	return s.receipt(true), nil
}

func (s *scripted) Abort(context.Context, kv.TxnID) error { return nil }

func (s *scripted) Outcome(context.Context, kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	return s.outcome()
}

func (s *scripted) Status(context.Context) (kv.Status, error) {
	return kv.Status{Region: "eu", Incarnation: 1, Regions: []kv.RegionStatus{{Region: 1, Name: "eu"}}}, nil
}

// withWorker runs a test on synthetic time with a worker in a scripted region.
func withWorker(t *testing.T, test func(t *testing.T, s *scripted, w *worker)) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{time: 1}
		db := client.New(s)
		load, err := Find("counter")
		require.NoError(t, err)
		r, err := Start(load, Config{Regions: []string{"eu"}, DB: func(string) *client.DB { return db }})
		require.NoError(t, err)
		require.NoError(t, r.learn(t.Context()))
		test(t, s, r.newWorker(0))
		h, err := r.History()
		require.NoError(t, err)
		for i := range h.Txns {
			require.Equal(t, i+1, h.Txns[i].ID)
		}
	})
}

var (
	increment = plan{ops: []history.Op{add("n", 1)}}
	look      = plan{ops: []history.Op{read("counter", "n")}}
)

// TestErrorsAreOutcomes: what an error says of the write is what the history says, and how the worker goes on.
func TestErrorsAreOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		plan    plan
		outcome history.Outcome
		process int // afterwards
		session int
	}{
		"done":                       {nil, increment, history.OK, 1, 1},
		"refused":                    {kv.Errorf(kv.KindAborted, "no"), increment, history.Fail, 1, 1},
		"overloaded":                 {kv.Errorf(kv.KindOverloaded, "no"), increment, history.Fail, 1, 1},
		"read only":                  {kv.Errorf(kv.KindReadOnly, "no"), increment, history.Fail, 1, 1},
		"answer lost":                {kv.Errorf(kv.KindUnavailable, "no").WithOutcome(kv.OutcomeUnknown), increment, history.Unknown, 2, 1},
		"answer to a read lost":      {kv.Errorf(kv.KindUnavailable, "no").WithOutcome(kv.OutcomeUnknown), look, history.Fail, 1, 1},
		"deadline":                   {context.DeadlineExceeded, increment, history.Unknown, 2, 1},
		"deadline of a read":         {context.DeadlineExceeded, look, history.Fail, 1, 1},
		"error of nobody":            {errors.New("broken"), increment, history.Unknown, 2, 1},
		"written, answer too large":  {kv.Errorf(kv.KindTooLarge, "no").WithOutcome(kv.Applied), increment, history.OK, 1, 1},
		"lost":                       {kv.Errorf(kv.KindLost, "no"), look, history.Fail, 1, 2},
		"lost, while writing":        {kv.Errorf(kv.KindLost, "no"), increment, history.Fail, 1, 2},
		"lost, and what it had sent": {kv.Errorf(kv.KindLost, "no").WithOutcome(kv.OutcomeUnknown), increment, history.Unknown, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			withWorker(t, func(t *testing.T, s *scripted, w *worker) {
				s.do = func(kv.Request) error { return c.err }
				done := w.do(t.Context(), c.plan)
				require.Equal(t, c.outcome, done.Outcome)
				require.Equal(t, done.Outcome == history.OK, done.Error == "")
				require.Equal(t, done.Outcome != history.Unknown, done.Ended())
				require.Equal(t, 1, done.Process)
				require.Equal(t, c.process, w.process)
				require.Equal(t, c.session, w.session)
			})
		})
	}
}

// TestALostSessionIsLeftBehind: neither its token nor those that were handed over are used again.
func TestALostSessionIsLeftBehind(t *testing.T) {
	withWorker(t, func(t *testing.T, s *scripted, w *worker) {
		require.Equal(t, history.OK, w.do(t.Context(), increment).Outcome)
		require.False(t, w.token.IsZero())
		s.do = func(kv.Request) error { return kv.Errorf(kv.KindLost, "a crash took it back") }
		require.Equal(t, history.Vector{1: 2}, w.do(t.Context(), look).TokenBefore)
		s.do = nil
		handed := look
		handed.handed = true
		after := w.do(t.Context(), handed)
		require.Equal(t, 2, after.Session)
		require.Nil(t, after.TokenBefore)
	})
}

// TestAllTriesAreOneTransaction: whether it is asked for, sent again, or left open, and however often.
func TestAllTriesAreOneTransaction(t *testing.T) {
	withWorker(t, func(t *testing.T, s *scripted, w *worker) {
		require.Equal(t, history.OK, w.do(t.Context(), increment).Outcome)
		again, asked := 0, 0
		s.do = func(req kv.Request) error {
			if a := req.Options.Attempt; !a.Retry || s.begun < again%3 {
				s.begun++ // counts the tries in vain
				return kv.Errorf(kv.KindUnavailable, "the answer got lost").WithOutcome(kv.OutcomeUnknown)
			}
			again++
			s.begun = 0
			return nil
		}
		s.outcome = func() (kv.OutcomeAnswer, error) {
			asked++
			switch asked % 3 {
			case 0:
				return kv.OutcomeAnswer{}, kv.Errorf(kv.KindUnavailable, "not now")
			case 1:
				s.time++
				return kv.OutcomeAnswer{Outcome: kv.Applied, Commit: clock.Stamp{Region: 1, Time: s.time}}, nil
			}
			return kv.OutcomeAnswer{Outcome: kv.NotApplied}, nil
		}
		outcomes, ids := map[history.Outcome]int{}, map[string]bool{}
		for n := 2; n <= 100; n++ {
			done := w.do(t.Context(), increment)
			require.Equal(t, n, done.ID, "one transaction for each operation")
			require.False(t, ids[done.OpID])
			ids[done.OpID] = true
			outcomes[done.Outcome]++
			require.Equal(t, done.Outcome == history.OK, done.Commit != nil)
		}
		require.Len(t, outcomes, 3)
		require.Positive(t, again)
		require.Positive(t, asked)
	})
}

// TestAClosureThatRunsAgainIsOneTransaction, with the operations of its last run.
func TestAClosureThatRunsAgainIsOneTransaction(t *testing.T) {
	withWorker(t, func(t *testing.T, s *scripted, w *worker) {
		s.commit = func(kv.Options) error {
			if s.begun < 3 {
				return kv.Errorf(kv.KindAborted, "it was written since")
			}
			return nil
		}
		done := w.do(t.Context(), plan{ops: []history.Op{read("counter", "n"), add("n", 1)}, interactive: true})
		require.Equal(t, 1, done.ID)
		require.Equal(t, history.OK, done.Outcome)
		require.Len(t, done.Ops, 2)
		require.EqualValues(t, 3, done.Ops[0].Got.Int, "of the third run")
	})
}

// TestWhatIsTakenBackHasFailed: its writes must never be seen.
func TestWhatIsTakenBackHasFailed(t *testing.T) {
	withWorker(t, func(t *testing.T, _ *scripted, w *worker) {
		p := increment
		p.interactive, p.giveUp = true, true
		done := w.do(t.Context(), p)
		require.Equal(t, history.Fail, done.Outcome)
		require.Len(t, done.Ops, 1)
	})
}

// TestTheSnapshotOfARetryIsUnknown: the answer names the write itself, not what it saw.
func TestTheSnapshotOfARetryIsUnknown(t *testing.T) {
	withWorker(t, func(t *testing.T, _ *scripted, w *worker) {
		c := w.call(increment)
		stamp := clock.Stamp{Region: 1, Time: 9}
		c.t.Ops = c.plan.ops
		c.receipt = kv.Receipt{Commit: stamp, Snapshot: clock.VectorOf(clock.Entry(stamp))}
		c.settle(nil)
		require.Equal(t, &history.Stamp{Region: 1, Time: 9}, c.t.Commit)
		require.Nil(t, c.t.Snapshot)
		c.receipt.Snapshot = nil
		c.settle(nil)
		require.Equal(t, history.Vector{}, c.t.Snapshot, "nothing, which is not the same as unknown")
	})
}

// TestNothingToDoIsNotRecorded: a closure that finds nothing to do, and a region that there is no way to.
func TestNothingToDoIsNotRecorded(t *testing.T) {
	withWorker(t, func(t *testing.T, _ *scripted, w *worker) {
		require.Nil(t, w.do(t.Context(), plan{interactive: true, then: func([]history.Op) []history.Op { return nil }}))
		w.run.config.DB = func(string) *client.DB { return nil }
		require.Nil(t, w.do(t.Context(), look))
	})
}

// TestNumbersOfTheDatabaseBecomeThoseOfTheHeader: a region that came to nothing leaves a gap.
func TestNumbersOfTheDatabaseBecomeThoseOfTheHeader(t *testing.T) {
	load, err := Find("counter")
	require.NoError(t, err)
	r, err := Start(load, Config{Regions: []string{"ap", "eu", "late"}, DB: func(string) *client.DB { return nil }, Now: func() time.Duration { return 0 }})
	require.NoError(t, err)
	r.numbers = map[string]int{"eu": 1, "gone": 2, "ap": 3}
	r.record.add(history.Txn{
		Process: 1, Region: "ap", Level: "causal", Outcome: history.OK, Ops: []history.Op{add("n", 1)},
		Snapshot: history.Vector{1: 5, 2: 6}, TokenAfter: history.Vector{3: 7}, Commit: &history.Stamp{Region: 3, Time: 7},
	})
	h, err := r.History()
	require.NoError(t, err)
	require.Equal(t, []string{"eu", "ap", "late"}, h.Header.Regions)
	require.Equal(t, history.Vector{1: 5}, h.Txns[0].Snapshot)
	require.Equal(t, history.Vector{2: 7}, h.Txns[0].TokenAfter)
	require.Equal(t, &history.Stamp{Region: 2, Time: 7}, h.Txns[0].Commit)
}

// TestFaultsHaveTheirTimes, and one that nobody ended has no end.
func TestFaultsHaveTheirTimes(t *testing.T) {
	withWorker(t, func(t *testing.T, _ *scripted, w *worker) {
		targets := []string{"eu"}
		w.run.Fault(history.Fault{Kind: "pause", Targets: targets})
		targets[0] = "changed"
		time.Sleep(time.Second)
		end := w.run.Fault(history.Fault{Kind: "kill", Start: 77, End: 99})
		time.Sleep(time.Second)
		end(map[string]int{"nodes killed": 1})
		end(nil)
		h, err := w.run.History()
		require.NoError(t, err)
		require.Equal(t, []history.Fault{
			{Kind: "pause", Targets: []string{"eu"}, Start: 1, End: -1},
			{Kind: "kill", Start: int64(time.Second), End: int64(2 * time.Second), Effects: map[string]int{"nodes killed": 1}},
		}, h.Faults)
	})
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	load, err := Find("bank")
	require.NoError(t, err)
	db := func(string) *client.DB { return nil }
	for says, c := range map[string]Config{
		"no regions":        {DB: db},
		"no way to reach":   {Regions: []string{"eu"}},
		"1001 workers":      {Regions: []string{"eu"}, DB: db, Workers: 1001},
		"-1 workers":        {Regions: []string{"eu"}, DB: db, Workers: -1},
		"rate -1":           {Regions: []string{"eu"}, DB: db, Rate: -1},
		"-3 transactions":   {Regions: []string{"eu"}, DB: db, Txns: -3},
		"call timeout -1s":  {Regions: []string{"eu"}, DB: db, CallTimeout: -time.Second},
		"region 2 of":       {Regions: []string{"eu", "eu"}, DB: db},
		"is empty or named": {Regions: []string{""}, DB: db},
		"beat -1ns":         {Regions: []string{"eu"}, DB: db, Beat: -1},
	} {
		_, err := Start(load, c)
		require.ErrorContains(t, err, says)
	}
	_, err = Start(Workload{Name: "mine"}, Config{Regions: []string{"eu"}, DB: db})
	require.ErrorContains(t, err, `"mine" is none`)
}

// TestRegionsThatDoNotAnswerAreTold, before the load and in the end.
func TestRegionsThatDoNotAnswerAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		load, err := Find("counter")
		require.NoError(t, err)
		db := client.New(dead{})
		r, err := Start(load, Config{Regions: []string{"eu"}, DB: func(string) *client.DB { return db }})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorContains(t, r.Load(ctx), `no region of ["eu"] answers: region eu is down`)
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorContains(t, r.Finish(ctx), "asking region eu for what it shows in the end: region eu is down")
	})
}

type dead struct{ kv.Service }

func (dead) Status(context.Context) (kv.Status, error) {
	return kv.Status{}, kv.Errorf(kv.KindUnavailable, "region eu is down")
}
