package certify_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
)

// feed feeds one certifier, one proposal at a time.
type feed struct {
	testing.TB
	*certify.State
	number uint64
}

func newFeed(t testing.TB) *feed {
	f := &feed{TB: t, State: certify.New(&metadata{})}
	begin(t, f.State, life)
	return f
}

// decide has proposals decided in one entry.
func (f *feed) decide(proposals ...certify.Proposal) []certify.Decision {
	f.Helper()
	var b certify.Builder
	for i := range proposals {
		added, err := b.Add(&proposals[i])
		require.NoError(f, err)
		require.True(f, added)
	}
	decisions, err := f.Apply(f.Position()+1, b.Take())
	require.NoError(f, err)
	return decisions
}

// one has one transaction or denial of life decided, under the next number.
func (f *feed) one(p certify.Proposal) certify.Decision {
	f.Helper()
	f.number++
	p.Proposer, p.Number, p.Answered = life, f.number, f.number-1
	if p.Kind == 0 {
		p.Kind = certify.KindTransaction
	}
	return f.decide(p)[0]
}

func (f *feed) verdict(want certify.Verdict, p certify.Proposal) certify.Decision {
	f.Helper()
	d := f.one(p)
	require.Equal(f, want, d.Verdict, d.Verdict.String())
	return d
}

func at(last clock.Timestamp) clock.Vector {
	return clock.VectorOf(clock.Entry{Region: 0, Time: last})
}

func reads(keys ...string) (accesses []certify.Access) {
	for _, k := range keys {
		accesses = append(accesses, certify.Point([]byte(k)))
	}
	return accesses
}

func puts(keys ...string) (writes []certify.Write) {
	for _, k := range keys {
		writes = append(writes, certify.Write{Access: certify.Point([]byte(k)), Covers: true})
	}
	return writes
}

func adds(keys ...string) []certify.Write {
	writes := puts(keys...)
	for i := range writes {
		writes[i].Covers = false
	}
	return writes
}

func TestWriteSkewAborts(t *testing.T) {
	f := newFeed(t)
	first := f.verdict(certify.Committed, certify.Proposal{Reads: reads("x", "y"), Writes: adds("x")})
	d := f.verdict(certify.Aborted, certify.Proposal{Reads: reads("y", "x"), Writes: adds("y")})
	require.Equal(t, certify.Conflict{Access: 1, Time: first.Time}, d.Conflict)
	f.verdict(certify.Committed, certify.Proposal{Snapshot: at(first.Time), Reads: reads("y", "x"), Writes: adds("y")})
}

func TestPhantomsAbort(t *testing.T) {
	f := newFeed(t)
	within := []certify.Access{certify.Prefix([]byte("set/"))}
	added := f.verdict(certify.Committed, certify.Proposal{Writes: adds("set/new")})
	d := f.verdict(certify.Aborted, certify.Proposal{Reads: within, Writes: puts("count")})
	require.Equal(t, added.Time, d.Conflict.Time)
	f.verdict(certify.Committed, certify.Proposal{Reads: []certify.Access{certify.Prefix([]byte("set0"))}, Writes: puts("count")})
}

func TestBlindAddsNeverAbort(t *testing.T) {
	f := newFeed(t)
	f.Limit(1, 100, 1, 10, 1)
	for range 10 {
		f.verdict(certify.Committed, certify.Proposal{Writes: adds("a", "b")})
	}
	f.verdict(certify.TooOld, certify.Proposal{Writes: puts("b")})
	f.verdict(certify.TooOld, certify.Proposal{Reads: reads("never written")})
	f.verdict(certify.Committed, certify.Proposal{})
}

func TestRemovalsConflictWithWhatTheyCover(t *testing.T) {
	f := newFeed(t)
	removal := []certify.Write{{Access: certify.Prefix([]byte("map/")), Covers: true}}
	f.verdict(certify.Committed, certify.Proposal{Writes: adds("map/field")})
	f.verdict(certify.Aborted, certify.Proposal{Writes: removal})
	removed := f.verdict(certify.Committed, certify.Proposal{Snapshot: at(f.Last()), Writes: removal})
	d := f.verdict(certify.Aborted, certify.Proposal{Snapshot: at(removed.Prev), Reads: reads("map/other")})
	require.Equal(t, removed.Time, d.Conflict.Time)
	f.verdict(certify.Committed, certify.Proposal{Snapshot: at(removed.Prev), Reads: reads("map"), Writes: adds("map/field")})
}

