package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded/door"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/node"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/memtransport"
)

// ClusterOptions say what a cluster looks like. The zero value gives defaults.
type ClusterOptions struct {
	// Regions are the names, the founder first. Default: eu, us, ap.
	Regions []string
	// RoundTrip is the time to a region and back. Default: none.
	RoundTrip func(a, b string) time.Duration
	// Dir keeps the data on disk, a folder a region; empty: in memory, where Crash loses what was
	// not synced.
	Dir string
	// Seed of what Crash keeps of the unsynced data. Default: 1.
	Seed uint64
	// Log takes the nodes' log lines. Default: dropped.
	Log io.Writer
	// Adjust may change a node's configuration before it starts, as fault tests do.
	Adjust func(c *node.Config)
}

// Cluster is several regions in this process, on a network of their own. Its methods are safe for
// concurrent use, and panic when they are told the name of a region that the cluster does not have.
type Cluster struct {
	options ClusterOptions // but for Regions
	time    replication.Time
	network *memtransport.Network

	mu      sync.Mutex
	random  *rand.Rand
	names   []string // the founder first; replaced, never changed
	regions map[string]*region
}

// region is one site of a Cluster.
type region struct {
	name string
	db   *client.DB
	door *door.Door

	mu   sync.Mutex // held while it starts or ends
	fs   vfs.FS
	mem  *vfs.MemFS // nil: on disk
	node *node.Node // nil while it is down
	wire *door.Wire // of node
}

