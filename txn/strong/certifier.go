package strong

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
	"github.com/theriac-db/theriac/txn/strong/wire"
)

// MaxPendingBytes bounds the records of commits that wait to be applied here. Beyond it the oldest are let
// go of, if another region is there to fetch them from.
const MaxPendingBytes = 64 << 20

// followPause is how long a proposal waits, whose caller has given up, before it is made again where the
// group does not take it.
const followPause = time.Second

// Record is a commit as a record of the certifier's lane.
type Record struct {
	Time    clock.Timestamp
	Encoded []byte // kv.Record
}

// Proposing is what a Certifier needs of the group: *Group is it.
type Proposing interface {
	Propose(ctx context.Context, p Proposal) error
	ReadIndex(ctx context.Context) (uint64, error)
}

// CertifierConfig says what a Certifier works with. All fields are required.
type CertifierConfig struct {
	// Self is this process's life: its region, and a number that no process of it had before.
	Self certify.Proposer
	// Time pauses.
	Time Time
	// Durable is up to where the certifier's lane is exposed and on disk here.
	Durable func() clock.Timestamp
	// Elsewhere tells whether another region can be asked for records that are not kept here.
	Elsewhere func() bool
	// News tells that there are new records. Like Begun and Elsewhere it is called under the Certifier's
	// lock, and must not block.
	News func()
	// Begun tells, once, that this life has begun. What earlier processes of the region had proposed is
	// decided by then, and what of it was committed is at or below upTo.
	Begun func(upTo clock.Timestamp)
	// Refounded tells that the group was founded anew, which ended this life after it had begun: what it has
	// proposed may never be seen decided, and nothing more is. Another life has to begin. It may be called more
	// than once, under the Certifier's lock, and must not block.
	Refounded func()
	// Metadata decides the commands of the log.
	Metadata certify.Metadata
	// Last is the last record of the certifier's lane that the store has: where this Certifier is the Machine
	// that a group is founded with, the group goes on behind it.
	Last clock.Timestamp
}

// Certifier is the Machine that decides strong transactions, and hands proposals to the group. It keeps the
// records of what was committed until they are on disk here. Safe for concurrent use.
type Certifier struct {
	c      CertifierConfig
	group  Proposing
	ctx    context.Context // ends with Stop
	cancel context.CancelFunc
	wait   sync.WaitGroup
	begun  chan struct{} // closed once this life has begun

	mu      sync.Mutex
	state   *certify.State
	tickets map[uint64]*Ticket
	next    uint64 // the number of the next proposal
	done    uint64 // all numbers up to it are answered
	records []Record
	bytes   int
	applied uint64 // position
}

// Ticket is a proposal that the group was given.
type Ticket struct {
	number   uint64
	decided  chan struct{}
	decision certify.Decision
	err      error
}

// Decided is closed once the proposal is decided, or the Certifier has stopped.
func (t *Ticket) Decided() <-chan struct{} { return t.decided }

// Decision is valid once Decided is closed. An error says that the Certifier has stopped first, so that the
// outcome is unknown.
func (t *Ticket) Decision() (certify.Decision, error) { return t.decision, t.err }

func (t *Ticket) isDecided() bool {
	select {
	case <-t.decided:
		return true
	default:
		return false
	}
}

// NewCertifier returns a Machine for Config.Machine. Join and Begin have it propose.
func NewCertifier(c CertifierConfig) *Certifier {
	out := &Certifier{c: c, state: certify.Resume(c.Metadata, c.Last), tickets: map[uint64]*Ticket{}, begun: make(chan struct{})}
	out.ctx, out.cancel = context.WithCancel(context.Background())
	return out
}

// Join gives the Certifier its group, before anything else but the Machine's methods is called.
func (c *Certifier) Join(group Proposing) { c.group = group }

// Begin has this life begin as soon as the group decides that.
func (c *Certifier) Begin() { c.background(c.beginLife) }

// background runs what Stop waits for, unless it was called.
func (c *Certifier) background(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() == nil {
		c.wait.Go(f)
	}
}

// Stop ends all tickets that are not decided, and waits. The group may be stopped before it or after it.
func (c *Certifier) Stop() {
	c.mu.Lock()
	c.cancel()
	c.mu.Unlock()
	c.wait.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tickets {
		c.resolve(t, certify.Decision{}, stopped())
	}
}

func stopped() error {
	return kv.Errorf(kv.KindUnavailable, "strong: this node stopped before the proposal was seen decided")
}

