package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// The oracle: every effect ever issued, by leaf, judged by the definition of "covers". It shares no
// code with the store, nor with package crdt.

type told struct {
	dot      clock.Dot
	snapshot clock.Vector // of overrides
	verb     kv.Verb
	n        int64
	data     string
	path     string // encoded key of the leaf or, for a reset, of what is removed
}

type oracle struct{ effects []told }

// value says what a leaf is at a cut, and whether it is present.
func (o *oracle) value(leaf string, t kv.Type, at clock.Vector) (text string, present bool) {
	var on, removers []told
	for _, e := range o.effects {
		switch {
		case !at.Sees(e.dot):
		case e.verb == kv.VerbReset && len(leaf) >= len(e.path) && leaf[:len(e.path)] == e.path:
			removers = append(removers, e)
		case e.path == leaf && e.verb != kv.VerbReset:
			on = append(on, e)
			if e.snapshot != nil {
				removers = append(removers, e)
			}
		}
	}
	live := slices.DeleteFunc(slices.Clone(on), func(f told) bool {
		return slices.ContainsFunc(removers, func(e told) bool { return f.dot.Time <= e.snapshot.At(f.dot.Region) })
	})
	return judge(t, live)
}

func judge(t kv.Type, live []told) (string, bool) {
	has := func(v kv.Verb) bool { return slices.ContainsFunc(live, func(e told) bool { return e.verb == v }) }
	switch t {
	case crdt.Counter:
		sum := int64(0)
		for _, e := range live {
			sum += e.n
		}
		return fmt.Sprint(sum), len(live) > 0
	case crdt.FlagEW:
		return "", has(kv.VerbAdd)
	case crdt.FlagDW:
		return "", has(kv.VerbAdd) && !has(kv.VerbRemove)
	}
	if len(live) == 0 {
		return "", false
	}
	return slices.MaxFunc(live, func(a, b told) int { return a.dot.Compare(b.dot) }).data, true
}

func textOf(v kv.Value) string {
	switch v.Type {
	case crdt.Counter:
		return fmt.Sprint(v.Int)
	case crdt.RegisterLWW:
		return string(v.Bytes)
	}
	return ""
}

// world is a store, two lanes that write, and what is known of both.
type world struct {
	t       *rapid.T
	fs      *vfs.MemFS
	s       *Store
	oracle  oracle
	origin  [3]clock.Region    // of lanes 1 and 2; one may be the certifier
	lanes   [3]*author         // 1 and 2
	seen    [3]clock.Vector    // by the lanes; only grows
	records map[uint64]*record // region and time
	issued  []*record
	held    int // how many of issued the store has been given, in order
	synced  clock.Vector
	cuts    []clock.Vector // that were exposed, in order
	horizon clock.Vector
	settled clock.Vector
	noted   []pair
	leaves  map[string]Leaf
	bound   clock.Timestamp
	hold    atomic.Bool
}

type record struct {
	r   *kv.Record
	enc []byte
}

type pair struct{ stable, received clock.Vector }

const worldLeafBudget = 2

func newWorld(t *rapid.T) *world {
	w := &world{t: t, fs: vfs.NewCrashableMem(), leaves: make(map[string]Leaf), records: make(map[uint64]*record)}
	w.origin = [3]clock.Region{1: clock.Region(rapid.IntRange(0, 1).Draw(t, "first origin")), 2: 2}
	for r := 1; r <= 2; r++ {
		w.lanes[r] = &author{lane: lane(w.origin[r])}
	}
	w.open()
	return w
}

func (w *world) open() {
	s, err := Open(Config{FS: w.fs, Dir: "a/store", RemovalLeaves: worldLeafBudget, MemTableBytes: 256 << 10, SyncDelay: time.Hour,
		TidyInterval: time.Millisecond, SweepInterval: time.Millisecond, LeafCacheBytes: 4 << 20, hold: &w.hold})
	require.NoError(w.t, err)
	w.s = s
}

func (w *world) exposed() clock.Vector {
	if len(w.cuts) == 0 {
		return nil
	}
	return w.cuts[len(w.cuts)-1]
}

