package storage

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// logEntry is a record that a batch has added.
type logEntry struct {
	lane clock.Lane
	time clock.Timestamp
	size int
}

// segmentBytes is how finely the log's size is known: a lane's log is counted in segments of about
// this many bytes.
const segmentBytes = 1 << 20

// segment is a stretch of a lane's log that ends at a record.
type segment struct {
	last  clock.Timestamp
	bytes int64
}

// laneLog is what is known in memory of one lane's log.
type laneLog struct {
	applied   clock.Timestamp
	truncated clock.Timestamp // records up to it may be gone
	segments  []segment       // oldest first
}

// logTable tracks the logs of all lanes.
type logTable struct {
	mu    sync.RWMutex
	lanes map[clock.Lane]*laneLog
}

func (t *logTable) lane(l clock.Lane) *laneLog {
	if t.lanes == nil {
		t.lanes = make(map[clock.Lane]*laneLog)
	}
	g := t.lanes[l]
	if g == nil {
		g = &laneLog{}
		t.lanes[l] = g
	}
	return g
}

func (t *logTable) add(entries []logEntry) {
	if len(entries) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range entries {
		g := t.lane(e.lane)
		g.applied = max(g.applied, e.time)
		g.count(e)
	}
}

func (g *laneLog) count(e logEntry) {
	if n := len(g.segments); n > 0 && g.segments[n-1].bytes < segmentBytes {
		g.segments[n-1].bytes += int64(e.size)
		g.segments[n-1].last = max(g.segments[n-1].last, e.time) // a bootstrap starts a lane again
		return
	}
	g.segments = append(g.segments, segment{last: e.time, bytes: int64(e.size)})
}

func (t *logTable) applied(l clock.Lane) clock.Timestamp {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if g := t.lanes[l]; g != nil {
		return g.applied
	}
	return 0
}

// Lanes is how far all lanes are applied, in memory.
func (s *Store) Lanes() map[clock.Lane]clock.Timestamp {
	s.logs.mu.RLock()
	defer s.logs.mu.RUnlock()
	out := make(map[clock.Lane]clock.Timestamp, len(s.logs.lanes))
	for l, g := range s.logs.lanes {
		out[l] = g.applied
	}
	return out
}

func (t *logTable) truncated(l clock.Lane) clock.Timestamp {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if g := t.lanes[l]; g != nil {
		return g.truncated
	}
	return 0
}

// LogStats is the state of one lane's log.
type LogStats struct {
	Applied   clock.Timestamp // of the last record
	Truncated clock.Timestamp // records up to it may be gone
	Bytes     int64           // held, before compression; what a start found is estimated from the files
	// Cut is the least point to truncate up to so that at most the bytes asked for remain.
	Cut clock.Timestamp
}

// LogStats tells how much of a lane's log is held, and where to cut it to hold at most keep bytes.
func (s *Store) LogStats(l clock.Lane, keep int64) LogStats {
	s.logs.mu.RLock()
	defer s.logs.mu.RUnlock()
	g := s.logs.lanes[l]
	if g == nil {
		return LogStats{}
	}
	st := LogStats{Applied: g.applied, Truncated: g.truncated}
	for _, seg := range g.segments {
		st.Bytes += seg.bytes
	}
	left := st.Bytes
	for _, seg := range g.segments {
		if left <= keep {
			break
		}
		left -= seg.bytes
		st.Cut = seg.last
	}
	return st
}

// LogCut is the least time up to which all lanes must be cut so that at most keep bytes remain; 0:
// no more is held.
func (s *Store) LogCut(keep int64) clock.Timestamp {
	s.logs.mu.RLock()
	defer s.logs.mu.RUnlock()
	var all []segment
	bytes := int64(0)
	for _, g := range s.logs.lanes {
		all = append(all, g.segments...)
		for _, seg := range g.segments {
			bytes += seg.bytes
		}
	}
	slices.SortFunc(all, func(a, b segment) int { return cmp.Compare(a.last, b.last) })
	cut := clock.Timestamp(0)
	for i := 0; i < len(all) && bytes > keep; i++ {
		bytes -= all[i].bytes
		cut = all[i].last
	}
	return cut
}

