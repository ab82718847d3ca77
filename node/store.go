package node

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/storage"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

// peerStore fits the store to what replication needs.
type peerStore struct {
	*storage.Store
	exposure *replication.Exposure // nil while a bootstrap is loaded
}

// batchJob runs a function as one batch and hands over what became of it.
type batchJob struct {
	build func(b *storage.Batch) error
	done  chan error // buffered
}

func (j *batchJob) Build(b *storage.Batch) error {
	b.Sync()
	return j.build(b)
}

func (j *batchJob) Applied() {}

func (j *batchJob) Durable(err error) { j.done <- err }

// write runs a batch and waits until it is durable.
func write(ctx context.Context, s *storage.Store, build func(b *storage.Batch) error) error {
	j := &batchJob{build: build, done: make(chan error, 1)}
	if err := s.Submit(ctx, j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return kv.Errorf(kv.KindDeadline, "writing metadata: %w", context.Cause(ctx)).WithOutcome(kv.OutcomeUnknown)
	}
}

// SetMeta implements replication.Meta.
func (s peerStore) SetMeta(ctx context.Context, key string, value []byte) error {
	return write(ctx, s.Store, func(b *storage.Batch) error {
		b.SetMeta(key, value)
		return nil
	})
}

// Short implements replication.Store.
func (s peerStore) Short(ctx context.Context, reason string) error {
	return write(ctx, s.Store, func(b *storage.Batch) error { b.Short(reason); return nil })
}

// Recovered implements replication.Store.
func (s peerStore) Recovered(ctx context.Context) error {
	return write(ctx, s.Store, func(b *storage.Batch) error { b.Recovered(); return nil })
}

// remoteJob applies records of another lane.
type remoteJob struct {
	batch    *replication.Batch
	exposure *replication.Exposure
}

// Apply implements replication.Store.
func (s peerStore) Apply(ctx context.Context, b *replication.Batch) error {
	return s.Submit(ctx, &remoteJob{b, s.exposure})
}

// Build asks once more whether the records may be applied: a batch that they follow may have been
// refused since they were handed out.
func (j *remoteJob) Build(b *storage.Batch) error {
	if j.batch.Sync {
		b.Sync()
	}
	for i, in := range j.batch.Records {
		h := in.Record.Header
		if i == 0 && !j.exposure.Ready(h) || i > 0 && !j.exposure.Exposed().With(h.Lane.Region, h.Time).Includes(h.Deps) {
			return kv.Errorf(kv.KindUnavailable, "record %s of lane %s: what it follows or depends on was not applied", h.Stamp(), h.Lane)
		}
		if err := b.Apply(in.Record, in.Encoded); err != nil {
			return err
		}
	}
	return nil
}

func (j *remoteJob) Applied() { j.batch.Applied() }

func (j *remoteJob) Durable(err error) { j.batch.Durable(err) }

