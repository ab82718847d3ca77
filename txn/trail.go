package txn

import (
	"encoding/binary"
	"fmt"
	"sort"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

const (
	// ranKey is the metadata that says for how long the lane has run.
	ranKey = "txn/ran"
	// markPrefix begins the metadata of durable marks: a ring of keptMarks.
	markPrefix = "txn/mark/"
	// markEvery is how finely what a retry asks for can be told from what is older.
	markEvery = 5 * time.Second
	// noteEvery is how often a mark is made durable. What a crash takes back of the running time is
	// searched in vain, no more.
	noteEvery = time.Minute
	// keptMarks are enough for MaxRetryAge, its slack, and a few restarts.
	keptMarks = uint64((MaxRetryAge + time.Hour) / noteEvery)
	// maxMarks bounds the marks in memory, 16 bytes each: once there are more, every second is dropped.
	maxMarks = 1 << 14
)

// mark says that whatever the lane has issued since it had run for ran is above last.
type mark struct {
	ran  time.Duration
	last clock.Timestamp
}

// trail tells how far back in the log lies what was written a duration ago, by no clock but the
// monotonic one, so that nobody who sets the wall clock can hide a first try from its retry. It counts
// how long the lane has run, in this process and those before it. What was stopped, and what a crash
// took back of the count, is missing in it, so a duration of it is never longer than it was in truth:
// it leads to the right mark or to an older one, from which more of the log is searched than need be.
// It is not safe for concurrent use.
type trail struct {
	begun  bool
	base   time.Duration // of the running time, beside the uptime; negative where the lane started late
	marks  []mark        // oldest first
	noted  time.Duration // the running time that was made durable last
	latest mark          // that was made durable last
	next   uint64        // number of the next durable mark
}

// above is the timestamp above which everything lies that was issued since the lane had run for ran;
// 0 where no mark tells.
func (t *trail) above(ran time.Duration) clock.Timestamp {
	i := sort.Search(len(t.marks), func(i int) bool { return t.marks[i].ran > ran })
	if i == 0 {
		return 0
	}
	return t.marks[i-1].last
}

// add takes up a mark. Of several with the same timestamp the oldest says most.
func (t *trail) add(m mark) {
	if n := len(t.marks); n > 0 && t.marks[n-1].last == m.last {
		return
	}
	t.marks = append(t.marks, m)
	if len(t.marks) < maxMarks {
		return
	}
	for i := range len(t.marks) / 2 {
		t.marks[i] = t.marks[2*i]
	}
	t.marks = t.marks[:len(t.marks)/2]
}

// due reports whether a mark is due at a running time.
func (t *trail) due(ran time.Duration) bool {
	n := len(t.marks)
	return n == 0 || ran-t.marks[n-1].ran >= markEvery
}

// note returns what writes a mark, which is as of the running time, with a batch.
func (t *trail) note(m mark) func(b *storage.Batch) {
	number, fresh := t.next, t.next == 0 || m.last != t.latest.last
	if t.noted = m.ran; fresh {
		t.latest, t.next = m, number+1
	}
	return func(b *storage.Batch) {
		b.SetMeta(ranKey, binary.BigEndian.AppendUint64(nil, uint64(m.ran)))
		if fresh {
			v := binary.BigEndian.AppendUint64(nil, number)
			v = binary.BigEndian.AppendUint64(v, uint64(m.ran))
			v = binary.BigEndian.AppendUint64(v, uint64(m.last))
			b.SetMeta(fmt.Sprintf("%s%04d", markPrefix, number%keptMarks), v)
		}
	}
}

// load reads what the processes before this one left.
func (t *trail) load(s *storage.Store) error {
	ran, err := s.Meta(ranKey)
	if err != nil {
		return err
	}
	switch len(ran) {
	case 0:
	case 8:
		t.base = time.Duration(binary.BigEndian.Uint64(ran))
	default:
		return kv.Errorf(kv.KindCorrupt, "%s of %d bytes", ranKey, len(ran))
	}
	byNumber := map[uint64]mark{}
	err = s.MetaScan(markPrefix, func(key string, v []byte) error {
		if len(v) != 3*8 {
			return kv.Errorf(kv.KindCorrupt, "%s of %d bytes", key, len(v))
		}
		number := binary.BigEndian.Uint64(v)
		byNumber[number] = mark{time.Duration(binary.BigEndian.Uint64(v[8:])), clock.Timestamp(binary.BigEndian.Uint64(v[16:]))}
		t.next = max(t.next, number+1)
		return nil
	})
	for number := t.next - min(t.next, keptMarks); number < t.next; number++ {
		if m, found := byNumber[number]; found {
			t.add(m)
			t.latest = m
		}
	}
	t.noted = t.base
	return err
}

// here is a mark for now. c.mu is held.
func (c *Committer) here() mark { return mark{c.ran(), c.store.Applied(c.lane)} }

// ran is for how long the lane has run. c.mu is held.
func (c *Committer) ran() time.Duration { return c.trail.base + c.uptime() }

// markLocked leaves a mark if one is due, and one that is durable now and then, without waiting for it:
// when the store's queue is full the next one will do. c.mu is held.
func (c *Committer) markLocked() {
	if !c.trail.begun {
		return
	}
	m := c.here()
	if c.trail.due(m.ran) {
		c.trail.add(m)
	}
	if m.ran-c.trail.noted < noteEvery {
		return
	}
	before := c.trail
	write := c.trail.note(m)
	j := &laneJob{build: func(b *storage.Batch) error { write(b); return nil }, durable: func() {}, done: make(chan error, 1)}
	if c.store.Submit(ended, j) != nil {
		c.trail.noted, c.trail.latest, c.trail.next = before.noted, before.latest, before.next
	}
}

// KeepLog is up to where the lane's log may be dropped so that retries up to an age are recognised.
// The margin is for what is searched beyond that age.
func (c *Committer) KeepLog(age time.Duration) clock.Timestamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.trail.begun {
		return 0
	}
	m := c.here()
	t := c.trail.above(m.ran - age - age/8)
	c.trail.add(m)
	return t
}
