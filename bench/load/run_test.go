package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
)

// fakeService takes delay for each request and fails those that refuse says.
type fakeService struct {
	kv.Service
	delay  func(n int) time.Duration
	refuse func(n int) error

	mu   sync.Mutex
	n    int
	seen []kv.Request
}

func (s *fakeService) Do(ctx context.Context, r kv.Request) (kv.Response, error) {
	s.mu.Lock()
	n := s.n
	s.n++
	kept := r
	kept.Queries = slices.Clone(r.Queries) // the caller's
	s.seen = append(s.seen, kept)
	s.mu.Unlock()
	if s.delay != nil {
		pause(ctx, s.delay(n))
	}
	if ctx.Err() != nil {
		return kv.Response{}, kv.Errorf(kv.KindDeadline, "gave up: %w", ctx.Err())
	}
	if s.refuse != nil {
		if err := s.refuse(n); err != nil {
			return kv.Response{}, err
		}
	}
	return kv.Response{Values: make([]kv.Value, len(r.Queries))}, nil
}

func constant(d time.Duration) func(int) time.Duration { return func(int) time.Duration { return d } }

// small is a workload for tests: no warm-up, a second, ten callers.
func small() Config {
	c := Defaults()
	c.Concurrency, c.Duration, c.Warmup = 10, time.Second, 0
	return c
}

func TestClosedLoopRunsAsFastAsItGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeService{delay: constant(10 * time.Millisecond)}
		r, err := Run(t.Context(), client.New(s), small())
		require.NoError(t, err)
		require.Equal(t, uint64(1000), r.Done())
		require.InDelta(t, 1000, r.Rate(), 1)
		require.Equal(t, 10*time.Millisecond, r.Latency().Quantile(0.5))
		require.Equal(t, 10*time.Millisecond, r.Latency().Max())
		require.Zero(t, r.Failed())
	})
}

// TestOpenLoopCountsFromWhenOperationsWereDue is the reason for the open loop: one stall of a second
// shows in everything that was due meanwhile.
func TestOpenLoopCountsFromWhenOperationsWereDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeService{delay: func(n int) time.Duration {
			if n == 0 {
				return time.Second
			}
			return 0
		}}
		c := small()
		c.Concurrency, c.Duration, c.Rate = 1, 2*time.Second, 100
		r, err := Run(t.Context(), client.New(s), c)
		require.NoError(t, err)
		require.Equal(t, uint64(200), r.Done())
		require.InDelta(t, float64(500*time.Millisecond), float64(r.Latency().Quantile(0.75)), float64(20*time.Millisecond))
		require.Equal(t, time.Second, r.Latency().Max())
		require.Zero(t, r.Latency().Min())
	})
}

func TestOpenLoopKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeService{delay: constant(time.Millisecond)}
		c := small()
		c.Rate = 250
		r, err := Run(t.Context(), client.New(s), c)
		require.NoError(t, err)
		require.Equal(t, uint64(250), r.Done())
		require.Equal(t, time.Millisecond, r.Latency().Max())
	})
}

func TestWarmupIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeService{delay: constant(100 * time.Millisecond)}
		c := small()
		c.Warmup, c.Concurrency = time.Second, 1
		r, err := Run(t.Context(), client.New(s), c)
		require.NoError(t, err)
		require.Equal(t, uint64(10), r.Done())
		require.Equal(t, 20, s.n)
	})
}

func TestMixDecidesWhatIsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeService{delay: constant(time.Millisecond)}
		c := small()
		c.Mix = Mix{CounterAdd: 2, RegisterSet: 1, SetAdd: 1, Read: 4}
		c.KeySize, c.ValueSize, c.Durability, c.Consistency = 12, 30, client.Applied, client.Consistency{Level: client.LevelEventual}
		r, err := Run(t.Context(), client.New(s), c)
		require.NoError(t, err)
		total := float64(r.Done())
		for k, want := range []float64{0.25, 0.125, 0.125, 0.5} {
			require.InDelta(t, want, float64(r.Kinds[k].Latency.Count())/total, 0.05, Kind(k))
		}
		types := map[kv.Type]int{}
		for _, req := range s.seen {
			for _, op := range req.Ops {
				require.Len(t, op.Key, 12)
				require.Equal(t, kv.Bucket("bench"), op.Bucket)
				require.Equal(t, kv.DurabilityApplied, req.Options.Durability)
				if op.Verb != kv.VerbIncrement {
					require.Len(t, op.Data, 30)
				}
			}
			for _, q := range req.Queries {
				types[q.Type]++
				require.Equal(t, kv.LevelEventual, req.Options.Level)
			}
		}
		require.Len(t, types, 3, "reads go to all that is written")
		require.InDelta(t, types[client.TypeCounter], types[client.TypeSetAW], float64(len(s.seen))/10)
	})
}

func TestReadsAloneReadCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeService{delay: constant(time.Millisecond)}
		c := small()
		c.Mix = Mix{Read: 1}
		_, err := Run(t.Context(), client.New(s), c)
		require.NoError(t, err)
		for _, req := range s.seen {
			require.Equal(t, client.TypeCounter, req.Queries[0].Type)
		}
	})
}

func TestOneSeedGivesOneChoice(t *testing.T) {
	choose := func(seed uint64) (out []kv.Request) {
		synctest.Test(t, func(t *testing.T) {
			s := &fakeService{delay: constant(10 * time.Millisecond)}
			c := small()
			c.Concurrency, c.Seed, c.Mix = 1, seed, Mix{1, 1, 1, 1}
			_, err := Run(t.Context(), client.New(s), c)
			require.NoError(t, err)
			out = s.seen
		})
		return out
	}
	require.Equal(t, choose(1), choose(1))
	require.NotEqual(t, choose(1), choose(2))
}

func TestFailuresAreCountedAndTheRunGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeService{delay: constant(10 * time.Millisecond), refuse: func(n int) error {
			if n%2 == 0 {
				return kv.Errorf(kv.KindInvalid, "an odd failure")
			}
			return nil
		}}
		c := small()
		c.Concurrency = 1
		r, err := Run(t.Context(), client.New(s), c)
		require.NoError(t, err)
		require.Equal(t, []uint64{33, 34}, []uint64{r.Done(), r.Failed()}, "a failure costs its caller 10 ms more")
		require.ErrorIs(t, r.First, kv.ErrInvalid)

		var text bytes.Buffer
		_, err = r.WriteTo(&text)
		require.NoError(t, err)
		require.Contains(t, text.String(), "first failure: an odd failure")
	})
}

func TestARunWithoutSuccessIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeService{refuse: func(int) error { return kv.Errorf(kv.KindReadOnly, "no writes") }}
		c := small()
		_, err := Run(t.Context(), client.New(s), c)
		require.ErrorIs(t, err, kv.ErrReadOnly)
		c.Warmup = time.Second
		_, err = Run(t.Context(), client.New(s), c)
		require.ErrorContains(t, err, "warm-up")
	})
}

func TestContextEndsARunEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeService{delay: constant(10 * time.Millisecond)}
		c := small()
		c.Duration = time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		r, err := Run(ctx, client.New(s), c)
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(begun))
		require.NotZero(t, r.Done())

		c.Rate = 1
		cancel()
		_, err = Run(ctx, client.New(s), c)
		require.ErrorIs(t, err, kv.ErrDeadline)
	})
}

func TestOperationsHaveATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeService{delay: constant(time.Hour)}
		c := small()
		c.Timeout = 200 * time.Millisecond
		_, err := Run(t.Context(), client.New(s), c)
		require.ErrorIs(t, err, kv.ErrDeadline)
	})
}

func TestSettingsThatMakeNoSenseAreRefused(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`mix ""`:      func(c *Config) { c.Mix = Mix{} },
		`mix "add=`:   func(c *Config) { c.Mix = Mix{MaxWeight, 1} },
		"concurrency": func(c *Config) { c.Concurrency = 0 },
		"keys 0":      func(c *Config) { c.Keys = 0 },
		"key size":    func(c *Config) { c.KeySize = MinKeySize - 1 },
		"value size":  func(c *Config) { c.ValueSize = kv.MaxElement + 1 },
		"elements":    func(c *Config) { c.Elements = MaxKeys + 1 },
		"duration":    func(c *Config) { c.Duration = 0 },
		"timeout":     func(c *Config) { c.Timeout = -1 },
		"rate -1":     func(c *Config) { c.Rate = -1 },
		"rate NaN":    func(c *Config) { c.Rate = math.NaN() },
	} {
		c := Defaults()
		require.NoError(t, c.Validate())
		change(&c)
		_, err := Run(t.Context(), nil, c)
		require.ErrorIs(t, err, kv.ErrInvalid)
		require.ErrorContains(t, err, want)
	}
}

// The memory of a run does not grow with its callers, but for the values that they hold.
func TestMemoryOfCallersIsBounded(t *testing.T) {
	c := Defaults()
	c.Concurrency, c.ValueSize = MaxConcurrency, MaxValues/MaxConcurrency
	require.NoError(t, c.Validate())
	c.ValueSize++
	require.ErrorIs(t, c.Validate(), kv.ErrTooLarge)
	require.Less(t, uintptr(maxTallies)*unsafe.Sizeof(tally{}), uintptr(8<<20))
}