// ReadRange implements replication.Store. A range is (key length, key, items length, items)*.
func (s peerStore) ReadRange(ctx context.Context, shard int, after []byte, at clock.Vector, maxBytes int) (data, next []byte, err error) {
	leaves, next, err := s.ShardRange(ctx, uint8(shard), after, at, maxBytes)
	for _, l := range leaves {
		data = appendBytes(data, l.Key)
		data = appendBytes(data, l.Items)
	}
	return data, next, err
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func takeBytes(src []byte) (b, rest []byte, err error) {
	n, k := binary.Uvarint(src)
	if k <= 0 || n > uint64(len(src)-k) {
		return nil, nil, kv.Errorf(kv.KindCorrupt, "malformed bootstrap from a peer")
	}
	return src[k : k+int(n)], src[k+int(n):], nil
}

// LoadRange implements replication.Loader.
func (s peerStore) LoadRange(ctx context.Context, _ int, data []byte) error {
	return write(ctx, s.Store, func(b *storage.Batch) error {
		for len(data) > 0 {
			var leaf storage.RawLeaf
			var err error
			if leaf.Key, data, err = takeBytes(data); err != nil {
				return err
			}
			if leaf.Items, data, err = takeBytes(data); err != nil {
				return err
			}
			if err := b.LoadLeaf(leaf); err != nil {
				return err
			}
		}
		return nil
	})
}

// ReadState implements replication.Store: the metadata by which this node acts and the drops of buckets, each with
// its length as a uvarint before it, and the void intervals, (region uvarint, slot 1, from 8, to 8)*. A drop is
// (name with its length as a uvarint before it, time 8, generation 4).
func (s peerStore) ReadState(context.Context) ([]byte, error) {
	metadata, err := s.Meta(metadataKey)
	if err != nil {
		return nil, err
	}
	out := appendBytes(nil, metadata)
	out = appendBytes(out, encodeDrops(s.Drops()))
	for lane, list := range s.Voids() {
		for _, i := range list {
			out = append(binary.AppendUvarint(out, uint64(lane.Region)), byte(lane.Slot))
			out = binary.BigEndian.AppendUint64(out, uint64(i.From))
			out = binary.BigEndian.AppendUint64(out, uint64(i.To))
		}
	}
	return out, nil
}

func encodeDrops(all map[kv.Bucket][]storage.Drop) (out []byte) {
	for b, list := range all {
		for _, d := range list {
			out = appendBytes(out, []byte(b))
			out = binary.BigEndian.AppendUint64(out, uint64(d.Time))
			out = binary.BigEndian.AppendUint32(out, d.Generation)
		}
	}
	return out
}

func decodeDrops(src []byte) (map[kv.Bucket][]storage.Drop, error) {
	out := map[kv.Bucket][]storage.Drop{}
	for len(src) > 0 {
		name, rest, err := takeBytes(src)
		if err != nil || len(name) == 0 || len(name) > kv.MaxBucket || len(rest) < 8+4 {
			return nil, kv.Errorf(kv.KindCorrupt, "malformed bootstrap from a peer")
		}
		d := storage.Drop{Time: clock.Timestamp(binary.BigEndian.Uint64(rest)), Generation: binary.BigEndian.Uint32(rest[8:])}
		out[kv.Bucket(name)] = append(out[kv.Bucket(name)], d)
		src = rest[8+4:]
	}
	return out, nil
}

func decodeVoids(src []byte) (map[clock.Lane][]kv.Interval, error) {
	out := map[clock.Lane][]kv.Interval{}
	for len(src) > 0 {
		region, k := binary.Uvarint(src)
		if k <= 0 || region > 0xffff || len(src) < k+17 {
			return nil, kv.Errorf(kv.KindCorrupt, "malformed bootstrap from a peer")
		}
		lane := clock.Lane{Region: clock.Region(region), Slot: clock.Slot(src[k])}
		src = src[k+1:]
		out[lane] = append(out[lane], kv.Interval{
			From: clock.Timestamp(binary.BigEndian.Uint64(src)),
			To:   clock.Timestamp(binary.BigEndian.Uint64(src[8:])),
		})
		src = src[16:]
	}
	return out, nil
}

// LoadBegin implements replication.Loader.
func (s peerStore) LoadBegin(ctx context.Context, keep ...clock.Lane) error {
	return write(ctx, s.Store, func(b *storage.Batch) error { b.Clear(keep...); return nil })
}

// LoadEnd implements replication.Loader.
func (s peerStore) LoadEnd(ctx context.Context, state []byte, applied map[clock.Lane]clock.Timestamp, keep ...clock.Lane) error {
	copied, state, err := takeBytes(state)
	if err != nil {
		return err
	}
	metadata, err := s.newer(copied)
	if err != nil {
		return err
	}
	dropped, state, err := takeBytes(state)
	if err != nil {
		return err
	}
	drops, err := decodeDrops(dropped)
	if err != nil {
		return err
	}
	voids, err := decodeVoids(state)
	if err != nil {
		return err
	}
	err = write(ctx, s.Store, func(b *storage.Batch) error {
		b.SetMeta(metadataKey, metadata)
		b.LoadVoids(voids)
		b.LoadDrops(drops)
		b.LoadApplied(applied, keep...)
		return nil
	})
	for _, lane := range keep {
		if err == nil {
			err = s.replay(ctx, lane)
		}
	}
	return err
}

// newer is the metadata to act by: what came with a cut, unless this store has a later version.
func (s peerStore) newer(copied []byte) ([]byte, error) {
	kept, err := s.Meta(metadataKey)
	if err != nil || len(copied) == 0 {
		return kept, err
	}
	of, err := meta.Restore(copied)
	if err != nil || len(kept) == 0 {
		return copied, err
	}
	own, err := meta.Restore(kept)
	if err == nil && own.Version() > of.Version() {
		return kept, nil
	}
	return copied, err
}

// replay applies what a kept log holds beyond what was loaded. While too many removals are pending for
// a record, the batch ends before it; an empty one is tried again, since the store carries on with some
// of them before each batch.
func (s peerStore) replay(ctx context.Context, lane clock.Lane) error {
	for {
		records, err := s.Log(lane, s.Applied(lane), replication.BatchBytes)
		if err != nil || len(records) == 0 {
			return err
		}
		err = write(ctx, s.Store, func(b *storage.Batch) error {
			for i, encoded := range records {
				r, err := kv.DecodeRecord(encoded)
				if err == nil {
					err = b.Apply(r, encoded)
				}
				if i > 0 && errors.Is(err, kv.ErrOverloaded) {
					return nil
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		switch {
		case errors.Is(err, kv.ErrOverloaded):
			select {
			case <-time.After(replication.OverloadedPause):
			case <-ctx.Done():
			}
		case err != nil:
			return err
		}
	}
}

var (
	_ replication.Store  = peerStore{}
	_ replication.Loader = peerStore{}
)
