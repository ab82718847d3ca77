package storage

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

func registerOp(key string, value string) kv.Op {
	return kv.Op{Object: registerObject(key), Verb: kv.VerbAssign, Data: []byte(value)}
}

func registerObject(key string) kv.Object {
	return kv.Object{Bucket: kv.DefaultBucket, Key: kv.Key(key), Type: crdt.RegisterLWW}
}

// storedItems is how many items a leaf has in the store.
func storedItems(t testing.TB, s *Store, o kv.Object) int {
	t.Helper()
	items, err := s.Items(Leaf{Object: o})
	require.NoError(t, err)
	n, err := crdt.CountItems(items)
	require.NoError(t, err)
	return n
}

// openQuiet opens a store that does nothing of itself but what tests have it do.
func openQuiet(t testing.TB, c Config) *Store {
	t.Helper()
	c.Dir, c.TidyInterval, c.SweepInterval, c.Logf = "store", time.Hour, time.Hour, t.Logf
	if c.FS == nil {
		c.FS = vfs.NewMem()
	}
	s, err := Open(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// tidied has the writer look at its triggers, twice since what is fresh is left alone once, and do
// what it finds. It returns how many leaves it tried to rewrite.
func tidied(t testing.TB, s *Store) (tried int) {
	t.Helper()
	do(t, s, func(b *Batch) error {
		for range 2 {
			for s.writer.triggers.look(); s.writer.triggers.looking; {
				j, ok := s.ownChore().(*rewriteJob)
				if !ok {
					continue
				}
				tried += len(j.keys)
				if err := j.Build(b); err != nil && err != errNothing {
					return err
				}
			}
		}
		return nil
	})
	return tried
}

// assigned writes a register n times, each time overriding the last.
func assigned(t testing.TB, s *Store, a *author, key string, n int) (at clock.Vector) {
	for i := range n {
		at = clock.VectorOf(clock.Entry{Region: 1, Time: a.last})
		r, enc := a.group(t, at, registerOp(key, string(rune('a'+i%26))))
		do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
	}
	return clock.VectorOf(clock.Entry{Region: 1, Time: a.last})
}

func TestALeafBelowNoPendingRemovalWaitsForTheHorizonOnly(t *testing.T) {
	s := openQuiet(t, Config{RemovalLeaves: 1})
	fillOps(t, s, 3, func(i int) kv.Op { return setAdd("s", i) })
	a := &author{lane: lane(1), last: s.Applied(lane(1))}
	s.cfg.hold.Store(true)
	r, enc := a.group(t, clock.VectorOf(clock.Entry{Region: 1, Time: a.last}), kv.Op{Object: setObject("s"), Verb: kv.VerbReset})
	do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
	require.Equal(t, 1, s.Stats().PendingRemoval)

	at := assigned(t, s, a, "k", 3)
	s.SetCuts(at, nil)
	require.Zero(t, tidied(t, s), "the removal holds the horizon back: a rewrite would be in vain")
	require.Equal(t, 3, storedItems(t, s, registerObject("k")))

	s.cfg.hold.Store(false)
	for s.Stats().PendingRemoval > 0 {
		do(t, s, func(*Batch) error { return nil })
	}
	tidied(t, s)
	require.Equal(t, 1, storedItems(t, s, registerObject("k")), "the horizon has passed the leaf, though nothing is settled")
}

func TestALeafThatWasRewrittenBelowTheHorizonWaitsForItStill(t *testing.T) {
	s := openQuiet(t, Config{})
	a := &author{lane: lane(1)}
	at := assigned(t, s, a, "k", MinOperands)
	for range 2 * JobsPerChore {
		do(t, s, func(*Batch) error { return nil })
	}
	require.NotZero(t, s.counts.rewrites.Load(), "its operands were many")
	require.Equal(t, MinOperands, storedItems(t, s, registerObject("k")), "nothing could go")
	s.SetCuts(at, nil)
	tidied(t, s)
	require.Equal(t, 1, storedItems(t, s, registerObject("k")))
}
