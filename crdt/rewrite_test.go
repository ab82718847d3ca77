package crdt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// One test for each sentence of the rules for rewriting. Region 1, 2 and 3 commit at the times that
// the tests give.

// cut is the vector of regions 1, 2, 3 and so on.
func cut(times ...clock.Timestamp) clock.Vector {
	var v clock.Vector
	for i, t := range times {
		v = v.With(clock.Region(i+1), t)
	}
	return v
}

func dot(r clock.Region, t clock.Timestamp) clock.Dot { return clock.Dot{Region: r, Time: t} }

// leafOps makes encoded operations of a leaf type.
type leafOps struct {
	t    testing.TB
	leaf kv.Type
}

func (o leafOps) op(v kv.Verb, data string) []byte {
	return resolve(o.t, kv.Op{Object: kv.Object{Type: o.leaf}, Verb: v, Data: []byte(data)}).Op
}

func (o leafOps) rewrite(items []byte, horizon, settled clock.Vector) []byte {
	o.t.Helper()
	out, _, err := crdt.Rewrite(o.leaf, nil, items, horizon, settled)
	require.NoError(o.t, err)
	return out
}

func (o leafOps) fold(items []byte, at clock.Vector) kv.Value {
	o.t.Helper()
	v, err := crdt.Fold(o.leaf, items, at)
	require.NoError(o.t, err)
	return v
}

// join concatenates items into a leaf.
func join(items ...[]byte) []byte {
	var out []byte
	for _, i := range items {
		out = append(out, i...)
	}
	return out
}

func item(d clock.Dot, snapshot clock.Vector, op []byte) []byte {
	return crdt.AppendItem(nil, d, snapshot, op)
}

// "Below the horizon every override is applied to what it covers", not above it: a snapshot without
// the override still reads what it covers.
func TestRewriteAppliesOverridesBelowTheHorizonOnly(t *testing.T) {
	o := leafOps{t, crdt.FlagEW}
	items := join(item(dot(1, 10), nil, o.op(kv.VerbEnable, "")), item(dot(2, 20), cut(10), o.op(kv.VerbDisable, "")))
	require.Equal(t, items, o.rewrite(items, cut(10), nil))
	require.True(t, o.fold(o.rewrite(items, cut(10), nil), cut(10)).Present)
	require.Empty(t, o.rewrite(items, cut(10, 20), nil))
}

// "… base included (what the base has forgotten it has always seen)".
func TestRewriteAppliesOverridesToWhatIsForgotten(t *testing.T) {
	for _, leaf := range []kv.Type{crdt.Counter, crdt.RegisterMV, crdt.FlagEW, crdt.FlagDW} {
		o := leafOps{t, leaf}
		base := o.rewrite(item(dot(1, 10), nil, anAdd(o)), cut(10), cut(10))
		require.False(t, crdt.HasDot(base), "%s", crdt.Name(leaf))
		items := join(base, item(dot(2, 20), cut(10), o.op(kv.VerbReset, "")))
		require.True(t, o.fold(items, cut(10)).Present, "%s", crdt.Name(leaf))
		require.False(t, o.fold(items, cut(10, 20)).Present, "%s", crdt.Name(leaf))
		require.Empty(t, o.rewrite(items, cut(10, 20), nil), "%s", crdt.Name(leaf))
	}
}

// anAdd is an operation after which a leaf is present.
func anAdd(o leafOps) []byte {
	switch o.leaf {
	case crdt.Counter:
		return increment(o.t, 1)
	case crdt.RegisterLWW, crdt.RegisterMV:
		return o.op(kv.VerbAssign, "x")
	}
	return o.op(kv.VerbEnable, "")
}

