package storage

import (
	"context"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Buckets lists the first buckets behind after, at most limit of them, in the order of their names. It
// holds no more names than twice that. A bucket is listed that holds a leaf, of the generation that it has at a
// snapshot: one that has been written to and whose objects were all removed may or may not be.
func (s *Store) Buckets(ctx context.Context, at clock.Vector, after kv.Bucket, limit int) ([]kv.Bucket, error) {
	var first []kv.Bucket
	for shard := range uint8(Shards) {
		if err := ctx.Err(); err != nil {
			return nil, kv.Errorf(kv.KindDeadline, "storage: list buckets: %w", err)
		}
		var last kv.Bucket // names above it are on a later page; empty: none is yet
		if len(first) == limit {
			last = first[limit-1]
		}
		more, err := s.shardBuckets(shard, at, after, last, limit)
		if err != nil {
			return nil, err
		}
		first = mergeBuckets(first, more, limit)
	}
	return first, nil
}

// shardBuckets lists the first buckets of a shard between after and last.
func (s *Store) shardBuckets(shard uint8, at clock.Vector, after, last kv.Bucket, limit int) (found []kv.Bucket, err error) {
	all := []byte{spaceLeaf, shard}
	from := all
	if after != "" {
		from = behindBucket(shard, after)
	}
	iter, err := s.iterate(from, successor(all))
	if err != nil {
		return nil, s.readFailed("buckets", err)
	}
	defer func() {
		if e := iter.Close(); e != nil && err == nil {
			err = s.readFailed("buckets", e)
		}
	}()
	for ok := iter.First(); ok && len(found) < limit; {
		l, err := parseLeaf(iter.Key())
		if err != nil {
			return nil, s.readFailed("buckets", err)
		}
		if last != "" && l.Bucket > last {
			break
		}
		switch generation := s.Generation(l.Bucket, at); {
		case l.Generation < generation:
			ok = iter.SeekGE(appendBucketKey(nil, shard, l.Bucket, generation))
			continue
		case l.Generation == generation:
			found = append(found, l.Bucket)
		}
		ok = iter.SeekGE(behindBucket(shard, l.Bucket))
	}
	if err := iter.Error(); err != nil {
		return nil, s.readFailed("buckets", err)
	}
	return found, nil
}

// behindBucket is above every key of a bucket in a shard, and not above any key of the next one.
func behindBucket(shard uint8, b kv.Bucket) []byte {
	return successor(kv.AppendName([]byte{spaceLeaf, shard}, string(b)))
}

// mergeBuckets are the first names of two lists in order, each once.
func mergeBuckets(a, b []kv.Bucket, limit int) []kv.Bucket {
	if len(b) == 0 {
		return a
	}
	out := make([]kv.Bucket, 0, min(len(a)+len(b), limit))
	for len(out) < limit && len(a)+len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			out, a = append(out, a[0]), a[1:]
		case len(a) == 0 || b[0] < a[0]:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return out
}