func TestMixIsParsedAndPrinted(t *testing.T) {
	m, err := ParseMix("add=1, set=2,set-add=3,read=4")
	require.NoError(t, err)
	require.Equal(t, Mix{1, 2, 3, 4}, m)
	again, err := ParseMix(m.String())
	require.NoError(t, err)
	require.Equal(t, m, again)
	for _, bad := range []string{"", "add", "add=", "add=-1", "adds=1", "add=1,,read=1"} {
		_, err := ParseMix(bad)
		require.ErrorIs(t, err, kv.ErrInvalid, bad)
	}
	require.Equal(t, "kind(9)", Kind(9).String())
	require.Panics(t, func() { m.pick(10) })
}

func TestFillWritesEveryKeyThatReadsMayMeet(t *testing.T) {
	for name, c := range map[string]struct {
		mix  Mix
		want map[kv.Type]int
	}{
		"adds":       {Mix{CounterAdd: 1}, map[kv.Type]int{client.TypeCounter: 2500}},
		"reads only": {Mix{Read: 1}, map[kv.Type]int{client.TypeCounter: 2500}},
		"no counters": {Mix{RegisterSet: 1, SetAdd: 1, Read: 1},
			map[kv.Type]int{client.TypeRegisterLWW: 2500, client.TypeSetAW: 2500}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &fakeService{}
			config := small()
			config.Mix, config.Keys, config.Durability = c.mix, 2500, client.Applied
			require.NoError(t, Fill(t.Context(), client.New(s), config))
			got, keys := map[kv.Type]int{}, map[kv.Key]bool{}
			for _, req := range s.seen {
				require.Equal(t, kv.DurabilityApplied, req.Options.Durability)
				for _, op := range req.Ops {
					got[op.Type]++
					keys[op.Key] = true
				}
			}
			require.Equal(t, c.want, got)
			require.Len(t, keys, 2500)
		})
	}
}

func TestFillKeepsTransactionsSmall(t *testing.T) {
	s := &fakeService{}
	c := small()
	c.Mix, c.Keys, c.ValueSize = Mix{RegisterSet: 1}, 10, 150<<10
	require.NoError(t, Fill(t.Context(), client.New(s), c))
	require.Len(t, s.seen, 4)
	for _, req := range s.seen {
		require.LessOrEqual(t, len(req.Ops), 3)
	}
}

func TestFillStopsAtTheFirstFailure(t *testing.T) {
	s := &fakeService{refuse: func(n int) error {
		if n > 0 {
			return kv.Errorf(kv.KindReadOnly, "no writes")
		}
		return nil
	}}
	c := small()
	c.Keys = 100_000
	require.ErrorIs(t, Fill(t.Context(), client.New(s), c), kv.ErrReadOnly)
	require.Less(t, s.n, 20)
	c.Keys = 0
	require.ErrorIs(t, Fill(t.Context(), client.New(s), c), kv.ErrInvalid)
}

func TestReportForPeopleAndPrograms(t *testing.T) {
	r := &Report{Config: small(), Elapsed: 2 * time.Second, First: errors.New("one failed")}
	r.Kinds[CounterAdd].Latency.Record(50 * time.Microsecond)
	r.Kinds[CounterAdd].Latency.Record(3 * time.Millisecond)
	r.Kinds[Read].Latency.Record(2 * time.Second)
	r.Kinds[Read].Failed = 1
	var text bytes.Buffer
	n, err := r.WriteTo(&text)
	require.NoError(t, err)
	require.Equal(t, int64(text.Len()), n)
	for _, want := range []string{"operation", "add", "read", "all", "50.2us", "3.00ms", "2.00s", "first failure: one failed"} {
		require.Contains(t, text.String(), want)
	}
	require.NotContains(t, text.String(), "set-add")

	b, err := json.Marshal(r)
	require.NoError(t, err)
	var back struct {
		Mix  string
		Rows []row
	}
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, "add=1,read=1", back.Mix)
	require.Len(t, back.Rows, 3)
	require.Equal(t, uint64(3), back.Rows[2].Done)
	require.InDelta(t, 1.5, back.Rows[2].PerSecond, 1e-9)

	require.Zero(t, (&Report{}).Rate())
	_, err = r.WriteTo(brokenWriter{})
	require.ErrorIs(t, err, errBroken)
}

var errBroken = errors.New("no more room")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }
