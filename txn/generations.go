package txn

import (
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// generations are those that the keys of buckets have at a snapshot, which must be open, or be the newest. They
// follow from it alone, so a transaction has one for all that it reads and writes. The zero value is of a store in
// which nothing was ever dropped.
type generations struct {
	store *storage.Store
	at    clock.Vector
}

func (g generations) of(b kv.Bucket) uint32 {
	if g.store == nil {
		return 0
	}
	return g.store.Generation(b, g.at)
}

func (g generations) leaf(p place) storage.Leaf {
	return storage.Leaf{Object: p.object, Generation: g.of(p.object.Bucket), Path: []byte(p.path)}
}

// dropped finds out whether a bucket that a commit writes, or has a condition on, was dropped after its snapshot,
// as far as is applied here. To write it would be to lose it, though it was acknowledged.
func (c *Committer) dropped(w *commit, applied clock.Vector) (broken error) {
	if w.snapshot == nil || c.store.SameGenerations(w.snapshot, applied) {
		return nil
	}
	began, now := generations{c.store, w.snapshot}, generations{c.store, applied}
	for b := range w.writes.buckets() {
		if began.of(b) != now.of(b) {
			return kv.Errorf(kv.KindAborted, "bucket %q was dropped after the transaction began; begin it again", string(b))
		}
	}
	return nil
}
