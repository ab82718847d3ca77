package storage

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/theriac-db/theriac/kv"
)

const (
	witnessName    = "WITNESS"
	witnessVersion = 1
	witnessSlot    = 4096 // distance of the slots: two sectors never share a page
	witnessLen     = 1 + 8 + 8 + manifestMarks*manifestMarkLen + 4
)

// witness is the file that remembers how much was synced. See the package comment.
type witness struct {
	path  string
	file  vfs.File
	turn  int // slot to write next
	buf   [witnessLen]byte
	dirty atomic.Bool // written since the last sync
}

// testimony is what a witness says.
type testimony struct {
	incarnation uint64
	number      uint64
	manifests   [manifestMarks]manifestMark // newest first
}

func (t *testimony) encode(b *[witnessLen]byte) {
	b[0] = witnessVersion
	binary.BigEndian.PutUint64(b[1:], t.incarnation)
	binary.BigEndian.PutUint64(b[9:], t.number)
	for i, m := range t.manifests {
		m.put(b[17+i*manifestMarkLen:])
	}
	binary.BigEndian.PutUint32(b[witnessLen-4:], crc32.Checksum(b[:witnessLen-4], castagnoli))
}

func decodeTestimony(b *[witnessLen]byte) (t testimony, ok bool) {
	if b[0] != witnessVersion || crc32.Checksum(b[:witnessLen-4], castagnoli) != binary.BigEndian.Uint32(b[witnessLen-4:]) {
		return testimony{}, false
	}
	t.incarnation, t.number = binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[9:])
	for i := range t.manifests {
		t.manifests[i] = getManifestMark(b[17+i*manifestMarkLen:])
	}
	return t, true
}

// newer reports whether t was written after u: numbers and manifests only grow.
func (t *testimony) newer(u *testimony) bool {
	a, b := t.manifests[0], u.manifests[0]
	switch {
	case t.number != u.number:
		return t.number > u.number
	case a.number != b.number:
		return a.number > b.number
	}
	return a.length > b.length
}

// testify changes what the witness says and writes it, once the store is open.
func (s *Store) testify(change func(*testimony)) error {
	s.testimony.mu.Lock()
	defer s.testimony.mu.Unlock()
	change(&s.testimony.testimony)
	if s.witness == nil {
		return nil
	}
	return s.witness.write(&s.testimony.testimony)
}

// readWitness returns what the witness file of a folder says. found is false when there is no file.
// One damaged slot is what a crash in the middle of a write leaves, and the other slot then counts;
// two damaged ones no crash leaves.
func readWitness(fsys FS, path string) (t testimony, turn int, found bool, err error) {
	f, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return testimony{}, 0, false, nil
	}
	if err != nil {
		return testimony{}, 0, false, kv.Errorf(kv.KindUnavailable, "storage: open witness %s: %w", path, err)
	}
	defer f.Close()
	valid := false
	for slot := range 2 {
		var b [witnessLen]byte
		if _, err := f.ReadAt(b[:], int64(slot)*witnessSlot); err != nil && !errors.Is(err, io.EOF) {
			return testimony{}, 0, false, kv.Errorf(kv.KindUnavailable, "storage: read witness %s: %w", path, err)
		}
		if s, ok := decodeTestimony(&b); ok && (!valid || s.newer(&t)) {
			t, turn, valid = s, 1-slot, true
		}
	}
	if !valid {
		return testimony{}, 0, true, kv.Errorf(kv.KindCorrupt, "storage: witness file %s is damaged in both slots. %s", path, remedy)
	}
	return t, turn, true, nil
}

// createWitness writes a new witness file, both slots, and syncs it. It replaces an old one.
func createWitness(fsys FS, dir string, t *testimony) (*witness, error) {
	path := fsys.PathJoin(dir, witnessName)
	tmp := path + ".tmp"
	f, err := fsys.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	page := make([]byte, 2*witnessSlot)
	var b [witnessLen]byte
	t.encode(&b)
	copy(page, b[:])
	copy(page[witnessSlot:], b[:])
	_, err = f.Write(page)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fsys.Rename(tmp, path), syncDir(fsys, dir)); err != nil {
		return nil, err
	}
	return openWitness(fsys, dir, 0)
}

func openWitness(fsys FS, dir string, turn int) (*witness, error) {
	path := fsys.PathJoin(dir, witnessName)
	f, err := fsys.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return &witness{path: path, file: f, turn: turn}, nil
}

// write puts a testimony into the older slot.
func (w *witness) write(t *testimony) error {
	t.encode(&w.buf)
	if _, err := w.file.WriteAt(w.buf[:], int64(w.turn)*witnessSlot); err != nil {
		return err
	}
	w.turn = 1 - w.turn
	w.dirty.Store(true)
	return nil
}

// sync makes what was written survive a power cut.
func (w *witness) sync() error {
	if !w.dirty.Swap(false) {
		return nil
	}
	return w.file.SyncData()
}

func syncDir(fsys FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
