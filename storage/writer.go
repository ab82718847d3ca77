package storage

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Job is one batch of work for the single writer: a local group, records of other lanes, metadata.
// None of its methods may call Submit and wait, nor Close. Each is called at most once.
type Job interface {
	// Build fills the batch. It runs on the writer goroutine, in submission order, and must not
	// block: every commit waits for it. After an error nothing of the batch is written and Durable
	// gets the error.
	Build(b *Batch) error
	// Applied runs on the writer goroutine once the batch is visible to readers; it is not synced
	// yet. The leaf cache is current. It must not block. It is not called after an error.
	Applied()
	// Durable runs on the syncer goroutine, in the order of commits, after the sync and the witness;
	// or with the reason why the batch was not written (outcome "not applied") or may be lost
	// (outcome unknown). It must not block for long: later answers wait for it. A job that Build
	// refused is answered at once, which may be ahead of earlier ones.
	Durable(err error)
}

// Submit queues a job. It blocks while the queue is full, and for nothing else. After an error none of the job's methods
// is called: kv.ErrDeadline when ctx ended, kv.ErrUnavailable after Close, kv.ErrReadOnly after a
// failure.
func (s *Store) Submit(ctx context.Context, j Job) error {
	// Waiting for the lock would wait for Close, which may wait for a sender, who waits for room in the
	// queue, which the writer makes, who may be the one who calls.
	if !s.submit.TryRLock() {
		return s.isClosed()
	}
	defer s.submit.RUnlock()
	if s.closed {
		return s.isClosed()
	}
	if f := s.failed.Load(); f != nil {
		return f.err
	}
	select {
	case s.queue <- j:
		return nil
	default:
	}
	select {
	case s.queue <- j:
		return nil
	case <-ctx.Done():
		return kv.Errorf(kv.KindDeadline, "storage: %d jobs are queued before this one: %w", QueuedJobs, ctx.Err())
	}
}

func (s *Store) isClosed() error {
	return kv.Errorf(kv.KindUnavailable, "storage: %s is closed", s.cfg.Dir)
}

// writer is what only the writer goroutine touches.
type writer struct {
	state     state // as of the last batch
	batch     Batch // reused
	passed    int   // jobs since the last chore
	ahead     int   // removal chunks since the last job
	paused    bool  // no removal chunks until the next look at the triggers: the last one failed
	unsynced  []Job // applied since the last batch that asked for a sync
	bytes     int   // their size
	stopTimer func() bool
	triggers  *triggers

	mu       sync.Mutex
	current  Job           // being built or committed; for the lifeguard
	relieved chan struct{} // closed, under mu: the lifeguard has taken over
}

func (w *writer) init(s *Store) {
	w.batch.init(s)
	w.triggers = newTriggers()
	w.relieved = make(chan struct{})
}

// isRelieved reports whether the lifeguard has taken over.
func (w *writer) isRelieved() bool {
	select {
	case <-w.relieved:
		return true
	default:
		return false
	}
}

// write is the writer goroutine. Once the lifeguard has taken over it ends, as soon as it can.
func (s *Store) write() {
	defer close(s.written)
	for !s.writer.isRelieved() {
		job, ok := s.nextJob()
		if !ok {
			break
		}
		if job != nil {
			s.runJob(job)
		}
	}
	if s.writer.holds() > 0 {
		s.runJob(syncJob{})
	}
	s.stopSyncTimer()
}

// begin notes the job that the writer is at. It is false once the lifeguard has taken over: then the
// job must not be begun, since nobody else would answer it if Pebble did not return.
func (w *writer) begin(j Job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isRelieved() {
		return false
	}
	w.current = j
	return true
}

// finish ends what begin began. It is false when the lifeguard has answered the job meanwhile.
func (w *writer) finish() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	mine := w.current != nil
	w.current = nil
	return mine
}

// hold keeps a job until a later one is synced.
func (w *writer) hold(j Job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsynced = append(w.unsynced, j)
}

// holds is how many jobs are held.
func (w *writer) holds() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.unsynced)
}

// release is the jobs that were held.
func (w *writer) release() []Job {
	w.mu.Lock()
	defer w.mu.Unlock()
	jobs := w.unsynced
	w.unsynced = nil
	return jobs
}

