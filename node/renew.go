package node

import (
	"context"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// renewRetry is what clients are told to wait while a node takes its data anew.
const renewRetry = time.Second

// errRenewing answers while nothing can be served: for a while, or, once the renewal has failed, for good.
func (n *Node) errRenewing() error {
	if failed := n.Alive(); failed != nil {
		return kv.Errorf(kv.KindUnavailable, "this node has failed and serves nothing, ask another region: %w", failed)
	}
	err := kv.Errorf(kv.KindUnavailable, "this region fell behind and is copying all data from another: ask another region meanwhile")
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

// keepUp takes the data anew whenever this node has fallen behind, until ctx ends.
func (n *Node) keepUp(ctx context.Context) {
	for {
		r := n.current.Load()
		b, err := r.replicator.WaitBehind(ctx)
		if err != nil {
			return
		}
		if err := n.renew(ctx, r, b); err != nil {
			if ctx.Err() == nil {
				r.fatal(err)
			}
			return
		}
	}
}

// renew ends the run in order, with a note that its data is to be replaced, and begins another as a
// start of the process would: a crash at any point resumes here. Nothing is served meanwhile; after a
// failure nothing ever is, since the data may be gone.
func (n *Node) renew(ctx context.Context, old *run, b replication.Behind) error {
	old.config.logf("stopping to take all data anew from region %d", b.Source)
	old.exposure.Stop() // ends the waits of calls
	n.gate.shut()
	if err := old.retire(ctx, b.Missing); err != nil {
		return err
	}
	r, err := newRun(ctx, n.config, b.Source)
	if err != nil {
		return err
	}
	n.current.Store(r)
	n.gate.open()
	r.begin(n.tellBegan)
	return nil
}

// retire is Close, with a note that a cut is to replace the data that includes all of it, but for the
// own records that the own log still has, and more of what is missing.
func (n *run) retire(ctx context.Context, missing clock.Vector) error {
	err := n.endParts(ctx)
	if err == nil {
		var must clock.Vector
		for lane, t := range n.store.Lanes() {
			if lane == n.lane {
				t = n.store.LogStats(lane, 0).Truncated
			}
			if t != 0 {
				must = must.With(lane.Region, t)
			}
		}
		err = replication.NoteBehind(ctx, peerStore{Store: n.store}, must.Join(missing))
	}
	if closing := n.stopParts(); err == nil {
		err = closing
	}
	return err
}
