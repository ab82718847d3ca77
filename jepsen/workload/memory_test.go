package workload_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/jepsen/workload"
	"github.com/theriac-db/theriac/kv"
)

// gate is the way to a region that may be cut off: then nothing comes of calls that wait for other regions.
type gate struct {
	kv.Service
	serial *sync.Mutex // of all gates, whose holder alone writes; nil: others may write meanwhile

	mu    sync.Mutex
	shut  bool
	began map[kv.TxnID]clock.Vector
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
}

// pass refuses what a region that is cut off can't serve. Waiting for others takes until the call's end.
func (g *gate) pass(ctx context.Context, o *kv.Options) error {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if !shut || o.Level <= kv.LevelCausal && o.Durability <= kv.DurabilityLocal {
		return nil
	}
	if !o.BoundFail {
		select {
		case <-ctx.Done():
		case <-time.After(longestWait): // it arrived late, and its caller has given up
		}
	}
	return kv.Errorf(kv.KindStale, "the region is cut off").WithOutcome(kv.NotApplied)
}

const longestWait = 5 * time.Second

func (g *gate) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	if err := g.pass(ctx, &req.Options); err != nil {
		return kv.Response{}, err
	}
	if g.serial != nil {
		g.serial.Lock()
		defer g.serial.Unlock()
	}
	return g.Service.Do(ctx, req)
}

func (g *gate) Begin(ctx context.Context, b kv.Begin) (kv.TxnID, kv.Receipt, error) {
	if err := g.pass(ctx, &b.Options); err != nil {
		return 0, kv.Receipt{}, err
	}
	id, r, err := g.Service.Begin(ctx, b)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.began == nil {
		g.began = map[kv.TxnID]clock.Vector{}
	}
	g.began[id] = r.Snapshot
	return id, r, err
}

// Commit aborts, of regions that are serial, what others have written after it began: the store knows no
// types, so what it overwrote would be what it has not seen.
func (g *gate) Commit(ctx context.Context, id kv.TxnID, o kv.Options) (kv.Receipt, error) {
	if g.serial == nil {
		return g.Service.Commit(ctx, id, o)
	}
	g.serial.Lock() // nobody writes between the look and the commit
	defer g.serial.Unlock()
	status, err := g.Service.Status(context.WithoutCancel(ctx)) // the store commits even if the call's time is over
	if err != nil {
		return kv.Receipt{}, err
	}
	g.mu.Lock()
	began := g.began[id]
	g.mu.Unlock()
	if !began.Includes(status.Exposed) {
		return kv.Receipt{}, kv.Errorf(kv.KindAborted, "somebody wrote meanwhile")
	}
	return g.Service.Commit(ctx, id, o)
}

// inMemory runs a workload against regions that one store in memory stands for, which keeps every level.
func inMemory(t *testing.T, w workload.Workload, c setting, replay string) (h *history.History) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var late sync.WaitGroup
		if c.Regions = c.regions; c.Regions == nil {
			c.Regions = []string{"eu", "us", "ap"}
		}
		store, gates, to := memkv.New(), map[string]*gate{}, map[string]*client.DB{}
		var serial *sync.Mutex
		if w.Name == "mixed-strong" {
			serial = &sync.Mutex{}
		}
		for i, name := range c.Regions {
			gates[name] = &gate{Service: store.Node(clock.Region(i+1), name), serial: serial}
			way := &lossy{Service: gates[name], late: &late, random: rand.New(rand.NewPCG(c.Seed, uint64(i)<<32)), sure: c.sure}
			to[name] = client.New(way)
		}
		c.DB = func(region string) *client.DB { return to[region] }
		var meanwhile func(*workload.Run, <-chan struct{})
		if c.meanwhile != nil {
			meanwhile = func(run *workload.Run, loaded <-chan struct{}) {
				cut(run, rand.New(rand.NewPCG(c.Seed, 1)), c.Regions, gates, loaded)
			}
		}
		h = recorded(t, w, c.Config, &late, meanwhile, replay)
	})
	return h
}

// cut cuts one region off after the other, until the load has ended.
func cut(run *workload.Run, random *rand.Rand, regions []string, gates map[string]*gate, loaded <-chan struct{}) {
	for {
		select {
		case <-loaded:
			return
		case <-time.After(time.Duration(random.IntN(6000)) * time.Millisecond):
		}
		one := regions[random.IntN(len(regions))]
		end := run.Fault(history.Fault{Kind: string(nemesis.PartitionIsolate), Targets: []string{one}})
		gates[one].set(true)
		time.Sleep(time.Duration(random.IntN(4000)) * time.Millisecond)
		gates[one].set(false)
		end(nil)
	}
}
