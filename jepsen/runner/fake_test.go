package runner

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/kv"
)

// regions in memory, as a cluster that can be cut.
type regions struct {
	*embedded.Cluster
	closed atomic.Bool
	closes error // what Close returns
	cut    error // what Cut returns
	cuts   atomic.Int64
}

func (r *regions) Cut(_ context.Context, l nemesis.Link) error {
	if r.cut != nil {
		return r.cut
	}
	r.Cluster.Cut(l.From, l.To)
	r.cuts.Add(1)
	return nil
}

// Effects takes it that every cut held something back.
func (r *regions) Effects(context.Context, nemesis.Fault) (nemesis.Effects, error) {
	return nemesis.Effects{nemesis.BytesHeld: int(r.cuts.Load())}, nil
}

func (r *regions) Heal(_ context.Context, l nemesis.Link) error {
	r.Cluster.Heal(l.From, l.To)
	return nil
}

func (r *regions) Close() error {
	r.closed.Store(true)
	return errors.Join(r.Cluster.Close(), r.closes)
}

// idle is a cluster whose cuts do nothing.
type idle struct{ *regions }

func (*idle) Cut(context.Context, nemesis.Link) error { return nil }

// blind is a cluster that counts nothing.
type blind struct {
	cuttable
}

type cuttable interface {
	Cluster
	nemesis.Cutter
}

// forgetful acknowledges writes that it does not make: one of three.
type forgetful struct {
	kv.Service
	calls *atomic.Int64
}

func (f forgetful) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	if len(req.Ops) > 0 && f.calls.Add(1)%3 == 0 {
		req.Ops = nil
	}
	return f.Service.Do(ctx, req)
}

// lying is a cluster whose nodes forget writes.
type lying struct {
	*regions
	dbs map[string]*client.DB
}

func (l *lying) DB(region string) *client.DB { return l.dbs[region] }

func lie(r *regions) *lying {
	l := &lying{regions: r, dbs: map[string]*client.DB{}}
	for _, name := range r.Regions() {
		l.dbs[name] = client.New(forgetful{r.Service(name), new(atomic.Int64)})
	}
	return l
}

// dying is a cluster of which a node ends by itself.
type dying struct {
	*regions
	broken chan struct{}
}

func (d *dying) Broken() <-chan struct{} { return d.broken }

func (d *dying) Failed() error {
	select {
	case <-d.broken:
		return errors.New("region us ended by itself: panic: index out of range")
	default:
		return nil
	}
}

// start starts regions in memory. They are closed with the test whatever becomes of them.
func start(t *testing.T) *regions {
	c, err := embedded.StartCluster(t.Context(), embedded.ClusterOptions{Regions: []string{"eu", "us", "ap"}})
	require.NoError(t, err)
	r := &regions{Cluster: c}
	t.Cleanup(func() { require.True(t, r.closed.Load(), "the run left the cluster open") })
	return r
}

// config is a short run on a cluster.
func config(t *testing.T, c Cluster) Config {
	return Config{
		Workload: "counter", Regions: []string{"eu", "us", "ap"}, Rate: 100, TimeLimit: 3 * time.Second, Seed: 7,
		Out: t.TempDir(), Started: time.Unix(0, 0), Command: "theriac jepsen test",
		Open: func(context.Context, string) (Cluster, error) { return c, nil },
	}
}
