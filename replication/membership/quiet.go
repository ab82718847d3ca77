package membership

import (
	"bytes"
	"sync"
	"time"
)

// A stranger's connection is worth a line, a port scan is not worth a full disk: at most maxLines of
// memberlist's errors are passed on in a linesPeriod.
const (
	maxLines    = 10
	linesPeriod = time.Minute
)

// quiet drops memberlist's chatter: the streams report who is unreachable, in one line each.
type quiet struct {
	logf func(string, ...any)
	now  func() time.Time

	mu      sync.Mutex
	since   time.Time // when the period began
	lines   int       // passed on in it
	dropped int       // not passed on in it
}

// Write implements io.Writer for memberlist's logger: one line a call.
func (q *quiet) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("[ERR]")) && !bytes.Contains(p, []byte("Failed to join")) {
		q.pass(bytes.TrimSpace(p))
	}
	return len(p), nil
}

func (q *quiet) pass(line []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now := q.now(); now.Sub(q.since) >= linesPeriod {
		if q.dropped > 0 {
			q.logf("gossip: %d more errors like the ones before", q.dropped)
		}
		q.since, q.lines, q.dropped = now, 0, 0
	}
	if q.lines == maxLines {
		q.dropped++
		return
	}
	q.lines++
	q.logf("%s", line)
}
