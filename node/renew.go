package node

import (
	"context"
	"sync"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/txn/strong"
)

// renewRetry is what clients are told to wait while a node takes its data anew.
const renewRetry = time.Second

// errRenewing answers while nothing can be served: for a while, or, once the renewal has failed, for good.
func (n *Node) errRenewing() error {
	if failed := n.Alive(); failed != nil {
		return kv.Errorf(kv.KindUnavailable, "this node has failed and serves nothing, ask another region: %w", failed)
	}
	what := takesAnew
	if r := n.renewing.Load(); r != nil {
		what = r.what
	}
	err := kv.Errorf(kv.KindUnavailable, "%s: ask another region meanwhile", what)
	err.RetryAfter = renewRetry
	return err
}

// leftBehind refuses writes while this node can't catch up.
func (n *run) leftBehind(reason string) {
	if reason == "" {
		n.config.logf("this region catches up again")
		n.refuseFor(fellBehind, nil)
		return
	}
	n.config.logf("no writes are taken: %s", reason)
	n.refuseFor(fellBehind, kv.Errorf(kv.KindReadOnly, "%s; write elsewhere meanwhile", reason))
}

const takesAnew = "this region fell behind and is copying all data from another"

// renewal is why a run ends and another begins.
type renewal struct {
	what  string                                  // for clients
	first clock.Region                            // to be asked for data; 0: what is here stays
	last  func(ctx context.Context, r *run) error // what is done to the store once nothing else writes
}

// behindOthers takes all data anew.
func behindOthers(b replication.Behind) renewal {
	return renewal{
		what: takesAnew, first: b.Source,
		last: func(ctx context.Context, r *run) error { return r.noteBehind(ctx, b.Missing) },
	}
}

// awaitRenewal returns once there is a reason for another run. It fails when ctx ends.
func (n *run) awaitRenewal(ctx context.Context) (out renewal, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	behind := make(chan replication.Behind, 1)
	wait.Go(func() {
		if b, err := n.replicator.WaitBehind(ctx); err == nil {
			behind <- b
		}
	})
	select {
	case b := <-behind:
		n.config.logf("stopping to take all data anew from region %d", b.Source)
		return behindOthers(b), nil
	case r := <-n.consensus.refound:
		return renewal{
			what: "this region founds the cluster's raft group anew",
			last: func(ctx context.Context, n *run) error { return n.refound(ctx, r) },
		}, nil
	case <-n.consensus.ended:
		n.config.logf("another region has founded the raft group anew; this node begins a new life in it")
		return renewal{
			what: "this region takes part in a raft group that was founded anew",
			last: func(context.Context, *run) error { return nil },
		}, nil
	case <-ctx.Done():
		return out, context.Cause(ctx)
	}
}

// keepUp begins another run whenever there is a reason to, until ctx ends.
func (n *Node) keepUp(ctx context.Context) {
	for {
		r := n.current.Load()
		why, err := r.awaitRenewal(ctx)
		if err != nil {
			return
		}
		if err := n.renew(ctx, r, why); err != nil {
			if ctx.Err() == nil {
				r.fatal(err)
			}
			return
		}
	}
}

// renew ends the run in order, does what is to be done to its store in one durable step, and begins another
// as a start of the process would: a crash at any point resumes here, or is as if nothing had been. Nothing is
// served meanwhile; after a failure nothing ever is, since the data may be gone.
func (n *Node) renew(ctx context.Context, old *run, why renewal) error {
	n.renewing.Store(&why)
	old.exposure.Stop() // ends the waits of calls
	n.gate.shut()
	if err := old.retire(ctx, why); err != nil {
		return err
	}
	r, err := newRun(ctx, n.config, why.first)
	if err != nil {
		return err
	}
	n.current.Store(r)
	n.gate.open()
	r.begin(n.tellBegan)
	return nil
}

// retire is Close, with a last change of the store.
func (n *run) retire(ctx context.Context, why renewal) error {
	err := n.endParts(ctx)
	if err == nil {
		err = why.last(ctx, n)
	}
	if closing := n.stopParts(); err == nil {
		err = closing
	}
	return err
}

// noteBehind notes that a cut is to replace the data that includes all of it, but for the own records that
// the own log still has, and more of what is missing.
func (n *run) noteBehind(ctx context.Context, missing clock.Vector) error {
	var must clock.Vector
	for lane, t := range n.store.Lanes() {
		if lane == n.lane {
			t = n.store.LogStats(lane, 0).Truncated
		}
		if t != 0 {
			must = must.With(lane.Region, t)
		}
	}
	return replication.NoteBehind(ctx, peerStore{Store: n.store}, must.Join(missing))
}

// refound makes the store's part in the raft group the first of a new one.
func (n *run) refound(ctx context.Context, r strong.Refounding) error {
	return strong.Refound(ctx, strong.RefoundConfig{
		ID: n.voter(), Store: n.store, Metadata: func() (strong.Metadata, error) { return openMetadata(n.store) },
		Wall: n.config.Time.Wall(), Durable: n.store.Applied(clock.Lane{}),
		Lane: func(after clock.Timestamp) ([][]byte, error) { return n.store.Log(clock.Lane{}, after, feedBytes) },
	}, r)
}
