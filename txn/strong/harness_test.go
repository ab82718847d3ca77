package strong

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// systemTime is the bubble's clock.
type systemTime struct{}

func (systemTime) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// list is a Machine: the ids that were proposed, each once, in the order of their first entries.
type list struct {
	mu    sync.Mutex
	ids   []uint64
	held  map[uint64]bool
	at    uint64 // the last entry applied
	own   uint64 // the ids of this process have it in their upper half
	floor func(applied uint64) uint64
	gap   string // what was wrong with what the group gave
}

func newList(own uint64) *list {
	return &list{held: make(map[uint64]bool), own: own, floor: func(applied uint64) uint64 { return applied }}
}

// packIDs is Config.Pack: entries are ids.
func packIDs(bodies []any, limit int) (entry []byte, n int, err error) {
	for n < len(bodies) && (n == 0 || len(entry) < limit) {
		b, ok := bodies[n].([]byte)
		if !ok {
			return entry, n, kv.Errorf(kv.KindInvalid, "no id: %v", bodies[n])
		}
		entry = append(entry, b...)
		n++
	}
	return entry, n, nil
}

func checkIDs(entry []byte) error {
	if len(entry)%8 != 0 {
		return kv.Errorf(kv.KindCorrupt, "%d bytes", len(entry))
	}
	return nil
}

func (l *list) Apply(index uint64, entry []byte) (a Applied, err error) {
	if err := checkIDs(entry); err != nil {
		return a, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at != 0 && index != l.at+1 {
		l.gap = fmt.Sprintf("entry %d behind %d", index, l.at)
	}
	l.at = index
	for p := entry; len(p) > 0; p = p[8:] {
		id := binary.BigEndian.Uint64(p)
		if !l.held[id] {
			l.held[id] = true
			l.ids = append(l.ids, id)
		}
		if id>>32 == l.own {
			a.Decided = append(a.Decided, id)
		}
		a.Verdict = append(a.Verdict, p[:8]...)
	}
	return a, nil
}

func (l *list) Snapshot() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []byte("list")
	for _, id := range l.ids {
		out = binary.BigEndian.AppendUint64(out, id)
	}
	return out
}

func (l *list) Restore(index uint64, snapshot []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(snapshot) < 4 || string(snapshot[:4]) != "list" {
		return kv.Errorf(kv.KindCorrupt, "a snapshot of %q", snapshot)
	}
	l.ids, l.held, l.at = nil, make(map[uint64]bool), index
	for b := snapshot[4:]; len(b) > 0; b = b[8:] {
		id := binary.BigEndian.Uint64(b)
		l.ids = append(l.ids, id)
		l.held[id] = true
	}
	return nil
}

func (l *list) Floor() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.floor(l.at)
}

func (l *list) all() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.ids)
}

// member is one of a cluster's.
type member struct {
	id      uint64
	fs      *vfs.MemFS
	store   *storage.Store
	group   *Group
	list    *list
	fatal   chan error
	next    uint64 // id of a proposal
	process uint64 // the upper half of ids
}

// cluster is members on a network in memory, all in one synctest bubble.
type cluster struct {
	t       *testing.T
	rng     *rand.Rand
	tune    func(*Config)
	members map[uint64]*member
	starts  uint64

	mu       sync.Mutex // of what follows, and of rng
	cut      map[[2]uint64]bool
	loss     float64       // of messages lost, and of those sent twice
	delay    time.Duration // one way
	jitter   time.Duration // reorders
	inFlight sync.WaitGroup
	sent     map[uint64]int      // messages, by sender
	wanted   map[uint64]ChangeOp // what members shall be
	override func(View) []Change // in place of it; nil: none
}

func newCluster(t *testing.T, seed uint64) *cluster {
	t.Logf("seed %d", seed)
	return &cluster{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), members: make(map[uint64]*member), cut: make(map[[2]uint64]bool),
		delay: time.Millisecond, wanted: make(map[uint64]ChangeOp), sent: make(map[uint64]int),
	}
}

