package certify_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
)

// world draws a history: processes that begin, propose, repeat themselves and are replaced.
type world struct {
	t        *rapid.T
	times    []clock.Timestamp // 0 and every commit's
	lives    map[clock.Region]uint64
	begun    uint64
	numbers  map[certify.Proposer]uint64
	sent     []certify.Proposal // whatever was ever proposed, to be repeated
	told     map[kv.OpID]clock.Timestamp
	position uint64
}

func newWorld(t *rapid.T) *world {
	return &world{t: t, times: []clock.Timestamp{0}, lives: map[clock.Region]uint64{}, numbers: map[certify.Proposer]uint64{},
		told: map[kv.OpID]clock.Timestamp{}}
}

// chance is true once in n.
func (w *world) chance(n int, what string) bool { return rapid.IntRange(1, n).Draw(w.t, what) == 1 }

func (w *world) time(what string) clock.Timestamp {
	if w.chance(2, what+" is the last") {
		return w.times[len(w.times)-1]
	}
	return rapid.SampledFrom(w.times).Draw(w.t, what)
}

func (w *world) access() certify.Access {
	key := []byte(rapid.SampledFrom(universe).Draw(w.t, "key"))
	if w.chance(3, "prefix") {
		return certify.Prefix(key)
	}
	return certify.Point(key)
}

// entry draws a log entry of proposals.
func (w *world) entry() []byte {
	var b certify.Builder
	for range rapid.IntRange(1, 4).Draw(w.t, "proposals") {
		p := w.proposal()
		added, err := b.Add(&p)
		require.NoError(w.t, err)
		require.True(w.t, added)
		w.sent = append(w.sent, p)
	}
	w.position += uint64(rapid.IntRange(1, 3).Draw(w.t, "steps"))
	return b.Take()
}

func (w *world) proposal() certify.Proposal {
	region := clock.Region(rapid.IntRange(1, 3).Draw(w.t, "region"))
	life := w.lives[region]
	switch {
	case len(w.sent) > 0 && w.chance(4, "repeat"):
		return rapid.SampledFrom(w.sent).Draw(w.t, "which")
	case life == 0 || w.chance(15, "begin"):
		return w.begin(region)
	}
	p := certify.Proposal{Proposer: certify.Proposer{Region: region, Incarnation: life}}
	p.Number = w.numbers[p.Proposer] + uint64(rapid.IntRange(1, 2).Draw(w.t, "step"))
	w.numbers[p.Proposer] = p.Number
	p.Answered = uint64(rapid.IntRange(max(0, int(p.Number)-6), int(p.Number)-1).Draw(w.t, "answered"))
	switch {
	case w.chance(10, "denial"):
		p.Kind = certify.KindDenial
		p.ID, p.After = w.id()
	case w.chance(12, "command"):
		p.Kind, p.Body = certify.KindCommand, []byte("note")
		if w.chance(10, "end") {
			p.Body = append([]byte("end"), byte(region))
		}
		if w.chance(3, "drop") {
			p.Body = []byte("drop")
			p.Snapshot = clock.VectorOf(clock.Entry{Region: 0, Time: w.time("snapshot")}, clock.Entry{Region: 1, Time: w.time("of region 1")})
		}
	default:
		w.transaction(&p)
	}
	return p
}

// begin draws the begin of a new life that follows the last one drawn, or one long ago.
func (w *world) begin(region clock.Region) certify.Proposal {
	w.begun++
	p := certify.Proposal{Proposer: certify.Proposer{Region: region, Incarnation: w.begun}, Kind: certify.KindBegin, Ends: w.lives[region]}
	if w.chance(8, "follows another") {
		p.Ends = uint64(rapid.IntRange(0, int(w.begun)-1).Draw(w.t, "ends"))
	} else {
		w.lives[region] = w.begun
	}
	return p
}

// id draws an operation id from a few. All its tries tell what was told before the first.
func (w *world) id() (kv.OpID, clock.Timestamp) {
	id := kv.OpID{byte(rapid.IntRange(1, 12).Draw(w.t, "id"))}
	if _, found := w.told[id]; !found {
		w.told[id] = w.time("after")
	}
	return id, w.told[id]
}

func (w *world) transaction(p *certify.Proposal) {
	p.Kind = certify.KindTransaction
	if w.chance(3, "with an id") {
		p.ID, p.After = w.id()
	}
	p.Snapshot = clock.VectorOf(clock.Entry{Region: 0, Time: w.time("snapshot")},
		clock.Entry{Region: 1, Time: clock.Timestamp(rapid.IntRange(0, 40).Draw(w.t, "of region 1"))},
		clock.Entry{Region: 2, Time: w.time("of region 2")})
	for range rapid.IntRange(0, 2).Draw(w.t, "reads") {
		p.Reads = append(p.Reads, w.access())
	}
	for range rapid.IntRange(0, 2).Draw(w.t, "writes") {
		p.Writes = append(p.Writes, certify.Write{Access: w.access(), Covers: w.chance(2, "covers")})
	}
	p.Body = []byte(rapid.SampledFrom([]string{"", "x", "effects"}).Draw(w.t, "body"))
}

// note remembers what was decided, for what is drawn next.
func (w *world) note(d *certify.Decision) {
	if d.IsRecord() {
		w.times = append(w.times, d.Time)
	}
}

// same compares a decision with the model's: all but which access a conflict names, which is judged by
// its time.
func same(t *rapid.T, m *model, want, got certify.Decision) {
	p := got.Proposal
	if got.Verdict == certify.Aborted && !got.Repeated {
		n := got.Conflict.Access
		a := p.Reads
		for _, w := range p.Writes {
			a = append(a[:len(a):len(a)], w.Access)
		}
		require.Equal(t, want.Conflict.Time, m.wrote(a[n]), "access %d is not what conflicts", n)
	}
	got.Proposal, got.Conflict.Access = nil, 0
	require.Equal(t, want, got, "proposal %+v", *p)
}

