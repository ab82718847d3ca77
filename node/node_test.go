package node

import (
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/memtransport"
	"github.com/theriac-db/theriac/storage"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

func config(fs vfs.FS, region string) Config {
	return Config{
		Region: region, Dir: "data", FS: fs, Addresses: Addresses{Peer: region},
		Transport: memtransport.New(replication.SystemTime()).Node(region),
	}
}

func TestStartRefusesBadSettings(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no region":          func(c *Config) { c.Region = "" },
		"capital letters":    func(c *Config) { c.Region = "EU" },
		"long region":        func(c *Config) { c.Region = strings.Repeat("x", MaxRegionName+1) },
		"no folder":          func(c *Config) { c.Dir = "" },
		"no transport":       func(c *Config) { c.Transport = nil },
		"negative skew":      func(c *Config) { c.Skew = -1 },
		"skew out of bounds": func(c *Config) { c.Skew = 1 << 62 },
	} {
		t.Run(name, func(t *testing.T) {
			c := config(vfs.NewMem(), "eu")
			change(&c)
			_, err := Start(t.Context(), c)
			require.ErrorIs(t, err, kv.ErrInvalid)
		})
	}
}

func TestFolderBelongsToOneRegion(t *testing.T) {
	fs := vfs.NewMem()
	n, err := Start(t.Context(), config(fs, "eu"))
	require.NoError(t, err)
	require.NoError(t, n.Close(t.Context()))
	_, err = Start(t.Context(), config(fs, "us"))
	require.ErrorIs(t, err, kv.ErrInvalid)
	require.Contains(t, err.Error(), `"eu"`)
	n, err = Start(t.Context(), config(fs, "eu"))
	require.NoError(t, err, "a refused start leaves no damage")
	require.NoError(t, n.Close(t.Context()))
}

func TestFailureOfTheStoreRefusesWritesAndIsTold(t *testing.T) {
	var told []error
	c := config(vfs.NewMem(), "eu")
	c.Fatal = func(err error) { told = append(told, err) }
	n, err := Start(t.Context(), c)
	require.NoError(t, err)
	defer n.Kill()
	require.NoError(t, n.Alive())
	require.Empty(t, n.NotReady())
	cause := kv.Errorf(kv.KindReadOnly, "the disk is full")
	n.current.Load().fatal(cause)
	n.current.Load().fatal(cause)
	require.Len(t, told, 1)
	require.ErrorIs(t, n.Alive(), kv.ErrReadOnly)
	require.Len(t, n.NotReady(), 1)
	_, err = n.Do(t.Context(), kv.Request{Ops: []kv.Op{{
		Object: kv.Object{Bucket: kv.DefaultBucket, Key: "k", Type: crdt.Counter}, Verb: kv.VerbIncrement, Int: 1,
	}}})
	require.ErrorIs(t, err, kv.ErrReadOnly)
	require.Contains(t, err.Error(), "the disk is full")
	s, err := n.Status(t.Context())
	require.NoError(t, err)
	require.Contains(t, s.State, "read-only")
}

// Nothing reaches a store that has failed, so nobody waits for it any more.
func TestFailureOfTheStoreEndsWaits(t *testing.T) {
	n, err := Start(t.Context(), config(vfs.NewMem(), "eu"))
	require.NoError(t, err)
	defer n.Kill()
	r, waited := n.current.Load(), make(chan error, 1)
	never := clock.VectorOf(clock.Entry{Region: r.lane.Region, Time: clock.MaxTimestamp})
	go func() { waited <- r.exposure.Wait(t.Context(), never, false) }()
	r.fatal(kv.Errorf(kv.KindReadOnly, "the disk is full"))
	require.ErrorIs(t, <-waited, kv.ErrUnavailable)
	_, err = n.Do(t.Context(), kv.Request{Queries: []kv.Query{{Object: kv.Object{Bucket: kv.DefaultBucket, Key: "k", Type: crdt.Counter}}}})
	require.NoError(t, err, "what is here can be read")
}

func TestClockAheadRefusesWritesWhileItLasts(t *testing.T) {
	n, err := Start(t.Context(), config(vfs.NewMem(), "eu"))
	require.NoError(t, err)
	defer func() { require.NoError(t, n.Close(t.Context())) }()
	n.current.Load().clockAhead(true)
	require.NotNil(t, n.Refused())
	n.current.Load().clockAhead(false)
	require.Nil(t, n.Refused())
	n.current.Load().refuseFor(hasFailed, kv.Errorf(kv.KindReadOnly, "another reason"))
	n.current.Load().clockAhead(true)
	n.current.Load().clockAhead(false)
	require.NotNil(t, n.Refused(), "another reason stays")
	n.current.Load().skewed(2, "us", n.config.Skew*2)
	require.Len(t, n.NotReady(), 1)
	require.Len(t, n.Warnings(), 1)
	n.current.Load().skewed(2, "us", 0)
	require.Empty(t, n.Warnings())
}

