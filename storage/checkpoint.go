package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/theriac-db/theriac/kv"
)

// Checkpoint copies the store, as of some moment during the call, into a folder that must not exist
// yet; tables are shared by hard links. The copy holds whole batches only. It carries no witness, so
// a store opened from it is short.
func (s *Store) Checkpoint(dir string) error {
	c := s.cfg
	c.Dir = dir
	if _, err := c.FS.Stat(dir); err == nil {
		return kv.Errorf(kv.KindInvalid, "storage: checkpoint to %s: it exists; choose a new folder", dir)
	}
	if err := s.enterRead(); err != nil {
		return err
	}
	defer s.leaveRead()
	err := createFolder(&c, c.FS.PathJoin(dir, formatName))
	if err == nil {
		err = s.db.Checkpoint(c.dataDir(), pebble.WithFlushedWAL())
	}
	if err != nil {
		return kv.Errorf(kv.KindUnavailable, "storage: checkpoint of %s to %s: %w", s.cfg.Dir, dir, err)
	}
	return nil
}

// Compact rewrites all tables, so that the space of what was deleted is given back. It takes long;
// the store serves meanwhile.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.enterRead(); err != nil {
		return err
	}
	defer s.leaveRead()
	err := s.db.Flush()
	if err == nil {
		err = s.db.Compact(ctx, []byte{0}, []byte{0xff}, false)
	}
	if err != nil {
		return s.readFailed("tables", fmt.Errorf("compact: %w", errors.Join(err, ctx.Err())))
	}
	return nil
}
