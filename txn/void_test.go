package txn

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// TestCrashLoopKeepsTheSessionsThatSawNothingLost crashes again and again without a durable commit in
// between: sessions that read stay valid, those that saw a write that was lost do not, and all of it
// is one void interval.
func TestCrashLoopKeepsTheSessionsThatSawNothingLost(t *testing.T) {
	fs := vfs.NewCrashableMem()
	r := start(t, fs, 7)
	valid := []kv.Token{r.must(kv.Options{}, increment("n", 1)).Token}
	var lost []kv.Token
	for i := range uint64(20) {
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(i, 1))})
		lost = append(lost, r.must(kv.Options{Durability: kv.DurabilityApplied}, increment("n", 10)).Token)
		require.NoError(t, r.store.Close())
		fs = crashed
		r = start(t, fs, 8+i)
		valid = append(valid, r.must(kv.Options{}).Token)
		id, receipt, err := r.Begin(t.Context(), kv.Begin{})
		require.NoError(t, err)
		require.NoError(t, r.Abort(t.Context(), id))
		valid = append(valid, receipt.Token)
	}
	defer func() { require.NoError(t, r.store.Close()) }()
	require.Len(t, r.store.Voids()[r.lane], 1)
	for i, token := range valid {
		resp, err := r.Do(t.Context(), kv.Request{Options: kv.Options{Token: token}})
		require.NoError(t, err, "session %d", i)
		require.Equal(t, valid[0].Seen, resp.Receipt.Token.Seen, "void records are not named")
		require.Equal(t, r.store.Applied(r.lane), resp.Receipt.Snapshot.At(r.lane.Region))
	}
	for i, token := range lost {
		_, err := r.Do(t.Context(), kv.Request{Options: kv.Options{Token: token}})
		require.ErrorIs(t, err, kv.ErrLost, "session %d", i)
	}
	after := r.must(kv.Options{Token: valid[len(valid)-1]}, increment("n", 1))
	require.Equal(t, clock.Vector{clock.Entry(after.Commit)}, after.Token.Seen)
	require.Equal(t, int64(2), r.counter("n"))
}

// TestAnOlderCopyOfAStoreThatWasStoppedTellsWhatIsLost: that it once ended in order says nothing of
// what came after the copy was made.
func TestAnOlderCopyOfAStoreThatWasStoppedTellsWhatIsLost(t *testing.T) {
	for name, witness := range map[string]bool{"without its witness": false, "with its witness": true} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			r := start(t, fs, 7)
			kept := r.must(kv.Options{}, increment("n", 1)).Token
			require.NoError(t, r.Stop(t.Context()))
			require.NoError(t, r.store.Close())
			copied := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
			r = start(t, fs, 8)
			lost := r.must(kv.Options{}, increment("n", 10)).Token
			floor := r.MayHaveReserved()
			require.NoError(t, r.store.Close())

			if !witness {
				require.NoError(t, copied.Remove("data/WITNESS"))
			}
			r = prepare(t, copied, 9)
			defer func() { require.NoError(t, r.store.Close()) }()
			require.Equal(t, !witness, r.store.Start().Short)
			require.NoError(t, r.Coordinator.Start(t.Context(), floor))
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // it would wait for ever
			defer cancel()
			_, err := r.Do(ctx, kv.Request{Options: kv.Options{Token: lost}})
			require.ErrorIs(t, err, kv.ErrLost)
			_, err = r.Do(t.Context(), kv.Request{Options: kv.Options{Token: kept}})
			require.NoError(t, err)
			require.Equal(t, int64(1), r.counter("n"))
		})
	}
}

// A store that turned short while it ran, and was stopped in order, may have lost what lies below its
// own bound too.
func TestAShortStoreThatIsStoppedInOrderIsNotClean(t *testing.T) {
	r := start(t, vfs.NewCrashableMem(), 7)
	r.must(kv.Options{}, increment("n", 1))
	r.change(func(b *storage.Batch) { b.Short("others know more") })
	require.NoError(t, r.Stop(t.Context()))
	require.NoError(t, r.store.Close())
	r = start(t, r.fs, 8)
	defer func() { require.NoError(t, r.store.Close()) }()
	require.True(t, r.store.Start().Short)
	require.Len(t, r.store.Voids()[r.lane], 1)
}
