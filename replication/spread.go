package replication

import (
	"context"
	"fmt"
	"strings"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// WaitDurable returns once so many serving regions, this one included, have a group exposed and on their
// disks. It asks them to say so at once, one question a peer for all calls that come together; their
// heartbeats would tell too, up to HeartbeatEvery later. have is how many are known to have it, also when
// that was not enough until ctx ended, which is kv.ErrDeadline and says who is missing; other errors are
// those of Exposure.Wait.
func (r *Replicator) WaitDurable(ctx context.Context, s clock.Stamp, regions int) (have int, err error) {
	if r.c.Exposure.Spread(s.Region, regions) < s.Time {
		r.pressAll(clock.VectorOf(clock.Entry(s)))
		err = r.c.Exposure.waitSpread(ctx, s, regions)
	}
	have = r.durableIn(s)
	if err != nil && ctx.Err() != nil {
		err = kv.Errorf(kv.KindDeadline, "the write is on disk in %d of the %d regions that were asked for: not, or not known to be, in %s (%w)",
			have, regions, strings.Join(r.without(s), ", "), ctx.Err())
	}
	return have, err
}

// pressAll asks all serving regions to tell when they have a vector on disk.
func (r *Replicator) pressAll(v clock.Vector) {
	serving := r.serving()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted = r.wanted.Join(v) // for streams that begin later
	for _, m := range serving {
		if s := r.streams[m.Region]; s != nil {
			s.press(v)
		}
	}
}

// durableIn is how many serving regions are known to have a group exposed and on their disks.
func (r *Replicator) durableIn(s clock.Stamp) int {
	n := 0
	for s.Time > 0 && r.c.Exposure.Spread(s.Region, n+1) >= s.Time {
		n++
	}
	return n
}

// without names the serving regions that are not known to have a group on disk.
func (r *Replicator) without(s clock.Stamp) []string {
	var out []string
	serving := r.serving()
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.Time.Monotonic()
	for _, m := range serving {
		report, ok := r.c.Exposure.Reported(m.Region)
		switch p := r.streams[m.Region]; {
		case m.Region == r.self.Region, ok && report.Durable.At(s.Region) >= s.Time:
		case p == nil || !p.live(now):
			out = append(out, fmt.Sprintf("%s (not connected)", m.Name))
		default:
			out = append(out, m.Name)
		}
	}
	return out
}
