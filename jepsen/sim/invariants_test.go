package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

// at is a vector of regions 1, 2, ...
func at(times ...clock.Timestamp) clock.Vector {
	var v clock.Vector
	for i, t := range times {
		v = v.With(clock.Region(i+1), t)
	}
	return v
}

// Each invariant fails on an observation that breaks it, and on no other.

func TestWhatFallsIsNoticed(t *testing.T) {
	require.Empty(t, risen(at(3, 4), at(3, 5)))
	require.Empty(t, risen(nil, at(1)))
	require.Contains(t, risen(at(3, 4), at(4, 3)), "fell from")
	require.Contains(t, risen(at(3, 4), at(3)), "fell from")
}

func TestARecordExposedTooEarlyIsNoticed(t *testing.T) {
	h := kv.Header{Lane: clock.Lane{Region: 2}, Time: 9, Prev: 5, Deps: at(4, 5)}
	require.Empty(t, follows(h, at(4, 5)))
	require.Empty(t, follows(h, at(7, 5)))
	require.Contains(t, follows(h, at(4, 4)), "behind") // a gap
	require.Contains(t, follows(h, at(4, 9)), "behind") // again
	require.Contains(t, follows(h, at(3, 5)), "depends on")
}

func TestWhatIsShownOrSentBeforeItIsOnDiskIsNoticed(t *testing.T) {
	require.Empty(t, shownEarly(2, at(9, 5), 5))
	require.Contains(t, shownEarly(2, at(9, 6), 5), "on its disk")
	h := kv.Header{Lane: clock.Lane{Region: 2}, Time: 9, Prev: 5}
	require.Empty(t, sentEarly(h, 9))
	require.Contains(t, sentEarly(h, 8), "disk had only")
}

func TestAWriteAnsweredBeforeItIsOnDiskIsNoticed(t *testing.T) {
	r := kv.Receipt{Commit: clock.Stamp{Region: 2, Time: 9}}
	require.Empty(t, answeredEarly(r, kv.DurabilityLocal, 9))
	require.Empty(t, answeredEarly(r, kv.DurabilityApplied, 8))
	require.Empty(t, answeredEarly(kv.Receipt{}, kv.DurabilityLocal, 0)) // nothing was written
	require.Contains(t, answeredEarly(r, kv.DurabilityLocal, 8), "only")
}

func TestAnOldSnapshotIsNoticed(t *testing.T) {
	require.Empty(t, newest(at(3, 4), at(3, 4), at(3, 5), false))
	require.Empty(t, newest(at(3, 5), at(3, 4), at(3, 5), true))
	require.Contains(t, newest(at(3, 4), at(3, 4), at(3, 5), true), "should be at")
	require.Contains(t, newest(at(3, 3), at(3, 4), at(3, 5), false), "should be at")
}

func TestCutsOutOfOrderAreNoticed(t *testing.T) {
	open := map[uint64]clock.Vector{7: at(5, 5)}
	require.Empty(t, cutsHold(at(2, 2), at(5, 4), at(6, 6), open))
	require.Contains(t, cutsHold(at(6), at(5, 4), at(6, 6), open), "above the horizon")
	require.Contains(t, cutsHold(at(2, 2), at(7, 4), at(6, 6), nil), "above what is exposed")
	require.Contains(t, cutsHold(at(2, 2), at(5, 6), at(6, 6), open), "which is open")
}

func TestAStrongSnapshotOutOfPlaceIsNoticed(t *testing.T) {
	zero := func(z clock.Timestamp, v clock.Vector) clock.Vector { return v.With(0, z) }
	require.Empty(t, uniformly(zero(7, at(3, 3)), zero(7, at(3, 3)), at(3, 2), zero(7, at(3, 4))))
	require.Empty(t, uniformly(nil, nil, nil, zero(7, at(3, 4))), "there is none")
	require.Contains(t, uniformly(at(3, 2), at(3, 3), nil, at(3, 4)), "while the strong cut is")
	require.Contains(t, uniformly(at(3, 3), at(3, 3), at(4, 2), at(4, 4)), "below the E of the start")
	require.Contains(t, uniformly(at(3, 5), at(3, 5), nil, at(4, 4)), "above what is exposed")
	require.Contains(t, uniformly(zero(6, at(3, 3)), zero(6, at(3, 3)), nil, zero(7, at(3, 4))), "lacks commits")
}

