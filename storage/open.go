package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Store is one node's disk. Its methods are safe for concurrent use unless they say otherwise.
type Store struct {
	cfg  Config
	db   *pebble.DB
	lock *pebble.Lock

	start   Start
	failed  atomic.Pointer[failure]
	running atomic.Bool // opened: errors are for fail, not for who opens
	faulty  fault
	guard   lifeguard
	cuts    atomic.Pointer[cuts]
	cache   *leafCache
	pending pendingTable
	voids   voidTable
	drops   dropTable
	logs    logTable
	raft    atomic.Pointer[RaftState] // stored by the writer only
	sweep   sweeper
	counts  counters
	readers readers

	submit   sync.RWMutex // held while sending; only Close takes it, to see the last sender off
	closed   bool         // under submit
	closing  sync.Once
	closeErr error // of closing
	queue    chan Job
	chores   chan Job // background work, with lower priority
	synced   chan syncItem
	syncDue  chan struct{} // the sync delay of an unsynced batch has passed
	tidyDue  chan struct{}
	stop     context.CancelFunc
	stopped  context.Context // ends the keeper and the chores' submitters
	written  chan struct{}   // the writer has ended
	drain    chan struct{}   // closed: the syncer is to answer what it has and end
	done     sync.WaitGroup  // syncer
	keeper   sync.WaitGroup

	writer    writer   // the writer goroutine's own
	witness   *witness // under testimony.mu once running
	testimony struct {
		mu sync.Mutex
		testimony
	}
	syncErr error // the syncer's own: the sync that failed
}

// Start is what Open found.
type Start struct {
	Fresh       bool   // this Open created the store
	Short       bool   // it may lack what was acknowledged; see Reason. Stays so until Batch.Recovered
	Reason      string // why Short
	Incarnation uint64 // of the store: drawn when it is created and whenever it turns short
	Applied     map[clock.Lane]clock.Timestamp
	Bound       clock.Timestamp // no timestamp of the own lane above it was ever handed out
}

// Start is what Open found.
func (s *Store) Start() Start { return s.start }

// Open opens or creates the store in a folder. Errors say what to do: matching kv.ErrInvalid for a
// folder that is not a store, kv.ErrUnavailable for one in use, kv.ErrCorrupt for a damaged one.
func Open(c Config) (*Store, error) {
	c = c.withDefaults()
	if err := claimFolder(&c); err != nil {
		return nil, err
	}
	lock, err := lockFolder(&c)
	if err != nil {
		return nil, err
	}
	s := newStore(c, lock)
	opened := make(chan error, 1)
	go func() {
		err := s.open()
		if err != nil {
			err = s.giveUp(err)
		}
		opened <- err
	}()
	select {
	case err = <-opened:
	case <-s.faulty.found: // it may never end
		return nil, s.openFailed(fmt.Errorf("%w. Only the end of the process frees the folder", s.faulty.err))
	}
	if err != nil {
		return nil, err
	}
	s.run()
	return s, nil
}

// fault is what Pebble met in the background, or gave up for, while the store was being opened. Pebble would try again for
// ever, with Open waiting for it. So it begins nothing any more, and Open gives up in its place: what it
// was at is left where it is, and only the end of the process frees the folder.
type fault struct {
	once  sync.Once
	err   error
	found chan struct{}
}

// backgroundFailed takes a failure that nobody who calls Pebble is told.
func (s *Store) backgroundFailed(err error) {
	if s.running.Load() {
		s.fail(err)
		return
	}
	s.faulty.once.Do(func() {
		s.faulty.err = err
		close(s.faulty.found)
	})
}

// isFaulty reports whether a background write failed before the store ran.
func (s *Store) isFaulty() bool {
	select {
	case <-s.faulty.found:
		return true
	default:
		return false
	}
}

func newStore(c Config, lock *pebble.Lock) *Store {
	s := &Store{
		cfg: c, lock: lock, cache: newLeafCache(c.LeafCacheBytes),
		queue: make(chan Job, QueuedJobs), chores: make(chan Job, 1), synced: make(chan syncItem, SyncsInFlight),
		syncDue: make(chan struct{}, 1), tidyDue: make(chan struct{}, 1),
		readers: readers{gone: make(chan struct{}, 1)},
		written: make(chan struct{}), drain: make(chan struct{}),
		faulty: fault{found: make(chan struct{})},
		guard:  lifeguard{stranded: make(chan struct{}), rescued: make(chan struct{})},
	}
	s.cuts.Store(&cuts{})
	s.stopped, s.stop = context.WithCancel(context.Background())
	return s
}