// relieve has the lifeguard take over: the jobs that the writer has not handed to the syncer are its
// to answer. inside: the writer was at a job, and may never come back from it; else it ends soon.
func (w *writer) relieve() (jobs []Job, inside bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.relieved)
	jobs, inside = w.unsynced, w.current != nil
	if inside {
		jobs = append(jobs, w.current)
	}
	w.unsynced, w.current = nil, nil
	return jobs, inside
}

// nextJob is the next thing to do: what was submitted first, with a chore every few jobs or when
// nothing was. A nil job: look again. ok is false once the store is closed and the queue empty.
func (s *Store) nextJob() (job Job, ok bool) {
	if s.writer.ahead < s.chunksAhead() {
		if due := s.dueSync(); due != nil {
			return due, true
		}
		s.writer.ahead++
		return s.pending.chunk(), true
	}
	s.writer.ahead = 0
	if s.writer.passed < JobsPerChore {
		select {
		case job, ok := <-s.queue:
			s.writer.passed++
			return job, ok
		default:
		}
	}
	s.writer.passed = 0
	if chore := s.ownChore(); chore != nil {
		return chore, true
	}
	select {
	case job, ok := <-s.queue:
		runtime.Gosched() // let those who were woken by the last batch join this job's group
		return job, ok
	case chore := <-s.chores:
		return chore, true
	case <-s.syncDue:
		if s.writer.holds() == 0 {
			return nil, true
		}
		return syncJob{}, true
	case <-s.tidyDue:
		s.writer.paused = false
		s.writer.triggers.look()
		return nil, true
	case <-s.writer.relieved:
		return nil, true
	}
}

// removalsPerChunk is for how many pending removals one chunk goes ahead of a job.
const removalsPerChunk = 64

// chunksAhead is how many chunks go ahead of the next job, since many removals are pending: the more
// are, the more, so that jobs which bring small ones are slowed down to what can be carried out, and
// none waits for a large one. (Finishing the oldest first was tried: a few hundred large ones stopped
// all writes.) Paused they hold no job up: where leaves can't be read, no job can add a removal either.
func (s *Store) chunksAhead() int {
	n := s.pending.len()
	if n < PendingRemovals || s.writer.paused || s.cfg.hold.Load() || s.Failed() != nil {
		return 0
	}
	return min(n/removalsPerChunk, MaxChunksAhead)
}

// ownChore is work that the writer gives itself; nil: there is none. A sync that is due comes first:
// callers wait for it, and a removal may consist of thousands of chunks.
func (s *Store) ownChore() Job {
	if s.Failed() != nil {
		return nil
	}
	if due := s.dueSync(); due != nil {
		return due
	}
	if !s.writer.paused && !s.cfg.hold.Load() {
		if chunk := s.pending.chunk(); chunk != nil {
			return chunk
		}
	}
	return s.writer.triggers.job(s.pending.lower(s.cuts.Load()))
}

// dueSync is the sync of the jobs that are held, if the delay has passed; nil: it has not.
func (s *Store) dueSync() Job {
	select {
	case <-s.syncDue:
		if s.writer.holds() > 0 {
			return syncJob{}
		}
	default:
	}
	return nil
}

// runJob builds and commits one batch.
func (s *Store) runJob(j Job) {
	w := &s.writer
	if s.failed.Load() != nil || !w.begin(j) { // the lifeguard takes over only after a failure
		s.answer(j, s.failed.Load().err)
		return
	}
	b := &w.batch
	b.begin()
	err := j.Build(b)
	if err == nil {
		err = b.finish()
	}
	if err != nil {
		b.drop()
		if w.finish() {
			s.answer(j, err)
		}
		return
	}
	s.commit(b, j)
}

