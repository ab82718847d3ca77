package quota

import (
	"os"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Unlimited as a room is no bound.
const Unlimited = -1

// FS is a file system with a room. It is safe for concurrent use.
type FS struct {
	vfs.FS
	room room
}

// New returns inner with unlimited room.
func New(inner vfs.FS) *FS { return &FS{FS: inner, room: room{left: Unlimited}} }

// SetRoom lets so many bytes more be written; Unlimited: as many as the inner file system takes.
func (f *FS) SetRoom(bytes int64) { f.room.set(bytes) }

// Room is how many bytes may yet be written, or Unlimited.
func (f *FS) Room() int64 { return f.room.get() }

// Unwrap implements vfs.FS.
func (f *FS) Unwrap() vfs.FS { return f.FS }

// Create implements vfs.FS.
func (f *FS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(name)(f.FS.Create(name, c))
}

// OpenReadWrite implements vfs.FS.
func (f *FS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.wrap(name)(f.FS.OpenReadWrite(name, c, opts...))
}

// ReuseForWrite implements vfs.FS.
func (f *FS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(name)(f.FS.ReuseForWrite(old, name, c))
}

func (f *FS) wrap(name string) func(vfs.File, error) (vfs.File, error) {
	return func(inner vfs.File, err error) (vfs.File, error) {
		if err != nil {
			return nil, err
		}
		return &file{inner, name, &f.room}, nil
	}
}

// file is a file that takes room.
type file struct {
	vfs.File
	name string
	room *room
}

// Write implements vfs.File.
func (f *file) Write(p []byte) (int, error) {
	n := f.room.take(len(p))
	written, err := f.File.Write(p[:n])
	if err == nil && n < len(p) {
		err = &os.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	return written, err
}

// room is how many bytes may yet be written.
type room struct {
	mu   sync.Mutex
	left int64
}

func (r *room) set(bytes int64) { r.mu.Lock(); r.left = max(bytes, Unlimited); r.mu.Unlock() }

func (r *room) get() int64 { r.mu.Lock(); defer r.mu.Unlock(); return r.left }

// take takes room for n bytes, or for as many as there is room for.
func (r *room) take(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left == Unlimited {
		return n
	}
	n = int(min(int64(n), r.left))
	r.left -= int64(n)
	return n
}