// "… and is then spent: … an assign or disable keeps its value and dot". A spent override that
// still covered would take away what is forgotten beside it without having seen it.
func TestASpentAssignDoesNotCoverWhatIsForgottenBesideIt(t *testing.T) {
	o := leafOps{t, crdt.RegisterMV}
	items := join( // concurrent; only the first is settled
		item(dot(1, 10), cut(1), o.op(kv.VerbAssign, "a")),
		item(dot(2, 11), cut(1), o.op(kv.VerbAssign, "b")))
	out := o.rewrite(items, cut(10, 11), cut(10))
	parts := crdt.SplitItems(out)
	require.Len(t, parts, 2)
	require.False(t, crdt.HasDot(parts[0]))
	require.True(t, crdt.HasDot(parts[1]))
	require.False(t, crdt.HasSnapshot(parts[1]))
	require.Equal(t, [][]byte{[]byte("a"), []byte("b")}, o.fold(out, cut(10, 11)).List)
}

// "a remove or reset is gone … a leaf with nothing uncovered is deleted", all below the horizon and
// without anything settled.
func TestAResetBelowTheHorizonLeavesNothing(t *testing.T) {
	for _, leaf := range []kv.Type{crdt.Counter, crdt.RegisterLWW, crdt.RegisterMV, crdt.FlagEW, crdt.FlagDW} {
		o := leafOps{t, leaf}
		items := join(item(dot(1, 10), nil, anAdd(o)), item(dot(1, 20), cut(10), o.op(kv.VerbReset, "")))
		require.Empty(t, o.rewrite(items, cut(20), nil), "%s", crdt.Name(leaf))
	}
}

// "Only then, below settled, dots are forgotten": first the overrides, since one that has seen only
// the later of two increments must find the other's dot.
func TestOverridesApplyBeforeDotsAreForgotten(t *testing.T) {
	o := leafOps{t, crdt.Counter}
	items := join(
		item(dot(1, 10), nil, increment(t, 1)),
		item(dot(2, 10), nil, increment(t, 100)),
		item(dot(3, 12), cut(0, 10), o.op(kv.VerbReset, "")))
	all := cut(10, 10, 12)
	require.EqualValues(t, 1, o.fold(o.rewrite(items, all, all), all).Int)
}

// "below settled, dots are forgotten …", not below the horizon: a reset above the horizon may have
// seen one of two increments below it.
func TestADotBelowTheHorizonStaysUntilSettled(t *testing.T) {
	o := leafOps{t, crdt.Counter}
	items := join(item(dot(1, 10), nil, increment(t, 1)), item(dot(2, 10), nil, increment(t, 100)))
	out := join(o.rewrite(items, cut(10, 10), cut(10)), item(dot(3, 12), cut(10), o.op(kv.VerbReset, "")))
	require.EqualValues(t, 101, o.fold(out, cut(10, 10)).Int)
	require.EqualValues(t, 100, o.fold(out, cut(10, 10, 12)).Int)
}

// "… and losing values dropped": once settled, since a reset that has seen only the winner brings
// another one back.
func TestALosingValueStaysUntilSettled(t *testing.T) {
	o := leafOps{t, crdt.RegisterLWW}
	items := join(item(dot(1, 10), nil, o.op(kv.VerbAssign, "loser")), item(dot(2, 11), nil, o.op(kv.VerbAssign, "winner")))
	late := item(dot(3, 12), cut(0, 11), o.op(kv.VerbReset, ""))
	open := o.rewrite(items, cut(10, 11), cut(0, 11))
	require.Equal(t, "loser", string(o.fold(join(open, late), cut(10, 11, 12)).Bytes))
	require.Len(t, crdt.SplitItems(o.rewrite(items, cut(10, 11), cut(10, 11))), 1)
	require.Len(t, crdt.SplitItems(o.rewrite(items, cut(10, 11), cut(10))), 1)
}