// What reads or writes a bucket that was dropped since would be lost, though it was acknowledged.
func TestWhatIsGoneIsNotWritten(t *testing.T) {
	f := newFeed(t)
	f.State = certify.New(&metadata{gone: "b"})
	begin(t, f.State, life)
	f.verdict(certify.Committed, certify.Proposal{Reads: reads("a"), Writes: adds("a")})
	d := f.verdict(certify.Dropped, certify.Proposal{Reads: reads("a", "b")})
	require.Equal(t, certify.Conflict{Access: 1, Time: f.Last()}, d.Conflict)
	f.verdict(certify.Dropped, certify.Proposal{Writes: adds("a", "bc"), ID: kv.OpID{1}})
	f.verdict(certify.Committed, certify.Proposal{ID: kv.OpID{1}})
	verdict, conflict := f.Check(reads("b"), f.Last())
	require.Equal(t, certify.Dropped, verdict)
	require.Equal(t, certify.Conflict{Access: 0, Time: f.Last()}, conflict)
}

// A drop has its place among the commits, behind what its snapshot shows, and so among the records.
func TestCommandsThatCommitAreRecords(t *testing.T) {
	f := newFeed(t)
	before := f.verdict(certify.Committed, certify.Proposal{Writes: adds("a")})
	none := f.verdict(certify.Done, certify.Proposal{Kind: certify.KindCommand, Body: []byte("note")})
	require.False(t, none.IsRecord())
	require.Zero(t, none.Time)
	drop := certify.Proposal{Kind: certify.KindCommand, Body: []byte("drop"), Snapshot: clock.VectorOf(clock.Entry{Region: 2, Time: 90})}
	d := f.verdict(certify.Done, drop)
	require.True(t, d.IsRecord())
	require.Equal(t, before.Time, d.Prev)
	require.EqualValues(t, 91, d.Time)
	f.number--
	again := f.verdict(certify.Done, drop) // under the same number
	require.True(t, again.Commits())
	require.False(t, again.IsRecord(), "it is decided once")
	require.Equal(t, d.Time, again.Time)
	require.Equal(t, d.Time, f.Last())
	require.Equal(t, d.Time, f.verdict(certify.Committed, certify.Proposal{Writes: adds("a")}).Prev)
	f.verdict(certify.Invalid, certify.Proposal{Kind: certify.KindCommand, Body: []byte("drop"), Snapshot: at(f.Last() + 1)})
}

func TestCheckJudgesReads(t *testing.T) {
	f := newFeed(t)
	f.Limit(2, 100, 1, 10, 1)
	first := f.verdict(certify.Committed, certify.Proposal{Writes: adds("a")})
	verdict, _ := f.Check(reads("b"), 0)
	require.Equal(t, certify.Committed, verdict)
	verdict, conflict := f.Check(reads("b", "a"), 0)
	require.Equal(t, certify.Aborted, verdict)
	require.Equal(t, certify.Conflict{Access: 1, Time: first.Time}, conflict)
	f.verdict(certify.Committed, certify.Proposal{Writes: adds("b", "c")})
	require.Equal(t, first.Time, f.Low())
	verdict, _ = f.Check(reads("x"), 0)
	require.Equal(t, certify.TooOld, verdict)
	verdict, _ = f.Check(nil, 0)
	require.Equal(t, certify.Committed, verdict)
}

// A snapshot that names commits which do not exist would make a record that nobody can ever expose.
func TestSnapshotsOfTheFutureAreRefused(t *testing.T) {
	f := newFeed(t)
	f.verdict(certify.Invalid, certify.Proposal{Snapshot: at(1)})
	f.verdict(certify.Invalid, certify.Proposal{ID: kv.OpID{1}, After: 2})
	f.verdict(certify.Invalid, certify.Proposal{Kind: certify.KindDenial, ID: kv.OpID{1}, After: 2})
	f.verdict(certify.Invalid, certify.Proposal{Snapshot: clock.VectorOf(clock.Entry{Region: 1, Time: clock.MaxTimestamp})})
	f.verdict(certify.Committed, certify.Proposal{ID: kv.OpID{1}, After: 1}) // from a client that knew of none
}

