package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded/door"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/node"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/causal"
)

// machine is one region's: its clock and disk stay while processes come and go.
type machine struct {
	world  *world
	name   string
	clock  *machineClock
	door   *door.Door
	calls  *callers
	db     *client.DB
	watch  watch
	random func() uint64
	draw   *rand.Rand // of what befalls the machine; one goroutine at a time

	// power holds one while nobody switches the machine on or off. It is no mutex: who waits for one keeps
	// the time of a bubble from passing, which who has it may wait for.
	power chan struct{}
	begun bool // it has been on before
	disk  *disk

	life atomic.Pointer[life] // nil: off
}

// life is one run of a process, from when it is started until it ends.
type life struct {
	endpoint *endpoint
	disk     *disk
	cancel   context.CancelFunc
	done     chan struct{} // closed when nothing is being started any more

	ended atomic.Bool // what its goroutines do from here on nobody hears of

	mu   sync.Mutex
	over bool
	node *node.Node // nil: it is still starting
}

func (w *world) newMachine(name string, p machinePlan) *machine {
	m := &machine{world: w, name: name, clock: newMachineClock(p.Offset, p.Drift), door: door.New(name)}
	m.draw = rand.New(rand.NewPCG(p.Seed, 1))
	m.random = locked(rand.New(rand.NewPCG(p.Seed, 2)).Uint64)
	m.calls = &callers{
		Service: m.door, region: name, reach: w.reach, late: &w.late, ctx: w.ctx, random: rand.New(rand.NewPCG(p.Seed, 3)),
		bad: w.plan.BadCalls, answered: m.watch.answered, serving: m.watch.serving,
	}
	m.db = client.New(m.calls)
	m.disk = newDisk(p.Sync, rand.New(rand.NewPCG(p.Seed, 4)), w.reach)
	m.watch.machine = m
	m.power = make(chan struct{}, 1)
	m.power <- struct{}{}
	return m
}

// locked makes a generator safe for concurrent use.
func locked(draw func() uint64) func() uint64 {
	var mu sync.Mutex
	return func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		return draw()
	}
}

// on starts a process, unless one runs. It serves some time later.
func (m *machine) on() {
	<-m.power
	defer func() { m.power <- struct{}{} }()
	if m.life.Load() != nil {
		return
	}
	ctx, cancel := context.WithCancel(m.world.ctx)
	l := &life{endpoint: m.world.network.endpoint(m.name), disk: m.disk, cancel: cancel, done: make(chan struct{})}
	m.life.Store(l)
	first := !m.begun && m.name == m.world.plan.Regions[0]
	m.begun = true
	go func() {
		defer close(l.done)
		m.start(ctx, l, m.config(l, first))
	}()
}

// How long a start may take, and how long whoever looks after the processes waits before the next try.
const (
	startTimeout = time.Minute
	startAgain   = time.Second
)

// start tries to start a process until it serves, or the life is over.
func (m *machine) start(ctx context.Context, l *life, config node.Config) {
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, startTimeout)
		n, err := node.Start(limited, config)
		cancel()
		if err == nil {
			l.began(m, n)
			return
		}
		if ctx.Err() == nil {
			m.world.logf("%s: the start failed: %v", m.name, err)
			m.world.reach.count("start failed")
			sleep(ctx, startAgain)
		}
	}
}

// began notes the node of a life, or ends it if the life is over.
func (l *life) began(m *machine, n *node.Node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		n.Kill()
		return
	}
	l.node = n
	m.door.Open(n)
	m.world.logf("%s serves", m.name)
}

func (m *machine) config(l *life, founds bool) node.Config {
	p := m.world.plan
	config := node.Config{
		Region: m.name, Dir: "data", FS: l.disk, Time: m.clock, Random: m.random, Transport: l.endpoint,
		Addresses: node.Addresses{Peer: m.name},
		LogAge:    p.LogAge, LogBytes: p.LogBytes, LogLimit: p.LogLimit,
		CacheBytes: 1 << 20, LeafCacheBytes: p.LeafCache, MemTableBytes: p.MemTable, RemovalLeaves: p.RemovalLeaves, RaftSnapshotEntries: p.RaftEntries,
		Log:   logWriter{m, l},
		Fatal: func(err error) { m.gaveUp(l, err) },
		Core: func(start causal.Start, c *causal.Machine) replication.Core {
			return m.watch.begin(l, start, c)
		},
	}
	if !founds {
		for _, other := range m.world.names() {
			if other != m.name {
				config.Join = append(config.Join, other)
			}
		}
	}
	return config
}

// gaveUp is told that a node takes no more writes. Only a disk that fails is a reason.
func (m *machine) gaveUp(l *life, err error) {
	if l.disk.failing() {
		m.world.reach.count("node stopped by its disk")
		return
	}
	m.world.fail("node gave up", fmt.Sprintf("%s: %v", m.name, err))
}

