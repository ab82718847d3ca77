package bench

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/theriac-db/theriac/bench/limits"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// keySize is the length of the keys of all figures.
const keySize = 20

// counterKey is the name of the i-th counter, of keySize bytes.
func counterKey(i int) string { return fmt.Sprintf("counter-%012d", i) }

func counterKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = counterKey(i)
	}
	return keys
}

// theirs makes the adds that bare Pebble commits: the same bytes as one add of ours, committed alone,
// takes in the log and in the leaf.
type theirs struct {
	adds []limits.Add
	next atomic.Uint64 // log keys rise, as ours do
}

// aTime is a timestamp like those of today.
var aTime = clock.At(clock.Wall(1_750_000_000_000_000))

func newTheirs(keys []string) (*theirs, error) {
	t := &theirs{adds: make([]limits.Add, len(keys))}
	for i, key := range keys {
		add, err := addBytes(key)
		if err != nil {
			return nil, err
		}
		t.adds[i] = add
	}
	return t, nil
}

// addBytes is what a one-shot add of 1 to a counter writes. The keys are laid out as package storage
// draws them.
func addBytes(key string) (limits.Add, error) {
	op := kv.Op{Object: kv.Object{Bucket: kv.DefaultBucket, Key: kv.Key(key), Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: 1}
	target, err := crdt.Resolve(op)
	if err != nil {
		return limits.Add{}, err
	}
	record := kv.Record{
		Header: kv.Header{Lane: clock.Lane{Region: 1}, Time: aTime, Prev: aTime - 1<<20, Kind: kv.RecordGroup},
		Txns:   []kv.Txn{{Effects: []kv.Effect{{Object: op.Object, Op: target.Op}}}},
	}
	return limits.Add{
		LogKey:  logKey(0),
		Record:  record.Append(nil),
		Leaf:    leafKey(op.Object),
		Operand: crdt.AppendItem(nil, clock.Dot{Region: 1, Time: aTime}, nil, target.Op),
	}, nil
}

func logKey(n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{0x20, 0, 1, 0}, n)
}

func leafKey(o kv.Object) []byte {
	key := kv.AppendName([]byte{0x10, storage.Shard(o.Bucket, o.Key)}, string(o.Bucket))
	key = append(key, 0, 0, 0, 0)
	return append(kv.AppendName(key, string(o.Key)), byte(o.Type))
}

// commit writes the i-th add.
func (t *theirs) commit(s *limits.Store, i int, sync bool) error {
	add := t.adds[i]
	add.LogKey = logKey(uint64(aTime) + t.next.Add(1)<<6)
	return s.Commit(&add, sync)
}