// "a disable only when every enable beside it that has not seen it is settled too": before that it
// is what keeps the enable down, and the enable's dot is what a reset needs that has seen it or not.
func TestADisableStaysWhileAnEnableBesideItIsNotSettled(t *testing.T) {
	o := leafOps{t, crdt.FlagDW}
	items := join(item(dot(1, 10), nil, o.op(kv.VerbDisable, "")), item(dot(2, 11), nil, o.op(kv.VerbEnable, "")))
	out := o.rewrite(items, cut(10, 11), cut(10))
	require.Len(t, crdt.SplitItems(out), 2)
	require.False(t, o.fold(out, cut(10, 11)).Present)
	reset := item(dot(3, 12), cut(10), o.op(kv.VerbReset, "")) // has seen the disable only
	require.True(t, o.fold(join(out, reset), cut(10, 11, 12)).Present)

	require.Empty(t, o.rewrite(items, cut(10, 11), cut(10, 11)))
	alone := items[:len(items)/2]
	require.NotEmpty(t, o.rewrite(alone, cut(10), nil), "not settled: an enable may still arrive that has not seen it")
	require.Empty(t, o.rewrite(alone, cut(10), cut(10)))
}

// An enable above the horizon has seen a settled disable, so it does not keep it.
func TestADisableGoesBesideAnEnableThatHasSeenIt(t *testing.T) {
	o := leafOps{t, crdt.FlagDW}
	items := join(item(dot(1, 10), nil, o.op(kv.VerbDisable, "")), item(dot(2, 11), cut(10), o.op(kv.VerbEnable, "")))
	out := o.rewrite(items, cut(10), cut(10))
	require.Len(t, crdt.SplitItems(out), 1)
	require.False(t, o.fold(out, cut(10)).Present)
	require.True(t, o.fold(out, cut(10, 11)).Present)
}

// "the winner's dot never": it is what decides against an assign that is not settled.
func TestTheWinnersDotIsNeverForgotten(t *testing.T) {
	o := leafOps{t, crdt.RegisterLWW}
	items := join(item(dot(1, 10), nil, o.op(kv.VerbAssign, "winner")), item(dot(2, 9), nil, o.op(kv.VerbAssign, "loser")))
	out := o.rewrite(items, cut(10, 9), cut(10))
	require.Equal(t, "winner", string(o.fold(out, cut(10, 9)).Bytes))
	for _, i := range crdt.SplitItems(o.rewrite(out, cut(10, 9), cut(10, 9))) {
		require.True(t, crdt.HasDot(i))
	}
}

// "Of the uncovered enables of one origin, a flag-ew keeps the latest": below the horizon, where no
// snapshot reads one without the other.
func TestAFlagKeepsTheLatestEnableOfEachOrigin(t *testing.T) {
	o := leafOps{t, crdt.FlagEW}
	on := o.op(kv.VerbEnable, "")
	items := join(item(dot(1, 10), nil, on), item(dot(1, 20), nil, on), item(dot(1, 30), nil, on), item(dot(2, 15), nil, on))
	require.Equal(t, join(item(dot(2, 15), nil, on), item(dot(1, 20), nil, on), item(dot(1, 30), nil, on)),
		o.rewrite(items, cut(20, 15), nil))
	require.True(t, o.fold(o.rewrite(items[:len(items)/4], cut(10), nil), cut(10)).Present)
}

// A removal that is still being carried out lies above the horizon of the store, but what settled
// says may not have waited for it. Rewrite takes settled down to what the overrides it finds have seen.
func TestRewriteForgetsNothingThatAnOverrideAboveTheHorizonHasNotSeen(t *testing.T) {
	o := leafOps{t, crdt.Counter}
	items := join(
		item(dot(1, 10), nil, increment(t, 1)),
		item(dot(2, 10), nil, increment(t, 100)),
		item(dot(3, 12), cut(0, 10), o.op(kv.VerbReset, "")))
	out := o.rewrite(items, cut(10, 10), cut(10, 10))
	require.EqualValues(t, 1, o.fold(out, cut(10, 10, 12)).Int)
}

