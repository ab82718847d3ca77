package replication

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// busyLane makes a packed message of counter adds with keys of 20 bytes, as a busy lane of three
// regions sends it: so many groups, each of so many transactions.
func busyLane(b *testing.B, groups, txns int) []byte {
	random := rand.New(rand.NewPCG(1, uint64(groups)))
	now := clock.At(1_760_000_000_000_000)
	p := newPacker(clock.Lane{Region: 1}, now)
	target, err := crdt.Resolve(kv.Op{Object: kv.Object{Bucket: "default", Key: "k", Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: 1})
	if err != nil {
		b.Fatal(err)
	}
	others := []clock.Timestamp{now, now}
	for range groups {
		r := kv.Record{Header: kv.Header{Lane: clock.Lane{Region: 1}, Prev: p.prev, Kind: kv.RecordGroup,
			Time: p.prev + clock.Timestamp(50+random.IntN(100))<<12}}
		if random.IntN(3) == 0 {
			others[random.IntN(2)] = r.Time - clock.Timestamp(1000+random.IntN(100_000))<<12
		}
		r.Deps = clock.VectorOf(clock.Entry{Region: 1, Time: r.Prev}, clock.Entry{Region: 2, Time: others[0]}, clock.Entry{Region: 3, Time: others[1]})
		for range txns {
			key := kv.Key(fmt.Sprintf("counter:%012d", random.IntN(10_000)))
			r.Txns = append(r.Txns, kv.Txn{Effects: []kv.Effect{{Object: kv.Object{Bucket: "default", Key: key, Type: crdt.Counter}, Op: target.Op}}})
		}
		if _, err := p.add(r.Append(nil)); err != nil {
			b.Fatal(err)
		}
	}
	return p.out
}

// BenchmarkCompression compares what a counter add costs on the wire, and in time, by the codec.
func BenchmarkCompression(b *testing.B) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	codecs := map[string]func(dst, src []byte) []byte{
		"none": func(dst, src []byte) []byte { return append(dst, src...) },
		"s2":   func(_, src []byte) []byte { return s2.Encode(nil, src) },
		"zstd": func(dst, src []byte) []byte { return z.EncodeAll(src, dst) },
	}
	for _, shape := range [][2]int{{1, 1}, {20, 1}, {500, 1}, {1, 64}, {20, 64}} {
		message := busyLane(b, shape[0], shape[1])
		for _, name := range []string{"none", "s2", "zstd"} {
			b.Run(fmt.Sprintf("groups=%d/adds=%d/%s", shape[0], shape[1], name), func(b *testing.B) {
				var out []byte
				for b.Loop() {
					out = codecs[name](out[:0], message)
				}
				adds := float64(shape[0] * shape[1])
				b.ReportMetric(float64(len(out))/adds, "bytes/add")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/adds, "ns/add")
			})
		}
	}
}
