package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/storage"
	"github.com/theriac-db/theriac/txn"
)

// run is a node from when its store is opened to when that is closed: for as long as the process
// lives, unless it takes its data anew (renew.go). Its methods are Node's.
type run struct {
	*txn.Coordinator
	config      Config
	identity    replication.Identity
	lane        clock.Lane
	incarnation uint64
	store       *storage.Store
	exposure    *replication.Exposure
	replicator  *replication.Replicator
	consensus   *consensus
	peers       peerFacts
	refusals    refusals

	begun      atomic.Bool     // the lane was started
	background context.Context // of what runs
	cancel     context.CancelFunc
	running    sync.WaitGroup
	failed     atomic.Pointer[failure]
	forked     atomic.Pointer[failure] // the own lane is: nothing may be read either
}

// failure is why a node takes no more writes.
type failure struct{ err error }

// newRun opens the store and starts the parts; reads may be served when it returns. A node whose data
// is to be replaced, or that has none, asks the region first for it, if that is not 0.
func newRun(ctx context.Context, config Config, first clock.Region) (*run, error) {
	n := &run{config: config, incarnation: config.Random()>>1 | 1}
	var err error
	if n.store, err = storage.Open(n.storageConfig()); err != nil {
		return nil, err
	}
	if err := n.start(ctx, first); err != nil {
		if n.cancel != nil {
			n.stopBackground()
		}
		n.stopParts()
		return nil, err
	}
	return n, nil
}

func (n *run) storageConfig() storage.Config {
	c := &n.config
	return storage.Config{
		FS: c.FS, Dir: c.Dir,
		CacheBytes: c.CacheBytes, LeafCacheBytes: c.LeafCacheBytes, MemTableBytes: c.MemTableBytes, RemovalLeaves: c.RemovalLeaves,
		After:       n.after,
		Incarnation: c.Random,
		Logf:        c.logf,
		Fatal:       n.fatal,
	}
}

// caller is a Time that calls a function by itself, which spares a goroutine a timer: the store has one started
// and stopped with nearly every batch.
type caller interface {
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// after runs f once d has passed, on the node's timers.
func (n *run) after(d time.Duration, f func()) (stop func() bool) {
	if t, ok := n.config.Time.(caller); ok {
		return t.AfterFunc(d, f)
	}
	fired, release := n.config.Time.NewTimer(d)
	quit := make(chan struct{})
	var once sync.Once
	go func() {
		select {
		case <-fired:
			once.Do(func() { f() })
		case <-quit:
		}
	}()
	return func() bool {
		stopped := false
		once.Do(func() { stopped = true; close(quit); release() })
		return stopped
	}
}

func (n *run) fatal(err error) {
	if n.failed.CompareAndSwap(nil, &failure{err}) {
		n.config.logf("no more writes are taken: %v", err)
		n.refuseFor(hasFailed, kv.Errorf(kv.KindReadOnly, "this node takes no more writes: %w", err))
		if n.exposure != nil {
			n.exposure.Stop() // nothing that is waited for comes any more
		}
		n.config.Fatal(err)
	}
}

func (n *run) start(ctx context.Context, first clock.Region) error {
	if err := n.identify(ctx, first); err != nil {
		return err
	}
	if err := n.joinConsensus(ctx); err != nil {
		return err
	}
	n.coordinate(txn.New(txn.Config{
		CommitterConfig: txn.CommitterConfig{
			Store: n.store, Lane: n.lane, Wall: n.config.Time.Wall, Mono: n.config.Time.Monotonic, Skew: n.config.Skew,
			Incarnation: n.incarnation, Publish: n.publish,
		},
		Snapshots: exposure{n.exposure},
		Regions:   others{n},
		Strong:    n.consensus,
		Rules:     n.consensus.metadata.rules,
		Node:      n.config.Addresses.Client,
		Cluster:   n.identity.Cluster,
		Region:    n.identity.Name,
	}))
	n.refuseWrites()
	if err := n.makeReplicator(); err != nil {
		return err
	}
	n.tellStrayGone()
	background, cancel := context.WithCancel(context.Background())
	n.background, n.cancel = background, cancel
	n.runBackground(background)
	return nil
}

// begin takes writes as soon as the lane is complete, and tells.
func (n *run) begin(tell func(error)) {
	n.running.Go(func() {
		err := n.becomeWritable(n.background)
		if n.background.Err() != nil {
			return
		}
		n.report(n.background, err)
		tell(err)
	})
}

func (n *run) makeReplicator() (err error) {
	n.replicator, err = replication.New(replication.Config{
		Identity: n.identity, Incarnation: n.store.Start().Incarnation, Addresses: n.config.Addresses,
		Store: peerStore{n.store, n.exposure}, Exposure: n.exposure, Transport: n.config.Transport,
		Time: n.config.Time, Random: n.config.Random, Applied: n.store.Lanes(), Skew: n.config.Skew, Gone: n.config.Gone, Ask: n.config.Join,
		Regions: decisions{n.consensus}, Consensus: n.consensus, Strong: positions{n.consensus}, Hooks: n.hooks(),
	})
	n.consensus.replicator.Store(n.replicator)
	if err != nil {
		return err
	}
	version, regions := n.consensus.metadata.known()
	return n.consensus.act(context.Background(), version, regions)
}

// publish hands a durable record of the own lane to the streams.
func (n *run) publish(t clock.Timestamp, encoded []byte) {
	n.replicator.Publish(replication.Durable{Time: t, Encoded: encoded})
}

func (n *run) runBackground(ctx context.Context) {
	for _, loop := range []struct {
		every time.Duration
		fn    func(context.Context)
	}{
		{cutsInterval, n.moveCuts}, {ageInterval, n.age}, {expireInterval, n.expire}, {truncateInterval, n.TruncateLog}, {truncateInterval, n.watchHeld}, {truncateInterval, n.watchLeft}, {n.config.Skew / tickShare, n.tick},
	} {
		n.running.Go(func() { n.every(ctx, loop.every, loop.fn) })
	}
	n.running.Go(func() { n.report(ctx, n.replicator.Run(ctx)) })
	n.running.Go(func() { n.report(ctx, n.consensus.run(ctx)) })
	n.running.Go(func() { n.report(ctx, n.consensus.followMetadata(ctx)) })
	n.running.Go(func() { n.consensus.settle(ctx) })
}

// report stops writes after a failure that nobody else hears of.
func (n *run) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		n.fatal(err)
	}
}