// Settled beyond the horizon is no settled: nothing above the horizon is forgotten.
func TestRewriteForgetsNothingAboveTheHorizon(t *testing.T) {
	o := leafOps{t, crdt.Counter}
	items := item(dot(1, 10), nil, increment(t, 1))
	require.Equal(t, items, o.rewrite(items, nil, cut(10)))
}

// A reset that has not seen an override counts for a leaf that this override covers: a snapshot
// may include the one without the other.
func TestTouchesCountsOnlyOverridesThatTheResetHasSeen(t *testing.T) {
	o := leafOps{t, crdt.FlagEW}
	items := join(item(dot(1, 10), nil, o.op(kv.VerbEnable, "")), item(dot(2, 20), cut(10), o.op(kv.VerbDisable, "")))
	for _, c := range []struct {
		snapshot clock.Vector
		want     bool
	}{{nil, false}, {cut(9), false}, {cut(10), true}, {cut(10, 19), true}, {cut(10, 20), false}} {
		got, err := crdt.Touches(crdt.FlagEW, items, c.snapshot)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "reset at %s", c.snapshot)
	}
}

// A flag-dw that is off because of a disable holds something: a reset that covers the disable lets
// a concurrent enable live.
func TestTouchesSeesADisable(t *testing.T) {
	o := leafOps{t, crdt.FlagDW}
	got, err := crdt.Touches(crdt.FlagDW, item(dot(1, 10), nil, o.op(kv.VerbDisable, "")), cut(10))
	require.NoError(t, err)
	require.True(t, got)
}

// A transaction reads its own writes, which have no timestamp yet.
func TestOwnWritesAreVisibleAlways(t *testing.T) {
	o := leafOps{t, crdt.Counter}
	own := func(i uint32) clock.Dot { return clock.Dot{Region: 1, Time: clock.MaxTimestamp, Index: i} }
	items := join(
		item(dot(1, 10), nil, increment(t, 1)),
		item(dot(1, 20), nil, increment(t, 10)), // after the snapshot
		item(own(0), cut(10), o.op(kv.VerbReset, "")),
		item(own(1), nil, increment(t, 100)),
		item(own(2), nil, increment(t, 1000)))
	require.EqualValues(t, 1100, o.fold(items, cut(10)).Int)
}

func TestEqualDotsCountOnceAndForgottenItemsEach(t *testing.T) {
	o := leafOps{t, crdt.Counter}
	one := item(dot(1, 10), nil, increment(t, 1))
	require.EqualValues(t, 1, o.fold(join(one, one), cut(10)).Int)
	forgotten := o.rewrite(one, cut(10), cut(10))
	require.EqualValues(t, 2, o.fold(join(forgotten, forgotten), nil).Int)
	out := o.rewrite(join(one, one, forgotten, forgotten), cut(10), nil)
	require.EqualValues(t, 3, o.fold(out, cut(10)).Int)
}

// More regions than fit into the fixed space.
func TestManyRegionsFold(t *testing.T) {
	o := leafOps{t, crdt.Counter}
	var items []byte
	var all clock.Vector
	for r := clock.Region(1); r <= 40; r++ {
		items = crdt.AppendItem(items, dot(r, 10), nil, increment(t, 1))
		all = all.With(r, 20)
	}
	require.EqualValues(t, 40, o.fold(items, all).Int)
	for r := clock.Region(1); r <= 20; r++ {
		items = crdt.AppendItem(items, dot(r, 20), clock.VectorOf(clock.Entry{Region: 41 - r, Time: 10}), o.op(kv.VerbReset, ""))
	}
	require.EqualValues(t, 20, o.fold(items, all).Int)
}

// A region that joins at a cut must hold nothing that its applied vector does not include.
func TestFilterKeepsWhatIsVisible(t *testing.T) {
	o := leafOps{t, crdt.Counter}
	forgotten := o.rewrite(item(dot(1, 10), nil, increment(t, 1)), cut(10), cut(10))
	in, out := item(dot(1, 20), nil, increment(t, 1)), item(dot(1, 21), cut(20), o.op(kv.VerbReset, ""))
	got, err := crdt.Filter([]byte("before"), join(forgotten, in, out), cut(20))
	require.NoError(t, err)
	require.Equal(t, join([]byte("before"), forgotten, in), got)
}

