package txn

import (
	"context"
	"fmt"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Limits of searches through the log. docs/reference/limits.md lists them.
const (
	// MaxSearching bounds the retries and outcomes that wait for a search of the log; one more gets
	// ErrOverloaded.
	MaxSearching = 1 << 16
	// searchChunk is how many bytes of the log one step of a search reads.
	searchChunk = 1 << 20
)

// search is one pass through the lane's log on behalf of all who came while the pass before it ran:
// however many ask, one pass runs at a time, and each waits for two at most (invariant 6).
type search struct {
	since   clock.Timestamp // the least that somebody asked for
	sought  map[kv.OpID]int // by how many; those who leave early are taken out
	reached clock.Timestamp // how far back the log goes, if not to since
	err     error
	done    chan struct{} // closed when reached and err are set and the pins are
}

// searchLocked waits until the log above since has been searched for an id, which the caller has pinned
// and keeps pinned until it has acted on the answer. c.mu is held, but not while waiting.
func (c *Committer) searchLocked(ctx context.Context, id kv.OpID, since clock.Timestamp) error {
	t := c.ids
	switch {
	case c.stopped:
		return stopping()
	case t.waiting >= MaxSearching:
		e := kv.Errorf(kv.KindOverloaded, "%d operations are being looked up already; ask again later", MaxSearching)
		e.RetryAfter = time.Second
		return e
	}
	s := t.join(id, since)
	if !t.looking {
		t.looking = true
		c.searches.Go(c.searchAll)
	}
	c.mu.Unlock()
	err := s.wait(ctx)
	c.mu.Lock()
	t.leave(s, id)
	switch {
	case err != nil:
		return err
	case since < s.reached:
		if _, found := t.lookup(id); !found {
			return kv.Errorf(kv.KindTooOld, "the log reaches back to %s, not to %s", s.reached, since)
		}
	}
	return nil
}

// join takes part in the next search.
func (t *opTable) join(id kv.OpID, since clock.Timestamp) *search {
	if t.next == nil {
		t.next = &search{since: since, sought: map[kv.OpID]int{}, done: make(chan struct{})}
	}
	s := t.next
	s.since = min(s.since, since)
	s.sought[id]++
	t.waiting++
	t.open = true
	return s
}

func (t *opTable) leave(s *search, id kv.OpID) {
	t.waiting--
	if s.sought[id]--; s.sought[id] == 0 {
		delete(s.sought, id)
	}
}

func (s *search) wait(ctx context.Context) error {
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return gaveUp(ctx, "waiting for a search of the log", kv.OutcomeUnknown)
	}
}

// searchAll runs searches as long as somebody waits for one.
func (c *Committer) searchAll() {
	for {
		s, end := c.nextSearch()
		if s == nil {
			return
		}
		found, err := c.pass(s, end)
		c.mu.Lock()
		s.err = err
		if err == nil {
			c.ids.fill(found.oldestFirst(), max(s.since, s.reached, found.dropped))
		}
		c.mu.Unlock()
		close(s.done)
	}
}

// nextSearch is the search that has gathered meanwhile, and up to where it has to look: what is not
// on disk yet is under way or will be noted, and what the table covers its callers have found there.
func (c *Committer) nextSearch() (s *search, end clock.Timestamp) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, c.ids.next = c.ids.next, nil
	if s == nil {
		c.ids.looking = false
		return nil, 0
	}
	if len(s.sought) > 0 {
		c.stats.searches.Add(1)
	}
	for id := range s.sought {
		if f, known := c.ids.known[id]; known { // since it was asked for; it may be forgotten again
			c.ids.pins[id].learn(f)
		}
	}
	return s, min(c.exposure.Exposed().At(c.lane.Region), c.ids.from)
}

// pass reads the operation ids of this lane's groups above s.since, up to end.
func (c *Committer) pass(s *search, end clock.Timestamp) (*window, error) {
	w := &window{}
	for at := s.since; at < end; {
		if err := c.goOn(s); err != nil {
			return w, err
		}
		if gone := c.store.LogStats(c.lane, 0).Truncated; at < gone {
			at, s.reached = gone, gone
		}
		chunk, err := c.store.Log(c.lane, at, searchChunk)
		if kv.KindOf(err) == kv.KindTooOld {
			continue // truncated just now
		}
		if err != nil || len(chunk) == 0 {
			return w, err
		}
		for _, raw := range chunk {
			rec, err := kv.DecodeRecord(raw)
			if err != nil {
				return w, fmt.Errorf("reading the log of lane %s: %w", c.lane, err)
			}
			if at = rec.Time; at > end {
				break
			}
			c.take(s, w, rec)
		}
	}
	return w, nil
}

// goOn ends a search that nobody waits for any more, and every search of a committer that stops.
func (c *Committer) goOn(s *search) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stopped:
		return stopping()
	case len(s.sought) == 0:
		return context.Canceled
	}
	return nil
}

// take notes a record's ids, and at once those that somebody waits for.
func (c *Committer) take(s *search, w *window, rec *kv.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range rec.Txns {
		txn := &rec.Txns[i]
		if txn.ID.IsZero() {
			continue
		}
		f := fate{rec.Time, len(txn.Effects) == 0}
		w.add(loggedID{txn.ID, f})
		if s.sought[txn.ID] > 0 {
			c.ids.pins[txn.ID].learn(f)
		}
	}
}

// window keeps the newest MaxKnownIDs ids that are added to it, in order.
type window struct {
	ids     []loggedID
	first   int             // of ids, once it is full
	dropped clock.Timestamp // of the newest that was dropped
}

func (w *window) add(k loggedID) {
	if len(w.ids) < MaxKnownIDs {
		w.ids = append(w.ids, k)
		return
	}
	w.dropped = w.ids[w.first].time
	w.ids[w.first] = k
	w.first = (w.first + 1) % MaxKnownIDs
}

// oldestFirst lists what is kept; the window is not used after it.
func (w *window) oldestFirst() []loggedID {
	if w.first == 0 {
		return w.ids
	}
	return append(append(make([]loggedID, 0, len(w.ids)), w.ids[w.first:]...), w.ids[:w.first]...)
}