// crash ends the process as a power cut does, at one moment for clients, peers and the disk. What
// clients and peers know of the region they know before the state of its disk is fixed, so nothing
// of it can be missing there.
func (m *machine) crash() bool {
	<-m.power
	defer func() { m.power <- struct{}{} }()
	l := m.life.Load()
	if l == nil {
		return false
	}
	m.door.Shut()
	l.endpoint.die()
	m.watch.crashed(l)
	m.disk = l.disk.crash()
	l.disk.end()
	m.life.Store(nil)
	l.cancel()
	l.mu.Lock()
	l.over = true
	n := l.node
	l.mu.Unlock()
	<-l.done
	if n != nil {
		m.count(n)
		n.Kill()
	}
	return true
}

// stop ends the process in order.
func (m *machine) stop(ctx context.Context) error {
	<-m.power
	defer func() { m.power <- struct{}{} }()
	l := m.life.Load()
	if l == nil {
		return nil
	}
	m.life.Store(nil)
	l.cancel()
	l.mu.Lock()
	l.over = true
	n := l.node
	l.mu.Unlock()
	<-l.done
	var err error
	if n != nil {
		m.count(n)
		err = n.Close(ctx)
	}
	m.door.Shut()
	m.watch.crashed(l)
	l.endpoint.die()
	return err
}

// loseDisk ends the process and empties its disk. alone are the regions of whose writes some were on no
// other disk; done is false where there was nothing to do.
func (m *machine) loseDisk() (alone []string, done bool) {
	m.crash()
	<-m.power
	defer func() { m.power <- struct{}{} }()
	if m.life.Load() != nil {
		return nil, false // somebody was faster
	}
	alone = m.watch.alone()
	m.watch.lost()
	random := rand.New(rand.NewPCG(m.draw.Uint64(), 4))
	m.disk = newDisk(m.world.plan.Machines[m.name].Sync, random, m.world.reach)
	return alone, true
}

// count takes a node's figures into those of the run, at its end.
func (m *machine) count(n *node.Node) {
	s, r := n.Stats(), m.world.reach
	r.add("leaf rewritten", int(s.Store.Rewrites))
	r.add("log searched for an operation", int(s.Txn.Searches))
	r.add("compaction", int(s.Store.Compactions))
	for size, groups := range s.Txn.GroupSizes {
		if size > 0 {
			r.add("group of several transactions", int(groups))
		}
	}
}

// node is the process that runs, or nil.
func (m *machine) node() (*node.Node, *life) {
	l := m.life.Load()
	if l == nil {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.node, l
}

// status is what the process says of itself; false while there is none.
func (m *machine) status(ctx context.Context) (kv.Status, bool) {
	s, err := m.door.Status(ctx)
	return s, err == nil
}

// logWriter takes a node's log lines.
type logWriter struct {
	m    *machine
	life *life // the node's
}

// What a region does that fell behind; its store closes, and others open, though syncs take long.
const (
	takenAnew       = "data taken anew after falling behind"
	takenAnewSlowly = takenAnew + ", on a slow disk"
)

// groupDead is what a node says that founds the raft group anew.
const groupDead = "the raft group is dead"

// signs are what log lines say of paths that were taken.
var signs = []struct{ text, means string }{
	{"its records wait; correct the clocks", "records paused by skew"},
	{"most regions find this node's clock", "writes refused for a clock that is ahead"},
	{"stopping to take all data anew", takenAnew},
	{"has not reported records that the log no longer holds", "log dropped though a region lacks it"},
	{"no writes are taken:", "region fell behind"},
	{"this region catches up again", "region that fell behind caught up"},
	{") joins with another node", "joined again with another node"},
	{") has joined", "region joined"},
	{"sending region", "cut sent"},
	{") takes writes", "region takes writes"},
	{"disconnected", "stream ended"},
	{"connected", "stream began"},
	{"what the store refuse", "record refused by the store"},
	{"truncating the log", "log truncation failed"},
	{groupDead, "raft group founded anew"},
	{"is led by", "raft group led"},
}

// Write implements io.Writer: one line of the node's log a call.
func (w logWriter) Write(b []byte) (int, error) {
	line := string(b)
	for _, s := range signs {
		if strings.Contains(line, s.text) {
			w.m.world.reach.count(s.means)
			if s.means == takenAnew && w.life.disk.isSlow() {
				w.m.world.reach.count(takenAnewSlowly)
			}
			break
		}
	}
	if !w.life.ended.Load() {
		if wrong := w.m.world.certified.heed(w.m.name, line); wrong != "" {
			w.m.watch.fail("leaders", wrong)
		}
		if strings.Contains(line, groupDead) {
			w.m.world.refounded()
		}
	}
	w.m.world.log.add(line)
	return len(b), nil
}