// StartCluster starts all regions and returns once each serves.
func StartCluster(ctx context.Context, o ClusterOptions) (*Cluster, error) {
	if len(o.Regions) == 0 {
		o.Regions = []string{"eu", "us", "ap"}
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	clock := replication.SystemTime()
	c := &Cluster{
		options: o, time: clock, network: memtransport.New(clock),
		random: rand.New(rand.NewPCG(o.Seed, 0)), regions: map[string]*region{},
	}
	for _, name := range o.Regions {
		if err := c.Add(ctx, name); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// Add starts a new region, which joins the cluster while the others go on, and returns once it
// serves. A region that could not be started in time is not part of the cluster; the others may
// have given it a number, which adding it again under the same name takes up.
func (c *Cluster) Add(ctx context.Context, name string) error {
	r := &region{name: name, fs: vfs.Default, door: door.New(name)}
	if c.options.Dir == "" {
		r.mem = vfs.NewCrashableMem()
		r.fs = r.mem
	}
	r.db = client.New(r.door)
	r.mu.Lock()
	defer r.mu.Unlock()
	others := c.Regions()
	if slices.Contains(others, name) {
		return kv.Errorf(kv.KindInvalid, "region %s is part of the cluster already", name)
	}
	c.setDelays(name, others)
	if err := c.start(ctx, r, others); err != nil {
		return fmt.Errorf("starting region %s: %w", name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = append(slices.Clone(c.names), name)
	c.regions[name] = r
	return nil
}

func (c *Cluster) setDelays(name string, others []string) {
	if c.options.RoundTrip == nil {
		return
	}
	for _, other := range others {
		d := c.options.RoundTrip(name, other) / 2
		c.network.SetDelay(name, other, d)
		c.network.SetDelay(other, name, d)
	}
}

// start starts a region's node over what its file system holds. Without anything there it joins the
// others, or founds the cluster if there are none. The caller holds r.mu.
func (c *Cluster) start(ctx context.Context, r *region, others []string) error {
	w := door.NewWire(c.network.Node(r.name))
	config := node.Config{
		Region:    r.name,
		Join:      others,
		Dir:       path.Join(c.options.Dir, r.name),
		FS:        r.fs,
		Time:      c.time,
		Transport: w,
		Addresses: node.Addresses{Peer: r.name},
		Log:       c.options.Log,
	}
	if c.options.Adjust != nil {
		c.options.Adjust(&config)
	}
	n, err := node.Start(ctx, config)
	if err != nil {
		return err
	}
	r.node, r.wire = n, w
	r.door.Open(n)
	return nil
}

// Regions lists the regions' names, the founder first.
func (c *Cluster) Regions() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.names)
}

// DB is a region's database. It stays valid over Crash and Restart; calls in between fail with
// client.ErrUnavailable.
func (c *Cluster) DB(name string) *client.DB { return c.region(name).db }

// Service is what a region's DB talks to, for a server in front of the region. Like the DB it stays
// valid over Crash and Restart.
func (c *Cluster) Service(name string) kv.Service { return c.region(name).door }

func (c *Cluster) region(name string) *region {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.regions[name]
	if r == nil {
		panic(fmt.Sprintf("embedded: no region %q", name))
	}
	return r
}

// Cut cuts the link between two regions, both ways; Heal undoes it.
func (c *Cluster) Cut(a, b string) { c.link(a, b, c.network.CutBoth) }

// Heal restores the link between two regions, both ways.
func (c *Cluster) Heal(a, b string) { c.link(a, b, c.network.HealBoth) }

// link does something to a link that exists: a name with a mistake in it would make a test that tests
// nothing.
func (c *Cluster) link(a, b string, do func(a, b string)) {
	if c.region(a) == c.region(b) {
		panic(fmt.Sprintf("embedded: region %q has no link to itself", a))
	}
	do(a, b)
}

// Isolate cuts a region off from all others; Rejoin undoes it.
func (c *Cluster) Isolate(name string) { c.others(name, c.Cut) }

// Rejoin restores all links of a region.
func (c *Cluster) Rejoin(name string) { c.others(name, c.Heal) }

func (c *Cluster) others(name string, do func(a, b string)) {
	c.region(name)
	for _, other := range c.besides(name) {
		do(name, other)
	}
}

// besides lists all regions but one.
func (c *Cluster) besides(name string) []string {
	return slices.DeleteFunc(c.Regions(), func(other string) bool { return other == name })
}

// Crash ends a region as a power cut would: what it has not synced may be gone. On disk it is a kill
// of the process that is simulated: what was written stays. Calls under way fail, their outcome
// unknown.
func (c *Cluster) Crash(name string) {
	r := c.region(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	c.crash(r)
}

// crash is Crash. What clients and peers learn of the region they learn before the state of its disk
// is fixed, so that nothing they know of can be missing there. The caller holds r.mu.
func (c *Cluster) crash(r *region) {
	if r.node == nil {
		return
	}
	r.door.Shut()
	r.wire.Cut()
	c.network.Node(r.name).Fail()
	var after *vfs.MemFS
	if r.mem != nil {
		c.mu.Lock()
		after = r.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.random.IntN(101), RNG: c.random})
		c.mu.Unlock()
	}
	r.node.Kill()
	r.node = nil
	if after != nil {
		r.mem, r.fs = after, after
	}
}

// LoseDisk ends a region and empties its disk.
func (c *Cluster) LoseDisk(name string) error {
	r := c.region(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	c.crash(r)
	if r.mem != nil {
		r.mem = vfs.NewCrashableMem()
		r.fs = r.mem
		return nil
	}
	return r.fs.RemoveAll(path.Join(c.options.Dir, name))
}

// Stop ends a region in order: nothing is lost, and what was promised is kept.
func (c *Cluster) Stop(ctx context.Context, name string) error {
	return c.stop(ctx, c.region(name))
}

func (c *Cluster) stop(ctx context.Context, r *region) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.node == nil {
		return nil
	}
	n := r.node
	r.node = nil
	err := n.Close(ctx) // calls under way are answered
	r.door.Shut()
	if err != nil {
		return fmt.Errorf("stopping region %s: %w", r.name, err)
	}
	return nil
}

// Restart starts a region that was stopped or has crashed, and returns once it serves; after
// LoseDisk it serves reads first, and writes once it has all of its own back. A region whose restart
// failed may be restarted again.
func (c *Cluster) Restart(ctx context.Context, name string) error {
	r := c.region(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.node != nil {
		return kv.Errorf(kv.KindInvalid, "region %s is running", name)
	}
	return c.start(ctx, r, c.besides(name))
}

// Close stops all regions in order.
func (c *Cluster) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var all []error
	for _, name := range c.Regions() {
		all = append(all, c.stop(ctx, c.region(name)))
	}
	return errors.Join(all...)
}