// Begun is closed once proposals are taken: what an earlier process of the region proposed, and was not
// decided by then, never will be.
func (c *Certifier) Begun() <-chan struct{} { return c.begun }

// HasBegun reports whether proposals are taken.
func (c *Certifier) HasBegun() bool {
	select {
	case <-c.begun:
		return true
	default:
		return false
	}
}

// Last is the time of the last commit that is certified here.
func (c *Certifier) Last() clock.Timestamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Last()
}

// Idle reports whether all that this process or earlier ones of the region proposed is decided.
func (c *Certifier) Idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.tickets) == 0 && c.HasBegun()
}

// beginLife proposes that this life follows the current one, until it does. That of a region which is being removed
// never does.
func (c *Certifier) beginLife() {
	for c.ctx.Err() == nil {
		c.mu.Lock()
		ends := c.state.Current(c.c.Self.Region)
		c.mu.Unlock()
		begin := certify.Proposal{Proposer: c.c.Self, Kind: certify.KindBegin, Ends: ends}
		err := c.group.Propose(c.ctx, Proposal{Body: &begin})
		if c.HasBegun() {
			return
		}
		c.mu.Lock()
		overtaken := c.state.Current(c.c.Self.Region) != ends
		c.mu.Unlock()
		if err != nil || !overtaken {
			c.pause()
		}
	}
}

func (c *Certifier) pause() {
	fired, release := c.c.Time.NewTimer(followPause)
	defer release()
	select {
	case <-fired:
	case <-c.ctx.Done():
	}
}

// Pack is Config.Pack for a Certifier's proposals.
func Pack(bodies []any, limit int) (entry []byte, n int, err error) {
	var b certify.Builder
	for n < len(bodies) && (n == 0 || b.Len() < limit) {
		fits, err := b.Add(bodies[n].(*certify.Proposal))
		if err != nil {
			return b.Take(), n, err
		}
		if !fits {
			break
		}
		n++
	}
	return b.Take(), n, nil
}

// CheckEntry is Config.Check for them.
func (c *Certifier) CheckEntry(entry []byte) error {
	list, err := certify.DecodeBatch(entry)
	for i := range list {
		if p := &list[i]; p.Kind == certify.KindCommand && err == nil {
			err = c.c.Metadata.Check(p.Body)
		}
	}
	return err
}

// Certify has a proposal decided: Proposer, Number and Answered are filled in. It returns once it is decided,
// or ctx ends; then it is proposed on, and the ticket tells. An error says that it was never handed to the
// group: nothing of it is applied, nor will be.
func (c *Certifier) Certify(ctx context.Context, p *certify.Proposal) (*Ticket, error) {
	if err := c.awaitBegun(ctx); err != nil {
		return nil, err
	}
	t := c.register(p)
	proposal := Proposal{Number: t.number, Size: sizeOf(p), Body: p}
	err := c.group.Propose(ctx, proposal)
	switch {
	case err == nil:
	case kv.OutcomeOf(err) == kv.OutcomeUnknown:
		c.follow(t, proposal)
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.resolve(t, certify.Decision{}, err)
		return nil, err
	}
	return t, nil
}

func (c *Certifier) awaitBegun(ctx context.Context) error {
	if c.ctx.Err() != nil {
		return stopped()
	}
	if c.HasBegun() {
		return nil
	}
	select {
	case <-c.begun:
		return nil
	case <-ctx.Done():
		return kv.Errorf(kv.KindUnavailable, "strong: this node has not reached a majority of the regions since it started: %w; try again, or another region", context.Cause(ctx))
	case <-c.ctx.Done():
		return stopped()
	}
}

// register gives a proposal its number.
func (c *Certifier) register(p *certify.Proposal) *Ticket {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	p.Proposer, p.Number, p.Answered = c.c.Self, c.next, c.done
	t := &Ticket{number: c.next, decided: make(chan struct{})}
	c.tickets[t.number] = t
	return t
}

// perAccess and perProposal are what a proposal takes beside its bytes, about.
const perAccess, perProposal = 64, 512

func sizeOf(p *certify.Proposal) int {
	n := perProposal + len(p.Body) + perAccess*(len(p.Reads)+len(p.Writes))
	for _, r := range p.Reads {
		n += len(r.Key)
	}
	for _, w := range p.Writes {
		n += len(w.Key)
	}
	return n
}

// follow proposes on what its caller has given up, so that it is decided: what it holds open must be closed.
func (c *Certifier) follow(t *Ticket, p Proposal) {
	c.background(func() {
		for c.ctx.Err() == nil && !t.isDecided() && c.group.Propose(c.ctx, p) != nil {
			c.pause()
		}
	})
}