// commit writes the batch, makes it visible, and hands it to the syncer.
func (s *Store) commit(b *Batch, j Job) {
	w := &s.writer
	b.sync = b.sync || w.holds()+1 >= UnsyncedBatches || w.bytes+b.pb.Len() >= UnsyncedBytes
	size, began := b.pb.Len(), time.Now()
	s.logs.truncate(b.truncated...)
	s.cache.begin(b.leaves)
	err := s.apply(b.pb, b.sync)
	s.cache.end(b.leaves, err == nil)
	if !w.finish() {
		return
	}
	if err != nil {
		s.answer(j, s.fail(err).WithOutcome(kv.OutcomeUnknown))
		return
	}
	b.committed()
	pb := b.pb
	b.pb = nil
	j.Applied()
	if b.sync {
		s.synced <- syncItem{job: j, number: w.state.number, batch: pb, began: began, earlier: w.release()}
		w.bytes = 0
		s.stopSyncTimer()
		return
	}
	pb.Close() // never fails once committed
	w.hold(j)
	w.bytes += size
	s.startSyncTimer()
}

// apply commits a Pebble batch.
func (s *Store) apply(b *pebble.Batch, sync bool) error {
	if sync {
		return s.db.ApplyNoSyncWait(b, pebble.Sync)
	}
	return s.db.Apply(b, pebble.NoSync)
}

func (s *Store) startSyncTimer() {
	if s.writer.stopTimer == nil {
		s.writer.stopTimer = s.cfg.After(s.cfg.SyncDelay, func() { poke(s.syncDue) })
	}
}

func (s *Store) stopSyncTimer() {
	if s.writer.stopTimer != nil {
		s.writer.stopTimer()
		s.writer.stopTimer = nil
	}
}

// poke wakes whoever listens on a channel of capacity 1.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// answer hands a job that was not written to the syncer. Once the store has failed, nothing more
// will be synced, and those that wait for it are answered too.
func (s *Store) answer(j Job, err error) {
	if f := s.failed.Load(); f != nil {
		s.synced <- syncItem{earlier: s.writer.release(), err: f.err.WithOutcome(kv.OutcomeUnknown)}
	}
	s.synced <- syncItem{job: j, err: err}
}

// syncItem is a committed batch on its way to the disk, or jobs that failed.
type syncItem struct {
	job     Job
	earlier []Job         // applied before, durable with this one
	batch   *pebble.Batch // to be synced; nil: err says why not
	number  uint64
	began   time.Time // of the commit
	err     error
}

// sync is the syncer goroutine: it waits for the syncs in order, writes the witness, and answers.
func (s *Store) sync() {
	defer s.done.Done()
	for {
		select {
		case item := <-s.synced:
			s.settle(item)
		case <-s.drain: // nobody sends any more
			for len(s.synced) > 0 {
				s.settle(<-s.synced)
			}
			return
		}
	}
}

// settle makes an item durable and answers its jobs.
func (s *Store) settle(item syncItem) {
	err := item.err
	if item.batch != nil {
		err = s.makeDurable(item)
	}
	for _, j := range item.earlier {
		j.Durable(err)
	}
	if item.job != nil {
		item.job.Durable(err)
	}
}

// makeDurable waits for one batch's sync and writes the witness. A failed sync is never tried again:
// the kernel may have dropped the pages and say yes the second time.
func (s *Store) makeDurable(item syncItem) error {
	err := item.batch.SyncWait()
	switch {
	case s.syncErr != nil:
		return s.syncErr
	case err != nil:
		return s.failSync(fmt.Errorf("sync of the log: %w", err))
	}
	item.batch.Close() // never fails once committed
	if err := s.testify(func(t *testimony) { t.number = item.number }); err != nil {
		return s.failSync(fmt.Errorf("write %s: %w", s.witness.path, err))
	}
	s.counts.synced(time.Since(item.began))
	return nil
}

func (s *Store) failSync(err error) error {
	s.syncErr = s.fail(err).WithOutcome(kv.OutcomeUnknown)
	return s.syncErr
}

// SyncSoon has what was submitted before synced without SyncDelay. It does not block; while the queue is
// full it does nothing, since so many jobs don't wait that long.
func (s *Store) SyncSoon() { _ = s.Submit(gone, syncJob{}) }

// gone is a context for submitting without waiting.
var gone = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// syncJob is an empty batch that makes the ones before it durable.
type syncJob struct{}

func (syncJob) Build(b *Batch) error { b.Sync(); return nil }
func (syncJob) Applied()             {}
func (syncJob) Durable(error)        {}

// Applied is how far each lane is applied, in memory.
func (s *Store) Applied(l clock.Lane) clock.Timestamp { return s.logs.applied(l) }
