package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/theriac-db/theriac/jepsen/nemesis"
)

var _ nemesis.Witness = (*Cluster)(nil)

// tally is what was done to a node. Who asks for it does not wait for who does something.
type tally struct {
	mu      sync.Mutex
	effects nemesis.Effects
	read    int64 // of the log, in bytes
}

// add counts an effect.
func (t *tally) add(name string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.effects == nil {
		t.effects = nemesis.Effects{}
	}
	t.effects[name] += n
}

// Effects implements nemesis.Witness.
func (c *Cluster) Effects(_ context.Context, f nemesis.Fault) (nemesis.Effects, error) {
	for _, l := range f.Links {
		if c.nodes[l.From] == nil || c.nodes[l.To] == nil {
			return nil, fmt.Errorf("cluster: no link %s", l)
		}
	}
	sum, err := c.network.effects(f.Links)
	if err != nil {
		return nil, err
	}
	for _, region := range f.Regions {
		n := c.nodes[region]
		if n == nil {
			return nil, fmt.Errorf("cluster: no region %q", region)
		}
		e, err := n.tally.all(n.logFile())
		if err != nil {
			return nil, fmt.Errorf("cluster: the log of region %s: %w", region, err)
		}
		for name, count := range e {
			sum[name] += count
		}
	}
	return sum, nil
}

// all is what was counted so far, and how often the log says that the disk is full.
func (t *tally) all(logFile string) (nemesis.Effects, error) {
	said, err := t.reports(logFile)
	if said > 0 {
		t.add(nemesis.NoSpace, said)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.effects), err
}

// reports counts the new lines of a log that say that the disk is full.
func (t *tally) reports(logFile string) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, err := os.Open(logFile)
	if os.IsNotExist(err) {
		return 0, nil // it was never started
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, t.read, 1<<62))
	whole := b[:bytes.LastIndexByte(b, '\n')+1]
	t.read += int64(len(whole))
	reports := 0
	for line := range bytes.Lines(whole) {
		if bytes.Contains(line, []byte(syscall.ENOSPC.Error())) && !bytes.Contains(line, []byte(preallocate)) {
			reports++
		}
	}
	return reports, err
}

// preallocate is in the reports of files that got no room in advance, without which a node goes on.
const preallocate = "preallocate "

// clockGrain is how finely a node's clock is read.
const clockGrain = time.Millisecond

// moved says by how much at least a node's clock is off that was told an offset between two times of ours,
// by what it answered; 0 where that does not show it, or is not what it was told.
func moved(said string, before, after time.Time, offset time.Duration) time.Duration {
	shown, err := time.Parse("clock "+time.RFC3339Nano+"\n", said)
	if err != nil {
		return 0
	}
	least, most := shown.Sub(after)-clockGrain, shown.Sub(before)+clockGrain
	switch {
	case offset < least || offset > most:
		return 0
	case least > 0:
		return least
	case most < 0:
		return -most
	}
	return 0
}