func TestWhatIsSettledAndNotEverywhereIsNoticed(t *testing.T) {
	require.Empty(t, seenEverywhere(at(3, 3), at(3, 4)))
	require.Contains(t, seenEverywhere(at(3, 3), at(4, 2)), "settled elsewhere")
}

func TestWhatACrashTookBackAndNobodyIsToldIsNoticed(t *testing.T) {
	lacks := kv.Interval{From: 64, To: 192}
	void := &kv.Record{Header: kv.Header{Lane: clock.Lane{Region: 1}, Time: 256, Prev: 64, Kind: kv.RecordVoid}, Void: kv.Interval{From: 64, To: 192}}
	require.Empty(t, untold(void, lacks))
	void.Void.To = 128
	require.Contains(t, untold(void, lacks), "does not say so")
	require.Contains(t, untold(&kv.Record{Header: kv.Header{Lane: clock.Lane{Region: 1}, Time: 256, Prev: 64, Kind: kv.RecordGroup}}, lacks), "does not say so")
}

func TestACrashThatTookBackWhatWasShownIsKnown(t *testing.T) {
	w := &watch{machine: &machine{world: &world{reach: newReached()}}}
	aim := w.nextShown()
	require.Equal(t, aim, w.nextShown())
	w.shows(192)
	<-aim
	w.tookBack(192, false)
	require.Zero(t, w.lacks, "all of it is there")
	w.shows(256)
	w.tookBack(192, true)
	require.Zero(t, w.lacks, "others may have it")
	w.shows(256)
	w.tookBack(192, false)
	require.Equal(t, kv.Interval{From: 192, To: 256}, w.lacks)
	w.told(&kv.Record{Header: kv.Header{Lane: clock.Lane{Region: 2}, Prev: 192, Kind: kv.RecordGroup}})
	require.NotZero(t, w.lacks, "that is another lane")
	w.told(&kv.Record{Header: kv.Header{Time: 320, Prev: 192, Kind: kv.RecordVoid}, Void: kv.Interval{From: 192, To: 256}})
	require.Zero(t, w.lacks)
}

func TestARecordThatDependsOnTooLittleIsNoticed(t *testing.T) {
	r := newRegistry()
	_, wrong := r.add(log(2, 0, 128, at(64), kv.OpID{}, 1))
	require.Empty(t, wrong)
	txn := func(snapshot history.Vector, time uint64) *history.History {
		return &history.History{Txns: []history.Txn{{ID: 1, Outcome: history.OK, Snapshot: snapshot, Commit: &history.Stamp{Region: 2, Time: time}}}}
	}
	require.Empty(t, r.depend(txn(history.Vector{1: 64, 2: 100}, 128)))
	require.Empty(t, r.depend(txn(history.Vector{1: 65}, 192)), "a record that nobody knows")
	require.Contains(t, r.depend(txn(history.Vector{1: 65}, 128)), "T1 has seen")
	require.Contains(t, r.depend(txn(history.Vector{3: 1}, 128)), "T1 has seen")
}

// log encodes a record with one transaction.
func log(region clock.Region, prev, time clock.Timestamp, deps clock.Vector, id kv.OpID, n int64) []byte {
	r := kv.Record{
		Header: kv.Header{Lane: clock.Lane{Region: region}, Time: time, Prev: prev, Kind: kv.RecordGroup, Deps: deps},
		Txns:   []kv.Txn{{ID: id, Effects: []kv.Effect{{Object: kv.Object{Bucket: "b", Key: "k", Type: 1}, Op: []byte{byte(n)}}}}},
	}
	return r.Append(nil)
}