// With memory enough the certifier decides what the history says, whatever is repeated, delayed or
// restarted.
func TestDecidesAsTheWholeHistorySays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, m, s := newWorld(t), newModel(), certify.New(&metadata{})
		for range rapid.IntRange(1, 40).Draw(t, "entries") {
			decisions, err := s.Apply(w.position+3, w.entry())
			require.NoError(t, err)
			w.position += 3
			for i := range decisions {
				same(t, m, m.decide(decisions[i].Proposal), decisions[i])
				w.note(&decisions[i])
			}
			require.Equal(t, m.last(), s.Last())
		}
	})
}

// A certifier that forgets never commits what the whole history says conflicts, commits no id twice and
// none that was denied, and gives up only below its low marks (invariants 2, 3 and 4).
func TestWhatIsForgottenOnlyRefuses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, m, s := newWorld(t), newModel(), certify.New(&metadata{})
		s.Limit(rapid.IntRange(1, 6).Draw(t, "places"), 12, rapid.IntRange(1, 4).Draw(t, "ids"), 4, 2)
		for range rapid.IntRange(1, 40).Draw(t, "entries") {
			entry := w.entry()
			batch, err := certify.DecodeBatch(entry)
			require.NoError(t, err)
			for i := range batch { // one at a time: the low marks are those before it
				before, low := s.Low(), clock.Timestamp(s.LowID())
				w.position++
				got, err := s.Apply(w.position, alone(t, &batch[i]))
				require.NoError(t, err)
				judge(t, m, got[0], before, low)
				w.note(&got[0])
			}
		}
	})
}

func alone(t *rapid.T, p *certify.Proposal) []byte {
	var b certify.Builder
	added, err := b.Add(p)
	require.NoError(t, err)
	require.True(t, added)
	return b.Take()
}

// judge holds a decision with bounded memory to the history, to which it is then added.
func judge(t *rapid.T, m *model, d certify.Decision, low, lowID clock.Timestamp) {
	p := d.Proposal
	known, isKnown := m.ids[p.ID]
	switch d.Verdict {
	case certify.TooOld:
		require.Less(t, p.Snapshot.At(0), low)
		require.NotEmpty(t, checked(p), "a blind add is never too old")
	case certify.Forgotten:
		require.Less(t, p.After, lowID)
	case certify.Committed:
		if !d.Repeated {
			require.False(t, isKnown, "id %s commits though it was %s", p.ID, known.Verdict)
			require.Zero(t, m.conflict(p))
			require.Greater(t, d.Time, max(m.last(), p.Snapshot.Max()))
			require.Equal(t, m.last(), d.Prev)
			m.remember(p, d)
		}
	case certify.Done:
		if !d.Repeated && d.Commits() {
			require.Greater(t, d.Time, max(m.last(), p.Snapshot.Max()))
			require.Equal(t, m.last(), d.Prev)
			m.commits = append(m.commits, commit{time: d.Time})
		}
	case certify.Denied:
		if !d.Repeated {
			require.False(t, isKnown, "id %s denied though it was %s", p.ID, known.Verdict)
			m.ids[p.ID] = d
		}
	case certify.Aborted:
		if !d.Repeated {
			require.Equal(t, m.conflict(p), d.Conflict.Time)
		}
	}
	n := name{p.Proposer, p.Number}
	if first, found := m.decided[n]; found && d.Repeated && p.Kind != certify.KindBegin {
		require.Equal(t, first.Verdict, d.Verdict)
		require.Equal(t, first.Time, d.Time)
	}
	if _, found := m.decided[n]; !found && d.Verdict != certify.Beyond && d.Verdict != certify.Ended && d.Verdict != certify.Answered {
		m.decided[n] = d
	}
}

func (m *model) remember(p *certify.Proposal, d certify.Decision) {
	c := commit{time: d.Time}
	for _, w := range p.Writes {
		c.keys = append(c.keys, keysOf(w.Access)...)
	}
	m.commits = append(m.commits, c)
	if !p.ID.IsZero() {
		m.ids[p.ID] = d
	}
}

// Replicas that were fed the same entries are the same, bytes of snapshots included, also when one of
// them was restored from a snapshot on the way; and the decisions of an entry follow from its outcomes
// (invariant 1).
func TestReplicasAreTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := func(s *certify.State) *certify.State {
			s.Limit(5, 10, 4, 6, 3)
			return s
		}
		w := newWorld(t)
		a, b := limit(certify.New(&metadata{})), limit(certify.New(&metadata{}))
		for range rapid.IntRange(1, 40).Draw(t, "entries") {
			entry := w.entry()
			first, err := a.Apply(w.position, entry)
			require.NoError(t, err)
			second, err := b.Apply(w.position, entry)
			require.NoError(t, err)
			require.Equal(t, first, second)
			replayed, err := certify.Replay(certify.AppendOutcomes(nil, first), entry)
			require.NoError(t, err)
			require.Equal(t, first, replayed)
			for i := range first {
				w.note(&first[i])
			}
			if snapshot := b.AppendSnapshot(nil); w.chance(4, "restore") {
				b, err = certify.Restore(snapshot, &metadata{})
				require.NoError(t, err)
				limit(b)
			}
			require.Equal(t, a.AppendSnapshot(nil), b.AppendSnapshot([]byte("x"))[1:])
		}
	})
}
