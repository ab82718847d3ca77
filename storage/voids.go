package storage

import (
	"encoding/binary"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// voids are the void intervals of all lanes: timestamps that no session token rightly names any
// more. A lane's are sorted and stand apart (invariant 9).
//
// What may lie between two of them decides what may be merged. A void record says that its lane holds
// nothing from the record before it up to itself. Its own timestamp does get into snapshots and
// dependencies, being a step of the lane; but it adds nothing to the step before, so Lowered takes it
// out of tokens, and then nothing valid is left in (prev, time]. A crash after which nothing was
// committed begins its interval at the last crash's record: the two touch and are merged, and a crash
// loop costs one interval. A group in between keeps two intervals apart, since sessions have seen it.
// (Keeping the record's own timestamp out of the intervals was tried; then every crash leaves one.)
type voids map[clock.Lane][]kv.Interval

// at finds the interval of a lane that holds a timestamp.
func (v voids) at(l clock.Lane, t clock.Timestamp) (kv.Interval, bool) {
	list := v[l]
	n := sort.Search(len(list), func(n int) bool { return list[n].To >= t })
	if n == len(list) || !list[n].Contains(t) {
		return kv.Interval{}, false
	}
	return list[n], true
}

// add puts a nonempty interval in. It returns what that became, and the intervals that went into it.
func (v voids) add(l clock.Lane, i kv.Interval) (merged kv.Interval, swallowed []kv.Interval) {
	list := v[l]
	from := sort.Search(len(list), func(n int) bool { return list[n].To >= i.From })
	to := from + sort.Search(len(list)-from, func(n int) bool { return list[from+n].From > i.To })
	swallowed = slices.Clone(list[from:to])
	if n := len(swallowed); n > 0 {
		i.From, i.To = min(i.From, swallowed[0].From), max(i.To, swallowed[n-1].To)
	}
	v[l] = slices.Replace(list, from, to, i)
	return i, swallowed
}

// clone copies all, so that the copy can be added to.
func (v voids) clone() voids {
	out := make(voids, len(v)+1)
	for l, list := range v {
		out[l] = slices.Clone(list)
	}
	return out
}

// voidTable holds the void intervals for good. Readers take them as they are; the writer replaces
// them.
type voidTable struct{ current atomic.Pointer[voids] }

func (t *voidTable) load() voids {
	if v := t.current.Load(); v != nil {
		return *v
	}
	return nil
}

// commit takes over what a batch has made of them; nil: nothing.
func (t *voidTable) commit(v voids) {
	if v != nil {
		t.current.Store(&v)
	}
}

// Void reports whether a timestamp of a lane was taken back by a crash: a token that names it asks
// for what never will be.
func (s *Store) Void(l clock.Lane, t clock.Timestamp) bool {
	_, void := s.voids.load().at(l, t)
	return void
}

// Lowered is a snapshot as a token should name it: an entry that stands at a void record is set back
// to the group before it, which shows the same.
func (s *Store) Lowered(v clock.Vector) clock.Vector {
	all := s.voids.load()
	if len(all) == 0 {
		return v
	}
	out := v
	for _, e := range v {
		if i, void := all.at(clock.Stamp(e).Lane(), e.Time); void {
			out = out.With(e.Region, i.From)
		}
	}
	return out
}

// Voids are the void intervals of all lanes, those of a lane in order.
func (s *Store) Voids() map[clock.Lane][]kv.Interval { return s.voids.load().clone() }

// applyVoid adds what a void record says itself, and what its place in the lane says.
func (b *Batch) applyVoid(r *kv.Record) {
	b.addVoid(r.Lane, r.Void)
	b.addVoid(r.Lane, kv.Interval{From: r.Prev, To: r.Time})
}

// addVoid adds an interval, and has the disk hold what it became.
func (b *Batch) addVoid(l clock.Lane, i kv.Interval) {
	if i.From >= i.To {
		return
	}
	if b.voids == nil {
		b.voids = b.s.voids.load().clone()
	}
	merged, swallowed := b.voids.add(l, i)
	for _, old := range swallowed {
		if old.From != merged.From {
			b.keep(b.pb.Delete(voidKey(l, old.From), nil))
		}
	}
	b.scratch = binary.BigEndian.AppendUint64(b.scratch[:0], uint64(merged.To))
	b.keep(b.pb.Set(voidKey(l, merged.From), b.scratch, nil))
}

func (s *Store) loadVoids() error {
	all := make(voids)
	err := s.scanMeta([]byte{spaceMeta, metaVoid}, func(key, value []byte) error {
		l, i, err := decodeVoid(key, value)
		if err == nil {
			all.add(l, i)
		}
		return err
	})
	s.voids.commit(all)
	return err
}

func decodeVoid(key, value []byte) (clock.Lane, kv.Interval, error) {
	if len(key) == voidKeyLen && key[0] == spaceMeta && key[1] == metaVoid && len(value) == 8 {
		i := kv.Interval{
			From: clock.Timestamp(binary.BigEndian.Uint64(key[5:])),
			To:   clock.Timestamp(binary.BigEndian.Uint64(value)),
		}
		if i.From < i.To {
			return decodeLane(key[2:]), i, nil
		}
	}
	return clock.Lane{}, kv.Interval{}, kv.Errorf(kv.KindCorrupt, "storage: malformed void interval %x: %x", key, value)
}
