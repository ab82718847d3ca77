package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is what a region's data lies on: Pebble's file system in memory, which a crash takes back to
// what was synced and some of the rest. It may be slow, and it may fail.
type disk struct {
	vfs.FS // *vfs.MemFS
	reach  *reached

	mu     sync.Mutex
	random *rand.Rand
	slow   time.Duration // of each sync of the log, about; 0: none takes time
	broken error         // of each sync and write of the log; nil: none fails
	ended  bool          // nobody uses it any more: nothing takes time or fails
	logs   map[*logFile]struct{}
}

func newDisk(sync time.Duration, random *rand.Rand, reach *reached) *disk {
	return &disk{FS: vfs.NewCrashableMem(), random: random, reach: reach, slow: sync, logs: map[*logFile]struct{}{}}
}

func (d *disk) mem() *vfs.MemFS { return d.FS.(*vfs.MemFS) }

// setSlow has each sync of the log take about so long.
func (d *disk) setSlow(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = by
}

// isSlow reports whether syncs of the log take time.
func (d *disk) isSlow() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.slow > 0
}

// fail has each write and sync of the log fail from now on.
func (d *disk) fail(err syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = err
}

// end is called when the process is no more.
func (d *disk) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
}

// crash is the disk as a power cut leaves it at this moment.
func (d *disk) crash() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	for f := range d.logs {
		f.settle()
	}
	random := rand.New(rand.NewPCG(d.random.Uint64(), 1))
	after := d.mem().CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: d.random.IntN(101), RNG: random})
	return &disk{FS: after, random: d.random, reach: d.reach, slow: d.slow, logs: map[*logFile]struct{}{}}
}

// pause is how long a sync takes now, and how it ends.
func (d *disk) pause() (time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.ended:
		return 0, nil
	case d.broken != nil:
		return 0, d.broken
	case d.slow > 0:
		return d.slow/2 + time.Duration(d.random.Int64N(int64(d.slow))), nil
	}
	return 0, nil
}

// Create implements vfs.FS.
func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return d.wrap(name, f, err)
}

// ReuseForWrite implements vfs.FS.
func (d *disk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(old, name, c)
	return d.wrap(name, f, err)
}

// Open implements vfs.FS.
func (d *disk) Open(name string, options ...vfs.OpenOption) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for f := range d.logs {
		f.settle()
	}
	return d.FS.Open(name, options...)
}

// Unwrap implements vfs.FS.
func (d *disk) Unwrap() vfs.FS { return d.FS }

func (d *disk) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	log := &logFile{File: f, disk: d, name: name}
	d.logs[log] = struct{}{}
	return log, nil
}

// logFile is a file of the write-ahead log: what commits wait for. Only it is slow or fails: its
// syncs are the only ones that Pebble makes without holding a lock, and who waits for a lock keeps
// the time of a bubble from passing.
//
// The file system in memory copies a whole file at each sync of it, most of which a log had synced before. So
// what was written goes there when it is synced, and which of it was is said when a crash or a reader asks.
// The disk's lock guards it.
type logFile struct {
	vfs.File
	disk    *disk
	name    string
	pending []byte // written, not synced
	synced  bool   // what the file system has is synced, which it was not told
}

// Write implements vfs.File.
func (f *logFile) Write(p []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.pending = append(f.pending, p...)
	return len(p), nil
}

// hand gives the file system what was written. The caller holds the disk's lock.
func (f *logFile) hand() error {
	if len(f.pending) == 0 {
		return nil
	}
	_, err := f.File.Write(f.pending)
	f.pending = f.pending[:0]
	return err
}

// settle brings the file system to what was written, and what of it synced. The caller holds the disk's lock.
func (f *logFile) settle() {
	if f.synced {
		f.synced = false
		must(f.File.Sync())
	}
	must(f.hand())
}

// must is for what fails for no reason: files in memory do not.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("sim: a file in memory: %v", err))
	}
}

// sync is how all syncs of a log are made.
func (f *logFile) sync() error {
	if err := f.trouble(); err != nil {
		return err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.synced = true
	return f.hand()
}

// Close implements vfs.File.
func (f *logFile) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.settle()
	delete(f.disk.logs, f)
	return f.File.Close()
}

// Stat implements vfs.File.
func (f *logFile) Stat() (vfs.FileInfo, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.settle()
	return f.File.Stat()
}

func (f *logFile) trouble() error {
	wait, err := f.disk.pause()
	if err != nil {
		f.disk.reach.count("disk error met")
		return fmt.Errorf("%s: %w", f.name, err)
	}
	if wait > 0 {
		f.disk.reach.count("slow sync")
		time.Sleep(wait)
	}
	return nil
}

// Sync implements vfs.File.
func (f *logFile) Sync() error { return f.sync() }

// SyncData implements vfs.File.
func (f *logFile) SyncData() error { return f.sync() }

// SyncTo implements vfs.File.
func (f *logFile) SyncTo(length int64) (bool, error) {
	if err := f.trouble(); err != nil {
		return false, err
	}
	return f.File.SyncTo(length)
}

// failing reports whether the disk makes errors.
func (d *disk) failing() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.broken != nil
}
