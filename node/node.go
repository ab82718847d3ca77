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
	"github.com/theriac-db/theriac/replication/causal"
	"github.com/theriac-db/theriac/storage"
	"github.com/theriac-db/theriac/txn"
)

// Node is one running node. It implements kv.Service.
type Node struct {
	*txn.Coordinator
	config      Config
	identity    identity
	incarnation uint64
	store       *storage.Store
	exposure    *replication.Exposure

	cancel  context.CancelFunc
	running sync.WaitGroup
	failed  atomic.Pointer[failure]
}

// failure is why a node takes no more writes.
type failure struct{ err error }

// Start starts a node and returns once it serves. ctx bounds the start only.
func Start(ctx context.Context, config Config) (*Node, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{config: config, incarnation: config.Random()>>1 | 1}
	if n.store, err = storage.Open(n.storageConfig()); err != nil {
		return nil, err
	}
	if err := n.start(ctx); err != nil {
		n.stopParts()
		return nil, err
	}
	return n, nil
}

func (n *Node) storageConfig() storage.Config {
	c := &n.config
	return storage.Config{
		FS: c.FS, Dir: c.Dir,
		CacheBytes: c.CacheBytes, LeafCacheBytes: c.LeafCacheBytes, MemTableBytes: c.MemTableBytes,
		After:       n.after,
		Incarnation: c.Random,
		Logf:        c.logf,
		Fatal:       n.fatal,
	}
}

// after runs f once d has passed, on the node's timers.
func (n *Node) after(d time.Duration, f func()) (stop func() bool) {
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

func (n *Node) fatal(err error) {
	if n.failed.CompareAndSwap(nil, &failure{err}) {
		n.config.logf("no more writes are taken: %v", err)
		n.config.Fatal(err)
	}
}

func (n *Node) start(ctx context.Context) error {
	var err error
	if n.identity, err = n.identify(ctx); err != nil {
		return err
	}
	if n.exposure, err = replication.NewExposure(n.startState()); err != nil {
		return err
	}
	n.Coordinator = txn.New(txn.Config{
		CommitterConfig: txn.CommitterConfig{
			Store: n.store, Lane: n.identity.Lane, Wall: n.config.Time.Wall, Skew: n.config.Skew,
			Incarnation: n.incarnation,
		},
		Snapshots: exposure{n.exposure},
		Cluster:   n.identity.Cluster,
		Region:    n.identity.Region,
		Mono:      n.config.Time.Monotonic,
	})
	if err := n.Coordinator.Start(ctx); err != nil {
		return err
	}
	background, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.running.Go(func() { n.every(background, cutsInterval, n.moveCuts) })
	n.running.Go(func() { n.every(background, expireInterval, n.Expire) })
	n.running.Go(func() { n.every(background, truncateInterval, n.truncate) })
	return nil
}

// startState is what the store holds, as the machine wants it.
func (n *Node) startState() causal.Start {
	start := causal.Start{Self: n.identity.Lane, Number: uint64(n.config.Time.Wall()), MaxSkew: n.config.Skew}
	lanes := n.store.Start().Applied
	if _, have := lanes[n.identity.Lane]; !have {
		start.Lanes = append(start.Lanes, causal.Position{Lane: n.identity.Lane})
	}
	for lane, t := range lanes {
		start.Lanes = append(start.Lanes, causal.Position{Lane: lane, Held: t, Durable: t})
	}
	return start
}

// Close stops the node in order.
func (n *Node) Close(ctx context.Context) error {
	n.stopBackground()
	err := n.Coordinator.Stop(ctx)
	if closing := n.stopParts(); err == nil {
		err = closing
	}
	return err
}

// Kill stops the node's goroutines without ending anything in order: the files stay as a crash at
// this moment would leave them, but for what the store writes when it is closed.
func (n *Node) Kill() {
	n.stopBackground()
	if err := n.stopParts(); err != nil {
		n.config.logf("stopping: %v", err)
	}
}

func (n *Node) stopBackground() {
	n.cancel()
	n.running.Wait()
}

func (n *Node) stopParts() error {
	if n.exposure != nil {
		n.exposure.Stop()
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
func (n *Node) Status(context.Context) (kv.Status, error) {
	horizon, settled := n.exposure.Cuts()
	s := kv.Status{
		Cluster: n.identity.Cluster, Region: n.identity.Region, Lane: n.identity.Lane, Incarnation: n.incarnation,
		Addresses: n.config.Addresses, Version: Version, State: n.state(),
		Exposed: n.exposure.Exposed(), Durable: n.exposure.Durable(), Stable: n.exposure.Stable(),
		Settled: settled, Horizon: horizon, OpenTxns: n.OpenTxns(),
	}
	s.Pending = n.store.Stats().PendingRemoval
	for _, lane := range n.exposure.Members() {
		s.LogBytes += n.store.LogStats(lane, n.config.LogBytes).Bytes
	}
	s.Regions = n.regions()
	return s, nil
}

// state is one line for people: whether the node serves, and why not.
func (n *Node) state() string {
	if f := n.failed.Load(); f != nil {
		return "read-only: " + f.err.Error()
	}
	if refused := n.Refused(); refused != nil {
		return refused.Kind.String() + ": " + refused.Message
	}
	return "serving"
}

func (n *Node) regions() []kv.RegionStatus {
	raw, now := n.exposure.Raw(), n.config.Time.Wall()
	var out []kv.RegionStatus
	for _, lane := range n.exposure.Members() {
		t := raw.At(lane.Region)
		out = append(out, kv.RegionStatus{
			Region: lane.Region, Exposed: t, Lag: lag(now, t),
			Connected: lane == n.identity.Lane, Name: n.identity.Region,
			Reported: n.exposure.Durable(),
		})
	}
	return out
}

// lag is how far a timestamp is behind the wall clock, at least 0.
func lag(now clock.Wall, t clock.Timestamp) time.Duration {
	if t == 0 {
		return 0
	}
	return max(0, now.Sub(t.Wall()))
}

var _ kv.Service = (*Node)(nil)
