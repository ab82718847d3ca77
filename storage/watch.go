package storage

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/theriac-db/theriac/kv"
)

// Pebble v2.1.7 ends the whole process, with a message about mutexes, when its write-ahead log can't
// be closed or a new one can't be created: it panics between an Unlock and a deferred Unlock. So we
// watch the log's files from below. An error is noted before Pebble sees it, so that nothing more is
// committed; and where returning would end the process, the goroutine is stranded instead: it never
// returns. The lifeguard then answers all jobs in the writer's place, readers go on, and the operator
// gets a message that says what happened.

// watchedFS watches the files of the write-ahead log and the folder they lie in.
type watchedFS struct {
	vfs.FS
	s *Store
}

// Unwrap implements vfs.FS.
func (w watchedFS) Unwrap() vfs.FS { return w.FS }

// ours reports whether a path is in the store's own folder: checkpoints write elsewhere.
func (w watchedFS) ours(name string) bool { return w.FS.PathDir(name) == w.s.cfg.dataDir() }

func (w watchedFS) isLog(name string) bool { return strings.HasSuffix(name, ".log") && w.ours(name) }

// Create implements vfs.FS. Pebble tries a flush that has failed again at once, and again, for as long
// as the process lives; so nothing is begun any more once the store has failed.
func (w watchedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if failed := w.s.Failed(); failed != nil && w.ours(name) {
		w.s.strandIfRunning(failed)
	}
	if w.s.isFaulty() && w.ours(name) {
		select {} // Open has given up
	}
	if err := w.ahead(name); err != nil {
		return nil, err
	}
	f, err := w.FS.Create(name, c)
	if number, ok := manifestNumber(w.FS.PathBase(name)); ok && err == nil && w.ours(name) {
		return &watchedManifest{File: f, s: w.s, mark: manifestMark{number: number}}, nil
	}
	if strings.HasSuffix(name, ".blob") && err == nil && w.ours(name) {
		return &watchedBlob{f, w.s, name}, nil
	}
	return w.watch(name, f, err)
}

// ahead makes durable what the marker of the current manifest will name. Pebble syncs the folder only once
// the marker is there too, and a power cut before that may leave the marker without the manifest: no file
// system promises in which order new entries of a folder reach the disk.
func (w watchedFS) ahead(name string) error {
	if !strings.HasPrefix(w.FS.PathBase(name), "marker.manifest.") || !w.ours(name) {
		return nil
	}
	return syncDir(w.FS, w.s.cfg.dataDir())
}

// ReuseForWrite implements vfs.FS.
func (w watchedFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.ReuseForWrite(old, name, c)
	return w.watch(name, f, err)
}

// OpenDir implements vfs.FS.
func (w watchedFS) OpenDir(name string) (vfs.File, error) {
	f, err := w.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	if name != w.s.cfg.dataDir() {
		return f, nil
	}
	return &watchedDir{f, w.s, name}, nil
}

func (w watchedFS) watch(name string, f vfs.File, err error) (vfs.File, error) {
	if !w.isLog(name) {
		return f, err
	}
	if err != nil {
		w.s.abandon(fmt.Errorf("create %s: %w", name, err))
	}
	return &watchedLog{File: f, s: w.s, name: name}, nil
}

// watchedDir is the store's folder. Pebble syncs it after it has created a log, and panics on whatever
// goroutine that is when it can't after it has changed manifests.
type watchedDir struct {
	vfs.File
	s    *Store
	name string
}

// Sync implements vfs.File.
func (d *watchedDir) Sync() error {
	err := d.File.Sync()
	if err != nil {
		d.s.abandon(fmt.Errorf("sync the folder %s: %w", d.name, err))
	}
	return nil
}

// watchedLog is a file of the write-ahead log.
type watchedLog struct {
	vfs.File
	s      *Store
	name   string
	failed atomic.Pointer[error] // the first failure; nil: there was none
}

