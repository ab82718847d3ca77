package torture

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded/door"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/node"
)

// site is one region of a world: a disk in memory, and the node that runs on it.
type site struct {
	world *world
	name  string
	door  *door.Door
	db    *client.DB
	disk  *vfs.MemFS
	log   *journal
	// random is the site's own, since two may start at the same time.
	random *rand.Rand
	run    *powered // nil: off
	load   *Load    // of the last run; nil: none
	end    context.CancelFunc
}

func newSite(w *world, name string) *site {
	s := &site{world: w, name: name, door: door.New(name), disk: vfs.NewCrashableMem(), log: &journal{},
		random: rand.New(rand.NewPCG(w.seed, uint64(len(w.sites))<<8|6))}
	s.db = client.New(s.door)
	return s
}

// powered is a run of a site's node, from when its power is switched on until it is cut.
type powered struct {
	site *site
	disk *vfs.MemFS
	wire *door.Wire
	node *node.Node
	cut  chan struct{} // closed when the power is cut

	mu    sync.Mutex
	armed func(errorfs.Op) bool // nil: not armed
	left  int                   // operations until the cut
	ops   int
	after *vfs.MemFS // what the cut has left
	// what survives a cut
	percent int
	chance  *rand.Rand
	fatal   error
}

// start switches a site's power on. A shot that is early is armed at once. It returns when the node serves,
// or its power was cut, or it fails.
func (s *site) start(ctx context.Context, others []string, early *shot) error {
	w := s.world
	r := &powered{
		site: s, disk: s.disk, wire: door.NewWire(w.network.Node(s.name)), cut: make(chan struct{}),
		percent: []int{0, 100, s.random.IntN(101), s.random.IntN(101)}[s.random.IntN(4)],
		chance:  rand.New(rand.NewPCG(w.seed, s.random.Uint64())),
	}
	s.run = r
	if early != nil {
		r.arm(*early)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-r.cut:
			cancel()
		case <-ctx.Done():
		}
	}()
	n, err := node.Start(ctx, s.config(others, r))
	if err != nil {
		return err
	}
	r.node = n
	s.door.Open(w.front(n))
	if r.isCut() {
		s.door.Shut() // a cut in between has found it shut
	}
	return nil
}

// front is what clients reach in place of a node.
func (w *world) front(n *node.Node) kv.Service {
	if w.serve == nil {
		return n
	}
	return w.serve(n)
}

func (s *site) config(others []string, r *powered) node.Config {
	w := s.world
	return node.Config{
		Region: s.name, Join: others, Dir: s.name, FS: errorfs.Wrap(r.disk, errorfs.InjectorFunc(r.before)),
		Time: w.time, Transport: r.wire, Addresses: node.Addresses{Peer: s.name},
		MemTableBytes: w.memTable, CacheBytes: 1 << 20, LeafCacheBytes: 256 << 10,
		LogAge: w.logAge, LogBytes: 1 << 20, Random: w.draw,
		Log: s.log, Fatal: r.failed,
	}
}

// before is called before every operation on the disk.
func (r *powered) before(op errorfs.Op) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops++
	if r.armed == nil || !r.armed(op) {
		return nil
	}
	if r.left--; r.left <= 0 {
		r.off()
	}
	return nil
}

// arm has the power cut at one of the operations that a shot counts.
func (r *powered) arm(s shot) {
	n := 1 + r.site.random.IntN(s.upTo)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left, r.armed = n, s.match
	if s.match == nil {
		r.armed = func(errorfs.Op) bool { return true }
	}
}

// cutNow cuts the power.
func (r *powered) cutNow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.off()
}

// off cuts the power, unless that was done. What clients and peers hear of the node they have heard before
// the state of the disk is fixed: whatever they know is on it. The goroutines of the node go on for a
// while, on a disk that nobody will ever see. The caller holds r.mu.
func (r *powered) off() {
	if r.after != nil {
		return
	}
	r.site.door.Shut()
	r.wire.Cut()
	r.after = r.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.percent, RNG: r.chance})
	r.armed = nil
	close(r.cut)
}

func (r *powered) isCut() bool {
	select {
	case <-r.cut:
		return true
	default:
		return false
	}
}

// failed takes why a node gave up. After a cut nothing that it says counts.
func (r *powered) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.after == nil && r.fatal == nil {
		r.fatal = err
	}
}

func (r *powered) gaveUp() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fatal
}

// bury ends what still runs after a cut, and puts what it left in place of the disk.
func (s *site) bury() {
	r := s.run
	r.cutNow()
	s.world.network.Node(s.name).Fail()
	if r.node != nil {
		r.node.Kill()
	}
	if s.end != nil {
		s.end()
	}
	if s.load != nil {
		s.load.done.Wait() // a transaction of this run that goes on in the next is not found there, rightly
	}
	s.disk, s.run = r.after, nil
}

// journal keeps the end of what a node logs.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// maxJournal bounds a journal, in bytes; beyond it the older half goes.
const maxJournal = 256 << 10

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.text.Len() > maxJournal {
		j.text.Next(maxJournal / 2)
	}
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) note(format string, args ...any) { fmt.Fprintf(j, "--- "+format+"\n", args...) }