func TestALifeEndsThoseBefore(t *testing.T) {
	f := newFeed(t)
	next := certify.Proposer{Region: life.Region, Incarnation: 7}
	write := certify.Proposal{Proposer: life, Number: 1, Kind: certify.KindTransaction, Writes: adds("a")}
	late := certify.Proposal{Proposer: certify.Proposer{Region: life.Region, Incarnation: 5}, Kind: certify.KindBegin}
	start := certify.Proposal{Proposer: next, Kind: certify.KindBegin, Ends: life.Incarnation}
	d := f.decide(write, late, start, write, start, late)
	require.Equal(t, certify.Committed, d[0].Verdict)
	require.Equal(t, certify.Ended, d[1].Verdict, "a begin that follows a life long gone")
	require.Equal(t, life.Incarnation, d[1].Current)
	require.Equal(t, certify.Begun, d[2].Verdict)
	require.False(t, d[2].Repeated)
	require.Equal(t, certify.Ended, d[3].Verdict)
	require.Equal(t, next.Incarnation, d[3].Current)
	require.Equal(t, certify.Begun, d[4].Verdict)
	require.True(t, d[4].Repeated)
	require.Equal(t, certify.Ended, d[5].Verdict)
	require.Equal(t, next.Incarnation, f.Current(life.Region))
	write.Region = 9
	require.Equal(t, certify.Ended, f.decide(write)[0].Verdict, "a region that never began")
}

func TestEndedRegionsNeverBeginAgain(t *testing.T) {
	f := newFeed(t)
	again := certify.Proposal{Proposer: certify.Proposer{Region: life.Region, Incarnation: 9}, Kind: certify.KindBegin}
	d := f.decide(
		certify.Proposal{Proposer: life, Number: 1, Kind: certify.KindCommand, Body: []byte{'e', 'n', 'd', byte(life.Region)}},
		certify.Proposal{Proposer: life, Number: 2, Kind: certify.KindTransaction},
		again)
	require.Equal(t, certify.Done, d[0].Verdict)
	require.Equal(t, certify.Ended, d[1].Verdict, "its own later proposals of the same entry too")
	require.Equal(t, certify.Ended, d[2].Verdict)
	require.Zero(t, d[2].Current)
	require.Zero(t, f.Current(life.Region))
}

func TestRegionsThatProposeAreBounded(t *testing.T) {
	f := newFeed(t)
	f.Limit(1, 1, 1, 1, 2)
	start := certify.Proposal{Proposer: certify.Proposer{Region: 5, Incarnation: 1}, Kind: certify.KindBegin}
	require.Equal(t, certify.Begun, f.decide(start)[0].Verdict)
	start.Region = 6
	require.Equal(t, certify.Beyond, f.decide(start)[0].Verdict)
}

func TestNumbersTooFarAheadAreNotDecided(t *testing.T) {
	f := newFeed(t)
	p := certify.Proposal{Proposer: life, Kind: certify.KindTransaction, Number: certify.MaxUnderWay + 1, ID: kv.OpID{1}}
	require.Equal(t, certify.Beyond, f.decide(p)[0].Verdict)
	p.Answered = 1
	require.Equal(t, certify.Committed, f.decide(p)[0].Verdict, "it was not decided, so it may be")
	p.Answered = 0
	d := f.decide(p)[0]
	require.Equal(t, certify.Committed, d.Verdict)
	require.True(t, d.Repeated)
	require.False(t, d.IsRecord())
	require.Equal(t, certify.Answered, f.decide(certify.Proposal{Proposer: life, Kind: certify.KindTransaction, Number: 1})[0].Verdict)
	p.Number, p.Answered = p.Number+certify.MaxUnderWay+5, p.Number+6
	require.Equal(t, certify.Committed, f.decide(p)[0].Verdict, "by its id; all decisions before are forgotten")
}