// bubble runs a test in a synctest bubble.
func bubble(t *testing.T, seed uint64, f func(t *testing.T, c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, seed)
		defer c.close()
		f(t, c)
	})
}

func (c *cluster) close() {
	for _, m := range c.members {
		c.down(m)
	}
	c.inFlight.Wait()
}

// add makes a new member: a founder, or one that waits to be found.
func (c *cluster) add(id uint64, found bool) *member {
	m := &member{id: id, fs: vfs.NewCrashableMem()}
	c.mu.Lock()
	c.members[id] = m
	c.mu.Unlock()
	c.up(m, found)
	return m
}

// up starts a member on what its disk holds.
func (c *cluster) up(m *member, found bool) {
	require.NoError(c.t, c.start(m, found))
}

func (c *cluster) start(m *member, found bool) error {
	store, err := storage.Open(storage.Config{FS: m.fs, Dir: "store", CacheBytes: 1 << 20, MemTableBytes: 1 << 20, LeafCacheBytes: 1 << 16})
	require.NoError(c.t, err)
	c.starts++
	l, fatal := newList(c.starts), make(chan error, 4)
	config := Config{
		ID: m.id, Found: found, Store: store, Machine: l, Pack: packIDs, Check: checkIDs, Time: systemTime{},
		Send:   func(to uint64, messages [][]byte) { c.carry(m.id, to, messages) },
		Wanted: c.reconcile,
		Fatal:  func(err error) { fatal <- err },
	}
	if c.tune != nil {
		c.tune(&config)
	}
	g, err := New(c.t.Context(), config)
	if err != nil {
		require.NoError(c.t, store.Close())
		return err
	}
	c.mu.Lock()
	m.group, m.store, m.list, m.fatal = g, store, l, fatal
	m.process, m.next = c.starts, 0
	c.mu.Unlock()
	return nil
}

// down stops a member in order.
func (c *cluster) down(m *member) {
	if m.group == nil {
		return
	}
	m.group.Stop()
	require.NoError(c.t, m.store.Close())
	require.Empty(c.t, m.list.gap)
	c.mu.Lock()
	m.group, m.store = nil, nil
	c.mu.Unlock()
}

// crash ends a member, with what was not synced lost, or a part of it.
func (c *cluster) crash(m *member, kept int) {
	c.mu.Lock()
	rng := rand.New(rand.NewPCG(c.rng.Uint64(), 2))
	c.mu.Unlock()
	c.isolate(m.id, true) // what it says from here on it never said
	left := m.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rng})
	c.down(m)
	c.isolate(m.id, false)
	m.fs = left
}

// reconcile is Config.Wanted: one change a time, learners become voters once they hold nearly all.
func (c *cluster) reconcile(v View) []Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.override != nil {
		return c.override(v)
	}
	has := make(map[uint64]ChangeOp)
	for _, p := range v.Progress {
		if has[p.ID] = AddVoter; p.Learner {
			has[p.ID] = AddLearner
		}
		if op, known := c.wanted[p.ID]; known && op == AddVoter && p.Learner && p.Match+10 >= v.Commit {
			return []Change{{AddVoter, p.ID}}
		}
	}
	for id, op := range c.wanted {
		switch {
		case op == Remove && has[id] != 0:
			return []Change{{Remove, id}}
		case op != Remove && has[id] == 0:
			return []Change{{AddLearner, id}}
		}
	}
	return nil
}

func (c *cluster) want(op ChangeOp, ids ...uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		c.wanted[id] = op
	}
}

