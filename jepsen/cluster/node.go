package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/nemesis"
)

// place is where a region's node is: how it is started, and reached.
type place struct {
	prefix []string // of the command line
	flags  []string // of serve: addresses and security
	client string   // where clients reach it
	admin  string   // where this package does
	joins  string   // where nodes that join reach it
}

// node is one region.
type node struct {
	name   string
	place  place
	folder string
	db     atomic.Pointer[client.DB]

	mu      sync.Mutex // held by whoever changes something of the process
	process *process   // nil: it was never started
	paused  bool
	offset  time.Duration // of the clock
	full    atomic.Bool   // the disk is full
	mounted bool          // the disk is its own
	opened  bool          // db is of the node; before that it only says that there is none

	tally tally
}

// disk is the folder of the data folder.
func (n *node) disk() string { return filepath.Join(n.folder, "disk") }

// data is the node's data folder.
func (n *node) data() string { return filepath.Join(n.disk(), "data") }

func (n *node) logFile() string { return filepath.Join(n.folder, "log") }

// start starts the node's process, and returns once it serves if wait says so. The caller holds mu.
func (c *Cluster) start(ctx context.Context, n *node, wait bool) error {
	if err := n.makeDisk(c.options.DiskBytes); err != nil {
		return err
	}
	args := append([]string{}, n.place.prefix...)
	args = append(args, c.options.Binary, "serve", "--region", n.name, "--data", n.data())
	args = append(args, n.place.flags...)
	if joins := c.joins(n); joins != "" {
		args = append(args, "--join", joins)
	}
	if c.options.TestFaults {
		args = append(args, "--test-faults")
	}
	args = append(args, c.options.Serve...)
	p, err := startProcess(args, n.logFile(), func(p *process) { c.whenEnded(n, p) })
	if err != nil {
		return fmt.Errorf("cluster: starting region %s: %w", n.name, err)
	}
	n.process, n.paused = p, false
	p.excused.Store(n.full.Load())
	if !wait {
		return nil
	}
	err = c.serving(ctx, n)
	if errors.Is(err, errEnded) && n.full.Load() {
		c.options.Log("region %s does not start while its disk is full", n.name)
		return nil // FreeDisk starts it
	}
	return err
}

// makeDisk makes the region's folders, and mounts its own disk there if it has one.
func (n *node) makeDisk(bytes int64) error {
	if err := os.MkdirAll(n.disk(), 0o755); err != nil || bytes == 0 || n.mounted {
		return err
	}
	if err := mount(n.disk(), bytes); err != nil {
		return fmt.Errorf("cluster: a disk of its own for region %s: %w", n.name, err)
	}
	n.mounted = true
	return nil
}

// serving waits until a started node serves, and makes its DB if there is none. The caller holds mu.
func (c *Cluster) serving(ctx context.Context, n *node) error {
	if err := n.process.await(ctx); err != nil {
		return fmt.Errorf("cluster: region %s: %w; its log, %s, ends with:\n%s", n.name, err, n.logFile(), tail(n.logFile()))
	}
	if err := c.disturb(ctx, n); err != nil {
		return fmt.Errorf("cluster: region %s: %w", n.name, err)
	}
	return c.open(ctx, n)
}

// open makes the region's DB, once.
func (c *Cluster) open(ctx context.Context, n *node) error {
	if n.opened {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, StartTimeout)
	defer cancel()
	db, err := client.Open(ctx, n.place.client, c.client...)
	if err != nil {
		return fmt.Errorf("cluster: region %s: %w", n.name, err)
	}
	n.db.Store(db)
	n.opened = true
	return nil
}

// joins are the addresses that a node is told to join: all others that were started before. The founder
// has none at its first start.
func (c *Cluster) joins(n *node) string {
	var others []string
	for _, name := range c.Regions() {
		if name != n.name {
			others = append(others, c.nodes[name].place.joins)
		}
	}
	return strings.Join(others, ",")
}

// whenEnded notes a node that ended by itself.
func (c *Cluster) whenEnded(n *node, p *process) {
	said := tail(n.logFile())
	if p.excused.Load() && !p.wanted.Load() {
		n.tally.add(nemesis.NodesEnded, 1)
	}
	if (p.wanted.Load() || p.excused.Load()) && !panicked(p.err, said) {
		return
	}
	c.fail(fmt.Errorf("cluster: region %s ended by itself: %w; its log, %s, ends with:\n%s", n.name, orNil(p.err, "exit code 0"), n.logFile(), said))
}

// panicked reports whether a process ended as Go programs do that find themselves broken. Neither who stops it
// nor a full disk is a reason for that, unless it says that the disk was.
func panicked(err error, said string) bool {
	const exitCode = 2
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitCode || strings.Contains(said, syscall.ENOSPC.Error()) {
		return false
	}
	return slices.ContainsFunc(lastWords, func(words string) bool { return strings.HasPrefix(said, strings.TrimPrefix(words, "\n")) })
}

// close ends the node and what belongs to it.
func (n *node) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	if n.process.running() {
		if err := n.process.stop(); err != nil && !n.process.excused.Load() {
			errs = append(errs, fmt.Errorf("cluster: stopping region %s: %w", n.name, err))
		}
	}
	if db := n.db.Load(); db != nil {
		errs = append(errs, db.Close())
	}
	if n.mounted {
		errs = append(errs, unmount(n.disk()))
	}
	return errors.Join(errs...)
}