func TestADotWithTwoRecordsIsNoticed(t *testing.T) {
	r := newRegistry()
	_, wrong := r.add(log(1, 0, 64, nil, kv.OpID{1}, 1))
	require.Empty(t, wrong)
	_, wrong = r.add(log(1, 0, 64, nil, kv.OpID{1}, 1)) // from another region
	require.Empty(t, wrong)
	_, wrong = r.add(log(1, 0, 64, nil, kv.OpID{1}, 2))
	require.Contains(t, wrong, "two records")
	_, wrong = r.add([]byte("nonsense"))
	require.Contains(t, wrong, "no record")
}

func TestAnOperationThatIsWrittenTwiceIsNoticed(t *testing.T) {
	r := newRegistry()
	_, wrong := r.add(log(1, 0, 64, nil, kv.OpID{1}, 1))
	require.Empty(t, wrong)
	_, wrong = r.add(log(1, 64, 128, nil, kv.OpID{}, 1))
	require.Empty(t, wrong)
	_, wrong = r.add(log(2, 0, 192, nil, kv.OpID{}, 1)) // none of them has an id
	require.Empty(t, wrong)
	_, wrong = r.add(log(2, 192, 256, nil, kv.OpID{1}, 1))
	require.Contains(t, wrong, "written twice")
	r.forget(clock.Lane{Region: 1}, 0) // lost with the only disk that had it
	_, wrong = r.add(log(2, 256, 320, nil, kv.OpID{1}, 1))
	require.Empty(t, wrong)
}

func TestACutThatIsNotClosedIsNoticed(t *testing.T) {
	r := newRegistry()
	for _, b := range [][]byte{log(1, 0, 64, nil, kv.OpID{}, 1), log(2, 0, 128, at(64), kv.OpID{}, 1), log(2, 128, 192, nil, kv.OpID{}, 1)} {
		_, wrong := r.add(b)
		require.Empty(t, wrong)
	}
	wrong, unknown := r.closed(at(64, 192))
	require.Empty(t, wrong)
	require.True(t, unknown.IsZero())
	wrong, _ = r.closed(at(0, 192)) // the record at 192 itself depends on nothing
	require.Contains(t, wrong, "depends on")
	_, unknown = r.closed(at(64, 192, 320))
	require.Equal(t, clock.Stamp{Region: 3, Time: 320}, unknown)
}

// lying is a machine that says something else than it should.
type lying struct {
	*causal.Machine
	exposed, horizon, settled, strong clock.Vector
}

func (l *lying) Exposed() clock.Vector { return l.exposed }

func (l *lying) Cuts() (horizon, settled clock.Vector) { return l.horizon, l.settled }

func (l *lying) StrongCut() clock.Vector { return l.strong }

func (l *lying) OpenStrong(bool) (causal.Snapshot, clock.Entry, bool, error) {
	s, err := l.Machine.Open(false, false) // of E, which is not the strong cut
	return s, clock.Entry{}, true, err
}

// show has the machine expose something.
func (l *lying) show(c *core, v clock.Vector) {
	l.exposed = v
	c.Heard(clock.Lane{Region: 2}, 0, 0)
}

// watched builds a core over a machine that lies, in a world of its own.
func watched(t *testing.T, l *lying) (*core, *world) {
	t.Helper()
	start := causal.Start{Self: clock.Lane{Region: 1}, Lanes: []causal.Position{{Lane: clock.Lane{Region: 1}}, {Lane: clock.Lane{Region: 2}}}, Number: 1}
	m, err := causal.New(start)
	require.NoError(t, err)
	l.Machine = m
	p, err := newPlan(Options{Seed: 1, Minutes: 10, Txns: 100})
	require.NoError(t, err)
	w := newWorld(t.Context(), p)
	c := w.machines[0].watch.begin(&life{}, start, m).(*core)
	c.Core = l
	return c, w
}

