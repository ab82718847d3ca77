package embedded

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/theriac-db/theriac/client"
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
// concurrent use, one Crash, Restart or Close of a region at a time.
type Cluster struct {
	options ClusterOptions
	time    replication.Time
	network *memtransport.Network

	mu      sync.Mutex
	random  *rand.Rand
	regions map[string]*region
}

// region is one site of a Cluster; service changes with every restart.
type region struct {
	name string
	fs   vfs.FS
	mem  *vfs.MemFS // nil: on disk
	node *node.Node // nil while it is down
	db   *client.DB
	door *door
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
	c.setDelays()
	for _, name := range o.Regions {
		r := &region{name: name, fs: vfs.Default, door: &door{region: name}}
		if o.Dir == "" {
			r.mem = vfs.NewCrashableMem()
			r.fs = r.mem
		}
		r.db = client.New(r.door)
		c.regions[name] = r
		if err := c.start(ctx, r); err != nil {
			c.Close()
			return nil, fmt.Errorf("starting region %s: %w", name, err)
		}
	}
	return c, nil
}

func (c *Cluster) setDelays() {
	if c.options.RoundTrip == nil {
		return
	}
	for _, a := range c.options.Regions {
		for _, b := range c.options.Regions {
			if a != b {
				c.network.SetDelay(a, b, c.options.RoundTrip(a, b)/2)
			}
		}
	}
}

// start starts a region's node over what its file system holds.
func (c *Cluster) start(ctx context.Context, r *region) error {
	config := node.Config{
		Region:    r.name,
		Dir:       path.Join(c.options.Dir, r.name),
		FS:        r.fs,
		Time:      c.time,
		Transport: c.network.Node(r.name),
		Addresses: node.Addresses{Peer: r.name},
		Log:       c.options.Log,
	}
	for _, other := range c.options.Regions {
		if other != r.name && r.name != c.options.Regions[0] {
			config.Join = append(config.Join, other)
		}
	}
	if c.options.Adjust != nil {
		c.options.Adjust(&config)
	}
	n, err := node.Start(ctx, config)
	if err != nil {
		return err
	}
	r.node = n
	r.door.open(n)
	return nil
}

// Regions lists the regions' names, the founder first.
func (c *Cluster) Regions() []string { return c.options.Regions }

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
func (c *Cluster) Cut(a, b string) { c.network.CutBoth(a, b) }

// Heal restores the link between two regions, both ways.
func (c *Cluster) Heal(a, b string) { c.network.HealBoth(a, b) }

// Isolate cuts a region off from all others; Rejoin undoes it.
func (c *Cluster) Isolate(name string) { c.others(name, c.Cut) }

// Rejoin restores all links of a region.
func (c *Cluster) Rejoin(name string) { c.others(name, c.Heal) }

func (c *Cluster) others(name string, do func(a, b string)) {
	for _, other := range c.options.Regions {
		if other != name {
			do(name, other)
		}
	}
}

// Crash ends a region as a power cut would: what it has not synced may be gone. On disk it is a kill
// of the process that is simulated: what was written stays.
func (c *Cluster) Crash(name string) {
	r := c.region(name)
	if r.node == nil {
		return
	}
	r.door.shut()
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
	c.Crash(name)
	r := c.region(name)
	if r.mem != nil {
		r.mem = vfs.NewCrashableMem()
		r.fs = r.mem
		return nil
	}
	return r.fs.RemoveAll(path.Join(c.options.Dir, name))
}

// Restart starts a region that has crashed, and returns once it serves.
func (c *Cluster) Restart(ctx context.Context, name string) error {
	r := c.region(name)
	if r.node != nil {
		return kv.Errorf(kv.KindInvalid, "region %s is running", name)
	}
	return c.start(ctx, r)
}

// Close stops all regions in order.
func (c *Cluster) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var first error
	for _, r := range c.regions {
		if r.node == nil {
			continue
		}
		r.door.shut()
		if err := r.node.Close(ctx); err != nil && first == nil {
			first = fmt.Errorf("stopping region %s: %w", r.name, err)
		}
		r.node = nil
	}
	return first
}
