package storage

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/theriac-db/theriac/kv"
)

// Pebble v2.1.7 takes a damaged record in the middle of its manifest for the end of it, and then
// deletes the tables that it has not heard of: a single flipped bit empties a store in silence,
// and the state key, being in the log, still has the latest number. So the witness vouches for the
// manifests too.

// manifestMark is how much of a manifest was synced, and its checksum.
type manifestMark struct {
	number uint64
	length uint64
	crc    uint32
}

const (
	manifestMarks   = 2 // the current manifest and the one before
	manifestMarkLen = 8 + 8 + 4
	manifestPrefix  = "MANIFEST-"
)

func manifestNumber(base string) (uint64, bool) {
	digits, ok := strings.CutPrefix(base, manifestPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// watchedManifest follows what Pebble writes to a manifest.
type watchedManifest struct {
	vfs.File
	s    *Store
	mark manifestMark
}

// Write implements vfs.File.
func (m *watchedManifest) Write(p []byte) (int, error) {
	m.mark.crc = crc32.Update(m.mark.crc, castagnoli, p) // before: Write may change p
	n, err := m.File.Write(p)
	m.mark.length += uint64(n)
	return n, err
}

// Sync implements vfs.File.
func (m *watchedManifest) Sync() error { return m.synced(m.File.Sync()) }

// SyncData implements vfs.File.
func (m *watchedManifest) SyncData() error { return m.synced(m.File.SyncData()) }

// synced has the witness vouch for what is on disk now. Pebble removes logs and tables only later.
func (m *watchedManifest) synced(err error) error {
	if err != nil {
		return err
	}
	return m.s.testify(func(t *testimony) { t.remember(m.mark) })
}

// remember notes the newest mark of a manifest and forgets all but the last two manifests.
func (t *testimony) remember(m manifestMark) {
	if t.manifests[0].number != m.number {
		t.manifests[1] = t.manifests[0]
	}
	t.manifests[0] = m
}

func (m manifestMark) put(b []byte) {
	binary.BigEndian.PutUint64(b, m.number)
	binary.BigEndian.PutUint64(b[8:], m.length)
	binary.BigEndian.PutUint32(b[16:], m.crc)
}

func getManifestMark(b []byte) manifestMark {
	return manifestMark{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint32(b[16:])}
}

// checkManifests compares the manifests that are there with what the witness says of them. One that
// is gone Pebble has replaced; if it should not have, Pebble says so.
func checkManifests(c *Config, t *testimony) error {
	names, err := c.FS.List(c.dataDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return kv.Errorf(kv.KindUnavailable, "storage: list %s: %w", c.dataDir(), err)
	}
	for _, name := range names {
		n, ok := manifestNumber(name)
		for _, m := range t.manifests {
			if ok && m.number == n && m.length > 0 {
				if err := checkManifest(c.FS, c.FS.PathJoin(c.dataDir(), name), m); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func checkManifest(fsys FS, path string, m manifestMark) error {
	f, err := fsys.Open(path)
	if err != nil {
		return kv.Errorf(kv.KindUnavailable, "storage: open %s: %w", path, err)
	}
	defer f.Close()
	h := crc32.New(castagnoli)
	n, err := io.Copy(h, io.LimitReader(f, int64(m.length)))
	if err != nil {
		return kv.Errorf(kv.KindUnavailable, "storage: read %s: %w", path, err)
	}
	if uint64(n) != m.length || h.Sum32() != m.crc {
		return kv.Errorf(kv.KindCorrupt, "storage: %s is damaged: its first %d bytes are not those that were synced. %s", path, m.length, remedy)
	}
	return nil
}