// checks lists who noticed something.
func (w *world) checks() (out []string) {
	for _, f := range w.failures {
		out = append(out, f.Check)
	}
	return out
}

func TestEachStepIsChecked(t *testing.T) {
	lane := clock.Lane{Region: 2}
	for name, c := range map[string]struct {
		do   func(c *core, l *lying)
		want []string
	}{
		"what is exposed falls": {func(c *core, l *lying) {
			l.show(c, at(0, 64))
			l.show(c, nil)
		}, []string{"invariant:monotonic"}},
		"a record without the one before it": {func(c *core, l *lying) {
			c.RemoteApplied(kv.Header{Lane: lane, Time: 64})
			l.show(c, at(0, 32))
			c.RemoteApplied(kv.Header{Lane: lane, Time: 128, Prev: 64})
		}, []string{"invariant:closed"}},
		"the horizon above a snapshot": {func(c *core, l *lying) {
			_, err := c.Open(false, false)
			require.NoError(t, err)
			l.show(c, at(0, 64))
			l.horizon = at(0, 64)
			c.Cuts()
		}, []string{"invariant:cuts"}},
		"settled falls": {func(c *core, l *lying) {
			l.show(c, at(0, 64))
			l.horizon, l.settled = at(0, 64), at(0, 64)
			c.Cuts()
			l.settled = nil
			c.Cuts()
		}, []string{"invariant:monotonic"}},
		"an own group that is not on disk": {func(c *core, l *lying) {
			l.show(c, at(64))
		}, []string{"invariant:early"}},
		"a record that is on no disk": {func(c *core, l *lying) {
			c.Offer(kv.Header{Lane: lane, Time: 64}, 0)
		}, []string{"invariant:early"}},
		"a snapshot of what was": {func(c *core, l *lying) {
			l.show(c, at(0, 64))
			_, err := c.Open(false, false)
			require.NoError(t, err)
		}, []string{"invariant:snapshots"}},
		"an answer before the disk": {func(c *core, l *lying) {
			c.watch.answered(&kv.Options{Durability: kv.DurabilityLocal}, 2, kv.Receipt{Lane: c.own, Commit: clock.Stamp{Region: 1, Time: 64}})
		}, []string{"invariant:answered"}},
		"an answer before the disks of several regions": {func(c *core, l *lying) {
			c.watch.onDisk(c.own, 64)
			c.Serving([]clock.Region{1, 2})
			c.watch.answered(&kv.Options{Durability: kv.DurabilityAll}, 2, kv.Receipt{Lane: c.own, Commit: clock.Stamp{Region: 1, Time: 64}})
		}, []string{"invariant:answered"}},
		"a strong commit that is derived in two ways": {func(c *core, l *lying) {
			c.Offer(kv.Header{Time: 64, Deps: at(64)}, 0)
			c.Offer(kv.Header{Time: 64, Deps: at(32)}, 0)
		}, []string{"invariant:decided"}},
		"a strong cut that only one disk has": {func(c *core, l *lying) {
			c.watch.machine.world.booted.Store(true)
			l.show(c, at(0, 64))
			l.strong = at(0, 64)
			c.Age()
		}, []string{"invariant:uniform"}},
		"the strong cut falls": {func(c *core, l *lying) {
			l.show(c, at(0, 64))
			l.strong = at(0, 64)
			c.Age()
			l.strong = nil
			c.Age()
		}, []string{"invariant:monotonic"}},
		"a strong cut above what is exposed": {func(c *core, l *lying) {
			l.strong = at(0, 64)
			c.Serving(nil)
		}, []string{"invariant:strong"}},
		"a strong snapshot that is not the strong cut": {func(c *core, l *lying) {
			l.show(c, at(0, 64))
			l.strong = at(0, 64)
			_, _, _, err := c.OpenStrong(true)
			require.NoError(t, err)
		}, []string{"invariant:snapshots"}},
		"nothing is wrong": {func(c *core, l *lying) {
			l.show(c, at(0, 64))
			l.horizon, l.settled = at(0, 64), at(0, 64)
			c.Cuts()
			c.Report()
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lying{}
			core, w := watched(t, l)
			c.do(core, l)
			require.Equal(t, c.want, w.checks())
		})
	}
}