func TestCommandsAreDecidedOnce(t *testing.T) {
	f := newFeed(t)
	p := certify.Proposal{Proposer: life, Kind: certify.KindCommand, Body: []byte("c")}
	for n := range uint64(certify.MaxCommands) {
		p.Number = n + 1
		require.Equal(t, []byte{byte(n), 'c'}, f.decide(p)[0].Answer)
	}
	d := f.decide(p)[0]
	require.True(t, d.Repeated)
	require.Equal(t, []byte{certify.MaxCommands - 1, 'c'}, d.Answer, "the first answer")
	p.Number++
	require.Equal(t, certify.Beyond, f.decide(p)[0].Verdict)
	p.Answered = 1
	require.Equal(t, []byte{certify.MaxCommands, 'c'}, f.decide(p)[0].Answer)
}

type talkative struct{ metadata }

func (talkative) Decide([]byte, clock.Timestamp) certify.Decided {
	return certify.Decided{Answer: make([]byte, certify.MaxAnswer+1)}
}

func TestOwnMistakesPanic(t *testing.T) {
	s := certify.New(&talkative{})
	begin(t, s, life)
	f := &feed{TB: t, State: s}
	require.PanicsWithValue(t, "certify: entry 1 after entry 1", func() { _, _ = s.Apply(1, nil) })
	require.Panics(t, func() {
		f.decide(certify.Proposal{Proposer: life, Kind: certify.KindCommand, Number: 1, Body: []byte("c")})
	})
}

func TestAnOperationCommitsOnce(t *testing.T) {
	f := newFeed(t)
	first := f.verdict(certify.Committed, certify.Proposal{ID: kv.OpID{1}, Writes: adds("a")})
	again := f.verdict(certify.Committed, certify.Proposal{ID: kv.OpID{1}, Writes: puts("a")})
	require.True(t, again.Repeated)
	require.Equal(t, first.Time, again.Time)
	denied := f.verdict(certify.Committed, certify.Proposal{Kind: certify.KindDenial, ID: kv.OpID{1}})
	require.True(t, denied.Repeated)
	require.False(t, f.verdict(certify.Denied, certify.Proposal{Kind: certify.KindDenial, ID: kv.OpID{2}}).Repeated)
	require.True(t, f.verdict(certify.Denied, certify.Proposal{ID: kv.OpID{2}, Writes: adds("a")}).Repeated)
	f.verdict(certify.Aborted, certify.Proposal{ID: kv.OpID{3}, Writes: puts("a")})
	f.verdict(certify.Committed, certify.Proposal{ID: kv.OpID{3}, Snapshot: at(f.Last()), Writes: puts("a")})
	for id, want := range map[byte]certify.Verdict{1: certify.Committed, 2: certify.Denied, 3: certify.Committed, 4: certify.Forgotten} {
		verdict, time := f.Outcome(kv.OpID{id})
		require.Equal(t, want, verdict)
		require.Equal(t, want == certify.Committed, time != 0)
	}
}

func TestOldIDsAreForgottenAndRefused(t *testing.T) {
	f := newFeed(t)
	f.Limit(10, 100, 2, 10, 1)
	for i := range byte(4) {
		f.verdict(certify.Committed, certify.Proposal{ID: kv.OpID{i + 1}, After: f.Last()})
	}
	f.verdict(certify.Forgotten, certify.Proposal{ID: kv.OpID{1}})
	f.verdict(certify.Forgotten, certify.Proposal{Kind: certify.KindDenial, ID: kv.OpID{2}, After: 1})
	require.True(t, f.verdict(certify.Committed, certify.Proposal{ID: kv.OpID{3}, After: 2}).Repeated)
	f.verdict(certify.Committed, certify.Proposal{ID: kv.OpID{9}, After: 2})
}