var worldTypes = []kv.Type{crdt.Counter, crdt.RegisterLWW, crdt.SetAW, crdt.SetRW, crdt.Map}

// randomOp draws an operation on one of few leaves, so that they meet.
func (w *world) randomOp() kv.Op {
	object := kv.Object{Bucket: "b", Key: kv.Key(rapid.SampledFrom([]string{"k", "k\x00", "l"}).Draw(w.t, "key")),
		Type: rapid.SampledFrom(worldTypes).Draw(w.t, "type")}
	op := kv.Op{Object: object}
	t := object.Type
	for t == crdt.Map {
		if rapid.IntRange(0, 6).Draw(w.t, "reset map") == 0 {
			op.Verb = kv.VerbReset
			return op
		}
		step := kv.Step{Name: rapid.SampledFrom([]string{"f", "g", "h"}).Draw(w.t, "field"), Type: rapid.SampledFrom(worldTypes).Draw(w.t, "field type")}
		if len(op.Path) == 2 {
			step.Type = crdt.Counter
		}
		op.Path = append(op.Path, step)
		t = step.Type
	}
	if rapid.IntRange(0, 6).Draw(w.t, "reset") == 0 {
		op.Verb = kv.VerbReset
		return op
	}
	switch t {
	case crdt.Counter:
		op.Verb, op.Int = kv.VerbIncrement, rapid.Int64Range(-3, 9).Draw(w.t, "n")
	case crdt.RegisterLWW:
		op.Verb, op.Data = kv.VerbAssign, []byte(rapid.SampledFrom([]string{"x", "y", ""}).Draw(w.t, "value"))
	default:
		op.Verb = rapid.SampledFrom([]kv.Verb{kv.VerbAdd, kv.VerbAdd, kv.VerbRemove}).Draw(w.t, "verb")
		op.Data = []byte{byte(rapid.IntRange(0, 5).Draw(w.t, "element"))}
	}
	return op
}

// issue has a lane write a group at its own snapshot.
func (w *world) issue() {
	r := rapid.IntRange(1, 2).Draw(w.t, "lane")
	var txns [][]kv.Op
	for range rapid.IntRange(1, 4).Draw(w.t, "txns") {
		txns = append(txns, []kv.Op{w.randomOp()})
	}
	at := w.seen[r]
	rec, enc := w.lanes[r].txns(w.t, at, txns...)
	w.issued = append(w.issued, &record{rec, enc})
	w.records[uint64(r)<<60^uint64(rec.Time)] = w.issued[len(w.issued)-1]
	w.seen[r] = at.With(w.origin[r], rec.Time)
	for i := range rec.Txns {
		w.tell(rec, &rec.Txns[i].Effects[0], txns[i][0], at)
	}
}

func (w *world) tell(rec *kv.Record, e *kv.Effect, op kv.Op, at clock.Vector) {
	l := Leaf{Object: e.Object, Path: e.Path}
	key := string(l.appendKey(nil))
	f := told{dot: clock.Dot{Region: rec.Lane.Region, Time: rec.Time, Index: e.Index}, verb: op.Verb, n: op.Int, data: string(op.Data), path: key}
	overrides := op.Verb == kv.VerbReset || op.Verb == kv.VerbAssign || op.Verb == kv.VerbRemove || l.Type() == crdt.FlagDW
	if overrides {
		f.snapshot = append(clock.Vector{}, at...)
	}
	w.oracle.effects = append(w.oracle.effects, f)
	if op.Verb != kv.VerbReset {
		w.leaves[key] = l
	}
}

func (w *world) see() {
	r := rapid.IntRange(1, 2).Draw(w.t, "who sees")
	// What a lane sees is causally closed: all of the other that the other had seen.
	w.seen[r] = w.seen[r].Join(w.seen[3-r])
}