// giveUp closes what a failed open had opened.
func (s *Store) giveUp(cause error) error {
	if s.db != nil {
		if err := s.db.Close(); err != nil {
			s.cfg.Logf("storage: close %s after a failed open: %v", s.cfg.Dir, err)
		}
	}
	if err := s.retireWitness(); err != nil {
		s.cfg.Logf("storage: close the witness of %s after a failed open: %v", s.cfg.Dir, err)
	}
	if err := s.lock.Close(); err != nil {
		s.cfg.Logf("storage: unlock %s after a failed open: %v", s.cfg.Dir, err)
	}
	return cause
}

// open reads what is on disk and checks it against the witness.
func (s *Store) open() error {
	said, turn, found, err := readWitness(s.cfg.FS, s.cfg.FS.PathJoin(s.cfg.Dir, witnessName))
	if err != nil {
		return err
	}
	if found {
		if err := checkManifests(&s.cfg, &said); err != nil {
			return err
		}
		s.testimony.testimony = said
	}
	if err := s.openPebble(found); err != nil {
		return err
	}
	if err := s.loadState(); err != nil {
		return err
	}
	if err := s.judge(said, turn, found); err != nil {
		return err
	}
	return s.load()
}

// openPebble opens the Pebble store; mustExist: the witness says that there was one.
func (s *Store) openPebble(mustExist bool) (err error) {
	defer func() {
		if p := recover(); p != nil { // Pebble panics on some damaged files
			cause, ok := p.(error)
			if !ok {
				cause = fmt.Errorf("%v", p)
			}
			err = s.openFailed(cause)
		}
	}()
	o := s.options(s.lock)
	o.ErrorIfNotExists = mustExist
	s.db, err = pebble.Open(s.cfg.dataDir(), o)
	if err == nil {
		return nil
	}
	s.db = nil
	if errors.Is(err, pebble.ErrDBDoesNotExist) {
		return kv.Errorf(kv.KindCorrupt, "storage: %s is gone, but %s says that it held data: %w. %s", s.cfg.dataDir(), witnessName, err, remedy)
	}
	return s.openFailed(err)
}

// openFailed tells a disk that refuses, which may be full or not readable for now, from damage: only for
// that is the remedy to give the folder up.
func (s *Store) openFailed(err error) error {
	var refused syscall.Errno
	if errors.As(err, &refused) && refused != syscall.ENOENT { // a missing file is damage
		return kv.Errorf(kv.KindUnavailable, "storage: open %s: %w", s.cfg.dataDir(), err)
	}
	return kv.Errorf(kv.KindCorrupt, "storage: open %s: %w. %s", s.cfg.dataDir(), err, remedy)
}

func (s *Store) loadState() error {
	b, found, err := s.read(stateKey)
	if err != nil || !found {
		return err
	}
	s.writer.state, err = decodeState(b)
	return err
}

// creationNumber is the sequence number of a store that holds nothing yet.
const creationNumber = 1

// judge compares what was found with what the witness says and decides whether the store is fresh,
// complete or short.
func (s *Store) judge(said testimony, turn int, found bool) error {
	st := &s.writer.state
	switch {
	case !found && st.number <= creationNumber:
		s.start.Fresh = true
		return s.create()
	case !found:
		return s.turnShort("no " + witnessName + " file: the folder is a copy, a checkpoint, or its witness was deleted")
	case said.incarnation != st.incarnation && st.number != 0:
		return s.turnShort(witnessName + " belongs to another store: the folder was put together from two")
	case st.number < said.number:
		return kv.Errorf(kv.KindCorrupt, "storage: %s holds batches up to %d, but %d were synced: a log file in %s is damaged or was cut. %s",
			s.cfg.Dir, st.number, said.number, s.cfg.dataDir(), remedy)
	}
	reason, noted, err := s.notedShort()
	if err != nil {
		return err
	}
	if noted { // while it was open: what it lacks it lacks under another incarnation
		return s.turnShort(reason)
	}
	w, err := openWitness(s.cfg.FS, s.cfg.Dir, turn)
	if err != nil {
		return kv.Errorf(kv.KindUnavailable, "storage: open %s in %s: %w", witnessName, s.cfg.Dir, err)
	}
	if err := s.swear(w); err != nil {
		return kv.Errorf(kv.KindUnavailable, "storage: write %s in %s: %w", witnessName, s.cfg.Dir, err)
	}
	return nil
}

// notedShort is the reason that Batch.Short noted since the store was opened last, if it was.
func (s *Store) notedShort() (reason string, noted bool, err error) {
	b, found, err := s.read(shortKey)
	if err != nil || !found || len(b) == 0 || b[0] != shortNoted {
		return "", false, err
	}
	return string(b[1:]), true, nil
}

// shortNoted is the first byte of a reason until the store has its new incarnation.
const shortNoted = 0x00