// Denials alone, with no commit between them, never make everybody too old.
func TestDenialsDoNotPushEverybodyOut(t *testing.T) {
	f := newFeed(t)
	f.Limit(10, 100, 2, 10, 1)
	f.verdict(certify.Committed, certify.Proposal{})
	deny := func(id byte, want certify.Verdict) {
		f.verdict(want, certify.Proposal{Kind: certify.KindDenial, ID: kv.OpID{id}, After: f.Last()})
	}
	deny(1, certify.Denied)
	deny(2, certify.Denied)
	deny(3, certify.Beyond)
	f.verdict(certify.Committed, certify.Proposal{ID: kv.OpID{4}, After: f.Last()})
	f.verdict(certify.Forgotten, certify.Proposal{ID: kv.OpID{1}, After: 1})
	deny(3, certify.Denied)
	f.verdict(certify.Denied, certify.Proposal{ID: kv.OpID{3}, After: f.Last()})
}

// The batches of one entry are decided as if each were an entry.
func TestAnEntryHoldsSeveralBatches(t *testing.T) {
	var entry [][]byte
	one, other := newFeed(t), newFeed(t)
	for n := range uint64(3) {
		p := certify.Proposal{Proposer: life, Kind: certify.KindTransaction, Number: n + 1, Writes: puts("a")}
		p.Snapshot = at(clock.Timestamp(min(n, 1)))
		var b certify.Builder
		_, err := b.Add(&p)
		require.NoError(t, err)
		entry = append(entry, nil, b.Take())
		one.decide(p)
	}
	decisions, err := other.Apply(4, entry...)
	require.NoError(t, err)
	require.Equal(t, certify.Aborted, decisions[2].Verdict)
	require.Equal(t, one.AppendSnapshot(nil), other.AppendSnapshot(nil))
	replayed, err := certify.Replay(certify.AppendOutcomes(nil, decisions), entry...)
	require.NoError(t, err)
	require.Equal(t, decisions, replayed)
}

// An entry that makes no sense stops the node, and changes nothing before it does.
func TestMalformedEntriesChangeNothing(t *testing.T) {
	f := newFeed(t)
	f.verdict(certify.Committed, certify.Proposal{Writes: adds("a")})
	before := f.AppendSnapshot(nil)
	var b certify.Builder
	for n, body := range []string{"fine", ""} {
		_, err := b.Add(&certify.Proposal{Proposer: life, Kind: certify.KindCommand, Number: uint64(n + 2), Body: []byte(body)})
		require.NoError(t, err)
	}
	for _, entry := range [][]byte{{9}, b.Take()} {
		_, err := f.Apply(f.Position()+1, entry)
		require.ErrorIs(t, err, kv.ErrCorrupt)
		require.ErrorContains(t, err, "log entry 3")
		require.Equal(t, before, f.AppendSnapshot(nil))
	}
	decisions, err := f.Apply(f.Position()+1, nil)
	require.NoError(t, err)
	require.Empty(t, decisions)
	require.EqualValues(t, 3, f.Position())
}

func TestVerdictsAndKindsHaveNames(t *testing.T) {
	require.Equal(t, "too old", certify.TooOld.String())
	require.Equal(t, "dropped", certify.Dropped.String())
	require.Equal(t, "verdict(13)", (certify.Dropped + 1).String())
	require.Equal(t, "command", certify.KindCommand.String())
	require.Equal(t, "kind(9)", certify.Kind(9).String())
}

func TestALogThatFollowsALostOneForgetsNothingItCanNot(t *testing.T) {
	s := certify.Resume(&metadata{}, 500)
	commit := func(position uint64, p *certify.Proposal) certify.Decision {
		p.Proposer = certify.Proposer{Region: 1, Incarnation: 1}
		var b certify.Builder
		_, err := b.Add(p)
		require.NoError(t, err)
		list, err := s.Apply(position, b.Take())
		require.NoError(t, err)
		return list[0]
	}
	require.Equal(t, certify.Begun, commit(1, &certify.Proposal{Kind: certify.KindBegin}).Verdict)
	key := []certify.Access{certify.Point([]byte("k"))}
	old := clock.VectorOf(clock.Entry{Time: 400})
	require.Equal(t, certify.TooOld, commit(2, &certify.Proposal{Kind: certify.KindTransaction, Number: 1, Snapshot: old, Reads: key, Body: []byte("x")}).Verdict)
	require.Equal(t, certify.Forgotten, commit(3, &certify.Proposal{Kind: certify.KindTransaction, Number: 2, ID: kv.OpID{1}, After: 400, Snapshot: old, Body: []byte("x")}).Verdict)
	d := commit(4, &certify.Proposal{Kind: certify.KindTransaction, Number: 3, ID: kv.OpID{1}, After: 500, Snapshot: clock.VectorOf(clock.Entry{Time: 500}), Reads: key, Body: []byte("x")})
	require.Equal(t, certify.Committed, d.Verdict)
	require.EqualValues(t, 500, d.Prev)
	require.EqualValues(t, 501, d.Time)
	again, err := certify.Restore(s.AppendSnapshot(nil), &metadata{})
	require.NoError(t, err)
	require.Equal(t, s.Last(), again.Last())
}

