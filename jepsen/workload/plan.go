package workload

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/kv"
)

// plan is a transaction to make.
type plan struct {
	region      string // where; empty: where the worker is
	ops         []history.Op
	interactive bool               // step by step, in the order of ops; else in one round trip, in which reads come first
	paged       bool               // interactive: whole sets are read page by page
	giveUp      bool               // interactive: take all back at the end
	think       time.Duration      // interactive: how long its caller waits before each call but the first
	alone       bool               // apart from the worker's session
	handed      bool               // with a token that another worker has handed over
	level       client.Consistency // default: causal
	durable     client.Reach       // default: local
	// then, of an interactive one, says how it goes on from what was answered so far. It is asked again
	// when the transaction is run again, so it must change nothing.
	thinks func(time.Duration) time.Duration // such a wait, made to end at a beat
	then   func(done []history.Op) []history.Op
}

// errGivenUp ends a transaction that its caller takes back.
var errGivenUp = errors.New("given up by its caller")

// run makes the transaction, and returns its operations with the answers to its reads.
func (p *plan) run(ctx context.Context, s *client.Session, opts []client.CallOption) ([]history.Op, error) {
	if !p.interactive && !slices.ContainsFunc(p.ops, func(o history.Op) bool { return isListing(&o) }) {
		done := p.inOneTrip()
		return done, step(ctx, done, func(ctx context.Context, ops []client.Op, queries []client.Query) ([]client.Value, error) {
			return s.Do(ctx, ops, queries, opts...)
		})
	}
	var done []history.Op
	err := s.Update(ctx, func(tx *client.Tx) error {
		done = nil // of this run alone
		if err := p.steps(ctx, &done, p.ops, tx); err != nil {
			return err
		}
		if p.then != nil {
			if err := p.steps(ctx, &done, p.then(done), tx); err != nil {
				return err
			}
		}
		if p.giveUp {
			return errGivenUp
		}
		return nil
	}, opts...)
	return done, err
}

// inOneTrip are the operations in the order in which one round trip makes them.
func (p *plan) inOneTrip() []history.Op {
	ops := slices.Clone(p.ops)
	slices.SortStableFunc(ops, func(a, b history.Op) int { return rank(&a) - rank(&b) })
	return ops
}

func rank(o *history.Op) int {
	if o.Writes() {
		return 1
	}
	return 0
}

// steps makes operations in their order, with as few calls as that allows, and appends them to done.
func (p *plan) steps(ctx context.Context, done *[]history.Op, ops []history.Op, tx *client.Tx) error {
	for len(ops) > 0 {
		if len(*done) > 0 && p.think > 0 {
			pause(ctx, p.thinks(p.think))
		}
		n := 1
		for n < len(ops) && rank(&ops[n-1]) >= rank(&ops[n]) && !p.apart(&ops[n-1]) && !p.apart(&ops[n]) { // writes, then reads
			n++
		}
		at := len(*done)
		*done = append(*done, ops[:n]...)
		make := step
		switch {
		case isListing(&ops[0]):
			make = func(ctx context.Context, done []history.Op, _ doer) error { return list(ctx, &done[0], tx) }
		case p.pages(&ops[0]):
			make = pages
		}
		if err := make(ctx, (*done)[at:], tx.Do); err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

// apart reports whether an operation takes calls of its own.
func (p *plan) apart(o *history.Op) bool { return p.pages(o) || isListing(o) }

// pages reports whether an operation is made page by page.
func (p *plan) pages(o *history.Op) bool {
	return p.paged && o.Do == history.Get && (o.Leaf() == "set-aw" || o.Leaf() == "set-rw" || o.Leaf() == "set-go")
}

// doer is what operations are made with: a session's call, or a transaction's.
type doer func(ctx context.Context, ops []client.Op, queries []client.Query) ([]client.Value, error)

// step makes operations with one call, and puts the answers into them.
func step(ctx context.Context, done []history.Op, do doer) error {
	var ops []client.Op
	var queries []client.Query
	var reads []*history.Op
	for i := range done {
		if o := &done[i]; o.Writes() {
			ops = append(ops, write(o))
		} else {
			queries, reads = append(queries, query(o)), append(reads, o)
		}
	}
	values, err := do(ctx, ops, queries)
	if err != nil {
		return err
	}
	for i, v := range values {
		answer(reads[i], v)
	}
	return nil
}

// pageSize is small, so that a cursor is passed on even in a small set.
const pageSize = 3

// pages reads one set page by page.
func pages(ctx context.Context, done []history.Op, do doer) error {
	q := query(&done[0])
	q.Kind, q.Limit = kv.QueryPage, pageSize
	var whole client.Value
	for {
		values, err := do(ctx, nil, []client.Query{q})
		if err != nil {
			return err
		}
		page := values[0]
		whole.Present = whole.Present || page.Present
		whole.List = append(whole.List, page.List...)
		if q.After = page.Next; len(q.After) == 0 {
			answer(&done[0], whole)
			return nil
		}
	}
}