// Close stops the node in order.
func (n *run) Close(ctx context.Context) error {
	err := n.endParts(ctx)
	if closing := n.stopParts(); err == nil {
		err = closing
	}
	return err
}

// endParts ends in order what writes.
func (n *run) endParts(ctx context.Context) error {
	err := n.consensus.stop(ctx) // while the others can still hear that it leads no more
	n.stopBackground()
	if ending := n.endLane(ctx); err == nil {
		err = ending
	}
	return err
}

// endLane notes that the lane ended in order. One that was not started has no end: what was lost of
// it is still to be logged.
func (n *run) endLane(ctx context.Context) error {
	if !n.begun.Swap(false) {
		return nil
	}
	return n.Coordinator.Stop(ctx)
}

// Kill stops the node's goroutines without ending anything in order: the files stay as a crash at
// this moment would leave them, but for what the store writes when it is closed.
func (n *run) Kill() {
	n.stopBackground()
	if err := n.stopParts(); err != nil {
		n.config.logf("stopping: %v", err)
	}
}

func (n *run) stopBackground() {
	n.cancel()
	n.running.Wait()
}

func (n *run) stopParts() error {
	if n.consensus != nil {
		n.consensus.kill()
	}
	if n.exposure != nil {
		n.exposure.Stop()
	}
	if n.Coordinator != nil {
		n.Leave()
	}
	if err := n.store.Close(); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

// exposure fits replication's shell to what txn needs.
type exposure struct{ *replication.Exposure }

func (x exposure) Open(mayWrite, applied bool) (txn.Snapshot, error) {
	return x.Exposure.Open(context.Background(), replication.OpenOptions{Writes: mayWrite, Applied: applied})
}

// Status implements kv.Service.
func (n *run) Status(context.Context) (kv.Status, error) {
	horizon, settled := n.exposure.Cuts()
	s := kv.Status{
		Cluster: n.identity.Cluster, Region: n.identity.Name, Lane: n.lane, Incarnation: n.Coordinator.Incarnation(),
		Addresses: n.config.Addresses, Version: Version, State: n.state(),
		Exposed: n.exposure.Exposed(), Durable: n.exposure.Durable(), Stable: n.exposure.Stable(),
		Settled: settled, Horizon: horizon, OpenTxns: n.OpenTxns(), Pending: n.store.Stats().PendingRemoval,
	}
	for _, lane := range n.exposure.Members() {
		s.LogBytes += n.store.LogStats(lane, n.config.LogBytes).Bytes
	}
	group, whyNotStrong := n.consensus.group.Status(), ""
	s.Leader = n.consensus.leader(&group)
	s.Strong, whyNotStrong = n.consensus.part(&group)
	s.Regions, s.Levels = n.regions(), n.levels(whyNotStrong)
	return s, nil
}

// state is one line for people: whether the node serves, and why not.
func (n *run) state() string {
	if refused := n.Refused(); refused != nil {
		return refused.Kind.String() + ": " + refused.Message
	}
	return "serving"
}

func (n *run) regions() []kv.RegionStatus {
	raw, now := n.exposure.Raw(), n.config.Time.Wall()
	stale := n.staleness()
	var out []kv.RegionStatus
	for _, p := range n.replicator.Status() {
		t := raw.At(p.Region)
		s := kv.RegionStatus{Region: p.Region, Name: p.Name, Connected: p.Connected, Exposed: t, Lag: n.behind(p.Region, now, t)}
		s.Phase, s.Awaits = n.consensus.phase(p.Region)
		age := stale[p.Region]
		s.Staleness, s.StalenessP99, s.StalenessKnown = age.Age, age.P99, age.Known
		if p.Addresses.Client != "" {
			s.Addresses = []string{p.Addresses.Client}
		}
		if report, ok := n.exposure.Reported(p.Region); ok {
			s.Reported = report.Durable
		} else if p.Region == n.lane.Region {
			s.Reported = n.exposure.Durable()
		}
		out = append(out, s)
	}
	return out
}

// staleness is how old what is exposed of each serving region may be.
func (n *run) staleness() map[clock.Region]replication.Staleness {
	out := map[clock.Region]replication.Staleness{}
	for _, s := range n.replicator.Staleness() {
		out[s.Region] = s
	}
	return out
}

// behind is how far what is exposed of a region is behind the wall clock, at least 0. The own region's
// is all there is, however long ago it was written.
func (n *run) behind(region clock.Region, now clock.Wall, t clock.Timestamp) time.Duration {
	if t == 0 || region == n.lane.Region {
		return 0
	}
	return max(0, now.Sub(t.Wall()))
}