// TestALogThatIsFoundedAnew: what the state knows it goes on knowing, what may have been lost is too old, and no
// life outlives the log in which it may have decided something that nobody knows.
func TestALogThatIsFoundedAnew(t *testing.T) {
	for _, last := range []clock.Timestamp{0, 500} {
		f := newFeed(t)
		before := f.one(certify.Proposal{ID: kv.OpID{1}, After: 1, Snapshot: at(0), Writes: puts("a")})
		require.Equal(t, certify.Committed, before.Verdict)
		f.verdict(certify.Denied, certify.Proposal{Kind: certify.KindDenial, ID: kv.OpID{2}, After: 1})
		f.Refound(last, 900)
		end := max(last, before.Time)
		require.Equal(t, end, f.Last())
		restored, err := certify.Restore(f.AppendSnapshot(nil), &metadata{})
		require.NoError(t, err)
		require.Equal(t, f.AppendSnapshot(nil), restored.AppendSnapshot(nil))
		require.True(t, f.MayBegin(life.Region))
		f.verdict(certify.Ended, certify.Proposal{Snapshot: at(end), Writes: puts("b")})
		begin(t, f.State, life)
		require.False(t, f.MayBegin(life.Region))
		f.number = 0
		again := f.one(certify.Proposal{ID: kv.OpID{1}, After: 1, Snapshot: at(end), Writes: puts("a")})
		require.True(t, again.Repeated)
		require.Equal(t, before.Time, again.Time)
		f.verdict(certify.Denied, certify.Proposal{ID: kv.OpID{2}, After: 1, Snapshot: at(end), Writes: puts("a")})
		if last == 0 {
			d := f.verdict(certify.Committed, certify.Proposal{ID: kv.OpID{3}, After: 1, Reads: reads("c"), Snapshot: at(before.Time), Writes: puts("b")})
			require.EqualValues(t, 901, d.Time, "above all that may be lost")
			continue
		}
		f.verdict(certify.TooOld, certify.Proposal{Reads: reads("c"), Snapshot: at(last - 1), Writes: adds("b")})
		f.verdict(certify.Forgotten, certify.Proposal{ID: kv.OpID{3}, After: 1, Snapshot: at(last), Writes: puts("b")})
		d := f.verdict(certify.Committed, certify.Proposal{Reads: reads("c"), Snapshot: at(last), Writes: puts("b")})
		require.Equal(t, last, d.Prev)
		require.EqualValues(t, 901, d.Time, "above all that may be lost")
		d = f.verdict(certify.Committed, certify.Proposal{Reads: reads("c"), Snapshot: at(d.Time), Writes: puts("b")})
		require.EqualValues(t, 902, d.Time)
	}
}

// TestMarksNeverFall: what a state forgets that was raised is older than its marks.
func TestMarksNeverFall(t *testing.T) {
	f := newFeed(t)
	f.Limit(2, 2, 16, 16, 16)
	for i := range 2 {
		f.verdict(certify.Committed, certify.Proposal{ID: kv.OpID{byte(i + 1)}, Snapshot: at(0), Writes: puts(string(rune('a' + i)))})
	}
	f.Refound(500, 0)
	begin(t, f.State, life)
	f.number = 0
	f.verdict(certify.Committed, certify.Proposal{ID: kv.OpID{9}, After: 500, Snapshot: at(500), Writes: puts("z")})
	require.EqualValues(t, 500, f.Low())
	f.verdict(certify.Forgotten, certify.Proposal{ID: kv.OpID{8}, After: 499, Snapshot: at(500), Writes: puts("z")})
}
