package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/theriac-db/theriac/jepsen/nemesis"
)

var (
	_ nemesis.Cutter        = (*Cluster)(nil)
	_ nemesis.Slower        = (*Cluster)(nil)
	_ nemesis.Staller       = (*Cluster)(nil)
	_ nemesis.Resetter      = (*Cluster)(nil)
	_ nemesis.GossipDropper = (*Cluster)(nil)
	_ nemesis.Killer        = (*Cluster)(nil)
	_ nemesis.Pauser        = (*Cluster)(nil)
	_ nemesis.Grower        = (*Cluster)(nil)
	_ nemesis.ClockSetter   = (*Cluster)(nil)
	_ nemesis.DiskFiller    = (*Cluster)(nil)
	_ nemesis.Destroyer     = (*Cluster)(nil)
	_ nemesis.LeaderFinder  = (*Cluster)(nil)
)

// onLink does something to a link between regions that there are.
func (c *Cluster) onLink(what string, l nemesis.Link, do func() error) error {
	for _, region := range []string{l.From, l.To} {
		if c.nodes[region] == nil {
			return fmt.Errorf("cluster: %s %s: no region %q", what, l, region)
		}
	}
	c.options.Log("%s %s", what, l)
	return do()
}

// Cut implements nemesis.Cutter.
func (c *Cluster) Cut(ctx context.Context, l nemesis.Link) error {
	return c.onLink("cut", l, func() error { return c.network.Cut(ctx, l) })
}

// Heal implements nemesis.Cutter.
func (c *Cluster) Heal(ctx context.Context, l nemesis.Link) error {
	return c.onLink("heal", l, func() error { return c.network.Heal(ctx, l) })
}

// Slow implements nemesis.Slower.
func (c *Cluster) Slow(ctx context.Context, l nemesis.Link, w nemesis.Weather) error {
	return c.onLink("slow by "+w.String(), l, func() error { return c.network.Slow(ctx, l, w) })
}

// Stall implements nemesis.Staller.
func (c *Cluster) Stall(ctx context.Context, l nemesis.Link) error {
	return c.onLink("stall", l, func() error { return c.network.Stall(ctx, l) })
}

// Flow implements nemesis.Staller.
func (c *Cluster) Flow(ctx context.Context, l nemesis.Link) error {
	return c.onLink("flow", l, func() error { return c.network.Flow(ctx, l) })
}

// Reset implements nemesis.Resetter.
func (c *Cluster) Reset(ctx context.Context, l nemesis.Link) error {
	return c.onLink("reset", l, func() error { return c.network.Reset(ctx, l) })
}

// DropGossip implements nemesis.GossipDropper.
func (c *Cluster) DropGossip(ctx context.Context, l nemesis.Link) error {
	return c.onLink("drop gossip", l, func() error { return c.network.DropGossip(ctx, l) })
}

// PassGossip implements nemesis.GossipDropper.
func (c *Cluster) PassGossip(ctx context.Context, l nemesis.Link) error {
	return c.onLink("pass gossip", l, func() error { return c.network.PassGossip(ctx, l) })
}

// onNode does something to a region that was started, one at a time.
func (c *Cluster) onNode(what, region string, do func(n *node) error) error {
	n := c.nodes[region]
	if n == nil {
		return fmt.Errorf("cluster: %s: no region %q", what, region)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return fmt.Errorf("cluster: %s: region %s was not added yet", what, region)
	}
	c.options.Log("%s %s", what, region)
	if err := do(n); err != nil {
		return fmt.Errorf("cluster: %s %s: %w", what, region, err)
	}
	return nil
}

// Kill implements nemesis.Killer: kill -9.
func (c *Cluster) Kill(_ context.Context, region string) error {
	return c.onNode("kill", region, func(n *node) error {
		killed, err := n.process.kill()
		if killed {
			n.tally.add(nemesis.NodesKilled, 1)
		}
		return err
	})
}

