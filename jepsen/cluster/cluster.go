package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/nemesis"
)

// Cluster is a running cluster. Its methods are safe for concurrent use.
type Cluster struct {
	options Options
	network network
	client  []client.Option
	nodes   map[string]*node // all that may ever be; not changed after Start

	mu      sync.Mutex
	started []string // regions, in the order of their first starts
	failed  []error
	broken  chan struct{} // closed at the first failure
	close   func() error
}

// network is how nodes are connected, and how links are disturbed.
type network interface {
	nemesis.Cutter
	nemesis.Slower
	nemesis.Staller
	nemesis.Resetter
	nemesis.GossipDropper
	// effects are what was done to links so far.
	effects(links []nemesis.Link) (nemesis.Effects, error)
	// place makes a region's place. Start calls it for all regions before it starts any.
	place(region string) (place, error)
	// options are the clients'.
	options() []client.Option
	// admin is what calls the admin ports, and whether that is over TLS.
	admin() (caller *http.Client, secure bool)
	// close ends everything that place made; nodes have ended.
	close() error
}

// Start starts all regions but those that are to be added later, and returns once each serves. If one
// does not, everything is ended again.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	c := &Cluster{options: o, nodes: map[string]*node{}, broken: make(chan struct{})}
	c.close = sync.OnceValue(c.end)
	var err error
	if c.network, err = o.network(); err != nil {
		return nil, err
	}
	if err := c.begin(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (o *Options) network() (network, error) {
	if o.Namespaces {
		return newNamespaces(o.Dir)
	}
	return newProxies(), nil
}

func (c *Cluster) begin(ctx context.Context) error {
	for _, name := range slices.Concat(c.options.Regions, c.options.New) {
		n := &node{name: name, folder: filepath.Join(c.options.Dir, name)}
		if _, err := os.Stat(n.folder); err == nil {
			return fmt.Errorf("cluster: %s is there already: name a folder without regions of an earlier cluster", n.folder)
		}
		n.db.Store(client.New(down{name}))
		var err error
		if n.place, err = c.network.place(name); err != nil {
			return err
		}
		c.nodes[name] = n
	}
	c.client = c.network.options()
	for _, name := range c.options.Regions {
		if err := c.add(ctx, name, true); err != nil {
			return err
		}
	}
	return nil
}

// add starts a region for the first time.
func (c *Cluster) add(ctx context.Context, name string, wait bool) error {
	n := c.nodes[name]
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil {
		return fmt.Errorf("cluster: region %s was added before", name)
	}
	c.mu.Lock()
	c.started = append(c.started, name)
	c.mu.Unlock()
	c.options.Log("start region %s at %s", name, n.place.client)
	return c.start(ctx, n, wait)
}

// Regions are the names of all regions that were started, the founder first.
func (c *Cluster) Regions() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.started)
}

// DB is a region's database, over all its crashes. Of a region that was not added yet all calls fail
// with client.ErrUnavailable, and DB must be asked again later. It panics at a name that the options
// do not have.
func (c *Cluster) DB(region string) *client.DB {
	n, ok := c.nodes[region]
	if !ok {
		panic(fmt.Sprintf("cluster: no region %q", region))
	}
	return n.db.Load()
}

// Log is the file with what a region's node said.
func (c *Cluster) Log(region string) string { return c.nodes[region].logFile() }

// Disk is the folder that holds a region's data.
func (c *Cluster) Disk(region string) string { return c.nodes[region].disk() }

// Address is where clients reach a region.
func (c *Cluster) Address(region string) string { return c.nodes[region].place.client }

// Failed is why nodes ended by themselves; nil: none did.
func (c *Cluster) Failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.failed...)
}

// Broken is closed once Failed is not nil.
func (c *Cluster) Broken() <-chan struct{} { return c.broken }

func (c *Cluster) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.options.Log("%v", err)
	c.failed = append(c.failed, err)
	if len(c.failed) == 1 {
		close(c.broken)
	}
}

// Close stops all nodes in order, those that are paused or do not heed it too, and takes the links down.
// Only the first call does something.
func (c *Cluster) Close() error { return c.close() }

func (c *Cluster) end() error {
	errs := make([]error, len(c.nodes))
	var wait sync.WaitGroup
	i := 0
	for _, n := range c.nodes {
		at := i
		i++
		wait.Go(func() { errs[at] = n.close() })
	}
	wait.Wait()
	return errors.Join(append(errs, c.network.close())...)
}