// What a process does that was ended while it opened its store is on no disk that anybody will see again.
func TestAProcessThatEndsWhileItStartsClaimsNothing(t *testing.T) {
	l := &lying{}
	c, w := watched(t, l)
	again, ended := c.record.start, &life{}
	again.Lanes = []causal.Position{{Lane: again.Self, Held: 64}, {Lane: clock.Lane{Region: 2}}}
	c.watch.crashed(ended)
	require.Same(t, l.Machine, c.watch.begin(ended, again, l.Machine))
	c.watch.begin(&life{}, c.record.start, l.Machine)
	require.Empty(t, w.checks())
	c.watch.begin(&life{}, again, l.Machine)
	c.watch.begin(&life{}, c.record.start, l.Machine)
	require.Equal(t, []string{"invariant:durable"}, w.checks(), "of a process that lives it is remembered")
}

// The last disk that has data is not lost: nothing would be left to test.
func TestTheLastDiskIsLeftAlone(t *testing.T) {
	c, w := watched(t, &lying{})
	first, second := w.machines[0], w.machines[1]
	require.False(t, w.spares(first), "no other has data yet")
	require.True(t, w.spares(second))
	require.False(t, w.spares(first))
	second.watch.begin(&life{}, c.record.start, c.Core.(*lying).Machine)
	require.False(t, w.spares(first), "the second is about to lose it")
	w.lost(second)
	require.True(t, w.spares(first))
}

func TestWhatAStartHasLostIsNoticed(t *testing.T) {
	l := &lying{}
	c, w := watched(t, l)
	c.watch.synced(clock.Lane{Region: 1}, 64)
	start := c.record.start
	c.watch.begin(&life{}, start, l.Machine)
	require.Equal(t, []string{"invariant:durable"}, w.checks())
	w.failures = nil
	c.watch.lost()
	c.watch.begin(&life{}, start, l.Machine)
	require.Empty(t, w.checks(), "the disk was lost")
}

func TestAGapInALogIsNoticed(t *testing.T) {
	c, w := watched(t, &lying{})
	records := [][]byte{log(2, 0, 64, nil, kv.OpID{}, 1), log(2, 128, 192, nil, kv.OpID{}, 1)}
	reader := func(clock.Lane, clock.Timestamp, int) ([][]byte, error) { return records, nil }
	up, err := c.watch.readLog(clock.Lane{Region: 2}, 0, 191, reader)
	require.NoError(t, err)
	require.Equal(t, clock.Timestamp(64), up, "what is not exposed may be taken back")
	require.Empty(t, w.checks())
	require.Equal(t, 1, w.registry.size())
	up, err = c.watch.readLog(clock.Lane{Region: 2}, 0, 192, reader)
	require.NoError(t, err)
	require.Equal(t, clock.Timestamp(192), up)
	require.Equal(t, []string{"invariant:dense"}, w.checks())
}

func TestWhatACrashHasTakenBackIsReadAgain(t *testing.T) {
	l := &lying{}
	c, w := watched(t, l)
	lane := clock.Lane{Region: 2}
	c.watch.read[lane] = 192 // applied, and not on disk
	start := c.record.start
	start.Lanes = []causal.Position{start.Lanes[0], {Lane: lane, Held: 64, Durable: 64}}
	c.watch.begin(&life{}, start, l.Machine)
	require.Equal(t, clock.Timestamp(64), c.watch.read[lane])
	require.Empty(t, w.checks())
}