// give hands the store some records that it lacks, in the order of issue, which is causal.
func (w *world) give() {
	n := rapid.IntRange(1, 3).Draw(w.t, "records")
	synced := rapid.Bool().Draw(w.t, "sync")
	from := w.held
	to := min(from+n, len(w.issued))
	if from == to {
		return
	}
	err := w.try(synced, func(b *Batch) error {
		for _, rec := range w.issued[from:to] {
			if err := b.Apply(rec.r, rec.enc); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(w.t, err)
	w.held = to
	at := w.exposed()
	for _, rec := range w.issued[from:to] {
		at = at.With(rec.r.Lane.Region, rec.r.Time)
		w.cuts = append(w.cuts, at)
	}
	if synced {
		w.synced = at
	}
}

// try runs a job to its being durable, or only applied.
func (w *world) try(synced bool, build func(*Batch) error) error {
	done := make(chan error, 2)
	j := &work{durable: done, build: func(b *Batch) error {
		if synced {
			b.Sync()
		}
		return build(b)
	}}
	if !synced {
		j.applied = func() { done <- nil }
	}
	if err := w.s.Submit(context.Background(), j); err != nil {
		return err
	}
	return <-done
}

func (w *world) moveCuts() {
	if len(w.cuts) == 0 {
		return
	}
	h := rapid.SampledFrom(w.cuts).Draw(w.t, "horizon")
	w.horizon = w.horizon.Join(h)
	received := clock.VectorOf(clock.Entry{Region: w.origin[1], Time: w.lanes[1].last}, clock.Entry{Region: w.origin[2], Time: w.lanes[2].last})
	w.noted = append(w.noted, pair{w.seen[1].Meet(w.seen[2]), received})
	for _, p := range w.noted {
		if w.horizon.Includes(p.received) {
			w.settled = w.settled.Join(p.stable)
		}
	}
	w.s.SetCuts(w.horizon, w.settled)
}

func (w *world) sweep() { require.NoError(w.t, w.s.Sweep(context.Background())) }

// check compares every leaf at some cuts that include the horizon.
func (w *world) check() {
	var open []clock.Vector
	for _, c := range w.cuts {
		if c.Includes(w.horizon) {
			open = append(open, c)
		}
	}
	if len(open) == 0 {
		return
	}
	w.checkAt(rapid.SampledFrom(open).Draw(w.t, "snapshot"))
	w.checkAt(open[len(open)-1])
}

func (w *world) checkAt(at clock.Vector) {
	present := make(map[string]bool)
	for key, l := range w.leaves {
		want, there := w.oracle.value(key, l.Type(), at)
		v, err := w.s.Value(l, at)
		require.NoError(w.t, err)
		require.Equal(w.t, there, v.Present, "leaf %q at %s", key, at)
		items, err := w.s.Items(l)
		require.NoError(w.t, err)
		u, err := crdt.Fold(l.Type(), items, at)
		require.NoError(w.t, err)
		require.Equal(w.t, there, u.Present, "leaf %q at %s, from its items", key, at)
		if there {
			present[string(appendObjectKey(nil, &l.Object, 0))] = true
			require.Equal(w.t, want, textOf(v), "leaf %q at %s", key, at)
			require.Equal(w.t, want, textOf(u), "leaf %q at %s, from its items", key, at)
		}
	}
	w.checkKeys(at, present)
}

func (w *world) checkKeys(at clock.Vector, present map[string]bool) {
	var last kv.Object
	found := 0
	err := w.s.ScanKeys(context.Background(), KeyRange{Bucket: "b"}, at, func(o kv.Object) (bool, error) {
		require.True(w.t, found == 0 || lessObject(&last, &o), "keys in order")
		require.True(w.t, present[string(appendObjectKey(nil, &o, 0))], "object %v is not present", o)
		last, found = o, found+1
		return true, nil
	})
	require.NoError(w.t, err)
	require.Equal(w.t, len(present), found)
}

// crash loses some of what was not synced and opens what is left.
func (w *world) crash() {
	percent := rapid.SampledFrom([]int{0, 30, 70, 100}).Draw(w.t, "unsynced data kept, percent")
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(w.t, "seed"), 0))
	clone := w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	_ = w.s.Close()
	w.fs = clone
	w.open()
	applied := w.s.writer.state.vector()
	require.True(w.t, applied.Includes(w.synced), "applied %s after the crash, synced were %s", applied, w.synced)
	require.False(w.t, w.s.Start().Short)
	require.GreaterOrEqual(w.t, w.s.Start().Bound, w.bound, "a timestamp could be handed out twice")
	w.held = 0
	at := clock.Vector(nil)
	w.cuts = nil
	for w.held < len(w.issued) {
		h := w.issued[w.held].r.Header
		if applied.At(h.Lane.Region) < h.Time {
			break
		}
		at = at.With(h.Lane.Region, h.Time)
		w.cuts = append(w.cuts, at)
		w.held++
	}
	require.True(w.t, at.Equal(applied), "the groups held are not the first ones given: %s, %s", at, applied)
	w.horizon = w.horizon.Meet(at) // rewrites above it were lost with what they had seen
	w.settled = w.settled.Meet(w.horizon)
	w.synced = at
	w.checkAt(at)
}

// bootstrap goes on with a new store, which was handed what the old one holds at some cut.
func (w *world) bootstrap() {
	i := rapid.IntRange(0, len(w.cuts)).Draw(w.t, "cut") - 1
	if i < 0 || !w.cuts[i].Includes(w.horizon) {
		return
	}
	cut, from := w.cuts[i], w.s
	w.held -= len(w.cuts) - 1 - i
	w.fs = vfs.NewCrashableMem()
	w.open()
	require.NoError(w.t, w.try(true, func(b *Batch) error { b.Clear(); return nil }))
	handOver(w.t, from, w.s, cut)
	_ = from.Close()
	w.cuts, w.synced, w.horizon = []clock.Vector{cut}, cut, cut
	require.NoError(w.t, w.try(true, func(b *Batch) error { b.Reserve(w.bound); return nil }))
	w.s.SetCuts(w.horizon, w.settled)
	w.checkAt(cut)
}

// handOver copies what one store holds at a cut into another, empty one.
func handOver(t require.TestingT, from, to *Store, cut clock.Vector) {
	for shard := range uint8(Shards) {
		for after, more := []byte(nil), true; more; more = after != nil {
			leaves, next, err := from.ShardRange(context.Background(), shard, after, cut, 500)
			require.NoError(t, err)
			if len(leaves) > 0 {
				require.NoError(t, try(to, func(b *Batch) error {
					b.Sync()
					for _, l := range leaves {
						if err := b.LoadLeaf(l); err != nil {
							return err
						}
					}
					return nil
				}))
			}
			after = next
		}
	}
	lanes := make(map[clock.Lane]clock.Timestamp)
	for _, e := range cut {
		lanes[lane(e.Region)] = e.Time
	}
	require.NoError(t, try(to, func(b *Batch) error { b.Sync(); b.LoadApplied(lanes); return nil }))
}

func (w *world) reserve() {
	bound := w.lanes[1].last + clock.Timestamp(rapid.IntRange(1, 1<<20).Draw(w.t, "reserve"))
	require.NoError(w.t, w.try(true, func(b *Batch) error { b.Reserve(bound); return nil }))
	w.bound = max(w.bound, bound)
	w.synced = w.exposed()
}

func TestStoreReadsWhatTheOracleSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		defer func() { _ = w.s.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"issue":  func(t *rapid.T) { w.t = t; w.issue() },
			"issue2": func(t *rapid.T) { w.t = t; w.issue() },
			"give":   func(t *rapid.T) { w.t = t; w.give() },
			"give2":  func(t *rapid.T) { w.t = t; w.give() },
			"see":    func(t *rapid.T) { w.t = t; w.see() },
			"cuts":   func(t *rapid.T) { w.t = t; w.moveCuts() },
			"sweep":  func(t *rapid.T) { w.t = t; w.sweep() },
			"crash":  func(t *rapid.T) { w.t = t; w.crash() },
			"boot":   func(t *rapid.T) { w.t = t; w.bootstrap() },
			"bound":  func(t *rapid.T) { w.t = t; w.reserve() },
			"hold":   func(t *rapid.T) { w.hold.Store(rapid.Bool().Draw(t, "hold")) },
			"check":  func(t *rapid.T) { w.t = t; w.check() },
		})
		w.t = t
		w.check()
	})
}
