package torture

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

// liar is a node that breaks one promise, from its second verification on.
type liar struct {
	kv.Service
	do      func(l *liar, ctx context.Context, req kv.Request) (kv.Response, error)
	outcome func(l *liar, ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error)
	lies    *atomic.Int64
}

func (l *liar) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	if l.do == nil || len(req.Ops) == 0 && len(req.Options.Token.Seen) == 0 {
		return l.Service.Do(ctx, req)
	}
	return l.do(l, ctx, req)
}

func (l *liar) Outcome(ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	if l.outcome == nil {
		return l.Service.Outcome(ctx, req)
	}
	return l.outcome(l, ctx, req)
}

// sometimes is true for one of eight calls, and counts them.
func (l *liar) sometimes() bool { return l.lies.Add(1)%8 == 0 }

// TestVerificationCatchesLiars puts nodes that lie under the same load and the same cuts: a harness that
// does not notice would prove nothing.
func TestVerificationCatchesLiars(t *testing.T) {
	type response = kv.Response
	for name, c := range map[string]liar{
		"acknowledges and writes nothing": {do: func(l *liar, ctx context.Context, req kv.Request) (response, error) {
			if len(req.Ops) > 0 && l.sometimes() {
				req.Ops, req.Options.Attempt = nil, kv.Attempt{}
			}
			return l.Service.Do(ctx, req)
		}},
		"writes twice": {do: func(l *liar, ctx context.Context, req kv.Request) (response, error) {
			if len(req.Ops) > 0 && req.Ops[0].Verb == kv.VerbIncrement && l.sometimes() {
				again := req
				again.Options.Attempt = kv.Attempt{}
				if _, err := l.Service.Do(ctx, again); err != nil {
					return response{}, err
				}
			}
			return l.Service.Do(ctx, req)
		}},
		"writes half": {do: func(l *liar, ctx context.Context, req kv.Request) (response, error) {
			if len(req.Ops) > 3 && l.sometimes() {
				req.Ops = req.Ops[:2]
			}
			return l.Service.Do(ctx, req)
		}},
		"writes what it refuses": {do: func(l *liar, ctx context.Context, req kv.Request) (response, error) {
			resp, err := l.Service.Do(ctx, req)
			if err == nil && len(req.Ops) > 0 && l.sometimes() {
				return response{}, kv.Errorf(kv.KindUnavailable, "it is said to be refused")
			}
			return resp, err
		}},
		"denies what it has written": {outcome: func(l *liar, ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
			a, err := l.Service.Outcome(ctx, req)
			if err == nil && l.sometimes() {
				a.Outcome = kv.NotApplied
			}
			return a, err
		}},
		"claims what it has not written": {outcome: func(l *liar, ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
			a, err := l.Service.Outcome(ctx, req)
			if err == nil {
				a.Outcome = kv.Applied
			}
			return a, err
		}},
		"refuses tokens as lost": {do: func(l *liar, ctx context.Context, req kv.Request) (response, error) {
			if len(req.Ops) == 0 && len(req.Queries) > 0 && l.sometimes() {
				return response{}, kv.Errorf(kv.KindLost, "it is said to be lost")
			}
			return l.Service.Do(ctx, req)
		}},
		"honours tokens of what is lost": {do: func(l *liar, ctx context.Context, req kv.Request) (response, error) {
			if len(req.Ops) == 0 {
				req.Options.Token = kv.Token{}
			}
			return l.Service.Do(ctx, req)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cuts := &Cuts{Dir: t.TempDir(), Tally: NewTally()}
			lies := &atomic.Int64{}
			cuts.serve = func(s kv.Service) kv.Service {
				l := c
				l.Service, l.lies = s, lies
				return &l
			}
			caught := ""
			for s := seed(t); caught == "" && cuts.Tally.Get("cuts") < 1500; s++ {
				synctest.Test(t, func(t *testing.T) {
					if err := cuts.World(t.Context(), s); err != nil {
						caught = err.Error()
					}
				})
			}
			t.Logf("after %d cuts: %s", cuts.Tally.Get("cuts"), clip(caught))
			// Which finding comes first depends on the seed; each has a test of its own (book_test.go).
			require.Contains(t, caught, "verification failed:")
			_, kept, _ := strings.Cut(caught, "kept in ")
			book, err := os.ReadFile(filepath.Join(kept, "book"))
			require.NoError(t, err)
			require.NotEmpty(t, book)
		})
	}
}
