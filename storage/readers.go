package storage

import (
	"io"
	"sync/atomic"
)

// readers counts who reads Pebble, so that Close can wait for them: Pebble panics when it is closed
// under a reader, and when it is read after. A lock would do, but for readers that read again while
// they hold an iterator, as scans do: behind a Close that waits they would wait for ever.
type readers struct {
	count atomic.Int64  // minus readersClosed once Close has begun
	gone  chan struct{} // of 1: the last reader has left, once Close has begun
}

const readersClosed = 1 << 40

// enterRead begins a read of Pebble; leaveRead ends it, if there was no error.
func (s *Store) enterRead() error {
	if s.readers.count.Add(1) > 0 {
		return nil
	}
	s.leaveRead()
	return s.isClosed()
}

func (s *Store) leaveRead() {
	if s.readers.count.Add(-1) == -readersClosed {
		select {
		case s.readers.gone <- struct{}{}:
		default:
		}
	}
}

// release ends a read that get began.
func (s *Store) release(closer io.Closer) error {
	defer s.leaveRead()
	return closer.Close()
}

// refuseReaders lets no further reader in, and waits for those under way.
func (s *Store) refuseReaders() {
	if s.readers.count.Add(-readersClosed) == -readersClosed {
		return
	}
	for s.readers.count.Load() != -readersClosed {
		<-s.readers.gone
	}
}