// LogBytesAfter estimates the bytes of a lane's records behind a timestamp. It counts whole segments,
// so it may say about 1 MiB too much, and after a start as much as the log then held.
func (s *Store) LogBytesAfter(l clock.Lane, after clock.Timestamp) int64 {
	s.logs.mu.RLock()
	defer s.logs.mu.RUnlock()
	g, bytes := s.logs.lanes[l], int64(0)
	if g == nil {
		return 0
	}
	for i := len(g.segments) - 1; i >= 0 && g.segments[i].last > after; i-- {
		bytes += g.segments[i].bytes
	}
	return bytes
}

// Log returns the records of a lane behind after, as they were applied, the first in any case and
// then as many as fit maxBytes. None: there are none yet. When records behind after have been
// truncated the error matches kv.ErrTooOld.
func (s *Store) Log(l clock.Lane, after clock.Timestamp, maxBytes int) (records [][]byte, err error) {
	if t := s.logs.truncated(l); after < t {
		return nil, kv.Errorf(kv.KindTooOld, "storage: the log of lane %s reaches back to %s, not to %s", l, t, after)
	}
	prefix := appendLane([]byte{spaceLog}, l)
	lower := appendLogKey(nil, l, after+1)
	iter, err := s.iterate(lower, successor(prefix))
	if err != nil {
		return nil, s.readFailed("log of lane "+l.String(), err)
	}
	defer func() {
		if e := iter.Close(); e != nil && err == nil {
			err = s.readFailed("log of lane "+l.String(), e)
		}
	}()
	size, ok := 0, iter.First()
	if ok && after != 0 && mutant.On(mutant.LogSkipsFirst) {
		ok = iter.Next()
	}
	for ; ok; ok = iter.Next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			return nil, s.readFailed("log of lane "+l.String(), err)
		}
		if size += len(value); len(records) > 0 && size > maxBytes {
			break
		}
		records = append(records, append([]byte(nil), value...))
	}
	if err := iter.Error(); err != nil {
		return nil, s.readFailed("log of lane "+l.String(), err)
	}
	// A truncation may have come in between; then the first records may be missing.
	if t := s.logs.truncated(l); after < t {
		return nil, kv.Errorf(kv.KindTooOld, "storage: the log of lane %s reaches back to %s, not to %s", l, t, after)
	}
	return records, nil
}

// TruncateLog drops a lane's records up to a timestamp, with this batch. The caller has made sure
// that nobody needs them. Beyond what is applied it drops nothing.
func (b *Batch) TruncateLog(l clock.Lane, upTo clock.Timestamp) {
	from := b.truncatedTo(l)
	upTo = min(upTo, b.state.at(l))
	if upTo <= from {
		return
	}
	last, err := b.lastUpTo(l, from, upTo)
	if err != nil || last == 0 {
		b.keep(err)
		return
	}
	// The tombstone begins where the last one ended, so that old ones are not carried along.
	b.keep(b.pb.DeleteRange(appendLogKey(nil, l, from), appendLogKey(nil, l, last+1), nil))
	b.setTruncated(truncation{lane: l, mark: last, upTo: upTo})
}

// lastUpTo is the time of the last record, of those above from, that a lane holds up to a time, as of
// this batch; 0: it holds none. The log is complete down to what was really dropped, and says so.
func (b *Batch) lastUpTo(l clock.Lane, from, upTo clock.Timestamp) (clock.Timestamp, error) {
	last, err := b.s.recordAt(l, (*pebble.Iterator).Last, from+1, upTo+1)
	if err != nil {
		return 0, b.s.readFailed("log of lane "+l.String(), err)
	}
	for _, e := range b.logged {
		if e.lane == l && e.time <= upTo {
			last = max(last, e.time)
		}
	}
	return last, nil
}

// dropLog drops all of a lane's log, which ends at last.
func (b *Batch) dropLog(l clock.Lane, last clock.Timestamp) {
	if last != 0 {
		b.keep(b.pb.DeleteRange(appendLogKey(nil, l, 0), appendLogKey(nil, l, last+1), nil))
	}
}

// truncation is what a batch drops of a lane's log.
type truncation struct {
	lane clock.Lane
	mark clock.Timestamp // the log is complete above it
	upTo clock.Timestamp // nothing is held up to it
}