// swear takes a witness file into use: it now says what Open found.
func (s *Store) swear(w *witness) error {
	s.testimony.mu.Lock()
	s.witness = w
	s.testimony.mu.Unlock()
	err := s.testify(func(t *testimony) {
		t.incarnation, t.number = s.writer.state.incarnation, s.writer.state.number
	})
	return errors.Join(err, w.sync())
}

// create finishes a new store: its first batch, out of the first log (which replay trusts too much,
// being of an older format), then the witness.
func (s *Store) create() error {
	st := &s.writer.state
	if st.number == 0 {
		st.incarnation = s.cfg.Incarnation()
		st.number = creationNumber
		if err := s.db.Set(stateKey, st.append(nil), pebble.Sync); err != nil {
			return kv.Errorf(kv.KindUnavailable, "storage: create %s: %w", s.cfg.Dir, err)
		}
	}
	return s.rotateAndWitness()
}

// turnShort gives the store a new incarnation and notes, durably, that it is short.
func (s *Store) turnShort(reason string) error {
	st := &s.writer.state
	st.incarnation = s.cfg.Incarnation()
	st.number++
	b := s.db.NewBatch()
	defer b.Close()
	err := errors.Join(b.Set(stateKey, st.append(nil), nil), b.Set(shortKey, []byte(reason), nil))
	if err == nil {
		err = b.Commit(pebble.Sync)
	}
	if err != nil {
		return kv.Errorf(kv.KindUnavailable, "storage: write %s: %w", s.cfg.Dir, err)
	}
	return s.rotateAndWitness()
}

func (s *Store) rotateAndWitness() error {
	err := s.db.Flush()
	if err == nil {
		var w *witness
		st := &s.writer.state
		if w, err = createWitness(s.cfg.FS, s.cfg.Dir, &testimony{incarnation: st.incarnation, number: st.number}); err == nil {
			err = s.swear(w)
		}
	}
	if err != nil {
		return kv.Errorf(kv.KindUnavailable, "storage: create the witness of %s: %w", s.cfg.Dir, err)
	}
	return nil
}

// load fills the tables that are kept in memory.
func (s *Store) load() error {
	reason, short, err := s.read(shortKey)
	if err != nil {
		return err
	}
	st := &s.writer.state
	s.start.Short, s.start.Reason = short, string(reason)
	s.start.Incarnation, s.start.Bound, s.start.Applied = st.incarnation, st.bound, st.lanes()
	return errors.Join(s.loadPending(), s.loadVoids(), s.loadDrops(), s.loadLogs(), s.loadRaft())
}

// read gets one key, copied.
func (s *Store) read(key []byte) (value []byte, found bool, err error) {
	v, closer, err := s.get(key)
	if err != nil {
		return nil, false, s.readFailed(fmt.Sprintf("key %x", key), err)
	}
	if closer == nil {
		return nil, false, nil
	}
	value = append([]byte{}, v...)
	if err := s.release(closer); err != nil {
		return nil, false, s.readFailed(fmt.Sprintf("key %x", key), err)
	}
	return value, true, nil
}

// run starts the goroutines.
func (s *Store) run() {
	s.writer.init(s)
	s.running.Store(true)
	s.done.Add(1)
	go s.write()
	go s.rescue()
	go s.sync()
	s.keeper.Add(1)
	go s.keep()
	if s.isFaulty() { // at the last moment
		go s.strand(s.faulty.err)
	}
}

// Close ends the background work, writes and syncs what was submitted before, and closes the store.
// Jobs submitted later and reads begun later are refused. It must not be called from a Job, nor by
// who reads. A store that has failed can't be closed properly: the error says so, and only the end of
// the process frees the folder.
//
// Every call returns once the store is closed, with the same error.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	s.submit.Lock()
	s.closed = true
	s.submit.Unlock()
	s.stop()
	s.keeper.Wait()
	close(s.queue)
	<-s.guard.rescued
	close(s.drain)
	s.done.Wait()
	if s.Failed() != nil { // Pebble may hold locks for ever; what is in memory must not be written
		return errors.Join(s.Failed(), s.retireWitness())
	}
	s.refuseReaders()
	s.running.Store(false)
	return errors.Join(s.db.Close(), s.retireWitness(), s.lock.Close())
}

// retireWitness syncs and closes the witness. A manifest that Pebble goes on writing after a failure
// is then no longer vouched for; its beginning still is.
func (s *Store) retireWitness() error {
	s.testimony.mu.Lock()
	defer s.testimony.mu.Unlock()
	w := s.witness
	s.witness = nil
	if w == nil {
		return nil
	}
	return errors.Join(w.sync(), w.file.Close())
}