// Of the marks of one origin that are not settled, the latest is enough beside those of others: what
// covers it covers the earlier ones.
func TestALeafKeepsTheLatestOfWhatOneOriginMade(t *testing.T) {
	dw, lww := leafOps{t, crdt.FlagDW}, leafOps{t, crdt.RegisterLWW}
	on, off := dw.op(kv.VerbEnable, ""), dw.op(kv.VerbDisable, "")
	items := join(item(dot(1, 10), cut(), on), item(dot(1, 20), cut(), on), item(dot(2, 12), cut(), off), item(dot(2, 15), cut(), off))
	require.Equal(t, join(item(dot(2, 15), nil, off), item(dot(1, 20), nil, on)), dw.rewrite(items, cut(20, 15), nil))

	a, b, c := lww.op(kv.VerbAssign, "a"), lww.op(kv.VerbAssign, "b"), lww.op(kv.VerbAssign, "c")
	items = join(item(dot(1, 10), cut(), a), item(dot(1, 20), cut(), b), item(dot(2, 30), cut(), c))
	require.Equal(t, join(item(dot(1, 20), nil, b), item(dot(2, 30), nil, c)), lww.rewrite(items, cut(20, 30), nil))
}

// An equal value that is settled is one too many beside one that is not.
func TestARegisterForgetsASettledValueBesideItsEqual(t *testing.T) {
	o := leafOps{t, crdt.RegisterMV}
	x, y := o.op(kv.VerbAssign, "x"), o.op(kv.VerbAssign, "y")
	items := join(item(dot(1, 10), cut(), x), item(dot(3, 12), cut(), y), item(dot(2, 20), cut(), x))
	require.Equal(t, join(item(clock.Dot{}, nil, y), item(dot(2, 20), nil, x)), o.rewrite(items, cut(10, 20, 12), cut(10, 0, 12)))
}

// What the later cut does not see either, nobody has left out.
func TestUnseenIsWhatComesBetweenTwoCuts(t *testing.T) {
	o := leafOps{t, crdt.RegisterLWW}
	items := join(item(dot(1, 10), cut(), o.op(kv.VerbAssign, "a")), item(dot(1, 20), cut(), o.op(kv.VerbAssign, "b")))
	for _, c := range []struct {
		at, snapshot clock.Vector
		want         bool
	}{{cut(20), cut(20), false}, {cut(20), cut(10), true}, {cut(10), cut(10), false}, {cut(10), nil, true}, {nil, nil, false}} {
		got, err := crdt.Unseen(items, c.at, c.snapshot)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%s behind %s", c.at, c.snapshot)
	}
}

// Operations that are checked together pass or fail by their sum, and a value stands for what made it.
func TestCheckedOperationsCountTogether(t *testing.T) {
	items, ok := crdt.AppendStanding(nil, kv.Value{Type: crdt.Counter, Int: 1 << 61})
	require.True(t, ok)
	most, back := increment(t, 1<<62), increment(t, -1<<61)
	require.ErrorIs(t, crdt.Check(crdt.Counter, items, nil, most), kv.ErrBound)
	require.ErrorIs(t, crdt.Check(crdt.Counter, items, nil, most, increment(t, -1<<60)), kv.ErrBound)
	require.NoError(t, crdt.Check(crdt.Counter, items, nil, most, back))
	require.NoError(t, crdt.CheckRestored(crdt.Counter, items, nil, most))
	require.ErrorIs(t, crdt.CheckRestored(crdt.Counter, items, nil, most, most), kv.ErrBound)
	_, ok = crdt.AppendStanding(nil, kv.Value{Type: crdt.RegisterLWW})
	require.False(t, ok)
}
