package torture

import (
	"fmt"
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/theriac-db/theriac/client/embedded/door"
	"github.com/theriac-db/theriac/storage"
)

// shotCopy is the name of cuts while a store is copied.
const shotCopy = "checkpoint"

// copied opens the store of a region that is off, makes a checkpoint of it, and has the power cut on the
// way. What the store held is verified when the region starts again. A checkpoint that was finished before
// must be one: it opens, as short, since it carries no witness.
func (w *world) copied(s *site) error {
	r := &powered{site: s, disk: s.disk, wire: door.NewWire(w.network.Node(s.name)), cut: make(chan struct{}),
		percent: s.random.IntN(101), chance: rand.New(rand.NewPCG(w.seed, s.random.Uint64()))}
	s.run = r
	copyDir := fmt.Sprintf("copy-%d", w.cuts) // a power cut may bring back one that was removed
	store, err := storage.Open(storage.Config{FS: errorfs.Wrap(r.disk, errorfs.InjectorFunc(r.before)), Dir: s.name})
	if err != nil {
		return fmt.Errorf("opening the store for a checkpoint: %w", err)
	}
	r.arm(shot{upTo: 100})
	err = store.Checkpoint(copyDir)
	finished := !r.isCut()
	w.cut(s, shotCopy)
	r.cutNow()
	_ = store.Close() // on a disk that nobody will see
	s.disk, s.run = r.after, nil
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if finished {
		w.Tally.Add("checkpoints that were finished before the cut", 1)
		short, err := opens(s, copyDir)
		if err != nil || !short {
			return fmt.Errorf("a finished checkpoint after a power cut: short %v: %w", short, err)
		}
	}
	return s.disk.RemoveAll(copyDir)
}

// opens opens a store on a site's disk and closes it.
func opens(s *site, dir string) (short bool, err error) {
	store, err := storage.Open(storage.Config{FS: s.disk, Dir: dir})
	if err != nil {
		return false, err
	}
	return store.Start().Short, store.Close()
}