// resolve answers a ticket. The caller holds mu.
func (c *Certifier) resolve(t *Ticket, d certify.Decision, err error) {
	if c.tickets[t.number] != t {
		return
	}
	delete(c.tickets, t.number)
	d.Proposal = nil // its bytes are the log's
	t.decision, t.err = d, err
	close(t.decided)
	for c.done < c.next && c.tickets[c.done+1] == nil {
		c.done++
	}
}

// Position returns the time up to which every strong commit is certified here that was acknowledged anywhere
// before the call.
func (c *Certifier) Position(ctx context.Context) (clock.Timestamp, error) {
	if mutant.On(mutant.PositionNotAsked) {
		return c.Last(), nil
	}
	if _, err := c.group.ReadIndex(ctx); err != nil {
		return 0, err
	}
	return c.Last(), nil
}

// Check judges a transaction that only read, by what is certified here.
func (c *Certifier) Check(reads []certify.Access, at clock.Timestamp) (certify.Verdict, certify.Conflict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Check(reads, at)
}

// Deny finds out what became of an operation; one that nobody has heard of never happens from then on.
func (c *Certifier) Deny(ctx context.Context, id kv.OpID, after clock.Timestamp) (certify.Decision, error) {
	return c.ask(ctx, &certify.Proposal{Kind: certify.KindDenial, ID: id, After: after})
}

// Command has a command decided, and returns the answer.
func (c *Certifier) Command(ctx context.Context, body []byte) ([]byte, error) {
	d, err := c.ask(ctx, &certify.Proposal{Kind: certify.KindCommand, Body: body})
	if err == nil && d.Verdict != certify.Done {
		err = kv.Errorf(kv.KindUnavailable, "strong: the command was not decided (%s): try again", d.Verdict)
	}
	return d.Answer, err
}

// ask has something decided that holds nothing open.
func (c *Certifier) ask(ctx context.Context, p *certify.Proposal) (certify.Decision, error) {
	t, err := c.Certify(ctx, p)
	if err != nil {
		return certify.Decision{}, err
	}
	select {
	case <-t.decided:
		return t.Decision()
	case <-ctx.Done():
		return certify.Decision{}, kv.Errorf(kv.KindDeadline, "strong: it was not seen decided: %w", context.Cause(ctx)).WithOutcome(kv.OutcomeUnknown)
	}
}

// Pending are the records of commits behind a time that are not known to be on disk here, in order, at most
// about so many bytes of them but one at least, if there is any.
func (c *Certifier) Pending(after clock.Timestamp, bytes int) []Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget()
	from, found := slices.BinarySearchFunc(c.records, after, func(r Record, t clock.Timestamp) int { return compareTimes(r.Time, t) })
	if found {
		from++
	}
	to := from
	for size := 0; to < len(c.records) && (to == from || size < bytes); to++ {
		size += len(c.records[to].Encoded)
	}
	return slices.Clone(c.records[from:to])
}

func compareTimes(a, b clock.Timestamp) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// forget drops the records that are on disk. The caller holds mu.
func (c *Certifier) forget() {
	durable, many := c.c.Durable(), c.bytes > MaxPendingBytes && c.c.Elsewhere()
	for len(c.records) > 0 && (c.records[0].Time <= durable || many && c.bytes > MaxPendingBytes) {
		c.bytes -= len(c.records[0].Encoded)
		c.records[0] = Record{}
		c.records = c.records[1:]
	}
}

// Apply implements Machine.
func (c *Certifier) Apply(index uint64, entry []byte) (out Applied, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	decisions, err := c.state.Apply(index, entry)
	if err != nil {
		return out, kv.Errorf(kv.KindCorrupt, "strong: %w; if another node runs a later version, update this one", err)
	}
	c.applied = index
	fresh := false
	for i := range decisions {
		d := &decisions[i]
		if d.IsRecord() {
			if err := c.add(d); err != nil {
				return out, err
			}
			fresh = true
		}
		if n, own := c.decided(d); own {
			out.Decided = append(out.Decided, n)
		}
	}
	if fresh {
		c.forget()
		c.c.News()
	}
	return out, nil
}

// decided takes a decision of this life's, and tells whether its proposal need not be made again.
func (c *Certifier) decided(d *certify.Decision) (number uint64, own bool) {
	p := d.Proposal
	if p.Proposer != c.c.Self || d.Verdict == certify.Beyond {
		return 0, false
	}
	if p.Kind == certify.KindBegin {
		c.noteBegun(d.Verdict == certify.Begun)
		return 0, true
	}
	if t := c.tickets[p.Number]; t != nil {
		c.resolve(t, *d, nil)
	}
	return p.Number, true
}