// setTruncated notes that a lane's records up to a mark may be gone. Readers are told right before the
// batch is committed, and so visible: asking too early for a record is harmless, missing one is not.
// Told while it is built, they would stay told if it is not committed.
func (b *Batch) setTruncated(t truncation) {
	b.keep(b.pb.Set(truncatedKey(t.lane), binary.BigEndian.AppendUint64(nil, uint64(t.mark)), nil))
	b.truncated = append(b.truncated, t)
}

// truncatedTo is up to where a lane's records may be gone, as of this batch.
func (b *Batch) truncatedTo(l clock.Lane) clock.Timestamp {
	mark := b.s.logs.truncated(l)
	for _, t := range b.truncated {
		if t.lane == l {
			mark = max(mark, t.mark)
		}
	}
	return mark
}

func (t *logTable) truncate(list ...truncation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range list {
		g := t.lane(m.lane)
		g.truncated = max(g.truncated, m.mark)
		for len(g.segments) > 0 && g.segments[0].last <= m.upTo {
			g.segments = g.segments[1:]
		}
	}
}

// loadLogs fills the table at start.
func (s *Store) loadLogs() error {
	err := s.scanMeta([]byte{spaceMeta, metaTruncated}, func(key, value []byte) error {
		l, t, err := decodeTruncated(key, value)
		if err == nil {
			s.logs.lane(l).truncated = t
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, a := range s.writer.state.applied {
		g := s.logs.lane(a.lane)
		g.applied = a.time
		if err := s.loadSegments(g, a.lane); err != nil {
			return s.readFailed("log of lane "+a.lane.String(), err)
		}
	}
	return nil
}

// countKept estimates where the bytes of a log lie that was kept, if a start has not: the lane was not
// applied then.
func (s *Store) countKept(l clock.Lane, last clock.Timestamp) error {
	found := laneLog{applied: last}
	if err := s.loadSegments(&found, l); err != nil {
		return s.readFailed("log of lane "+l.String(), err)
	}
	s.logs.mu.Lock()
	defer s.logs.mu.Unlock()
	if g := s.logs.lane(l); len(g.segments) == 0 {
		g.segments = found.segments
	}
	return nil
}

// loadedSegments is into how many stretches of equal time a start divides a lane's log, whose sizes
// it estimates from the files: so finely can the log be cut until it has been written anew.
const loadedSegments = 64

// loadSegments estimates where the bytes of a lane's log lie.
func (s *Store) loadSegments(g *laneLog, l clock.Lane) error {
	first, err := s.firstRecord(l)
	if err != nil || first == 0 {
		return err
	}
	from := appendLogKey(nil, l, first)
	step := (g.applied-first)/loadedSegments + 1
	for last := first - 1; last < g.applied; {
		last = min(last+step, g.applied)
		to := appendLogKey(nil, l, last+1)
		size, err := s.db.EstimateDiskUsage(from, to)
		if err != nil {
			return err
		}
		g.segments, from = append(g.segments, segment{last: last, bytes: int64(size)}), to
	}
	return nil
}

// firstRecord is the time of the first record that a lane's log holds; 0: it holds none.
func (s *Store) firstRecord(l clock.Lane) (clock.Timestamp, error) {
	return s.recordAt(l, (*pebble.Iterator).First, 0, clock.MaxTimestamp)
}

// lastRecord is the time of the last record that a lane's log holds; 0: it holds none.
func (s *Store) lastRecord(l clock.Lane) (clock.Timestamp, error) {
	return s.recordAt(l, (*pebble.Iterator).Last, 0, clock.MaxTimestamp)
}

// recordAt is the time of the record that an iterator over [from, to) of a lane's log moves to.
func (s *Store) recordAt(l clock.Lane, move func(*pebble.Iterator) bool, from, to clock.Timestamp) (t clock.Timestamp, err error) {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: appendLogKey(nil, l, from), UpperBound: appendLogKey(nil, l, to)})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	if move(iter) {
		if _, t, err = decodeLogKey(iter.Key()); err != nil {
			return 0, err
		}
	}
	return t, iter.Error()
}
