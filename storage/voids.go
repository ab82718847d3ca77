package storage

import (
	"encoding/binary"
	"sync"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// laneVoid is an interval of timestamps of a lane that were never exposed: a crash took back what
// they may have named.
type laneVoid struct {
	lane     clock.Lane
	interval kv.Interval
}

// voidTable holds the void intervals of all lanes, for good. There is one a crash at most, so they
// are few.
type voidTable struct {
	mu   sync.RWMutex
	list map[clock.Lane][]kv.Interval
}

func (t *voidTable) add(voids []laneVoid) {
	if len(voids) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.list == nil {
		t.list = make(map[clock.Lane][]kv.Interval)
	}
	for _, v := range voids {
		t.list[v.lane] = append(t.list[v.lane], v.interval)
	}
}

// Void reports whether a timestamp of a lane was taken back by a crash: a token that names it asks
// for what never will be.
func (s *Store) Void(l clock.Lane, t clock.Timestamp) bool {
	s.voids.mu.RLock()
	defer s.voids.mu.RUnlock()
	for _, i := range s.voids.list[l] {
		if i.Contains(t) {
			return true
		}
	}
	return false
}

// Voids are the void intervals of all lanes, in the order in which they were added.
func (s *Store) Voids() map[clock.Lane][]kv.Interval {
	s.voids.mu.RLock()
	defer s.voids.mu.RUnlock()
	out := make(map[clock.Lane][]kv.Interval, len(s.voids.list))
	for l, list := range s.voids.list {
		out[l] = append([]kv.Interval(nil), list...)
	}
	return out
}

func (b *Batch) addVoid(v laneVoid) {
	b.scratch = binary.BigEndian.AppendUint64(b.scratch[:0], uint64(v.interval.To))
	b.keep(b.pb.Set(voidKey(v.lane, v.interval.From), b.scratch, nil))
	b.voids = append(b.voids, v)
}

func (s *Store) loadVoids() error {
	var list []laneVoid
	err := s.scanMeta([]byte{spaceMeta, metaVoid}, func(key, value []byte) error {
		if len(key) != 2+3+8 || len(value) != 8 {
			return kv.Errorf(kv.KindCorrupt, "storage: malformed void interval %x", key)
		}
		list = append(list, laneVoid{decodeLane(key[2:]), kv.Interval{
			From: clock.Timestamp(binary.BigEndian.Uint64(key[5:])),
			To:   clock.Timestamp(binary.BigEndian.Uint64(value)),
		}})
		return nil
	})
	s.voids.add(list)
	return err
}