// Destroy implements nemesis.Destroyer: kill -9, and the data folder is removed.
func (c *Cluster) Destroy(_ context.Context, region string) error {
	return c.onNode("destroy", region, func(n *node) error {
		killed, err := n.process.kill()
		if killed {
			n.tally.add(nemesis.NodesKilled, 1)
		}
		if err != nil {
			return err
		}
		if _, err := os.Stat(n.data()); errors.Is(err, fs.ErrNotExist) {
			return nil // it was taken away before
		}
		if err := os.RemoveAll(n.data()); err != nil {
			return err
		}
		n.tally.add(nemesis.DisksDestroyed, 1)
		return nil
	})
}

// Leader implements nemesis.LeaderFinder: the region that most of those name that answer.
func (c *Cluster) Leader(ctx context.Context) string {
	var mu sync.Mutex
	var wait sync.WaitGroup
	named := map[string]int{}
	for _, region := range c.Regions() {
		wait.Go(func() {
			status, err := c.DB(region).Status(ctx)
			if err != nil || status.Leader == "" {
				return // it is down, or does not know
			}
			mu.Lock()
			defer mu.Unlock()
			named[status.Leader]++
		})
	}
	wait.Wait()
	leader := ""
	for _, region := range c.Regions() {
		if named[region] > named[leader] {
			leader = region
		}
	}
	return leader
}

// Stop ends a region's node in order; Restart starts it again.
func (c *Cluster) Stop(_ context.Context, region string) error {
	return c.onNode("stop", region, func(n *node) error { return n.process.stop() })
}

// Restart implements nemesis.Killer. A node that runs it leaves alone.
func (c *Cluster) Restart(ctx context.Context, region string) error {
	return c.onNode("restart", region, func(n *node) error {
		if n.process.running() {
			return nil
		}
		return c.start(ctx, n, true)
	})
}

// Pause implements nemesis.Pauser: SIGSTOP.
func (c *Cluster) Pause(_ context.Context, region string) error {
	return c.onNode("pause", region, func(n *node) error {
		n.paused = n.process.running()
		stands, err := n.process.pause()
		if stands {
			n.tally.add(nemesis.NodesPaused, 1)
		}
		return err
	})
}

// Resume implements nemesis.Pauser: SIGCONT.
func (c *Cluster) Resume(ctx context.Context, region string) error {
	return c.onNode("resume", region, func(n *node) error {
		if err := n.process.resume(); err != nil || !n.paused {
			return err
		}
		n.paused = false
		if err := c.disturb(ctx, n); err != nil || n.full.Load() || !n.process.excused.Load() {
			return err
		}
		return c.mend(ctx, n) // its disk was freed meanwhile
	})
}

// Add implements nemesis.Grower: it starts one of Options.New.
func (c *Cluster) Add(ctx context.Context, region string) error {
	if c.nodes[region] == nil {
		return fmt.Errorf("cluster: add: no region %q", region)
	}
	return c.add(ctx, region, false)
}

// Await implements nemesis.Grower.
func (c *Cluster) Await(ctx context.Context, region string) error {
	return c.onNode("await", region, func(n *node) error {
		join := c.serving
		if !n.process.running() { // it may have been killed while it joined
			join = func(ctx context.Context, n *node) error { return c.start(ctx, n, true) }
		}
		if err := join(ctx, n); err != nil {
			return err
		}
		return c.greet(ctx, n)
	})
}

// greetTimeout bounds how long a region that was added takes to answer: it may be paused by now.
const greetTimeout = 10 * time.Second

// greet counts a region that was added and answers.
func (c *Cluster) greet(ctx context.Context, n *node) error {
	if n.full.Load() || n.paused {
		return nil // it can't answer, which is another fault's doing
	}
	ctx, cancel := context.WithTimeout(ctx, greetTimeout)
	defer cancel()
	status, err := n.db.Load().Status(ctx)
	if err != nil {
		return fmt.Errorf("it joined, and does not answer: %w", err)
	}
	if status.Region == n.name {
		n.tally.add(nemesis.RegionsAdded, 1)
	}
	return nil
}
