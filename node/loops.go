package node

import (
	"context"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/storage"
)

// How often the node does its chores. docs/reference/limits.md lists them.
const (
	cutsInterval     = 100 * time.Millisecond // telling the store what may be folded
	expireInterval   = 5 * time.Second        // ending abandoned transactions
	truncateInterval = 10 * time.Second       // dropping log records that nobody needs
)

// every calls fn again and again until ctx ends.
func (n *Node) every(ctx context.Context, d time.Duration, fn func()) {
	for {
		fired, release := n.config.Time.NewTimer(d)
		select {
		case <-fired:
			fn()
		case <-ctx.Done():
			release()
			return
		}
	}
}

// moveCuts lets the store fold what nobody can read any more.
func (n *Node) moveCuts() { n.store.SetCuts(n.exposure.Cuts()) }

// truncate drops log records that every region has on its disk and that are old, or too many.
func (n *Node) truncate() {
	everywhere := n.exposure.Everywhere()
	old := clock.At(n.config.Time.Wall().Add(-n.config.LogAge))
	upTo := map[clock.Lane]clock.Timestamp{}
	for _, lane := range n.exposure.Members() {
		stats := n.store.LogStats(lane, n.config.LogBytes)
		if t := min(everywhere.At(lane.Region), max(old, stats.Cut)); t > stats.Truncated {
			upTo[lane] = t
		}
	}
	if len(upTo) == 0 {
		return
	}
	job := &metaJob{build: func(b *storage.Batch) {
		for lane, t := range upTo {
			b.TruncateLog(lane, t)
		}
	}}
	if err := n.submit(context.Background(), job); err != nil {
		n.config.logf("truncating the log: %v", err)
	}
}

// metaJob is a batch that only changes metadata.
type metaJob struct {
	build func(b *storage.Batch)
	done  chan error
}

func (j *metaJob) Build(b *storage.Batch) error {
	j.build(b)
	b.Sync()
	return nil
}

func (j *metaJob) Applied() {}

func (j *metaJob) Durable(err error) { j.done <- err }

// submit runs a job and waits until it is durable.
func (n *Node) submit(ctx context.Context, j *metaJob) error {
	j.done = make(chan error, 1)
	if err := n.store.Submit(ctx, j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
