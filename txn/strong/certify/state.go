package certify

import (
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// Metadata is the cluster's metadata as the log decides it. The shell hands its state to the certifier,
// which calls it within Apply and Check: it must be deterministic, and keeps none of the bytes.
type Metadata interface {
	// Check refuses a command that it can't read. Apply asks for all of an entry before it decides any.
	Check(command []byte) error
	// Decide applies a command at its place in the log; last is the time of the last commit before it.
	Decide(command []byte, last clock.Timestamp) Decided
	// Drops tells what a command that commits does to the data.
	Drops(command []byte) kv.BucketDrop
	// Exists reports whether there is what an access names: not a bucket that was dropped meanwhile.
	Exists(a Access) bool
	// AppendSnapshot encodes its state, at most MaxMetadata bytes, which become part of the certifier's
	// snapshot; Restore takes it from there, in place of what it has.
	AppendSnapshot(dst []byte) []byte
	Restore(snapshot []byte) error
}

// Decided is what Metadata has decided of a command.
type Decided struct {
	// Answer, of at most MaxAnswer bytes, is kept with the decision and given again to who repeats the command.
	Answer []byte
	// Ends are the regions whose lives are over; none begins again.
	Ends []clock.Region
	// Commits: what it does to the data has its place among the commits, as a record of region 0's lane.
	Commits bool
}

// highest bounds the entries of a snapshot. Above it there is room for as many commits as there will be.
const highest = clock.MaxTimestamp - 1<<32

// State is the certifier. It is not safe for concurrent use.
type State struct {
	metadata Metadata
	limits   limits
	position uint64          // of the last entry applied
	last     clock.Timestamp // of the last commit
	floor    clock.Timestamp // commits come after it; above last only before the first one of a log founded anew
	index    index
	ids      ids
	regions  regions
}

// New returns the state before the first entry.
func New(metadata Metadata) *State {
	return &State{metadata: metadata, limits: fullLimits, index: newIndex(), ids: newIDs(), regions: newRegions()}
}

// Resume returns the state of a new log that follows one which is lost: nothing is known of what was committed
// up to last. The next commit comes after it, what reads below it is too old, and operations that were tried
// before it are forgotten.
func Resume(metadata Metadata, last clock.Timestamp) *State {
	s := New(metadata)
	s.last, s.index.low, s.ids.low = last, last, last
	return s
}

// Refound has the state go on in a new log, where the end of the one before may be lost, and what that decided.
// Somewhere there is a record of its at last. As of there it is as Resume: what reads below is too old, since
// nobody knows what was committed behind the state's own end. Of what is lost behind last nothing was committed
// above floor, and no commit gets a time again that one of those had: a store that joins later may have the record.
// All lives are over, as nobody knows either which of their proposals were decided: who goes on begins a new one.
func (s *State) Refound(last, floor clock.Timestamp) {
	if last > s.last {
		s.last, s.index.low, s.ids.low = last, last, last
	}
	s.floor = max(s.floor, min(floor, highest))
	clear(s.regions.of)
}

// MayBegin reports whether a region has no life and may begin one, as it is before its first and once the log was
// founded anew.
func (s *State) MayBegin(region clock.Region) bool {
	_, gone := slices.BinarySearch(s.regions.ended, region)
	return !gone && s.regions.of[region] == nil
}

// Position is the log index of the last entry that was applied.
func (s *State) Position() uint64 { return s.position }

// Last is the time of the last commit, 0 for none.
func (s *State) Last() clock.Timestamp { return s.last }

// Low is the low mark of the index: a transaction that reads or covers anything, at a snapshot whose
// entry 0 is below it, is too old.
func (s *State) Low() clock.Timestamp { return s.index.low }

// Current is the incarnation of a region's current life, 0 for none.
func (s *State) Current(region clock.Region) uint64 { return s.regions.current(region) }

// Apply decides the proposals of the log entry at a position, in their order. The entry consists of batches,
// as Builder makes them; one of none, as raft itself writes them, decides nothing. An error means that the
// entry was not written by this version: the state is as before, and the node must stop (invariant 7).
func (s *State) Apply(position uint64, batches ...[]byte) ([]Decision, error) {
	if position <= s.position {
		panic(fmt.Sprintf("certify: entry %d after entry %d", position, s.position))
	}
	proposals, err := s.read(batches)
	if err != nil {
		return nil, fmt.Errorf("log entry %d: %w", position, err)
	}
	decisions := decisionsOf(proposals)
	for i := range decisions {
		s.decide(&proposals[i], &decisions[i])
	}
	s.position = position
	return decisions, nil
}

// read decodes an entry and the commands in it.
func (s *State) read(batches [][]byte) ([]Proposal, error) {
	proposals, err := decodeBatches(batches)
	for i := range proposals {
		if proposals[i].Kind == KindCommand && err == nil {
			err = s.metadata.Check(proposals[i].Body)
		}
	}
	return proposals, err
}

// decide is one proposal's turn: who asks, and whether it was decided before.
func (s *State) decide(p *Proposal, d *Decision) {
	if p.Kind == KindBegin {
		s.regions.begin(p, d, s.limits.proposers)
		return
	}
	life := s.regions.of[p.Region]
	if life == nil || life.incarnation != p.Incarnation {
		d.Verdict, d.Current = Ended, s.regions.current(p.Region)
		return
	}
	life.forget(p.Answered)
	switch {
	case p.Number <= life.answered:
		d.Verdict = Answered
		return
	case !life.reserve(p.Number, s.limits.underWay):
		d.Verdict = Beyond
		return
	}
	if kept := life.of(p.Number); kept.verdict != 0 && !mutant.On(mutant.ProposalDecidedAgain) {
		kept.repeat(d)
		return
	}
	if p.Kind == KindCommand && life.commands >= MaxCommands {
		d.Verdict = Beyond
		return
	}
	if s.first(p, d); d.Verdict != Beyond {
		life.set(p.Number, keep(d))
	}
}

// keep is what is remembered of a decision.
func keep(d *Decision) decided {
	k := decided{verdict: d.Verdict, access: d.Conflict.Access, time: d.Time, prev: d.Prev, answer: d.Answer}
	if d.Verdict == Aborted || d.Verdict == Dropped {
		k.time = d.Conflict.Time
	}
	return k
}

// repeat gives a decision again.
func (k *decided) repeat(d *Decision) {
	d.Verdict, d.Repeated, d.Answer = k.verdict, true, k.answer
	switch k.verdict {
	case Committed, Done:
		d.Time, d.Prev = k.time, k.prev
	case Aborted, Dropped:
		d.Conflict = Conflict{Access: k.access, Time: k.time}
	}
}

// earliest is the After of clients that know of no commit, as 0 says that they name none.
const earliest = 1

// first decides what was not decided under its number.
func (s *State) first(p *Proposal, d *Decision) {
	if p.After > max(s.last, earliest) || p.Snapshot.At(0) > s.last || p.Snapshot.Max() > highest {
		d.Verdict = Invalid
		return
	}
	if p.Kind == KindCommand {
		s.command(p, d)
		return
	}
	if !p.ID.IsZero() {
		if k, found := s.ids.at[p.ID]; found && !mutant.On(mutant.OperationDecidedAgain) {
			d.Repeated = true
			if d.Verdict = Denied; !k.denied {
				d.Verdict, d.Time = Committed, k.time
			}
			return
		}
		if s.ids.forgotten(p.After) {
			d.Verdict = Forgotten
			return
		}
	}
	if p.Kind == KindDenial {
		s.deny(p, d)
		return
	}
	s.transaction(p, d)
}

func (s *State) command(p *Proposal, d *Decision) {
	done := s.metadata.Decide(p.Body, s.last)
	if len(done.Answer) > MaxAnswer {
		panic(fmt.Sprintf("certify: an answer of %d bytes to a command, at most %d", len(done.Answer), MaxAnswer))
	}
	d.Verdict, d.Answer = Done, done.Answer
	for _, region := range done.Ends {
		s.regions.end(region)
	}
	if done.Commits {
		s.stamp(p, d)
	}
}

// stamp gives a commit its time.
func (s *State) stamp(p *Proposal, d *Decision) {
	d.Prev = s.last
	if s.last = max(s.last, s.floor, p.Snapshot.Max()) + 1; mutant.On(mutant.CommitBelowSnapshot) {
		s.last = d.Prev + 1
	}
	d.Time = s.last
}

func (s *State) deny(p *Proposal, d *Decision) {
	if !s.ids.hasRoom(s.last, s.limits.ids) {
		d.Verdict = Beyond
		return
	}
	if !mutant.On(mutant.DenialNotKept) {
		s.ids.note(p.ID, known{denied: true, time: s.last + 1}, s.limits.ids)
	}
	d.Verdict = Denied
}

// transaction certifies (invariant 2), and commits what may commit.
func (s *State) transaction(p *Proposal, d *Decision) {
	for i := range len(p.Reads) + len(p.Writes) {
		if !s.metadata.Exists(p.access(i)) {
			d.Verdict, d.Conflict = Dropped, Conflict{Access: i, Time: s.last}
			return
		}
	}
	verdict, conflict := s.judge(p.Snapshot.At(0), len(p.Reads)+len(p.Writes), func(i int) (Access, bool) {
		if i < len(p.Reads) {
			return p.Reads[i], !mutant.On(mutant.ReadsNotCertified)
		}
		w := &p.Writes[i-len(p.Reads)]
		return w.Access, w.Covers
	})
	if d.Verdict = verdict; verdict != Committed {
		d.Conflict = conflict
		return
	}
	s.stamp(p, d)
	for i := range p.Writes {
		s.index.write(p.Writes[i].Access, s.last, &s.limits)
	}
	if !p.ID.IsZero() {
		s.ids.note(p.ID, known{time: s.last}, s.limits.ids)
	}
}

// judge finds whether accesses still hold what a snapshot with this entry 0 showed. What accesses
// nothing that is checked is never too old.
func (s *State) judge(snapshot clock.Timestamp, n int, access func(int) (Access, bool)) (Verdict, Conflict) {
	if snapshot < s.index.low {
		for i := range n {
			if _, checked := access(i); checked {
				return TooOld, Conflict{}
			}
		}
	}
	if conflict := s.index.newest(snapshot, n, access); conflict.Time != 0 {
		return Aborted, conflict
	}
	return Committed, Conflict{}
}

// Check validates a transaction that only read: Committed if no strong commit so far is newer than
// entry 0 of its snapshot where it read, else Aborted with the conflict, TooOld, or Dropped.
func (s *State) Check(reads []Access, snapshot clock.Timestamp) (Verdict, Conflict) {
	if i := slices.IndexFunc(reads, func(a Access) bool { return !s.metadata.Exists(a) }); i >= 0 {
		return Dropped, Conflict{Access: i, Time: s.last}
	}
	return s.judge(snapshot, len(reads), func(i int) (Access, bool) { return reads[i], true })
}

// Outcome tells what became of an operation, without proposing anything: Committed with its time, Denied,
// or Forgotten if neither is known. Only the log can say that an operation will never be applied.
func (s *State) Outcome(id kv.OpID) (Verdict, clock.Timestamp) {
	switch k, found := s.ids.at[id]; {
	case !found:
		return Forgotten, 0
	case k.denied:
		return Denied, 0
	default:
		return Committed, k.time
	}
}
