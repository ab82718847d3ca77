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

	"github.com/theriac-db/theriac/jepsen/nemesis"
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
		return c.turn(ctx, n)
	})
}

// turn sets a node's clock, and counts by how much that moved it as the node reads it. The caller holds mu.
func (c *Cluster) turn(ctx context.Context, n *node) error {
	before := time.Now()
	said, err := c.tell(ctx, n, "/test/clock", "offset", n.offset.String())
	if err != nil {
		return err
	}
	if by := moved(said, before, time.Now(), n.offset); by > 0 {
		n.tally.add(nemesis.ClockMoved, int(by/time.Millisecond))
	}
	return nil
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
			if err := fill(n.filler()); err != nil || !c.options.TestFaults {
				return err
			}
		}
		return c.setRoom(ctx, n) // beside a disk that is full, since its node may go on for long in what it has reserved
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
		}
		if c.options.TestFaults {
			if err := c.setRoom(ctx, n); err != nil {
				return err
			}
		}
		if n.paused {
			return nil // Resume looks after it
		}
		return c.mend(ctx, n)
	})
}

// setRoom tells a node whether its disk is full. It takes Options.TestFaults. The caller holds mu.
func (c *Cluster) setRoom(ctx context.Context, n *node) error {
	room := "-1"
	if n.full.Load() {
		room = "0"
	}
	_, err := c.tell(ctx, n, "/test/disk", "room", room)
	return err
}

// mend sees a node through whose disk has room again. It may end yet of what it could not write, and is started
// then, unless it was killed; once it is sound it has no excuse any more. The caller holds mu.
func (c *Cluster) mend(ctx context.Context, n *node) error {
	sound := c.sound(ctx, n)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case sound:
		n.process.excused.Store(false)
	case !n.process.wanted.Load():
		return c.start(ctx, n, true)
	}
	return nil
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

// fill adds to a file until the disk is full.
func fill(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
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
		if err := c.turn(ctx, n); err != nil {
			return err
		}
	}
	if !c.options.TestFaults || !n.full.Load() && !n.process.roomSet {
		return nil
	}
	if n.full.Load() {
		n.process.excused.Store(true)
	}
	return c.setRoom(ctx, n)
}

// tell sets something in a node, and returns what it answers. One that is down or paused answers nothing, and is told
// when it is back. The caller holds mu.
func (c *Cluster) tell(ctx context.Context, n *node, path, key, value string) (string, error) {
	if !n.process.running() || n.paused {
		return "", nil
	}
	n.process.clockSet = n.process.clockSet || key == "offset"
	n.process.roomSet = n.process.roomSet || key == "room"
	said, err := c.ask(ctx, n, http.MethodPost, path, url.Values{key: {value}})
	if err != nil && n.process.excused.Load() {
		select { // a node whose disk is full may have ended just now
		case <-n.process.ended:
			return "", nil
		case <-time.After(adminTimeout):
		}
	}
	return said, err
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