func TestALogThatIsCutTooFarIsNoticed(t *testing.T) {
	require.Zero(t, mayEnd(nil, false))
	require.Equal(t, clock.Timestamp(3), mayEnd([]clock.Timestamp{5, 3, 4}, false))
	require.Equal(t, clock.Timestamp(4), mayEnd([]clock.Timestamp{5, 3, 4}, true), "most have had it")
	require.Equal(t, clock.Timestamp(3), mayEnd([]clock.Timestamp{5, 3, 4, 2}, true), "two of four are not most")

	l := &lying{}
	c, w := watched(t, l)
	w.plan.LogLimit = 0
	lane := clock.Lane{Region: 2}
	log := func(_ clock.Lane, after clock.Timestamp, _ int) ([][]byte, error) {
		if after < 128 {
			return nil, kv.Errorf(kv.KindTooOld, "the log reaches back to 128")
		}
		return nil, nil
	}
	w.machines[1].watch.ever = map[clock.Lane]clock.Timestamp{lane: 128}
	c.watch.onDisk(lane, 192)
	c.watch.keeps(lane, 192, log)
	require.Empty(t, w.checks(), "both have had what is gone")
	w.machines[1].watch.ever[lane] = 64
	c.watch.keeps(lane, 192, log)
	c.watch.keeps(lane, 192, log)
	require.Equal(t, []string{"invariant:log"}, w.checks())

	w.failures = nil
	start := c.record.start
	start.Lanes = []causal.Position{start.Lanes[0], {Lane: lane, Held: 192, Durable: 192}}
	c.watch.begin(&life{}, start, l.Machine)
	c.watch.keeps(lane, 192, log)
	require.Empty(t, w.checks(), "its data came from another region: there never was more of a log")
}

// What most regions had was dropped in time, though one that begins later has less.
func TestALimitedLogMayEndWhereMostHadItBefore(t *testing.T) {
	l := &lying{}
	c, w := watched(t, l)
	w.plan.LogLimit = 1
	lane := clock.Lane{Region: 2}
	w.machines[1].watch.ever = map[clock.Lane]clock.Timestamp{lane: 64}
	c.watch.onDisk(lane, 128)
	require.Equal(t, clock.Timestamp(64), w.mayEnd(lane))
	w.machines[1].watch.onDisk(lane, 128)
	w.machines[1].watch.own = lane
	w.machines[2].watch.begin(&life{}, c.record.start, l.Machine)
	w.machines[3].watch.begin(&life{}, c.record.start, l.Machine)
	require.Equal(t, clock.Timestamp(128), w.mayEnd(lane))
}

func TestASettledWriteThatARegionLacksIsNoticed(t *testing.T) {
	c, w := watched(t, &lying{})
	c.settled, c.exposed = at(0, 64), at(0, 64)
	other := w.machines[1]
	other.watch.begin(&life{}, c.record.start, c.Core.(*lying).Machine)
	other.door.Open(nil)
	w.compare()
	require.Equal(t, []string{"invariant:settled"}, w.checks())
}

// A recording that was changed, or of another machine, does not replay.
func TestAWrongReplayIsNoticed(t *testing.T) {
	c, _ := watched(t, &lying{exposed: at(0, 64)})
	c.Heard(clock.Lane{Region: 2}, 0, 0)
	require.ErrorContains(t, c.record.replay(), "recorded") // the machine did not expose that
	honest, _ := watched(t, &lying{})
	honest.Core = honest.Core.(*lying).Machine
	for range 3 {
		honest.Report()
	}
	require.NoError(t, honest.record.replay())
	for n := range honest.record.bytes {
		cut := *honest.record
		cut.bytes = cut.bytes[:n]
		if whole := n%(len(honest.record.bytes)/3) == 0; !whole {
			require.ErrorIs(t, cut.replay(), errRecording, "%d bytes", n)
		}
	}
}