func (c *Certifier) noteBegun(is bool) {
	if is && !c.HasBegun() {
		c.c.Begun(c.state.Last())
		close(c.begun) // who waits for it finds all of that done
	}
}

// add keeps the record of a commit.
func (c *Certifier) add(d *certify.Decision) error {
	p := d.Proposal
	r := kv.Record{Header: kv.Header{Time: d.Time, Prev: d.Prev, Deps: p.Snapshot}}
	if p.Kind == certify.KindCommand {
		r.Kind, r.Drop = kv.RecordDrop, c.c.Metadata.Drops(p.Body)
	} else {
		x, err := kv.DecodeAlone(p.Body)
		if err != nil {
			return kv.Errorf(kv.KindCorrupt, "strong: commit %d: %w", d.Time, err)
		}
		if slices.ContainsFunc(p.Writes, func(w certify.Write) bool { return w.Covers }) {
			x.Snapshot = append(clock.Vector{}, p.Snapshot...)
		}
		r.Kind, r.Txns = kv.RecordGroup, []kv.Txn{x}
	}
	if mutant.On(mutant.CommitDependsOnNothing) {
		r.Deps = nil
	}
	encoded := r.Append(make([]byte, 0, len(p.Body)+32+12*len(p.Snapshot)))
	c.records = append(c.records, Record{Time: d.Time, Encoded: encoded})
	c.bytes += len(encoded)
	return nil
}

// snapshotVersion is the first byte of a Certifier's snapshot. Behind it are a count and so many parts, each
// a length and bytes, all uvarint: the certifier's state, and the records of commits that were not on disk here.
const snapshotVersion = 1

// Snapshot implements Machine.
func (c *Certifier) Snapshot() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget()
	if len(c.records) > 0 && mutant.On(mutant.SnapshotLacksRecords) {
		return wire.AppendBytes([]byte{snapshotVersion, 1}, c.state.AppendSnapshot(nil))
	}
	out := binary.AppendUvarint([]byte{snapshotVersion}, uint64(1+len(c.records)))
	out = wire.AppendBytes(out, c.state.AppendSnapshot(nil))
	for _, r := range c.records {
		out = wire.AppendBytes(out, r.Encoded)
	}
	return out
}

// Restore implements Machine. What a ticket waits for may be among what is restored: the group proposes it
// again, and gets the first decision.
func (c *Certifier) Restore(index uint64, snapshot []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts, err := splitSnapshot(snapshot)
	if err != nil {
		return err
	}
	state, err := certify.Restore(parts[0], c.c.Metadata)
	if err != nil {
		return err
	}
	var records []Record
	for _, encoded := range parts[1:] {
		h, err := kv.DecodeHeader(encoded)
		if err != nil {
			return err
		}
		records = append(records, Record{Time: h.Time, Encoded: slices.Clone(encoded)})
	}
	c.state, c.applied = state, index
	c.keepRestored(records)
	c.noteBegun(state.Current(c.c.Self.Region) == c.c.Self.Incarnation)
	if c.HasBegun() && state.MayBegin(c.c.Self.Region) {
		c.c.Refounded()
	}
	c.c.News()
	return nil
}

// keepRestored takes the records of a snapshot beside those that are here.
func (c *Certifier) keepRestored(records []Record) {
	all := append(c.records, records...)
	slices.SortStableFunc(all, func(a, b Record) int { return compareTimes(a.Time, b.Time) })
	c.records = slices.CompactFunc(all, func(a, b Record) bool { return a.Time == b.Time })
	c.bytes = 0
	for _, r := range c.records {
		c.bytes += len(r.Encoded)
	}
}

func splitSnapshot(b []byte) (parts [][]byte, err error) {
	r := wire.NewReader(b)
	if r.Byte() != snapshotVersion {
		r.Fail()
	}
	for range r.Count(1) {
		parts = append(parts, r.Bytes(uint64(len(b))))
	}
	if !r.Finished() || len(parts) == 0 {
		return nil, kv.Errorf(kv.KindCorrupt, "strong: malformed snapshot of %d bytes", len(b))
	}
	return parts, nil
}

// Floor implements Machine: a snapshot holds all that is needed.
func (c *Certifier) Floor() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.applied
}

var _ Machine = (*Certifier)(nil)
