package client

import (
	"context"
	"errors"
	"maps"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/kv"
)

// Limits and pace of strong transactions that met others.
const (
	maxConflicts  = 16                     // how often one is tried, the first time included
	firstConflict = 2 * time.Millisecond   // pause after the first conflict; pauses double
	maxConflict   = 500 * time.Millisecond // up to this
	maxStrong     = 1000                   // buckets that a client knows to be strong by default
)

// yield waits after the nth conflict, or until ctx ends. Half of each pause is random, so that of those
// that met each other one is first.
func (p retryPolicy) yield(ctx context.Context, n int) error {
	return p.wait(ctx, min(firstConflict<<min(n-1, 10), maxConflict), 0)
}

// conflicted reports whether a transaction that failed with err may succeed at a newer snapshot: it met
// another one, or its snapshot was older than what the certifier remembers. An operation whose id the
// caller has given is decided for good.
func conflicted(c *call, err error) bool {
	if !c.Attempt.ID.IsZero() || kv.OutcomeOf(err) != kv.NotApplied {
		return false
	}
	return kv.IsConflict(err) || c.Level == LevelStrong && errors.Is(err, ErrTooOld)
}

// send runs a one-shot transaction. Only one that failed costs more than the call of the service.
func (h *home) send(ctx context.Context, c *call, req *kv.Request) (kv.Response, error) {
	req.Options = c.Options
	named := c.Level == LevelDefault && h.strong.name(req)
	resp, err := h.svc.Do(ctx, *req)
	if err != nil {
		return h.again(ctx, *c, req, named, err)
	}
	return resp, nil
}

// again tries a one-shot transaction that failed once more where that can help: under the level that it has
// to name, or after a conflict, at a snapshot that includes what it met.
func (h *home) again(ctx context.Context, c call, req *kv.Request, named bool, err error) (resp kv.Response, _ error) {
	for n := 1; err != nil; {
		c.Level = req.Options.Level
		needs := kv.NeedsOf(err)
		switch {
		case named && errors.Is(err, ErrLevelRefused):
			h.strong.forget(req) // the bucket's rules have changed
			req.Options.SetConsistency(Consistency{})
			named = false
		case c.Level == LevelDefault && needs != (Consistency{}):
			req.Options.SetConsistency(needs)
			h.strong.learn(req, needs.Level)
		case n < maxConflicts && conflicted(&c, err):
			token, failed := req.Options.Token.Join(kv.TokenOf(err))
			if failed != nil || h.policy.yield(ctx, n) != nil {
				return resp, err
			}
			req.Options.Token = token
			n++
		default:
			return resp, err
		}
		resp, err = h.svc.Do(ctx, *req)
	}
	return resp, nil
}

// strongBuckets are the buckets whose writes have turned out to be strong when they name no level. The nodes
// ask such a write to name it, so that all tries of an operation have one level; knowing them saves the
// round trip.
type strongBuckets struct {
	known atomic.Pointer[map[kv.Bucket]bool] // never changed; nil: none
}

// name names the level of a write to such a bucket.
func (s *strongBuckets) name(req *kv.Request) bool {
	known := s.known.Load()
	if known == nil {
		return false
	}
	for i := range req.Ops {
		if (*known)[req.Ops[i].Bucket] {
			req.Options.Level = LevelStrong
			return true
		}
	}
	return false
}

// learn notes a bucket, if the request is of one alone: of several nobody told which one it was.
func (s *strongBuckets) learn(req *kv.Request, l Level) {
	b, alone := one(req)
	if l != LevelStrong || !alone {
		return
	}
	s.change(func(known map[kv.Bucket]bool) {
		if len(known) < maxStrong {
			known[b] = true
		}
	})
}

// forget takes back what was noted of a request's buckets.
func (s *strongBuckets) forget(req *kv.Request) {
	s.change(func(known map[kv.Bucket]bool) {
		for i := range req.Ops {
			delete(known, req.Ops[i].Bucket)
		}
	})
}

// change replaces the map. Of two changes at the same time one may get lost, and is made again when its
// reason comes again.
func (s *strongBuckets) change(fn func(map[kv.Bucket]bool)) {
	next := map[kv.Bucket]bool{}
	if known := s.known.Load(); known != nil {
		next = maps.Clone(*known)
	}
	fn(next)
	s.known.Store(&next)
}

// one is the only bucket that a request touches.
func one(req *kv.Request) (b kv.Bucket, alone bool) {
	if len(req.Ops) == 0 {
		return "", false
	}
	b = req.Ops[0].Bucket
	for i := range req.Ops {
		if req.Ops[i].Bucket != b {
			return "", false
		}
	}
	for i := range req.Queries {
		if req.Queries[i].Bucket != b {
			return "", false
		}
	}
	return b, true
}