// carry is the network.
func (c *cluster) carry(from, to uint64, messages [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent[from] += len(messages)
	for _, m := range messages {
		if c.cut[[2]uint64{from, to}] || c.rng.Float64() < c.loss {
			continue
		}
		c.deliver(from, to, m)
		if c.rng.Float64() < c.loss {
			c.deliver(from, to, m)
		}
	}
}

func (c *cluster) deliver(from, to uint64, message []byte) {
	delay := c.delay
	if c.jitter > 0 {
		delay += time.Duration(c.rng.Int64N(int64(c.jitter)))
	}
	c.inFlight.Add(1)
	time.AfterFunc(delay, func() {
		defer c.inFlight.Done()
		c.mu.Lock()
		var g *Group
		if m := c.members[to]; m != nil && !c.cut[[2]uint64{from, to}] {
			g = m.group
		}
		c.mu.Unlock()
		if g == nil {
			return
		}
		if err := g.Step(from, [][]byte{slices.Clone(message)}); err != nil {
			panic(err)
		}
	})
}

// isolate cuts a member off, or heals it.
func (c *cluster) isolate(id uint64, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.members {
		c.cut[[2]uint64{id, other}], c.cut[[2]uint64{other, id}] = cut, cut
	}
}

// founded starts a cluster of n voters.
func (c *cluster) founded(n int) []*member {
	out := []*member{c.add(1, true)}
	for id := uint64(2); id <= uint64(n); id++ {
		out = append(out, c.add(id, false))
		c.want(AddVoter, id)
	}
	c.waitFor(30*time.Second, "all are voters", func() bool {
		l := c.leader()
		return l != nil && len(l.group.Status().Voters) == n
	})
	return out
}

// leader is the member that leads the newest term, if there is one.
func (c *cluster) leader() (best *member) {
	term := uint64(0)
	for _, m := range c.members {
		if m.group == nil {
			continue
		}
		if s := m.group.Status(); s.Leading && s.Term > term {
			best, term = m, s.Term
		}
	}
	return best
}

// waitFor polls in the bubble's time.
func (c *cluster) waitFor(limit time.Duration, what string, f func() bool) time.Duration {
	c.t.Helper()
	began := time.Now()
	for !f() {
		if time.Since(began) > limit {
			for id, m := range c.members {
				if m.group != nil {
					c.t.Logf("member %d: %+v", id, m.group.Status())
				}
			}
			require.FailNow(c.t, "not within "+limit.String()+": "+what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}

// propose proposes the member's next id.
func (m *member) propose(ctx context.Context) (uint64, error) {
	m.next++
	id := m.process<<32 | m.next
	return id, m.group.Propose(ctx, Proposal{Number: id, Size: 8, Body: encodeID(id)})
}

func encodeID(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

func (c *cluster) mustPropose(m *member) uint64 {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	id, err := m.propose(ctx)
	require.NoError(c.t, err)
	require.Contains(c.t, m.list.all(), id)
	return id
}

// mustRead reads the list at a member by read index.
func (c *cluster) mustRead(m *member) []uint64 {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	_, err := m.group.ReadIndex(ctx)
	require.NoError(c.t, err)
	return m.list.all()
}

// pass lets the bubble's time pass.
func (c *cluster) pass(d time.Duration) { time.Sleep(d) }

func (c *cluster) sentBy(id uint64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent[id]
}

// failingFS is a disk whose syncs fail from some moment on.
type failingFS struct {
	vfs.FS
	failing atomic.Bool
}

type failingFile struct {
	vfs.File
	fs *failingFS
}

func (f *failingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return &failingFile{file, f}, err
}

func (f *failingFile) Sync() error { return f.sync(f.File.Sync) }

func (f *failingFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *failingFile) sync(do func() error) error {
	if f.fs.failing.Load() {
		return errors.New("the disk is gone")
	}
	return do()
}

// set makes the network lossy, and out of order.
func (c *cluster) set(loss float64, jitter time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loss, c.jitter = loss, jitter
}

// far makes the way to each other member take so long.
func (c *cluster) far(oneWay time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delay = oneWay
}

// keepFrom sets Floor.
func (l *list) keepFrom(floor func(applied uint64) uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.floor = floor
}