func (l *watchedLog) note(what string, err error) error {
	if err != nil {
		first := fmt.Errorf("%s %s: %w", what, l.name, err)
		if l.failed.CompareAndSwap(nil, &first) && l.s.running.Load() {
			l.s.fail(first)
		}
	}
	return err
}

// Write implements vfs.File.
func (l *watchedLog) Write(p []byte) (int, error) {
	n, err := l.File.Write(p)
	return n, l.note("write", err)
}

// Sync implements vfs.File.
func (l *watchedLog) Sync() error { return l.note("sync", l.File.Sync()) }

// SyncData implements vfs.File.
func (l *watchedLog) SyncData() error { return l.note("sync", l.File.SyncData()) }

// SyncTo implements vfs.File.
func (l *watchedLog) SyncTo(length int64) (bool, error) {
	full, err := l.File.SyncTo(length)
	return full, l.note("sync", err)
}

// Preallocate implements vfs.File. Failing at it is harmless, and the write that follows says more.
func (l *watchedLog) Preallocate(offset, length int64) error {
	if err := l.File.Preallocate(offset, length); err != nil && l.s.running.Load() {
		l.s.cfg.Logf("storage: preallocate %s: %v", l.name, err)
	}
	return nil
}

// Close implements vfs.File. Pebble closes a log last thing before it would end the process.
func (l *watchedLog) Close() error {
	err := l.note("close", l.File.Close())
	if first := l.failed.Load(); first != nil {
		l.s.abandon(fmt.Errorf("close %s after a failure: %w", l.name, *first))
	}
	return err
}

// watchedBlob is a blob file that is being written. When the last of it can't be written, synced or
// closed, Pebble v2.1.7 aborts what it has already let go of, by a nil pointer, and the process ends. So
// whoever writes it never hears of a failure.
type watchedBlob struct {
	vfs.File
	s    *Store
	name string
}

func (b *watchedBlob) note(what string, err error) error {
	if err != nil {
		b.s.abandon(fmt.Errorf("%s %s: %w", what, b.name, err))
	}
	return nil
}

// Write implements vfs.File.
func (b *watchedBlob) Write(p []byte) (int, error) {
	n, err := b.File.Write(p)
	return n, b.note("write", err)
}

// Sync implements vfs.File.
func (b *watchedBlob) Sync() error { return b.note("sync", b.File.Sync()) }

// SyncData implements vfs.File.
func (b *watchedBlob) SyncData() error { return b.note("sync", b.File.SyncData()) }

// Close implements vfs.File.
func (b *watchedBlob) Close() error { return b.note("close", b.File.Close()) }

// lifeguard takes the writer's place once a goroutine of Pebble's is stranded.
type lifeguard struct {
	once     sync.Once
	stranded chan struct{}
	rescued  chan struct{} // every job has been answered
}

// strandIfRunning fails the store and never returns, unless the store is still being opened: then an
// error goes back to whoever opens it.
func (s *Store) strandIfRunning(err error) {
	if s.running.Load() {
		s.strand(err)
	}
}

// abandon fails the store, or the Open that is under way, and never returns.
func (s *Store) abandon(err error) {
	s.backgroundFailed(err)
	s.strandIfRunning(err)
	select {}
}

// strand fails the store and never returns. The goroutine is lost, and with it the locks that Pebble
// holds; the process should be ended soon.
func (s *Store) strand(err error) {
	s.fail(err)
	s.guard.once.Do(func() { close(s.guard.stranded) })
	select {}
}

// rescue is the lifeguard goroutine.
func (s *Store) rescue() {
	defer close(s.guard.rescued)
	select {
	case <-s.guard.stranded:
	case <-s.written:
		return
	}
	unknown := s.failed.Load().err.WithOutcome(kv.OutcomeUnknown)
	jobs, inside := s.writer.relieve()
	for _, j := range jobs {
		s.synced <- syncItem{job: j, err: unknown}
	}
	if !inside { // it may have a job in its hands, and answers it
		<-s.written
	}
	for j := range s.queue {
		s.synced <- syncItem{job: j, err: s.failed.Load().err}
	}
}
