package node

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
	"github.com/theriac-db/theriac/txn/strong/certify"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

// metadataKey is where the store keeps the metadata by which this node acts: a start, and a region that copies
// its data from here, begin with it.
const metadataKey = "strong/metadata"

// metadata is what is decided of regions and buckets, as this node's machine knows it, and the table of it by
// which calls are judged. The table is on disk here before anybody is judged by it, and never goes back: a
// machine that starts may know less for a while.
type metadata struct {
	news  chan struct{} // has a value when the machine may know more than the table
	table atomic.Pointer[table]

	mu    sync.Mutex
	state *meta.State
}

// table is one version of the metadata.
type table struct {
	version uint64
	rules   *kv.Rules
	passed  chan struct{} // closed once another one counts
}

func newTable(s *meta.State) *table {
	t := &table{version: s.Version(), rules: s.Rules(), passed: make(chan struct{})}
	if t.rules.Empty() {
		t.rules = nil // so that calls ask nothing of it
	}
	return t
}

// openMetadata begins with what the store keeps.
func openMetadata(s *storage.Store) (*metadata, error) {
	kept, err := s.Meta(metadataKey)
	if err != nil {
		return nil, err
	}
	m := &metadata{news: make(chan struct{}, 1), state: meta.New()}
	if len(kept) > 0 {
		if err := m.state.Restore(kept); err != nil {
			return nil, err
		}
	}
	m.table.Store(newTable(m.state))
	return m, nil
}

// Check implements certify.Metadata. It asks nothing of the state.
func (m *metadata) Check(command []byte) error {
	_, err := meta.Decode(command)
	return err
}

// Decide implements certify.Metadata.
func (m *metadata) Decide(command []byte, last clock.Timestamp) certify.Decided {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer poke(m.news)
	return m.state.Decide(command, last)
}

// Drops implements certify.Metadata. It asks nothing of the state.
func (m *metadata) Drops(command []byte) kv.BucketDrop { return m.state.Drops(command) }

// Exists implements certify.Metadata.
func (m *metadata) Exists(a certify.Access) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Exists(a)
}

// AppendSnapshot implements certify.Metadata.
func (m *metadata) AppendSnapshot(dst []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.AppendSnapshot(dst)
}

// Restore implements certify.Metadata.
func (m *metadata) Restore(snapshot []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer poke(m.news)
	return m.state.Restore(snapshot)
}

// Refound implements strong.Metadata.
func (m *metadata) Refound(known uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Refound(known)
}

// version is that of the table, or of what the machine knows, if that is newer.
func (m *metadata) version() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(m.state.Version(), m.table.Load().version)
}

// look shows the state, which must not be kept. at must not wait for anybody else's lock.
func look[T any](m *metadata, at func(*meta.State) T) T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return at(m.state)
}

// known is what is decided of regions, and the version of it.
func (m *metadata) known() (version uint64, regions []meta.Region) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Version(), m.state.Regions()
}

// rules are what calls are judged by; nil: no bucket has any.
func (m *metadata) rules() *kv.Rules { return m.table.Load().rules }

// enforce has calls judged by all that the machine knows, and act act by it before. One caller at a time.
func (m *metadata) enforce(ctx context.Context, s *storage.Store, act func(context.Context, uint64, []meta.Region) error) error {
	now := m.table.Load()
	m.mu.Lock()
	if m.state.Version() <= now.version {
		m.mu.Unlock()
		return nil
	}
	next, snapshot, regions := newTable(m.state), m.state.AppendSnapshot(nil), m.state.Regions()
	m.mu.Unlock()
	err := write(ctx, s, func(b *storage.Batch) error {
		b.SetMeta(metadataKey, snapshot)
		b.LoadVoids(voidBehind(regions))
		return nil
	})
	if err == nil {
		err = act(ctx, next.version, regions)
	}
	if err != nil {
		return err
	}
	m.table.Store(next)
	close(now.passed)
	return nil
}

// voidBehind is what regions that were removed have written behind their last entries: whose token names some of
// it is told that it is lost.
func voidBehind(regions []meta.Region) map[clock.Lane][]kv.Interval {
	out := map[clock.Lane][]kv.Interval{}
	for i := range regions {
		if r := &regions[i]; r.Phase == meta.Removed {
			out[clock.Lane{Region: r.Number}] = []kv.Interval{{From: r.Last, To: clock.MaxTimestamp}}
		}
	}
	return out
}

// await returns once calls are judged by a version, or a later one.
func (m *metadata) await(ctx context.Context, version uint64) error {
	for {
		t := m.table.Load()
		if t.version >= version {
			return nil
		}
		select {
		case <-t.passed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
