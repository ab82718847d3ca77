package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// adminTimeout bounds a call of a node's admin port.
const adminTimeout = 10 * time.Second

// soundFor is how long a node whose disk has room again must have been alive to count as sound: what it could
// not write before ends it at once.
const soundFor = time.Second

// SetClock implements nemesis.ClockSetter. It takes Options.TestFaults.
func (c *Cluster) SetClock(ctx context.Context, region string, offset time.Duration) error {
	return c.onNode(fmt.Sprintf("set the clock %v ahead in", offset), region, func(n *node) error {
		if !c.options.TestFaults {
			return errNoFaults
		}
		n.offset = offset
		return c.tell(ctx, n, "/test/clock", "offset", offset.String())
	})
}

var errNoFaults = errors.New("the nodes were not started for it: Options.TestFaults")

// FillDisk implements nemesis.DiskFiller. It takes Options.TestFaults, or Options.DiskBytes.
func (c *Cluster) FillDisk(ctx context.Context, region string) error {
	return c.onNode("fill the disk of", region, func(n *node) error {
		if c.options.DiskBytes == 0 && !c.options.TestFaults {
			return errNoFaults
		}
		n.full.Store(true)
		n.process.excused.Store(true)
		if c.options.DiskBytes > 0 {
			return fill(n.filler())
		}
		return c.tell(ctx, n, "/test/disk", "room", "0")
	})
}

// FreeDisk implements nemesis.DiskFiller.
func (c *Cluster) FreeDisk(ctx context.Context, region string) error {
	return c.onNode("free the disk of", region, func(n *node) error {
		if !n.full.Swap(false) {
			return nil
		}
		if c.options.DiskBytes > 0 {
			if err := os.Remove(n.filler()); err != nil {
				return err
			}
		} else if err := c.tell(ctx, n, "/test/disk", "room", "-1"); err != nil {
			return err
		}
		if n.paused || c.sound(ctx, n) {
			return ctx.Err()
		}
		return c.start(ctx, n, true)
	})
}

// sound waits until a node is found alive for a while, or has ended. The caller holds mu.
func (c *Cluster) sound(ctx context.Context, n *node) bool {
	for since := time.Now(); n.process.running() && ctx.Err() == nil; {
		if _, err := c.ask(ctx, n, http.MethodGet, "/healthz", nil); err != nil {
			since = time.Now()
		} else if time.Since(since) > soundFor {
			return true
		}
		select {
		case <-n.process.ended:
		case <-ctx.Done():
		case <-time.After(soundFor / 20):
		}
	}
	return false
}

// filler is the file that takes what room there is, beside the data.
func (n *node) filler() string { return filepath.Join(n.disk(), "filler") }

// fill writes a file until the disk is full.
func fill(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	block := make([]byte, 64<<10)
	for err == nil {
		if _, err = f.Write(block); errors.Is(err, syscall.ENOSPC) && len(block) > 1 {
			block, err = block[:len(block)/2], nil
		}
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// disturb gives a node that serves, or goes on after a pause, what was set meanwhile. The caller holds mu.
func (c *Cluster) disturb(ctx context.Context, n *node) error {
	if n.offset != 0 || n.process.clockSet {
		if err := c.tell(ctx, n, "/test/clock", "offset", n.offset.String()); err != nil {
			return err
		}
	}
	if !n.full.Load() || c.options.DiskBytes > 0 {
		return nil
	}
	n.process.excused.Store(true)
	return c.tell(ctx, n, "/test/disk", "room", "0")
}

// tell sets something in a node. One that is down or paused is told when it is back. The caller holds mu.
func (c *Cluster) tell(ctx context.Context, n *node, path, key, value string) error {
	if !n.process.running() || n.paused {
		return nil
	}
	n.process.clockSet = n.process.clockSet || key == "offset"
	_, err := c.ask(ctx, n, http.MethodPost, path, url.Values{key: {value}})
	if err != nil && n.process.excused.Load() {
		select { // a node whose disk is full may have ended just now
		case <-n.process.ended:
			return nil
		case <-time.After(adminTimeout):
		}
	}
	return err
}

// maxAnswer bounds what is read of an answer of the admin port, in bytes.
const maxAnswer = 64 << 10

// ask makes a call of a node's admin port.
func (c *Cluster) ask(ctx context.Context, n *node, method, path string, form url.Values) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	to := url.URL{Scheme: "http", Host: n.place.admin, Path: path, RawQuery: form.Encode()}
	client, secure := c.network.admin()
	if secure {
		to.Scheme = "https"
	}
	q, err := http.NewRequestWithContext(ctx, method, to.String(), http.NoBody)
	if err != nil {
		return "", err
	}
	answer, err := client.Do(q)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New("the admin port answers " + strconv.Itoa(answer.StatusCode) + ": " + string(b))
	}
	return string(b), err
}
