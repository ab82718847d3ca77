package storage

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// What Apply refuses a record for; errors.Is tells them apart. Both match kv.ErrCorrupt too.
var (
	// ErrGap: the record's Prev is ahead of the lane's applied time; records in between are missing.
	ErrGap = errors.New("gap in the lane")
	// ErrFork: the lane holds another record than this one, or than the one this one follows.
	ErrFork = errors.New("fork of the lane")
)

// remedy is what an operator can do about a store that lost what it had acknowledged.
const remedy = "Do one of: restore the folder from a copy that is not damaged; start with an empty folder and --join, " +
	"so that the other regions hand over what they hold; or delete the file " + witnessName + " to open what is left " +
	"as short: it takes no write until the other regions have handed over what they hold of it"

// failure keeps the first reason for which the store takes no more writes.
type failure struct{ err *kv.Error }

// fail makes the store read-only, once, and tells Config.Fatal why.
func (s *Store) fail(err error) *kv.Error {
	f := &failure{kv.Errorf(kv.KindReadOnly, "storage: %s takes no more writes: %w", s.cfg.Dir, err)}
	if s.failed.CompareAndSwap(nil, f) {
		s.cfg.Logf("%s", f.err.Message)
		s.cfg.Fatal(f.err)
	}
	return s.failed.Load().err
}

// Failed is why the store takes no more writes, or nil.
func (s *Store) Failed() error {
	if f := s.failed.Load(); f != nil {
		return f.err
	}
	return nil
}

// readFailed turns an error of a read into one that may leave the database. A checksum error makes
// the store read-only: what is damaged must not be built upon.
func (s *Store) readFailed(what string, err error) error {
	var known *kv.Error
	if errors.As(err, &known) {
		if known.Kind == kv.KindCorrupt {
			s.fail(err)
		}
		return err
	}
	if pebble.IsCorruptionError(err) {
		e := kv.Errorf(kv.KindCorrupt, "storage: read %s in %s: %w", what, s.cfg.Dir, err)
		s.fail(e)
		return e
	}
	return kv.Errorf(kv.KindUnavailable, "storage: read %s in %s: %w", what, s.cfg.Dir, err)
}

// laneError is a record that does not continue its lane.
func laneError(cause error, h *kv.Header, applied clock.Timestamp) error {
	return &kv.Error{
		Kind: kv.KindCorrupt,
		Message: fmt.Sprintf("storage: %s: record %s follows %s, but lane %s is applied up to %s",
			cause, h.Stamp(), h.Prev, h.Lane, applied),
		Err: cause,
	}
}
