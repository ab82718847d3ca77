package storage

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/theriac-db/theriac/kv"
)

const (
	formatName = "FORMAT"
	dataName   = "data"
	formatText = "theriac store 3\n"
)

func (c *Config) dataDir() string { return c.FS.PathJoin(c.Dir, dataName) }

// claimFolder makes sure that the folder is ours: new, or with a FORMAT file that this version
// reads. It creates what is missing.
func claimFolder(c *Config) error {
	path := c.FS.PathJoin(c.Dir, formatName)
	text, err := readFile(c.FS, path)
	switch {
	case err == nil:
		return checkFormat(path, text)
	case !errors.Is(err, fs.ErrNotExist):
		return kv.Errorf(kv.KindUnavailable, "storage: read %s: %w", path, err)
	}
	if err := refuseForeign(c); err != nil {
		return err
	}
	if err := createFolder(c, path); err != nil {
		return kv.Errorf(kv.KindUnavailable, "storage: create the folder %s: %w", c.Dir, err)
	}
	return nil
}

func checkFormat(path string, text []byte) error {
	switch {
	case bytes.Equal(text, []byte(formatText)):
		return nil
	case bytes.HasPrefix(text, []byte("theriac store ")):
		return kv.Errorf(kv.KindInvalid, "storage: %s says %q; this version reads %q: use the version of theriac that wrote it",
			path, strings.TrimSpace(string(text)), strings.TrimSpace(formatText))
	}
	return kv.Errorf(kv.KindCorrupt, "storage: %s is damaged: it should read %q. If the folder is a theriac store, write this line back",
		path, strings.TrimSpace(formatText))
}

// refuseForeign lets only a folder pass that is missing, empty, or left by a creation that a crash
// interrupted.
func refuseForeign(c *Config) error {
	names, err := c.FS.List(c.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return kv.Errorf(kv.KindUnavailable, "storage: list %s: %w", c.Dir, err)
	}
	for _, name := range names {
		if name != formatName+".tmp" {
			return kv.Errorf(kv.KindInvalid, "storage: %s holds %q and no theriac store: choose an empty or missing folder", c.Dir, name)
		}
	}
	return nil
}

// createFolder makes the folder and, as the last step, durable that it is ours.
func createFolder(c *Config, path string) error {
	if err := makeDir(c.FS, c.Dir); err != nil {
		return err
	}
	tmp := path + ".tmp"
	f, err := c.FS.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(formatText))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(c.FS.Rename(tmp, path), syncDir(c.FS, c.Dir))
}

// makeDir creates a folder with its parents, and syncs every folder that got a new entry: else a
// power cut could take the whole store away and leave an empty folder that looks new.
func makeDir(fsys FS, dir string) error {
	changed, err := missingParents(fsys, dir)
	if err != nil {
		return err
	}
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, parent := range changed {
		if err := syncDir(fsys, parent); err != nil {
			return err
		}
	}
	return nil
}

// missingParents lists the folders that will get a new entry when dir is created, dir's own parent
// in any case: a crash may have come between its creation and its sync.
func missingParents(fsys FS, dir string) (changed []string, err error) {
	for {
		parent := fsys.PathDir(dir)
		changed = append(changed, parent)
		if _, err := fsys.Stat(parent); err == nil || parent == dir {
			return changed, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		dir = parent
	}
}

// lockFolder takes the lock that keeps a second process out.
func lockFolder(c *Config) (*pebble.Lock, error) {
	if err := makeDir(c.FS, c.dataDir()); err != nil {
		return nil, kv.Errorf(kv.KindUnavailable, "storage: create %s: %w", c.dataDir(), err)
	}
	lock, err := pebble.LockDirectory(c.dataDir(), c.FS)
	if err != nil {
		return nil, kv.Errorf(kv.KindUnavailable, "storage: %s is in use, by another process or by this one (%w): stop whoever uses it, or choose another folder", c.Dir, err)
	}
	return lock, nil
}

func readFile(fsys FS, path string) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 4096))
}