// founded is metadata of a cluster after so many changes.
func founded(t *testing.T, changes int) []byte {
	t.Helper()
	s := meta.New()
	for i := range changes {
		var c meta.Command = &meta.Found{Name: "eu", Store: 1}
		if i > 0 {
			c = &meta.Create{Rules: kv.BucketRules{Name: kv.Bucket("bucket-" + strconv.Itoa(i))}}
		}
		b, err := meta.Encode(c)
		require.NoError(t, err)
		_, err = s.Apply(b, 0)
		require.NoError(t, err)
	}
	require.EqualValues(t, changes, s.Version())
	return s.AppendSnapshot(nil)
}

// A store never goes back to rules older than those it has acted by.
func TestACutBringsTheLaterMetadata(t *testing.T) {
	s, err := storage.Open(storage.Config{FS: vfs.NewMem(), Dir: "data"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	store := peerStore{Store: s}
	for _, c := range []struct{ comes, want int }{{0, 0}, {2, 2}, {0, 2}, {1, 2}, {4, 4}, {3, 4}} {
		var copied, want []byte
		if c.comes > 0 {
			copied = founded(t, c.comes)
		}
		if c.want > 0 {
			want = founded(t, c.want)
		}
		require.NoError(t, store.LoadEnd(t.Context(), appendBytes(appendBytes(nil, copied), nil), nil))
		kept, err := store.Meta(metadataKey)
		require.NoError(t, err)
		require.Equal(t, string(want), string(kept), "%d", c.comes)
	}
	require.NoError(t, store.SetMeta(t.Context(), metadataKey, []byte("damaged")))
	_, err = openMetadata(s)
	require.ErrorIs(t, err, kv.ErrCorrupt)
}

func TestBootstrapBytesComeBackAndMalformedOnesAreRefused(t *testing.T) {
	open := func() peerStore {
		s, err := storage.Open(storage.Config{FS: vfs.NewMem(), Dir: "data"})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return peerStore{Store: s}
	}
	from, to := open(), open()
	lane := clock.Lane{Region: 3}
	voids := map[clock.Lane][]kv.Interval{lane: {{From: 5, To: 9}, {From: 20, To: 30}}}
	drops := map[kv.Bucket][]storage.Drop{"b": {{Time: 3, Generation: 1}, {Time: 5, Generation: 4}}}
	require.NoError(t, write(t.Context(), from.Store, func(b *storage.Batch) error { b.LoadVoids(voids); b.LoadDrops(drops); return nil }))
	metadata := founded(t, 3)
	require.NoError(t, from.SetMeta(t.Context(), metadataKey, metadata))
	state, err := from.ReadState(t.Context())
	require.NoError(t, err)
	require.NoError(t, to.LoadBegin(t.Context()))
	require.NoError(t, to.LoadEnd(t.Context(), state, map[clock.Lane]clock.Timestamp{lane: 40}))
	require.Equal(t, voids, to.Voids())
	require.Equal(t, drops, to.Drops())
	require.Equal(t, clock.Timestamp(40), to.Applied(lane))
	kept, err := to.Meta(metadataKey)
	require.NoError(t, err)
	require.Equal(t, metadata, kept)
	first := 1 + len(metadata) + 1 + 2*(1+1+8+4)
	for n := range len(state) {
		if n != first && n != (first+len(state))/2 {
			require.ErrorIs(t, to.LoadEnd(t.Context(), state[:n], nil), kv.ErrCorrupt, n)
		}
	}
	state[len(metadata)]++
	require.ErrorIs(t, to.LoadEnd(t.Context(), state, nil), kv.ErrCorrupt, "metadata of another sum")
	for _, data := range [][]byte{{0xff}, {5, 1}, appendBytes(nil, []byte("key")), appendBytes(appendBytes(nil, []byte("key")), []byte("items"))} {
		require.ErrorIs(t, to.LoadRange(t.Context(), 0, data), kv.ErrCorrupt)
	}
}

func TestMalformedDropsOfABootstrapAreRefused(t *testing.T) {
	good := encodeDrops(map[kv.Bucket][]storage.Drop{"b": {{Time: 3, Generation: 1}}})
	for n := range len(good) {
		if n > 0 {
			_, err := decodeDrops(good[:n])
			require.ErrorIs(t, err, kv.ErrCorrupt, n)
		}
	}
	_, err := decodeDrops(append([]byte{0}, make([]byte, 12)...))
	require.ErrorIs(t, err, kv.ErrCorrupt, "no name")
	got, err := decodeDrops(nil)
	require.NoError(t, err)
	require.Empty(t, got)
}

func FuzzDecodeVoids(f *testing.F) {
	f.Add([]byte{3, 0, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeVoids(b); err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt)
		}
	})
}
